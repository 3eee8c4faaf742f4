/**
 * Versions: which states of the records can be seen, and when old ones go.
 *
 *     state, at VERSION_STATE
 *      0  u64  published revision
 *      8  u64  published applied index
 *     16  u64  published number of users' keys, those that have expired not counted
 *     24  u64  published state hash
 *     32  u64  published logical bytes
 *     40  u64  published limit of logical bytes, 0: none
 *     48  u32  sequence lock of the published words: odd while they are being changed
 *     56  u64  published log time, ms
 *     64  u64  newest revision
 *     72  u64  newest applied index
 *     80  u64  number of users' keys, those that have expired and are not removed counted
 *     88  u64  state hash
 *     96  u64  logical bytes
 *    104  u64  limit of logical bytes
 *    120  u64  log time of the newest entry
 *    128       queues of retired versions, 16 bytes each: 0 u32 first, 4 u32 last, 8 u64 gate
 *              open, waiting, dropped, moved
 *
 * The writer changes the newest words; `publish` copies them all to the published ones. A chain runs from the slot's
 * record through `prev` to older versions and holds only what somebody may see: an implicit pin on the published revision,
 * and the explicit ones. So
 *
 * - a version that is superseded before it was published is loose at once: the new one takes over its prev;
 * - one that was published stays in the chain when it is superseded, and is *retired*: it goes on the open queue;
 * - `publish` moves the open queue to the waiting one, whose gate is the revision just published. When no reader on
 *   another thread reads below the gate, each of its versions is judged: if a pin sees it (its revision is not above the pin's,
 *   its successor's is), it is kept on the queue of the largest such pin; else it is unlinked and freed;
 * - when a pin goes, its queue is appended to the dropped one and judged again, against the pins that remain;
 * - a version that was copied to another place (`moveRecord`) is loose, and freed as soon as no reader is in memory at all: no
 *   revision is published meanwhile that could tell those who came before from those who came after.
 *
 * A version finds its successor through `next`, so unlinking is O(1). The judging is sliced: `reclaim` does a bounded
 * amount, and whoever publishes or unpins calls it. What waits costs memory, never correctness.
 *
 * A deletion is a record too (`record.ts`) as long as an older version stands; with the last one it goes, and leaves a
 * tombstone in the slot.
 */
import { isFenced } from './alloc';
import { expiredUsers, expiryAdd, expiryRemove, expiryReset } from './expiry';
import { hashKey } from './hash';
import { PINS_BASE, VERSION_STATE } from './layout';
import { check, copy, FAIL_MEMORY, FAIL_REVISION, FAIL_VERSIONS } from './memory';
import { addPin, dropPin, PIN_BYTES, PIN_FIRST, PIN_LAST, PIN_REVISION, pinBelow, pinsEnd, tidyPins } from './pins';
import { anyReaders, oldestReader } from './readers';
import {
  expired,
  FLAG_DELETED,
  FLAG_LOOSE,
  FLAG_SYSTEM,
  freeRecord,
  logicalSize,
  newRecord,
  REC_KEY,
  REC_KEY_HASH,
  REC_KEY_LENGTH,
  REC_NEXT,
  REC_PREV,
  REC_QUEUE,
  REC_REVISION,
  REC_STATE_HASH,
  REC_VALUE_LENGTH,
  recDeadline,
  recDeleted,
  recKeyLen,
  recLoose,
  recNext,
  recPrev,
  recRevision,
  recStateHash,
  recSystem,
  recValueLen,
} from './record';
import { clearSlot, freeRetiredTables, insertSlot, locate, locateRecord, setSlot, slotRecord } from './table';

export const VS_PUBLISHED: u32 = 0;
export const VS_APPLIED: u32 = 8;
export const VS_KEYS: u32 = 16;
export const VS_HASH: u32 = 24;
export const VS_LOGICAL: u32 = 32;
export const VS_LIMIT: u32 = 40;
export const VS_LOCK: u32 = 48;
export const VS_TIME: u32 = 56;
/** The newest value of a published word is this much further on. */
export const VS_NEWEST: u32 = 64;
export const VS_QUEUES: u32 = 128;

