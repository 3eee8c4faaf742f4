/**
 * Carries out operations, judged well-formed (`validate.ts`), one window after the other.
 *
 *     state, at OPERATE_STATE
 *      0  u32  place: address of the next operation
 *      4  u32  end of the operations
 *      8  u32  who gets the replies: 0 nobody, 1 the items of an own entry, 2 the caller of `run`
 *     12  u32  slot that gets the reply of the command under way
 *     16  u32  1: a command is under way (a DEL of several keys, a COMMIT)
 *     20  u32  keys that the DEL under way has deleted
 *     24  u64  its revision
 *     32  u64  commands carried out
 *     40  u64  keys checked for conflicts
 *     48  u32  what the touches of a window add up to: nobody reads it
 *     52  u32  1: the command under way has a sequence, and its outcome is to be noted (sessions.ts)
 *     56  u64  logical bytes that this will take
 *     64       an integer as text, for INCR
 *
 *     window, at SCRATCH: up to 256 operations, 16 bytes each
 *      0  u64  hash of the key
 *      8  u32  address of the operation
 *     12  u32  block for its record, or 0
 *
 * A window is gone through three times, so that cache misses overlap instead of following one another: hash every key
 * and touch its slot; touch the old records, and the memory of the new ones; then do the work. The first two change nothing
 * that can be seen.
 */
import { commitSome } from './commit';
import { expiryWork } from './expiry';
import { hashKey } from './hash';
import { itemsCommandSlot, YIELD } from './items';
import { HEAP_BASE, OPERATE_STATE, SCRATCH_BASE } from './layout';
import { check, copy, equal, FAIL_MEMORY, pad4 } from './memory';
import { NOBODY, RESULT, replyBegin, replyInteger, replyMessage, replyNil, replyOk, replyString } from './output';
import {
  expired,
  freeBlank,
  logicalSize,
  newRecord,
  REC_DEADLINE,
  REC_KEY,
  REC_KEY_LENGTH,
  REC_REVISION,
  REC_STATE_HASH,
  REC_VALUE_LENGTH,
  recDeadline,
  recDeleted,
  recKey,
  recKeyLen,
  recValue,
  recValueLen,
} from './record';
import {
  noteOutcome,
  OUTCOME_INTEGER,
  OUTCOME_NIL,
  OUTCOME_NOT_INTEGER,
  OUTCOME_OK,
  OUTCOME_OUT_OF_MEMORY,
  OUTCOME_OVERFLOW,
  outcomeMessage,
  sessionOperation,
} from './sessions';
import { stateHash } from './statehash';
import { growSome, homeSlot, likelyRecord, locate, slotRecord } from './table';
import {
  CODE_CAS,
  CODE_COMMIT,
  CODE_DEL,
  CODE_FENCE,
  CODE_GET,
  CODE_INCR,
  CODE_PERSIST,
  CODE_SEQ,
  CODE_SESSION,
  CODE_SET,
  deadlineOf,
  HEAD,
  HEAD_FLAGS,
  HEAD_KEY,
  HEAD_VALUE,
  mayExpire,
  OP_MORE,
  OP_NX,
  OP_TTL,
  OP_XX,
  operationBytes,
} from './validate';
import { logicalBytes, logicalLimit, newestTime, nextRevision, putRecord, removeRecord } from './version';

export const OS_PLACE: u32 = 0;
export const OS_END: u32 = 4;
export const OS_WHO: u32 = 8;
export const OS_SLOT: u32 = 12;
export const OS_UNDER_WAY: u32 = 16;
export const OS_DELETED: u32 = 20;
export const OS_DEL_REVISION: u32 = 24;
export const OS_COMMANDS: u32 = 32;
export const OS_CHECKED: u32 = 40;
export const OS_TOUCHED: u32 = 48;
export const OS_SEQUENCED: u32 = 52;
export const OS_NOTED_BYTES: u32 = 56;
export const OS_INTEGER: u32 = 64;

export const FOR_NOBODY: u32 = 0;
export const FOR_ITEMS: u32 = 1;
export const FOR_RUN: u32 = 2;

