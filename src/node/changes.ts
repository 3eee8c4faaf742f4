/**
 * Changes of the membership, as the leader carries them out: what it was asked for, one after the other, and by itself the
 * promotion of learners that have caught up.
 *
 * What is asked for is a *goal*: a look at the members says that it is reached, that it cannot be, or what the next step is. So a
 * goal of several entries (out with the lost folder, in with the new one) needs no state of its own, may be asked for again by
 * whoever had no answer, and goes on under another leader. A step is taken only when the one before is committed.
 *
 * The second half of a joint change is not a goal: Raft asks for it (`Ready.leaveJoint`), also of a leader that knows nothing of
 * the first.
 */
import type { Raft } from '../raft/raft.js';
import type { Membership, MembershipRefusal, NodeId } from '../raft/types.js';
import {
  atAddress,
  findMember,
  formatMembers,
  isConsistentStep,
  isVoter,
  Kind,
  leftJoint,
  type Member,
  type Members,
  membershipOf,
  promoted,
  sameIdentity,
  withInvited,
  withLearner,
  withMember,
  without,
} from './members.js';
import type { LogLevel } from './options.js';
import type { Roster } from './roster.js';

/** A goal that is not reached after so long is given up; what of it is under way goes on. */
const patienceMs = 12_000;

/** Most bytes of the record: it has to fit beside a snapshot, too. */
const mostRecordBytes = 60_000;

/** What a look at the members finds of a goal. `again`: what stands against it may pass. */
export type Verdict =
  | { readonly kind: 'reached' }
  | { readonly kind: 'refused'; readonly error: string; readonly again: boolean }
  | { readonly kind: 'step'; readonly next: Members; readonly log: string };

export type Goal = (members: Members) => Verdict;

const reached: Verdict = { kind: 'reached' };
const refused = (error: string, again = false): Verdict => ({ kind: 'refused', error, again });
const step = (next: Members, log: string): Verdict => ({ kind: 'step', next, log });

export interface ChangesHost {
  readonly id: NodeId;
  /** Where this node is reached now. */
  readonly address: string;
  readonly roster: Roster;
  raft(): Raft | undefined;
  /** Monotonic, ms. */
  now(): number;
  /** Appends the entry that sets these members. */
  propose(record: Uint8Array, membership: Membership): number | MembershipRefusal;
  log(level: LogLevel, text: string): void;
}

/** How a goal ended. `leader`: this node is not it (any more). */
export type Outcome = { readonly ok: true } | { readonly ok: false; readonly error: string; readonly again: boolean };

interface Pending {
  readonly goal: Goal;
  readonly deadline: number;
  readonly done: (outcome: Outcome) => void;
}

export class Changes {
  readonly #host: ChangesHost;
  readonly #pending: Pending[] = [];

  constructor(host: ChangesHost) {
    this.#host = host;
  }

  /** Something is to be done, or may be when time has passed. */
  get waiting(): boolean {
    return this.#pending.length > 0 || this.#host.roster.hasLearners;
  }

  add(goal: Goal, done: (outcome: Outcome) => void): void {
    this.#pending.push({ goal, deadline: this.#host.now() + patienceMs, done });
    this.look();
  }

  /** Takes the next step, if it is time for one: to be called now and then, and soon after something was committed. */
  look(): void {
    if (!this.waiting) return;
    const raft = this.#host.raft();
    if (raft?.role !== 'leader') {
      this.#giveUp(() => true, 'the node that was asked does not lead any more');
      return;
    }
    const { index, membership, committed } = raft.membership;
    const settled = committed && membership.outgoing.length === 0 && index === this.#host.roster.index;
    if (settled) this.#advance(raft);
    const now = this.#host.now();
    this.#giveUp(({ deadline }) => now >= deadline, 'it takes too long; it goes on, and may be asked for again');
  }

  #giveUp(test: (pending: Pending) => boolean, error: string): void {
    for (const pending of this.#pending.filter(test)) {
      this.#pending.splice(this.#pending.indexOf(pending), 1);
      pending.done({ ok: false, error, again: true });
    }
  }

  /** Nothing is under way. */
  #advance(raft: Raft): void {
    const { roster } = this.#host;
    for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
      const verdict = first.goal(roster.members);
      if (verdict.kind === 'step' && this.#propose(verdict.next, verdict.log)) return;
      this.#pending.shift();
      if (verdict.kind === 'reached') first.done({ ok: true });
      else if (verdict.kind === 'refused') first.done({ ok: false, error: verdict.error, again: verdict.again });
      else first.done({ ok: false, error: 'the record of the members would be too large', again: false });
    }
    this.#promote(raft);
  }

  #promote(raft: Raft): void {
    const { members } = this.#host.roster;
    const ready = members.filter(({ id, kind }) => kind === Kind.learner && raft.caughtUp(id)).map(({ id }) => id);
    if (ready.length === 0) return;
    const next = promoted(members, ready);
    if (lacksMajority(raft, this.#host.id, next) === undefined)
      this.#propose(next, `node ${ready.join(' and ')} has caught up and becomes a voter`);
  }

  /** The members of a joint change that is committed are to be left with those that it leads to. */
  leaveJoint(): void {
    const { roster } = this.#host;
    if (this.#host.raft()?.membership.index === roster.index) this.#propose(leftJoint(roster.members), undefined);
  }

  /** False: the record would be too large. What Raft refuses now is tried again with the next look. */
  #propose(members: Members, log: string | undefined): boolean {
    const { roster } = this.#host;
    const next = this.#withOwnAddress(members);
    if (!isConsistentStep(roster.members, next)) throw new Error('a change of the members is no step from what is now');
    const record = formatMembers(next);
    if (record.length > mostRecordBytes) return false;
    const index = this.#host.propose(record, membershipOf(next));
    if (index === 'not-a-step') throw new Error('Raft took a change of the members for no step');
    if (typeof index === 'number' && log) this.#host.log('info', log);
    return true;
  }

  /** A cluster of one goes where it is started: its record may say where it was before. */
  #withOwnAddress(members: Members): Members {
    const { id, address } = this.#host;
    const own = findMember(members, id);
    const alone = this.#host.roster.members.filter(isVoter).length === 1;
    return alone && own && own.address !== address ? withMember(members, { ...own, address }) : members;
  }
}