export const QUEUE_FIRST: u32 = 0;
export const QUEUE_LAST: u32 = 4;
export const QUEUE_GATE: u32 = 8;
const OPEN: u32 = VERSION_STATE + VS_QUEUES;
const WAITING: u32 = VERSION_STATE + VS_QUEUES + 16;
const DROPPED: u32 = VERSION_STATE + VS_QUEUES + 32;
const MOVED: u32 = VERSION_STATE + VS_QUEUES + 48;

/** Versions judged at once when a pin goes. */
const UNPIN_SHARE: u32 = 512;

// @ts-ignore: decorator
@inline
function newest(word: u32): u64 {
  return load<u64>(VERSION_STATE + VS_NEWEST + word);
}
// @ts-ignore: decorator
@inline
function setNewest(word: u32, value: u64): void {
  store<u64>(VERSION_STATE + VS_NEWEST + word, value);
}

/** The revision that readers see. */
export function published(): u64 {
  return atomic.load<u64>(VERSION_STATE, VS_PUBLISHED);
}
/** Index of the last entry applied and published. */
export function appliedIndex(): u64 {
  return load<u64>(VERSION_STATE, VS_APPLIED);
}
export function publishedKeys(): u64 {
  return load<u64>(VERSION_STATE, VS_KEYS);
}
export function publishedHash(): u64 {
  return load<u64>(VERSION_STATE, VS_HASH);
}
export function publishedLogical(): u64 {
  return load<u64>(VERSION_STATE, VS_LOGICAL);
}
/** The revision of the newest write, published or not. */
export function newestRevision(): u64 {
  return newest(VS_PUBLISHED);
}
export function newestApplied(): u64 {
  return newest(VS_APPLIED);
}
/** Users' keys now, unpublished writes included. */
export function userKeys(): u64 {
  return newest(VS_KEYS) - <u64>expiredUsers(newestTime());
}
/** The log time at which published reads are made: of the last entry that is published. */
export function publishedTime(): u64 {
  return load<u64>(VERSION_STATE, VS_TIME);
}
/** Log time of the newest entry, published or not. */
export function newestTime(): u64 {
  return newest(VS_TIME);
}
/** An entry of that log time takes effect; log time never goes back. */
export function setTime(time: u64): void {
  if (time > newestTime()) setNewest(VS_TIME, time);
}
export function newestHash(): u64 {
  return newest(VS_HASH);
}
export function logicalBytes(): u64 {
  return newest(VS_LOGICAL);
}
export function publishedLimit(): u64 {
  return load<u64>(VERSION_STATE, VS_LIMIT);
}
/** The limit of logical bytes, 0: none. */
export function logicalLimit(): u64 {
  return newest(VS_LIMIT);
}
export function setLogicalLimit(bytes: u64): void {
  setNewest(VS_LIMIT, bytes);
}

/** Takes the next revision. All writes until the next call may share it. */
export function nextRevision(): u64 {
  const revision = newest(VS_PUBLISHED) + 1;
  setNewest(VS_PUBLISHED, revision);
  return revision;
}

/** The entry that is being applied is done. */
export function setApplied(index: u64): void {
  check(index == newest(VS_APPLIED) + 1, FAIL_REVISION);
  setNewest(VS_APPLIED, index);
}

// ---- a loaded snapshot

/** Forgets every record, without looking at one: nobody may hold a pin or a record. What is published stays so until `publish`. */
export function resetVersions(): void {
  for (let word = VS_PUBLISHED; word <= VS_LIMIT; word += 8) setNewest(word, 0);
  setNewest(VS_TIME, 0);
  expiryReset();
  for (let queue = OPEN; queue <= MOVED; queue += 16) store<u32>(queue, 0, QUEUE_FIRST);
}

/** The state that was loaded is that of this moment. */
export function setMoment(revision: u64, applied: u64, time: u64): void {
  setNewest(VS_PUBLISHED, revision);
  setNewest(VS_APPLIED, applied);
  setNewest(VS_TIME, time);
}

// ---- reading

