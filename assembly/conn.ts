/**
 * Connections: one record of 128 bytes for each slot, from CONN_BASE on.
 *
 * ```
 *  0  u32  flags
 *  4  u32  cause of being held
 *  8  u32  unanswered items
 * 12  u32  window
 * 16  u32  longest reply since it was idle, bytes
 * 20  u32  transaction (0: none)
 * 24  u32  held input: its buffer (0: none)
 * 28  u32  first byte of it that is not yet parsed
 * 32  u32  end of it
 * 36  u32  bytes that fit in the buffer
 * 40  u32  next slot of its list, + 1
 * 48  u64  number of its session (0: none)
 * ```
 *
 * A connection is idle when nothing of it is unanswered, else reading or writing (src/store/store.ts, "Connections").
 * Input that cannot be parsed now stays in its buffer with the cause; when the cause is gone the connection goes into the
 * ready list and the next `ingest` goes on with it. Connections that wait for room (in the open entry or the gathering
 * batch) stand in the waiting list, which `seal` and `sealReads` turn into ready ones.
 *
 * Invariants: a connection is in at most one list; held input is not empty while there is a cause, unless a line that was
 * too long or cut waits for its place; a slot is free for reuse only when nothing of it is unanswered, staged or handed out.
 */
import { give, take } from './heap';
import {
  F_FREE,
  F_LIMBO,
  F_READY_FIRST,
  F_READY_LAST,
  F_SLOTS,
  F_STAGED,
  F_WAITING_FIRST,
  F_WAITING_LAST,
  FAIL_CONNECTION,
} from './front';
import { CONN_BASE } from './layout';
import { check } from './memory';
import { EVENT_CLOSE, EVENT_HOLD, EVENT_UNHOLD, emit, outputIdle } from './output';
import { txnDrop } from './txn';

export const SLOTS: u32 = 65535;
export const CONN_SHIFT: u32 = 7;
export const C_FLAGS: usize = 0;
export const C_CAUSE: usize = 4;
export const C_UNANSWERED: usize = 8;
export const C_WINDOW: usize = 12;
export const C_LONGEST: usize = 16;
export const C_TXN: usize = 20;
export const C_HELD: usize = 24;
export const C_HELD_FROM: usize = 28;
export const C_HELD_END: usize = 32;
export const C_HELD_ROOM: usize = 36;
export const C_NEXT: usize = 40;
export const C_SESSION: usize = 48;

export const IS_OPEN: u32 = 1;
/** The client is gone: replies are discarded. */
export const IS_CLOSED: u32 = 2;
/** Unanswered items are reads of the gathering batch or the one in flight. */
export const IS_READING: u32 = 4;
/** Unanswered items belong to the open entry or to sealed ones. */
export const IS_WRITING: u32 = 8;
/** The one unanswered item is a BEGIN, KEYS or SESSION: nothing is parsed before it is answered. */
export const IS_BARRIER: u32 = 16;
/** A control command waits for `release`. */
export const IS_CONTROL: u32 = 32;
export const IS_PAUSED: u32 = 64;
/** The client has sent FIN. */
export const IS_FINISHED: u32 = 128;
/** A line was too long: its error has yet to find its place. */
export const IS_OVERLONG: u32 = 256;
/** Input is over: a line was too long, or the last one was cut, and its error has its place. */
export const IS_OVER: u32 = 512;
export const IS_CLOSING: u32 = 1024;
/** `hold` was emitted and not yet taken back. */
export const IS_HELD: u32 = 2048;
/** In the ready list or the waiting list. */
export const IS_LISTED: u32 = 4096;
/** Its transaction was idle for too long; COMMIT or ROLLBACK ends this. */
export const IS_EXPIRED: u32 = 8192;

export const CAUSE_NONE: u32 = 0;
/** Until nothing of it is unanswered. */
export const CAUSE_IDLE: u32 = 1;
/** Until fewer of its commands are unanswered. */
export const CAUSE_WINDOW: u32 = 2;
export const CAUSE_PAUSE: u32 = 3;
export const CAUSE_CONTROL: u32 = 4;
/** Until the open entry is sealed. */
export const CAUSE_ENTRY: u32 = 5;
/** Until the gathered reads are sealed. */
export const CAUSE_READS: u32 = 6;
/** Until the next `ingest`: output waits to be handed out, or a buffer could not grow. */
export const CAUSE_AGAIN: u32 = 7;

const FIRST_WINDOW: u32 = 128;
const WINDOW_BYTES: u32 = 8 << 20;
const LEAST_WINDOW: u32 = 16;
const LARGEST_WINDOW: u32 = 4096;
/** Lines are read 16 bytes at a time. */
const SLACK: u32 = 16;
const LARGEST_HELD: u32 = (64 << 20) - 64;

