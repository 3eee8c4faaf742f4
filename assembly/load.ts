/**
 * Loading a snapshot: the state is emptied in place, filled with the records of chunks, compared with what the snapshot
 * says of itself, and published all at once.
 *
 *     state, at LOAD_STATE
 *      0  u32  1: a load is under way
 *      4  u32  what was wrong with a chunk: LOADED, or the first code
 *      8  u64  highest revision of a record so far
 *
 *     ARGS at `loadEnd`
 *      0  f64  revision           8  f64  applied index      16  f64  users' keys      24  f64  logical bytes
 *     32  f64  their limit       40  f64  log time, ms       48  f64  index of the last checkpoint
 *     64  u64  state hash        72  u64  the checkpoint's
 *
 *     window, at SCRATCH: up to 256 entries, 16 bytes each
 *      0  u64  hash of the key
 *      8  u32  address of the entry
 *
 * Nothing is believed: each length is compared with the bytes that are left before an address is made of it, no key may
 * come twice, system records are as this version writes them, and in the end count, logical bytes and hash must be those of the snapshot.
 * What is published stays so until then, but nobody may read meanwhile: the host sees to that, and that no reading thread
 * looks at memory. Connections and what they wait for stay: transactions are aborted, a KEYS under way will begin again, own entries that the snapshot
 * holds are answered without an outcome.
 */
import { freeRecords } from './alloc';
import { applyFrom, goodSystemRecord, nothingStaged, ownSequence, takeLimit } from './apply';
import { compacting } from './compact';
import { hashKey, renewHash } from './hash';
import { itemsLost } from './items';
import { ARGS_BASE, LOAD_STATE, SCRATCH_BASE } from './layout';
import { check, copy, FAIL_LOAD, FAIL_READER, pad4 } from './memory';
import { reserve } from './pages';
import { resetPins } from './pins';
import { oldestReader } from './readers';
import { keysDrop } from './reads';
import {
  FLAG_SYSTEM,
  newRecord,
  REC_DEADLINE,
  REC_KEY,
  REC_KEY_LENGTH,
  REC_REVISION,
  REC_STATE_HASH,
  REC_VALUE_LENGTH,
} from './record';
import { SE_DEADLINE, SE_HEAD, SE_KEY_LENGTH, SE_REVISION, SE_VALUE_LENGTH, snapshotRunning } from './snapshot';
import { stateHash } from './statehash';
import { growSome, growthPages, homeSlot, locate, resetTable, tableFull } from './table';
import { txnExpire } from './txn';
import { LAST_DEADLINE } from './validate';
import { logicalBytes, logicalLimit, newestHash, putRecord, resetVersions, setMoment, userKeys } from './version';

export const LO_UNDER_WAY: u32 = 0;
export const LO_WRONG: u32 = 4;
export const LO_REVISION: u32 = 8;

/** Results of `loadChunk` and `loadEnd`; texts are in src/store/store.ts. */
export const LOADED: u32 = 0;
export const LOAD_CHUNK: u32 = 1;
export const LOAD_NO_MEMORY: u32 = 2;
export const LOAD_KEYS: u32 = 3;
export const LOAD_LOGICAL: u32 = 4;
export const LOAD_HASH: u32 = 5;
export const LOAD_REVISION: u32 = 6;
export const LOAD_LIMIT: u32 = 7;

export const LOAD_WINDOW: u32 = 256;
export const LOAD_ENTRY: u32 = 16;
export const LOAD_ENTRY_AT: u32 = 8;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(LOAD_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(LOAD_STATE + offset, value);
}

/** Empties the state. Nothing is staged, no snapshot is being written, no reading thread looks at memory. */
export function loadBegin(): void {
  check(nothingStaged() && !snapshotRunning() && !compacting(), FAIL_LOAD);
  check(oldestReader() == u64.MAX_VALUE, FAIL_READER);
  txnExpire(Infinity);
  keysDrop();
  resetPins();
  resetVersions();
  freeRecords();
  // Nothing that remembers a hash is left: records, transactions and scans are gone.
  renewHash();
  store<u64>(LOAD_STATE, 0, LO_REVISION);
  set(LO_UNDER_WAY, 1);
  set(LO_WRONG, resetTable() ? LOADED : LOAD_NO_MEMORY);
}

/** Takes the entries of a chunk at `at`; LOADED, or what is wrong: then nothing more is taken. */
export function loadChunk(at: u32, bytes: u32): u32 {
  check(get(LO_UNDER_WAY) != 0, FAIL_LOAD);
  const end = at + bytes;
  let p = at;
  while (p < end && get(LO_WRONG) == LOADED) {
    const n = fillWindow(p, end);
    if (n == 0) set(LO_WRONG, LOAD_CHUNK);
    else p = takeWindow(n);
  }
  return get(LO_WRONG);
}

