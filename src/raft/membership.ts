/**
 * Who belongs to the cluster, and how that changes (§6, dissertation §4).
 *
 * A change of voters takes two entries. The first sets both memberships, joint: elections and commits need a majority of the
 * old voters and one of the new. When it is committed, the leader, or whoever leads by then, proposes the second, which sets the new
 * one alone. However many voters come and go at once, no two majorities without a common member can ever decide. Learners
 * do not count, so a change of learners alone is one entry.
 *
 *     {1,2,3} ── joint: voters {2,3,4}, outgoing {1,2,3} ── {2,3,4}
 *
 * The newest membership in a node's own log is the one it goes by, committed or not (dissertation §4.1): it comes into force when
 * it is appended, and out of force when it is truncated.
 */
import { broken } from './invariant.js';
import { Quorum } from './quorum.js';
import type { Membership, MembershipAt, NodeId } from './types.js';

export function isJoint({ outgoing }: Membership): boolean {
  return outgoing.length > 0;
}

/** The membership that a change of `current` to these voters and learners begins with: joint if the voters differ. */
export function changed(current: Membership, voters: readonly NodeId[], learners: readonly NodeId[]): Membership {
  return { voters, outgoing: same(current.voters, voters) ? [] : current.voters, learners };
}

/** The membership that ends a joint one. */
export function left({ voters, learners }: Membership): Membership {
  return { voters, outgoing: [], learners };
}

/** What is wrong with a membership; undefined: nothing. */
export function fault({ voters, outgoing, learners }: Membership): string | undefined {
  const lists = [voters, outgoing, learners];
  if (voters.length === 0 && outgoing.length + learners.length > 0) return 'there are no voters';
  if (lists.some((ids) => new Set(ids).size !== ids.length)) return 'each id must be in a list at most once';
  if (lists.some((ids) => ids.some((id) => !Number.isInteger(id) || id < 1 || id > 65_535))) {
    return 'ids are integers from 1 to 65535';
  }
  if (learners.some((id) => voters.includes(id))) return 'a node cannot be voter and learner';
  return undefined;
}

/** Every member, of both majorities and the learners, once. */
export function everybody(membership: Membership | undefined): readonly NodeId[] {
  if (membership === undefined) return [];
  return [...new Set([...membership.voters, ...membership.outgoing, ...membership.learners])];
}

/** Whether `next` may follow `current`: out of a joint membership only the way to its end, else into one, or a change of learners alone. */
export function isStep(current: Membership, next: Membership): boolean {
  if (fault(next) !== undefined || next.voters.length === 0) return false;
  if (isJoint(current)) {
    return !isJoint(next) && same(next.voters, current.voters) && same(next.learners, current.learners);
  }
  return same(isJoint(next) ? next.outgoing : next.voters, current.voters);
}

function same(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}

export function describe({ voters, outgoing, learners }: Membership): string {
  const joint = outgoing.length > 0 ? `, outgoing [${outgoing.join(', ')}]` : '';
  return `voters [${voters.join(', ')}]${joint}, learners [${learners.join(', ')}]`;
}

/** The memberships of one log: the newest that is committed, and those behind it. */
export class Memberships {
  /** In the order of the log; the first is the newest known to be committed. */
  #list: MembershipAt[];
  #newest: MembershipAt;
  #quorum: Quorum;
  #committed: boolean;

  /** `commit`: what is known to be committed now. */
  constructor(base: Membership, changes: readonly MembershipAt[], commit: number) {
    const wrong = fault(base);
    if (wrong !== undefined) broken(`${describe(base)}: ${wrong}`);
    this.#newest = { index: 0, membership: base };
    this.#list = [this.#newest];
    this.#quorum = new Quorum(base);
    this.#committed = true;
    for (const { index, membership } of changes) this.add(index, membership);
    this.settle(commit);
  }

  get newest(): MembershipAt {
    return this.#newest;
  }
  /** Who decides under the newest one. */
  get quorum(): Quorum {
    return this.#quorum;
  }
  /** The newest is known to be committed. */
  get committed(): boolean {
    return this.#committed;
  }
  get joint(): boolean {
    return isJoint(this.#newest.membership);
  }

  /** Whether the newest one lists this node, as whatever. */
  has(id: NodeId): boolean {
    return this.#quorum.has(id) || this.#newest.membership.learners.includes(id);
  }

  /**
   * Whether this node may stand for election: it is a voter, or the change that takes its vote is not known to be committed. It
   * may be the only one that has the entry which removes it, and then nobody else can be elected (dissertation §4.2.2, figure 4.6).
   */
  mayLead(id: NodeId): boolean {
    return this.#list.some(({ membership }) => membership.voters.includes(id) || membership.outgoing.includes(id));
  }

  /** An entry that sets a membership was appended. */
  add(index: number, membership: Membership): void {
    const wrong = fault(membership);
    if (wrong !== undefined || membership.voters.length === 0) {
      broken(`entry ${index} sets ${describe(membership)}: ${wrong ?? 'there are no voters'}`);
    }
    if (index <= this.#newest.index) broken(`entry ${index} sets a membership, as entry ${this.#newest.index} did`);
    this.#list.push({ index, membership });
    this.#renew();
  }

  /** All entries from `first` on are gone. */
  truncate(first: number): void {
    if (this.#newest.index < first) return;
    while (this.#list.length > 1 && this.#list.at(-1)!.index >= first) this.#list.pop();
    this.#renew();
  }

  /** Everything up to `commit` is committed: what was in force before the newest of that will not be again. */
  settle(commit: number): void {
    if (this.#committed) return;
    let superseded = 0;
    while (superseded + 1 < this.#list.length && this.#list[superseded + 1]!.index <= commit) superseded++;
    this.#list.splice(0, superseded);
    this.#committed = this.#list.length === 1;
  }

  /** A snapshot tells the membership at `index`, which is behind all that was known to be committed. */
  install(index: number, membership: Membership): void {
    const wrong = fault(membership);
    if (wrong !== undefined || membership.voters.length === 0) {
      broken(`a snapshot sets ${describe(membership)}: ${wrong ?? 'there are no voters'}`);
    }
    this.#list = [{ index, membership }, ...this.#list.filter((later) => later.index > index)];
    this.#renew();
  }

  #renew(): void {
    this.#newest = this.#list.at(-1)!;
    this.#quorum = new Quorum(this.#newest.membership);
    this.#committed = this.#list.length === 1;
  }
}
