/**
 * Commands of an open transaction: all but COMMIT are answered at once, from the own writes and the pinned revision. They
 * never wait, so their words are resolved where they stand in the line.
 */
import { give, take } from './heap';
import { CAUSE_ENTRY, CAUSE_NONE, connSlot, connTxn } from './conn';
import {
  commandDone,
  entryFits,
  FLAG_NX,
  FLAG_TTL,
  FLAG_XX,
  OP_COMMIT,
  operationsAt,
  putOperation,
  sequenceBytes,
} from './encode';
import { F_SCRATCH, pad4 } from './front';
import { putJsonString } from './json';
import { equal } from './memory';
import {
  CMD_DEL,
  CMD_EXISTS,
  MSG_NIL,
  MSG_NOT_INTEGER,
  MSG_OK,
  MSG_OUT_OF_MEMORY,
  MSG_OVERFLOW,
  MSG_TRANSACTION_TOO_LARGE,
} from './messages';
import { lineEnd, lineOver, putByte, replyInteger, replyMessage, replyNil, replyNow, replyString } from './output';
import { constant, writeCause } from './place';
import { putNull, replyTtl } from './reads';
import {
  addBytes,
  bytesOf,
  E_FLAGS,
  E_KEY_BYTES,
  E_TTL,
  HAS_TTL,
  HAS_WRITE,
  KEEPS,
  T_TIME,
  checkCost,
  commandBegin,
  commitBytes,
  dropEntries,
  entry,
  entryCount,
  entryFlags,
  firstTime,
  keptExpiry,
  noteCheck,
  noteDel,
  noteSet,
  putCommit,
  see,
  seenDeadline,
  seenLength,
  seenLive,
  seenValue,
  takeEntry,
  ttlBytes,
  txnDrop,
  txnWrites,
  valueRoom,
  within,
  writeCost,
} from './txn';
import {
  INTEGER,
  nextWord,
  parseInteger,
  putDecimal,
  settleWord,
  WALK,
  wordCount,
  wordLength,
  wordStart,
} from './words';

// @ts-ignore: decorator
@inline
export function inTransaction(c: usize): bool {
  return connTxn(c) != 0;
}

function answer(c: usize, message: u32): u32 {
  replyNow(connSlot(c));
  replyMessage(message);
  return CAUSE_NONE;
}

/** Refuses the command as a whole: the entries that it made go. */
function refuse(c: usize, t: usize, kept: u32, message: u32): u32 {
  dropEntries(t, kept);
  return answer(c, message);
}

/** The entry of a command's only key, looked up; -1 when there is no memory for it. */
function keyEntry(t: usize, key: usize): i32 {
  settleWord(key);
  const i = takeEntry(t, wordStart(key), wordLength(key));
  if (i >= 0) see(t, entry(t, i));
  return i;
}

export function txnGet(c: usize, key: usize): u32 {
  const t = connTxn(c);
  const kept = entryCount(t);
  const i = keyEntry(t, key);
  if (i < 0) return refuse(c, t, kept, MSG_OUT_OF_MEMORY);
  const e = entry(t, i);
  const added = checkCost(e);
  if (!within(t, added, 0)) return refuse(c, t, kept, MSG_TRANSACTION_TOO_LARGE);
  noteCheck(t, i);
  addBytes(t, added, 0);
  replyNow(connSlot(c));
  if (seenLive(e)) replyString(seenValue(t, e), seenLength(e));
  else replyNil();
  return CAUSE_NONE;
}

/**
 * Ends a command on one key, which depends on its old value (`depends`) and writes (`does`) `length` bytes from `value`,
 * with `expiry` and `ttl` as `noteSet` takes them. False when it was refused, and answered so.
 */
function finish(
  c: usize,
  i: u32,
  kept: u32,
  depends: bool,
  does: bool,
  value: usize,
  length: u32,
  expiry: u32,
  ttl: u64,
): bool {
  const t = connTxn(c);
  const e = entry(t, i);
  let added = depends ? checkCost(e) : 0;
  let removed: u32 = 0;
  if (does) {
    added += 12 + pad4(load<u32>(e, E_KEY_BYTES) + length) + ttlBytes(expiry);
    removed = writeCost(e);
  }
  if (!within(t, added, removed)) {
    refuse(c, t, kept, MSG_TRANSACTION_TOO_LARGE);
    return false;
  }
  if (does && !valueRoom(t, i, length)) {
    refuse(c, t, kept, MSG_OUT_OF_MEMORY);
    return false;
  }
  if (depends) noteCheck(t, i);
  if (does) memory.copy(noteSet(t, i, length, expiry, ttl), value, length);
  addBytes(t, added, removed);
  return true;
}