/** The room that an entry takes; 0: it is cut, or its lengths are wrong. */
function entryRoom(p: u32, end: u32): u32 {
  const room = end - p;
  if (room < SE_HEAD) return 0;
  const keyLen = <u64>(load<u32>(p, SE_KEY_LENGTH) & ~FLAG_SYSTEM);
  const bytes = <u64>SE_HEAD + ((keyLen + <u64>load<u32>(p, SE_VALUE_LENGTH) + 3) & ~3);
  return bytes > <u64>room ? 0 : <u32>bytes;
}

/** Hashes the keys of entries from `at` on; how many are good, up to the window's end. */
function fillWindow(at: u32, end: u32): u32 {
  let p = at;
  let n: u32 = 0;
  for (; n < LOAD_WINDOW && p < end; n++) {
    const bytes = entryRoom(p, end);
    if (bytes == 0) break;
    const entry = SCRATCH_BASE + n * LOAD_ENTRY;
    store<u64>(entry, hashKey(p + SE_HEAD, load<u32>(p, SE_KEY_LENGTH) & ~FLAG_SYSTEM));
    store<u32>(entry, p, LOAD_ENTRY_AT);
    p += bytes;
  }
  return n;
}

/** Makes the entries of the window records; the place behind the last one. */
function takeWindow(n: u32): u32 {
  let sum: u32 = 0;
  // Touches the slots, so that their cache misses overlap.
  for (let i: u32 = 0; i < n; i++) sum += load<u32>(homeSlot(load<u64>(SCRATCH_BASE + i * LOAD_ENTRY)));
  store<u32>(SCRATCH_BASE + LOAD_WINDOW * LOAD_ENTRY, sum);
  if (growthPages(n) != 0) reserve(growthPages(n));
  let p: u32 = 0;
  for (let i: u32 = 0; i < n && get(LO_WRONG) == LOADED; i++) {
    const entry = SCRATCH_BASE + i * LOAD_ENTRY;
    p = load<u32>(entry, LOAD_ENTRY_AT);
    set(LO_WRONG, takeEntry(p, load<u64>(entry)));
    p += SE_HEAD + pad4((load<u32>(p, SE_KEY_LENGTH) & ~FLAG_SYSTEM) + load<u32>(p, SE_VALUE_LENGTH));
  }
  return p;
}

function takeEntry(p: u32, hash: u64): u32 {
  const keyWord = load<u32>(p, SE_KEY_LENGTH);
  const keyLen = keyWord & ~FLAG_SYSTEM;
  const valueLen = load<u32>(p, SE_VALUE_LENGTH);
  const key = p + SE_HEAD;
  const revision = load<u64>(p, SE_REVISION);
  const deadline = load<u64>(p, SE_DEADLINE);
  const system: u32 = keyWord >> 31;
  if (revision == 0 || locate(hash, key, keyWord) != 0) return LOAD_CHUNK;
  if (deadline > LAST_DEADLINE) return LOAD_CHUNK;
  if (system != 0 && !goodSystemRecord(key, keyLen, valueLen, deadline)) return LOAD_CHUNK;
  if (tableFull()) return LOAD_NO_MEMORY;
  const record = newRecord(keyLen + valueLen, deadline != 0);
  if (record == 0) return LOAD_NO_MEMORY;
  copy(record + REC_KEY, key, keyLen + valueLen);
  store<u64>(record, revision, REC_REVISION);
  store<u32>(record, keyWord, REC_KEY_LENGTH);
  store<u32>(record, valueLen, REC_VALUE_LENGTH);
  store<u64>(record, deadline, REC_DEADLINE);
  store<u64>(record, stateHash(key, keyLen, valueLen, system, revision, deadline), REC_STATE_HASH);
  growSome();
  putRecord(hash, 0, record);
  if (revision > load<u64>(LOAD_STATE, LO_REVISION)) store<u64>(LOAD_STATE, revision, LO_REVISION);
  return LOADED;
}

/** Compares what was loaded with what the snapshot says, at ARGS, and publishes it. LOADED, or what is wrong. */
export function loadEnd(): u32 {
  check(get(LO_UNDER_WAY) != 0, FAIL_LOAD);
  const revision = argument(0);
  if (get(LO_WRONG) != LOADED) return get(LO_WRONG);
  if (load<u64>(LOAD_STATE, LO_REVISION) > revision) return LOAD_REVISION;
  // Before the keys are counted: which ones are live is said by the log time.
  setMoment(revision, argument(8), argument(40));
  if (userKeys() != argument(16)) return LOAD_KEYS;
  if (logicalBytes() != argument(24)) return LOAD_LOGICAL;
  if (newestHash() != load<u64>(ARGS_BASE, 64)) return LOAD_HASH;
  takeLimit();
  if (logicalLimit() != argument(32)) return LOAD_LIMIT;
  applyFrom(argument(8), argument(48), load<u64>(ARGS_BASE, 72));
  set(LO_UNDER_WAY, 0);
  itemsLost(ownSequence());
  return LOADED;
}

// @ts-ignore: decorator
@inline
function argument(offset: u32): u64 {
  return <u64>load<f64>(ARGS_BASE + offset);
}
