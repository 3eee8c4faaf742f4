/** The real world: what a node that was started by the command line or by a program stands on. */
import type { Env } from './env.js';
import { realDisk } from './real-disk.js';
import { realNetwork } from './real-network.js';
import { realClock, realRandom, realTimers } from './real-time.js';

/** Clock, timers, randomness, sockets and files of this process. Holds no state: any number may be made. */
export function realEnv(): Env {
  return { clock: realClock, timers: realTimers, random: realRandom, network: realNetwork(), disk: realDisk() };
}
