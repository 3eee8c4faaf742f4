/**
 * Exactly once and durable, for keys that one client alone writes.
 *
 * A counter is only incremented by 1. Each answer must be one more than the one before, plus as many of the increments of unknown
 * outcome as took effect in between: each of them at most once. A write-once key holds what was acknowledged, for ever; what
 * was refused never appears.
 */
import { Violation } from './violation.js';

export class CounterChecker {
  readonly #keys = new Map<string, { last: number; credits: number }>();

  #key(key: string): { last: number; credits: number } {
    let state = this.#keys.get(key);
    if (state === undefined) {
      state = { last: 0, credits: 0 };
      this.#keys.set(key, state);
    }
    return state;
  }

  get keys(): string[] {
    return [...this.#keys.keys()];
  }

  /** An increment was answered. */
  answered(key: string, value: number): void {
    const state = this.#key(key);
    const extra = value - state.last - 1;
    if (extra < 0 || extra > state.credits)
      throw new Violation(
        'exactly once',
        `${key} was ${state.last}, one increment made it ${value}, with ${state.credits} of unknown outcome open`,
      );
    state.last = value;
    state.credits -= extra;
  }

  /** The outcome of an increment is unknown: it may take effect once, at any time. */
  unknown(key: string): void {
    this.#key(key).credits++;
  }

  /** What the key holds when all is over. */
  final(key: string, value: number): void {
    const { last, credits } = this.#key(key);
    if (value < last || value > last + credits)
      throw new Violation(
        value < last ? 'durability' : 'exactly once',
        `${key} was ${last} when last answered and ends at ${value}, with ${credits} increments of unknown outcome`,
      );
  }
}

type Outcome = 'acknowledged' | 'refused' | 'unknown';

export class WriteOnceChecker {
  readonly #written = new Map<string, { readonly value: string; readonly outcome: Outcome }>();

  get keys(): string[] {
    return [...this.#written.keys()];
  }

  written(key: string, value: string, outcome: Outcome): void {
    this.#written.set(key, { value, outcome });
  }

  /** What the key holds when all is over; null: it is not there. */
  final(key: string, found: string | null): void {
    const { value, outcome } = this.#written.get(key)!;
    if (found === value && outcome !== 'refused') return;
    if (found === null && outcome !== 'acknowledged') return;
    const name = outcome === 'acknowledged' ? 'durability' : 'refused writes';
    throw new Violation(name, `SET ${key} ${value} was ${outcome}; at the end the key holds ${found ?? 'nothing'}`);
  }
}
