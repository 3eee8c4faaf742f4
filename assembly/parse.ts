/**
 * Lines into commands. A line is split into words once; errors are found in the order that ARCHITECTURE.md gives ("The line
 * protocol, exactly"); then the command finds its place, or the whole line waits as it is.
 *
 * Every function returns CAUSE_NONE when the line has been dealt with, else why it must wait; then nothing has changed, and
 * the line will be parsed again. Only commands of a transaction, which never wait beyond that point, change the line.
 */
import {
  CAUSE_AGAIN,
  CAUSE_ENTRY,
  CAUSE_IDLE,
  CAUSE_NONE,
  connClear,
  connFlags,
  connIdle,
  connSession,
  connSet,
  connSetSession,
  connSlot,
  connTxn,
  IS_BARRIER,
  IS_CONTROL,
  IS_EXPIRED,
} from './conn';
import {
  commandDone,
  encodeCas,
  encodeDelKey,
  encodeFence,
  encodeIncr,
  encodePersist,
  encodeSession,
  encodeSet,
  entryCanHold,
  entryFits,
  FLAG_NX,
  FLAG_TTL,
  FLAG_XX,
  operationsAt,
  persistsFull,
  sequenceBytes,
  sessionsFull,
} from './encode';
import {
  F_KEYS_ITEM_BYTES,
  F_KEYS_OPERATION_BYTES,
  F_SCRATCH,
  F_SEQ,
  F_SEQ_FROM,
  F_SET_FLAGS,
  F_SET_TTL,
  maxKey,
  maxValue,
  pad4,
} from './front';
import {
  ITEM_BEGIN,
  ITEM_COUNT,
  ITEM_EXISTS,
  ITEM_GET,
  ITEM_KEYS,
  ITEM_MGET,
  ITEM_PTTL,
  ITEM_TTL,
} from './items';
import {
  CMD_BEGIN,
  CMD_CAS,
  CMD_COMMIT,
  CMD_COUNT,
  CMD_DEL,
  CMD_EXISTS,
  CMD_GET,
  CMD_HELP,
  CMD_INCR,
  CMD_KEYS,
  CMD_MEMBERS,
  CMD_MGET,
  CMD_PERSIST,
  CMD_PING,
  CMD_PTTL,
  CMD_QUIT,
  CMD_ROLLBACK,
  CMD_SEQ,
  CMD_SESSION,
  CMD_SET,
  CMD_STATUS,
  CMD_TTL,
  MSG_BY_NOT_INTEGER,
  MSG_EMPTY_LINE,
  MSG_GET_OPTION,
  MSG_IN_TRANSACTION,
  MSG_KEY_TOO_LONG,
  MSG_KEYS_LIMIT,
  MSG_NO_SESSION,
  MSG_NO_TRANSACTION,
  MSG_NOT_IN_TRANSACTION,
  MSG_OK,
  MSG_PONG,
  MSG_SEQ_COMMAND,
  MSG_SEQ_IN_TRANSACTION,
  MSG_SEQ_NUMBER,
  MSG_SESSION_NUMBER,
  MSG_SET_OPTION,
  MSG_SET_TIME,
  MSG_TRANSACTION_EXPIRED,
  MSG_TRANSACTION_TOO_LARGE,
  MSG_UNKNOWN_COMMAND,
  MSG_VALUE_TOO_LONG,
} from './messages';
import { EVENT_CONTROL, emit } from './output';
import { constant, constantNumber, constantText, constantWord, joinItem, readCause, writeCause } from './place';
import {
  commandCode,
  commandInTransaction,
  commandMax,
  commandMin,
  commandName,
  commandNameLength,
  findCommand,
  helpLength,
  helpText,
  usageLength,
  usageText,
} from './text';
import { answerStale } from './reads';
import { inTransaction, txnCas, txnCommit, txnGet, txnIncr, txnKeys, txnPersist, txnSet, txnTtl } from './transact';
import { txnDrop, txnUsed } from './txn';
import { inRange, LARGEST_TTL } from './validate';
import {
  INTEGER,
  nextWord,
  parseInteger,
  putStart,
  putWord,
  settleWord,
  splitLine,
  WALK,
  word,
  wordCount,
  wordEscaped,
  wordLength,
  wordStart,
} from './words';

