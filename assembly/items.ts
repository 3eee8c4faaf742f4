/**
 * Items: what has been asked and not yet answered, in the order in which it must be. A list belongs to the open entry, to
 * a sealed entry, or to a batch of reads.
 *
 * ```
 * list:
 *  0  u32  next list (sealed ones)
 *  4  u32  end: bytes used, with this header
 *  8  u32  bytes of the buffer
 * 12  u32  state: 0 undecided, 1 given up and not yet answered, 2 answered
 * 16  u64  sequence of the entry (0: it was given up before it had one)
 * 24  u32  message for reads that are given up
 * 28  u32  message for writes
 * 32  items
 *
 * item:   0  u32  slot | kind << 16
 *         COMMAND, COUNT, BEGIN   nothing more
 *         MESSAGE                 u32 number of the message
 *         TEXT                    u32 bytes, a whole line, pad4
 *         GET, TTL, PTTL          u32 bytes, the key, pad4
 *         EXISTS, MGET            u32 bytes that follow, then for each key u32 bytes, the key, pad4
 *         KEYS, KEYS_DONE         u32 limit, u32 bytes, the prefix, pad4
 * ```
 *
 * A COMMAND stands for one command of the entry, whose reply `apply` writes; all others are side items and are answered at
 * their place. Sealed lists stand in a queue in the order of their entries, and own entries take effect in that order, so
 * the entry being applied is the first in the queue. A list that is given up is answered once those before it are: the
 * replies of one connection stay in order.
 *
 * Invariant: the buffer always has 16 bytes of slack behind its end.
 */
import { give, take } from './heap';
import { connClosed } from './conn';
import {
  count,
  F_APPLYING,
  F_APPLYING_AT,
  F_OPEN_ITEMS,
  F_READS,
  F_SEALED_FIRST,
  F_SEALED_LAST,
  F_SEQUENCE,
  FAIL_ITEMS,
  pad4,
} from './front';
import { check } from './memory';
import { MSG_READ_LOST, MSG_REPLY_TOO_LONG, MSG_WRITE_LOST } from './messages';
import {
  EVENT_APPLIED,
  EVENT_GAP,
  emit,
  lineEnd,
  NOBODY,
  outputBytes,
  outputWaiting,
  putText,
  replyBegin,
  replyInteger,
  replyMessage,
  sliceFull,
} from './output';
import { leavesOwed, SPARE_PAGES } from './pages';
import { answerExists, answerGet, answerMget, answerTtl } from './reads';
import { userKeys } from './version';

export const ITEM_COMMAND: u32 = 0;
export const ITEM_GET: u32 = 1;
export const ITEM_EXISTS: u32 = 2;
export const ITEM_MGET: u32 = 3;
export const ITEM_COUNT: u32 = 4;
export const ITEM_MESSAGE: u32 = 5;
export const ITEM_TEXT: u32 = 6;
export const ITEM_BEGIN: u32 = 7;
export const ITEM_KEYS: u32 = 8;
export const ITEM_KEYS_DONE: u32 = 9;
export const ITEM_TTL: u32 = 10;
export const ITEM_PTTL: u32 = 11;

/** Returned by `itemsCommandSlot`: enough output for one slice; end it and call again. */
export const YIELD: u32 = 0xfffffffb;

/** More bytes of items than this are not gathered for one round, or beside one entry. */
export const MOST_ITEMS: u32 = 4 << 20;
export const LIST_HEADER: u32 = 32;
export const L_NEXT: usize = 0;
export const L_END: usize = 4;
export const L_ROOM: usize = 8;
export const L_STATE: usize = 12;
export const L_SEQUENCE: usize = 16;
export const L_FOR_READS: usize = 24;
export const L_FOR_WRITES: usize = 28;
const FIRST_LIST: u32 = 1024;
const LARGEST_LIST: u32 = (64 << 20) - 64;
const SLACK: u32 = 16;

