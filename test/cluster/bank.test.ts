import { afterEach, expect, it } from 'vitest';
import { runBank } from '../support/bank.js';
import { Cluster } from '../support/cluster.js';
import { soak } from '../support/soak.js';

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

it(
  'every audit finds the same sum while transfers conflict, leaders die and idle transactions stand by',
  async () => {
    cluster = await Cluster.start({ args: (id) => (id === 2 ? ['--store', 'js'] : []) });
    const report = await runBank(cluster, {
      commits: 500 * soak.factor,
      kills: 4 * soak.factor,
      deadlineMs: 60_000 * soak.factor,
    });
    console.log(`bank: ${JSON.stringify(report)}`);
    expect(report.commits).toBeGreaterThanOrEqual(500);
    expect(report.conflicts).toBeGreaterThan(0);
    expect(report.audits).toBeGreaterThan(100);
    expect(report.idleConflicts).toBeGreaterThan(0);
    const statuses = await cluster.settled();
    expect(new Set(statuses.map((s) => s.stateHash)).size).toBe(1);
  },
  soak.timeoutMs,
);