const ANY: u32 = 0xffff;
const DEFAULT_LIMIT: u32 = 1000;
const LARGEST_LIMIT: i64 = 1_000_000;
/** Options of SET, as their two letters are loaded. */
const NX: u32 = 0x584e;
const XX: u32 = 0x5858;
const EX: u32 = 0x5845;
const PX: u32 = 0x5850;
/** Bytes of a client's word that a message shows, and a little more. */
const SHOWN: u32 = 80;

/** Deals with one line (without its end). */
export function parseLine(c: usize, p: usize, end: usize): u32 {
  if (connTxn(c) != 0) txnUsed(connTxn(c));
  const bad = splitLine(p, end);
  if (bad != 0) return constant(c, bad);
  if (wordCount() == 0) return constant(c, MSG_EMPTY_LINE);
  const command = commandAt(word(0));
  if (command == 0) return errorWord(c, MSG_UNKNOWN_COMMAND, word(0));
  if (!argumentsFit(command)) return constantText(c, usageText(command), usageLength(command));
  if (commandCode(command) == CMD_SEQ) return sequencedLine(c, command, p, end);
  if (connTxn(c) != 0 || (connFlags(c) & IS_EXPIRED) != 0) return inTransactionLine(c, command, p, end);
  const code = commandCode(command);
  if (code == CMD_COMMIT || code == CMD_ROLLBACK) {
    return constantWord(c, MSG_NO_TRANSACTION, commandName(command), commandNameLength(command));
  }
  return dispatch(c, code, p, end);
}

function argumentsFit(command: usize): bool {
  const given = wordCount() - 1;
  const most = commandMax(command);
  return given >= commandMin(command) && (given <= most || most == ANY);
}

/** The command that a word names, or 0. */
function commandAt(w: usize): usize {
  if (wordLength(w) > 8) return 0;
  if (!wordEscaped(w)) return findCommand(wordStart(w), wordLength(w));
  putWord(F_SCRATCH, w);
  return findCommand(F_SCRATCH, wordLength(w));
}

function errorWord(c: usize, message: u32, w: usize): u32 {
  putStart(F_SCRATCH, w, SHOWN);
  return constantWord(c, message, F_SCRATCH, wordLength(w));
}

/** A line of a connection whose transaction is open, or was rolled back for its idleness. */
function inTransactionLine(c: usize, command: usize, p: usize, end: usize): u32 {
  const code = commandCode(command);
  if ((connFlags(c) & IS_EXPIRED) != 0) {
    if (code == CMD_ROLLBACK) {
      connClear(c, IS_EXPIRED);
      return constant(c, MSG_OK);
    }
    if (answersWhenExpired(code)) return dispatch(c, code, p, end);
    if (code == CMD_COMMIT) connClear(c, IS_EXPIRED);
    return constant(c, MSG_TRANSACTION_EXPIRED);
  }
  if (code == CMD_BEGIN) return constant(c, MSG_IN_TRANSACTION);
  if (!commandInTransaction(command)) {
    return constantWord(c, MSG_NOT_IN_TRANSACTION, commandName(command), commandNameLength(command));
  }
  if (code == CMD_COMMIT) return txnCommit(c);
  if (code != CMD_ROLLBACK) return dispatch(c, code, p, end);
  txnDrop(c);
  return constant(c, MSG_OK);
}

function answersWhenExpired(code: u32): bool {
  return code == CMD_PING || code == CMD_HELP || code == CMD_STATUS || code == CMD_MEMBERS || code == CMD_QUIT;
}

function dispatch(c: usize, code: u32, p: usize, end: usize): u32 {
  switch (code) {
    case CMD_SET:
      return setCommand(c);
    case CMD_GET:
      return wordCount() == 3 ? staleRead(c) : keyRead(c, ITEM_GET);
    case CMD_PING:
      return constant(c, MSG_PONG);
    case CMD_DEL:
      return delCommand(c, p, end);
    case CMD_EXISTS:
      return keysRead(c, CMD_EXISTS, ITEM_EXISTS, p, end);
    case CMD_MGET:
      return keysRead(c, CMD_MGET, ITEM_MGET, p, end);
    case CMD_TTL:
      return keyRead(c, ITEM_TTL);
    case CMD_PTTL:
      return keyRead(c, ITEM_PTTL);
    case CMD_PERSIST:
      return persistCommand(c);
    case CMD_INCR:
      return incrCommand(c);
    case CMD_CAS:
      return casCommand(c);
    case CMD_KEYS:
      return keysCommand(c);
    case CMD_COUNT:
      return countCommand(c);
    case CMD_BEGIN:
      return beginCommand(c);
    case CMD_HELP:
      return helpCommand(c);
    case CMD_SESSION:
      return sessionCommand(c);
    default:
      return controlCommand(c, code);
  }
}

