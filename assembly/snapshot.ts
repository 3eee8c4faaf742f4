/**
 * A snapshot: all records that are visible at one pinned revision, as bytes, while writes go on.
 *
 *     state, at SNAPSHOT_STATE
 *      0  u64  pinned revision
 *      8  u64  cursor: the tag (36 bits) at which to go on; TAGS behind the last
 *     16  u32  1: a snapshot is being written
 *     20  u32  list: place of the next record to hand out
 *     24  u32  its end
 *     28  u32  end of the chunk being handed out
 *     32  u32  bytes of the next record that have been handed out: it is larger than the window
 *
 *     at SNAPSHOT
 *          0  u32  list of up to 8,192 records, by address
 *     0x8000       window of 224 KiB: bytes of the chunk on their way to the host
 *
 *     entry (ARCHITECTURE.md, "Snapshot")
 *      0  u32  key length; bit 31: a system record
 *      4  u32  value length
 *      8  u64  revision
 *     16  u64  deadline, 0: none
 *     24  key, value, zeros up to a multiple of 4
 *
 * Records are found in the order of their keys' hashes, as in `scan.ts`: all keys whose home is in a *range* of slots, or none of
 * them, so a table that grows between two calls changes nothing. What the pinned revision sees is never freed, and no
 * record moves while a snapshot is being written (`compact.ts`): addresses in the list stay good.
 *
 * The work of one call is bounded, whatever it finds: by the slots looked at, by the records touched, by the bytes copied.
 */
import { SNAPSHOT_BASE, SNAPSHOT_SIZE, SNAPSHOT_STATE, TABLE_STATE } from './layout';
import { check, copy, FAIL_SCAN, FAIL_SNAPSHOT, pad4 } from './memory';
import {
  FLAG_SYSTEM,
  LENGTH_MASK,
  REC_DEADLINE,
  REC_KEY,
  REC_KEY_LENGTH,
  recKeyLen,
  recRevision,
  recValueLen,
} from './record';
import {
  SLOT_ADDRESS_BITS,
  SLOT_ADDRESS_MASK,
  SLOT_TOMBSTONE,
  TS_LOG,
  TS_OLD,
  TS_OLD_LOG,
  TS_SLOTS,
  TS_WATERMARK,
} from './table';
import { pin, unpin, visibleAt } from './version';

export const SN_REVISION: u32 = 0;
export const SN_CURSOR: u32 = 8;
export const SN_RUNNING: u32 = 16;
export const SN_NEXT: u32 = 20;
export const SN_END: u32 = 24;
export const SN_CHUNK: u32 = 28;
export const SN_PART: u32 = 32;

export const SNAPSHOT_LIST: u32 = 8192;
export const SNAPSHOT_WINDOW: u32 = SNAPSHOT_BASE + SNAPSHOT_LIST * 4;
const WINDOW_END: u32 = SNAPSHOT_BASE + SNAPSHOT_SIZE;

export const SE_KEY_LENGTH: u32 = 0;
export const SE_VALUE_LENGTH: u32 = 4;
export const SE_REVISION: u32 = 8;
export const SE_DEADLINE: u32 = 16;
export const SE_HEAD: u32 = 24;

const TAG_BITS: u64 = 36;
const TAGS: u64 = (<u64>1) << TAG_BITS;
/** Slots of the coarser table whose keys are taken together. */
const RANGE: u64 = 64;
/** A call looks for more records until it has this many, or has looked at so many slots. */
const ENOUGH: u32 = 3072;
const MOST_SLOTS: u32 = 65536;
/** Most bytes of one chunk, but for a single record that is larger. */
const LARGEST_CHUNK: u32 = 1 << 20;
/** A log time at which nothing has expired: what has is in a snapshot until it is removed. */
const BEFORE_ALL: u64 = 0;
/** Returned by `snapshotPick` when all has been handed out. */
export const SNAPSHOT_DONE: u32 = 0xffffffff;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(SNAPSHOT_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(SNAPSHOT_STATE + offset, value);
}
// @ts-ignore: decorator
@inline
function listed(i: u32): u32 {
  return load<u32>(SNAPSHOT_BASE + (i << 2));
}

export function snapshotRunning(): bool {
  return get(SN_RUNNING) != 0;
}

/** Pins the published revision. */
export function snapshotBegin(): void {
  check(!snapshotRunning(), FAIL_SNAPSHOT);
  memory.fill(SNAPSHOT_STATE, 0, SN_PART + 4);
  store<u64>(SNAPSHOT_STATE, pin(), SN_REVISION);
  set(SN_RUNNING, 1);
}

export function snapshotEnd(): void {
  check(snapshotRunning(), FAIL_SNAPSHOT);
  set(SN_RUNNING, 0);
  unpin(load<u64>(SNAPSHOT_STATE, SN_REVISION));
}

/**
 * Chooses the records of the next chunk: how many bytes it has, at most `most` unless one record alone is larger; 0: none this
 * time, there may be more; SNAPSHOT_DONE. All of it is then taken with `snapshotCopy`.
 */
export function snapshotPick(most: u32): u32 {
  check(snapshotRunning() && get(SN_NEXT) == get(SN_CHUNK), FAIL_SNAPSHOT);
  if (get(SN_NEXT) == get(SN_END)) {
    if (load<u64>(SNAPSHOT_STATE, SN_CURSOR) == TAGS) return SNAPSHOT_DONE;
    findMore();
  }
  const limit = min(most, LARGEST_CHUNK);
  const end = get(SN_END);
  let bytes: u32 = 0;
  let i = get(SN_NEXT);
  for (; i < end; i++) {
    const n = entryBytes(listed(i));
    if (bytes != 0 && bytes + n > limit) break;
    bytes += n;
  }
  set(SN_CHUNK, i);
  return bytes;
}