export function txnSet(c: usize, flags: u32, ttl: u64, key: usize, value: usize): u32 {
  const t = connTxn(c);
  const kept = entryCount(t);
  const i = keyEntry(t, key);
  if (i < 0) return refuse(c, t, kept, MSG_OUT_OF_MEMORY);
  settleWord(value);
  const condition = flags & (FLAG_NX | FLAG_XX);
  const does = condition == 0 || seenLive(entry(t, i)) == (condition == FLAG_XX);
  const expiry = flags & FLAG_TTL;
  if (!finish(c, i, kept, condition != 0, does, wordStart(value), wordLength(value), expiry, ttl)) return CAUSE_NONE;
  return answer(c, does ? MSG_OK : MSG_NIL);
}

export function txnCas(c: usize, key: usize, expected: usize, value: usize): u32 {
  const t = connTxn(c);
  const kept = entryCount(t);
  const i = keyEntry(t, key);
  if (i < 0) return refuse(c, t, kept, MSG_OUT_OF_MEMORY);
  settleWord(expected);
  settleWord(value);
  const e = entry(t, i);
  const length = wordLength(expected);
  const does = seenLive(e) && seenLength(e) == length && equal(<u32>seenValue(t, e), <u32>wordStart(expected), length);
  if (!finish(c, i, kept, true, does, wordStart(value), wordLength(value), keptExpiry(e), keptTtl(e))) return CAUSE_NONE;
  return answer(c, does ? MSG_OK : MSG_NIL);
}

export function txnIncr(c: usize, key: usize, by: i64): u32 {
  const t = connTxn(c);
  const kept = entryCount(t);
  const i = keyEntry(t, key);
  if (i < 0) return refuse(c, t, kept, MSG_OUT_OF_MEMORY);
  const e = entry(t, i);
  let problem: u32 = 0;
  let sum: i64 = by;
  if (seenLive(e)) {
    if (!parseInteger(seenValue(t, e), seenLength(e))) problem = MSG_NOT_INTEGER;
    else {
      const old = load<i64>(INTEGER);
      sum = old + by;
      if (((old ^ sum) & (by ^ sum)) < 0) problem = MSG_OVERFLOW;
    }
  }
  const length = <u32>(putDecimal(F_SCRATCH, sum) - F_SCRATCH);
  if (!finish(c, i, kept, true, problem == 0, F_SCRATCH, length, keptExpiry(e), keptTtl(e))) return CAUSE_NONE;
  if (problem != 0) return answer(c, problem);
  replyNow(connSlot(c));
  replyInteger(sum);
  return CAUSE_NONE;
}

/** What goes with `keptExpiry`: the time to live of the own write, or the deadline kept. */
function keptTtl(e: usize): u64 {
  return (entryFlags(e) & HAS_WRITE) != 0 ? load<u64>(e, E_TTL) : seenLive(e) ? seenDeadline(e) : 0;
}

/** TTL and PTTL: of an own write from COMMIT on, else as of BEGIN. */
export function txnTtl(c: usize, key: usize, inMs: bool): u32 {
  const t = connTxn(c);
  const kept = entryCount(t);
  const i = keyEntry(t, key);
  if (i < 0) return refuse(c, t, kept, MSG_OUT_OF_MEMORY);
  const e = entry(t, i);
  if (!finish(c, i, kept, true, false, 0, 0, 0, 0)) return CAUSE_NONE;
  replyNow(connSlot(c));
  const live = seenLive(e);
  const own = (entryFlags(e) & HAS_TTL) != 0;
  const time = own ? 0 : load<u64>(t, T_TIME);
  replyTtl(live, own ? load<u64>(e, E_TTL) : live ? seenDeadline(e) : 0, time, inMs);
  return CAUSE_NONE;
}

/** PERSIST: the value seen, written again without a deadline. */
export function txnPersist(c: usize, key: usize): u32 {
  const t = connTxn(c);
  const kept = entryCount(t);
  const i = keyEntry(t, key);
  if (i < 0) return refuse(c, t, kept, MSG_OUT_OF_MEMORY);
  const e = entry(t, i);
  const does = seenLive(e) && keptExpiry(e) != 0;
  if ((entryFlags(e) & HAS_WRITE) != 0) {
    if (does) {
      addBytes(t, 0, ttlBytes(entryFlags(e)));
      store<u32>(e, entryFlags(e) & ~(HAS_TTL | KEEPS), E_FLAGS);
    }
  } else {
    const value = does ? seenValue(t, e) : 0;
    if (!finish(c, i, kept, true, does, value, does ? seenLength(e) : 0, 0, 0)) return CAUSE_NONE;
  }
  replyNow(connSlot(c));
  replyInteger(does ? 1 : 0);
  return CAUSE_NONE;
}

