import { afterEach, expect, it } from 'vitest';
import { Cluster } from '../support/cluster.js';
import { runDurability } from '../support/durability.js';
import { soak } from '../support/soak.js';

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

it(
  'no acknowledged write is lost while the leader, any node and all nodes are killed under load',
  async () => {
    cluster = await Cluster.start({ args: (id) => (id === 3 ? ['--store', 'js'] : []) });
    const started = performance.now();
    const report = await runDurability(cluster, {
      rounds: soak.rounds,
      enough: () => performance.now() - started > soak.seconds * 1000,
      log: soak.log,
    });
    const { recoveries, ...rest } = report;
    console.log(`durability: ${JSON.stringify({ ...rest, leaderDeaths: recoveries.length })}`);
    expect(report.acknowledged).toBeGreaterThan(500);
    expect(report.worstMs, `after ${recoveries.map(Math.round).join(', ')} ms`).toBeLessThan(1500);
  },
  soak.timeoutMs,
);