/** The newest live record, unpublished writes included; 0: absent. */
export function findCurrent(key: u32, keyLen: u32, system: u32): u32 {
  const slot = locate(hashKey(key, keyLen), key, keyLen | (system << 31));
  if (slot == 0) return 0;
  const record = slotRecord(slot);
  return recDeleted(record) || expired(record, newestTime()) ? 0 : record;
}

/** The live record that is visible at `revision`, which is pinned or published, and log time `time`; 0: absent. */
export function findAt(key: u32, keyLen: u32, system: u32, revision: u64, time: u64): u32 {
  const slot = locate(hashKey(key, keyLen), key, keyLen | (system << 31));
  return slot == 0 ? 0 : visibleAt(<u32>(atomic.load<u64>(slot) << 4), revision, time);
}

/** The live version visible at `revision` and log time `time` in the chain that begins with `record`; 0: none. */
export function visibleAt(record: u32, revision: u64, time: u64): u32 {
  let r = record;
  while (r != 0 && recRevision(r) > revision) r = atomic.load<u32>(r, REC_PREV);
  return r != 0 && !recDeleted(r) && !expired(r, time) ? r : 0;
}

// ---- writing

/**
 * Makes `record` the newest of its key. Its key, value, lengths, revision, deadline and state hash are filled in; `slot` is where
 * the key is (0: nowhere).
 */
export function putRecord(hash: u64, slot: u32, record: u32): void {
  const keyWord = load<u32>(record, REC_KEY_LENGTH);
  const user = <u64>((keyWord >> 31) ^ 1);
  let logical = newest(VS_LOGICAL) + logicalSize((keyWord & ~FLAG_SYSTEM) + recValueLen(record));
  let sum = newest(VS_HASH) + recStateHash(record);
  store<u32>(record, 0, REC_NEXT);
  if (slot == 0) {
    store<u32>(record, 0, REC_PREV);
    insertSlot(hash, record);
    setNewest(VS_KEYS, newest(VS_KEYS) + user);
  } else {
    const old = slotRecord(slot);
    if (recDeleted(old)) {
      setNewest(VS_KEYS, newest(VS_KEYS) + user);
    } else {
      logical -= logicalSize(recKeyLen(old) + recValueLen(old));
      sum -= recStateHash(old);
      if (recDeadline(old) != 0) expiryRemove(old);
    }
    supersede(old, record);
    setSlot(slot, hash, record);
  }
  if (recDeadline(record) != 0) expiryAdd(record);
  setNewest(VS_LOGICAL, logical);
  setNewest(VS_HASH, sum);
}

/** Deletes the record in `slot`, which is not deleted but may have expired, at `revision`. */
export function removeRecord(hash: u64, slot: u32, revision: u64): void {
  const old = slotRecord(slot);
  setNewest(VS_LOGICAL, newest(VS_LOGICAL) - logicalSize(recKeyLen(old) + recValueLen(old)));
  setNewest(VS_HASH, newest(VS_HASH) - recStateHash(old));
  if (!recSystem(old)) setNewest(VS_KEYS, newest(VS_KEYS) - 1);
  if (recDeadline(old) != 0) expiryRemove(old);
  if (recRevision(old) > published() && recPrev(old) == 0) {
    clearSlot(slot);
    loosen(old);
    push(OPEN, old);
    return;
  }
  const keyLen = recKeyLen(old);
  const record = newRecord(keyLen, false);
  check(record != 0, FAIL_MEMORY);
  store<u64>(record, revision, REC_REVISION);
  store<u32>(record, load<u32>(old, REC_KEY_LENGTH) | FLAG_DELETED, REC_KEY_LENGTH);
  store<u32>(record, 0, REC_VALUE_LENGTH);
  store<u32>(record, 0, REC_NEXT);
  store<u64>(record, 0, REC_STATE_HASH);
  store<u64>(record, hash, REC_KEY_HASH);
  copy(record + REC_KEY, old + REC_KEY, keyLen);
  supersede(old, record);
  setSlot(slot, hash, record);
}

