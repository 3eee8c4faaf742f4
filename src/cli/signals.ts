/** SIGINT, SIGTERM and SIGHUP: the first asks to stop, a later one insists. */

/**
 * One Ctrl-C can arrive twice: from the terminal, which signals the whole process group, and from npm, which passes its
 * own on. What follows within this time is the same one.
 */
const sameMs = 1_000;

const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Calls `stop` on the first signal, `force` on a later one. The returned function stops listening. */
export function onSignals(stop: () => void, force: () => void): () => void {
  let firstMs: number | undefined;
  const handler = () => {
    if (firstMs === undefined) {
      firstMs = performance.now();
      stop();
    } else if (performance.now() - firstMs > sameMs) force();
  };
  for (const name of names) process.on(name, handler);
  return () => {
    for (const name of names) process.off(name, handler);
  };
}

/** How often to look for the parent. */
const lookMs = 500;

/**
 * Calls `gone` when the shell that npm started this program by has ended: npm passes SIGTERM on to that shell alone, and a
 * shell does not pass it on. Elsewhere a parent may go as it likes: a program in the background outlives its shell.
 */
export function onOrphaned(gone: () => void): void {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    gone();
  }, lookMs);
  timer.unref();
}
