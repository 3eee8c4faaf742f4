import { expect, it } from 'vitest';
import type { StoreReport } from '../../src/bench/store.js';
import { runProgram } from '../support/cluster.js';

it('distributed bench store measures all three on the same bytes, and gives one row for each store, operation and batch', async () => {
  const args = ['bench', 'store', '--keys', '2000', '--value-size', '50', '--seconds', '0.01', '--json'];
  const run = await runProgram(args, { deadlineMs: 50_000 });
  expect(run.code, run.stderr).toBe(0);
  const report = JSON.parse(run.stdout) as StoreReport;
  expect(Object.keys(report.machine)).toEqual(['cpu', 'cores', 'memoryGiB', 'node', 'platform']);
  const rows = report.results.map((row) => `${row.store} ${row.op} ${row.batch}`);
  const wanted = ['set', 'get', 'delete', 'mixed', 'txn', 'encode'].flatMap((op) =>
    [1, 16, 128].flatMap((batch) => ['wasm', 'js', 'map'].map((store) => `${store} ${op} ${batch}`)),
  );
  expect(rows).toEqual(wanted);
  for (const row of report.results) {
    expect(row).toMatchObject({ keys: 2000, valueSize: 50 });
    expect(row.opsPerSecond).toBeGreaterThan(0);
    expect(row.p99Micros).toBeGreaterThan(0);
    expect(row.maxPauseMs).toBeGreaterThan(0);
    expect(row.bytesPerKey).toBeGreaterThan(60);
    expect(row.spread).toBeGreaterThanOrEqual(0);
  }
  expect(report.results.some((row) => row.spread > 0)).toBe(true);
  expect(run.stderr).toContain('results are the same, byte for byte');
  // Progress while it runs: three repeats of each row.
  for (const repeat of [1, 2, 3]) expect(run.stderr).toContain(`set in batches of 128, ${repeat} of 3: wasm `);
});

it('distributed bench store prints a table for people, of the operations asked for', async () => {
  const args = ['bench', 'store', '--keys', '1000', '--seconds', '0.005', '--only', 'get,txn'];
  const run = await runProgram(args, { deadlineMs: 50_000 });
  expect(run.code, run.stderr).toBe(0);
  const firstWords = run.stdout.split('\n').map((line) => line.split(' ')[0]);
  expect(firstWords.filter((word) => word === 'get').length).toBe(3);
  expect(firstWords.filter((word) => word === 'txn').length).toBe(3);
  expect(firstWords).not.toContain('set');
  expect(run.stdout).toMatch(/^wasm +\d+ bytes a key/m);
});

it('the twin is no poor one: at least half as fast as a bare map that keeps neither versions nor hashes', async () => {
  const args = ['bench', 'store', '--keys', '50000', '--seconds', '0.05', '--only', 'set,get', '--json'];
  const run = await runProgram(args, { deadlineMs: 90_000 });
  const { results } = JSON.parse(run.stdout) as StoreReport;
  const speed = (store: string, op: string) =>
    results.find((row) => row.store === store && row.op === op && row.batch === 128)!.opsPerSecond;
  for (const op of ['set', 'get']) expect(speed('js', op) / speed('map', op), op).toBeGreaterThan(0.5);
});

it('distributed bench store names a flag that is out of range', async () => {
  const run = await runProgram(['bench', 'store', '--keys', '1']);
  expect([1, 2]).toContain(run.code);
  expect(run.stderr).toContain('--keys');
});
