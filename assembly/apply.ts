/**
 * Applies committed entries in their order: the state machine that is the same on every replica.
 *
 *     state, at APPLY_STATE
 *      0  u32  where the next record is staged
 *      4  u32  the record to apply next, or the one under way
 *      8  u64  index of the record staged last
 *     16  u32  phase of the entry under way: 0 none, 1 judging, 2 judged, 3 expiry, 4 operations, 5 trailing items
 *     20  u32  end of its payload
 *     24  u32  1: it is an own entry whose items are answered here
 *     28  u32  what it does: 0 nothing, 1 data, 2 config
 *     32  u64  index of the last checkpoint
 *     40  u64  state hash at it
 *     48  u64  the same two of the published state
 *     64       own origin: 0 folder identity (16 bytes), 16 u32 start counter, 20 u32 nonce
 *     88  u32  expired records that it has removed so far
 *     92  u32  bytes of their keys
 *     96       key of an origin's record: 'o', identity
 *    120  u64  revision of their removal
 *
 *     origin in an entry's payload and, from the start counter on, value of its record
 *      0  16 B  folder identity     16  u32  start counter     20  u32  nonce     24  u64  sequence
 *
 * An entry is judged whole before anything of it takes effect; then memory for its worst case is made sure, so that
 * nothing can fail half way: records move out of sparse pages if need be (`compact.ts`), and a node that has no room even so stops
 * before the entry with nothing changed. Then log time is the
 * entry's, whatever its type and form, and what had expired is removed, a bounded number of records, at one revision.
 * Then its operations are carried out. All of it goes in slices of a bounded number of units of work. What is done is published once at the end of the
 * last slice, or between two entries, never in the middle of one.
 */
import { usedBytes } from './alloc';
import { compacting, compactStop, makeWay } from './compact';
import { expiryFirst } from './expiry';
import { hashKey } from './hash';
import { itemsBeginEntry, itemsEndEntry, itemsGap } from './items';
import { APPLY_STATE, STAGE_BASE, STAGE_SIZE, STATS_STATE } from './layout';
import { check, copy, equal, FAIL_EXPIRY, FAIL_HEADER, FAIL_MEMORY, FAIL_STAGE, pad4 } from './memory';
import {
  commandsApplied,
  FINISHED,
  FOR_ITEMS,
  FOR_NOBODY,
  FOR_RUN,
  finishRecord,
  keysChecked,
  liveIn,
  OUTPUT_FULL,
  OVER_BUDGET,
  operateSome,
  operateStart,
} from './operate';
import { resultBegin, sliceBegin, sliceFull } from './output';
import { firstHeapPage, freshPage, owePages, reserve, SPARE_PAGES } from './pages';
import { expired, FLAG_SYSTEM, newRecord, REC_KEY, recDeadline, recKey, recKeyLen, recValue, recValueLen } from './record';
import { goodSession, isSessionKey } from './sessions';
import { growSome, growthPages, locate, locateRecord, tableBytes } from './table';
import {
  UNFINISHED,
  VALID,
  validateSome,
  validateStart,
  validBytes,
  validClasses,
  validCommands,
  validOperations,
  validPages,
} from './validate';
import {
  appliedIndex,
  findAt,
  findCurrent,
  newestApplied,
  newestHash,
  newestRevision,
  newestTime,
  nextRevision,
  publish,
  published,
  publishedHash,
  publishedKeys,
  publishedLimit,
  publishedLogical,
  putRecord,
  publishedTime,
  reclaim,
  removeRecord,
  setApplied,
  setLogicalLimit,
  setTime,
} from './version';

export const AP_NEXT: u32 = 0;
export const AP_RECORD: u32 = 4;
export const AP_STAGED: u32 = 8;
export const AP_PHASE: u32 = 16;
export const AP_END: u32 = 20;
export const AP_OWN: u32 = 24;
export const AP_DOES: u32 = 28;
export const AP_CHECKPOINT: u32 = 32;
export const AP_CHECKPOINT_HASH: u32 = 40;
export const AP_PUBLISHED_CHECKPOINT: u32 = 48;
export const AP_ORIGIN: u32 = 64;
export const AP_REMOVED: u32 = 88;
export const AP_REMOVED_BYTES: u32 = 92;
export const AP_ORIGIN_KEY: u32 = 96;
export const AP_REMOVED_AT: u32 = 120;

