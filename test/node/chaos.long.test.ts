import { describe, expect, it } from 'vitest';
import { chaos } from './chaos.js';

const first = Number(process.env.CHAOS_SEED ?? 1);
const count = Number(process.env.CHAOS_SEEDS ?? 6);

describe('a cluster whose machines lose power, with all or some of what their disks had not synced', () => {
  const totals: Record<string, number> = {};
  for (let seed = first; seed < first + count; seed++) {
    it(`loses nothing acknowledged, reads nothing stale and applies nothing twice (seed ${seed})`, async () => {
      const report = await chaos({ seed, stores: ['wasm', 'js', 'wasm'], ms: 10_000, clients: 6 });
      expect(report.acknowledged).toBeGreaterThan(50);
      for (const [kind, n] of Object.entries(report.faults)) totals[kind] = (totals[kind] ?? 0) + n;
      for (const kind of ['acknowledged', 'unknown', 'refused', 'commits', 'conflicts', 'audits'] as const)
        totals[kind] = (totals[kind] ?? 0) + report[kind];
    });
  }

  it('met every kind of fault and outcome on the way', () => {
    const kinds = ['drop', 'tear', 'kill', 'all', 'pause', 'cut', 'break', 'commits', 'conflicts', 'audits', 'unknown'];
    for (const kind of kinds) expect(totals[kind], kind).toBeGreaterThan(0);
  });

  it('goes the same way twice for the same seed', async () => {
    const options = { seed: 'twice', stores: ['wasm', 'js', 'wasm'] as const, ms: 3_000, clients: 4 };
    expect((await chaos(options)).traceHash).toBe((await chaos(options)).traceHash);
  });
});