export const WINDOW: u32 = 256;
export const WINDOW_ENTRY: u32 = 16;
export const WINDOW_OPERATION: u32 = 8;
export const WINDOW_BLOCK: u32 = 12;
/** A window ends when its operations have this many bytes: what was touched should still be in the cache. */
const WINDOW_BYTES: u32 = 64 << 10;
/** Lines of a new record's memory that are touched ahead. */
const TOUCH_BYTES: u32 = 1024;
const CACHE_LINE: u32 = 64;

/** Codes of operations that stand alone, a bit each. */
const ALONE: u32 = (1 << CODE_COMMIT) | (1 << CODE_SESSION) | (1 << CODE_SEQ) | (1 << CODE_FENCE);
/** Units of work of a SESSION, SEQ or FENCE. */
const SESSION_UNITS: i32 = 2;
/** Units of work of a change to the index of deadlines. */
const DEADLINE_UNITS: i32 = 4;

/** Results of one slice. */
export const FINISHED: u32 = 0;
export const OVER_BUDGET: u32 = 1;
export const OUTPUT_FULL: u32 = 2;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(OPERATE_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(OPERATE_STATE + offset, value);
}

export function commandsApplied(): u64 {
  return load<u64>(OPERATE_STATE, OS_COMMANDS);
}
export function keysChecked(): u64 {
  return load<u64>(OPERATE_STATE, OS_CHECKED);
}
export function countChecks(n: u32): void {
  if (get(OS_WHO) != FOR_RUN) store<u64>(OPERATE_STATE, keysChecked() + <u64>n, OS_CHECKED);
}

/** Begins with the `bytes` bytes of operations at `at`. */
export function operateStart(at: u32, bytes: u32, who: u32): void {
  set(OS_PLACE, at);
  set(OS_END, at + bytes);
  set(OS_WHO, who);
  set(OS_UNDER_WAY, 0);
  set(OS_SEQUENCED, 0);
  store<u64>(OPERATE_STATE, 0, OS_NOTED_BYTES);
  expiryWork();
}

/** Does about `budget` units of work: an operation, or a kibibyte of it, is one. */
export function operateSome(budget: i32): u32 {
  let left = budget;
  while (get(OS_PLACE) != get(OS_END)) {
    if (left <= 0) return OVER_BUDGET;
    const before = get(OS_PLACE);
    if (standsAlone(before)) {
      if (!beginCommand()) return OUTPUT_FULL;
      if (<u32>load<u8>(before) == CODE_COMMIT) left = commitSome(before, left);
      else {
        sessionOperation(before);
        left -= SESSION_UNITS + <i32>((get(OS_PLACE) - before) >> 10);
      }
    } else {
      const operations = fillWindow(before, get(OS_END));
      touchWindow(operations);
      allocWindow(operations);
      if (get(OS_WHO) == FOR_RUN) touchValues(operations);
      const done = workWindow(operations);
      left -= done + <i32>((get(OS_PLACE) - before) >> 10);
      if (done < <i32>operations) return OUTPUT_FULL;
    }
    left -= DEADLINE_UNITS * <i32>expiryWork();
  }
  return FINISHED;
}

/** The operation at the place is done; `bytes`: all of it, with its padding. */
export function pastOperation(at: u32, bytes: u32): void {
  set(OS_PLACE, at + bytes);
}

// ---- the window

/** Whether the operation at `at` is no part of a window: COMMIT, SESSION, SEQ, FENCE. */
// @ts-ignore: decorator
@inline
function standsAlone(at: u32): bool {
  return ((ALONE >> <u32>load<u8>(at)) & 1) != 0;
}

/** Hashes the keys of operations from `at` on, up to one that stands alone, `last` or the window's end. Returns how many. */
export function fillWindow(at: u32, last: u32): u32 {
  const end = min(last, at + WINDOW_BYTES);
  let p = at;
  let entry = SCRATCH_BASE;
  while (p < end && entry < SCRATCH_BASE + WINDOW * WINDOW_ENTRY) {
    if (standsAlone(p)) break;
    const keyLen = load<u32>(p, HEAD_KEY);
    store<u64>(entry, hashKey(p + HEAD, keyLen));
    store<u32>(entry, p, WINDOW_OPERATION);
    p += operationBytes(p);
    entry += WINDOW_ENTRY;
  }
  return (entry - SCRATCH_BASE) / WINDOW_ENTRY;
}

