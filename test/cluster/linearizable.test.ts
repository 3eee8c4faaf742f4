import { afterEach, expect, it } from 'vitest';
import { checkLinearizable } from '../../src/sim/check/linearizability.js';
import { Cluster } from '../support/cluster.js';
import { recordHistory } from '../support/history.js';
import { soak } from '../support/soak.js';

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

it(
  'reads and writes on every node are linearizable while leaders are killed and stopped',
  async () => {
    cluster = await Cluster.start({ args: (id) => (id === 3 ? ['--store', 'js'] : []) });
    const report = await recordHistory(cluster, {
      operations: 10_000 * soak.factor,
      faults: 10 * soak.factor,
      log: soak.log,
    });
    const { history, ...rest } = report;
    console.log(`linearizable: ${JSON.stringify({ operations: history.length, ...rest })}`);
    expect(history.length).toBeGreaterThanOrEqual(10_000);
    expect(report.kills + report.stops).toBeGreaterThanOrEqual(10);
    for (const count of report.byNode) expect(count).toBeGreaterThan(1000);
    const verdict = checkLinearizable(history);
    expect(verdict.linearizable ? '' : verdict.story).toBe('');
  },
  soak.timeoutMs,
);
