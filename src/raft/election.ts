/** When a node campaigns, and how its campaign stands (§5.2, dissertation §9.6). */
import type { Quorum, Tally } from './quorum.js';
import type { NodeId, RaftConfig } from './types.js';

/** How long nothing was heard of a leader, in ticks, and when that is too long. */
export class Patience {
  readonly #config: RaftConfig;
  /** Ticks since the leader was heard of, a vote was given, or a campaign began. */
  #elapsed = 0;
  /** Ticks after which this node campaigns: drawn anew for each wait (§5.2). */
  #most = 0;
  #forgiven = false;
  /** Ticks for which this node, just started, may have promised its leader of before to vote for nobody else. */
  #bound: number;

  constructor(config: RaftConfig) {
    this.#config = config;
    this.#bound = config.lease === undefined ? 0 : config.electionTicks[0];
    this.restart();
  }

  /** A wait of a new length begins. */
  restart(): void {
    const [least, most] = this.#config.electionTicks;
    this.#elapsed = 0;
    this.#most = least + Math.floor(this.#config.random() * (most - least + 1));
  }

  /** There is no reason yet to campaign: the wait begins again. */
  renew(): void {
    this.#elapsed = 0;
  }

  /** True if the wait has been too long. A late tick does not count, unless the one before was late as well. */
  tick(late: boolean): boolean {
    this.#forgiven = late && !this.#forgiven;
    if (this.#forgiven) return false;
    this.#elapsed++;
    if (this.#bound > 0) this.#bound--;
    return this.#elapsed >= this.#most;
  }

  /** There are leases, and this node may not remember what one rests on: it has just started. */
  get bound(): boolean {
    return this.#bound > 0;
  }

  /** The wait is still shorter than any election time-out: if there was a leader, a majority may well hear it (dissertation §4.2.3). */
  get fresh(): boolean {
    return this.#elapsed < this.#config.electionTicks[0];
  }
}

/** The campaign of a candidate. */
export class Campaign {
  /** It only asks if it could win. */
  readonly pre: boolean;
  /** The leader asked for it. */
  readonly transfer: boolean;
  readonly #votes = new Map<NodeId, boolean>();

  constructor(pre: boolean, transfer: boolean) {
    this.pre = pre;
    this.transfer = transfer;
  }

  answered(id: NodeId): boolean {
    return this.#votes.has(id);
  }

  /** Notes an answer. Each node's counts once, and only of those who count at all. */
  count(id: NodeId, granted: boolean, quorum: Quorum): Tally {
    this.#votes.set(id, granted);
    return quorum.tally(this.#votes);
  }
}
