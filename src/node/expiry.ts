/**
 * Lets keys vanish when nobody writes. Log time moves with entries, and entries remove what has expired, a bounded number
 * each; so the leader appends an empty entry when the earliest deadline falls due, and another one while removals remain.
 *
 * Invariants: only the leader appends, and only once its present log time has reached the deadline; one such entry is under
 * way at a time. Without deadlines there is no timer; with some there is one.
 */
import type { Timer, Timers } from '../env/env.js';
import type { Store } from '../store/store.js';

/** Timers run no longer than this: a deadline may be centuries away. */
const longestMs = 3_600_000;

export interface ExpiryHost {
  /** The term and its present log time, ms, if this node leads. */
  leading(): { readonly term: number; readonly logTime: number } | undefined;
  /** Appends an empty entry and returns its index; undefined if this node does not lead any more. */
  append(): number | undefined;
  /** A turn is wanted, at whose end `look` is called. */
  wake(): void;
}

export class ExpiryClock {
  readonly #store: Store;
  readonly #timers: Timers;
  readonly #host: ExpiryHost;
  #underWay: { readonly term: number; readonly index: number } | undefined;
  #timer: { readonly handle: Timer; readonly deadline: number } | undefined;

  constructor(store: Store, timers: Timers, host: ExpiryHost) {
    this.#store = store;
    this.#timers = timers;
    this.#host = host;
  }

  /** At the end of each turn: appends if that is due, else sees to it that it will be looked again when it is. True if it appended. */
  look(): boolean {
    const deadline = this.#store.earliestDeadline;
    const leading = deadline === undefined ? undefined : this.#host.leading();
    if (deadline === undefined || leading === undefined) return false;
    if (deadline > leading.logTime) {
      this.#wait(deadline, deadline - leading.logTime);
      return false;
    }
    const { term } = leading;
    if (this.#underWay?.term === term && this.#store.applied < this.#underWay.index) return false;
    const index = this.#host.append();
    this.#underWay = index === undefined ? undefined : { term, index };
    return index !== undefined;
  }

  /** A timer for an earlier deadline may stay: it will look again. */
  #wait(deadline: number, ms: number): void {
    if (this.#timer !== undefined && this.#timer.deadline <= deadline) return;
    this.stop();
    const handle = this.#timers.after(Math.min(ms, longestMs), () => {
      this.#timer = undefined;
      this.#host.wake();
    });
    this.#timer = { handle, deadline };
  }

  stop(): void {
    this.#timer?.handle.cancel();
    this.#timer = undefined;
  }
}
