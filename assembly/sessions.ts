/**
 * Sessions: SESSION, SEQ and FENCE, which make a command happen once however often it is sent (Raft dissertation §6.3).
 *
 *     state, at SESSION_STATE: of the sequenced command under way
 *      0  u64  number of its session
 *      8  u64  its sequence
 *     16  u64  lowest sequence of the session once its outcome is noted
 *     24  u64  hash of the key of the session's record
 *     32  9 B  that key: 's', the number
 *
 *     value of a session's record
 *      0  u64  lowest sequence that may still be asked for
 *      8       answers: of sequences from the lowest on, in their order
 *
 *     answer
 *      0  u8   its sequence, less the lowest one
 *      1  u8   outcome
 *      2       of an integer: i64;  of a conflict: u8 bytes of the key, the key;  of a conflict on a longer key: its first 64 bytes
 *
 * A SEQ stands in front of the command that it is about. It is looked up before anything of that command is done: what was
 * answered before is answered again, what is refused is refused, and then the command's operations are passed over. Else
 * the command is carried out as any other, and its outcome goes into the record behind its own writes, in the same step:
 * nothing is published between them. Of an outcome the code is kept, not the text.
 *
 * A FENCE stands for a COMMIT whose transaction is gone. It does nothing, and is answered so, but it takes the sequence: the COMMIT
 * itself, should it come later, is then answered the same.
 *
 * Invariants: an answer's sequence is from the lowest one to SESSION_WINDOW - 1 above it, so a record is bounded; a session's record
 * always has a deadline, SESSION_MS of log time after its last write. It is judged against the memory limit before the command
 * is begun, with room for its longest outcome; that room then counts as taken for the command (`fits`).
 */
import { conn, connSetSession } from './conn';
import { hashKey } from './hash';
import { SESSION_STATE } from './layout';
import { check, copy, FAIL_MEMORY, FAIL_SESSION } from './memory';
import {
  MSG_CONFLICT,
  MSG_FENCED,
  MSG_NOT_INTEGER,
  MSG_OUT_OF_MEMORY,
  MSG_OVERFLOW,
  MSG_SESSION_ANSWERED,
  MSG_SESSION_UNKNOWN,
  MSG_SESSION_WINDOW,
} from './messages';
import {
  commandSlot,
  endCommand,
  endInteger,
  endMessage,
  endOk,
  endWith,
  finishRecord,
  fits,
  heldIn,
  liveIn,
  pastOperation,
  setSequenced,
  sizeOf,
} from './operate';
import {
  LAST_SLOT,
  replyInteger,
  replyMessage,
  replyMessageNumber,
  replyMessageWord,
  replyNil,
  replyOk,
} from './output';
import { FLAG_SYSTEM, logicalSize, newRecord, REC_KEY, recValue, recValueLen } from './record';
import { growSome, locate } from './table';
import {
  CODE_COMMIT,
  CODE_DEL,
  CODE_FENCE,
  CODE_SEQ,
  CODE_SESSION,
  HEAD,
  HEAD_FLAGS,
  HEAD_KEY,
  HEAD_VALUE,
  inRange,
  LAST_DEADLINE,
  mostAnswer,
  OP_MORE,
  operationBytes,
  SESSION_PREFIX,
  SESSION_WINDOW,
} from './validate';
import { newestTime, nextRevision, putRecord } from './version';

export const SS_NUMBER: u32 = 0;
export const SS_SEQUENCE: u32 = 8;
export const SS_LOWEST: u32 = 16;
export const SS_HASH: u32 = 24;
export const SS_KEY: u32 = 32;

export const S_LOWEST: u32 = 0;
export const S_ANSWERS: u32 = 8;
export const A_ABOVE: u32 = 0;
export const A_OUTCOME: u32 = 1;
export const A_DATA: u32 = 2;

const KEY: u32 = SESSION_STATE + SS_KEY;
const KEY_BYTES: u32 = 9;
/** How long a session lives after its last write, ms of log time. */
const SESSION_MS: u64 = 3_600_000;

