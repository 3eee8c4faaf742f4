/** How long the log's durable writes take: for a leader that should hand over when its own disk is slow. */
import type { Clock } from '../env/env.js';
import type { WriteLatency } from './types.js';

/** Writes that count, and for how long they do. */
const WRITES = 32;
const WINDOW_MS = 10_000;

export class WriteTimes {
  readonly #clock: Clock;
  /** Rings: when each of the last writes ended, and how long it took. */
  readonly #ended = new Float64Array(WRITES).fill(Number.NEGATIVE_INFINITY);
  readonly #took = new Float64Array(WRITES);
  #next = 0;
  /** When the write under way began. */
  #began: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): void {
    this.#began = this.#clock.monotonic();
  }

  end(): void {
    const now = this.#clock.monotonic();
    this.#ended[this.#next] = now;
    this.#took[this.#next] = now - (this.#began ?? now);
    this.#next = (this.#next + 1) % WRITES;
    this.#began = undefined;
  }

  now(): WriteLatency {
    const now = this.#clock.monotonic();
    const recent = this.#took.filter((_, i) => this.#ended[i]! >= now - WINDOW_MS).sort();
    return {
      writes: recent.length,
      medianMs: recent[recent.length >> 1] ?? 0,
      slowestMs: recent.at(-1) ?? 0,
      inFlightMs: this.#began === undefined ? 0 : now - this.#began,
    };
  }
}
