/**
 * Output: replies and events in the order in which they arose, in a chain of blocks that the host walks and frees.
 *
 * ```
 * block:   0  u32  next block (0: last)    4  u32  address behind its last byte    8  u32  bytes    12  u32  0
 *         16  records, each beginning at a multiple of 4:
 *               0  u32  slot | kind << 16 (kind 0: replies; else the event's number)
 *               4  u32  bytes that follow
 *               8  replies, whole lines; or the event's argument, u64
 *
 * F_OUT, a chain being filled:
 *    0  u32  block being filled (0: none)    4  u32  first block
 *    8  u32  place of the next byte         12  u32  end of what may be written
 *   16  u32  record of the last reply, if more may join it         20  u32  bytes in the filled blocks
 * F_OUT, the line begun, and the rest:
 *   24  u32  start of the line              28  u32  its slot        32  u32  1: it answers an item
 *   36  u32  start of what must stay in one piece                   40  u32  block handed to the host
 *   44  u32  bytes when the slice began     48  u32  1: `apply` writes, into its own chain
 * F_OUT_OTHER: the chain that is not being filled
 * ```
 *
 * Nobody may learn of a write that others cannot read yet. So what `apply` writes goes into a chain of its own, which is
 * appended to the other one when the state is published (`outputRelease`); only then the items count as answered.
 *
 * A line is begun, written piece by piece and ended; only then its length is judged: a reply over the limit is replaced by
 * an error. Replies for the same slot that follow one another share a record. Lines of three slots that are nobody's:
 * NOBODY is not written at all, TEXT is a line that moves into an item, RESULT belongs to the reply of `run`.
 *
 * Invariant: a line never lies in two blocks; when a block is full, the line begun moves to the next one.
 */
import { alloc, free } from './alloc';
import { connClosed, connReplied, connReuse } from './conn';
import { copyLoose, F_MAX_REPLY, F_OUT, F_OUT_OTHER, FAIL_OUTPUT } from './front';
import { putJsonString } from './json';
import { check } from './memory';
import { MSG_NIL, MSG_OK, MSG_REPLY_TOO_LONG } from './messages';
import { messageLength, messageText } from './text';
import { findNewline, putDecimal } from './words';

export const NOBODY: u32 = 0xffffffff;
export const RESULT: u32 = 0xfffffffe;
export const TEXT: u32 = 0xfffffffd;
export const LAST_SLOT: u32 = 65534;

export const EVENT_CONTROL: u32 = 1;
export const EVENT_CLOSE: u32 = 2;
export const EVENT_HOLD: u32 = 3;
export const EVENT_UNHOLD: u32 = 4;
export const EVENT_APPLIED: u32 = 5;
export const EVENT_GAP: u32 = 6;

const BLOCK_HEADER: u32 = 16;
/** Bytes behind the end of a block's records that loose copies may touch. */
const SLACK: u32 = 32;
const FIRST_BLOCK: u32 = 32_000;
const LARGEST_BLOCK: u32 = 1 << 20;
/** A call that has produced this much ends its slice, so that the host can hand it out. */
const ENOUGH: u32 = 4 << 20;

const O_BLOCK: usize = F_OUT;
const O_FIRST: usize = F_OUT + 4;
const O_AT: usize = F_OUT + 8;
const O_END: usize = F_OUT + 12;
const O_RECORD: usize = F_OUT + 16;
const O_FILLED: usize = F_OUT + 20;
const CHAIN_BYTES: u32 = 24;
const O_LINE: usize = F_OUT + 24;
const O_SLOT: usize = F_OUT + 28;
const O_ANSWERS: usize = F_OUT + 32;
const O_KEEP: usize = F_OUT + 36;
const O_HANDED: usize = F_OUT + 40;
const O_MARK: usize = F_OUT + 44;
const O_APPLYING: usize = F_OUT + 48;

// @ts-ignore: decorator
@inline
function blockBytes(block: usize): u32 {
  return load<u32>(block, 8);
}

/** Appends an empty block with room for `room` bytes of records and makes it the one being filled. */
function addBlock(room: u32): void {
  const old: usize = load<u32>(O_BLOCK);
  const usual = old == 0 ? FIRST_BLOCK : min(blockBytes(old) * 2, LARGEST_BLOCK);
  const bytes = max(usual, room + BLOCK_HEADER + SLACK);
  const block: usize = alloc(bytes);
  check(block != 0, FAIL_OUTPUT);
  store<u32>(block, 0);
  store<u32>(block, bytes, 8);
  store<u32>(block, 0, 12);
  if (old == 0) store<u32>(O_FIRST, <u32>block);
  else store<u32>(old, <u32>block);
  store<u32>(O_BLOCK, <u32>block);
  store<u32>(O_AT, <u32>block + BLOCK_HEADER);
  store<u32>(O_END, <u32>block + bytes - SLACK);
  store<u32>(O_RECORD, 0);
}

