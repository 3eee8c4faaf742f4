/**
 * `npm run mutants`: shows that the simulation can fail.
 *
 * Plants the faults of mutants.json one at a time in a copy of the tree and runs the simulation on it, one seed after the
 * other, until a checker finds something or the time for one mutant is over. Two copies work beside each other. Prints a
 * table: mutant, the checker that caught it, the seed, the time. A mutant that is not caught is a hole in the checkers or in what clients do.
 *
 *     npm run mutants                     all
 *     npm run mutants -- vote quorum      those whose names contain one of the words
 *     npm run mutants -- --seconds 200    so long for each at most (default 180)
 *
 * Ends with 0 if all were caught.
 */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { buildKernel, copyTree, inKernel, plant, printTable, root } from './plant.mjs';

const copies = 2;
/** Where it begins, and where it ends at the latest. */
const seeds = '2-100000';

/** As in tsconfig.json, in what one file by itself needs of it. */
const compilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
};

/** Compiles the sources that a mutant touches, each by itself. */
function compile(copy, mutant) {
  for (const file of new Set(mutant.edits.map((edit) => edit.file).filter((file) => file.startsWith('src/')))) {
    const source = readFileSync(join(copy, file), 'utf8');
    const { outputText } = ts.transpileModule(source, { compilerOptions, fileName: file });
    writeFileSync(join(copy, file.replace(/^src/, 'dist').replace(/\.ts$/, '.js')), outputText);
  }
  if (inKernel(mutant)) buildKernel(copy, 'release');
}

/** Runs the simulation; what the first failure said. */
function simulate(copy, mutant, seconds) {
  const args = [
    '--max-semi-space-size=64',
    'scripts/sim.mjs',
    '--seeds',
    seeds,
    '--no-shrink',
    ...(inKernel(mutant) ? ['--store', 'wasm'] : []),
  ];
  const child = spawn(process.execPath, args, { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      output = (output + text).slice(-200_000);
    });
  }
  const timer = setTimeout(() => child.kill(), seconds * 1000);
  return new Promise((resolve, reject) => {
    // Not 'exit': what it has printed last may come after that.
    child.once('close', (code) => {
      clearTimeout(timer);
      const found = /^seed (\S+) FAILED: ([^\n]*)/m.exec(output);
      if (found) resolve({ seed: found[1], what: found[2] });
      else if (code === null) resolve(undefined);
      else reject(new Error(`${mutant.name} does not run: ${output}`));
    });
  });
}

async function tryMutant(copy, mutant, seconds) {
  const started = performance.now();
  const takeOut = plant(copy, mutant);
  try {
    compile(copy, mutant);
    const found = await simulate(copy, mutant, seconds);
    return { mutant, found, seconds: (performance.now() - started) / 1000 };
  } finally {
    takeOut();
    compile(copy, mutant);
  }
}

async function worker(queue, seconds, rows) {
  const copy = copyTree('mutants');
  process.once('exit', () => rmSync(copy, { recursive: true, force: true }));
  for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
    const row = await tryMutant(copy, mutant, seconds);
    rows.push(row);
    const outcome = row.found ? `seed ${row.found.seed}: ${row.found.what.slice(0, 160)}` : 'NOT CAUGHT';
    process.stderr.write(`${mutant.name}: ${outcome} (${row.seconds.toFixed(0)} s)\n`);
  }
}

/** The name of the checker that a failure begins with. */
function checkerOf(what) {
  return /^(serializability: [^:]+|[^:]+)/.exec(what)[0];
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: 'string', default: '180' } },
  });
  const all = JSON.parse(readFileSync(join(root, 'scripts/mutants.json'), 'utf8'));
  const chosen = all.filter(({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)));
  if (chosen.length === 0) {
    process.stderr.write(`mutants: none is called like ${positionals.join(', ')}\n`);
    return 2;
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  const started = performance.now();
  const rows = [];
  const queue = [...chosen];
  await Promise.all(
    Array.from({ length: Math.min(copies, chosen.length) }, () => worker(queue, Number(values.seconds), rows)),
  );
  rows.sort((a, b) => chosen.indexOf(a.mutant) - chosen.indexOf(b.mutant));
  const cells = rows.map(({ mutant, found, seconds }) => [
    mutant.name,
    found ? checkerOf(found.what) : 'NOT CAUGHT',
    found?.seed ?? '-',
    `${seconds.toFixed(0)} s`,
  ]);
  process.stdout.write('\n');
  printTable([['mutant', 'caught by', 'seed', 'time'], ...cells]);
  const caught = rows.filter((row) => row.found).length;
  process.stdout.write(
    `\n${caught} of ${rows.length} mutants were caught in ${((performance.now() - started) / 60_000).toFixed(1)} minutes\n`,
  );
  return caught === rows.length ? 0 : 1;
}

process.exitCode = await main();