/** A record of the log: ARCHITECTURE.md, "Record". */
export const HEADER: u32 = 64;
const MAGIC: u32 = 0x31454c44;
const HEADER_INDEX: u32 = 8;
const HEADER_TIME: u32 = 24;
const HEADER_PAYLOAD: u32 = 40;
const HEADER_TYPE: u32 = 48;
const HEADER_FORMAT: u32 = 49;
const TYPE_NOTHING: u32 = 0;
const TYPE_DATA: u32 = 1;
const TYPE_CONFIG: u32 = 2;

/** A data entry's payload: ARCHITECTURE.md. */
export const ORIGIN_BYTES: u32 = 24;
const ORIGIN_STARTS: u32 = 16;
const ORIGIN_SEQUENCE: u32 = 24;
const PAYLOAD_COMMANDS: u32 = 32;
const PAYLOAD_RESERVED: u32 = 36;
export const PAYLOAD_HEADER: u32 = 40;
const ORIGIN_KEY_BYTES: u32 = 17;
const ORIGIN_PREFIX: u8 = 0x6f;
const ORIGIN_VALUE_BYTES: u32 = 16;

/** A record of a config entry begins with the lengths of key and value. Keys are compared as numbers: `limit`, `members`, `version`. */
const CONFIG_HEAD: u32 = 8;
const MOST_CONFIG_RECORDS: u32 = 16;
const LIMIT_KEY: u64 = 0x74696d696c;
const LIMIT_KEY_BYTES: u32 = 5;
const MEMBERS_KEY: u64 = 0x737265626d656d;
const MEMBERS_KEY_BYTES: u32 = 7;
const MOST_MEMBERS_BYTES: u32 = 65536;
const VERSION_KEY: u64 = 0x6e6f6973726576;
const VERSION_KEY_BYTES: u32 = 7;

const NONE: u32 = 0;
const JUDGING: u32 = 1;
const JUDGED: u32 = 2;
const EXPIRY: u32 = 3;
const OPERATIONS: u32 = 4;
const TRAILING: u32 = 5;

export const DONE: u32 = 0;
export const MORE: u32 = 1;
export const NO_MEMORY: u32 = 2;
/** `run` only. */
export const RUN_MALFORMED: u32 = 3;
export const RUN_BUSY: u32 = 4;
/** Of `makeRoom` only: room will be there when a snapshot or a reader has ended. */
export const WAIT: u32 = 5;

/** Units of work of a slice: about 2 ms on a slow machine. Judging an operation is a sixteenth of one, a retired version a half. */
const SLICE_UNITS: i32 = 3000;
const JUDGINGS: i32 = 16;
const VERSIONS_AFTER: u32 = 4096;
const CHECKPOINT_ENTRIES: u64 = 1024;

/** An entry removes expired records until it has removed so many, or keys of so many bytes (ARCHITECTURE.md, "Expiry"). */
const MOST_REMOVED: u32 = 1024;
const MOST_REMOVED_BYTES: u32 = 1 << 20;
/** Units of work of a removal. */
const REMOVAL_UNITS: i32 = 2;
/** Pages for the deletions that stand for the removed records while somebody sees those: 1 MiB of keys and the longest one, blocks of every class, runs. */
const REMOVAL_PAGES: u64 = 192;
/** System records, which are not counted with the operations: so many more classes may begin a page. */
const SYSTEM_CLASSES: u64 = 2;
/** Pages for the records of a config entry, each as large as it may be. */
const CONFIG_PAGES: u64 = 2 * MOST_CONFIG_RECORDS;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(APPLY_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(APPLY_STATE + offset, value);
}

export function initApply(): void {
  set(AP_NEXT, STAGE_BASE);
  set(AP_RECORD, STAGE_BASE);
  store<u8>(APPLY_STATE, ORIGIN_PREFIX, AP_ORIGIN_KEY);
}

