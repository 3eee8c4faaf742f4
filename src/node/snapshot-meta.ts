/**
 * What a node keeps beside a snapshot's content, besides what the log knows of it (index, term, log time, state hash): the rest of
 * the store's state of that moment, the membership, and what tells this snapshot from every other one.
 *
 * ```
 *  0  u32   format: 1
 *  4  u32   reserved: 0
 *  8  16 B  folder identity of the member that made it
 * 24  8 B   nonce: drawn for this snapshot
 * 32  u64   revision
 * 40  u64   users' keys
 * 48  u64   logical bytes
 * 56  u64   limit of logical bytes
 * 64  u64   index of the last checkpoint
 * 72  8 B   state hash at the checkpoint, as in the log's header
 * 80  u32   length of the record of the members
 * 84  u32   version in force (versions.ts)
 * 88  the record of the members (members.ts)
 * ```
 *
 * Members and version are those as of the last entry in the snapshot. They stand here too, for Raft must know the members before the content is
 * loaded, and what is of a version that is not known must not be.
 */
import { readU64, viewOf, writeU64 } from '../log/bytes.js';
import type { NewSnapshot } from '../log/types.js';
import { fault } from '../raft/membership.js';
import { isState, type SnapshotState } from '../store/snapshot.js';
import { formatMembers, type Members, membershipOf, parseMembers } from './members.js';

export const META_FORMAT = 1;
export const MetaOffset = {
  format: 0,
  reserved: 4,
  identity: 8,
  nonce: 24,
  revision: 32,
  keys: 40,
  logicalBytes: 48,
  limitBytes: 56,
  checkpoint: 64,
  checkpointHash: 72,
  membersBytes: 80,
  version: 84,
  members: 88,
} as const;
export const NONCE_BYTES = 8;

/** What a snapshot is of. */
export interface SnapshotContents {
  readonly state: SnapshotState;
  readonly members: Members;
  readonly version: number;
}

/** `identity`: 16 bytes; `nonce`: 8. */
export function encodeSnapshotMeta(contents: SnapshotContents, identity: Uint8Array, nonce: Uint8Array): Uint8Array {
  const { state } = contents;
  const members = formatMembers(contents.members);
  const bytes = new Uint8Array(MetaOffset.members + members.length);
  const view = viewOf(bytes, 0, bytes.length);
  view.setUint32(MetaOffset.format, META_FORMAT, true);
  bytes.set(identity, MetaOffset.identity);
  bytes.set(nonce, MetaOffset.nonce);
  const put = (at: number, value: number): void => writeU64(view, at, 'node: state of a snapshot', value);
  put(MetaOffset.revision, state.revision);
  put(MetaOffset.keys, state.keys);
  put(MetaOffset.logicalBytes, state.logicalBytes);
  put(MetaOffset.limitBytes, state.limitBytes);
  put(MetaOffset.checkpoint, state.checkpoint.index);
  const hash = state.checkpoint.stateHash;
  view.setUint32(MetaOffset.checkpointHash, Number.parseInt(hash.slice(8), 16), true);
  view.setUint32(MetaOffset.checkpointHash + 4, Number.parseInt(hash.slice(0, 8), 16), true);
  view.setUint32(MetaOffset.membersBytes, members.length, true);
  view.setUint32(MetaOffset.version, contents.version, true);
  bytes.set(members, MetaOffset.members);
  return bytes;
}

/** Reads what may come from anywhere; undefined when it is nothing that `encodeSnapshotMeta` makes. */
export function decodeSnapshotMeta(info: NewSnapshot): SnapshotContents | undefined {
  const { meta } = info;
  if (meta.length < MetaOffset.members) return undefined;
  const view = viewOf(meta, 0, meta.length);
  const version = view.getUint32(MetaOffset.version, true);
  if (view.getUint32(MetaOffset.format, true) !== META_FORMAT || version === 0) return undefined;
  if (view.getUint32(MetaOffset.reserved, true) !== 0) return undefined;
  const digits = (at: number): string => view.getUint32(at, true).toString(16).padStart(8, '0');
  const state = {
    applied: info.index,
    revision: readU64(view, MetaOffset.revision),
    stateHash: info.stateHash,
    keys: readU64(view, MetaOffset.keys),
    logicalBytes: readU64(view, MetaOffset.logicalBytes),
    limitBytes: readU64(view, MetaOffset.limitBytes),
    logTimeMs: info.logTime,
    checkpoint: {
      index: readU64(view, MetaOffset.checkpoint),
      stateHash: digits(MetaOffset.checkpointHash + 4) + digits(MetaOffset.checkpointHash),
    },
  };
  const members = readMembers(meta);
  return members && isState(state) ? { state, members, version } : undefined;
}

function readMembers(meta: Uint8Array): Members | undefined {
  const record = meta.subarray(MetaOffset.members);
  if (viewOf(meta, 0, meta.length).getUint32(MetaOffset.membersBytes, true) !== record.length) return undefined;
  try {
    const members = parseMembers(record);
    const membership = membershipOf(members);
    return membership.voters.length > 0 && fault(membership) === undefined ? members : undefined;
  } catch {
    return undefined;
  }
}
