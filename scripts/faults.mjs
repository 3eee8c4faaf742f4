/**
 * `npm run faults`: shows that the tests can fail.
 *
 * Plants the faults of faults.json one at a time in a copy of the tree, runs the test that must notice, and prints a table: each
 * test has to pass without its fault and to fail with it. A fault is a list of exact replacements, each of a text that
 * stands in its file exactly once; one in assembly/ is compiled into the debug kernel, on which its test then runs.
 *
 *     npm run faults                    all
 *     npm run faults -- vote quorum     those whose names contain one of the words
 *
 * Ends with 0 if every fault turned its test red and all tests were green without.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildKernel, copyTree, inKernel, plant, printTable, root, run } from './plant.mjs';

const literally = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Runs the fault's test: `passed`, `failed`, or `missing` when it did not run at all. */
function runTest(copy, fault) {
  const report = join(copy, 'report.json');
  rmSync(report, { force: true });
  const suite = inKernel(fault) && fault.test.startsWith('test/store/') ? 'WasmStore, debug.*' : '';
  const only = ['--testNamePattern', `${suite}${literally(fault.title)}$`];
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    fault.test,
    ...only,
    '--reporter=json',
    `--outputFile=${report}`,
  ];
  const { stderr } = run(copy, args);
  if (!existsSync(report)) return { result: 'missing', detail: stderr.trim().split('\n').at(-1) ?? '' };
  const results = JSON.parse(readFileSync(report, 'utf8')).testResults.flatMap((file) => file.assertionResults);
  const ran = results.filter(
    (one) => one.title === fault.title && one.status !== 'skipped' && one.status !== 'pending',
  );
  const failed = ran.find((one) => one.status === 'failed');
  if (failed) return { result: 'failed', detail: (failed.failureMessages[0] ?? '').split('\n')[0] };
  return { result: ran.length > 0 ? 'passed' : 'missing', detail: '' };
}

/** One line of the table. */
function tryFault(copy, fault, isBuilt) {
  const started = performance.now();
  if (inKernel(fault) && !isBuilt()) buildKernel(copy, 'debug');
  const without = runTest(copy, fault);
  const takeOut = plant(copy, fault);
  let planted;
  try {
    if (inKernel(fault)) buildKernel(copy, 'debug');
    planted = runTest(copy, fault);
  } finally {
    takeOut();
  }
  const good = without.result === 'passed' && planted.result === 'failed';
  return { fault, without, planted, good, seconds: (performance.now() - started) / 1000 };
}

function print(rows) {
  const cells = rows.map(({ fault, without, planted, good, seconds }) => [
    good ? 'ok' : 'BAD',
    fault.name,
    without.result === 'passed' ? 'green' : without.result,
    planted.result === 'failed' ? 'red' : planted.result,
    `${seconds.toFixed(1)} s`,
    `${fault.test}: ${fault.title}`,
  ]);
  cells.unshift(['', 'fault', 'without', 'with', 'time', 'test']);
  printTable(cells);
}

function main() {
  const words = process.argv.slice(2);
  const all = JSON.parse(readFileSync(join(root, 'scripts/faults.json'), 'utf8'));
  const chosen = all.filter((fault) => words.length === 0 || words.some((word) => fault.name.includes(word)));
  if (chosen.length === 0) {
    process.stderr.write(
      `faults: none is called like ${words.join(', ')}; there are: ${all.map((f) => f.name).join(', ')}\n`,
    );
    return 2;
  }
  const copy = copyTree('faults');
  process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  const rows = [];
  // The kernel in the copy is the one of the sources until a fault was compiled into it.
  let kernelIsSound = true;
  for (const fault of chosen) {
    const row = tryFault(copy, fault, () => kernelIsSound);
    if (inKernel(fault)) kernelIsSound = false;
    rows.push(row);
    const outcome = row.good
      ? 'its test turned red'
      : `NOT NOTICED (without: ${row.without.result}, with: ${row.planted.result})`;
    process.stderr.write(`${fault.name}: ${outcome}; ${row.planted.detail || row.without.detail}\n`);
  }
  process.stdout.write('\n');
  print(rows);
  const bad = rows.filter((row) => !row.good).length;
  process.stdout.write(`\n${rows.length - bad} of ${rows.length} faults were noticed\n`);
  return bad === 0 ? 0 : 1;
}

process.exitCode = main();