/** The origin of this node's own entries; `identity` is the address of 16 bytes. */
export function setOrigin(identity: u32, starts: u32, nonce: u32): void {
  copy(APPLY_STATE + AP_ORIGIN, identity, 16);
  store<u32>(APPLY_STATE, starts, AP_ORIGIN + ORIGIN_STARTS);
  store<u32>(APPLY_STATE, nonce, AP_ORIGIN + ORIGIN_STARTS + 4);
}

// ---- staging

/** Where the host may write a record of so many bytes; 0: nowhere until `apply` has run. */
export function stageRoom(bytes: u32): u32 {
  const at = get(AP_NEXT);
  check(bytes >= HEADER && bytes <= STAGE_SIZE, FAIL_STAGE);
  return bytes <= STAGE_BASE + STAGE_SIZE - at ? at : 0;
}

/** Queues the record of so many bytes that was written where `stageRoom` said. */
export function stageRecord(bytes: u32): void {
  const at = get(AP_NEXT);
  check(bytes >= HEADER && bytes <= STAGE_BASE + STAGE_SIZE - at, FAIL_STAGE);
  const staged = load<u64>(APPLY_STATE, AP_STAGED) + 1;
  check(load<u32>(at) == MAGIC && load<u8>(at, HEADER_FORMAT) == 1, FAIL_HEADER);
  check(load<u64>(at, HEADER_INDEX) == staged, FAIL_HEADER);
  check(load<u32>(at, HEADER_PAYLOAD) == bytes - HEADER, FAIL_HEADER);
  store<u64>(APPLY_STATE, staged, AP_STAGED);
  set(AP_NEXT, min(STAGE_BASE + STAGE_SIZE, (at + bytes + 63) & ~63));
}

// ---- slices

/** One slice: DONE, MORE (call again), or NO_MEMORY (the next entry does not fit; nothing of it was applied). */
export function apply(): u32 {
  sliceBegin();
  let left = SLICE_UNITS;
  while (get(AP_PHASE) != NONE || get(AP_RECORD) != get(AP_NEXT)) {
    const phase = get(AP_PHASE);
    if (left <= 0 || (phase == NONE && sliceFull())) return endSlice(MORE);
    if (phase == NONE) left -= beginEntry();
    else if (phase == JUDGING) left = judge(left);
    else if (phase == JUDGED) {
      // It will not be done in this slice: what was done before need not wait for it.
      if (unitsAhead() > left && newestApplied() != appliedIndex()) publishAll();
      const slow = compacting();
      const outcome = takeEffect();
      if (outcome != DONE) return endSlice(outcome);
      left -= slow ? SLICE_UNITS : 1;
    } else if (phase == EXPIRY) {
      left = expire(left);
    } else {
      left = carryOut(left);
      if (left == OUTPUT_ENOUGH) return endSlice(MORE);
    }
  }
  set(AP_NEXT, STAGE_BASE);
  set(AP_RECORD, STAGE_BASE);
  return endSlice(DONE);
}

/** What `carryOut` returns when the slice must end because of its output. */
const OUTPUT_ENOUGH: i32 = i32.MIN_VALUE;

/** Publishes, unless an entry is in the middle, and gives memory back. */
function endSlice(outcome: u32): u32 {
  if (get(AP_PHASE) <= JUDGED) {
    if (newestApplied() != appliedIndex() || newestRevision() != published()) publishAll();
    if (outcome == DONE && reclaim(VERSIONS_AFTER)) return MORE;
  }
  return outcome;
}

function publishAll(): void {
  copy(APPLY_STATE + AP_PUBLISHED_CHECKPOINT, APPLY_STATE + AP_CHECKPOINT, 16);
  publish();
}

/** Looks at the next record; returns units of work. */
function beginEntry(): i32 {
  const record = get(AP_RECORD);
  const payload = record + HEADER;
  const bytes = load<u32>(record, HEADER_PAYLOAD);
  const type = <u32>load<u8>(record, HEADER_TYPE);
  set(AP_END, payload + bytes);
  set(AP_OWN, 0);
  if (type == TYPE_DATA && bytes >= PAYLOAD_HEADER && load<u32>(payload, PAYLOAD_RESERVED) == 0) {
    validateStart(payload + PAYLOAD_HEADER, bytes - PAYLOAD_HEADER, false);
    set(AP_DOES, TYPE_DATA);
    set(AP_PHASE, JUDGING);
    return 1;
  }
  judged(type == TYPE_CONFIG && validConfig(payload, bytes) ? TYPE_CONFIG : TYPE_NOTHING);
  return 1;
}

