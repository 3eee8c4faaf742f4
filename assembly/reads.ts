/**
 * Reads: one batch is gathered while another is in flight, waiting for its read index to be applied.
 *
 * A batch is answered from the published state, in passes over 64 items: first the slots and records of all their keys are
 * touched, so that the cache misses overlap, then they are answered. KEYS that take more than one slice come last: the
 * connection that asked waits for nothing else, and the others do not wait for a scan of everything.
 *
 * ```
 * F_KEYS +  0  u64  cursor of the scan                  8  u64  pinned revision
 *        + 16  u32  the item (0: none under way)       20  u32  step: 0 scan, 1 sort, 2 write
 *        + 24  u32  heap                               28  u32  its elements     32  u32  elements it has room for
 *        + 36  u32  sorted elements, or written ones
 *        + 40  u32  reply                              44  u32  its bytes        48  u32  bytes it has room for
 *        + 56  u64  log time of the pinned revision
 * heap element:  0  u64  the 8 bytes of the key behind the prefix, big-endian    8  u32  record    12  u32  0
 * ```
 *
 * KEYS keeps the LIMIT smallest keys seen so far in a heap whose root is the largest of them, over a revision that it pins;
 * then it sorts the heap in place and writes the reply piece by piece. Each step is cut into slices.
 */
import { give, take } from './heap';
import { conn, connAnswered, connClosed, connWakeWaiting } from './conn';
import {
  count,
  F_FLIGHT,
  F_FLIGHT_AT,
  F_FLIGHT_KEYS,
  F_GATHERED,
  F_GATHERING,
  F_KEYS,
  F_MAX_REPLY,
  F_READS,
  pad4,
} from './front';
import {
  answerConstant,
  answerWith,
  ITEM_BEGIN,
  ITEM_COUNT,
  ITEM_EXISTS,
  ITEM_GET,
  ITEM_KEYS,
  ITEM_KEYS_DONE,
  ITEM_MESSAGE,
  ITEM_MGET,
  ITEM_PTTL,
  ITEM_TEXT,
  ITEM_TTL,
  itemBytes,
  itemKind,
  itemSlot,
  LIST_HEADER,
  listBytes,
  listEnd,
  MOST_ITEMS,
} from './items';
import { putJsonString } from './json';
import { SCAN_BASE } from './layout';
import { equal } from './memory';
import { MSG_OUT_OF_MEMORY, MSG_STALE_REPLY } from './messages';
import {
  lineEnd,
  lineOver,
  outputAt,
  putByte,
  putMessageNumber,
  putText,
  replyBegin,
  replyInteger,
  replyMessage,
  replyNil,
  replyNow,
  replyOk,
  replyString,
  sliceBegin,
  sliceFull,
  TEXT,
  textDrop,
  textStart,
} from './output';
import { compareKeys, recDeadline, recKey, recKeyLen, recValue, recValueLen } from './record';
import { SCAN_END, scanSome } from './scan';
import { touch } from './table';
import { txnBegin } from './txn';
import { findAt, findCurrent, newestTime, pin, published, publishedKeys, publishedTime, unpin } from './version';

const GROUP: u32 = 64;
/** Keys looked up, parts of a scan, and sorted or written keys in one slice. */
const LOOKUPS: u32 = 16_384;
const SCANS: u32 = 4;
const SORTED: u32 = 1_024;
const WRITTEN: u32 = 8_192;
const KEY_SEPARATOR: u32 = 44;
const NULL_TEXT: u32 = 0x6c6c756e;

const K_CURSOR: usize = F_KEYS;
const K_REVISION: usize = F_KEYS + 8;
const K_ITEM: usize = F_KEYS + 16;
const K_STEP: usize = F_KEYS + 20;
const K_HEAP: usize = F_KEYS + 24;
const K_COUNT: usize = F_KEYS + 28;
const K_ROOM: usize = F_KEYS + 32;
const K_DONE: usize = F_KEYS + 36;
const K_REPLY: usize = F_KEYS + 40;
const K_REPLY_BYTES: usize = F_KEYS + 44;
const K_REPLY_ROOM: usize = F_KEYS + 48;
const K_TIME: usize = F_KEYS + 56;
const STEP_SCAN: u32 = 0;
const STEP_SORT: u32 = 1;
const STEP_WRITE: u32 = 2;
const ELEMENT: u32 = 16;
const SLACK: u32 = 32;