/** Outcomes, as they stand in a record. */
export const OUTCOME_OK: u32 = 0;
export const OUTCOME_NIL: u32 = 1;
export const OUTCOME_INTEGER: u32 = 2;
export const OUTCOME_NOT_INTEGER: u32 = 3;
export const OUTCOME_OVERFLOW: u32 = 4;
export const OUTCOME_OUT_OF_MEMORY: u32 = 5;
export const OUTCOME_CONFLICT: u32 = 6;
export const OUTCOME_CONFLICT_LONG: u32 = 7;
export const OUTCOME_FENCED: u32 = 8;
/** Bytes of a key that a message shows. */
const SHOWN: u32 = 64;

/** The message of an outcome that is one without parameters. */
export function outcomeMessage(outcome: u32): u32 {
  if (outcome == OUTCOME_NOT_INTEGER) return MSG_NOT_INTEGER;
  if (outcome == OUTCOME_OVERFLOW) return MSG_OVERFLOW;
  return outcome == OUTCOME_OUT_OF_MEMORY ? MSG_OUT_OF_MEMORY : MSG_FENCED;
}

/** Carries out the SESSION, SEQ or FENCE at `at`: its command has been begun. */
export function sessionOperation(at: u32): void {
  const code = <u32>load<u8>(at);
  if (code == CODE_SEQ) return sequence(at);
  pastOperation(at, operationBytes(at));
  if (code != CODE_SESSION) return endMessage(OUTCOME_FENCED);
  if (load<u32>(at, HEAD_KEY) == 0) register();
  else resume(load<u64>(at, HEAD));
}

/** The slot of a session's record, 0: it has none. */
function find(number: u64): u32 {
  store<u8>(KEY, SESSION_PREFIX);
  store<u64>(KEY + 1, number);
  const hash = hashKey(KEY, KEY_BYTES);
  store<u64>(SESSION_STATE, hash, SS_HASH);
  return locate(hash, KEY, KEY_BYTES | FLAG_SYSTEM);
}

/** A new session: its number is the revision of its record. */
function register(): void {
  if (!fits(0, logicalSize(KEY_BYTES + S_ANSWERS))) return endMessage(OUTCOME_OUT_OF_MEMORY);
  const number = nextRevision();
  growSome();
  const slot = find(number);
  const block = blank(S_ANSWERS);
  store<u64>(valueOf(block), 1, S_LOWEST);
  put(block, slot, S_ANSWERS, number);
  opened(number);
  endInteger(<i64>number);
}

/** The session goes on, on this connection; its time begins anew. */
function resume(number: u64): void {
  growSome();
  const slot = find(number);
  const record = liveIn(slot);
  if (record == 0) return refuse(MSG_SESSION_UNKNOWN, number);
  const bytes = recValueLen(record);
  const block = blank(bytes);
  copy(valueOf(block), recValue(record), bytes);
  put(block, slot, bytes, nextRevision());
  opened(number);
  endOk();
}

/** The connection that sent SESSION has it from now on: it is held until it is answered. */
function opened(number: u64): void {
  const slot = commandSlot();
  if (slot <= LAST_SLOT) connSetSession(conn(slot), number);
}

/** Whether the command behind the SEQ at `at` is to be carried out; if not, it is answered and passed over. */
function sequence(at: u32): void {
  const number = load<u64>(at, HEAD);
  const own = load<u64>(at, HEAD + 8);
  const command = at + operationBytes(at);
  growSome();
  const record = liveIn(find(number));
  if (record == 0) return pass(command, MSG_SESSION_UNKNOWN, number);
  const value = recValue(record);
  const lowest = max(load<u64>(value, S_LOWEST), load<u64>(at, HEAD + 16));
  if (own < lowest) return pass(command, MSG_SESSION_ANSWERED, own);
  if (own - lowest >= <u64>SESSION_WINDOW) return pass(command, MSG_SESSION_WINDOW, own);
  const end = value + recValueLen(record);
  const answer = findAnswer(value, end, own);
  if (answer != 0) {
    pastOperation(command, commandBytes(command));
    if (endCommand()) replyAnswer(answer);
    return;
  }
  const before = sizeOf(record);
  const after = <u64>logicalSize(KEY_BYTES + S_ANSWERS + keptBytes(value, end, lowest) + mostAnswer(load<u8>(command)));
  const judged = mayBeRefused(<u32>load<u8>(command));
  if (judged && !fits(before, after)) return pass(command, MSG_OUT_OF_MEMORY, 0);
  store<u64>(SESSION_STATE, number, SS_NUMBER);
  store<u64>(SESSION_STATE, own, SS_SEQUENCE);
  store<u64>(SESSION_STATE, lowest, SS_LOWEST);
  setSequenced(judged && after > before ? after - before : 0);
  pastOperation(at, operationBytes(at));
}

