/** What `npm run faults` and `npm run mutants` share: a copy of the tree, and faults planted in it. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
const folders = ['src', 'test', 'assembly', 'scripts', 'build', 'dist'];
const files = ['package.json', 'tsconfig.json', 'asconfig.json', 'vitest.config.ts', 'README.md', 'ARCHITECTURE.md'];

/** A copy of the tree in which tests can run. */
export function copyTree(purpose) {
  const copy = mkdtempSync(join(tmpdir(), `distributed-${purpose}-`));
  for (const name of [...folders, ...files]) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

/** Runs a program of Node's in the copy. */
export function run(copy, args) {
  return spawnSync(process.execPath, args, { cwd: copy, encoding: 'utf8', maxBuffer: 1 << 28 });
}

export const inKernel = (fault) => fault.edits.some((edit) => edit.file.startsWith('assembly/'));

export function buildKernel(copy, target) {
  const { status, stderr } = run(copy, ['scripts/build-kernel.mjs', target]);
  if (status !== 0) throw new Error(`the ${target} kernel does not compile:\n${stderr}`);
}

/** Plants a fault: exact replacements, each of a text that stands in its file exactly once. Returns what takes it out again. */
export function plant(copy, fault) {
  const before = new Map();
  for (const { file, search, replace } of fault.edits) {
    const path = join(copy, file);
    const text = readFileSync(path, 'utf8');
    const places = text.split(search).length - 1;
    if (places !== 1)
      throw new Error(`${fault.name}: ${file} has ${places} places like ${JSON.stringify(search)}, not 1`);
    if (!before.has(path)) before.set(path, text);
    writeFileSync(
      path,
      text.replace(search, () => replace),
    );
  }
  return () => {
    for (const [path, text] of before) writeFileSync(path, text);
  };
}

/** Prints rows of cells in columns. */
export function printTable(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  for (const row of rows)
    process.stdout.write(
      `${row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd()}\n`,
    );
}
