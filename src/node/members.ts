/**
 * Who belongs to the cluster, as the replicated record `members` says it, and the steps from one record to the next.
 *
 * Raft decides by ids; who may speak for an id is in this record: its address, and the identity of its data folder. Every
 * change of membership is a config entry that holds the whole record anew (src/store/config.ts), so the newest one in a
 * log says all, and the applied one is in every snapshot.
 *
 * ```
 *  0  u16  format: 1
 *  2  u16  number of members
 *  4  members, in the order of their ids:
 *      0  u16   id
 *      2  u8    kind
 *      3  u8    reserved: 0
 *      4  u16   length of the address
 *      6  16 B  folder identity; zeros for one who is invited
 *     22  address, UTF-8
 * ```
 *
 * Kinds: 1 a voter; 2 outgoing, a voter before the change under way, which removes it; 3 a voter that was one before; 4 a
 * learner; 8 invited, and may join; 10 outgoing, and invited to come back with a new folder; 16 removed, and may not join. While a membership is joint
 * every voter before it is 2, 3 or 10; else none is.
 *
 * Invariants: an id is there once; an address belongs to one of those that are not removed. A member that lost its folder
 * is out, by a committed entry, before its new folder comes in: never do two folders count under one id.
 */
import { changed, isJoint, left } from '../raft/membership.js';
import type { Membership } from '../raft/types.js';
import type { PeerAddress } from './options.js';

export const Kind = {
  voter: 1,
  outgoing: 2,
  stayingVoter: 3,
  learner: 4,
  invited: 8,
  replaced: 10,
  removed: 16,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];
const kinds: ReadonlySet<number> = new Set(Object.values(Kind));

export interface Member extends PeerAddress {
  readonly kind: Kind;
  /** Folder identity, 16 bytes. */
  readonly identity: Uint8Array;
}
export type Members = readonly Member[];

/** Offsets of the drawing above. */
export const MembersOffset = { format: 0, count: 2, members: 4 } as const;
export const MemberOffset = { id: 0, kind: 2, reserved: 3, addressLength: 4, identity: 6, address: 22 } as const;
export const MEMBERS_FORMAT = 1;
const IDENTITY_BYTES = 16;
const nobody = new Uint8Array(IDENTITY_BYTES);

export function isVoter({ kind }: Member): boolean {
  return kind === Kind.voter || kind === Kind.stayingVoter;
}
/** It was a voter before the joint change under way. */
export function isOutgoing({ kind }: Member): boolean {
  return kind === Kind.outgoing || kind === Kind.stayingVoter || kind === Kind.replaced;
}
/** It is sent the log: a voter, outgoing, or a learner. */
export function takesPart(member: Member): boolean {
  return isVoter(member) || isOutgoing(member) || member.kind === Kind.learner;
}

export function sameIdentity(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The members that a cluster begins with. */
export function foundingMembers(members: readonly (PeerAddress & { readonly identity: Uint8Array })[]): Members {
  return sorted(members.map(({ id, address, identity }) => ({ id, address, identity, kind: Kind.voter })));
}

export function formatMembers(members: Members): Uint8Array {
  const addresses = members.map(({ address }) => new TextEncoder().encode(address));
  const length = addresses.reduce<number>(
    (sum, address) => sum + MemberOffset.address + address.length,
    MembersOffset.members,
  );
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint16(MembersOffset.format, MEMBERS_FORMAT, true);
  view.setUint16(MembersOffset.count, members.length, true);
  let at: number = MembersOffset.members;
  for (const [i, { id, kind, identity }] of members.entries()) {
    const address = addresses[i]!;
    view.setUint16(at + MemberOffset.id, id, true);
    view.setUint8(at + MemberOffset.kind, kind);
    view.setUint16(at + MemberOffset.addressLength, address.length, true);
    bytes.set(identity, at + MemberOffset.identity);
    bytes.set(address, at + MemberOffset.address);
    at += MemberOffset.address + address.length;
  }
  return bytes;
}

/** Throws an Error that says what is wrong: no node writes such a record. */
export function parseMembers(bytes: Uint8Array): Members {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < MembersOffset.members || view.getUint16(MembersOffset.format, true) !== MEMBERS_FORMAT)
    throw new Error('the record of the members is of an unknown format: it was written by a newer version');
  const count = view.getUint16(MembersOffset.count, true);
  const members: Member[] = [];
  let at: number = MembersOffset.members;
  for (let i = 0; i < count; i++) {
    const end = at + MemberOffset.address;
    if (end > bytes.length) throw new Error(`the record of the members ends before member ${i + 1} of ${count}`);
    const id = view.getUint16(at + MemberOffset.id, true);
    const kind = view.getUint8(at + MemberOffset.kind);
    const addressEnd = end + view.getUint16(at + MemberOffset.addressLength, true);
    const last = members.at(-1)?.id ?? 0;
    if (id <= last || !kinds.has(kind) || view.getUint8(at + MemberOffset.reserved) !== 0 || addressEnd > bytes.length)
      throw new Error(`member ${i + 1} of the record of the members is malformed`);
    members.push({
      id,
      kind: kind as Kind,
      identity: bytes.slice(at + MemberOffset.identity, end),
      address: new TextDecoder().decode(bytes.subarray(end, addressEnd)),
    });
    at = addressEnd;
  }
  if (at !== bytes.length) throw new Error('there are bytes behind the last member of the record');
  return members;
}

