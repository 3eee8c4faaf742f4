/**
 * What a build was made from and what it made, as hashes of contents, noted in build/stamp.json. The build is fresh as
 * long as both are still the same: a changed source, a deleted or edited output and a half-finished build all show.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Files and folders that decide what the build makes, relative to the root. */
const inputs = [
  'src',
  'assembly',
  'scripts/build.mjs',
  'scripts/build-kernel.mjs',
  'tsconfig.json',
  'asconfig.json',
  'package.json',
  'package-lock.json',
];
const outputs = ['dist', 'build'];
const stampPath = (root) => join(root, 'build', 'stamp.json');

/** Paths of all files at or under `path`, sorted, relative to `root`. */
export function filesUnder(root, path) {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  let entries;
  try {
    entries = readdirSync(full, { withFileTypes: true });
  } catch (error) {
    if (error.code === 'ENOTDIR') return [path];
    throw error;
  }
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesUnder(root, join(path, entry.name)) : [join(path, entry.name)]));
}

function hashOf(root, paths) {
  const hash = createHash('sha256');
  for (const path of paths) {
    const full = join(root, path);
    const bytes = existsSync(full) ? readFileSync(full) : Buffer.from('missing');
    hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

export const hashInputs = (root) =>
  hashOf(
    root,
    inputs.flatMap((path) => filesUnder(root, path)),
  );

const outputFiles = (root) =>
  outputs.flatMap((path) => filesUnder(root, path)).filter((path) => join(root, path) !== stampPath(root));

/** Whether the last build finished, and neither its sources nor its outputs have changed since. */
export function isBuilt(root) {
  let stamp;
  try {
    stamp = JSON.parse(readFileSync(stampPath(root), 'utf8'));
  } catch {
    return false;
  }
  return stamp.inputs === hashInputs(root) && stamp.hash === hashOf(root, stamp.outputs);
}

/** Called before a build, so that one which fails half-way is not taken for the one before. */
export function clearStamp(root) {
  rmSync(stampPath(root), { force: true });
}

/** Notes a good build; `inputsBefore` was taken at its start, so that a source edited meanwhile makes it stale. */
export function writeStamp(root, inputsBefore) {
  mkdirSync(dirname(stampPath(root)), { recursive: true });
  const made = outputFiles(root);
  writeFileSync(stampPath(root), JSON.stringify({ inputs: inputsBefore, outputs: made, hash: hashOf(root, made) }));
}
