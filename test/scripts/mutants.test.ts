import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

interface Mutant {
  readonly name: string;
  readonly edits: readonly { readonly file: string; readonly search: string; readonly replace: string }[];
}
const mutants = JSON.parse(readFileSync('scripts/mutants.json', 'utf8')) as Mutant[];

describe('the mutants that `npm run mutants` plants', () => {
  it('are at least 25, each with a name of its own', () => {
    expect(new Set(mutants.map((mutant) => mutant.name)).size).toBe(mutants.length);
    expect(mutants.length).toBeGreaterThanOrEqual(25);
  });

  it.each(
    mutants.map((mutant) => [mutant.name, mutant] as const),
  )('%s: has its place in the source', (_name, mutant) => {
    for (const { file, search, replace } of mutant.edits) {
      expect(readFileSync(file, 'utf8').split(search).length - 1, file).toBe(1);
      expect(replace).not.toBe(search);
    }
  });
});