/** The entry is judged, and has no operations to carry out. */
function judged(does: u32): void {
  validateStart(get(AP_END), 0, false);
  set(AP_DOES, does);
  set(AP_PHASE, JUDGED);
}

function judge(left: i32): i32 {
  const verdict = validateSome(<u32>left * JUDGINGS);
  if (verdict == UNFINISHED) return 0;
  const commands = load<u32>(get(AP_RECORD) + HEADER, PAYLOAD_COMMANDS);
  const units = 1 + <i32>(validOperations() / JUDGINGS);
  if (verdict == VALID && commands == validCommands()) set(AP_PHASE, JUDGED);
  else judged(TYPE_NOTHING);
  return left - units;
}

/** Units of work that the judged entry takes, about. */
function unitsAhead(): i32 {
  const operations = <i32>validOperations();
  return falls(entryTime()) ? operations + REMOVAL_UNITS * MOST_REMOVED : operations;
}

function endEntry(): void {
  const record = get(AP_RECORD);
  const index = load<u64>(record, HEADER_INDEX);
  setApplied(index);
  if (index % CHECKPOINT_ENTRIES == 0) {
    store<u64>(APPLY_STATE, index, AP_CHECKPOINT);
    store<u64>(APPLY_STATE, newestHash(), AP_CHECKPOINT_HASH);
  }
  owePages(0);
  set(AP_PHASE, NONE);
  set(AP_RECORD, min(STAGE_BASE + STAGE_SIZE, (get(AP_END) + 63) & ~63));
}

/** Log time once the entry takes effect. */
function entryTime(): u64 {
  return max(newestTime(), load<u64>(get(AP_RECORD), HEADER_TIME));
}

/** A judged entry begins to take effect. DONE; MORE: there is no memory for it yet; NO_MEMORY. */
function takeEffect(): u32 {
  const removals = falls(entryTime());
  if (removals || get(AP_DOES) != TYPE_NOTHING) {
    const outcome = makeRoom(removals);
    if (outcome != DONE) return outcome == WAIT ? MORE : outcome;
  }
  setTime(entryTime());
  set(AP_REMOVED, 0);
  set(AP_REMOVED_BYTES, 0);
  set(AP_PHASE, EXPIRY);
  return DONE;
}

/** Some record with a deadline has expired by `time`. */
function falls(time: u64): bool {
  const first = expiryFirst();
  return first != 0 && expired(first, time);
}

/** Removes some of what has expired, and begins with what the entry does once that is done. What is left of the budget. */
function expire(budget: i32): i32 {
  let left = budget;
  while (get(AP_REMOVED) < MOST_REMOVED && get(AP_REMOVED_BYTES) < MOST_REMOVED_BYTES) {
    const record = expiryFirst();
    if (record == 0 || !expired(record, newestTime())) break;
    if (left <= 0) return 0;
    const hash = hashKey(recKey(record), recKeyLen(record));
    const slot = locateRecord(hash, record);
    check(slot != 0, FAIL_EXPIRY);
    if (get(AP_REMOVED) == 0) store<u64>(APPLY_STATE, nextRevision(), AP_REMOVED_AT);
    set(AP_REMOVED, get(AP_REMOVED) + 1);
    set(AP_REMOVED_BYTES, get(AP_REMOVED_BYTES) + recKeyLen(record));
    removeRecord(hash, slot, load<u64>(APPLY_STATE, AP_REMOVED_AT));
    left -= REMOVAL_UNITS;
  }
  begin();
  return left - 1;
}