/**
 * Touches, in loops so short that many misses are under way at once: the slots of the window's keys, then the records that
 * they point to.
 */
export function touchWindow(operations: u32): void {
  const end = SCRATCH_BASE + operations * WINDOW_ENTRY;
  let sum: u32 = 0;
  for (let entry = SCRATCH_BASE; entry < end; entry += WINDOW_ENTRY) sum += load<u32>(homeSlot(load<u64>(entry)));
  for (let entry = SCRATCH_BASE; entry < end; entry += WINDOW_ENTRY) {
    const record = likelyRecord(load<u64>(entry));
    sum += load<u32>(record, REC_KEY_LENGTH) + load<u32>(record, REC_KEY);
  }
  set(OS_TOUCHED, sum);
}

/** Gets memory for the records of the window's SETs, and touches it: the stores to come then find it in the cache. */
export function allocWindow(operations: u32): void {
  const end = SCRATCH_BASE + operations * WINDOW_ENTRY;
  let sum: u32 = 0;
  for (let entry = SCRATCH_BASE; entry < end; entry += WINDOW_ENTRY) {
    const at = load<u32>(entry, WINDOW_OPERATION);
    let block: u32 = 0;
    if (<u32>load<u8>(at) == CODE_SET) {
      const data = load<u32>(at, HEAD_KEY) + load<u32>(at, HEAD_VALUE);
      block = newBlock(data, mayExpire(at));
    }
    store<u32>(entry, block, WINDOW_BLOCK);
  }
  for (let entry = SCRATCH_BASE; entry < end; entry += WINDOW_ENTRY) {
    const block = load<u32>(entry, WINDOW_BLOCK);
    if (block == 0) continue;
    const at = load<u32>(entry, WINDOW_OPERATION);
    const bytes = min(REC_KEY + load<u32>(at, HEAD_KEY) + load<u32>(at, HEAD_VALUE), TOUCH_BYTES);
    for (let i: u32 = 0; i < bytes; i += CACHE_LINE) sum += load<u32>(block + i);
  }
  set(OS_TOUCHED, sum);
}

/** Touches the values that the window's GETs will read. */
function touchValues(operations: u32): void {
  const end = SCRATCH_BASE + operations * WINDOW_ENTRY;
  let sum: u32 = 0;
  for (let entry = SCRATCH_BASE; entry < end; entry += WINDOW_ENTRY) {
    if (<u32>load<u8>(load<u32>(entry, WINDOW_OPERATION)) != CODE_GET) continue;
    const record = likelyRecord(load<u64>(entry));
    const bytes = min(REC_KEY + recKeyLen(record) + recValueLen(record), TOUCH_BYTES);
    if (record >= HEAP_BASE) for (let i = CACHE_LINE; i < bytes; i += CACHE_LINE) sum += load<u32>(record + i);
  }
  set(OS_TOUCHED, sum);
}

/** A record yet to be filled in. There is memory: it was made sure before the entry was begun. */
function newBlock(data: u32, withDeadline: bool): u32 {
  const block = newRecord(data, withDeadline);
  check(block != 0, FAIL_MEMORY);
  return block;
}

/** Carries out the operations of the window, all or (the output is full) the first ones; returns how many. */
function workWindow(operations: u32): i32 {
  for (let i: u32 = 0; i < operations; i++) {
    const entry = SCRATCH_BASE + i * WINDOW_ENTRY;
    if (!beginCommand()) {
      dropBlocks(i, operations);
      return <i32>i;
    }
    const at = load<u32>(entry, WINDOW_OPERATION);
    growSome();
    operation(at, load<u64>(entry), load<u32>(entry, WINDOW_BLOCK));
    set(OS_PLACE, at + operationBytes(at));
  }
  return <i32>operations;
}

function dropBlocks(from: u32, to: u32): void {
  for (let i = from; i < to; i++) {
    const block = load<u32>(SCRATCH_BASE + i * WINDOW_ENTRY, WINDOW_BLOCK);
    if (block != 0) freeBlank(block, mayExpire(load<u32>(SCRATCH_BASE + i * WINDOW_ENTRY, WINDOW_OPERATION)));
  }
}

