/**
 * Judges the operations of an entry before anything of it takes effect (ARCHITECTURE.md, "What makes an entry malformed"),
 * and adds up what memory they may need. Every length is checked here, in 64 bits, before an address is made of it: what
 * runs afterwards relies on that.
 *
 *     state, at VALIDATE_STATE
 *      0  u32  place: address of the next operation or check
 *      4  u32  end of the operations
 *      8  u32  commands so far
 *     12  u32  end of the body of the COMMIT that the place is in, or 0
 *     16  u32  checks of that COMMIT still to come
 *     20  u32  what the next operation must be: OP_MORE a DEL of the same command, AFTER_SEQ a command, 0 anything
 *     24  u32  1: GET is allowed (`run` only)
 *     28  u32  operations so far (those of COMMITs included)
 *     32  u64  bytes that the records of these operations take at most, those in pages of their own not counted
 *     40  u64  pages of those
 *     48  u64  classes of the others: a bit each for the first 64
 *     56  u64  for the rest
 *     64  u32  PERSISTs so far
 *     68  u32  bytes of the longest key and value among the records of these operations so far
 *     72  u32  SESSIONs and SEQs so far
 *     76  u32  bytes that the answers to the SEQs take at most, all in one record
 *     80  9 B  key of a session's record: 's', the number
 */
import { GUARD_AFTER, GUARD_BEFORE, LARGEST_BLOCK, classBytes, classOf } from './alloc';
import { VALIDATE_STATE } from './layout';
import { hashKey } from './hash';
import { pad4 } from './memory';
import { FLAG_SYSTEM, NODE_BYTES, REC_KEY, recDeadline, recDeleted, recKeyLen, recValueLen } from './record';
import { locate, slotRecord } from './table';

export const VA_PLACE: u32 = 0;
export const VA_END: u32 = 4;
export const VA_COMMANDS: u32 = 8;
export const VA_BODY_END: u32 = 12;
export const VA_CHECKS: u32 = 16;
export const VA_MORE: u32 = 20;
export const VA_READS: u32 = 24;
export const VA_OPERATIONS: u32 = 28;
export const VA_BYTES: u32 = 32;
export const VA_PAGES: u32 = 40;
export const VA_CLASSES: u32 = 48;
export const VA_MORE_CLASSES: u32 = 56;
export const VA_PERSISTS: u32 = 64;
export const VA_LONGEST: u32 = 68;
export const VA_SESSIONS: u32 = 72;
export const VA_ANSWERS: u32 = 76;
export const VA_SESSION_KEY: u32 = 80;
const VA_BYTES_OF_STATE: u32 = 80;

/** An operation: ARCHITECTURE.md, "Operation". */
export const HEAD: u32 = 12;
export const HEAD_FLAGS: u32 = 1;
export const HEAD_RESERVED: u32 = 2;
export const HEAD_KEY: u32 = 4;
export const HEAD_VALUE: u32 = 8;
export const CODE_SET: u32 = 1;
export const CODE_DEL: u32 = 2;
export const CODE_INCR: u32 = 3;
export const CODE_CAS: u32 = 4;
export const CODE_COMMIT: u32 = 5;
export const CODE_PERSIST: u32 = 6;
export const CODE_SESSION: u32 = 7;
export const CODE_SEQ: u32 = 8;
export const CODE_FENCE: u32 = 9;
export const CODE_GET: u32 = 16;
export const OP_NX: u32 = 1;
export const OP_XX: u32 = 2;
export const OP_MORE: u32 = 4;
/** A SET whose time to live stands behind it, and one that keeps the deadline of the record it replaces. */
export const OP_TTL: u32 = 8;
export const OP_KEEP: u32 = 16;
/** The time to live behind a SET: u64, ms. */
export const TTL_BYTES: u32 = 8;
export const LARGEST_TTL: u64 = 10_000_000_000_000;
/** Deadlines end here: they are numbers of JavaScript's too. */
export const LAST_DEADLINE: u64 = ((<u64>1) << 53) - 1;
/** Sequences that are answered and not forgotten lie less than this above the lowest unanswered one: as many as a byte tells apart. */
export const SESSION_WINDOW: u32 = 256;
/** The first byte of a session's key. */
export const SESSION_PREFIX: u8 = 0x73;
/** Bytes of key and value of the largest record of a session: as many answers, each a conflict on a long key. */
const LARGEST_SESSION: u32 = 9 + 8 + SESSION_WINDOW * 67;
/** Most SESSIONs and SEQs of an entry: each makes a record that the entry does not bring with it. */
export const MOST_SESSIONS: u32 = 1024;
const AFTER_SEQ: u32 = 8;
/** Most PERSISTs of an entry: each needs memory for a value that the entry does not bring with it. */
export const MOST_PERSISTS: u32 = 64;