/** What the entry does, begins. */
function begin(): void {
  const payload = get(AP_RECORD) + HEADER;
  if (get(AP_DOES) != TYPE_DATA) {
    if (get(AP_DOES) == TYPE_CONFIG) configure(payload);
    return endEntry();
  }
  const sequence = load<u64>(payload, ORIGIN_SEQUENCE);
  const own = equal(payload, APPLY_STATE + AP_ORIGIN, ORIGIN_BYTES);
  if (!admit(payload, sequence)) {
    if (own) itemsGap(sequence);
    return endEntry();
  }
  set(AP_OWN, own ? 1 : 0);
  const answered = own && itemsBeginEntry(sequence);
  operateStart(payload + PAYLOAD_HEADER, get(AP_END) - payload - PAYLOAD_HEADER, answered ? FOR_ITEMS : FOR_NOBODY);
  set(AP_PHASE, OPERATIONS);
}

/** Goes on with the operations; what is left of the budget. */
function carryOut(left: i32): i32 {
  if (get(AP_PHASE) == OPERATIONS) {
    const before = get(AP_RECORD);
    const outcome = operateSome(left);
    if (outcome == OVER_BUDGET) return 0;
    if (outcome == OUTPUT_FULL) return OUTPUT_ENOUGH;
    set(AP_PHASE, TRAILING);
    left -= min(left, <i32>((get(AP_END) - before) >> 6));
  }
  if (get(AP_OWN) != 0 && !itemsEndEntry()) return OUTPUT_ENOUGH;
  endEntry();
  return left;
}

// ---- memory

/**
 * Makes sure that memory for the worst case of the judged operations is there: new records, deletions (`removals`: those of expiry
 * too), tables. DONE, MORE, WAIT or NO_MEMORY.
 */
function makeRoom(removals: bool): u32 {
  const operations = validOperations();
  const records = (validBytes() * 3) >> 17;
  const more = (removals ? REMOVAL_PAGES : 0) + (get(AP_DOES) == TYPE_CONFIG ? CONFIG_PAGES : 0);
  const pages = validPages() + records + validClasses() + SYSTEM_CLASSES + <u64>SPARE_PAGES + more;
  const need = pages + <u64>growthPages(operations + 2);
  if (need >= 65536) return NO_MEMORY;
  let outcome = DONE;
  if (compacting() || !reserve(<u32>need)) {
    // What entries before this one superseded can be freed only once they are published.
    if (newestApplied() != appliedIndex()) publishAll();
    outcome = makeWay(<u32>need);
  }
  if (outcome == DONE) owePages(<u32>need);
  return outcome;
}

// ---- origins and config

/** ARCHITECTURE.md, "System records": whether a data entry takes effect. If so, its origin's record is written. */
function admit(payload: u32, sequence: u64): bool {
  const key = APPLY_STATE + AP_ORIGIN_KEY;
  copy(key + 1, payload, 16);
  const hash = hashKey(key, ORIGIN_KEY_BYTES);
  const record = liveIn(locate(hash, key, ORIGIN_KEY_BYTES | FLAG_SYSTEM));
  if (!isNext(record, load<u64>(payload, ORIGIN_STARTS), sequence)) return false;
  putSystem(hash, key, ORIGIN_KEY_BYTES, payload + ORIGIN_STARTS, ORIGIN_VALUE_BYTES, nextRevision());
  return true;
}

/** `incarnation`: start counter in the low half, nonce in the high one. */
function isNext(record: u32, incarnation: u64, sequence: u64): bool {
  if (record == 0 || recValueLen(record) != ORIGIN_VALUE_BYTES) return sequence == 1;
  const value = recValue(record);
  if (load<u64>(value) == incarnation) return sequence == load<u64>(value, 8) + 1;
  return <u32>incarnation > load<u32>(value) && sequence == 1;
}

function putSystem(hash: u64, key: u32, keyLen: u32, value: u32, valueLen: u32, revision: u64): void {
  growSome();
  const slot = locate(hash, key, keyLen | FLAG_SYSTEM);
  const record = newRecord(keyLen + valueLen, false);
  check(record != 0, FAIL_MEMORY);
  copy(record + REC_KEY, key, keyLen);
  copy(record + REC_KEY + keyLen, value, valueLen);
  finishRecord(record, record + REC_KEY, keyLen, valueLen, 1, revision, 0);
  putRecord(hash, slot, record);
}

