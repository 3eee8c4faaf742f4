/**
 * Imported into a node process by a test (`node --import`), to measure how long its event loop stands still: a timer of 1 ms
 * looks at the clock and at the processor time of the main thread. `start` and `stop` come over the process channel; the answer
 * to `stop` is the longest stall in ms: the time between two looks, or what the thread computed in between, if that is less. For
 * when another process has taken the processor, the time goes on and the node is not to blame.
 */
import { openSync, readSync } from 'node:fs';

/** The scheduler's own account of the main thread: nanoseconds computed, waited, and turns. */
const account = openSync('/proc/self/schedstat', 'r');
const bytes = Buffer.alloc(128);
let timer;
let longestMs = 0;

function computedMs() {
  const text = bytes.latin1Slice(0, readSync(account, bytes, 0, bytes.length, 0));
  return Number(text.slice(0, text.indexOf(' '))) / 1e6;
}

function look(at, computed) {
  timer = setTimeout(() => {
    const [now, spent] = [performance.now(), computedMs()];
    longestMs = Math.max(longestMs, Math.min(now - at, spent - computed));
    look(now, spent);
  }, 1);
}

process.on('message', (request) => {
  clearTimeout(timer);
  if (request === 'start') {
    longestMs = 0;
    look(performance.now(), computedMs());
    process.send?.({ started: true });
  } else if (request === 'stop') process.send?.({ longestMs });
});
process.channel?.unref();