export const VALID: u32 = 0;
export const MALFORMED: u32 = 1;
export const UNFINISHED: u32 = 2;

/** Decimal digits of a 64-bit integer and its sign: the longest value that INCR makes. */
export const INTEGER_BYTES: u32 = 20;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(VALIDATE_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(VALIDATE_STATE + offset, value);
}

/** Begins with the `bytes` bytes of operations at `at`. */
export function validateStart(at: u32, bytes: u32, reads: bool): void {
  for (let word: u32 = 0; word < VA_BYTES_OF_STATE; word += 8) store<u64>(VALIDATE_STATE + word, 0);
  set(VA_PLACE, at);
  set(VA_END, at + bytes);
  set(VA_READS, reads ? 1 : 0);
}

export function validCommands(): u32 {
  return get(VA_COMMANDS);
}
export function validOperations(): u32 {
  return get(VA_OPERATIONS);
}
export function validBytes(): u64 {
  return load<u64>(VALIDATE_STATE, VA_BYTES);
}
export function validPages(): u64 {
  return load<u64>(VALIDATE_STATE, VA_PAGES);
}

/** Different classes of the records: each may begin a page. */
export function validClasses(): u64 {
  return popcnt(load<u64>(VALIDATE_STATE, VA_CLASSES)) + popcnt(load<u64>(VALIDATE_STATE, VA_MORE_CLASSES));
}

/** Looks at up to `most` operations and checks. */
export function validateSome(most: u32): u32 {
  const end = get(VA_END);
  for (let left = most; get(VA_PLACE) != end; left--) {
    if (left == 0) return UNFINISHED;
    if (!(get(VA_CHECKS) != 0 ? judgeCheck() : judgeOperation())) return MALFORMED;
    if (get(VA_PLACE) == get(VA_BODY_END) && get(VA_CHECKS) == 0) set(VA_BODY_END, 0);
  }
  return get(VA_CHECKS) == 0 && get(VA_MORE) == 0 ? VALID : MALFORMED;
}

/** Bytes of a well-formed operation with all that belongs to it; not of a COMMIT. */
// @ts-ignore: decorator
@inline
export function operationBytes(at: u32): u32 {
  const bytes = HEAD + pad4(load<u32>(at, HEAD_KEY) + load<u32>(at, HEAD_VALUE));
  return (<u32>load<u8>(at, HEAD_FLAGS) & OP_TTL) == 0 ? bytes : bytes + TTL_BYTES;
}

/** Whether a SET may give its record a deadline. */
// @ts-ignore: decorator
@inline
export function mayExpire(at: u32): bool {
  return (<u32>load<u8>(at, HEAD_FLAGS) & (OP_TTL | OP_KEEP)) != 0;
}

/** The deadline that a SET with a time to live gives at log time `time`. */
export function deadlineOf(at: u32, time: u64): u64 {
  return min(time + load<u64>(at + operationBytes(at) - TTL_BYTES), LAST_DEADLINE);
}

// @ts-ignore: decorator
@inline
function padded(n: u64): u64 {
  return (n + 3) & ~3;
}

function judgeCheck(): bool {
  const at = get(VA_PLACE);
  const room = get(VA_BODY_END) - at;
  if (room < HEAD) return false;
  const bytes = HEAD + padded(load<u32>(at));
  if (bytes > room) return false;
  set(VA_PLACE, at + <u32>bytes);
  set(VA_CHECKS, get(VA_CHECKS) - 1);
  return true;
}

