import { afterEach, expect, it } from 'vitest';
import { Cluster } from '../support/cluster.js';
import { recordHistory } from '../support/history.js';
import { checkLinearizable } from '../support/linearizability.js';

const factor = Number(process.env.SOAK_FACTOR ?? 1);

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

it('reads and writes on every node are linearizable while leaders are killed and stopped', async () => {
  cluster = await Cluster.start({ args: (id) => (id === 3 ? ['--store', 'js'] : []) });
  const report = await recordHistory(cluster, {
    operations: 10_000 * factor,
    faults: 10 * factor,
    log: process.env.SOAK_LOG ? (text) => console.log(text) : undefined,
  });
  const { history, ...rest } = report;
  console.log(`linearizable: ${JSON.stringify({ operations: history.length, ...rest })}`);
  expect(history.length).toBeGreaterThanOrEqual(10_000);
  expect(report.kills + report.stops).toBeGreaterThanOrEqual(10);
  for (const count of report.byNode) expect(count).toBeGreaterThan(1000);
  const verdict = checkLinearizable(history);
  expect(verdict.linearizable ? '' : verdict.story).toBe('');
}, 3_600_000);
