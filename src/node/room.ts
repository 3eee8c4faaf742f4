/**
 * Full disks: clients' writes are taken only while a majority has room for them (ARCHITECTURE.md, "A full disk").
 *
 *     member  tells the leader whether its own disk has room
 *     leader  tells everybody whether a majority has, and takes no entry with commands while it has not
 *     all     refuse their clients' writes meanwhile: ERR disk-full
 *
 * Both are told when they change, when a link comes up, and again every second while one of them is false, for a message may be lost.
 *
 * ## Invariants
 *
 * - Entries without commands are always taken: the last segment is kept for them, so that a leader can still commit, and reads go on.
 * - This is a matter of politeness, not of safety: an entry that was taken all the same waits in the log, unacknowledged, until
 *   there is room.
 */
import { everybody } from '../raft/membership.js';
import type { Membership, NodeId } from '../raft/types.js';

/** A leader whose own disk is full for so long hands over to a member that has room. */
const handOverAfterMs = 1_000;

export interface RoomHost {
  readonly id: NodeId;
  /** This node's own disk has room. */
  own(): boolean;
  /** The newest membership; undefined: no cluster yet. */
  membership(): Membership | undefined;
  /** 0: nobody. */
  leader(): NodeId;
  /** Tells another node. */
  tell(to: NodeId, own: boolean, majority: boolean): void;
  /** Asks a member that has room to lead. */
  handOver(to: NodeId): void;
  /** `open` has changed. */
  changed(open: boolean): void;
}

export class Room {
  readonly #host: RoomHost;
  /** Members that said that they have none. */
  readonly #without = new Set<NodeId>();
  /** Members that cannot be reached. */
  readonly #down = new Set<NodeId>();
  #leader: NodeId = 0;
  /** As the leader says. */
  #told = true;
  #open = true;
  #ownFullSince: number | undefined;

  constructor(host: RoomHost) {
    this.#host = host;
  }

  /** Entries with commands are taken. */
  get open(): boolean {
    return this.#open;
  }

  /** This node's disk has room, or no longer. */
  ownChanged(): void {
    const { id, own } = this.#host;
    if (this.#leader !== 0 && this.#leader !== id) this.#host.tell(this.#leader, own(), true);
    this.#look();
  }

  /** Leader, term or membership may be others. */
  roleChanged(): void {
    const leader = this.#host.leader();
    if (leader === this.#leader) {
      this.#look();
      return;
    }
    this.#leader = leader;
    this.#told = true;
    this.#ownFullSince = undefined;
    if (leader !== 0 && leader !== this.#host.id && !this.#host.own()) this.#host.tell(leader, false, true);
    this.#look();
  }

  link(peer: NodeId, up: boolean): void {
    if (up) this.#down.delete(peer);
    else this.#down.add(peer);
    this.#look();
    if (up) this.#say(peer);
  }

  /** What another member says. */
  heard(from: NodeId, own: boolean, majority: boolean): void {
    if (own) this.#without.delete(from);
    else this.#without.add(from);
    if (from === this.#leader) this.#told = majority;
    this.#look();
  }

  /** Every second. */
  repeat(now: number): void {
    const { id, own, membership } = this.#host;
    if (!this.#open || !own()) for (const peer of everybody(membership())) this.#say(peer);
    this.#ownFullSince = this.#leader === id && !own() ? (this.#ownFullSince ?? now) : undefined;
    if (this.#ownFullSince === undefined || now - this.#ownFullSince < handOverAfterMs) return;
    const successor = membership()?.voters.find((peer) => peer !== id && !this.#lacks(peer) && !this.#down.has(peer));
    if (successor !== undefined) this.#host.handOver(successor);
  }

  #say(peer: NodeId): void {
    const { id, own } = this.#host;
    if (peer === id || (peer !== this.#leader && this.#leader !== id)) return;
    this.#host.tell(peer, own(), this.#leader !== id || this.#open);
  }

  #look(): void {
    const open = this.#leader === this.#host.id ? this.#majority() : this.#told;
    if (open === this.#open) return;
    this.#open = open;
    if (this.#leader === this.#host.id) for (const peer of everybody(this.#host.membership())) this.#say(peer);
    this.#host.changed(open);
  }

  #lacks(peer: NodeId): boolean {
    return peer === this.#host.id ? !this.#host.own() : this.#without.has(peer);
  }

  /** Of members that are down nothing is known: they count as full only where somebody is. */
  #majority(): boolean {
    const membership = this.#host.membership();
    return membership === undefined || (this.#among(membership.voters) && this.#among(membership.outgoing));
  }

  #among(voters: readonly NodeId[]): boolean {
    if (!voters.some((voter) => this.#lacks(voter))) return true;
    const roomy = voters.filter((voter) => !this.#lacks(voter) && !this.#down.has(voter));
    return roomy.length > voters.length / 2;
  }
}