/** When so many bytes of replies wait for an entry's end, its reads are refused: they cannot be handed out before. So they are when replies have taken half of what is spare. */
const MOST_WAITING: u32 = 256 << 20;


const UNDECIDED: u32 = 0;
const GIVEN_UP: u32 = 1;
const ANSWERED: u32 = 2;

// @ts-ignore: decorator
@inline
export function listEnd(list: usize): usize {
  return list + load<u32>(list, L_END);
}

// @ts-ignore: decorator
@inline
export function itemKind(item: usize): u32 {
  return load<u32>(item) >> 16;
}

// @ts-ignore: decorator
@inline
export function itemSlot(item: usize): u32 {
  return load<u32>(item) & 0xffff;
}

/** Bytes of an item. */
export function itemBytes(item: usize): u32 {
  switch (itemKind(item)) {
    case ITEM_COMMAND:
    case ITEM_COUNT:
    case ITEM_BEGIN:
      return 4;
    case ITEM_MESSAGE:
      return 8;
    case ITEM_KEYS:
    case ITEM_KEYS_DONE:
      return 12 + pad4(load<u32>(item, 8));
    default:
      return 8 + pad4(load<u32>(item, 4));
  }
}

/**
 * Room for `n` more bytes in the list that `holder` points to (a list is begun when there is none); the address where they
 * belong, or 0 when there is no memory. `listTook` makes them part of the list.
 */
export function listRoom(holder: usize, n: u32): usize {
  const list: usize = load<u32>(holder);
  const used = list == 0 ? LIST_HEADER : load<u32>(list, L_END);
  if (list != 0 && used + n + SLACK <= load<u32>(list, L_ROOM)) return list + used;
  if (n > LARGEST_LIST - used - SLACK) return 0;
  const bytes = min(max(max((used + n + SLACK) * 2, FIRST_LIST), used + n + SLACK), LARGEST_LIST);
  const grown: usize = take(bytes);
  if (grown == 0) return 0;
  if (list == 0) {
    memory.fill(grown, 0, LIST_HEADER);
    store<u32>(grown, LIST_HEADER, L_END);
  } else {
    memory.copy(grown, list, used);
    give(<u32>list);
  }
  store<u32>(grown, bytes, L_ROOM);
  store<u32>(holder, <u32>grown);
  return grown + used;
}

// @ts-ignore: decorator
@inline
export function listTook(holder: usize, n: u32): void {
  const list: usize = load<u32>(holder);
  store<u32>(list, load<u32>(list, L_END) + n, L_END);
}

/** Bytes of items in the list that `holder` points to. */
export function listBytes(holder: usize): u32 {
  const list: usize = load<u32>(holder);
  return list == 0 ? 0 : load<u32>(list, L_END) - LIST_HEADER;
}

/** The open entry's items become those of the sealed entry `sequence`, last in the queue. */
export function itemsSeal(sequence: u64): void {
  const list: usize = load<u32>(F_OPEN_ITEMS);
  check(list != 0, FAIL_ITEMS);
  store<u64>(list, sequence, L_SEQUENCE);
  store<u32>(F_OPEN_ITEMS, 0);
  if (load<u32>(F_SEALED_FIRST) == 0) store<u32>(F_SEALED_FIRST, <u32>list);
  else store<u32>(load<u32>(F_SEALED_LAST), <u32>list, L_NEXT);
  store<u32>(F_SEALED_LAST, <u32>list);
}

function dropFirst(): void {
  const list: usize = load<u32>(F_SEALED_FIRST);
  store<u32>(F_SEALED_FIRST, load<u32>(list, L_NEXT));
  give(<u32>list);
}