// @ts-ignore: decorator
@inline
export function conn(slot: u32): usize {
  return CONN_BASE + (slot << CONN_SHIFT);
}

// @ts-ignore: decorator
@inline
export function connSlot(c: usize): u32 {
  return (<u32>c - CONN_BASE) >> CONN_SHIFT;
}

// @ts-ignore: decorator
@inline
export function connFlags(c: usize): u32 {
  return load<u32>(c, C_FLAGS);
}

// @ts-ignore: decorator
@inline
export function connSet(c: usize, flags: u32): void {
  store<u32>(c, load<u32>(c, C_FLAGS) | flags, C_FLAGS);
}

// @ts-ignore: decorator
@inline
export function connClear(c: usize, flags: u32): void {
  store<u32>(c, load<u32>(c, C_FLAGS) & ~flags, C_FLAGS);
}

// @ts-ignore: decorator
@inline
export function connCause(c: usize): u32 {
  return load<u32>(c, C_CAUSE);
}

// @ts-ignore: decorator
@inline
export function connUnanswered(c: usize): u32 {
  return load<u32>(c, C_UNANSWERED);
}

// @ts-ignore: decorator
@inline
export function connTxn(c: usize): usize {
  return load<u32>(c, C_TXN);
}

// @ts-ignore: decorator
@inline
export function connSetTxn(c: usize, txn: usize): void {
  store<u32>(c, <u32>txn, C_TXN);
}

// @ts-ignore: decorator
@inline
export function connSession(c: usize): u64 {
  return load<u64>(c, C_SESSION);
}

// @ts-ignore: decorator
@inline
export function connSetSession(c: usize, number: u64): void {
  store<u64>(c, number, C_SESSION);
}

// @ts-ignore: decorator
@inline
export function connClosed(slot: u32): bool {
  return (load<u32>(conn(slot), C_FLAGS) & IS_CLOSED) != 0;
}

/** Nothing of the connection is under way. */
// @ts-ignore: decorator
@inline
export function connIdle(c: usize): bool {
  return load<u32>(c, C_UNANSWERED) == 0;
}

/** Counts an item that joined the gathering reads (`IS_READING`) or an entry (`IS_WRITING`). */
// @ts-ignore: decorator
@inline
export function connJoined(c: usize, mode: u32): void {
  store<u32>(c, load<u32>(c, C_FLAGS) | mode, C_FLAGS);
  store<u32>(c, load<u32>(c, C_UNANSWERED) + 1, C_UNANSWERED);
}

/** Held input that has not been parsed. */
// @ts-ignore: decorator
@inline
export function heldBytes(c: usize): u32 {
  return load<u32>(c, C_HELD_END) - load<u32>(c, C_HELD_FROM);
}

/** Address of the first held byte. */
export function heldAt(c: usize): usize {
  return load<u32>(c, C_HELD) + load<u32>(c, C_HELD_FROM);
}

export function heldEnd(c: usize): usize {
  return load<u32>(c, C_HELD) + load<u32>(c, C_HELD_END);
}

/** Held input up to `at` has been parsed; the buffer goes when that was all. */
export function heldTake(c: usize, at: usize): void {
  const start = <u32>at - load<u32>(c, C_HELD);
  store<u32>(c, start, C_HELD_FROM);
  if (start == load<u32>(c, C_HELD_END)) heldDrop(c);
}

export function heldDrop(c: usize): void {
  if (load<u32>(c, C_HELD) != 0) give(load<u32>(c, C_HELD));
  store<u32>(c, 0, C_HELD);
  store<u32>(c, 0, C_HELD_FROM);
  store<u32>(c, 0, C_HELD_END);
  store<u32>(c, 0, C_HELD_ROOM);
}

/**
 * Appends input; false when there is no memory for it. What has been parsed is thrown out once it is half of the buffer,
 * else the buffer doubles: each byte moves a bounded number of times.
 */
export function heldAppend(c: usize, p: usize, n: u32): bool {
  if (n == 0) return true;
  const end = load<u32>(c, C_HELD_END);
  if (end + n > load<u32>(c, C_HELD_ROOM) && !heldRoom(c, n)) return false;
  memory.copy(load<u32>(c, C_HELD) + load<u32>(c, C_HELD_END), p, n);
  store<u32>(c, load<u32>(c, C_HELD_END) + n, C_HELD_END);
  return true;
}