function judgeOperation(): bool {
  const at = get(VA_PLACE);
  const bodyEnd = get(VA_BODY_END);
  const room = (bodyEnd == 0 ? get(VA_END) : bodyEnd) - at;
  if (room < HEAD) return false;
  const code = <u32>load<u8>(at);
  const flags = <u32>load<u8>(at, HEAD_FLAGS);
  const key = load<u32>(at, HEAD_KEY);
  const value = load<u32>(at, HEAD_VALUE);
  if (load<u16>(at, HEAD_RESERVED) != 0 || !allowed(code, flags, bodyEnd != 0)) return false;
  if (code == CODE_COMMIT) return judgeCommit(at, room, key, value);
  if (code == CODE_SESSION || code == CODE_SEQ || code == CODE_FENCE) return judgeSession(at, code, room, key, value);
  const timed = code == CODE_SET && (flags & OP_TTL) != 0;
  const data = HEAD + padded(<u64>key + <u64>value);
  const bytes = timed ? data + TTL_BYTES : data;
  if (bytes > room || !valueFits(code, at + HEAD + key, value)) return false;
  if (timed && load<u64>(at + <u32>data) - 1 >= LARGEST_TTL) return false;
  const more = flags & OP_MORE;
  set(VA_MORE, more);
  if (bodyEnd == 0 && more == 0) set(VA_COMMANDS, get(VA_COMMANDS) + 1);
  set(VA_PLACE, at + <u32>bytes);
  if (code == CODE_PERSIST) return judgePersist(at + HEAD, key);
  if (code != CODE_GET) addRecord(key + (code == CODE_INCR ? INTEGER_BYTES : value));
  return true;
}

/** PERSIST writes the value again that the key has: now, or at the most after this entry's other operations. */
function judgePersist(key: u32, keyLen: u32): bool {
  set(VA_PERSISTS, get(VA_PERSISTS) + 1);
  if (get(VA_PERSISTS) > MOST_PERSISTS) return false;
  const slot = locate(hashKey(key, keyLen), key, keyLen);
  const record = slot == 0 ? 0 : slotRecord(slot);
  let data = keyLen + get(VA_LONGEST);
  if (record != 0 && !recDeleted(record) && recDeadline(record) != 0) {
    data = max(data, recKeyLen(record) + recValueLen(record));
  }
  addNeed(REC_KEY + data);
  return true;
}

function allowed(code: u32, flags: u32, inBody: bool): bool {
  if (inBody) return code == CODE_SET ? setFlags(flags & (OP_NX | OP_XX), flags) : flags == 0 && code == CODE_DEL;
  const must = get(VA_MORE);
  if (must == OP_MORE && code != CODE_DEL) return false;
  if (code == CODE_FENCE) return flags == 0 && must == AFTER_SEQ;
  if (code == CODE_SESSION || code == CODE_SEQ || code == CODE_GET) {
    return flags == 0 && must == 0 && (code != CODE_GET || get(VA_READS) != 0);
  }
  if (code == CODE_SET) return setFlags(0, flags);
  if (code == CODE_DEL) return flags == 0 || flags == OP_MORE;
  if (flags != 0) return false;
  return code == CODE_INCR || code == CODE_CAS || code == CODE_PERSIST || code == CODE_COMMIT;
}

/** The flags of a SET: NX or XX, TTL or KEEP; `banned` must be 0. */
function setFlags(banned: u32, flags: u32): bool {
  if (banned != 0 || (flags & ~(OP_NX | OP_XX | OP_TTL | OP_KEEP)) != 0) return false;
  return (flags & (OP_NX | OP_XX)) != (OP_NX | OP_XX) && (flags & (OP_TTL | OP_KEEP)) != (OP_TTL | OP_KEEP);
}

/** `value` bytes stand at `at`, inside the operations. */
function valueFits(code: u32, at: u32, value: u32): bool {
  if (code == CODE_SET) return true;
  if (code == CODE_INCR) return value == 8;
  if (code == CODE_CAS) return value >= 4 && load<u32>(at) <= value - 4;
  return value == 0;
}