// ---- commands and their replies

/** What stands before this command is answered first. False: the output is full, try again in the next slice. */
function beginCommand(): bool {
  if (get(OS_UNDER_WAY) != 0) return true;
  const who = get(OS_WHO);
  let slot = who == FOR_RUN ? RESULT : NOBODY;
  if (who == FOR_ITEMS) {
    slot = itemsCommandSlot();
    if (slot == YIELD) return false;
  }
  set(OS_SLOT, slot);
  set(OS_UNDER_WAY, 1);
  set(OS_DELETED, 0);
  return true;
}

/** The command is done; true when somebody gets its reply, which has to be written now. */
export function endCommand(): bool {
  set(OS_UNDER_WAY, 0);
  if (get(OS_WHO) != FOR_RUN) store<u64>(OPERATE_STATE, commandsApplied() + 1, OS_COMMANDS);
  const slot = get(OS_SLOT);
  if (slot == NOBODY) return false;
  replyBegin(slot);
  return true;
}

/**
 * The command is done with this outcome, which is noted if it has a sequence: `integer` of OUTCOME_INTEGER, `word` of
 * OUTCOME_CONFLICT. True when its reply has to be written now.
 */
export function endWith(outcome: u32, integer: i64, word: u32, length: u32): bool {
  if (get(OS_SEQUENCED) != 0) {
    set(OS_SEQUENCED, 0);
    store<u64>(OPERATE_STATE, 0, OS_NOTED_BYTES);
    noteOutcome(outcome, integer, word, length);
  }
  return endCommand();
}

export function endOk(): void {
  if (endWith(OUTCOME_OK, 0, 0, 0)) replyOk();
}
function endNil(): void {
  if (endWith(OUTCOME_NIL, 0, 0, 0)) replyNil();
}
export function endInteger(integer: i64): void {
  if (endWith(OUTCOME_INTEGER, integer, 0, 0)) replyInteger(integer);
}
/** An outcome whose message has no parameter. */
export function endMessage(outcome: u32): void {
  if (endWith(outcome, 0, 0, 0)) replyMessage(outcomeMessage(outcome));
}

/** The outcome of the command that has been begun is to be noted, which takes so many logical bytes. */
export function setSequenced(bytes: u64): void {
  set(OS_SEQUENCED, 1);
  store<u64>(OPERATE_STATE, bytes, OS_NOTED_BYTES);
}

/** The slot that gets the reply of the command under way; NOBODY and RESULT are none. */
export function commandSlot(): u32 {
  return get(OS_SLOT);
}

// ---- operations

/** The record in a slot that may be 0: the one that the replicated sums count, whether it has expired or not; 0: none. */
// @ts-ignore: decorator
@inline
export function heldIn(slot: u32): u32 {
  if (slot == 0) return 0;
  const record = slotRecord(slot);
  return recDeleted(record) ? 0 : record;
}

/** The live record in a slot that may be 0; 0: absent, as it also is when it has expired. */
// @ts-ignore: decorator
@inline
export function liveIn(slot: u32): u32 {
  const record = heldIn(slot);
  return record == 0 || expired(record, newestTime()) ? 0 : record;
}

/** Logical size of a record that may be 0. */
// @ts-ignore: decorator
@inline
export function sizeOf(record: u32): u64 {
  return record == 0 ? 0 : <u64>logicalSize(recKeyLen(record) + recValueLen(record));
}

/** Whether the logical bytes may change from `before` to `after`; what the note of the outcome takes counts as taken. */
export function fits(before: u64, after: u64): bool {
  const limit = logicalLimit();
  if (limit == 0 || after <= before) return true;
  return logicalBytes() + load<u64>(OPERATE_STATE, OS_NOTED_BYTES) - before + after <= limit;
}

