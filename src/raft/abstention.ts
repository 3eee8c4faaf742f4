/**
 * A member that repairs a corrupt log ("Amnesia and rot"): it has forgotten entries that it had acknowledged, and a majority of the
 * others may rest on them. It abstains: it neither votes nor stands for election, and what it acknowledges does not count, until it
 * has made good what it forgot. It is sent the log meanwhile like any other.
 *
 *     member  all its answers carry the number of its repair, drawn at random
 *     leader  learns of the repair: forgets what the member had acknowledged, appends an entry of its own term, and waits until
 *             an index beyond what its log held then is committed, by the others alone; tells the member ("cleared")
 *     member  has everything up to that index on its disk, and the same as in its leader's log: it counts again
 *
 * Why that is enough. Whatever was committed with its forgotten answers lies below the cleared index: entries of earlier terms
 * are in the leader's log because nobody was elected meanwhile with the vote of a member that had forgotten them (majorities
 * of those who vote and who acknowledged share one that did both), and what this leader sent it in its own term was in its log when it
 * learned of the repair. An answer from before the repair that arrives late is told from one after it by its index.
 *
 * Term and vote are in files of their own, and most often not lost: then the member goes on confirming reads. Without them it may have
 * followed a later leader than the one that it hears now, and does not.
 */
export class Abstention {
  readonly repair: number;
  #until = Number.POSITIVE_INFINITY;

  /** `repair`: not 0. */
  constructor(repair: number) {
    this.repair = repair;
  }

  /** The leader says that it will do to hold everything up to `index`. */
  cleared(index: number): void {
    this.#until = index;
  }

  /** There is another leader, which waits for an answer from behind the index that it clears itself. */
  renew(): void {
    this.#until = Number.POSITIVE_INFINITY;
  }

  /** `durable`: up to where the disk holds what is in the leader's log. */
  over(durable: number): boolean {
    return durable >= this.#until;
  }
}