/** EXISTS, MGET and DEL: all keys of the line. */
export function txnKeys(c: usize, code: u32, p: usize, end: usize): u32 {
  const t = connTxn(c);
  const n = wordCount() - 1;
  const kept = entryCount(t);
  const entries = take(n * 4);
  if (entries == 0) return answer(c, MSG_OUT_OF_MEMORY);
  const problem = planKeys(t, code, p, end, entries, n);
  if (problem != 0) refuse(c, t, kept, problem);
  else if (code == CMD_DEL) delKeys(c, t, entries, n);
  else readKeys(c, t, code, entries, n);
  give(entries);
  return CAUSE_NONE;
}

/** Looks all keys up and adds up what the command costs; 0, or the message with which it is refused. */
function planKeys(t: usize, code: u32, p: usize, end: usize, entries: u32, n: u32): u32 {
  let added: u64 = 0;
  let removed: u64 = 0;
  commandBegin(t);
  let at = nextWord(p, end, WALK);
  for (let k: u32 = 0; k < n; k++) {
    at = nextWord(at, end, WALK);
    const i = keyEntry(t, WALK);
    if (i < 0) return MSG_OUT_OF_MEMORY;
    store<u32>(entries + k * 4, i);
    const e = entry(t, i);
    if (!firstTime(t, e)) continue;
    added += checkCost(e);
    if (code == CMD_DEL && seenLive(e)) {
      added += 12 + pad4(load<u32>(e, E_KEY_BYTES));
      removed += writeCost(e);
    }
    // A DEL may yet take away as much as the transaction holds; no later key lowers what the others add.
    if (!within(t, added, code == CMD_DEL ? bytesOf(t) : 0)) return MSG_TRANSACTION_TOO_LARGE;
  }
  if (!within(t, added, removed)) return MSG_TRANSACTION_TOO_LARGE;
  addBytes(t, <u32>added, <u32>removed);
  return 0;
}

function delKeys(c: usize, t: usize, entries: u32, n: u32): void {
  let deleted = 0;
  for (let k: u32 = 0; k < n; k++) {
    const i = load<u32>(entries + k * 4);
    // A key named again is not there any more: its write is a DEL, or it never was.
    const live = seenLive(entry(t, i));
    noteCheck(t, i);
    if (!live) continue;
    noteDel(t, i);
    deleted++;
  }
  replyNow(connSlot(c));
  replyInteger(deleted);
}

function readKeys(c: usize, t: usize, code: u32, entries: u32, n: u32): void {
  let live = 0;
  for (let k: u32 = 0; k < n; k++) {
    const i = load<u32>(entries + k * 4);
    noteCheck(t, i);
    if (seenLive(entry(t, i))) live++;
  }
  replyNow(connSlot(c));
  if (code == CMD_EXISTS) return replyInteger(live);
  putByte(91);
  for (let k: u32 = 0; k < n && !lineOver(); k++) {
    if (k > 0) putByte(44);
    const e = entry(t, load<u32>(entries + k * 4));
    if (seenLive(e)) putJsonString(seenValue(t, e), seenLength(e));
    else putNull();
  }
  putByte(93);
  lineEnd();
}

/** COMMIT: one command of the open entry, or nothing at all when nothing was written and its line has no SEQ. */
export function txnCommit(c: usize): u32 {
  const t = connTxn(c);
  const writes = txnWrites(t) != 0;
  if (!writes && sequenceBytes() == 0) {
    txnDrop(c);
    return constant(c, MSG_OK);
  }
  const cause = writeCause(c);
  if (cause != CAUSE_NONE) return cause;
  if (!entryFits(sequenceBytes() + (writes ? commitBytes(t) : 12))) return CAUSE_ENTRY;
  const at = operationsAt(c);
  // With a sequence a COMMIT that wrote nothing is logged too, as an empty one: what it was answered must stay so.
  commandDone(c, writes ? putCommit(at, t) : putOperation(at, OP_COMMIT, 0, 0, 0));
  txnDrop(c);
  return CAUSE_NONE;
}