/** The record of a key: as the entry being applied has it so far (`side`), or published. */
// @ts-ignore: decorator
@inline
function lookUp(key: usize, length: u32, side: bool): u32 {
  return side ? findCurrent(<u32>key, length, 0) : findAt(<u32>key, length, 0, published(), publishedTime());
}

/** GET. */
export function answerGet(item: usize, side: bool): void {
  const record = lookUp(item + 8, load<u32>(item, 4), side);
  replyBegin(itemSlot(item));
  if (record == 0) replyNil();
  else replyString(recValue(record), recValueLen(record));
}

/** GET key STALE: the published value, and the revision that it is of. */
export function answerStale(slot: u32, key: usize, length: u32): void {
  const record = lookUp(key, length, false);
  count(F_READS);
  replyNow(slot);
  putMessageNumber(MSG_STALE_REPLY, published());
  if (record == 0) putNull();
  else putJsonString(recValue(record), recValueLen(record));
  putByte(125);
  lineEnd();
}

/** TTL and PTTL. */
export function answerTtl(item: usize, side: bool): void {
  const record = lookUp(item + 8, load<u32>(item, 4), side);
  replyBegin(itemSlot(item));
  const deadline = record == 0 ? 0 : recDeadline(record);
  replyTtl(record != 0, deadline, side ? newestTime() : publishedTime(), itemKind(item) == ITEM_PTTL);
}

/** The reply to TTL and PTTL: what is left until the deadline (0: none) at `time`; of seconds, one begun counts. */
export function replyTtl(live: bool, deadline: u64, time: u64, inMs: bool): void {
  if (!live) return replyInteger(-2);
  if (deadline == 0) return replyInteger(-1);
  const left = deadline - time;
  replyInteger(inMs ? left : (left + 999) / 1000);
}

/** EXISTS. */
export function answerExists(item: usize, side: bool): void {
  const end = item + 8 + load<u32>(item, 4);
  let found = 0;
  for (let key = item + 8; key < end; key += 4 + pad4(load<u32>(key))) {
    if (lookUp(key + 4, load<u32>(key), side) != 0) found++;
  }
  replyBegin(itemSlot(item));
  replyInteger(found);
}

/** MGET. */
export function answerMget(item: usize, side: bool): void {
  const end = item + 8 + load<u32>(item, 4);
  replyBegin(itemSlot(item));
  putByte(91);
  for (let key = item + 8; key < end && !lineOver(); key += 4 + pad4(load<u32>(key))) {
    if (key != item + 8) putByte(KEY_SEPARATOR);
    const record = lookUp(key + 4, load<u32>(key), side);
    if (record == 0) putNull();
    else putJsonString(recValue(record), recValueLen(record));
  }
  putByte(93);
  lineEnd();
}

export function putNull(): void {
  putByte(NULL_TEXT & 0xff);
  putByte((NULL_TEXT >> 8) & 0xff);
  putByte((NULL_TEXT >> 16) & 0xff);
  putByte(NULL_TEXT >> 24);
}

/** Moves the gathered reads into flight; false when there are none, or others are in flight. */
export function sealReads(): bool {
  const list = load<u32>(F_GATHERING);
  if (list == 0 || load<u32>(F_FLIGHT) != 0) return false;
  // Only then somebody can wait for room in the batch.
  if (listBytes(F_GATHERING) >= MOST_ITEMS) connWakeWaiting();
  store<u32>(F_FLIGHT, list);
  store<u32>(F_FLIGHT_AT, list + LIST_HEADER);
  store<u32>(F_FLIGHT_KEYS, 0);
  store<u32>(F_GATHERING, 0);
  store<u32>(F_GATHERED, 0);
  return true;
}

