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
 * 80  u16   number of voters
 * 82  u16   number of outgoing voters
 * 84  u16   number of learners
 * 86  u16   reserved: 0
 * 88  u16 each: ids of the voters, the outgoing voters, the learners
 * ```
 *
 * The membership is that of the last entry in the snapshot. It stands here too, for Raft must know it before the content is loaded.
 */
import { readU64, viewOf, writeU64 } from '../log/bytes.js';
import type { NewSnapshot } from '../log/types.js';
import { fault } from '../raft/membership.js';
import type { Membership } from '../raft/types.js';
import { isState, type SnapshotState } from '../store/snapshot.js';

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
  voters: 80,
  outgoing: 82,
  learners: 84,
  zero: 86,
  ids: 88,
} as const;
export const NONCE_BYTES = 8;

/** What a snapshot is of. */
export interface SnapshotContents {
  readonly state: SnapshotState;
  readonly membership: Membership;
}

/** `identity`: 16 bytes; `nonce`: 8. */
export function encodeSnapshotMeta(contents: SnapshotContents, identity: Uint8Array, nonce: Uint8Array): Uint8Array {
  const { state, membership } = contents;
  const { voters, outgoing, learners } = membership;
  const ids = [...voters, ...outgoing, ...learners];
  const bytes = new Uint8Array(MetaOffset.ids + 2 * ids.length);
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
  view.setUint16(MetaOffset.voters, voters.length, true);
  view.setUint16(MetaOffset.outgoing, outgoing.length, true);
  view.setUint16(MetaOffset.learners, learners.length, true);
  for (const [at, id] of ids.entries()) view.setUint16(MetaOffset.ids + 2 * at, id, true);
  return bytes;
}

/** Reads what may come from anywhere; undefined when it is nothing that `encodeSnapshotMeta` makes. */
export function decodeSnapshotMeta(info: NewSnapshot): SnapshotContents | undefined {
  const { meta } = info;
  if (meta.length < MetaOffset.ids) return undefined;
  const view = viewOf(meta, 0, meta.length);
  const reserved = view.getUint32(MetaOffset.reserved, true) + view.getUint16(MetaOffset.zero, true);
  if (view.getUint32(MetaOffset.format, true) !== META_FORMAT || reserved !== 0) return undefined;
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
  const membership = readMembership(view);
  return membership && isState(state) ? { state, membership } : undefined;
}

function readMembership(view: DataView): Membership | undefined {
  const counts = [MetaOffset.voters, MetaOffset.outgoing, MetaOffset.learners].map((at) => view.getUint16(at, true));
  const [voters, outgoing, learners] = counts as [number, number, number];
  if (view.byteLength !== MetaOffset.ids + 2 * (voters + outgoing + learners) || voters === 0) return undefined;
  const ids = (from: number, count: number): number[] =>
    Array.from({ length: count }, (_, i) => view.getUint16(MetaOffset.ids + 2 * (from + i), true));
  const lists = {
    voters: ids(0, voters),
    outgoing: ids(voters, outgoing),
    learners: ids(voters + outgoing, learners),
  };
  return fault(lists) === undefined ? lists : undefined;
}