/** Whether the named number of records ends exactly at the payload's end and each is a known key with a value of its size. */
function validConfig(payload: u32, bytes: u32): bool {
  if (bytes < 4 || load<u32>(payload) > MOST_CONFIG_RECORDS) return false;
  const end = payload + bytes;
  let at = payload + 4;
  for (let left = load<u32>(payload); left > 0; left--) {
    if (end - at < CONFIG_HEAD) return false;
    const keyLen = load<u32>(at);
    const valueLen = load<u32>(at, 4);
    // Both are small once the key is known to be one of three.
    if (end - at - CONFIG_HEAD < MEMBERS_KEY_BYTES || !goodSetting(at + CONFIG_HEAD, keyLen, valueLen)) return false;
    const length = CONFIG_HEAD + pad4(keyLen + valueLen);
    if (end - at < length) return false;
    at += length;
  }
  return at == end;
}

/** Whether a config entry may set this key to a value of this length; there are 7 bytes or more at `key`. */
function goodSetting(key: u32, keyLen: u32, valueLen: u32): bool {
  if (isKey(key, keyLen, LIMIT_KEY, LIMIT_KEY_BYTES)) return valueLen == 8;
  if (isKey(key, keyLen, VERSION_KEY, VERSION_KEY_BYTES)) return valueLen == 8;
  return isKey(key, keyLen, MEMBERS_KEY, MEMBERS_KEY_BYTES) && valueLen <= MOST_MEMBERS_BYTES;
}

/** Compares a key with one of fewer than 8 bytes. */
function isKey(key: u32, keyLen: u32, word: u64, wordLen: u32): bool {
  return keyLen == wordLen && (load<u64>(key) & ((<u64>1 << (wordLen << 3)) - 1)) == word;
}

function configure(payload: u32): void {
  const records = load<u32>(payload);
  if (records == 0) return;
  const revision = nextRevision();
  let at = payload + 4;
  for (let i: u32 = 0; i < records; i++) {
    const key = at + CONFIG_HEAD;
    const keyLen = load<u32>(at);
    const valueLen = load<u32>(at, 4);
    putSystem(hashKey(key, keyLen), key, keyLen, key + keyLen, valueLen, revision);
    if (keyLen == LIMIT_KEY_BYTES) setLogicalLimit(load<u64>(key, LIMIT_KEY_BYTES));
    at = key + pad4(keyLen + valueLen);
  }
}

/** The published system record of a key; 0: none. */
export function systemRecord(key: u32, keyLen: u32): u32 {
  return findAt(key, keyLen, 1, published(), 0);
}

// ---- run

/**
 * Applies a batch of operations (GET too) at once, publishes, and leaves the replies with the slot RESULT. DONE, NO_MEMORY,
 * RUN_MALFORMED, or RUN_BUSY (an entry is in the middle): then nothing has changed.
 */
export function run(operations: u32, bytes: u32): u32 {
  if (get(AP_PHASE) > JUDGED) return RUN_BUSY;
  if (get(AP_PHASE) != NONE) set(AP_PHASE, NONE);
  compactStop();
  validateStart(operations, bytes, true);
  if (validateSome(u32.MAX_VALUE) != VALID) return RUN_MALFORMED;
  for (let room = makeRoom(false); room != DONE; room = makeRoom(false)) {
    if (room == MORE) continue;
    compactStop();
    return NO_MEMORY;
  }
  resultBegin();
  operateStart(operations, bytes, FOR_RUN);
  check(operateSome(i32.MAX_VALUE) == FINISHED, FAIL_STAGE);
  owePages(0);
  publishAll();
  reclaim(VERSIONS_AFTER + 2 * validOperations());
  return DONE;
}

// ---- a loaded snapshot

/** Nothing is staged, and no entry is in the middle. */
export function nothingStaged(): bool {
  return get(AP_PHASE) == NONE && get(AP_RECORD) == get(AP_NEXT);
}

/** The state is that after entry `applied`, and the last checkpoint was this one: the next record staged follows it. */
export function applyFrom(applied: u64, checkpoint: u64, hash: u64): void {
  store<u64>(APPLY_STATE, applied, AP_STAGED);
  store<u64>(APPLY_STATE, checkpoint, AP_CHECKPOINT);
  store<u64>(APPLY_STATE, hash, AP_CHECKPOINT_HASH);
  publishAll();
}

