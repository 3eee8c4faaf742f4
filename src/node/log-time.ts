/**
 * Log time: milliseconds, stamped by the leader on its entries. It never goes back, and no jump of a wall clock moves it: a new leader
 * continues from its last entry's time by its own monotonic clock. Time without a leader does not count.
 */
import type { Clock } from '../env/env.js';
import { readHeader } from '../log/record.js';
import type { Log } from '../log/types.js';

/** What is read of the log. */
export type TimedLog = Pick<Log, 'firstIndex' | 'lastIndex' | 'entries' | 'snapshot'>;

export class LogTime {
  readonly #clock: Clock;
  readonly #log: TimedLog;
  #term = 0;
  /** Log time minus monotonic time, for this term. */
  #offset = 0;
  #last = 0;

  constructor(clock: Clock, log: TimedLog) {
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
    this.#last = this.#lastOfLog();
    this.#offset = this.#last - this.#clock.monotonic();
    this.#term = term;
  }

  /** Of the last entry; a snapshot says it of its own, when nothing follows. */
  #lastOfLog(): number {
    const index = this.#log.lastIndex();
    if (index < this.#log.firstIndex()) return this.#log.snapshot?.logTime ?? 0;
    return readHeader(this.#log.entries(index, index, 1)[0]!.bytes, 0).logTime;
  }
}