// ---- constants and control

function helpCommand(c: usize): u32 {
  if (wordCount() == 1) return constantText(c, helpText(0), helpLength(0));
  const command = commandAt(word(1));
  if (command == 0) return errorWord(c, MSG_UNKNOWN_COMMAND, word(1));
  return constantText(c, helpText(command), helpLength(command));
}

/** STATUS, MEMBERS, QUIT: the host answers them. */
function controlCommand(c: usize, code: u32): u32 {
  if (!connIdle(c)) return CAUSE_IDLE;
  connSet(c, IS_CONTROL);
  emit(EVENT_CONTROL, connSlot(c), code);
  return CAUSE_NONE;
}

// ---- lengths

// @ts-ignore: decorator
@inline
function tooLong(w: usize, most: u32): bool {
  return wordLength(w) > most;
}

function keyError(c: usize, w: usize): u32 {
  return constantNumber(c, MSG_KEY_TOO_LONG, wordLength(w));
}

function valueError(c: usize, w: usize): u32 {
  return constantNumber(c, MSG_VALUE_TOO_LONG, wordLength(w));
}

/**
 * Goes over all keys of a line: the length of the first that is too long, or 0. Leaves the bytes that they take as parts of
 * an item and as operations.
 */
function measureKeys(p: usize, end: usize): u32 {
  let item: u64 = 0;
  let operations: u64 = 0;
  const n = wordCount();
  let at = nextWord(p, end, WALK);
  for (let i: u32 = 1; i < n; i++) {
    at = nextWord(at, end, WALK);
    const length = wordLength(WALK);
    if (length > maxKey()) return length;
    item += 4 + pad4(length);
    operations += 12 + pad4(length);
  }
  store<u64>(F_KEYS_ITEM_BYTES, item);
  store<u64>(F_KEYS_OPERATION_BYTES, operations);
  return 0;
}

// ---- writes

function setCommand(c: usize): u32 {
  const key = word(1);
  const value = word(2);
  const bad = setOptions();
  if (bad != 0) return errorWord(c, load<u32>(F_SET_FLAGS), bad);
  if (tooLong(key, maxKey())) return keyError(c, key);
  if (tooLong(value, maxValue())) return valueError(c, value);
  const flags = load<u32>(F_SET_FLAGS);
  const ttl = load<u64>(F_SET_TTL);
  if (inTransaction(c)) return txnSet(c, flags, ttl, key, value);
  const cause = writeCause(c);
  if (cause == CAUSE_NONE) encodeSet(c, flags, key, value, ttl);
  return cause;
}

/**
 * Reads the options of a SET, in any order, at most one of each kind, into F_SET_FLAGS and F_SET_TTL; 0. Or the first word
 * at fault, whose message is then in F_SET_FLAGS.
 */
function setOptions(): usize {
  let flags: u32 = 0;
  let ttl: u64 = 0;
  const n = wordCount();
  for (let i: u32 = 3; i < n; i++) {
    const option = setOption(word(i));
    const kind = option == NX || option == XX ? FLAG_NX | FLAG_XX : option == EX || option == PX ? FLAG_TTL : 0;
    if (kind == 0 || (flags & kind) != 0 || (kind == FLAG_TTL && i + 1 == n)) return setFault(MSG_SET_OPTION, word(i));
    if (kind == FLAG_TTL) {
      i++;
      ttl = timeToLive(word(i), option == EX ? 1000 : 1);
      if (ttl == 0) return setFault(MSG_SET_TIME, word(i));
    }
    flags |= option == NX ? FLAG_NX : option == XX ? FLAG_XX : FLAG_TTL;
  }
  store<u32>(F_SET_FLAGS, flags);
  store<u64>(F_SET_TTL, ttl);
  return 0;
}