function heldRoom(c: usize, n: u32): bool {
  const old = load<u32>(c, C_HELD);
  const start = load<u32>(c, C_HELD_FROM);
  const bytes = heldBytes(c);
  let buffer = old;
  if (bytes + n > load<u32>(c, C_HELD_ROOM) || start < bytes) {
    if (n > LARGEST_HELD - bytes) return false;
    const capacity = min(max((bytes + n) * 2, 256), LARGEST_HELD);
    buffer = take(capacity + SLACK);
    if (buffer == 0) return false;
    store<u32>(c, capacity, C_HELD_ROOM);
  }
  memory.copy(buffer, old + start, bytes);
  if (buffer != old && old != 0) give(old);
  store<u32>(c, buffer, C_HELD);
  store<u32>(c, 0, C_HELD_FROM);
  store<u32>(c, bytes, C_HELD_END);
  return true;
}

/** A new connection's slot, or -1. */
export function connOpen(): i32 {
  let slot: u32;
  const first = load<u32>(F_FREE);
  if (first != 0) {
    slot = first - 1;
    store<u32>(F_FREE, load<u32>(conn(slot), C_NEXT));
  } else {
    slot = load<u32>(F_SLOTS);
    if (slot == SLOTS) return -1;
    store<u32>(F_SLOTS, slot + 1);
  }
  const c = conn(slot);
  memory.fill(c, 0, 1 << CONN_SHIFT);
  store<u32>(c, IS_OPEN, C_FLAGS);
  store<u32>(c, FIRST_WINDOW, C_WINDOW);
  return slot;
}

export function connClose(slot: u32): void {
  const c = conn(slot);
  check((connFlags(c) & (IS_OPEN | IS_CLOSED)) == IS_OPEN, FAIL_CONNECTION);
  connSet(c, IS_CLOSED);
  connClear(c, IS_CONTROL);
  store<u32>(c, CAUSE_NONE, C_CAUSE);
  heldDrop(c);
  if (connTxn(c) != 0) txnDrop(c);
  connRetire(c);
}

/** The slot of a closed connection goes to those that wait for reuse once nothing of it is left in an item or a list. */
export function connRetire(c: usize): void {
  if ((connFlags(c) & (IS_CLOSED | IS_LISTED)) != IS_CLOSED || !connIdle(c)) return;
  store<u32>(c, 0, C_FLAGS);
  store<u32>(c, load<u32>(F_LIMBO), C_NEXT);
  store<u32>(F_LIMBO, connSlot(c) + 1);
  connReuse();
}

/** Frees the slots of closed connections, unless bytes for or from one of them may still wait in output or staging. */
export function connReuse(): void {
  if (load<u32>(F_LIMBO) == 0 || load<u32>(F_STAGED) != 0 || !outputIdle()) return;
  let slot = load<u32>(F_LIMBO);
  while (slot != 0) {
    const c = conn(slot - 1);
    const next = load<u32>(c, C_NEXT);
    store<u32>(c, load<u32>(F_FREE), C_NEXT);
    store<u32>(F_FREE, slot);
    slot = next;
  }
  store<u32>(F_LIMBO, 0);
}

function append(first: usize, last: usize, c: usize): void {
  const slot = connSlot(c) + 1;
  connSet(c, IS_LISTED);
  store<u32>(c, 0, C_NEXT);
  if (load<u32>(first) == 0) store<u32>(first, slot);
  else store<u32>(conn(load<u32>(last) - 1), slot, C_NEXT);
  store<u32>(last, slot);
}

/** The next `ingest` looks at this connection. */
export function connWake(c: usize): void {
  if ((connFlags(c) & IS_LISTED) == 0) append(F_READY_FIRST, F_READY_LAST, c);
}

/** Takes the first of the ready connections out of the list; 0 when there is none. */
export function connNextReady(): usize {
  const first = load<u32>(F_READY_FIRST);
  if (first == 0) return 0;
  const c = conn(first - 1);
  store<u32>(F_READY_FIRST, load<u32>(c, C_NEXT));
  connClear(c, IS_LISTED);
  return c;
}

/** Those that waited for room become ready. */
export function connWakeWaiting(): void {
  const first = load<u32>(F_WAITING_FIRST);
  if (first == 0) return;
  if (load<u32>(F_READY_FIRST) == 0) store<u32>(F_READY_FIRST, first);
  else store<u32>(conn(load<u32>(F_READY_LAST) - 1), first, C_NEXT);
  store<u32>(F_READY_LAST, load<u32>(F_WAITING_LAST));
  store<u32>(F_WAITING_FIRST, 0);
}

