#!/usr/bin/env node
/**
 * Makes a clone ready: installs and builds what is missing or stale, and does nothing (in well under half a second) when
 * nothing is. Runs before `npm start` and `npm test`, so it may use nothing but Node itself.
 *
 * Stale is decided by content, never by times of files: a check-out, a copy or a clock that jumps changes times.
 *  - Dependencies: every package of package-lock.json is in node_modules in the same version (npm keeps a list of what
 *    it installed there), and its folder exists.
 *  - Build: the hash of all sources and the hash of all outputs are those that the last good build noted.
 *
 * One at a time: a lock file names its owner by pid and start time; one whose owner is gone is broken. Who has to wait
 * looks again afterwards, and then finds nothing to do.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from './lock.mjs';
import { isBuilt } from './stamp.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const say = (text) => process.stderr.write(`prepare: ${text}\n`);

/** The packages in a lockfile of npm's, by folder; undefined when there is no such file. */
function packagesOf(lockfile) {
  try {
    return JSON.parse(readFileSync(join(root, lockfile), 'utf8')).packages;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whether node_modules holds what package-lock.json asks for. Optional packages may be absent: they are for other systems. */
function isInstalled() {
  const wanted = packagesOf('package-lock.json');
  const present = packagesOf('node_modules/.package-lock.json');
  if (!wanted || !present) return false;
  return Object.entries(wanted).every(([folder, { version, optional }]) => {
    if (folder === '') return true;
    if (!present[folder]) return optional === true;
    return present[folder].version === version && existsSync(join(root, folder, 'package.json'));
  });
}

/** Runs a program with its output on stderr (stdout belongs to what runs next); ends this one if it fails. */
function run(what, command, args) {
  say(what);
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  say(`failed: ${what} (${error ? error.message : signal ? `killed by ${signal}` : `exit code ${status}`})`);
  process.exit(1);
}

function install() {
  // No dependency needs its install script (msgpackr's native addon is not used), so none is run.
  const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = process.env.npm_execpath;
  if (npm?.endsWith('.js')) run('installing dependencies', process.execPath, [npm, ...args]);
  else run('installing dependencies', 'npm', args);
  if (!isInstalled()) {
    say('failed: node_modules is not what package-lock.json asks for; is package.json newer than package-lock.json?');
    process.exit(1);
  }
}

if (!isInstalled() || !isBuilt(root)) {
  await withLock(join(root, '.cache', 'prepare.lock'), say, () => {
    if (!isInstalled()) install();
    if (!isBuilt(root)) run('building', process.execPath, [join(root, 'scripts', 'build.mjs')]);
  });
}
