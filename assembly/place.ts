/**
 * Where a command of a connection finds its place: at once, among the gathering reads, or in the open entry
 * (src/store/store.ts, "Connections"). Every function returns CAUSE_NONE when the command has its place, else why it must wait;
 * then nothing has changed.
 */
import {
  CAUSE_AGAIN,
  CAUSE_ENTRY,
  CAUSE_IDLE,
  CAUSE_NONE,
  CAUSE_READS,
  connFlags,
  connIdle,
  connJoined,
  connSlot,
  IS_READING,
  IS_WRITING,
} from './conn';
import { commandRoom, entryFull, sessionsFull } from './encode';
import { F_GATHERED, F_GATHERING, F_OPEN_COMMANDS, F_OPEN_ITEMS, F_SEQ, pad4 } from './front';
import { ITEM_MESSAGE, ITEM_TEXT, listBytes, listRoom, listTook, MOST_ITEMS } from './items';
import {
  lineEnd,
  outputAt,
  putMessageNumber,
  putMessageWord,
  putText,
  replyMessage,
  replyNow,
  TEXT,
  textDrop,
  textStart,
} from './output';

/** Why a read or a constant cannot be an item now. */
export function readCause(c: usize): u32 {
  if ((connFlags(c) & IS_WRITING) == 0) return listBytes(F_GATHERING) >= MOST_ITEMS ? CAUSE_READS : CAUSE_NONE;
  if (load<u32>(F_OPEN_COMMANDS) == 0) return CAUSE_IDLE;
  return listBytes(F_OPEN_ITEMS) >= MOST_ITEMS ? CAUSE_ENTRY : CAUSE_NONE;
}

/** Why a write cannot join the open entry now. */
export function writeCause(c: usize): u32 {
  if ((connFlags(c) & IS_READING) != 0) return CAUSE_IDLE;
  if (entryFull() || (load<u64>(F_SEQ) != 0 && sessionsFull())) return CAUSE_ENTRY;
  return commandRoom() ? CAUSE_NONE : CAUSE_AGAIN;
}

/**
 * Appends an item of `bytes` where reads and constants of this connection belong now (`readCause` was NONE), and returns
 * its address; 0 when there is no memory for it.
 */
export function joinItem(c: usize, kind: u32, bytes: u32): usize {
  const writing = (connFlags(c) & IS_WRITING) != 0;
  const holder = writing ? F_OPEN_ITEMS : F_GATHERING;
  const item = listRoom(holder, bytes);
  if (item == 0) return 0;
  listTook(holder, bytes);
  if (!writing) store<u32>(F_GATHERED, load<u32>(F_GATHERED) + 1);
  store<u32>(item, connSlot(c) | (kind << 16));
  connJoined(c, writing ? IS_WRITING : IS_READING);
  return item;
}

/** Answers with a constant message. */
export function constant(c: usize, message: u32): u32 {
  if (connIdle(c)) {
    replyNow(connSlot(c));
    replyMessage(message);
    return CAUSE_NONE;
  }
  const cause = readCause(c);
  if (cause != CAUSE_NONE) return cause;
  const item = joinItem(c, ITEM_MESSAGE, 8);
  if (item == 0) return CAUSE_AGAIN;
  store<u32>(item, message, 4);
  return CAUSE_NONE;
}

/** Begins a constant reply that is put together; after CAUSE_NONE comes its text, then `constantEnd`. */
function constantBegin(c: usize): u32 {
  const cause = connIdle(c) ? CAUSE_NONE : readCause(c);
  if (cause == CAUSE_NONE) replyNow(connIdle(c) ? connSlot(c) : TEXT);
  return cause;
}

function constantEnd(c: usize): u32 {
  lineEnd();
  if (connIdle(c)) return CAUSE_NONE;
  const from = textStart();
  const bytes = <u32>(outputAt() - from) - 1;
  textDrop();
  const item = joinItem(c, ITEM_TEXT, 8 + pad4(bytes));
  if (item == 0) return CAUSE_AGAIN;
  store<u32>(item, bytes, 4);
  memory.copy(item + 8, from, bytes);
  return CAUSE_NONE;
}

export function constantText(c: usize, text: usize, length: u32): u32 {
  const cause = constantBegin(c);
  if (cause != CAUSE_NONE) return cause;
  putText(text, length);
  return constantEnd(c);
}

/** The first 64 bytes of a longer word, and its length, are enough. */
export function constantWord(c: usize, message: u32, word: usize, length: u32): u32 {
  const cause = constantBegin(c);
  if (cause != CAUSE_NONE) return cause;
  putMessageWord(message, word, length);
  return constantEnd(c);
}

export function constantNumber(c: usize, message: u32, n: u64): u32 {
  const cause = constantBegin(c);
  if (cause != CAUSE_NONE) return cause;
  putMessageNumber(message, n);
  return constantEnd(c);
}
