/**
 * COMMIT: all of a transaction's writes, or none.
 *
 *     state, at COMMIT_STATE
 *      0  u32  pass: 0 none under way, 1 checks, 2 judging memory, 3 writing
 *      4  u32  place in the body
 *      8  u32  end of the body
 *     12  u32  checks still to come
 *     16  u32  where the operations begin
 *     24  i64  bytes that the operations add to the logical ones
 *     32  u64  revision of its writes
 *
 * The body is gone through three times: first the checks, the first that fails names the conflict; then what the operations
 * would change of the logical bytes, each on its own; then the writes, all at one revision. Nothing is changed before the
 * third pass, and every pass can stop after any window and go on in a later slice.
 */

import { hashKey } from './hash';
import { COMMIT_STATE, SCRATCH_BASE } from './layout';
import { pad4 } from './memory';
import { MSG_CONFLICT } from './messages';
import {
  countChecks,
  endMessage,
  endOk,
  endWith,
  fillWindow,
  fits,
  heldIn,
  liveIn,
  pastOperation,
  sizeOf,
  touchWindow,
  WINDOW,
  allocWindow,
  WINDOW_BLOCK,
  WINDOW_ENTRY,
  WINDOW_OPERATION,
  writeOperation,
} from './operate';
import { replyMessageWord } from './output';
import { logicalSize, recRevision } from './record';
import { OUTCOME_CONFLICT, OUTCOME_OUT_OF_MEMORY } from './sessions';
import { growSome, locate } from './table';
import { CODE_SET, HEAD, HEAD_KEY, HEAD_VALUE, operationBytes } from './validate';
import { nextRevision, removeRecord } from './version';

export const CS_PASS: u32 = 0;
export const CS_PLACE: u32 = 4;
export const CS_END: u32 = 8;
export const CS_CHECKS: u32 = 12;
export const CS_OPERATIONS: u32 = 16;
export const CS_GROWTH: u32 = 24;
export const CS_REVISION: u32 = 32;

const NONE: u32 = 0;
const CHECKS_PASS: u32 = 1;
const JUDGE_PASS: u32 = 2;
const WRITE_PASS: u32 = 3;

/** A check: u32 key length, u64 revision, key. */
const CHECK_REVISION: u32 = 4;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(COMMIT_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(COMMIT_STATE + offset, value);
}

/** Begins or goes on with the COMMIT at `at`. Returns what is left of the budget; the COMMIT is done when the place has moved past it. */
export function commitSome(at: u32, budget: i32): i32 {
  if (get(CS_PASS) == NONE) commitBegin(at);
  let left = budget;
  while (left > 0) {
    const before = get(CS_PLACE);
    const pass = get(CS_PASS);
    if (pass == CHECKS_PASS) {
      if (get(CS_CHECKS) == 0) startPass(JUDGE_PASS, before);
      else {
        const done = checkWindow(before);
        if (done < 0) {
          conflict(at, get(CS_PLACE));
          return left - 1;
        }
        left -= done;
      }
    } else if (before != get(CS_END)) {
      left -= pass == JUDGE_PASS ? judgeWindow(before) : writeWindow(before);
    } else if (pass == WRITE_PASS) {
      endCommit(at);
      endOk();
      return left - 1;
    } else if (withinLimit()) {
      store<u64>(COMMIT_STATE, nextRevision(), CS_REVISION);
      startPass(WRITE_PASS, get(CS_OPERATIONS));
    } else {
      endCommit(at);
      endMessage(OUTCOME_OUT_OF_MEMORY);
      return left - 1;
    }
    if (get(CS_PLACE) > before) left -= <i32>((get(CS_PLACE) - before) >> 10);
  }
  return left;
}

function commitBegin(at: u32): void {
  set(CS_CHECKS, load<u32>(at, HEAD_KEY));
  set(CS_END, at + HEAD + load<u32>(at, HEAD_VALUE));
  store<i64>(COMMIT_STATE, 0, CS_GROWTH);
  startPass(CHECKS_PASS, at + HEAD);
}

