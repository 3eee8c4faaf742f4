#!/usr/bin/env node
/**
 * Compiles the kernel: `node scripts/build-kernel.mjs [target ...]`, by default debug, release, and the two that tests of
 * its inside use (the same code with the exports of assembly/test-entry.ts added), two at a time. asc can end with 0 and nothing made
 * (an unknown target, a missing configuration), so outputs have to exist and to be newer than the start; and the text
 * form must have no data segment, because a second instance on the same memory would run it again.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const targets = process.argv.length > 2 ? process.argv.slice(2) : ['release', 'test-release', 'debug', 'test-debug'];

const running = new Set();

function fail(text) {
  for (const child of running) child.kill();
  process.stderr.write(`build-kernel: ${text}\n`);
  process.exit(1);
}

function modified(path) {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

/** Resolves with the exit code of asc, or the signal that ended it. */
function asc(...args) {
  const script = join(root, 'node_modules/assemblyscript/bin/asc.js');
  const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  running.add(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      running.delete(child);
      resolve(code ?? signal);
    });
  });
}

async function compile(target) {
  const outputs = ['wasm', 'wat'].map((ending) => `build/${target}.${ending}`);
  const before = outputs.map((path) => modified(join(root, path)));
  const entries = target.startsWith('test-') ? ['assembly/test-entry.ts'] : [];
  const status = await asc(...entries, '--config', 'asconfig.json', '--target', target);
  if (status !== 0) fail(`asc --target ${target} failed with ${status}`);
  outputs.forEach((path, i) => {
    if (modified(join(root, path)) <= before[i]) fail(`asc --target ${target} ended well but did not write ${path}`);
  });
  const wat = readFileSync(join(root, `build/${target}.wat`), 'utf8');
  if (/^\s*\(data\b/m.test(wat))
    fail(`${target}: the module has a data segment; no string, array or static data is allowed in assembly/`);
}

mkdirSync(join(root, 'build'), { recursive: true });
const waiting = [...targets];
async function compileWaiting() {
  for (let target = waiting.shift(); target; target = waiting.shift()) await compile(target);
}
await Promise.all([compileWaiting(), compileWaiting()]);