/**
 * Whether the note of a command may be refused for want of room. That of a DEL may not, which makes room; nor that of a FENCE: its answer is
 * definite, and without the note the COMMIT itself could still happen.
 */
function mayBeRefused(code: u32): bool {
  return code != CODE_DEL && code != CODE_FENCE;
}

/** Answers with a message about a number; nothing is done. */
function refuse(message: u32, number: u64): void {
  if (endCommand()) replyMessageNumber(message, number);
}

function pass(command: u32, message: u32, number: u64): void {
  pastOperation(command, commandBytes(command));
  if (message != MSG_OUT_OF_MEMORY) return refuse(message, number);
  if (endCommand()) replyMessage(message);
}

/** Bytes of all operations of the command at `p`. */
function commandBytes(p: u32): u32 {
  if (<u32>load<u8>(p) == CODE_COMMIT) return HEAD + load<u32>(p, HEAD_VALUE);
  let at = p;
  while ((<u32>load<u8>(at, HEAD_FLAGS) & OP_MORE) != 0) at += operationBytes(at);
  return at + operationBytes(at) - p;
}

// ---- answers

/** Bytes of an answer. */
function answerBytes(answer: u32): u32 {
  const outcome = <u32>load<u8>(answer, A_OUTCOME);
  return A_DATA + dataBytes(outcome, outcome == OUTCOME_CONFLICT ? load<u8>(answer, A_DATA) : 0);
}

/** Bytes behind the code of an outcome; `length`: of a conflict's key. */
function dataBytes(outcome: u32, length: u32): u32 {
  if (outcome == OUTCOME_INTEGER) return 8;
  return outcome == OUTCOME_CONFLICT ? 1 + length : outcome == OUTCOME_CONFLICT_LONG ? SHOWN : 0;
}

function findAnswer(value: u32, end: u32, own: u64): u32 {
  const lowest = load<u64>(value, S_LOWEST);
  for (let answer = value + S_ANSWERS; answer < end; answer += answerBytes(answer)) {
    if (lowest + <u64>load<u8>(answer, A_ABOVE) == own) return answer;
  }
  return 0;
}

/** The first answer of a sequence from `lowest` on, or the end. */
function firstKept(value: u32, end: u32, lowest: u64): u32 {
  let answer = value + S_ANSWERS;
  while (answer < end && load<u64>(value, S_LOWEST) + <u64>load<u8>(answer, A_ABOVE) < lowest) {
    answer += answerBytes(answer);
  }
  return answer;
}

function keptBytes(value: u32, end: u32, lowest: u64): u32 {
  return end - firstKept(value, end, lowest);
}

function replyAnswer(answer: u32): void {
  const outcome = <u32>load<u8>(answer, A_OUTCOME);
  const data = answer + A_DATA;
  if (outcome == OUTCOME_OK) replyOk();
  else if (outcome == OUTCOME_NIL) replyNil();
  else if (outcome == OUTCOME_INTEGER) replyInteger(load<i64>(data));
  else if (outcome == OUTCOME_CONFLICT) replyMessageWord(MSG_CONFLICT, data + 1, load<u8>(data));
  else if (outcome == OUTCOME_CONFLICT_LONG) replyMessageWord(MSG_CONFLICT, data, SHOWN + 1);
  else replyMessage(outcomeMessage(outcome));
}