/** Ends the block being filled at `at`. */
function endBlock(block: usize, at: u32): void {
  store<u32>(block, at, 4);
  store<u32>(O_FILLED, load<u32>(O_FILLED) + at - <u32>block);
}

/** Makes room for `n` more bytes: a new block, into which what must stay in one piece moves. */
function grow(n: u32): void {
  const old: usize = load<u32>(O_BLOCK);
  if (old == 0) return addBlock(n + 8);
  const keep = load<u32>(O_KEEP);
  if (keep == 0) {
    endBlock(old, load<u32>(O_AT));
    return addBlock(n + 8);
  }
  const kept = load<u32>(O_AT) - keep;
  const lineAt = load<u32>(O_LINE) - keep;
  endBlock(old, keep);
  addBlock(8 + (kept + n) * 2);
  const record: usize = load<u32>(O_AT);
  store<u32>(record, load<u32>(O_SLOT) & 0xffff);
  store<u32>(record, 0, 4);
  store<u32>(O_RECORD, <u32>record);
  memory.copy(record + 8, keep, kept);
  store<u32>(O_KEEP, <u32>record + 8);
  store<u32>(O_LINE, <u32>record + 8 + lineAt);
  store<u32>(O_AT, <u32>record + 8 + kept);
  if (keep == <u32>old + BLOCK_HEADER + 8) dropBefore(old);
}

/** Frees a block that held nothing but the beginning of a line that has moved on: it is last but one in the chain. */
function dropBefore(block: usize): void {
  store<u32>(O_FILLED, load<u32>(O_FILLED) - (load<u32>(block, 4) - <u32>block));
  if (load<u32>(O_FIRST) == <u32>block) {
    store<u32>(O_FIRST, load<u32>(block));
    free(<u32>block);
  } else {
    store<u32>(block, <u32>block + BLOCK_HEADER, 4);
  }
}

/** The place of the next byte, with room for `n` bytes and slack behind it. */
// @ts-ignore: decorator
@inline
export function reserve(n: u32): usize {
  if (load<u32>(O_AT) + n > load<u32>(O_END)) grow(n);
  return load<u32>(O_AT);
}

/** The place of the next byte. */
// @ts-ignore: decorator
@inline
export function outputAt(): usize {
  return load<u32>(O_AT);
}

/** What was reserved is written up to `at`. */
// @ts-ignore: decorator
@inline
export function wrote(at: usize): void {
  store<u32>(O_AT, <u32>at);
}

// @ts-ignore: decorator
@inline
function beginLine(slot: u32, answers: u32): void {
  store<u32>(O_SLOT, slot);
  store<u32>(O_ANSWERS, answers);
  if (slot == NOBODY) return;
  if (slot == RESULT) {
    store<u32>(O_LINE, load<u32>(O_AT));
    return;
  }
  const record: usize = load<u32>(O_RECORD);
  if (load<u32>(O_AT) + 64 > load<u32>(O_END)) grow(64);
  else if (record != 0 && load<u32>(record) == (slot & 0xffff) && slot <= LAST_SLOT) {
    store<u32>(O_LINE, load<u32>(O_AT));
    store<u32>(O_KEEP, load<u32>(O_AT));
    return;
  }
  beginRecord(slot & 0xffff);
  store<u32>(O_LINE, load<u32>(O_AT));
  store<u32>(O_KEEP, load<u32>(O_AT));
}

function beginRecord(tag: u32): void {
  const at: usize = (load<u32>(O_AT) + 3) & ~3;
  store<u32>(at, tag);
  store<u32>(at, 0, 4);
  store<u32>(O_RECORD, <u32>at);
  store<u32>(O_AT, <u32>at + 8);
}

/** Begins the reply to an item of this connection. */
export function replyBegin(slot: u32): void {
  beginLine(slot, 1);
}

/** Begins a reply that is given at once, to a command that never became an item. */
export function replyNow(slot: u32): void {
  beginLine(slot, 0);
}

/** Whether the line begun is written at all. */
// @ts-ignore: decorator
@inline
export function lineWanted(): bool {
  return load<u32>(O_SLOT) != NOBODY;
}

/** The line is over its limit already: what else is written will be thrown away. */
export function lineOver(): bool {
  return load<u32>(O_AT) - load<u32>(O_LINE) > load<u32>(F_MAX_REPLY);
}

