/**
 * Whether a learner keeps up, in rounds (dissertation §4.2.1): a round is to bring it all that the leader's log held at the round's
 * beginning. Each round has less to do than the one before if the learner is fast enough; one that takes less than an election
 * time-out means that as a voter it would not hold up commits for longer than a change of leader does.
 */
export class CatchUp {
  /** The round brings it everything up to here; 0: it had everything, and no round has begun since. */
  #target: number;
  /** Tick at which the round began. */
  #since: number;
  /** The last round was short enough. */
  #quick = false;

  constructor(target: number, now: number) {
    this.#target = target;
    this.#since = now;
  }

  /** It has everything up to `match` now. */
  reached(match: number, lastIndex: number, now: number, patience: number): void {
    if (match < this.#target) return;
    if (this.#target > 0) this.#quick = now - this.#since < patience;
    this.#begin(match, lastIndex, now);
  }

  #begin(match: number, lastIndex: number, now: number): void {
    this.#target = lastIndex > match ? lastIndex : 0;
    this.#since = now;
  }

  /** It keeps up: its last round was short enough, and the one under way is so far; or a round would have nothing to bring. */
  done(match: number, lastIndex: number, now: number, patience: number): boolean {
    if (this.#target === 0) this.#begin(match, lastIndex, now);
    if (this.#target === 0) return true;
    return this.#quick && now - this.#since < patience;
  }
}
