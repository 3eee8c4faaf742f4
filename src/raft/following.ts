/**
 * The follower's side of replication (§5.3): what has been shown, by the appends of the leader followed now, to be the same as in
 * its log, and what it has to be answered.
 *
 * Invariant: a follower answers for min(its disk, what this leader's appends have shown to match). The disk alone vouches for
 * nothing: behind the matching prefix it may hold a suffix of another leader's.
 */
import { broken } from './invariant.js';
import type { LogView } from './log-view.js';
import type { AppendRequest } from './types.js';

export class Following {
  readonly #log: LogView;
  #verified: number;
  /** Up to where this leader was answered, and whether an answer has to go. */
  #answered: number;
  #due = false;

  constructor(log: LogView, commit: number) {
    this.#log = log;
    this.#verified = commit;
    this.#answered = commit;
  }

  /** Another leader, or none: nothing but what is committed is known to be in its log. */
  begin(commit: number): void {
    this.#verified = commit;
    this.#answered = commit;
    this.#due = false;
  }

  /** Everything up to here is the same as in this leader's log. */
  get verified(): number {
    return this.#verified;
  }

  /** The leader does not know what this node has: it is answered anew. */
  remind(): void {
    this.#due = true;
  }

  /** What this node may answer for: on its disk, and shown by this leader to be the same as in its log. */
  get durable(): number {
    return Math.min(this.#log.persisted, this.#verified);
  }

  /** More is on disk: it is answered for if this leader has shown it to match. */
  persisted(): void {
    if (this.durable > this.#answered) this.#due = true;
  }

  /** A snapshot up to `index` is durable: it is committed, so this leader has it too, and wants to know. */
  installed(index: number): void {
    this.#verified = Math.max(index, Math.min(this.#verified, this.#log.lastIndex));
    this.#due = true;
  }

  /**
   * What of an append lies behind the own snapshot, when it begins before: what is in the snapshot is committed, and there
   * is nothing left to compare. Undefined: nothing does; the leader is told how far this node is.
   */
  trim(request: AppendRequest): AppendRequest | undefined {
    const prevIndex = this.#log.firstIndex - 1;
    const prevTerm = this.#log.term(prevIndex);
    const skipped = prevIndex - request.prevIndex;
    if (request.entries.length < skipped) {
      this.#due = true;
      return undefined;
    }
    const { term } = request.entries[skipped - 1]!;
    if (term !== prevTerm)
      broken(`leader ${request.from} has term ${term} at ${prevIndex}, the snapshot here ${prevTerm}`);
    return { ...request, prevIndex, prevTerm, entries: request.entries.slice(skipped) };
  }

  /** Takes the entries of an append behind one that matches. Returns the last entry up to which it shows that the logs are the same. */
  accept({ prevIndex, entries }: AppendRequest, commit: number): number {
    const last = prevIndex + entries.length;
    this.#log.merge(entries, Math.max(commit, this.#verified));
    this.#verified = Math.max(this.#verified, last);
    // What is not on disk yet is answered for when it is.
    if (this.durable >= last) this.#due = true;
    return last;
  }

  /** The log has no entry (prevIndex, prevTerm): where it may match, past all entries of terms that the leader does not have there. */
  hint({ from, prevIndex, prevTerm }: AppendRequest, commit: number): number {
    if (prevIndex <= commit) {
      broken(
        `leader ${from} has term ${prevTerm} at ${prevIndex}; here that is committed with term ${this.#log.term(prevIndex)}`,
      );
    }
    return this.#log.lastWithTerm(commit, Math.min(prevIndex, this.#log.lastIndex), prevTerm);
  }

  /** The index of the answer that has to go now; undefined: none. */
  answer(): number | undefined {
    if (!this.#due) return undefined;
    this.#due = false;
    this.#answered = this.durable;
    return this.#answered;
  }
}

/** Entries follow one another and the one before; their terms do not fall, and none is above the leader's. */
export function checkEntries({ from, term, prevIndex, prevTerm, entries }: AppendRequest): void {
  let index = prevIndex;
  let least = prevTerm;
  for (const entry of entries) {
    index++;
    if (entry.index !== index || entry.term < least || entry.term > term) {
      broken(
        `node ${from} of term ${term} sent entry ${entry.index} of term ${entry.term} as entry ${index} after term ${least}`,
      );
    }
    least = entry.term;
  }
}