/** Puts `record` in front of `old` in the chain, and retires `old`. */
function supersede(old: u32, record: u32): void {
  if (recRevision(old) > published()) {
    const older = recPrev(old);
    store<u32>(record, older, REC_PREV);
    if (older != 0) store<u32>(older, record, REC_NEXT);
    loosen(old);
  } else {
    store<u32>(record, old, REC_PREV);
    store<u32>(old, record, REC_NEXT);
  }
  push(OPEN, old);
}

// @ts-ignore: decorator
@inline
function loosen(record: u32): void {
  store<u32>(record, load<u32>(record, REC_KEY_LENGTH) | FLAG_LOOSE, REC_KEY_LENGTH);
}

// ---- moving (compact.ts)

/**
 * Copies the newest record of a key, which stands in `slot`, to another block. Revision, content, deadline and the versions behind
 * it stay the same: nobody can tell. False: there is no memory for it.
 */
export function moveRecord(hash: u64, slot: u32, record: u32): bool {
  const moved = copyOf(record);
  if (moved == 0) return false;
  const timed = !recDeleted(record) && recDeadline(record) != 0;
  if (timed) expiryRemove(record);
  setSlot(slot, hash, moved);
  if (timed) expiryAdd(moved);
  replaced(record);
  return true;
}

/** Moves the versions kept for pins that stand behind the fence. The first for which there is no memory, or 0. */
export function moveKept(): u32 {
  const end = pinsEnd();
  for (let place = PINS_BASE; place < end; place += PIN_BYTES) {
    let link = place + PIN_FIRST;
    for (let record = load<u32>(link); record != 0; record = load<u32>(link)) {
      if (isFenced(record)) {
        const moved = copyOf(record);
        if (moved == 0) return record;
        atomic.store<u32>(recNext(record), moved, REC_PREV);
        store<u32>(link, moved);
        if (load<u32>(moved, REC_QUEUE) == 0) store<u32>(place, moved, PIN_LAST);
        replaced(record);
      }
      link = load<u32>(link) + REC_QUEUE;
    }
  }
  return 0;
}

/** A copy of a record in another block, which the version behind it knows; 0: there is no memory. */
function copyOf(record: u32): u32 {
  const data = recKeyLen(record) + recValueLen(record);
  const copied = newRecord(data, !recDeleted(record) && recDeadline(record) != 0);
  if (copied == 0) return 0;
  copy(copied, record, REC_KEY + data);
  const older = recPrev(record);
  if (older != 0) store<u32>(older, copied, REC_NEXT);
  return copied;
}

/** Nothing leads to a record any more, but readers may still be at it. */
function replaced(record: u32): void {
  if (!anyReaders()) {
    freeRecord(record);
    return;
  }
  loosen(record);
  push(MOVED, record);
}

/** All superseded versions that are left are kept for a pin. */
export function allJudged(): bool {
  return (load<u32>(OPEN, QUEUE_FIRST) | load<u32>(WAITING, QUEUE_FIRST) | load<u32>(DROPPED, QUEUE_FIRST)) == 0;
}

// ---- publishing and pins

/**
 * Makes everything that was written visible, at once. Readers of one word need the revision alone; who wants several words of one
 * moment reads the lock before and after them.
 */
export function publish(): void {
  atomic.add<u32>(VERSION_STATE, 1, VS_LOCK);
  for (let word = VS_APPLIED; word <= VS_LIMIT; word += 8) store<u64>(VERSION_STATE + word, newest(word));
  store<u64>(VERSION_STATE, userKeys(), VS_KEYS);
  store<u64>(VERSION_STATE, newestTime(), VS_TIME);
  atomic.store<u64>(VERSION_STATE, newest(VS_PUBLISHED), VS_PUBLISHED);
  atomic.add<u32>(VERSION_STATE, 1, VS_LOCK);
  openGate();
  if (anyReaders()) freeRetiredTables(published(), oldestReader());
}

/** Pins the published revision, and returns it. */
export function pin(): u64 {
  const revision = published();
  addPin(revision);
  return revision;
}

/** Takes away one pin of `revision`. */
export function unpin(revision: u64): void {
  const place = dropPin(revision);
  if (place == 0) return;
  splice(DROPPED, load<u32>(place, PIN_FIRST), load<u32>(place, PIN_LAST));
  store<u64>(DROPPED, published(), QUEUE_GATE);
  store<u32>(place, 0, PIN_FIRST);
  tidyPins();
  reclaim(UNPIN_SHARE);
}

