/**
 * The log as the core sees it: what the host keeps (`LogReader`), overlaid by entries not yet handed out in a Ready.
 *
 *   index   1 … … … … | firstIndex … … … … | first pending … last pending
 *           snapshot  | host's log         | pending (shadows whatever the host still has there)
 *                             ^ persisted: everything up to here is durable, as this log has it
 *
 * Invariants: pending is gapless and begins at most one past the host's last entry; terms never fall along the log;
 * nothing at or below the commit index is replaced; persisted ≤ last index, and falls back when what it covered is
 * replaced. The memberships that its entries set come and go with them.
 *
 * Of the host's writes the core asks one thing: a write does not carry an entry that had been replaced in memory before
 * the write began. Else the sequence (5, term 2), (5, term 3), (5, term 2) could leave a late completion of the first
 * vouching for the third while the second is what a crash leaves.
 */
import { broken } from './invariant.js';
import type { Memberships } from './membership.js';
import type { Entry, LogReader } from './types.js';

export class LogView {
  readonly #log: LogReader;
  readonly #memberships: Memberships;
  #pending: Entry[] = [];
  #persisted: number;
  /** Last index the host must hold by now. */
  #handed: number;

  constructor(log: LogReader, persisted: number, memberships: Memberships) {
    this.#log = log;
    this.#memberships = memberships;
    this.#handed = log.lastIndex();
    this.#persisted = persisted;
    if (persisted < this.firstIndex - 1) broken(`persisted ${persisted} is before the log, from ${this.firstIndex} on`);
    if (persisted > this.#handed) broken(`persisted ${persisted} is beyond the last entry ${this.#handed}`);
  }

  /** First entry that is not replaced by a snapshot; the term of the one before it is known. */
  get firstIndex(): number {
    return this.#log.firstIndex();
  }

  get lastIndex(): number {
    const pending = this.#pending;
    return pending.length > 0 ? pending[pending.length - 1]!.index : this.#handed;
  }

  get lastTerm(): number {
    return this.term(this.lastIndex);
  }

  get persisted(): number {
    return this.#persisted;
  }

  /** Index from which entries are not yet handed out. */
  get #offset(): number {
    return this.#pending.length > 0 ? this.#pending[0]!.index : this.#handed + 1;
  }

  term(index: number): number {
    if (index === 0) return 0;
    const offset = this.#offset;
    if (index < offset) return index >= this.firstIndex - 1 ? this.#log.term(index) : this.#dropped(index);
    const entry = this.#pending[index - offset];
    return entry !== undefined ? entry.term : broken(`no entry ${index}: the log ends at ${this.lastIndex}`);
  }