function operation(at: u32, hash: u64, block: u32): void {
  const code = <u32>load<u8>(at);
  const keyLen = load<u32>(at, HEAD_KEY);
  const slot = locate(hash, at + HEAD, keyLen);
  if (code == CODE_SET) {
    const condition = <u32>load<u8>(at, HEAD_FLAGS) & (OP_NX | OP_XX);
    if (condition != 0 && (condition == OP_NX) == (liveIn(slot) != 0)) {
      freeBlank(block, mayExpire(at));
      endNil();
    } else setKey(at, hash, slot, block);
    return;
  }
  if (code == CODE_GET) return getKey(liveIn(slot));
  if (code == CODE_DEL) return deleteKey(at, hash, slot);
  if (code == CODE_INCR) return increment(at, hash, slot);
  if (code == CODE_PERSIST) return persist(hash, slot);
  check(code == CODE_CAS, FAIL_MEMORY);
  compareAndSet(at, hash, slot);
}

function getKey(record: u32): void {
  if (!endCommand()) return;
  if (record == 0) replyNil();
  else replyString(recValue(record), recValueLen(record));
}

function setKey(at: u32, hash: u64, slot: u32, block: u32): void {
  const data = load<u32>(at, HEAD_KEY) + load<u32>(at, HEAD_VALUE);
  if (!fits(sizeOf(heldIn(slot)), logicalSize(data))) {
    freeBlank(block, mayExpire(at));
    return endMessage(OUTCOME_OUT_OF_MEMORY);
  }
  writeOperation(at, hash, slot, block, nextRevision());
  endOk();
}

/** Makes the key and value of a SET the newest record, in the `blank` one that `allocWindow` made for it. */
export function writeOperation(at: u32, hash: u64, slot: u32, blank: u32, revision: u64): void {
  const keyLen = load<u32>(at, HEAD_KEY);
  const valueLen = load<u32>(at, HEAD_VALUE);
  const deadline = mayExpire(at) ? newDeadline(at, slot) : 0;
  let block = blank;
  if (mayExpire(at) && deadline == 0) {
    // There is no deadline to keep.
    freeBlank(blank, true);
    block = newBlock(keyLen + valueLen, false);
  }
  copy(block + REC_KEY, at + HEAD, keyLen + valueLen);
  finishRecord(block, at + HEAD, keyLen, valueLen, 0, revision, deadline);
  putRecord(hash, slot, block);
}

/** The deadline that a SET gives its key, 0: none. */
function newDeadline(at: u32, slot: u32): u64 {
  if ((<u32>load<u8>(at, HEAD_FLAGS) & OP_TTL) != 0) return deadlineOf(at, newestTime());
  return deadlineIn(slot);
}

/** The deadline of the live record in a slot, 0: none, or no such record. */
function deadlineIn(slot: u32): u64 {
  const record = liveIn(slot);
  return record == 0 ? 0 : recDeadline(record);
}

/** Fills in the head of a record whose key and value are in place; `data`: where else they stand, one behind the other. */
export function finishRecord(
  block: u32,
  data: u32,
  keyLen: u32,
  valueLen: u32,
  system: u32,
  revision: u64,
  deadline: u64,
): void {
  store<u64>(block, revision, REC_REVISION);
  store<u32>(block, keyLen | (system << 31), REC_KEY_LENGTH);
  store<u32>(block, valueLen, REC_VALUE_LENGTH);
  store<u64>(block, stateHash(data, keyLen, valueLen, system, revision, deadline), REC_STATE_HASH);
  store<u64>(block, deadline, REC_DEADLINE);
}

function deleteKey(at: u32, hash: u64, slot: u32): void {
  if (liveIn(slot) != 0) {
    const deleted = get(OS_DELETED);
    if (deleted == 0) store<u64>(OPERATE_STATE, nextRevision(), OS_DEL_REVISION);
    removeRecord(hash, slot, load<u64>(OPERATE_STATE, OS_DEL_REVISION));
    set(OS_DELETED, deleted + 1);
  }
  if ((<u32>load<u8>(at, HEAD_FLAGS) & OP_MORE) != 0) return;
  endInteger(<i64>get(OS_DELETED));
}

/** Makes a value that does not stand behind its key the newest record, with the deadline that the key has. False: over the memory limit. */
function writeValue(at: u32, hash: u64, slot: u32, value: u32, valueLen: u32): bool {
  const keyLen = load<u32>(at, HEAD_KEY);
  if (!fits(sizeOf(heldIn(slot)), logicalSize(keyLen + valueLen))) return false;
  const deadline = deadlineIn(slot);
  const block = newBlock(keyLen + valueLen, deadline != 0);
  copy(block + REC_KEY, at + HEAD, keyLen);
  copy(block + REC_KEY + keyLen, value, valueLen);
  finishRecord(block, block + REC_KEY, keyLen, valueLen, 0, nextRevision(), deadline);
  putRecord(hash, slot, block);
  return true;
}