function setFault(message: u32, w: usize): usize {
  store<u32>(F_SET_FLAGS, message);
  return w;
}

/** The two letters of a word in upper case; 0: it is not two bytes long. */
function setOption(w: usize): u32 {
  if (wordLength(w) != 2) return 0;
  putStart(F_SCRATCH, w, 2);
  return load<u16>(F_SCRATCH) & 0xdfdf;
}

/** Milliseconds that a word says in units of `unit` of them; 0: it is not a number within the bounds. */
function timeToLive(w: usize, unit: u64): u64 {
  if (!integerAt(w)) return 0;
  const number = load<i64>(INTEGER);
  return number < 1 || <u64>number > LARGEST_TTL / unit ? 0 : <u64>number * unit;
}

function persistCommand(c: usize): u32 {
  const key = word(1);
  if (tooLong(key, maxKey())) return keyError(c, key);
  if (inTransaction(c)) return txnPersist(c, key);
  const cause = writeCause(c);
  if (cause != CAUSE_NONE) return cause;
  if (persistsFull()) return CAUSE_ENTRY;
  encodePersist(c, key);
  return CAUSE_NONE;
}

function incrCommand(c: usize): u32 {
  const key = word(1);
  let by: i64 = 1;
  if (wordCount() == 3) {
    if (!integerAt(word(2))) return errorWord(c, MSG_BY_NOT_INTEGER, word(2));
    by = load<i64>(INTEGER);
  }
  if (tooLong(key, maxKey())) return keyError(c, key);
  if (inTransaction(c)) return txnIncr(c, key, by);
  const cause = writeCause(c);
  if (cause == CAUSE_NONE) encodeIncr(c, key, by);
  return cause;
}

/** Whether the word is an integer; it is left in INTEGER. */
function integerAt(w: usize): bool {
  if (wordLength(w) > 20) return false;
  putWord(F_SCRATCH, w);
  return parseInteger(F_SCRATCH, wordLength(w));
}

function casCommand(c: usize): u32 {
  const key = word(1);
  const expected = word(2);
  const value = word(3);
  if (tooLong(key, maxKey())) return keyError(c, key);
  if (tooLong(expected, maxValue())) return valueError(c, expected);
  if (tooLong(value, maxValue())) return valueError(c, value);
  if (inTransaction(c)) return txnCas(c, key, expected, value);
  const cause = writeCause(c);
  if (cause == CAUSE_NONE) encodeCas(c, key, expected, value);
  return cause;
}

function delCommand(c: usize, p: usize, end: usize): u32 {
  const long = measureKeys(p, end);
  if (long != 0) return constantNumber(c, MSG_KEY_TOO_LONG, long);
  if (inTransaction(c)) return txnKeys(c, CMD_DEL, p, end);
  const bytes = load<u64>(F_KEYS_OPERATION_BYTES);
  if (!entryCanHold(bytes + sequenceBytes())) return constant(c, MSG_TRANSACTION_TOO_LARGE);
  const cause = writeCause(c);
  if (cause != CAUSE_NONE) return cause;
  if (!entryFits(bytes + sequenceBytes())) return CAUSE_ENTRY;
  let to = operationsAt(c);
  const n = wordCount();
  let at = nextWord(p, end, WALK);
  for (let i: u32 = 1; i < n; i++) {
    at = nextWord(at, end, WALK);
    to = encodeDelKey(to, WALK, i + 1 < n);
  }
  commandDone(c, to);
  return CAUSE_NONE;
}

// ---- sessions

/** SESSION, which nothing of its connection may be under way with: what follows needs to know what came of it. */
function sessionCommand(c: usize): u32 {
  const number = wordCount() == 2 ? numberAt(word(1)) : 0;
  if (wordCount() == 2 && number == 0) return errorWord(c, MSG_SESSION_NUMBER, word(1));
  if (!connIdle(c)) return CAUSE_IDLE;
  const cause = writeCause(c);
  if (cause != CAUSE_NONE) return cause;
  if (sessionsFull()) return CAUSE_ENTRY;
  connSetSession(c, 0);
  encodeSession(c, number);
  connSet(c, IS_BARRIER);
  return CAUSE_NONE;
}