  #dropped(index: number): never {
    return broken(`entry ${index} was dropped: the log begins with ${this.firstIndex}`);
  }

  /** Whether the log has an entry of this term at this index (the consistency check of §5.3). */
  matches(index: number, term: number): boolean {
    return index <= this.lastIndex && this.term(index) === term;
  }

  /** Whether a log that ends so is at least as up to date as this one (§5.4.1). */
  notNewerThan(lastIndex: number, lastTerm: number): boolean {
    const own = this.lastTerm;
    return lastTerm > own || (lastTerm === own && lastIndex >= this.lastIndex);
  }

  /** The last index in [low, high] whose term is at most `term`; `low` if there is none. Terms never fall, so it bisects. */
  lastWithTerm(low: number, high: number, term: number): number {
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.term(middle) <= term) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Entries from `from` to the end: at least one, then as many as fit in `maxBytes`. */
  entries(from: number, maxBytes: number): readonly Entry[] {
    const offset = this.#offset;
    // What is pending is most often all that is wanted, and is not changed once it has been handed out.
    if (from === offset && totalBytes(this.#pending) <= maxBytes) return this.#pending;
    const found = from < offset ? this.#log.entries(from, offset - 1, maxBytes) : [];
    let next = from + found.length;
    if (next < offset) return found;
    let room = maxBytes;
    for (const entry of found) room -= entry.bytes.length;
    for (; next <= this.lastIndex; next++) {
      const entry = this.#pending[next - offset]!;
      room -= entry.bytes.length;
      if (room < 0 && found.length > 0) break;
      found.push(entry);
    }
    return found;
  }

  /** Adds an entry at the end: the only way a leader's log changes (Leader Append-Only, §5.3). */
  append(entry: Entry): void {
    if (entry.index !== this.lastIndex + 1)
      broken(`entry ${entry.index} appended to a log that ends at ${this.lastIndex}`);
    if (entry.term < this.lastTerm)
      broken(`entry ${entry.index} has term ${entry.term}, the one before it ${this.lastTerm}`);
    // An array of one is small; one that grows from none has room for seventeen.
    if (this.#pending.length === 0) this.#pending = [entry];
    else this.#pending.push(entry);
    if (entry.membership !== undefined) this.#memberships.add(entry.index, entry.membership);
  }

  /**
   * Takes a leader's entries, the first of which follows one that matches. Those already here stay; from the first
   * that differs in term on, all is replaced (§5.3). An append that is a prefix of what is here changes nothing: it may
   * only be late. `fixed`: nothing up to here can differ (committed, or sent by this same leader before).
   */
  merge(entries: readonly Entry[], fixed: number): void {
    let at = 0;
    while (at < entries.length && this.matches(entries[at]!.index, entries[at]!.term)) at++;
    if (at === entries.length) return;
    const first = entries[at]!.index;
    if (first <= fixed) {
      broken(`the leader replaces entry ${first} by one of term ${entries[at]!.term}, but all up to ${fixed} is fixed`);
    }
    if (first <= this.lastIndex) this.#truncate(first);
    for (; at < entries.length; at++) this.append(entries[at]!);
  }

  /** Forgets all from `first` on. The host does the same when it is handed the entry that replaces it. */
  #truncate(first: number): void {
    const offset = this.#offset;
    if (first > offset) {
      this.#pending = this.#pending.slice(0, first - offset);
    } else {
      this.#pending = [];
      this.#handed = first - 1;
    }
    this.#persisted = Math.min(this.#persisted, first - 1);
    this.#memberships.truncate(first);
  }

  /**
   * The host's disk holds everything up to the entry (index, term). Ignored if that entry has been replaced since, or
   * is about to be written again: a late completion must not vouch for bytes that took its place. True if it is news.
   */
  persist(index: number, term: number): boolean {
    if (index <= this.#persisted || index >= this.#offset || this.term(index) !== term) return false;
    this.#persisted = index;
    return true;
  }

  /**
   * A snapshot up to the entry (index, term) is durable, and the host's log begins behind it: with what followed that entry, if it
   * had it, else empty (§7). Nothing may be pending.
   */
  restart(index: number, term: number): void {
    const last = this.#log.lastIndex();
    if (this.#pending.length > 0) broken(`a snapshot of entry ${index} while entries have not been handed out`);
    if (last < index || this.#log.term(index) !== term) {
      broken(`a snapshot of entry ${index} of term ${term}, but the log does not follow it`);
    }
    this.#handed = last;
    this.#persisted = Math.max(index, Math.min(this.#persisted, last));
    this.#memberships.truncate(last + 1);
  }

  /** Hands out what is pending: the host has it in memory before it calls again. */
  take(): Entry[] {
    const taken = this.#pending;
    if (taken.length === 0) {
      if (this.#log.lastIndex() !== this.#handed) {
        broken(`the host's log ends at ${this.#log.lastIndex()}; what it was handed ends at ${this.#handed}`);
      }
      return taken;
    }
    this.#handed = taken[taken.length - 1]!.index;
    this.#pending = [];
    return taken;
  }
}

function totalBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) bytes += entries[i]!.bytes.length;
  return bytes;
}