/** Answers the batch in flight, slice by slice: false when there is more to do. */
export function evalReads(): bool {
  const list: usize = load<u32>(F_FLIGHT);
  if (list == 0) return true;
  sliceBegin();
  const end = listEnd(list);
  let lookups: u32 = 0;
  while (load<u32>(F_FLIGHT_AT) < <u32>end) {
    const from: usize = load<u32>(F_FLIGHT_AT);
    const to = touchGroup(from, end);
    lookups += answerGroup(from, to);
    if (lookups >= LOOKUPS || sliceFull()) return false;
  }
  if (load<u32>(F_FLIGHT_KEYS) != 0 && !evalKeys(list, end)) return false;
  store<u32>(F_FLIGHT, 0);
  give(<u32>list);
  return true;
}

/** Touches what the next items will read; returns the end of the group. */
function touchGroup(from: usize, end: usize): usize {
  let item = from;
  for (let i: u32 = 0; i < GROUP && item < end; i++) {
    const kind = itemKind(item);
    if (kind == ITEM_GET || kind == ITEM_TTL || kind == ITEM_PTTL) touch(<u32>item + 8, load<u32>(item, 4));
    else if (kind == ITEM_MGET || kind == ITEM_EXISTS) touchKeys(item + 8, item + 8 + load<u32>(item, 4));
    item += itemBytes(item);
  }
  return item;
}

function touchKeys(key: usize, end: usize): void {
  for (let i: u32 = 0; i < GROUP && key < end; i++) {
    touch(<u32>key + 4, load<u32>(key));
    key += 4 + pad4(load<u32>(key));
  }
}

/** Answers the items of a group; returns the keys looked up, about. */
function answerGroup(from: usize, to: usize): u32 {
  let lookups: u32 = 0;
  for (let item = from; item < to && !sliceFull(); ) {
    const bytes = itemBytes(item);
    lookups += 1 + (bytes >> 4);
    answerRead(item);
    item += bytes;
    store<u32>(F_FLIGHT_AT, <u32>item);
  }
  return lookups;
}

function answerRead(item: usize): void {
  const kind = itemKind(item);
  const slot = itemSlot(item);
  if (connClosed(slot)) {
    if (kind == ITEM_KEYS) itemKeysDone(item);
    return connAnswered(conn(slot));
  }
  if (kind == ITEM_MESSAGE || kind == ITEM_TEXT) return answerConstant(item);
  if (kind == ITEM_KEYS) return answerKeys(item);
  if (kind == ITEM_BEGIN) return answerBegin(slot);
  count(F_READS);
  if (kind == ITEM_GET) answerGet(item, false);
  else if (kind == ITEM_MGET) answerMget(item, false);
  else if (kind == ITEM_EXISTS) answerExists(item, false);
  else if (kind == ITEM_TTL || kind == ITEM_PTTL) answerTtl(item, false);
  else if (kind == ITEM_COUNT) {
    replyBegin(slot);
    replyInteger(publishedKeys());
  }
}

function answerBegin(slot: u32): void {
  const began = txnBegin(conn(slot));
  replyBegin(slot);
  if (began) replyOk();
  else replyMessage(MSG_OUT_OF_MEMORY);
}

/** KEYS: at its place when one slice is enough, else after all others. */
function answerKeys(item: usize): void {
  if (load<u32>(K_ITEM) == 0) {
    keysBegin(item);
    if (keysSlice()) return;
  }
  store<u32>(F_FLIGHT_KEYS, load<u32>(F_FLIGHT_KEYS) + 1);
}

function itemKeysDone(item: usize): void {
  store<u32>(item, itemSlot(item) | (ITEM_KEYS_DONE << 16));
}

/** Answers the items of the batch in flight that are still unanswered with an error; constants keep their reply. */
export function failReads(message: u32): void {
  const list: usize = load<u32>(F_FLIGHT);
  if (list == 0) return;
  keysDrop();
  const end = listEnd(list);
  const reached: usize = load<u32>(F_FLIGHT_AT);
  for (let item = list + LIST_HEADER; item < end; item += itemBytes(item)) {
    if (item >= reached || itemKind(item) == ITEM_KEYS) answerWith(item, message, message);
  }
  store<u32>(F_FLIGHT, 0);
  give(<u32>list);
}

// ---- KEYS

