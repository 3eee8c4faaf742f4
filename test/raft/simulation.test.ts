import { expect, test } from 'vitest';
import { sized } from '../support/sizes.js';
import { Cluster } from './network.js';

type Counts = Cluster['judge']['counts'] & { crashes: number };

/** Runs one seed: ticks of faults, then calm, in which everything has to get done. Returns what happened. */
function run(seed: number, ticks: number): Cluster {
  const cluster = new Cluster(seed);
  for (let i = 0; i < ticks; i++) cluster.tick();
  cluster.calm();
  const until = (done: () => boolean, what: string): void => {
    // An entry a tick and more is sent to one who lacks everything.
    const deadline = cluster.now + 800 + Math.max(...cluster.members.map(({ host }) => host.lastIndex()));
    while (!done()) {
      if (cluster.now > deadline) throw new Error(`not live: ${what}`);
      cluster.tick();
    }
  };
  until(() => cluster.settled(cluster.judge.committed.length), 'no agreement on a leader and on what is committed');
  let index: number | undefined;
  const proposes = (): boolean => {
    index = cluster.leader?.raft.propose([new Uint8Array(1)]);
    return index !== undefined;
  };
  until(proposes, 'nobody takes proposals');
  for (const member of cluster.members) cluster.ask(member);
  until(() => cluster.settled(index!), `entry ${index} or a read is not done`);
  return cluster;
}

function runAll(first: number, count: number, ticks: number): Counts {
  const total: Counts = { ...new Cluster(0).judge.counts, crashes: 0 };
  for (let seed = first; seed < first + count; seed++) {
    try {
      const { judge, crashes } = run(seed, ticks);
      const counts: Counts = { ...judge.counts, crashes };
      for (const key of Object.keys(total) as (keyof Counts)[]) total[key] += counts[key];
    } catch (error) {
      throw new Error(`seed ${seed}, ${ticks} ticks: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
  }
  return total;
}

test('under faults no safety property of figure 3 is violated and no read is stale, and after them all gets done', () => {
  const seeds = sized(2000, 500);
  const counts = runAll(1, seeds, 300);
  // The faults were there, and so was progress: a simulation in which nothing happens proves nothing.
  expect(counts.elections).toBeGreaterThan(2 * seeds);
  expect(counts.commits).toBeGreaterThan(100 * seeds);
  expect(counts.reads).toBeGreaterThan(50 * seeds);
  expect(counts.crashes).toBeGreaterThan(2.5 * seeds);
  expect(counts.truncations).toBeGreaterThan(seeds / 4);
  expect(counts.changes).toBeGreaterThan(seeds);
  expect(counts.transfers).toBeGreaterThan(seeds / 2);
  expect(counts.snapshots).toBeGreaterThan(seeds);
  expect(counts.repairs).toBeGreaterThan(seeds / 20);
}, 240_000);

test('long runs hold as well', () => {
  const seeds = sized(40, 8);
  const counts = runAll(100_001, seeds, 5000);
  expect(counts.commits).toBeGreaterThan(sized(1250, 1000) * seeds);
  expect(counts.changes).toBeGreaterThan(10 * seeds);
}, 240_000);