/** Versions retired before the last publication may be judged once no reader is below it. None may have been retired since. */
export function openGate(): void {
  const first = load<u32>(OPEN, QUEUE_FIRST);
  if (first == 0 || (load<u32>(WAITING, QUEUE_FIRST) != 0 && anyReaders())) return;
  splice(WAITING, first, load<u32>(OPEN, QUEUE_LAST));
  store<u64>(WAITING, published(), QUEUE_GATE);
  store<u32>(OPEN, 0, QUEUE_FIRST);
}

/** Judges up to `most` retired versions. Whether there may be more to judge now. */
export function reclaim(most: u32): bool {
  const oldest = oldestReader();
  let left = most;
  if (oldest >= load<u64>(WAITING, QUEUE_GATE)) left = judge(WAITING, left);
  if (oldest >= load<u64>(DROPPED, QUEUE_GATE)) left = judge(DROPPED, left);
  if (oldest == u64.MAX_VALUE && load<u32>(MOVED, QUEUE_FIRST) != 0) left = judge(MOVED, left);
  return left == 0;
}

function judge(queue: u32, most: u32): u32 {
  let left = most;
  let record = load<u32>(queue, QUEUE_FIRST);
  for (; record != 0 && left > 0; left--) {
    const following = load<u32>(record, REC_QUEUE);
    if (recLoose(record)) freeRecord(record);
    else settle(record);
    record = following;
  }
  store<u32>(queue, record, QUEUE_FIRST);
  return left;
}

/** Keeps a superseded version for the largest pin that sees it, or unlinks and frees it. */
function settle(record: u32): void {
  const next = recNext(record);
  check(next != 0 && recPrev(next) == record, FAIL_VERSIONS);
  const superseded = recRevision(next);
  check(superseded <= published(), FAIL_VERSIONS);
  const older = recPrev(record);
  const place = pinBelow(superseded);
  const meansNothing = older == 0 && recDeleted(record);
  if (place != 0 && load<u64>(place, PIN_REVISION) >= recRevision(record) && !meansNothing) {
    keepFor(place, record);
    return;
  }
  atomic.store<u32>(next, older, REC_PREV);
  if (older != 0) store<u32>(older, next, REC_NEXT);
  else if (recDeleted(next) && recNext(next) == 0) forget(next);
  freeRecord(record);
}

/** A deletion whose older versions are all gone: a tombstone in the slot says the same. */
function forget(record: u32): void {
  const slot = locateRecord(load<u64>(record, REC_KEY_HASH), record);
  check(slot != 0 && slotRecord(slot) == record, FAIL_VERSIONS);
  clearSlot(slot);
  if (!anyReaders()) {
    freeRecord(record);
    return;
  }
  loosen(record);
  push(OPEN, record);
}

// ---- queues through the records

function keepFor(place: u32, record: u32): void {
  store<u32>(record, 0, REC_QUEUE);
  const first = load<u32>(place, PIN_FIRST);
  if (first == 0) store<u32>(place, record, PIN_FIRST);
  else store<u32>(load<u32>(place, PIN_LAST), record, REC_QUEUE);
  store<u32>(place, record, PIN_LAST);
}

function push(queue: u32, record: u32): void {
  store<u32>(record, 0, REC_QUEUE);
  if (load<u32>(queue, QUEUE_FIRST) == 0) store<u32>(queue, record, QUEUE_FIRST);
  else store<u32>(load<u32>(queue, QUEUE_LAST), record, REC_QUEUE);
  store<u32>(queue, record, QUEUE_LAST);
}

/** Appends the list from `first` to `last`. */
function splice(queue: u32, first: u32, last: u32): void {
  if (first == 0) return;
  if (load<u32>(queue, QUEUE_FIRST) == 0) store<u32>(queue, first, QUEUE_FIRST);
  else store<u32>(load<u32>(queue, QUEUE_LAST), first, REC_QUEUE);
  store<u32>(queue, last, QUEUE_LAST);
}
