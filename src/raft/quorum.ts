/**
 * Who counts, and how many are enough: the only place that knows the voters.
 *
 * Any two majorities share a member (§5.2, §5.4.3); all of Raft's safety rests on this. Membership changes will make
 * this a set that follows the log, and two sets while they are joint (§6); nothing outside this file needs to know.
 */
import { broken } from './invariant.js';
import type { NodeId } from './types.js';

export class Voters {
  /** In the order of the configuration: everything that goes through them is deterministic. */
  readonly ids: readonly NodeId[];
  readonly #majority: number;
  readonly #scratch: number[] = [];

  constructor(ids: readonly NodeId[]) {
    if (ids.length === 0 || new Set(ids).size !== ids.length || ids.includes(0)) {
      broken(`voters are [${ids.join(', ')}]; there must be at least one, each id once, none 0`);
    }
    this.ids = [...ids];
    this.#majority = Math.floor(ids.length / 2) + 1;
  }

  has(id: NodeId): boolean {
    return this.ids.includes(id);
  }

  /** Whether `id` decides everything alone. */
  alone(id: NodeId): boolean {
    return this.ids.length === 1 && this.ids[0] === id;
  }

  /** Whether those for which `test` holds are a majority. */
  majority(test: (id: NodeId) => boolean): boolean {
    let count = 0;
    for (let i = 0; i < this.ids.length; i++) if (test(this.ids[i]!)) count++;
    return count >= this.#majority;
  }

  /** The largest index that a majority has reached (§5.3, §5.4: matchIndex[i] ≥ N). */
  reached(indexOf: (id: NodeId) => number): number {
    const scratch = this.#scratch;
    for (let i = 0; i < this.ids.length; i++) scratch[i] = indexOf(this.ids[i]!);
    // Insertion sort, falling: a handful of numbers, once a turn, and it makes no object.
    for (let i = 1; i < scratch.length; i++) {
      const index = scratch[i]!;
      let at = i;
      for (; at > 0 && scratch[at - 1]! < index; at--) scratch[at] = scratch[at - 1]!;
      scratch[at] = index;
    }
    return scratch[this.#majority - 1]!;
  }

  /** What the answers so far decide. `lost`: those who may still answer do not make a majority any more. */
  tally(votes: ReadonlyMap<NodeId, boolean>): 'won' | 'lost' | 'open' {
    if (this.majority((id) => votes.get(id) === true)) return 'won';
    return this.majority((id) => votes.get(id) !== false) ? 'open' : 'lost';
  }
}
