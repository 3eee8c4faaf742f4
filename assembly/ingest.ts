/**
 * From fed bytes to lines. What clients sent is staged in one region, chunk behind chunk, so that a whole turn's input takes
 * one call:
 *
 * ```
 * STAGING_BASE: chunks, each   0  u32  slot    4  u32  bytes (FIN: 0xffffffff, no bytes follow)    8  the bytes, pad4
 * ```
 *
 * A chunk is parsed where it lies. Only what is left of it is copied into the connection's own buffer: a last line that is
 * not complete, or all that follows a line that must wait. When the rest of an incomplete line arrives, only that line is put
 * together there, and the chunk is again parsed in place behind it. Only what is new is searched for the newline, so a
 * long line in many chunks costs no more than its length.
 *
 * A line that is too long, and a last line that FIN has cut, get their error at their place like any other line.
 */
import {
  CAUSE_AGAIN,
  CAUSE_CONTROL,
  CAUSE_ENTRY,
  CAUSE_IDLE,
  CAUSE_NONE,
  CAUSE_PAUSE,
  CAUSE_READS,
  CAUSE_WINDOW,
  conn,
  connCause,
  connFlags,
  connHold,
  connNextReady,
  connOverWindow,
  connRetire,
  connReuse,
  connSet,
  connTell,
  heldAppend,
  heldAt,
  heldBytes,
  heldDrop,
  heldEnd,
  heldTake,
  IS_BARRIER,
  IS_CLOSED,
  IS_CONTROL,
  IS_FINISHED,
  IS_OPEN,
  IS_OVER,
  IS_OVERLONG,
  IS_PAUSED,
} from './conn';
import { entryFull } from './encode';
import { listBytes, MOST_ITEMS } from './items';
import { count, F_GATHERING, F_INGESTED, F_MAX_LINE, F_NOW, F_PARSED, F_READY_LAST, F_STAGED, pad4 } from './front';
import { STAGING_BASE, STAGING_SIZE } from './layout';
import { MSG_CUT_LINE, MSG_LINE_TOO_LONG } from './messages';
import { outputFull } from './output';
import { parseLine } from './parse';
import { constant } from './place';
import { findNewline } from './words';

const FIN: u32 = 0xffffffff;
/** When lines of so many bytes were looked at, the rest waits for the next call: however many clients send long lines, one call takes as long as one of them. */
const ENOUGH: u32 = 4 << 20;

/** Where the next chunk's bytes go; 0 when the chunk does not fit before the staged ones have been ingested. */
export function stagingRoom(bytes: u32): u32 {
  const staged = load<u32>(F_STAGED);
  if (bytes > STAGING_SIZE - 32 || staged + pad4(bytes) > STAGING_SIZE - 32) return 0;
  return STAGING_BASE + staged + 8;
}

/** A chunk of `bytes` was copied to `stagingRoom`. */
export function staged(slot: u32, bytes: u32): void {
  const at: usize = STAGING_BASE + load<u32>(F_STAGED);
  store<u32>(at, slot);
  store<u32>(at, bytes, 4);
  store<u32>(F_STAGED, load<u32>(F_STAGED) + 8 + pad4(bytes));
}

/** The client has sent FIN (`stagingRoom(0)` was not 0). */
export function stagedFin(slot: u32): void {
  const at: usize = STAGING_BASE + load<u32>(F_STAGED);
  store<u32>(at, slot);
  store<u32>(at, FIN, 4);
  store<u32>(F_STAGED, load<u32>(F_STAGED) + 8);
}

/** Most bytes of one chunk. */
export function stagingMost(): u32 {
  return STAGING_SIZE - 32;
}

/** Parses all that can be: first connections whose cause of waiting is gone, then what was fed. */
export function ingest(now: f64): void {
  store<f64>(F_NOW, now);
  store<u32>(F_INGESTED, 0);
  const last = load<u32>(F_READY_LAST);
  let c = connNextReady();
  while (c != 0) {
    goOn(c);
    if (c == conn(last - 1)) break;
    c = connNextReady();
  }
  const end: usize = STAGING_BASE + load<u32>(F_STAGED);
  for (let at: usize = STAGING_BASE; at < end; ) {
    const bytes = load<u32>(at, 4);
    const from = at + 8;
    c = conn(load<u32>(at));
    if (bytes == FIN) {
      finish(c);
      at = from;
    } else {
      chunk(c, from, from + bytes);
      at = from + pad4(bytes);
    }
  }
  store<u32>(F_STAGED, 0);
  connReuse();
}

/** A connection from the ready list. */
function goOn(c: usize): void {
  if ((connFlags(c) & IS_CLOSED) != 0) return connRetire(c);
  const cause = connCause(c);
  // Others were faster: it goes on waiting for room without its line being parsed again.
  if (cause == CAUSE_ENTRY && entryFull()) return connHold(c, CAUSE_ENTRY);
  if (cause == CAUSE_READS && listBytes(F_GATHERING) >= MOST_ITEMS) return connHold(c, CAUSE_READS);
  connHold(c, CAUSE_NONE);
  parseHeld(c);
  settle(c);
}

