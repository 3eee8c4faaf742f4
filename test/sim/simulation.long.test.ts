/**
 * Whole clusters under faults, many seeds, in two processes that share the seeds of the middle: those must go the same way in both.
 * SIM_SEEDS says how many (720, which are ten simulated hours), SIM_FIRST from which on.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { faultKinds } from '../../src/sim/run/faults.js';

const whole = 720;
const wholeMs = 10 * 3_600_000;
const first = Number(process.env.SIM_FIRST ?? 1);
const count = Number(process.env.SIM_SEEDS ?? whole);
/** Seeds that both processes run. */
const shared = Math.min(20, count);
const timeoutMs = 60_000 + count * 2_000;
/** Most of what a simulation makes lives shortly. */
const flags = ['--min-semi-space-size=16', '--max-semi-space-size=64'];

interface Totals {
  readonly runs: number;
  readonly simulatedMs: number;
  readonly realMs: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
  readonly traces: Readonly<Record<string, string>>;
}

async function simulate(from: number, to: number): Promise<Totals> {
  const args = [...flags, 'scripts/sim.mjs', '--seeds', `${from}-${to}`, '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 28 }).catch(
    (error: { stdout: string; stderr: string }) => expect.fail(error.stdout.slice(-8_000) + error.stderr),
  );
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Totals;
}

describe('a cluster under faults', () => {
  it('keeps all promises, the same way each time, whatever fails', { timeout: timeoutMs }, async () => {
    const middle = first + Math.floor(count / 2);
    const half = Math.ceil(shared / 2);
    const both = await Promise.all([
      simulate(first, middle + half - 1),
      simulate(Math.max(first, middle - half), first + count - 1),
    ]);
    const twice = Object.keys(both[0].traces).filter((seed) => seed in both[1].traces);
    expect(twice.length).toBeGreaterThanOrEqual(shared);
    for (const seed of twice) expect(both[1].traces[seed], `trace of seed ${seed}`).toBe(both[0].traces[seed]);
    if (count >= whole) expect(both[0].simulatedMs + both[1].simulatedMs).toBeGreaterThanOrEqual(wholeMs);
    const total = (of: 'faults' | 'counts', name: string) => both.reduce((sum, part) => sum + (part[of][name] ?? 0), 0);
    for (const { name } of faultKinds) expect(total('faults', name), name).toBeGreaterThan(0);
    const rare = ['refused', 'deadlines passed'];
    const names = [
      'acknowledged',
      'unknown',
      'refused',
      'commits',
      'conflicts',
      'snapshots',
      'elections',
      'hashes',
      'deadlines passed',
    ];
    for (const name of names) expect(total('counts', name), name).toBeGreaterThan(rare.includes(name) ? 0 : count);
  });
});
