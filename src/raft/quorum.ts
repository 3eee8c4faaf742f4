/**
 * Who counts, and how many are enough: the only place that knows the voters.
 *
 * Any two majorities share a member (§5.2, §5.4.3); all of Raft's safety rests on this. While two memberships are joint,
 * whatever is decided takes a majority of each (§6, dissertation §4.3), so that neither can decide without the other;
 * nothing outside this file needs to know.
 */
import { broken } from './invariant.js';
import type { Membership, NodeId } from './types.js';

/** What the answers so far decide. `lost`: those who may still answer do not make a majority any more. */
export type Tally = 'won' | 'lost' | 'open';

export class Voters {
  /** In the order of the configuration: everything that goes through them is deterministic. */
  readonly ids: readonly NodeId[];
  readonly #majority: number;
  readonly #scratch: number[] = [];

  constructor(ids: readonly NodeId[]) {
    if (new Set(ids).size !== ids.length || ids.includes(0)) {
      broken(`voters are [${ids.join(', ')}]; each id must be there once, none may be 0`);
    }
    this.ids = [...ids];
    this.#majority = Math.floor(ids.length / 2) + 1;
  }

  has(id: NodeId): boolean {
    return this.ids.includes(id);
  }

  /** Whether those for which `test` holds are a majority. Nobody is no majority of nobody. */
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

  tally(votes: ReadonlyMap<NodeId, boolean>): Tally {
    if (this.majority((id) => votes.get(id) === true)) return 'won';
    return this.majority((id) => votes.get(id) !== false) ? 'open' : 'lost';
  }
}

/** Those who decide under one membership: its voters, and while it is joint the outgoing ones as well. */
export class Quorum {
  /** All who count, each once, in the order of the membership. */
  readonly ids: readonly NodeId[];
  readonly #incoming: Voters;
  readonly #outgoing: Voters | undefined;

  constructor({ voters, outgoing }: Membership) {
    this.#incoming = new Voters(voters);
    this.#outgoing = outgoing.length > 0 ? new Voters(outgoing) : undefined;
    this.ids = [...new Set([...voters, ...outgoing])];
  }

  has(id: NodeId): boolean {
    return this.ids.includes(id);
  }

  /** Whether `id` decides everything alone. */
  alone(id: NodeId): boolean {
    return this.ids.length === 1 && this.ids[0] === id;
  }

  majority(test: (id: NodeId) => boolean): boolean {
    return this.#incoming.majority(test) && (this.#outgoing === undefined || this.#outgoing.majority(test));
  }

  reached(indexOf: (id: NodeId) => number): number {
    const reached = this.#incoming.reached(indexOf);
    return this.#outgoing === undefined ? reached : Math.min(reached, this.#outgoing.reached(indexOf));
  }

  tally(votes: ReadonlyMap<NodeId, boolean>): Tally {
    const tally = this.#incoming.tally(votes);
    if (this.#outgoing === undefined || tally === 'lost') return tally;
    const other = this.#outgoing.tally(votes);
    return other === 'lost' || tally === 'won' ? other : tally;
  }
}