function finish(c: usize): void {
  if ((connFlags(c) & (IS_OPEN | IS_CLOSED)) != IS_OPEN) return;
  connSet(c, IS_FINISHED);
  settle(c);
}

/** Takes a chunk of a connection's input. */
function chunk(c: usize, p: usize, end: usize): void {
  const flags = connFlags(c);
  if ((flags & (IS_OPEN | IS_CLOSED)) != IS_OPEN || (flags & (IS_OVERLONG | IS_OVER)) != 0) return;
  if (connCause(c) != CAUSE_NONE) return keep(c, p, end);
  if (heldBytes(c) != 0) {
    const newline = findNewline(p, end);
    const line = newline == end ? end : newline + 1;
    keep(c, p, line);
    p = line;
    if (newline == end) return unfinished(c);
    parseHeld(c);
    if (connCause(c) != CAUSE_NONE) keep(c, p, end);
    if (connCause(c) != CAUSE_NONE || (connFlags(c) & IS_OVERLONG) != 0) return settle(c);
  }
  p = parseRange(c, p, end);
  if ((connFlags(c) & IS_OVERLONG) == 0) keep(c, p, end);
  if (connCause(c) == CAUSE_NONE) unfinished(c);
  else settle(c);
}

/** Copies input into the connection's buffer. Input for which there is no memory is lost, as if its line was too long. */
function keep(c: usize, p: usize, end: usize): void {
  if (heldAppend(c, p, <u32>(end - p))) return;
  connSet(c, IS_OVERLONG);
  heldDrop(c);
}

/** What the connection holds has no newline: is the line too long already? */
function unfinished(c: usize): void {
  // One more than the limit: the last byte may be the \r of the line's end.
  if (heldBytes(c) > load<u32>(F_MAX_LINE) + 1) {
    connSet(c, IS_OVERLONG);
    heldDrop(c);
  }
  settle(c);
}

/** Parses the complete lines that the connection holds. */
function parseHeld(c: usize): void {
  if (heldBytes(c) == 0) return;
  const at = parseRange(c, heldAt(c), heldEnd(c));
  if ((connFlags(c) & IS_OVERLONG) != 0) return heldDrop(c);
  heldTake(c, at);
}

/**
 * Parses complete lines from `p` on until one must wait, which is noted as the connection's cause, or is too long. Returns
 * where it stopped.
 */
function parseRange(c: usize, p: usize, end: usize): usize {
  while (p < end) {
    const newline = findNewline(p, end);
    if (newline == end) return p;
    let cause = blockedCause(c);
    if (cause == CAUSE_NONE) {
      const stop = newline > p && load<u8>(newline - 1) == 13 ? newline - 1 : newline;
      if (stop - p > load<u32>(F_MAX_LINE)) {
        connSet(c, IS_OVERLONG);
        return p;
      }
      store<u32>(F_INGESTED, load<u32>(F_INGESTED) + <u32>(stop - p));
      cause = parseLine(c, p, stop);
    }
    if (cause != CAUSE_NONE) {
      connHold(c, cause);
      return p;
    }
    count(F_PARSED);
    p = newline + 1;
  }
  return p;
}

/** Why nothing of this connection may be parsed now, whatever it is. */
// @ts-ignore: decorator
@inline
function blockedCause(c: usize): u32 {
  const flags = connFlags(c);
  if ((flags & (IS_PAUSED | IS_CONTROL | IS_BARRIER)) != 0) {
    return (flags & IS_PAUSED) != 0 ? CAUSE_PAUSE : (flags & IS_CONTROL) != 0 ? CAUSE_CONTROL : CAUSE_IDLE;
  }
  if (connOverWindow(c)) return CAUSE_WINDOW;
  return outputFull() || load<u32>(F_INGESTED) >= ENOUGH ? CAUSE_AGAIN : CAUSE_NONE;
}

/** Answers a line that was too long or cut, if that is next, and tells the host what has changed. */
function settle(c: usize): void {
  const flags = connFlags(c);
  if (connCause(c) == CAUSE_NONE && (flags & IS_OVER) == 0) {
    if ((flags & IS_OVERLONG) != 0) endInput(c, MSG_LINE_TOO_LONG);
    else if ((flags & IS_FINISHED) != 0 && heldBytes(c) != 0) endInput(c, MSG_CUT_LINE);
  }
  connTell(c);
}

/** Gives the last line that is dealt with its error, at its place. */
function endInput(c: usize, message: u32): void {
  let cause = blockedCause(c);
  if (cause == CAUSE_NONE) cause = constant(c, message);
  if (cause != CAUSE_NONE) return connHold(c, cause);
  count(F_PARSED);
  heldDrop(c);
  connSet(c, IS_OVER);
}
