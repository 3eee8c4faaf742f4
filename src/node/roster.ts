/**
 * Who counts, as this node knows it: the newest record of the members in its log, committed or not (dissertation §4.1), and what
 * follows from it for links.
 *
 * Raft goes by ids; that nobody speaks for an id but the folder that the record lists is seen to here, when links are judged: an
 * (id, folder identity) that is not listed counts for nothing. There are two who are let in all the same:
 *
 * - *strangers*: members of this cluster whose log sets a newer membership than this node's. A node that was away while others came
 *   and went could never be sent the log if it insisted on those it knows. Of a stranger nothing is taken but requests: to vote, to
 *   append, heartbeats (dissertation §4.2.2); its answers decide nothing.
 * - *leavers*: members that were removed a moment ago, who have yet to be sent the entry that says so.
 *
 * Invariant: the record in force is that of `raft.membership.index`, or what the log begins with: the store's record, else
 * the founding's.
 */
import type { Timer, Timers } from '../env/env.js';
import { RecordOffset } from '../log/record.js';
import type { Founding, Log } from '../log/types.js';
import type { Entry, Membership, MembershipAt, NodeId } from '../raft/types.js';
import { MEMBERS_KEY, membersOfConfig } from '../store/config.js';
import { EntryType, HEADER_BYTES, type Store } from '../store/store.js';
import type { Hello, PeerMessage } from '../transport/types.js';
import {
  findMember,
  foundingMembers,
  Kind,
  type Member,
  type Members,
  membershipFor,
  parseMembers,
  sameIdentity,
  takesPart,
} from './members.js';
import type { PeerAddress } from './options.js';

/** What may be taken of a stranger. */
export function isRequest({ type }: PeerMessage): boolean {
  const isSnapshot = type === 'offer' || type === 'chunk';
  return type === 'append' || type === 'heartbeat' || type === 'vote' || isSnapshot;
}

/** Bytes of log that are looked through in one go at the start. */
const scanBytes = 4 * 1024 ** 2;
/** A member that was removed is listened to for so long, to learn of it. */
const leaveMs = 3_000;

/** An entry of the log that sets the members. */
interface Setting {
  readonly index: number;
  readonly members: Members;
}

/** The members that an entry sets; undefined for all others. Entry 1 says what the founding says. */
function membersOf(entry: Entry): Members | undefined {
  if (entry.bytes[RecordOffset.type] !== EntryType.config || entry.index === 1) return undefined;
  const value = membersOfConfig(entry.bytes.subarray(HEADER_BYTES));
  return value && parseMembers(value);
}

/** Whether a node with this folder takes part. */
function lists(members: Members, { id, identity }: { readonly id: number; readonly identity: Uint8Array }): boolean {
  const member = findMember(members, id);
  return member !== undefined && takesPart(member) && sameIdentity(member.identity, identity);
}

/** All that the log holds of them, in its order; in steps, between which others run. */
export async function scanMembers(log: Log, timers: Timers): Promise<readonly Setting[]> {
  const settings: Setting[] = [];
  for (let next = log.firstIndex(); next <= log.lastIndex(); ) {
    const entries = log.entries(next, log.lastIndex(), scanBytes);
    for (const entry of entries) {
      const members = membersOf(entry);
      if (members) settings.push({ index: entry.index, members });
    }
    next += entries.length;
    await new Promise<void>((resolve) => timers.defer(resolve));
  }
  return settings;
}

/** The members as of what the store has applied, a snapshot's for instance; undefined when it has applied none. */
export function membersIn(store: Store): Members | undefined {
  const value = store.system(MEMBERS_KEY);
  return value && parseMembers(value);
}

export interface RosterHost {
  readonly id: number;
  readonly log: Log;
  readonly store: Store;
  readonly timers: Timers;
  /** Others are to be connected to than before: at the next opportunity. */
  changed(): void;
  /** Links are to be judged anew, at once: from now on others count. */
  review(): void;
}