/** Why the voters that a change leads to could not decide; undefined: a majority of them was heard of just now, and counts. */
function lacksMajority(raft: Raft, own: NodeId, next: Members): string | undefined {
  // Nothing is committed with the help of one that repairs its log, and without that its repair never ends.
  const active = new Set(raft.peers().flatMap(({ id, active, abstains }) => (active && !abstains ? [id] : [])));
  const voters = next.filter(isVoter);
  const heard = voters.filter(({ id }) => id === own || active.has(id)).length;
  if (heard > voters.length / 2) return undefined;
  return `of the ${voters.length} voters that there would be only ${heard} can be reached and count, which is no majority`;
}

const name = ({ id, address }: Pick<Member, 'id' | 'address'>): string => `node ${id} at ${address}`;

/** A node with this folder is to be a member, as a learner at first. A member whose folder was lost is replaced. */
export function joinGoal(raft: Raft, own: NodeId, id: number, address: string, identity: Uint8Array): Goal {
  return (members) => {
    const other = atAddress(members, address);
    if (other && other.id !== id) return refused(`${address} is the address of node ${other.id}, which is a member`);
    const member = findMember(members, id);
    const learner = step(withLearner(members, id, address, identity), `${name({ id, address })} joins as a learner`);
    if (member === undefined) return learner;
    if (member.kind === Kind.removed)
      return refused(
        `node ${id} was removed from the cluster; invite it with: distributed cluster add ${id} ${address}, or choose another --id`,
      );
    if (member.address !== address)
      return refused(
        member.kind === Kind.invited
          ? `node ${id} is invited at ${member.address}; start it there, or invite it here: distributed cluster add ${id} ${address}`
          : `node ${id} is a member at ${member.address}; choose another --id, or remove that one first`,
      );
    if (member.kind === Kind.invited) return learner;
    if (sameIdentity(member.identity, identity)) return reached;
    return replaceLost(raft, own, members, member);
  };
}

function replaceLost(raft: Raft, own: NodeId, members: Members, member: Member): Verdict {
  const { id } = member;
  if (id === own) return refused(`node ${id} leads the cluster, with another data folder`);
  if (raft.peers().some((peer) => peer.id === id && peer.active))
    return refused(`node ${id} was heard of just now, with another data folder`, true);
  const next = without(members, id, 'invited');
  const lack = lacksMajority(raft, own, next);
  if (lack) return refused(`node ${id} has lost its data folder, and cannot be replaced: ${lack}`, true);
  return step(next, `${name(member)} has lost its data folder, and is replaced by the new one`);
}

/** An id may join, at this address, although it was removed before. */
export function addGoal(id: number, address: string): Goal {
  return (members) => {
    const other = atAddress(members, address);
    if (other && other.id !== id) return refused(`${address} is the address of node ${other.id}, which is a member`);
    const member = findMember(members, id);
    if (member?.kind === Kind.invited && member.address === address) return reached;
    if (member && member.kind !== Kind.invited && member.kind !== Kind.removed)
      return member.address === address
        ? reached
        : refused(`node ${id} is a member at ${member.address}; remove that one first`);
    return step(withInvited(members, id, address), `${name({ id, address })} is invited to join`);
  };
}

export function removeGoal(raft: Raft, own: NodeId, id: number): Goal {
  return (members) => {
    const member = findMember(members, id);
    if (member === undefined) return refused(`the cluster has no member ${id}`);
    if (member.kind === Kind.removed) return reached;
    const next = without(members, id, 'removed');
    if (!next.some(isVoter)) return refused(`node ${id} is the last voter, which cannot be removed`);
    const lack = isVoter(member) ? lacksMajority(raft, own, next) : undefined;
    if (lack) return refused(`node ${id} cannot be removed now: ${lack}`, true);
    return step(next, `${name(member)} is removed`);
  };
}
