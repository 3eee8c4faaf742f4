/** The real clock, timers and randomness behind the interfaces of env.ts. */
import { randomFillSync } from 'node:crypto';
import type { Clock, Random, Timers } from './env.js';

export const realClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
};

/** Every timer keeps the process alive until it has fired or is cancelled: the node decides when to stop. */
export const realTimers: Timers = {
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return { cancel: () => clearTimeout(timer) };
  },
  every(ms, callback) {
    // Node counts an interval anew from each call, so a stalled loop gets one call and not a burst.
    const timer = setInterval(callback, ms);
    return { cancel: () => clearInterval(timer) };
  },
  defer(callback) {
    setImmediate(callback);
  },
};

export const realRandom: Random = {
  float: () => Math.random(),
  bytes: (length) => randomFillSync(new Uint8Array(length)),
};
