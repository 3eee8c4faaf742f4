/**
 * Which version entries are applied by: replicated state, so that replicas of different programs never differ in what they hold.
 *
 * ## Concept
 *
 * A version is the formats of what is replicated and what applying an entry does to the state, in one number. Each program knows a
 * range of them and says so in its hello; the one in force is a system record (`version`; none: 1), set by a config entry beside
 * the members, and holds for all entries behind that. The leader raises it to the highest that all can do, once every member, learners too, is linked
 * to it by a program that can: members are restarted with a newer program one after the other, and the last one lets the new version
 * come into force.
 *
 * ## Invariants
 *
 * - An entry is handed to the store only if the version in force there is one that the store knows; a snapshot likewise. Else the node
 *   stops, before anything has changed, and a newer program goes on from there.
 * - The version in force never goes down: until it is raised a newer program can be replaced by the older one, then no more.
 *
 * ## Caveats
 *
 * Entries are encoded where they come in, maybe before the version that they are applied by is in force: each version must
 * take what the one before it encoded. A program that has forgotten a version needs a snapshot of a later one: it cannot apply the log
 * from before. A member whose program is replaced by an older one at the very moment when the version is raised stops.
 */
import { RecordOffset } from '../log/record.js';
import { everybody } from '../raft/membership.js';
import type { Raft } from '../raft/raft.js';
import type { Entry, Membership, MembershipRefusal, NodeId } from '../raft/types.js';
import { VERSION_KEY, versionOf, versionOfConfig } from '../store/config.js';
import { EntryType, HEADER_BYTES, type Store, type VersionRange } from '../store/store.js';
import { type LogLevel, NodeError } from './options.js';

/** What a cluster begins with where nothing is said. */
const firstVersion = 1;

/** The version in force as of what the store has applied. */
export function versionIn(store: Store): number {
  const value = store.system(VERSION_KEY);
  return value === undefined ? firstVersion : versionOf(value);
}

/** Throws NodeError for a version that a store cannot apply entries by. */
export function checkVersion(version: number, { oldest, newest }: VersionRange): void {
  if (version >= oldest && version <= newest) return;
  const known = oldest === newest ? `${newest}` : `${oldest} to ${newest}`;
  const which = version > newest ? 'a newer' : 'an older';
  throw new NodeError(
    `the cluster is at version ${version}, and this program knows ${known}: start this node with ${which} program, nothing is lost`,
  );
}

/** The version that a cluster is founded with; undefined: the first. */
export function foundingVersion({ oldest }: VersionRange): number | undefined {
  return oldest > firstVersion ? oldest : undefined;
}

export interface VersionsHost {
  readonly id: NodeId;
  readonly store: Store;
  raft(): Raft | undefined;
  /** The index of an entry that sets it, and the members to what they are, or why there is none. */
  propose(version: number, membership: Membership): number | MembershipRefusal;
  tell(level: LogLevel, text: string): void;
}

export class Versions {
  readonly #host: VersionsHost;
  #active: number;
  /** An entry that sets it was handed to the store. */
  #stale = false;
  /** What peers said when their links came up. */
  readonly #said = new Map<NodeId, VersionRange>();
  readonly #up = new Set<NodeId>();

  constructor(host: VersionsHost) {
    this.#host = host;
    this.#active = versionIn(host.store);
  }

  /** In force as of what is applied. */
  get active(): number {
    return this.#active;
  }

  get known(): VersionRange {
    return this.#host.store.versions;
  }

  /** A peer's hello, which has been let in. */
  greeted(peer: NodeId, range: VersionRange): void {
    this.#said.set(peer, range);
  }

  link(peer: NodeId, up: boolean): void {
    if (up) this.#up.add(peer);
    else {
      this.#up.delete(peer);
      this.#said.delete(peer);
    }
  }

  /** Whether the store may be handed this entry. */
  admits(entry: Entry): boolean {
    const version = versionSetBy(entry);
    if (version === undefined) return true;
    const { oldest, newest } = this.known;
    if (version < oldest || version > newest) return false;
    this.#stale = true;
    return true;
  }

  /** Throws NodeError for the entry that was not admitted, when all before it are applied. */
  refuse(entry: Entry): never {
    checkVersion(versionSetBy(entry)!, this.known);
    throw new Error('an entry was refused for a version that is known');
  }

  /** Everything that was handed to the store is applied. */
  applied(): void {
    if (this.#stale) this.refresh();
  }

  /** The store may hold another state than before. */
  refresh(): void {
    this.#stale = false;
    const active = versionIn(this.#host.store);
    if (active === this.#active) return;
    this.#active = active;
    this.#host.tell('info', `version ${active} is in force`);
  }

  /** Every second: a leader raises it as far as all can. */
  look(): void {
    const { propose, raft, store } = this.#host;
    const { role, membership } = raft() ?? { role: 'follower' };
    // One such entry at a time: it is a change of the members, to what they are. Until it is applied, what it sets is not known here.
    if (role !== 'leader' || !membership?.committed || store.applied < membership.index) return;
    const version = this.#highest(everybody(membership.membership));
    if (version === undefined || version <= this.#active) return;
    propose(version, membership.membership);
  }

  /** That all of them can do; undefined when one is not here to say. */
  #highest(members: readonly NodeId[]): number | undefined {
    let highest = this.known.newest;
    for (const member of members) {
      if (member === this.#host.id) continue;
      const range = this.#up.has(member) ? this.#said.get(member) : undefined;
      if (range === undefined) return undefined;
      highest = Math.min(highest, range.newest);
    }
    return highest;
  }
}

/** A log that says nothing of it begins with the first. */
function versionSetBy({ index, bytes }: Entry): number | undefined {
  const isConfig = bytes[RecordOffset.type] === EntryType.config;
  const set = isConfig ? versionOfConfig(bytes.subarray(HEADER_BYTES)) : undefined;
  return set ?? (index === 1 ? firstVersion : undefined);
}