export class Roster {
  readonly #host: RosterHost;
  readonly #settings: readonly Setting[];
  #members: Members;
  #index = 0;
  #hasLearners = false;
  /** The snapshot that was installed last: the store may not hold it yet. */
  #snapshot: Setting | undefined;
  /** The record in force, or one before it in the log, lists this node. */
  #wasMember = false;
  /** Members that left a moment ago. */
  readonly #leavers = new Map<Member, Timer>();
  readonly #strangers = new Map<NodeId, Pick<Hello, 'address' | 'members'>>();

  /** `settings`: what `scanMembers` found in the log. */
  constructor(host: RosterHost, settings: readonly Setting[]) {
    this.#host = host;
    this.#settings = settings;
    this.#members = settings.at(-1)?.members ?? this.#base;
    this.#index = settings.at(-1)?.index ?? 0;
    this.#wasMember = [this.#base, ...settings.map(({ members }) => members)].some((members) => this.#lists(members));
  }

  get #founding(): Founding | undefined {
    return this.#host.log.founding;
  }

  /** What the log begins with. */
  get #base(): Members {
    const { store, log } = this.#host;
    return membersIn(store) ?? foundingMembers(log.founding?.members ?? []);
  }

  /** The record in force: everybody, also who is invited or removed. */
  get members(): Members {
    return this.#members;
  }
  get hasLearners(): boolean {
    return this.#hasLearners;
  }
  /** The entry that set it; 0: what the log begins with. As Raft numbers them. */
  get index(): number {
    return this.#index;
  }

  /**
   * The entry as of which the record is known to be the newest, for comparing it with another node's: what the log begins with is as
   * of the snapshot's last entry, whichever entry set it.
   */
  get asOf(): number {
    return this.#index > 0 ? this.#index : (this.#host.log.snapshot?.index ?? 0);
  }

  /** This node, if it takes part. */
  get own(): Member | undefined {
    return this.#lists(this.#members) ? findMember(this.#members, this.#host.id) : undefined;
  }

  /** The record in force takes this node out, or says that another folder has taken its place. */
  get isOut(): boolean {
    const member = findMember(this.#members, this.#host.id);
    if (this.own) return false;
    const { identity } = this.#host.log.folder;
    return this.#wasMember || (member?.kind === Kind.removed && sameIdentity(member.identity, identity));
  }

  /** Whether this node takes part. */
  #lists(members: Members): boolean {
    const { id, log } = this.#host;
    return lists(members, { id, identity: log.folder.identity });
  }

  /** The members as of what the store has applied. */
  get applied(): Members {
    return this.#base;
  }

  /** Another's snapshot, with these members, takes the place of the log up to `index`: what Raft is told of it. */
  installed(index: number, members: Members): Membership {
    this.#snapshot = { index, members };
    return this.#membershipOf(members);
  }

  /** What Raft begins with: the founding has been made durable meanwhile, if there was none. */
  begin(): { readonly membership: Membership; readonly changes: readonly MembershipAt[] } {
    this.#take(this.#index, this.#index === 0 ? this.#base : this.#members);
    const changes = this.#settings.map(({ index, members }) => ({ index, membership: this.#membershipOf(members) }));
    return { membership: this.#membershipOf(this.#base), changes };
  }

  #membershipOf(members: Members): Membership {
    return membershipFor(members, this.#host.id, this.#host.log.folder.identity);
  }

  /** Entries that came from a peer: those that set the members say so to Raft. */
  note(entries: readonly Entry[]): readonly Entry[] {
    let last = entries.length - 1;
    while (last >= 0 && entries[last]!.bytes[RecordOffset.type] !== EntryType.config) last--;
    if (last < 0) return entries;
    return entries.map((entry) => {
      const members = membersOf(entry);
      return members ? { ...entry, membership: this.#membershipOf(members) } : entry;
    });
  }

  /** Raft goes by the membership of entry `index` now, which the log holds, or did before a snapshot. */
  refresh(index: number): void {
    this.#take(index, this.#read(index));
  }

  #read(index: number): Members {
    const { log } = this.#host;
    // Of entries in an installed snapshot it says more than the store, which may be empty while it is loaded.
    if (this.#snapshot && index <= this.#snapshot.index) return this.#snapshot.members;
    if (index === 0 || index < log.firstIndex()) return this.#base;
    const entry = log.entries(index, index, 1)[0];
    const members = entry && membersOf(entry);
    if (members === undefined) throw new Error(`entry ${index} was said to set the members, and does not`);
    return members;
  }

  #take(index: number, members: Members): void {
    const gone = this.#members.filter((member) => takesPart(member) && !lists(members, member));
    this.#members = members;
    this.#index = index;
    this.#hasLearners = members.some(({ kind }) => kind === Kind.learner);
    this.#wasMember ||= this.#lists(members);
    for (const member of gone) this.#seeOff(member);
    this.#host.review();
    for (const [id, stranger] of [...this.#strangers]) if (stranger.members <= this.asOf) this.#strangers.delete(id);
    this.#host.changed();
  }

  #seeOff(member: Member): void {
    const timer = this.#host.timers.after(leaveMs, () => {
      this.#leavers.delete(member);
      this.#host.review();
      this.#host.changed();
    });
    this.#leavers.set(member, timer);
  }

  /** Whom to be connected to. */
  get peers(): PeerAddress[] {
    const byId = new Map<number, string>();
    for (const { id, address } of this.#leavers.keys()) byId.set(id, address);
    for (const [id, { address }] of this.#strangers) byId.set(id, address);
    for (const member of this.#members) if (takesPart(member)) byId.set(member.id, member.address);
    byId.delete(this.#host.id);
    return [...byId].map(([id, address]) => ({ id, address }));
  }

  /** Whether no more than requests may be taken of what a peer says. */
  isStranger(id: NodeId): boolean {
    return this.#strangers.size > 0 && this.#strangers.has(id);
  }

  /** Undefined lets the peer in; else the reason it is told. This node belongs to a cluster. */
  judge(hello: Hello): string | undefined {
    const { id, founding } = hello;
    if (founding && this.#founding && !sameIdentity(founding.clusterId, this.#founding.clusterId))
      return `node ${id} at ${hello.address} belongs to another cluster`;
    if (lists(this.#members, hello)) {
      this.#strangers.delete(id);
      return undefined;
    }
    if (this.#isLeaving(hello)) return undefined;
    if (founding && hello.members > this.asOf) {
      this.#meet(hello);
      return undefined;
    }
    return this.#refusal(hello);
  }

  /** Not if another folder has its id by now. */
  #isLeaving({ id, identity }: Hello): boolean {
    const member = findMember(this.#members, id);
    if (member && takesPart(member)) return false;
    return [...this.#leavers.keys()].some((leaver) => leaver.id === id && sameIdentity(leaver.identity, identity));
  }

  #meet({ id, address, members }: Hello): void {
    const known = this.#strangers.get(id)?.address === address;
    this.#strangers.set(id, { address, members });
    if (!known) this.#host.changed();
  }

  #refusal({ id, identity }: Hello): string {
    const member = findMember(this.#members, id);
    if (member === undefined) return `the cluster has no member ${id}`;
    if (member.kind === Kind.invited) return `node ${id} is invited to the cluster, and has to ask to join it`;
    if (member.kind === Kind.removed && sameIdentity(member.identity, identity))
      return `node ${id} was removed from the cluster`;
    return `the data folder of node ${id} is not the one that joined the cluster; if the old one was lost, the new one has to take its place`;
  }

  stop(): void {
    for (const timer of this.#leavers.values()) timer.cancel();
    this.#leavers.clear();
  }
}
