import { expect, test } from 'vitest';
import { sized } from '../support/sizes.js';
import { Cluster } from './network.js';

const NOTHING = { elections: 0, commits: 0, reads: 0, refused: 0, crashes: 0, truncations: 0 };

/** Runs one seed: ticks of faults, then calm, in which everything has to get done. Returns what happened. */
function run(seed: number, ticks: number): Cluster {
  const cluster = new Cluster(seed);
  for (let i = 0; i < ticks; i++) cluster.tick();
  cluster.calm();
  const until = (done: () => boolean, what: string): void => {
    // An entry a tick and more is sent to one who lacks everything.
    const deadline = cluster.now + 400 + Math.max(...cluster.members.map(({ host }) => host.memory.length));
    while (!done()) {
      if (cluster.now > deadline) throw new Error(`not live: ${what}`);
      cluster.tick();
    }
  };
  until(() => cluster.settled(cluster.committed.length), 'no agreement on a leader and on what is committed');
  const leader = cluster.members.find(({ host }) => host.raft.role === 'leader')!.host;
  const index = leader.raft.propose([new Uint8Array(1)])!;
  for (const member of cluster.members) cluster.ask(member);
  until(() => cluster.settled(index), `entry ${index} or a read is not done`);
  return cluster;
}

function runAll(first: number, count: number, ticks: number): Cluster['counts'] {
  const total = { ...NOTHING };
  for (let seed = first; seed < first + count; seed++) {
    try {
      const { counts } = run(seed, ticks);
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += counts[key];
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
}, 120_000);

test('long runs hold as well', () => {
  const seeds = sized(40, 8);
  const counts = runAll(100_001, seeds, 5000);
  expect(counts.commits).toBeGreaterThan(1250 * seeds);
}, 120_000);