/** The sequenced command is done: its outcome goes into its session's record. `word`, `length`: the key of a conflict. */
export function noteOutcome(outcome: u32, integer: i64, word: u32, length: u32): void {
  const slot = find(load<u64>(SESSION_STATE, SS_NUMBER));
  const record = heldIn(slot);
  check(record != 0, FAIL_SESSION);
  const value = recValue(record);
  const end = value + recValueLen(record);
  const lowest = load<u64>(SESSION_STATE, SS_LOWEST);
  const code = outcome == OUTCOME_CONFLICT && length > SHOWN ? OUTCOME_CONFLICT_LONG : outcome;
  const bytes = S_ANSWERS + keptBytes(value, end, lowest) + A_DATA + dataBytes(code, length);
  const block = blank(bytes);
  store<u64>(valueOf(block), lowest, S_LOWEST);
  let to = valueOf(block) + S_ANSWERS;
  const above = <u32>(load<u64>(SESSION_STATE, SS_SEQUENCE) - lowest);
  const moved = <u32>(lowest - load<u64>(value, S_LOWEST));
  let answer = firstKept(value, end, lowest);
  for (; answer < end && <u32>load<u8>(answer, A_ABOVE) - moved < above; answer += answerBytes(answer)) {
    to = putKept(to, answer, moved);
  }
  store<u8>(to, <u8>above, A_ABOVE);
  store<u8>(to, <u8>code, A_OUTCOME);
  to += A_DATA;
  if (code == OUTCOME_INTEGER) store<i64>(to, integer);
  else if (code == OUTCOME_CONFLICT) {
    store<u8>(to, <u8>length);
    copy(to + 1, word, length);
  } else if (code == OUTCOME_CONFLICT_LONG) copy(to, word, SHOWN);
  to += dataBytes(code, length);
  for (; answer < end; answer += answerBytes(answer)) to = putKept(to, answer, moved);
  check(to == valueOf(block) + bytes, FAIL_SESSION);
  put(block, slot, bytes, nextRevision());
}

/** Copies an answer to a record whose lowest sequence is higher by `moved`. */
function putKept(to: u32, answer: u32, moved: u32): u32 {
  const bytes = answerBytes(answer);
  copy(to, answer, bytes);
  store<u8>(to, <u8>(<u32>load<u8>(answer, A_ABOVE) - moved), A_ABOVE);
  return to + bytes;
}

// ---- records

/** A record yet to be filled in, for a value of `bytes`: there is memory, it was made sure before the entry was begun. */
function blank(bytes: u32): u32 {
  const block = newRecord(KEY_BYTES + bytes, true);
  check(block != 0, FAIL_MEMORY);
  return block;
}

// @ts-ignore: decorator
@inline
function valueOf(block: u32): u32 {
  return block + REC_KEY + KEY_BYTES;
}

/** Makes a record with its value the newest of the session that `find` found in `slot`, with a deadline from now. */
function put(block: u32, slot: u32, bytes: u32, revision: u64): void {
  copy(block + REC_KEY, KEY, KEY_BYTES);
  const deadline = min(newestTime() + SESSION_MS, LAST_DEADLINE);
  finishRecord(block, block + REC_KEY, KEY_BYTES, bytes, 1, revision, deadline);
  putRecord(load<u64>(SESSION_STATE, SS_HASH), slot, block);
}

/** Whether a system record's key is that of a session. */
export function isSessionKey(key: u32, keyLen: u32): bool {
  return keyLen == KEY_BYTES && load<u8>(key) == SESSION_PREFIX;
}

/** Whether a session's key and value from a snapshot are what this version writes: they are read without looking at lengths. */
export function goodSession(key: u32, value: u32, bytes: u32): bool {
  if (bytes < S_ANSWERS || !inRange(load<u64>(key, 1)) || !inRange(load<u64>(value, S_LOWEST))) return false;
  const end = value + bytes;
  let least: u32 = 0;
  for (let answer = value + S_ANSWERS; answer < end; answer += answerBytes(answer)) {
    if (end - answer < A_DATA) return false;
    const above = <u32>load<u8>(answer, A_ABOVE);
    const outcome = <u32>load<u8>(answer, A_OUTCOME);
    if (above < least || outcome > OUTCOME_FENCED) return false;
    if (outcome == OUTCOME_CONFLICT && (end - answer == A_DATA || <u32>load<u8>(answer, A_DATA) > SHOWN)) return false;
    if (answerBytes(answer) > end - answer) return false;
    least = above + 1;
  }
  return true;
}