/** Carries out the KEYS of the batch one after the other; false when there is more to do. */
function evalKeys(list: usize, end: usize): bool {
  if (load<u32>(K_ITEM) != 0) {
    if (!keysSlice()) return false;
  }
  for (let item = list + LIST_HEADER; item < end; item += itemBytes(item)) {
    if (itemKind(item) != ITEM_KEYS) continue;
    keysBegin(item);
    if (!keysSlice() || sliceFull()) return false;
  }
  return true;
}

function keysBegin(item: usize): void {
  memory.fill(F_KEYS, 0, K_TIME + 8 - F_KEYS);
  store<u32>(K_ITEM, <u32>item);
  store<u64>(K_REVISION, pin());
  store<u64>(K_TIME, publishedTime());
}

/** Gives up what the KEYS under way holds; as long as it is not answered, `evalReads` begins it again. False: there is none. */
export function keysDrop(): bool {
  if (load<u32>(K_ITEM) == 0) return false;
  unpin(load<u64>(K_REVISION));
  if (load<u32>(K_HEAP) != 0) give(load<u32>(K_HEAP));
  if (load<u32>(K_REPLY) != 0) give(load<u32>(K_REPLY));
  memory.fill(F_KEYS, 0, K_TIME + 8 - F_KEYS);
  return true;
}

/** A slice of the KEYS under way; true when it is answered. */
function keysSlice(): bool {
  const item: usize = load<u32>(K_ITEM);
  let enough: bool = true;
  if (connClosed(itemSlot(item))) return keysAnswer(item, true);
  if (load<u32>(K_STEP) == STEP_SCAN) {
    enough = keysScan(item);
    if (enough && load<u64>(K_CURSOR) < SCAN_END) return false;
    store<u32>(K_DONE, load<u32>(K_COUNT));
    store<u32>(K_STEP, STEP_SORT);
  }
  if (enough && load<u32>(K_STEP) == STEP_SORT) {
    keysSort();
    if (load<u32>(K_DONE) > 0) return false;
    store<u32>(K_STEP, STEP_WRITE);
  }
  if (enough && load<u32>(K_STEP) == STEP_WRITE) {
    enough = keysWrite();
    const over = load<u32>(K_REPLY_BYTES) > load<u32>(F_MAX_REPLY);
    if (enough && !over && load<u32>(K_DONE) < load<u32>(K_COUNT)) return false;
  }
  return keysAnswer(item, enough);
}

/** Ends the KEYS under way with its reply, or for lack of memory with an error. */
function keysAnswer(item: usize, enough: bool): bool {
  const slot = itemSlot(item);
  count(F_READS);
  itemKeysDone(item);
  replyBegin(slot);
  if (enough) {
    putByte(91);
    if (load<u32>(K_REPLY) != 0) putText(load<u32>(K_REPLY), load<u32>(K_REPLY_BYTES));
    putByte(93);
    lineEnd();
  } else {
    replyMessage(MSG_OUT_OF_MEMORY);
  }
  keysDrop();
  return true;
}

/** Goes through a share of the records; false when the heap cannot grow. */
function keysScan(item: usize): bool {
  const prefixLength = load<u32>(item, 8);
  for (let i: u32 = 0; i < SCANS && load<u64>(K_CURSOR) < SCAN_END; i++) {
    const found = scanSome(<u32>K_CURSOR, load<u64>(K_REVISION), load<u64>(K_TIME));
    for (let n: u32 = 0; n < found; n++) {
      const record = load<u32>(SCAN_BASE + (n << 2));
      if (recKeyLen(record) < prefixLength || !equal(recKey(record), <u32>item + 12, prefixLength)) continue;
      if (!heapOffer(record, prefixLength, load<u32>(item, 4))) return false;
    }
  }
  return true;
}

/** The 8 bytes of a key behind its first `skip` ones, as a number that sorts like them. */
function keyHead(record: u32, skip: u32): u64 {
  const length = recKeyLen(record) - skip;
  const key = recKey(record) + skip;
  if (length >= 8) return bswap(load<u64>(key));
  let head: u64 = 0;
  for (let i: u32 = 0; i < length; i++) head |= (<u64>load<u8>(key + i)) << (56 - ((<u64>i) << 3));
  return head;
}

// @ts-ignore: decorator
@inline
function heapAt(i: u32): usize {
  return load<u32>(K_HEAP) + i * ELEMENT;
}