/** What Raft is to go by. */
export function membershipOf(members: Members): Membership {
  const ids = (test: (member: Member) => boolean) => members.filter(test).map(({ id }) => id);
  return { voters: ids(isVoter), outgoing: ids(isOutgoing), learners: ids(({ kind }) => kind === Kind.learner) };
}

/**
 * The same as a node sees it that has this identity: where the record lists another folder under its id, that is somebody else,
 * and this node has no vote. When no other voter is left, another id stands in for whoever decides: not this node.
 */
export function membershipFor(members: Members, id: number, identity: Uint8Array): Membership {
  const others = members.filter((member) => member.id !== id || sameIdentity(member.identity, identity));
  const membership = membershipOf(others);
  if (membership.voters.length > 0) return membership;
  const standIn = others.find((member) => member.id !== id)?.id ?? (id === 1 ? 2 : 1);
  return { voters: [standIn], outgoing: [], learners: [] };
}

/** Voters and learners, for the log. */
export function describeMembers(members: Members): string {
  const here = members.filter((member) => isVoter(member) || member.kind === Kind.learner);
  return here.map((one) => `${one.id}=${one.address}${isVoter(one) ? '' : ' (learner)'}`).join(', ');
}

export function findMember(members: Members, id: number): Member | undefined {
  return members.find((member) => member.id === id);
}

/** The member, removed ones aside, that has this address. */
export function atAddress(members: Members, address: string): Member | undefined {
  return members.find((member) => member.kind !== Kind.removed && member.address === address);
}

/** Puts a member in the place of the one of its id. */
export function withMember(members: Members, member: Member): Members {
  return sorted([...members.filter(({ id }) => id !== member.id), member]);
}

export function withLearner(members: Members, id: number, address: string, identity: Uint8Array): Members {
  return withMember(members, { id, address, identity, kind: Kind.learner });
}

export function withInvited(members: Members, id: number, address: string): Members {
  return withMember(members, { id, address, identity: nobody, kind: Kind.invited });
}

/** Makes learners voters: joint, as long as the entry that ends it has not come. */
export function promoted(members: Members, ids: readonly number[]): Members {
  return members.map((member) => {
    if (isVoter(member)) return { ...member, kind: Kind.stayingVoter };
    return ids.includes(member.id) ? { ...member, kind: Kind.voter } : member;
  });
}

/** Takes a member out; `then`: what becomes of its id. Joint if it has a vote. */
export function without(members: Members, id: number, then: 'removed' | 'invited'): Members {
  const member = findMember(members, id);
  if (member === undefined) return members;
  if (!isVoter(member)) {
    if (then === 'removed') return withMember(members, { ...member, kind: Kind.removed });
    return withInvited(members, id, member.address);
  }
  return members.map((one) => {
    if (one.id === id) return { ...one, kind: then === 'removed' ? Kind.outgoing : Kind.replaced };
    return isVoter(one) ? { ...one, kind: Kind.stayingVoter } : one;
  });
}

/** The end of a joint membership. */
export function leftJoint(members: Members): Members {
  return members.map((member) => {
    switch (member.kind) {
      case Kind.stayingVoter:
        return { ...member, kind: Kind.voter };
      case Kind.outgoing:
        return { ...member, kind: Kind.removed };
      case Kind.replaced:
        return { ...member, kind: Kind.invited, identity: nobody };
      default:
        return member;
    }
  });
}

/** Whether Raft would take `next` for the step that `current` calls for: a check of the functions above. */
export function isConsistentStep(current: Members, next: Members): boolean {
  const [from, to] = [membershipOf(current), membershipOf(next)];
  const expected = isJoint(from) ? left(from) : changed(from, to.voters, to.learners);
  return JSON.stringify(expected) === JSON.stringify(to);
}

function sorted(members: readonly Member[]): Members {
  return [...members].sort((a, b) => a.id - b.id);
}
