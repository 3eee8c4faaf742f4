/**
 * Log time: milliseconds, stamped by the leader on its entries. It never goes back, and no jump of a wall clock moves it: a new leader
 * continues from its last entry's time by its own monotonic clock. Time without a leader does not count.
 */
import type { Clock } from '../env/env.js';
import { readHeader } from '../log/record.js';
import type { LogReader } from '../raft/types.js';

export class LogTime {
  readonly #clock: Clock;
  readonly #log: LogReader;
  #term = 0;
  /** Log time minus monotonic time, for this term. */
  #offset = 0;
  #last = 0;

  constructor(clock: Clock, log: LogReader) {
    this.#clock = clock;
    this.#log = log;
  }

  /** The time of a new entry of `term`, ms. */
  stamp(term: number): number {
    if (term !== this.#term) this.#begin(term);
    this.#last = Math.max(this.#last, Math.floor(this.#clock.monotonic() + this.#offset));
    return this.#last;
  }

  #begin(term: number): void {
    const index = this.#log.lastIndex();
    const last = index === 0 ? undefined : this.#log.entries(index, index, 1)[0];
    this.#last = last ? readHeader(last.bytes, 0).logTime : 0;
    this.#offset = this.#last - this.#clock.monotonic();
    this.#term = term;
  }
}
