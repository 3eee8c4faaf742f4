/** Stories that are told as they were before: `GOLDEN=write` writes them anew, for somebody to read. See `story.ts` for the scripts. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { tell } from './story.js';

const folder = new URL('./golden/', import.meta.url);
const scripts = readdirSync(folder).filter((name) => name.endsWith('.txt'));

test('there are stories of elections, conflicts, membership, snapshots, transfers and reads', () => {
  expect(scripts.sort()).toEqual(
    ['conflicts', 'elections', 'membership', 'reads', 'snapshots', 'transfers'].map((name) => `${name}.txt`),
  );
});

test.each(scripts)('%s', (name) => {
  const path = new URL(name, folder);
  const before = readFileSync(path, 'utf8');
  const now = tell(before);
  if (process.env.GOLDEN === 'write') writeFileSync(path, now);
  else expect(now).toBe(before);
});
