import { afterEach, expect, it } from 'vitest';
import { Cluster } from '../support/cluster.js';
import { runDurability } from '../support/durability.js';

/** `npm run soak` sets how long: rounds of kills, or seconds. */
const rounds = Number(process.env.SOAK_ROUNDS ?? 6);
const seconds = Number(process.env.SOAK_SECONDS ?? Number.POSITIVE_INFINITY);

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

it('no acknowledged write is lost while the leader, any node and all nodes are killed under load', async () => {
  cluster = await Cluster.start({ args: (id) => (id === 3 ? ['--store', 'js'] : []) });
  const started = performance.now();
  const report = await runDurability(cluster, {
    rounds: process.env.SOAK_SECONDS === undefined ? rounds : Number.POSITIVE_INFINITY,
    enough: () => performance.now() - started > seconds * 1000,
    log: process.env.SOAK_LOG ? (text) => console.log(text) : undefined,
  });
  const { recoveries, ...rest } = report;
  console.log(`durability: ${JSON.stringify({ ...rest, leaderDeaths: recoveries.length })}`);
  expect(report.acknowledged).toBeGreaterThan(500);
  expect(report.worstMs, `after ${recoveries.map(Math.round).join(', ')} ms`).toBeLessThan(1500);
}, 3_600_000);
