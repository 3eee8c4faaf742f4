import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

interface Fault {
  readonly name: string;
  readonly edits: readonly { readonly file: string; readonly search: string; readonly replace: string }[];
  readonly test: string;
  readonly title: string;
}
const faults = JSON.parse(readFileSync('scripts/faults.json', 'utf8')) as Fault[];

describe('the faults that `npm run faults` plants', () => {
  it('are ten, each with a name of its own', () => {
    expect(new Set(faults.map((fault) => fault.name)).size).toBe(faults.length);
    expect(faults.length).toBe(10);
  });

  it.each(faults.map((fault) => [fault.name, fault] as const))('%s: has its place in the source', (_name, fault) => {
    for (const { file, search, replace } of fault.edits) {
      expect(readFileSync(file, 'utf8').split(search).length - 1, file).toBe(1);
      expect(replace).not.toBe(search);
    }
  });
});