/** Ends the line: judges its length, adds the newline, and settles the account of the connection. */
export function lineEnd(): void {
  const slot = load<u32>(O_SLOT);
  if (slot == NOBODY) return;
  if (lineOver()) {
    store<u32>(O_AT, load<u32>(O_LINE));
    putText(messageText(MSG_REPLY_TOO_LONG), messageLength(MSG_REPLY_TOO_LONG));
  }
  putByte(10);
  if (slot == RESULT) return;
  store<u32>(O_KEEP, 0);
  if (slot > LAST_SLOT) return;
  const bytes = load<u32>(O_AT) - load<u32>(O_LINE) - 1;
  const record: usize = load<u32>(O_RECORD);
  const applying = load<u32>(O_APPLYING) != 0;
  if (connClosed(slot) && !applying) store<u32>(O_AT, load<u32>(O_LINE));
  else store<u32>(record, load<u32>(O_AT) - <u32>record - 8, 4);
  if (load<u32>(O_ANSWERS) != 0 && !applying) connReplied(slot, bytes);
}

/** Start of the line that was written for slot TEXT; its bytes end at `outputAt`. */
export function textStart(): usize {
  return load<u32>(O_LINE);
}

/** Takes the line for slot TEXT out of the output again. */
export function textDrop(): void {
  store<u32>(O_AT, load<u32>(O_LINE) - 8);
  store<u32>(O_RECORD, 0);
  store<u32>(O_KEEP, 0);
}

/** Begins the reply of `run`: all its lines stay in one piece. */
export function resultBegin(): void {
  store<u32>(O_SLOT, RESULT);
  if (load<u32>(O_AT) + 64 > load<u32>(O_END)) grow(64);
  beginRecord(RESULT & 0xffff);
  store<u32>(O_KEEP, load<u32>(O_AT));
}

/** Whole reply of `run` so far: where it starts. It ends at `outputAt`. */
export function resultStart(): usize {
  const record: usize = load<u32>(O_RECORD);
  return record + 8;
}

/** Takes the reply of `run` out of the output; its bytes stay until something else is written. */
export function resultDrop(start: usize): void {
  store<u32>(O_AT, <u32>start - 8);
  store<u32>(O_RECORD, 0);
  store<u32>(O_KEEP, 0);
}

export function putByte(byte: u32): void {
  const at = reserve(1);
  store<u8>(at, byte);
  wrote(at + 1);
}

/** Copies bytes of a line or of the text blob. */
export function putText(p: usize, length: u32): void {
  const at = reserve(length);
  copyLoose(at, p, length);
  wrote(at + length);
}

/** Writes a number in decimal. */
export function putInteger(n: i64): void {
  wrote(putDecimal(reserve(20), n));
}

/** Length of the part of a message before its parameter `mark` (1: word, 2: number). */
function beforeMark(text: usize, length: u32, mark: u32): u32 {
  let at: u32 = 0;
  while (at < length && load<u8>(text + at) != mark) at++;
  return at;
}

/** Writes a constant message, without parameters. */
export function putMessage(id: u32): void {
  putText(messageText(id), messageLength(id));
}

/** Writes a message whose parameter is a word: as a JSON string of its first 64 bytes. */
export function putMessageWord(id: u32, p: usize, length: u32): void {
  const text = messageText(id);
  const whole = messageLength(id);
  const before = beforeMark(text, whole, 1);
  putText(text, before);
  putJsonString(p, min(length, 64));
  if (length > 64) {
    const at = reserve(4);
    store<u32>(at - 1, 0x222e2e2e);
    wrote(at + 3);
  }
  if (before < whole) putText(text + before + 1, whole - before - 1);
}

/** Writes a message whose parameter is a number. */
export function putMessageNumber(id: u32, n: u64): void {
  const text = messageText(id);
  const whole = messageLength(id);
  const before = beforeMark(text, whole, 2);
  putText(text, before);
  putInteger(n);
  if (before < whole) putText(text + before + 1, whole - before - 1);
}

/** Whole lines, after `replyBegin`. */
export function replyOk(): void {
  if (lineWanted()) putMessage(MSG_OK);
  lineEnd();
}

export function replyNil(): void {
  if (lineWanted()) putMessage(MSG_NIL);
  lineEnd();
}

export function replyMessage(id: u32): void {
  if (lineWanted()) putMessage(id);
  lineEnd();
}

export function replyMessageWord(id: u32, p: usize, length: u32): void {
  if (lineWanted()) putMessageWord(id, p, length);
  lineEnd();
}

export function replyMessageNumber(id: u32, n: u64): void {
  if (lineWanted()) putMessageNumber(id, n);
  lineEnd();
}

/** `(integer) n` */
export function replyInteger(n: i64): void {
  if (lineWanted()) {
    const at = reserve(10);
    store<u64>(at, 0x72656765746e6928);
    store<u16>(at, 0x2029, 8);
    wrote(at + 10);
    putInteger(n);
  }
  lineEnd();
}