/** Notes why the connection's input cannot be parsed on, and sees to it that it is looked at again when it can. */
export function connHold(c: usize, cause: u32): void {
  store<u32>(c, cause, C_CAUSE);
  if (cause == CAUSE_NONE) return;
  if (cause == CAUSE_AGAIN) connWake(c);
  else if (cause == CAUSE_ENTRY || cause == CAUSE_READS) append(F_WAITING_FIRST, F_WAITING_LAST, c);
}

/** Tells the host to stop or go on reading, when that has changed, and to end the socket when all is said. */
export function connTell(c: usize): void {
  const held = connCause(c) != CAUSE_NONE;
  const told = (connFlags(c) & IS_HELD) != 0;
  if (held && !told) {
    connSet(c, IS_HELD);
    emit(EVENT_HOLD, connSlot(c), 0);
  } else if (!held && told) {
    connClear(c, IS_HELD);
    emit(EVENT_UNHOLD, connSlot(c), 0);
  }
  connFinish(c);
}

/** Emits `close` when input is over and all is answered. */
function connFinish(c: usize): void {
  const flags = connFlags(c);
  if ((flags & (IS_FINISHED | IS_OVER)) == 0 || (flags & (IS_CLOSING | IS_CLOSED | IS_CONTROL)) != 0) return;
  if (!connIdle(c) || connCause(c) != CAUSE_NONE || ((flags & IS_OVER) == 0 && heldBytes(c) != 0)) return;
  connSet(c, IS_CLOSING | IS_OVER);
  emit(EVENT_CLOSE, connSlot(c), 0);
}

/**
 * An item was answered with a line of `bytes` (without its newline). The window is set anew whenever the connection becomes
 * idle, by its longest reply since it was idle before.
 */
export function connReplied(slot: u32, bytes: u32): void {
  const c = conn(slot);
  if (bytes > load<u32>(c, C_LONGEST)) store<u32>(c, bytes, C_LONGEST);
  if (connUnanswered(c) == 1) {
    store<u32>(c, min(max(WINDOW_BYTES / max(load<u32>(c, C_LONGEST), 1), LEAST_WINDOW), LARGEST_WINDOW), C_WINDOW);
    store<u32>(c, 0, C_LONGEST);
  }
  connAnswered(c);
}

/** One item of the connection has been carried out. */
export function connAnswered(c: usize): void {
  const left = connUnanswered(c) - 1;
  check(left != <u32>-1, FAIL_CONNECTION);
  store<u32>(c, left, C_UNANSWERED);
  const cause = connCause(c);
  if (left == 0) {
    connClear(c, IS_READING | IS_WRITING | IS_BARRIER);
    if ((connFlags(c) & IS_CLOSED) != 0) return connRetire(c);
    if (cause == CAUSE_IDLE || cause == CAUSE_WINDOW) causeGone(c);
    else if (cause == CAUSE_NONE) connFinish(c);
  } else if (cause == CAUSE_WINDOW && left <= load<u32>(c, C_WINDOW)) causeGone(c);
}

/** What held the connection is over; it may be that now only a pause does. */
function causeGone(c: usize): void {
  if ((connFlags(c) & IS_PAUSED) != 0) store<u32>(c, CAUSE_PAUSE, C_CAUSE);
  else connWake(c);
}

/** More of its commands are unanswered than its window allows. */
// @ts-ignore: decorator
@inline
export function connOverWindow(c: usize): bool {
  return load<u32>(c, C_UNANSWERED) > load<u32>(c, C_WINDOW);
}

export function connPause(slot: u32, on: bool): void {
  const c = conn(slot);
  if ((connFlags(c) & (IS_OPEN | IS_CLOSED)) != IS_OPEN) return;
  if (on) return connSet(c, IS_PAUSED);
  connClear(c, IS_PAUSED);
  if (connCause(c) != CAUSE_PAUSE) return;
  // It takes its turn when nothing holds it any more, not when the first of several causes is gone.
  if ((connFlags(c) & IS_CONTROL) != 0) store<u32>(c, CAUSE_CONTROL, C_CAUSE);
  else if ((connFlags(c) & IS_BARRIER) != 0) store<u32>(c, CAUSE_IDLE, C_CAUSE);
  else if (connOverWindow(c)) store<u32>(c, CAUSE_WINDOW, C_CAUSE);
  else connWake(c);
}

export function connRelease(slot: u32): void {
  const c = conn(slot);
  if ((connFlags(c) & (IS_CONTROL | IS_CLOSED)) != IS_CONTROL) return;
  connClear(c, IS_CONTROL);
  if (connCause(c) == CAUSE_CONTROL) causeGone(c);
  else if (connCause(c) == CAUSE_NONE) connFinish(c);
}