function judgeCommit(at: u32, room: u32, checks: u32, body: u32): bool {
  if ((body & 3) != 0 || body > room - HEAD || checks > body / HEAD) return false;
  set(VA_COMMANDS, get(VA_COMMANDS) + 1);
  set(VA_MORE, 0);
  set(VA_CHECKS, checks);
  set(VA_BODY_END, body == 0 ? 0 : at + HEAD + body);
  set(VA_PLACE, at + HEAD);
  return true;
}

/** SESSION: no key, or a number. SEQ: the session's number; its sequence, and the lowest unanswered one, 0: not said. FENCE: nothing. */
function judgeSession(at: u32, code: u32, room: u32, key: u32, value: u32): bool {
  const isSeq = code == CODE_SEQ;
  if (value != (isSeq ? 16 : 0) || (key != 8 && (key != 0 || isSeq)) || (code == CODE_FENCE && key != 0)) return false;
  if (HEAD + key + value > room || (key != 0 && !inRange(load<u64>(at, HEAD)))) return false;
  if (isSeq && (!inRange(load<u64>(at, HEAD + 8)) || load<u64>(at, HEAD + 16) > load<u64>(at, HEAD + 8))) return false;
  set(VA_PLACE, at + HEAD + key + value);
  set(VA_MORE, isSeq ? AFTER_SEQ : 0);
  if (!isSeq) set(VA_COMMANDS, get(VA_COMMANDS) + 1);
  if (code == CODE_FENCE) return true;
  set(VA_SESSIONS, get(VA_SESSIONS) + 1);
  if (get(VA_SESSIONS) > MOST_SESSIONS) return false;
  if (isSeq) set(VA_ANSWERS, get(VA_ANSWERS) + mostAnswer(room > HEAD + 24 ? load<u8>(at, HEAD + 24) : CODE_COMMIT));
  const before = key == 0 ? 0 : sessionBytes(load<u64>(at, HEAD));
  addNeed(NODE_BYTES + REC_KEY + min(LARGEST_SESSION, 9 + 8 + before + get(VA_ANSWERS)));
  return true;
}

/** Most bytes that the answer to a command of that code takes in its session's record. */
export function mostAnswer(code: u32): u32 {
  if (code == CODE_COMMIT) return 67;
  return code == CODE_DEL || code == CODE_INCR || code == CODE_PERSIST ? 10 : 2;
}

/** Bytes of the value that a session has before this entry: what the entry's own answers add is counted. */
function sessionBytes(number: u64): u32 {
  const key = VALIDATE_STATE + VA_SESSION_KEY;
  store<u8>(key, SESSION_PREFIX);
  store<u64>(key + 1, number);
  const slot = locate(hashKey(key, 9), key, 9 | FLAG_SYSTEM);
  return slot == 0 ? 0 : recValueLen(slotRecord(slot));
}

/** Whether a number is one of a session or a sequence: they are numbers of JavaScript's too. */
// @ts-ignore: decorator
@inline
export function inRange(number: u64): bool {
  return number - 1 < LAST_DEADLINE;
}

/** Counts a record whose key and value have `data` bytes, and which may have a deadline. */
function addRecord(data: u32): void {
  set(VA_LONGEST, max(get(VA_LONGEST), data));
  addNeed(NODE_BYTES + REC_KEY + data);
}

/** Counts a record of `bytes` bytes, as it is allocated in the debug build, which is no less than in the release build. */
function addNeed(bytes: u32): void {
  set(VA_OPERATIONS, get(VA_OPERATIONS) + 1);
  const n = bytes + GUARD_BEFORE + GUARD_AFTER;
  if (n > LARGEST_BLOCK) {
    store<u64>(VALIDATE_STATE, validPages() + ((<u64>n + 65535) >> 16), VA_PAGES);
    return;
  }
  const c = classOf(n);
  store<u64>(VALIDATE_STATE, validBytes() + <u64>classBytes(c), VA_BYTES);
  const word = VALIDATE_STATE + (c < 64 ? VA_CLASSES : VA_MORE_CLASSES);
  store<u64>(word, load<u64>(word) | ((<u64>1) << <u64>(c & 63)));
}
