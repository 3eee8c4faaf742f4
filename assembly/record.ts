/**
 * Records: one version of one key each.
 *
 *     record, a block at a multiple of 16
 *      0  u64  revision
 *      8  u32  prev: the next older version that somebody may see, or 0
 *     12  u32  key length, and three flags: bit 31 system, bit 30 deleted, bit 29 loose
 *     16  u32  value length
 *     20  u32  next: the version whose prev this is, or 0; written when this one is superseded
 *     24  u64  state hash of the record;  once superseded: u32 next of the queue that it waits in
 *     32  u64  deadline in log time, ms, 0: none;  of a deleted one: hash of the key
 *     40  key, then value
 *
 * A record with a deadline has 16 bytes in front of it, in the same block: its node in the index of deadlines (expiry.ts).
 *
 * A published record never changes, but for prev, next and the fields of retirement (loose, queue), which readers do not
 * look at. A *deleted* record says that the key is absent from its revision on; it has no value, and stands only as long
 * as somebody can see an older version. A *loose* one is in no chain: it waits to be freed.
 */
import { allocRecord, free, roundUp } from './alloc';

export const REC_REVISION: u32 = 0;
export const REC_PREV: u32 = 8;
export const REC_KEY_LENGTH: u32 = 12;
export const REC_VALUE_LENGTH: u32 = 16;
export const REC_NEXT: u32 = 20;
export const REC_STATE_HASH: u32 = 24;
export const REC_QUEUE: u32 = 24;
export const REC_DEADLINE: u32 = 32;
export const REC_KEY_HASH: u32 = 32;
export const REC_KEY: u32 = 40;
/** Bytes in front of a record with a deadline. */
export const NODE_BYTES: u32 = 16;

export const FLAG_SYSTEM: u32 = 1 << 31;
export const FLAG_DELETED: u32 = 1 << 30;
export const FLAG_LOOSE: u32 = 1 << 29;
export const LENGTH_MASK: u32 = FLAG_LOOSE - 1;

/** What a key costs besides its record ("Logical size"). */
const KEY_OVERHEAD: u32 = 16;

// @ts-ignore: decorator
@inline
export function recRevision(r: u32): u64 {
  return load<u64>(r, REC_REVISION);
}
// @ts-ignore: decorator
@inline
export function recPrev(r: u32): u32 {
  return load<u32>(r, REC_PREV);
}
// @ts-ignore: decorator
@inline
export function recNext(r: u32): u32 {
  return load<u32>(r, REC_NEXT);
}
// @ts-ignore: decorator
@inline
export function recKey(r: u32): u32 {
  return r + REC_KEY;
}
// @ts-ignore: decorator
@inline
export function recKeyLen(r: u32): u32 {
  return load<u32>(r, REC_KEY_LENGTH) & LENGTH_MASK;
}
// @ts-ignore: decorator
@inline
export function recValue(r: u32): u32 {
  return r + REC_KEY + recKeyLen(r);
}
// @ts-ignore: decorator
@inline
export function recValueLen(r: u32): u32 {
  return load<u32>(r, REC_VALUE_LENGTH);
}
// @ts-ignore: decorator
@inline
export function recSystem(r: u32): bool {
  return (load<u32>(r, REC_KEY_LENGTH) & FLAG_SYSTEM) != 0;
}
// @ts-ignore: decorator
@inline
export function recDeleted(r: u32): bool {
  return (load<u32>(r, REC_KEY_LENGTH) & FLAG_DELETED) != 0;
}
// @ts-ignore: decorator
@inline
export function recLoose(r: u32): bool {
  return (load<u32>(r, REC_KEY_LENGTH) & FLAG_LOOSE) != 0;
}
// @ts-ignore: decorator
@inline
export function recStateHash(r: u32): u64 {
  return load<u64>(r, REC_STATE_HASH);
}

// @ts-ignore: decorator
@inline
export function recDeadline(r: u32): u64 {
  return load<u64>(r, REC_DEADLINE);
}

/** Whether a record that is not deleted is absent at `time`: its deadline has come. */
// @ts-ignore: decorator
@inline
export function expired(r: u32, time: u64): bool {
  // 0, none, becomes the largest number.
  return recDeadline(r) - 1 < time;
}

/** Memory for a record whose key and value have `data` bytes together; 0: there is none. */
// @ts-ignore: decorator
@inline
export function newRecord(data: u32, withDeadline: bool): u32 {
  if (!withDeadline) return allocRecord(REC_KEY + data);
  const block = allocRecord(NODE_BYTES + REC_KEY + data);
  return block == 0 ? 0 : block + NODE_BYTES;
}

/** Gives back a record that `newRecord` made, `withDeadline` as it was then. */
// @ts-ignore: decorator
@inline
export function freeBlank(r: u32, withDeadline: bool): void {
  free(withDeadline ? r - NODE_BYTES : r);
}

/** Gives back a record whose head is filled in. */
// @ts-ignore: decorator
@inline
export function freeRecord(r: u32): void {
  freeBlank(r, !recDeleted(r) && recDeadline(r) != 0);
}

/** Compares two keys byte by byte; a key sorts before those that it begins. */
export function compareKeys(a: u32, b: u32): i32 {
  const lengthA = recKeyLen(a);
  const lengthB = recKeyLen(b);
  const n = min(lengthA, lengthB);
  const keyA = recKey(a);
  const keyB = recKey(b);
  let i: u32 = 0;
  for (; i + 8 <= n; i += 8) {
    const wordA = bswap(load<u64>(keyA + i));
    const wordB = bswap(load<u64>(keyB + i));
    if (wordA != wordB) return wordA < wordB ? -1 : 1;
  }
  for (; i < n; i++) {
    const difference = <i32>load<u8>(keyA + i) - <i32>load<u8>(keyB + i);
    if (difference != 0) return difference;
  }
  return lengthA < lengthB ? -1 : lengthA > lengthB ? 1 : 0;
}

/** Logical size of a record whose key and value have `data` bytes together. */
// @ts-ignore: decorator
@inline
export function logicalSize(data: u32): u32 {
  return roundUp(REC_KEY + data) + KEY_OVERHEAD;
}