export function replyString(p: usize, length: u32): void {
  if (lineWanted()) putJsonString(p, length);
  lineEnd();
}

/** Queues an event for the host. */
export function emit(event: u32, slot: u32, arg: u64): void {
  if (load<u32>(O_AT) + 32 > load<u32>(O_END)) grow(32);
  beginRecord(slot | (event << 16));
  const record: usize = load<u32>(O_RECORD);
  store<u32>(record, 8, 4);
  store<u64>(record + 8, arg);
  store<u32>(O_AT, <u32>record + 16);
  store<u32>(O_RECORD, 0);
}

/** Bytes that wait for the host. */
export function outputBytes(): u32 {
  const block = load<u32>(O_BLOCK);
  return block == 0 ? 0 : load<u32>(O_FILLED) + load<u32>(O_AT) - block;
}

/** So much waits for the host that nothing more should be parsed before it has been handed out. */
export function outputFull(): bool {
  return outputBytes() >= ENOUGH;
}

/** Begins a slice: `sliceFull` counts from here. */
export function sliceBegin(): void {
  store<u32>(O_MARK, outputBytes());
}

/** The slice has produced enough: the call should end and be made again. */
export function sliceFull(): bool {
  return outputBytes() - load<u32>(O_MARK) >= ENOUGH;
}

/** Changes to the other chain and back. */
function changeChain(applying: u32): void {
  for (let i: u32 = 0; i < CHAIN_BYTES; i += 8) {
    const word = load<u64>(F_OUT + i);
    store<u64>(F_OUT + i, load<u64>(F_OUT_OTHER + i));
    store<u64>(F_OUT_OTHER + i, word);
  }
  store<u32>(O_APPLYING, applying);
}

/** What is written from now on waits for `outputRelease`. */
export function outputApplying(): void {
  changeChain(1);
}

/** The end of what `outputApplying` began. */
export function outputApplied(): void {
  changeChain(0);
}

/** Whether something waits for `outputRelease`. */
export function outputWaiting(): bool {
  return load<u32>(F_OUT_OTHER) != 0;
}

/** The state is published: appends the chain of `apply` to the other one, and counts its lines as answers. */
export function outputRelease(): void {
  let block: usize = load<u32>(F_OUT_OTHER + 4);
  if (block == 0) return;
  const last: usize = load<u32>(F_OUT_OTHER);
  const end = load<u32>(F_OUT_OTHER + 8);
  const old: usize = load<u32>(O_BLOCK);
  if (old != 0) {
    endBlock(old, load<u32>(O_AT));
    store<u32>(old, <u32>block);
    store<u32>(F_OUT_OTHER + 20, load<u32>(F_OUT_OTHER + 20) + load<u32>(O_FILLED));
    store<u32>(F_OUT_OTHER + 4, load<u32>(O_FIRST));
  }
  memory.copy(F_OUT, F_OUT_OTHER, CHAIN_BYTES);
  memory.fill(F_OUT_OTHER, 0, CHAIN_BYTES);
  while (true) {
    const next: usize = load<u32>(block);
    countAnswers(block + BLOCK_HEADER, block == last ? end : load<u32>(block, 4));
    if (block == last) return;
    block = next;
  }
}

/** Counts the lines of a block's replies as answers. */
function countAnswers(at: usize, end: usize): void {
  while (at + 8 <= end) {
    const tag = load<u32>(at);
    const stop = at + 8 + load<u32>(at, 4);
    for (let line = at + 8; tag <= LAST_SLOT && line < stop; ) {
      const newline = findNewline(line, stop);
      connReplied(tag, <u32>(newline - line));
      line = newline + 1;
    }
    at = (stop + 3) & ~3;
  }
}

/** True when nothing waits for the host and nothing is being handed out. */
export function outputIdle(): bool {
  return load<u32>(O_BLOCK) == 0 && load<u32>(O_HANDED) == 0 && !outputWaiting();
}

/** Frees the block handed out last and returns the next one that waits, or 0. What arises meanwhile fills other blocks. */
export function outputNext(): u32 {
  const handed: usize = load<u32>(O_HANDED);
  let next: u32 = 0;
  if (handed != 0) {
    next = load<u32>(handed);
    free(<u32>handed);
  }
  if (next == 0 && load<u32>(O_BLOCK) != 0) {
    endBlock(load<u32>(O_BLOCK), load<u32>(O_AT));
    next = load<u32>(O_FIRST);
    store<u32>(O_BLOCK, 0);
    store<u32>(O_FIRST, 0);
    store<u32>(O_AT, 0);
    store<u32>(O_END, 0);
    store<u32>(O_RECORD, 0);
    store<u32>(O_FILLED, 0);
  }
  store<u32>(O_HANDED, next);
  if (next == 0) connReuse();
  return next;
}
