#!/usr/bin/env node
/**
 * Builds everything: the kernel (asc, by scripts/build-kernel.mjs) into build/, TypeScript (tsc) into dist/. Fails loudly if either
 * fails or leaves an output out: asc can fail in silence. Outputs are overwritten in place, never removed first, so a
 * program that is starting from them finds them; outputs whose source is gone are removed at the end.
 */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { clearStamp, filesUnder, hashInputs, writeStamp } from './stamp.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = 'dist/cli/main.js';

const running = new Set();

function fail(text) {
  process.stderr.write(`build: ${text}\n`);
  for (const child of running) child.kill();
  process.exit(1);
}

/** Runs a script of Node's with its output on stderr. */
function run(what, script, ...args) {
  const child = spawn(process.execPath, [join(root, script), ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  running.add(child);
  return new Promise((resolve) => {
    child.once('error', (error) => fail(`${what} failed (${error.message})`));
    child.once('exit', (code, signal) => {
      running.delete(child);
      if (code === 0) resolve();
      else fail(`${what} failed (${signal ? `killed by ${signal}` : `exit code ${code}`})`);
    });
  });
}

/** Source files, without their ending, relative to src/. */
function sources() {
  return filesUnder(root, 'src')
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
    .map((path) => path.slice('src/'.length, -'.ts'.length));
}

/** tsc leaves the outputs of deleted sources in place, where an import would still find them. */
function removeOrphans() {
  const alive = new Set(sources().flatMap((name) => [`dist/${name}.js`, `dist/${name}.d.ts`]));
  for (const path of filesUnder(root, 'dist')) if (!alive.has(path)) rmSync(join(root, path));
}

function checkOutputs() {
  const { targets } = JSON.parse(readFileSync(join(root, 'asconfig.json'), 'utf8'));
  const wanted = [
    ...sources().map((name) => `dist/${name}.js`),
    ...Object.values(targets).flatMap((target) => [target.outFile, target.textFile]),
  ];
  for (const path of wanted) if (!existsSync(join(root, path))) fail(`${path} was not made`);
  if (!readFileSync(join(root, bin), 'utf8').startsWith('#!')) fail(`${bin} does not begin with #!`);
}

const inputs = hashInputs(root);
clearStamp(root);
const kernel = run('the kernel', 'scripts/build-kernel.mjs');
const tsc = run('tsc', 'node_modules/typescript/bin/tsc', '-p', '.');
await Promise.all([kernel, tsc]);
removeOrphans();
checkOutputs();
chmodSync(join(root, bin), 0o755);
writeStamp(root, inputs);
