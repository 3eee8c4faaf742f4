/**
 * A lock file for scripts. It names its owner by pid and, where the system tells it, the time that process started (so a
 * reused pid is not taken for the owner). It appears with its content in one step (link), so nobody reads half of it.
 *
 * An orphan is renamed away before it is removed, and looked at once more: if it is not the one that was judged, another
 * waiter was quicker and this one has taken the new owner's lock, which it puts back.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

const pollMs = 100;

/** Runs `work` while holding the lock at `path`. Waits as long as its owner lives; `say` tells once that it waits. */
export async function withLock(path, say, work) {
  mkdirSync(dirname(path), { recursive: true });
  const me = `${process.pid} ${startOf(process.pid)}`;
  let told = false;
  while (!take(path, me)) {
    const owner = read(path);
    if (owner === undefined) continue;
    if (!lives(owner)) breakLock(path, owner);
    else {
      if (!told) say(`waiting for process ${owner.split(' ')[0]}, which is doing the same`);
      told = true;
      await wait(pollMs);
    }
  }
  // Also when `work` ends the process.
  const release = () => {
    if (read(path) === me) rmSync(path, { force: true });
  };
  process.once('exit', release);
  try {
    return await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

function take(path, me) {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, me);
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function breakLock(path, judged) {
  const aside = `${path}.${process.pid}.old`;
  try {
    renameSync(path, aside);
    if (read(aside) !== judged) linkSync(aside, path);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

function lives(owner) {
  const [pid, start] = owner.split(' ');
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  return startOf(Number(pid)) === start;
}

/** When a process started, in the system's own count; `unknown` where there is no /proc. */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name, in brackets, may hold blanks; the start is the 20th field after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}
