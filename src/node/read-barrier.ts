/**
 * Linearizable reads by ReadIndex (dissertation §6.4): the reads that gather while one round is under way share the next.
 *
 * Invariants: one batch is in flight; it was sealed before its index was asked for, so the index is at least as new as
 * every write acknowledged before any of its reads arrived; it is evaluated once that index is applied here. At most one
 * question of a batch is open; any answer to its number was given after the batch was sealed.
 */
import type { Store } from '../store/store.js';

export class ReadBarrier {
  readonly #store: Store;
  readonly #ask: (id: number) => void;
  readonly #retryMs: number;
  #lastId = 0;
  #inFlight: { id: number; since: number; asked: number; open: boolean; index: number | undefined } | undefined;
  #gatheredSince: number | undefined;

  /** `ask` asks Raft for a read index; each question is answered once, and Raft itself repeats one that is lost. `retryMs`: how long after asking in vain to ask again. */
  constructor(store: Store, ask: (id: number) => void, retryMs: number) {
    this.#store = store;
    this.#ask = ask;
    this.#retryMs = retryMs;
  }

  get idle(): boolean {
    return this.#inFlight === undefined && this.#store.gathered === 0;
  }

  get canStart(): boolean {
    return this.#inFlight === undefined && this.#store.gathered > 0;
  }

  /** Sends the gathered reads into flight if none are. */
  start(now: number): void {
    if (this.#store.gathered > 0) this.#gatheredSince ??= now;
    if (!this.canStart || !this.#store.sealReads()) return;
    this.#inFlight = {
      id: ++this.#lastId,
      since: this.#gatheredSince ?? now,
      asked: now,
      open: true,
      index: undefined,
    };
    this.#gatheredSince = undefined;
    this.#ask(this.#inFlight.id);
  }

  /** Raft's answer; -1: nobody could answer, it is asked again later. */
  answer(id: number, index: number): void {
    const batch = this.#inFlight;
    if (batch?.id !== id || batch.index !== undefined) return;
    batch.open = false;
    if (index >= 0) batch.index = index;
  }

  /** Asks again what nobody could answer, if it is due, or at once with `force` (there is a new leader). */
  repeat(now: number, force: boolean): void {
    const batch = this.#inFlight;
    if (batch === undefined || batch.open || batch.index !== undefined) return;
    if (!force && now - batch.asked < this.#retryMs) return;
    batch.asked = now;
    batch.open = true;
    this.#ask(batch.id);
  }

  /** Evaluates the batch if its index is applied; true when it has more to do and wants another turn. */
  evaluate(): boolean {
    const batch = this.#inFlight;
    if (batch?.index === undefined || this.#store.applied < batch.index) return false;
    if (!this.#store.evalReads()) return true;
    this.#inFlight = undefined;
    return false;
  }

  /** Fails reads that have waited since before `deadline`. */
  giveUp(deadline: number, hasLeader: boolean): void {
    const batch = this.#inFlight;
    if (batch === undefined || batch.since > deadline) return;
    // An index that is here only waits for apply, which goes on by itself.
    if (batch.index !== undefined && this.#store.applied >= batch.index) return;
    this.#store.failReads(hasLeader ? 'timeout' : 'no-leader');
    this.#inFlight = undefined;
  }

  /** The node stops. */
  stop(): void {
    if (this.#inFlight || this.#store.sealReads()) this.#store.failReads('stopping');
    this.#inFlight = undefined;
    if (this.#store.sealReads()) this.#store.failReads('stopping');
  }
}