/** Answers a side item of an entry that is being applied: it sees the state at its place. */
function answerSide(item: usize): void {
  const slot = itemSlot(item);
  const kind = itemKind(item);
  if (connClosed(slot)) return answerNothing(slot);
  if (kind == ITEM_MESSAGE || kind == ITEM_TEXT) return answerConstant(item);
  count(F_READS);
  if (outputBytes() > MOST_WAITING || !leavesOwed(0, SPARE_PAGES / 2)) return answerWith(item, MSG_REPLY_TOO_LONG, 0);
  if (kind == ITEM_GET) answerGet(item, true);
  else if (kind == ITEM_TTL || kind == ITEM_PTTL) answerTtl(item, true);
  else if (kind == ITEM_EXISTS) answerExists(item, true);
  else if (kind == ITEM_MGET) answerMget(item, true);
  else {
    check(kind == ITEM_COUNT, FAIL_ITEMS);
    replyBegin(slot);
    replyInteger(userKeys());
  }
}

/** An empty line for a client that is gone: it counts, and nobody will see it. */
function answerNothing(slot: u32): void {
  replyBegin(slot);
  lineEnd();
}

/** Answers a MESSAGE or TEXT. */
export function answerConstant(item: usize): void {
  replyBegin(itemSlot(item));
  if (itemKind(item) == ITEM_MESSAGE) return replyMessage(load<u32>(item, 4));
  putText(item + 8, load<u32>(item, 4));
  lineEnd();
}

/** Answers an item without carrying it out; constants keep their reply. */
export function answerWith(item: usize, forReads: u32, forWrites: u32): void {
  const kind = itemKind(item);
  if (kind == ITEM_MESSAGE || kind == ITEM_TEXT) return answerConstant(item);
  replyBegin(itemSlot(item));
  replyMessage(kind == ITEM_COMMAND ? forWrites : forReads);
}

/** Answers lists that were given up, as far as all before them are decided, and their replies released. */
export function settleGivenUp(): void {
  while (load<u32>(F_SEALED_FIRST) != 0) {
    let list: usize = load<u32>(F_SEALED_FIRST);
    while (list != 0 && load<u32>(list, L_STATE) == ANSWERED) list = load<u32>(list, L_NEXT);
    if (list == 0 || load<u32>(list, L_STATE) == UNDECIDED) break;
    const end = listEnd(list);
    for (let item = list + LIST_HEADER; item < end; item += itemBytes(item)) {
      answerWith(item, load<u32>(list, L_FOR_READS), load<u32>(list, L_FOR_WRITES));
    }
    store<u32>(list, ANSWERED, L_STATE);
  }
  while (load<u32>(F_SEALED_FIRST) != 0) {
    const list: usize = load<u32>(F_SEALED_FIRST);
    if (load<u64>(list, L_SEQUENCE) != 0 || load<u32>(list, L_STATE) != ANSWERED) return;
    dropFirst();
  }
}

/** Gives up the sealed entry `sequence`: its items are answered without an outcome once those before them are. */
export function itemsGiveUp(sequence: u64, forReads: u32, forWrites: u32): void {
  let list: usize = load<u32>(F_SEALED_FIRST);
  while (list != 0 && load<u64>(list, L_SEQUENCE) != sequence) list = load<u32>(list, L_NEXT);
  if (list == 0 || load<u32>(F_APPLYING) == <u32>list || load<u32>(list, L_STATE) != UNDECIDED) return;
  store<u32>(list, GIVEN_UP, L_STATE);
  store<u32>(list, forReads, L_FOR_READS);
  store<u32>(list, forWrites, L_FOR_WRITES);
  if (!outputWaiting()) settleGivenUp();
}

/** Gives up the items of the open entry: they have no sequence yet. */
export function itemsGiveUpOpen(message: u32): void {
  const list: usize = load<u32>(F_OPEN_ITEMS);
  if (list == 0) return;
  itemsSeal(0);
  store<u32>(list, GIVEN_UP, L_STATE);
  store<u32>(list, message, L_FOR_READS);
  store<u32>(list, message, L_FOR_WRITES);
  if (!outputWaiting()) settleGivenUp();
}

/**
 * An own entry takes effect now. Its items are those of the first sealed list; false when they were answered already
 * (given up), then every command is nobody's.
 */
