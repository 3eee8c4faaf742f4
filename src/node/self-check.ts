/**
 * Replicas compare what they hold: the state hash after every entry whose index divides by 1,024 is told to all members, and each
 * looks at its own in the light of the others'.
 *
 *     apply passes 1,024 n ─▶ tell all ─▶ a majority of voters says the same, and this node another? ─▶ it diverged
 *
 * ## Invariants
 *
 * - Nobody's hash is better than another's, the leader's neither: only a majority of the voters decides.
 * - Without a majority nobody does anything but say so.
 */
import type { Membership, NodeId } from '../raft/types.js';
import type { LogLevel } from './options.js';

/** Entries between two that are compared. */
const interval = 1_024;
/** Indexes that are remembered: who is far behind is compared when it gets there. */
const mostIndexes = 64;

export interface SelfCheckHost {
  readonly id: NodeId;
  membership(): Membership | undefined;
  /** Tells all other members. */
  tell(index: number, hash: string): void;
  /** This node's state is known to be wrong, whatever it says. */
  wrong(): boolean;
  /** This node's state is not that of these members, who are a majority and agree on that at `index`. */
  diverged(index: number, majority: readonly NodeId[]): void;
  log(level: LogLevel, text: string): void;
}

export class SelfCheck {
  readonly #host: SelfCheckHost;
  /** Entry → what each member says of the state after it. */
  readonly #hashes = new Map<number, Map<NodeId, string>>();
  /** Entries whose disagreement has been told. */
  readonly #told = new Set<number>();
  #own = 0;

  constructor(host: SelfCheckHost) {
    this.#host = host;
  }

  /** Whether apply, having come to `applied`, has passed an entry that is compared. */
  passed(applied: number): boolean {
    return applied - (applied % interval) > this.#own;
  }

  /** This node's own state. */
  own({ index, stateHash }: { readonly index: number; readonly stateHash: string }): void {
    if (index <= this.#own) return;
    this.#own = index;
    this.#host.tell(index, stateHash);
    this.heard(this.#host.id, index, stateHash);
  }

  /** What a member says. */
  heard(from: NodeId, index: number, hash: string): void {
    let said = this.#hashes.get(index);
    if (said === undefined) {
      said = new Map();
      this.#hashes.set(index, said);
      if (this.#hashes.size > mostIndexes) this.#forget(Math.min(...this.#hashes.keys()));
    }
    said.set(from, hash);
    this.#judge(index, said);
  }

  /** This node's state is another one now: what it said before says nothing of it. */
  reset(index: number): void {
    this.#own = index;
    for (const said of this.#hashes.values()) said.delete(this.#host.id);
  }

  #forget(index: number): void {
    this.#hashes.delete(index);
    this.#told.delete(index);
  }

  #judge(index: number, said: Map<NodeId, string>): void {
    const voters = this.#host.membership()?.voters ?? [];
    const own = said.get(this.#host.id);
    // Who is wrong applies nothing, so that only the others still speak: they tell whom to ask.
    const wrong = this.#host.wrong();
    if (!wrong && (own === undefined || new Set(said.values()).size === 1)) return;
    const saying = (hash: string): NodeId[] => voters.filter((voter) => said.get(voter) === hash);
    const majority = [...new Set(said.values())].map(saying).find((ids) => ids.length > voters.length / 2);
    if (majority && said.get(majority[0]!) !== own) {
      this.#host.diverged(index, majority);
      return;
    }
    if (wrong || this.#told.has(index)) return;
    this.#told.add(index);
    const each = [...said].sort(([a], [b]) => a - b).map(([id, hash]) => `node ${id} ${hash}`);
    const then = majority ? 'a majority agrees with this node' : 'there is no majority';
    this.#host.log('error', `the state after entry ${index} is not the same everywhere: ${each.join(', ')}; ${then}`);
  }
}