/** Fills the window with the next bytes of the chunk, whole records unless one is larger than the window; how many. */
export function snapshotCopy(): u32 {
  let at = SNAPSHOT_WINDOW;
  for (let i = get(SN_NEXT); i < get(SN_CHUNK); i++) {
    const record = listed(i);
    const bytes = entryBytes(record);
    if (get(SN_PART) != 0 || bytes > WINDOW_END - at) {
      if (at == SNAPSHOT_WINDOW) at = putPart(record, bytes);
      break;
    }
    putEntry(at, record);
    at += bytes;
    set(SN_NEXT, i + 1);
  }
  return at - SNAPSHOT_WINDOW;
}

// @ts-ignore: decorator
@inline
function entryBytes(record: u32): u32 {
  return SE_HEAD + pad4(recKeyLen(record) + recValueLen(record));
}

function putHead(at: u32, record: u32): void {
  store<u32>(at, load<u32>(record, REC_KEY_LENGTH) & (FLAG_SYSTEM | LENGTH_MASK), SE_KEY_LENGTH);
  store<u32>(at, recValueLen(record), SE_VALUE_LENGTH);
  store<u64>(at, recRevision(record), SE_REVISION);
  store<u64>(at, load<u64>(record, REC_DEADLINE), SE_DEADLINE);
}

function putEntry(at: u32, record: u32): void {
  const data = recKeyLen(record) + recValueLen(record);
  putHead(at, record);
  // The padding first: the bytes of a word that the data reaches into.
  if (data != 0) store<u32>(at + SE_HEAD + ((data - 1) & ~3), 0);
  copy(at + SE_HEAD, record + REC_KEY, data);
}

/** Puts the next part of an entry that is larger than the window; the place behind it. */
function putPart(record: u32, bytes: u32): u32 {
  const done = get(SN_PART);
  let at = SNAPSHOT_WINDOW;
  if (done == 0) {
    putHead(at, record);
    at += SE_HEAD;
  }
  const data = recKeyLen(record) + recValueLen(record);
  const from: u32 = done == 0 ? 0 : done - SE_HEAD;
  const n = min(data - from, WINDOW_END - at);
  memory.copy(at, record + REC_KEY + from, n);
  at += n;
  if (from + n < data) {
    set(SN_PART, done + (at - SNAPSHOT_WINDOW));
    return at;
  }
  const padding = bytes - SE_HEAD - data;
  memory.fill(at, 0, padding);
  set(SN_PART, 0);
  set(SN_NEXT, get(SN_NEXT) + 1);
  return at + padding;
}

// ---- finding records

/** Fills the list with what the next ranges hold that the pinned revision sees. */
function findMore(): void {
  const log = load<u32>(TABLE_STATE, TS_LOG);
  const old = load<u32>(TABLE_STATE, TS_OLD);
  const oldLog = load<u32>(TABLE_STATE, TS_OLD_LOG);
  const step = RANGE << (TAG_BITS - <u64>(old != 0 ? min(log, oldLog) : log));
  const slots = (<u32>(step >> (TAG_BITS - <u64>log))) + (old != 0 ? <u32>(step >> (TAG_BITS - <u64>oldLog)) : 0);
  let tag = load<u64>(SNAPSHOT_STATE, SN_CURSOR);
  let n: u32 = 0;
  for (let looked: u32 = 0; tag < TAGS && n < ENOUGH && looked < MOST_SLOTS; looked += slots) {
    const end = (tag & ~(step - 1)) + step;
    n = findIn(load<u32>(TABLE_STATE, TS_SLOTS), log, 0, tag, end, n);
    if (old != 0) n = findIn(old, oldLog, load<u32>(TABLE_STATE, TS_WATERMARK), tag, end, n);
    tag = end;
  }
  store<u64>(SNAPSHOT_STATE, tag, SN_CURSOR);
  set(SN_NEXT, 0);
  set(SN_CHUNK, 0);
  set(SN_END, keepVisible(n));
}

/** Lists the newest records of one table whose tags are in [from, end), standing at slot `watermark` or above. */
function findIn(slots: u32, log: u32, watermark: u32, from: u64, end: u64, count: u32): u32 {
  const mask = ((<u32>1) << log) - 1;
  const shift = TAG_BITS - <u64>log;
  const lastHome = <u32>((end - 1) >> shift);
  let n = count;
  let i = <u32>(from >> shift);
  let past = i;
  let slot = load<u64>(slots + (i << 3));
  // Every slot up to the last home, then on to the first empty one: nothing is ever displaced further.
  while (slot != 0 || past < lastHome) {
    const tag = slot >> SLOT_ADDRESS_BITS;
    if ((slot & SLOT_ADDRESS_MASK) > SLOT_TOMBSTONE && i >= watermark && tag >= from && tag < end) {
      check(n < SNAPSHOT_LIST, FAIL_SCAN);
      store<u32>(SNAPSHOT_BASE + (n << 2), <u32>(slot << 4));
      n++;
    }
    past++;
    i = (i + 1) & mask;
    slot = load<u64>(slots + (i << 3));
  }
  return n;
}

/** Puts in the place of each listed record the version that the pinned revision sees, if there is one; how many are left. */
function keepVisible(count: u32): u32 {
  const revision = load<u64>(SNAPSHOT_STATE, SN_REVISION);
  let n: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const record = visibleAt(listed(i), revision, BEFORE_ALL);
    store<u32>(SNAPSHOT_BASE + (n << 2), record);
    n += record == 0 ? 0 : 1;
  }
  return n;
}