export function itemsBeginEntry(sequence: u64): bool {
  // Given up while replies of earlier entries waited for their release: nobody else would answer it.
  settleGivenUp();
  const list: usize = load<u32>(F_SEALED_FIRST);
  check(list != 0 && load<u64>(list, L_SEQUENCE) == sequence, FAIL_ITEMS);
  store<u32>(F_APPLYING, <u32>list);
  const answered = load<u32>(list, L_STATE) != UNDECIDED;
  store<u32>(F_APPLYING_AT, <u32>(answered ? listEnd(list) : list + LIST_HEADER));
  return !answered;
}

/** Answers side items up to the next COMMAND; false when the slice has produced enough. */
function answerSideItems(): bool {
  const list: usize = load<u32>(F_APPLYING);
  const end = listEnd(list);
  let item: usize = load<u32>(F_APPLYING_AT);
  while (item < end && itemKind(item) != ITEM_COMMAND) {
    if (sliceFull()) return false;
    const next = item + itemBytes(item);
    answerSide(item);
    item = next;
    store<u32>(F_APPLYING_AT, <u32>item);
  }
  return true;
}

/**
 * Answers the side items in front of the entry's next command, and returns the slot that gets its reply (NOBODY: nobody).
 * YIELD: end the slice and call again.
 */
export function itemsCommandSlot(): u32 {
  if (!answerSideItems()) return YIELD;
  const item: usize = load<u32>(F_APPLYING_AT);
  if (item >= listEnd(load<u32>(F_APPLYING))) return NOBODY;
  store<u32>(F_APPLYING_AT, <u32>item + 4);
  return itemSlot(item);
}

/** The entry is done: answers what stands behind its last command, and tells the host. False: end the slice, call again. */
export function itemsEndEntry(): bool {
  if (!answerSideItems()) return false;
  const list: usize = load<u32>(F_APPLYING);
  check(load<u32>(F_APPLYING_AT) == <u32>listEnd(list), FAIL_ITEMS);
  emit(EVENT_APPLIED, 0, load<u64>(list, L_SEQUENCE));
  store<u32>(F_APPLYING, 0);
  dropFirst();
  settleGivenUp();
  return true;
}

/**
 * The state has jumped over own entries up to `sequence`: their answers are lost. What was given up before is told that; the host
 * hears of each as of one that was applied.
 */
export function itemsLost(sequence: u64): void {
  while (load<u32>(F_SEALED_FIRST) != 0) {
    const list: usize = load<u32>(F_SEALED_FIRST);
    const number = load<u64>(list, L_SEQUENCE);
    if (number > sequence) break;
    const state = load<u32>(list, L_STATE);
    const forReads = state == UNDECIDED ? MSG_READ_LOST : load<u32>(list, L_FOR_READS);
    const forWrites = state == UNDECIDED ? MSG_WRITE_LOST : load<u32>(list, L_FOR_WRITES);
    const end = state == ANSWERED ? list : listEnd(list);
    for (let item = list + LIST_HEADER; item < end; item += itemBytes(item)) answerWith(item, forReads, forWrites);
    if (number != 0) emit(EVENT_APPLIED, 0, number);
    dropFirst();
  }
  settleGivenUp();
}

/** An own entry came out as a no-op over a gap: the host hears of it if the entry is still undecided. */
export function itemsGap(sequence: u64): void {
  const list: usize = load<u32>(F_SEALED_FIRST);
  if (list == 0 || sequence > load<u64>(F_SEQUENCE) || sequence < firstUndecided(list)) return;
  emit(EVENT_GAP, 0, sequence);
}

/** Sequence of the first sealed entry that is not decided (the highest number when there is none). */
function firstUndecided(list: usize): u64 {
  while (list != 0 && load<u64>(list, L_SEQUENCE) == 0) list = load<u32>(list, L_NEXT);
  return list == 0 ? u64.MAX_VALUE : load<u64>(list, L_SEQUENCE);
}