/** Offers a record to the heap of the smallest; false when the heap cannot grow. */
function heapOffer(record: u32, skip: u32, limit: u32): bool {
  const n = load<u32>(K_COUNT);
  const head = keyHead(record, skip);
  if (n == limit) {
    if (before(head, record, heapAt(0))) heapSink(0, n, head, record);
    return true;
  }
  if (n == load<u32>(K_ROOM) && !heapGrow(n, limit)) return false;
  store<u32>(K_COUNT, n + 1);
  let i = n;
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (!after(head, record, heapAt(parent))) break;
    memory.copy(heapAt(i), heapAt(parent), ELEMENT);
    i = parent;
  }
  heapPut(i, head, record);
  return true;
}

function heapGrow(n: u32, limit: u32): bool {
  const room = min(max(n * 2, 256), limit);
  const heap = take(room * ELEMENT);
  if (heap == 0) return false;
  if (n != 0) {
    memory.copy(heap, load<u32>(K_HEAP), n * ELEMENT);
    give(load<u32>(K_HEAP));
  }
  store<u32>(K_HEAP, heap);
  store<u32>(K_ROOM, room);
  return true;
}

function heapPut(i: u32, head: u64, record: u32): void {
  store<u64>(heapAt(i), head);
  store<u32>(heapAt(i), record, 8);
}

/** Puts an element where the one at `hole` was, in a heap of `n`, and lets it sink to its place. */
function heapSink(hole: u32, n: u32, head: u64, record: u32): void {
  let i = hole;
  while (true) {
    let child: u32 = 2 * i + 1;
    if (child >= n) break;
    if (child + 1 < n && after(load<u64>(heapAt(child + 1)), load<u32>(heapAt(child + 1), 8), heapAt(child))) child++;
    if (!before(head, record, heapAt(child))) break;
    memory.copy(heapAt(i), heapAt(child), ELEMENT);
    i = child;
  }
  heapPut(i, head, record);
}

function before(head: u64, record: u32, element: usize): bool {
  const other = load<u64>(element);
  return head != other ? head < other : compareKeys(record, load<u32>(element, 8)) < 0;
}

function after(head: u64, record: u32, element: usize): bool {
  const other = load<u64>(element);
  return head != other ? head > other : compareKeys(record, load<u32>(element, 8)) > 0;
}

/** Sorts some more: the largest of the heap's first K_DONE elements goes to their end. */
function keysSort(): void {
  let left = load<u32>(K_DONE);
  for (let i: u32 = 0; i < SORTED && left > 0; i++) {
    left--;
    const head = load<u64>(heapAt(left));
    const record = load<u32>(heapAt(left), 8);
    memory.copy(heapAt(left), heapAt(0), ELEMENT);
    if (left > 0) heapSink(0, left, head, record);
  }
  store<u32>(K_DONE, left);
}

/** Writes some more of the reply; false when its buffer cannot grow. */
function keysWrite(): bool {
  const n = load<u32>(K_COUNT);
  let i = load<u32>(K_DONE);
  replyNow(TEXT);
  for (let written: u32 = 0; written < WRITTEN && i < n && !lineOver(); written++, i++) {
    if (i > 0) putByte(KEY_SEPARATOR);
    const record = load<u32>(heapAt(i), 8);
    putJsonString(recKey(record), recKeyLen(record));
  }
  store<u32>(K_DONE, i);
  const from = textStart();
  const kept = replyKeep(from, <u32>(outputAt() - from));
  textDrop();
  return kept;
}

/** Appends to the reply's own buffer. */
function replyKeep(from: usize, bytes: u32): bool {
  const used = load<u32>(K_REPLY_BYTES);
  if (used + bytes > load<u32>(K_REPLY_ROOM)) {
    const room = (used + bytes) * 2;
    const reply = take(room + SLACK);
    if (reply == 0) return false;
    if (used != 0) {
      memory.copy(reply, load<u32>(K_REPLY), used);
      give(load<u32>(K_REPLY));
    }
    store<u32>(K_REPLY, reply);
    store<u32>(K_REPLY_ROOM, room);
  }
  memory.copy(load<u32>(K_REPLY) + used, from, bytes);
  store<u32>(K_REPLY_BYTES, used + bytes);
  return true;
}