/** PERSIST: the same value without a deadline, as a record of its own, so that a transaction that looked at it notices. */
function persist(hash: u64, slot: u32): void {
  if (deadlineIn(slot) == 0) return endInteger(0);
  const record = liveIn(slot);
  const keyLen = recKeyLen(record);
  const valueLen = recValueLen(record);
  const block = newBlock(keyLen + valueLen, false);
  copy(block + REC_KEY, recKey(record), keyLen + valueLen);
  finishRecord(block, block + REC_KEY, keyLen, valueLen, 0, nextRevision(), 0);
  putRecord(hash, slot, block);
  endInteger(1);
}

function compareAndSet(at: u32, hash: u64, slot: u32): void {
  const record = liveIn(slot);
  const value = at + HEAD + load<u32>(at, HEAD_KEY);
  const expected = load<u32>(value);
  if (record == 0 || recValueLen(record) != expected || !equal(recValue(record), value + 4, expected)) return endNil();
  const fresh = value + 4 + expected;
  if (!writeValue(at, hash, slot, fresh, value + load<u32>(at, HEAD_VALUE) - fresh))
    return endMessage(OUTCOME_OUT_OF_MEMORY);
  endOk();
}

function increment(at: u32, hash: u64, slot: u32): void {
  const record = liveIn(slot);
  if (record != 0 && !isInteger(recValue(record), recValueLen(record))) return endMessage(OUTCOME_NOT_INTEGER);
  const old = record == 0 ? 0 : parseInteger(recValue(record), recValueLen(record));
  const by = load<i64>(at + HEAD + load<u32>(at, HEAD_KEY));
  const sum = old + by;
  if (((old ^ sum) & (by ^ sum)) < 0) return endMessage(OUTCOME_OVERFLOW);
  const n = formatInteger(sum, OPERATE_STATE + OS_INTEGER);
  if (!writeValue(at, hash, slot, OPERATE_STATE + OS_INTEGER, n)) return endMessage(OUTCOME_OUT_OF_MEMORY);
  endInteger(sum);
}

// ---- integers (ARCHITECTURE.md: canonical, within 64 bits)

/** `0`, or an optional `-`, a digit from 1 to 9 and digits, within 64 bits. */
export function isInteger(p: u32, n: u32): bool {
  if (n == 0) return false;
  const negative = load<u8>(p) == 0x2d;
  const first = negative ? p + 1 : p;
  const digits = n - (first - p);
  if (digits == 0 || digits > 19) return false;
  if (load<u8>(first) == 0x30) return n == 1;
  let magnitude: u64 = 0;
  for (let i: u32 = 0; i < digits; i++) {
    const digit = <u32>load<u8>(first + i) - 0x30;
    if (digit > 9) return false;
    magnitude = magnitude * 10 + <u64>digit;
  }
  return magnitude <= <u64>i64.MAX_VALUE + (negative ? 1 : 0);
}

/** The value of what `isInteger` accepts. */
export function parseInteger(p: u32, n: u32): i64 {
  const negative = load<u8>(p) == 0x2d;
  let value: i64 = 0;
  for (let i: u32 = negative ? 1 : 0; i < n; i++) value = value * 10 + (<i64>load<u8>(p + i) - 0x30);
  return negative ? -value : value;
}

/** Writes `value` in decimal to `p`, at most INTEGER_BYTES bytes; returns how many. */
export function formatInteger(value: i64, p: u32): u32 {
  let rest = value < 0 ? -(<u64>value) : <u64>value;
  let digits: u32 = 1;
  for (let r = rest; r >= 10; r /= 10) digits++;
  const sign: u32 = value < 0 ? 1 : 0;
  if (sign) store<u8>(p, 0x2d);
  for (let i = sign + digits; i > sign; i--) {
    store<u8>(p + i - 1, <u8>(0x30 + <u32>(rest % 10)));
    rest /= 10;
  }
  return sign + digits;
}
