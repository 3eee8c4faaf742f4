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
