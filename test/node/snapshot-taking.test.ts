import { expect, it } from 'vitest';
import { SnapshotTaking, type TakingHost } from '../../src/node/snapshot-taking.js';

/** Of a node whose log holds a snapshot of entry 100 and a little behind it. */
function taking(free: number) {
  const compacted: number[] = [];
  const store = { applied: 50, stats: () => ({ logicalBytes: 1_000 }) };
  const log = {
    snapshot: { index: 100, size: 1_000 },
    logBytes: 10,
    hasRoom: true,
    reserve: () => {},
    compact: (upTo: number) => compacted.push(upTo),
  };
  const host = { store, log, logBytes: 10_000, free: () => free, needed: () => Number.POSITIVE_INFINITY };
  return { store, compacted, look: () => new SnapshotTaking(host as unknown as TakingHost).look() };
}

it.each([
  ['there is room', 1_000_000],
  ['there is hardly any', 0],
])('the log keeps what is not applied yet, behind an installed snapshot too, where %s', (_, free) => {
  const { store, compacted, look } = taking(free);
  look();
  expect(compacted).toEqual([50]);
  store.applied = 120;
  look();
  expect(compacted).toEqual([50, 100]);
});