/** The number of a session or a sequence that a word is; 0: it is none. */
function numberAt(w: usize): u64 {
  return integerAt(w) && inRange(load<u64>(INTEGER)) ? load<u64>(INTEGER) : 0;
}

/** SEQ n [FROM m] and a command: the rest of the line is split anew, and parsed with the sequence noted. */
function sequencedLine(c: usize, seq: usize, p: usize, end: usize): u32 {
  const number = numberAt(word(1));
  if (number == 0) return errorWord(c, MSG_SEQ_NUMBER, word(1));
  let before: u32 = 2;
  let lowest: u64 = 0;
  if (isFrom(word(2))) {
    if (wordCount() < 5) return constantText(c, usageText(seq), usageLength(seq));
    lowest = numberAt(word(3));
    if (lowest == 0 || lowest > number) return errorWord(c, MSG_SEQ_NUMBER, word(3));
    before = 4;
  }
  let rest = p;
  for (let i: u32 = 0; i < before; i++) rest = nextWord(rest, end, WALK);
  splitLine(rest, end);
  store<u64>(F_SEQ, number);
  store<u64>(F_SEQ_FROM, lowest);
  const cause = sequencedCommand(c, rest, end);
  store<u64>(F_SEQ, 0);
  return cause;
}

function isFrom(w: usize): bool {
  if (wordLength(w) != 4) return false;
  putStart(F_SCRATCH, w, 4);
  return (load<u32>(F_SCRATCH) & 0xdfdfdfdf) == 0x4d4f5246;
}

function sequencedCommand(c: usize, p: usize, end: usize): u32 {
  const command = commandAt(word(0));
  if (command == 0) return errorWord(c, MSG_UNKNOWN_COMMAND, word(0));
  if (!argumentsFit(command)) return constantText(c, usageText(command), usageLength(command));
  const code = commandCode(command);
  if (!takesSequence(code)) {
    return constantWord(c, MSG_SEQ_COMMAND, commandName(command), commandNameLength(command));
  }
  if (code != CMD_COMMIT) {
    if ((connFlags(c) & IS_EXPIRED) != 0) return constant(c, MSG_TRANSACTION_EXPIRED);
    if (connTxn(c) != 0) return constant(c, MSG_SEQ_IN_TRANSACTION);
  }
  if (connSession(c) == 0) return constant(c, MSG_NO_SESSION);
  if (code != CMD_COMMIT) return dispatch(c, code, p, end);
  return connTxn(c) != 0 ? txnCommit(c) : fenceCommand(c);
}

function takesSequence(code: u32): bool {
  if (code == CMD_SET || code == CMD_DEL || code == CMD_INCR) return true;
  return code == CMD_CAS || code == CMD_PERSIST || code == CMD_COMMIT;
}

/** A COMMIT whose transaction is not here, or not any more: it has happened already, or it never will. */
function fenceCommand(c: usize): u32 {
  const cause = writeCause(c);
  if (cause != CAUSE_NONE) return cause;
  connClear(c, IS_EXPIRED);
  encodeFence(c);
  return CAUSE_NONE;
}

// ---- reads

/** GET, TTL and PTTL. */
function keyRead(c: usize, kind: u32): u32 {
  const key = word(1);
  if (tooLong(key, maxKey())) return keyError(c, key);
  if (inTransaction(c)) return kind == ITEM_GET ? txnGet(c, key) : txnTtl(c, key, kind == ITEM_PTTL);
  const cause = readCause(c);
  if (cause != CAUSE_NONE) return cause;
  const item = joinItem(c, kind, 8 + pad4(wordLength(key)));
  if (item == 0) return CAUSE_AGAIN;
  store<u32>(item, wordLength(key), 4);
  putWord(item + 8, key);
  return CAUSE_NONE;
}

/**
 * GET key STALE: from what is published here, once all before it is answered, so that a connection does not read what is older
 * than its own writes. Inside a transaction there is nothing that it could mean.
 */