function startPass(pass: u32, place: u32): void {
  if (pass == JUDGE_PASS) set(CS_OPERATIONS, place);
  set(CS_PASS, pass);
  set(CS_PLACE, place);
}

/** The COMMIT is done. */
function endCommit(at: u32): void {
  set(CS_PASS, NONE);
  pastOperation(at, HEAD + load<u32>(at, HEAD_VALUE));
}

/** The check at `failed` does not hold. */
function conflict(at: u32, failed: u32): void {
  const key = failed + HEAD;
  const length = load<u32>(failed);
  endCommit(at);
  if (endWith(OUTCOME_CONFLICT, 0, key, length)) replyMessageWord(MSG_CONFLICT, key, length);
}

function withinLimit(): bool {
  const growth = load<i64>(COMMIT_STATE, CS_GROWTH);
  return growth <= 0 || fits(0, <u64>growth);
}

/** A window of checks. Returns how many were made; -1: the one at the place failed. */
function checkWindow(at: u32): i32 {
  const n = min(get(CS_CHECKS), WINDOW);
  let p = at;
  for (let i: u32 = 0; i < n; i++) {
    const entry = SCRATCH_BASE + i * WINDOW_ENTRY;
    const keyLen = load<u32>(p);
    store<u64>(entry, hashKey(p + HEAD, keyLen));
    store<u32>(entry, p, WINDOW_OPERATION);
    p += HEAD + pad4(keyLen);
  }
  touchWindow(n);
  for (let i: u32 = 0; i < n; i++) {
    const entry = SCRATCH_BASE + i * WINDOW_ENTRY;
    const check = load<u32>(entry, WINDOW_OPERATION);
    const keyLen = load<u32>(check);
    const record = liveIn(locate(load<u64>(entry), check + HEAD, keyLen));
    countChecks(1);
    if ((record == 0 ? 0 : recRevision(record)) != load<u64>(check, CHECK_REVISION)) {
      set(CS_PLACE, check);
      return -1;
    }
  }
  set(CS_CHECKS, get(CS_CHECKS) - n);
  set(CS_PLACE, p);
  return <i32>n;
}

/** What a window of operations would change of the logical bytes. */
function judgeWindow(at: u32): i32 {
  const n = fillWindow(at, get(CS_END));
  touchWindow(n);
  let growth = load<i64>(COMMIT_STATE, CS_GROWTH);
  let p = at;
  for (let i: u32 = 0; i < n; i++) {
    const entry = SCRATCH_BASE + i * WINDOW_ENTRY;
    p = load<u32>(entry, WINDOW_OPERATION);
    const keyLen = load<u32>(p, HEAD_KEY);
    const data = keyLen + load<u32>(p, HEAD_VALUE);
    const slot = locate(load<u64>(entry), p + HEAD, keyLen);
    if (<u32>load<u8>(p) == CODE_SET) growth += <i64>logicalSize(data) - <i64>sizeOf(heldIn(slot));
    else growth -= <i64>sizeOf(liveIn(slot));
    p += operationBytes(p);
  }
  store<i64>(COMMIT_STATE, growth, CS_GROWTH);
  set(CS_PLACE, p);
  return <i32>n;
}

function writeWindow(at: u32): i32 {
  const n = fillWindow(at, get(CS_END));
  touchWindow(n);
  allocWindow(n);
  const revision = load<u64>(COMMIT_STATE, CS_REVISION);
  let p = at;
  for (let i: u32 = 0; i < n; i++) {
    const entry = SCRATCH_BASE + i * WINDOW_ENTRY;
    p = load<u32>(entry, WINDOW_OPERATION);
    const hash = load<u64>(entry);
    growSome();
    const slot = locate(hash, p + HEAD, load<u32>(p, HEAD_KEY));
    if (<u32>load<u8>(p) == CODE_SET) writeOperation(p, hash, slot, load<u32>(entry, WINDOW_BLOCK), revision);
    else if (liveIn(slot) != 0) removeRecord(hash, slot, revision);
    p += operationBytes(p);
  }
  set(CS_PLACE, p);
  return <i32>n;
}