/** The last sequence of this node's own origin in the state; 0: its record is of another incarnation, or there is none. */
export function ownSequence(): u64 {
  const key = APPLY_STATE + AP_ORIGIN_KEY;
  copy(key + 1, APPLY_STATE + AP_ORIGIN, 16);
  const record = findCurrent(key, ORIGIN_KEY_BYTES, 1);
  if (record == 0) return 0;
  const value = recValue(record);
  return load<u64>(value) == load<u64>(APPLY_STATE, AP_ORIGIN + ORIGIN_STARTS) ? load<u64>(value, 8) : 0;
}

/** Takes the limit of logical bytes from its record. */
export function takeLimit(): void {
  store<u64>(APPLY_STATE, LIMIT_KEY, AP_ORIGIN_KEY + 1);
  const record = findCurrent(APPLY_STATE + AP_ORIGIN_KEY + 1, LIMIT_KEY_BYTES, 1);
  setLogicalLimit(record == 0 ? 0 : load<u64>(recValue(record)));
}

/**
 * Whether a system record has the shape that this version's are in: its value is read without looking at its length. Sessions
 * have a deadline, no others do.
 */
export function goodSystemRecord(key: u32, keyLen: u32, valueLen: u32, deadline: u64): bool {
  if (isSessionKey(key, keyLen)) return deadline != 0 && goodSession(key, key + keyLen, valueLen);
  if (deadline != 0) return false;
  if (keyLen == ORIGIN_KEY_BYTES && load<u8>(key) == ORIGIN_PREFIX) return valueLen == ORIGIN_VALUE_BYTES;
  if (isKey(key, keyLen, LIMIT_KEY, LIMIT_KEY_BYTES)) return valueLen == 8;
  if (isKey(key, keyLen, VERSION_KEY, VERSION_KEY_BYTES)) return valueLen == 8;
  if (isKey(key, keyLen, MEMBERS_KEY, MEMBERS_KEY_BYTES)) return valueLen <= MOST_MEMBERS_BYTES;
  return true;
}

// ---- statistics

/**
 * Writes numbers at STATS_STATE and returns its address:
 *
 *     statistics, f64 each unless noted
 *      0  published revision      8  applied index        16  users' keys          24  logical bytes
 *     32  their limit            40  bytes used          48  bytes reserved       56  index of the checkpoint
 *     64  keys checked           72  commands applied    80  u64 state hash       88  u64 the checkpoint's
 */
export function stats(): u32 {
  store<f64>(STATS_STATE, <f64>published(), 0);
  store<f64>(STATS_STATE, <f64>appliedIndex(), 8);
  store<f64>(STATS_STATE, <f64>publishedKeys(), 16);
  store<f64>(STATS_STATE, <f64>publishedLogical(), 24);
  store<f64>(STATS_STATE, <f64>publishedLimit(), 32);
  store<f64>(STATS_STATE, <f64>(usedBytes() + tableBytes()), 40);
  store<f64>(STATS_STATE, <f64>((<u64>(freshPage() - firstHeapPage())) << 16), 48);
  store<f64>(STATS_STATE, <f64>load<u64>(APPLY_STATE, AP_PUBLISHED_CHECKPOINT), 56);
  store<f64>(STATS_STATE, <f64>keysChecked(), 64);
  store<f64>(STATS_STATE, <f64>commandsApplied(), 72);
  store<u64>(STATS_STATE, publishedHash(), 80);
  store<u64>(STATS_STATE, load<u64>(APPLY_STATE, AP_PUBLISHED_CHECKPOINT + 8), 88);
  return STATS_STATE;
}

/** Index of the last entry applied and published. */
export function applied(): f64 {
  return <f64>appliedIndex();
}

/** Log time at which published reads are made, ms. */
export function logTime(): f64 {
  return <f64>publishedTime();
}

/** The earliest deadline of a record, ms of log time; -1: none has one. */
export function earliestDeadline(): f64 {
  const first = expiryFirst();
  return first == 0 ? -1 : <f64>recDeadline(first);
}