function staleRead(c: usize): u32 {
  const option = word(2);
  const key = word(1);
  if (!isStale(option)) return errorWord(c, MSG_GET_OPTION, option);
  if (tooLong(key, maxKey())) return keyError(c, key);
  if (inTransaction(c)) return errorWord(c, MSG_NOT_IN_TRANSACTION, option);
  if (!connIdle(c)) return CAUSE_IDLE;
  settleWord(key);
  answerStale(connSlot(c), wordStart(key), wordLength(key));
  return CAUSE_NONE;
}

function isStale(w: usize): bool {
  if (wordLength(w) != 5) return false;
  putStart(F_SCRATCH, w, 5);
  return (load<u32>(F_SCRATCH) & 0xdfdfdfdf) == 0x4c415453 && (load<u8>(F_SCRATCH + 4) & 0xdf) == 0x45;
}

/** EXISTS and MGET. */
function keysRead(c: usize, code: u32, kind: u32, p: usize, end: usize): u32 {
  const long = measureKeys(p, end);
  if (long != 0) return constantNumber(c, MSG_KEY_TOO_LONG, long);
  if (inTransaction(c)) return txnKeys(c, code, p, end);
  const cause = readCause(c);
  if (cause != CAUSE_NONE) return cause;
  const bytes = <u32>load<u64>(F_KEYS_ITEM_BYTES);
  const item = joinItem(c, kind, 8 + bytes);
  if (item == 0) return CAUSE_AGAIN;
  store<u32>(item, bytes, 4);
  let to = item + 8;
  const n = wordCount();
  let at = nextWord(p, end, WALK);
  for (let i: u32 = 1; i < n; i++) {
    at = nextWord(at, end, WALK);
    store<u32>(to, wordLength(WALK));
    putWord(to + 4, WALK);
    to += 4 + pad4(wordLength(WALK));
  }
  return CAUSE_NONE;
}

function countCommand(c: usize): u32 {
  const cause = readCause(c);
  if (cause != CAUSE_NONE) return cause;
  return joinItem(c, ITEM_COUNT, 4) == 0 ? CAUSE_AGAIN : CAUSE_NONE;
}

/** Why a barrier cannot be carried out now. */
function barrierCause(c: usize): u32 {
  return connIdle(c) ? readCause(c) : CAUSE_IDLE;
}

function beginCommand(c: usize): u32 {
  const cause = barrierCause(c);
  if (cause != CAUSE_NONE) return cause;
  if (joinItem(c, ITEM_BEGIN, 4) == 0) return CAUSE_AGAIN;
  connSet(c, IS_BARRIER);
  return CAUSE_NONE;
}

/** KEYS, KEYS prefix, KEYS LIMIT n, KEYS prefix LIMIT n. */
function keysCommand(c: usize): u32 {
  const n = wordCount();
  const prefix: usize = n == 2 || n == 4 ? word(1) : 0;
  let limit = DEFAULT_LIMIT;
  if (n >= 3) {
    if (!isLimit(word(n - 2))) return errorWord(c, MSG_KEYS_LIMIT, word(n - 2));
    if (!integerAt(word(n - 1))) return errorWord(c, MSG_KEYS_LIMIT, word(n - 1));
    const number = load<i64>(INTEGER);
    if (number < 1 || number > LARGEST_LIMIT) return errorWord(c, MSG_KEYS_LIMIT, word(n - 1));
    limit = <u32>number;
  }
  if (prefix != 0 && tooLong(prefix, maxKey())) return keyError(c, prefix);
  const cause = barrierCause(c);
  if (cause != CAUSE_NONE) return cause;
  const length = prefix == 0 ? 0 : wordLength(prefix);
  const item = joinItem(c, ITEM_KEYS, 12 + pad4(length));
  if (item == 0) return CAUSE_AGAIN;
  store<u32>(item, limit, 4);
  store<u32>(item, length, 8);
  if (prefix != 0) putWord(item + 12, prefix);
  connSet(c, IS_BARRIER);
  return CAUSE_NONE;
}

function isLimit(w: usize): bool {
  if (wordLength(w) != 5) return false;
  putStart(F_SCRATCH, w, 5);
  return (load<u32>(F_SCRATCH) & 0xdfdfdfdf) == 0x494d494c && (load<u8>(F_SCRATCH + 4) & 0xdf) == 0x54;
}
