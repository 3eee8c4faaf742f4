/**
 * The table: open addressing with linear probing, which grows while it is used.
 *
 *     slot, u64 (read and written in one piece)
 *      0 … 27   address of the newest record, divided by 16;  0: empty (the whole word), 1: deleted (tombstone)
 *     28 … 63   tag: the top 36 bits of the key's hash
 *
 *     state, at TABLE_STATE
 *      0  u32  slots of the table, address
 *      4  u32  its size, log2 of the number of slots
 *      8  u32  slots that are not empty
 *     12  u32  keys: slots that hold a record, the old table's that have not moved yet included
 *     16  u32  the old table, or 0
 *     20  u32  its size, log2
 *     24  u32  watermark: slots of the old table below it have moved
 *     28  u32  generation: raised when a growth begins and when it ends
 *     32  u32  the table that is being made ready, or 0
 *     36  u32  its size, log2
 *     40  u32  its next byte that may not be zero yet
 *     44  u32  where its bytes are known to be zero
 *     48  u32  retired tables that readers may still look into
 *     64       32 of them, 16 bytes each: 0 u32 address, 4 u32 size (log2), 8 u64 revision published since (0: not yet)
 *
 * A key's home is given by the top bits of its tag, so a table of another size is filled by streaming the slots of the
 * old one in order: no record is touched and nothing is hashed again. Every write moves a few slots (`moveSome`).
 *
 * While a growth runs, a key whose slot in the old table is at or above the watermark lives there only, and is changed
 * there; below the watermark the new table alone counts. Old slots are not cleared. A reader takes the watermark first,
 * then looks in the new table, then in the old one, and ignores what it finds below that watermark: a key that moved in
 * between is found at its old place, as it was at least as late as the reader's revision. Nothing is ever displaced.
 *
 * A table is at most three quarters full, tombstones included. The size of the next is chosen from the number of keys,
 * so one that is full of tombstones is made anew at the same size; it shrinks to a quarter at most, or what is inserted
 * during the move would not fit.
 */
import { hashKey } from './hash';
import { TABLE_STATE } from './layout';
import { check, equal, FAIL_TABLE_FULL } from './memory';
import { freshPage, givePages, paidPages, takePages } from './pages';
import { anyReaders } from './readers';
import { FLAG_DELETED, FLAG_LOOSE, FLAG_SYSTEM, REC_KEY, REC_KEY_LENGTH } from './record';

export const TS_SLOTS: u32 = 0;
export const TS_LOG: u32 = 4;
export const TS_USED: u32 = 8;
export const TS_KEYS: u32 = 12;
export const TS_OLD: u32 = 16;
export const TS_OLD_LOG: u32 = 20;
export const TS_WATERMARK: u32 = 24;
export const TS_GENERATION: u32 = 28;
export const TS_NEXT: u32 = 32;
export const TS_NEXT_LOG: u32 = 36;
export const TS_ZERO: u32 = 40;
export const TS_ZERO_END: u32 = 44;
export const TS_RETIRED: u32 = 48;
export const TS_RETIRED_LIST: u32 = 64;
export const RETIRED_ENTRY: u32 = 16;
export const RETIRED_LOG: u32 = 4;
export const RETIRED_SINCE: u32 = 8;
const MOST_RETIRED: u32 = 32;

export const SLOT_ADDRESS_BITS: u64 = 28;
export const SLOT_ADDRESS_MASK: u64 = 0x0fffffff;
export const SLOT_TOMBSTONE: u64 = 1;
/** The "record" that a tombstone points to. */
const NO_RECORD: u32 = 16;

/** The smallest table: one page. */
export const LEAST_LOG: u32 = 13;
/** Slots moved, and bytes cleared, by one write while the table grows. */
const MOVE_SLOTS: u32 = 16;
const CLEAR_BYTES: u32 = 1024;

const IDENTITY: u32 = ~(FLAG_DELETED | FLAG_LOOSE);

// @ts-ignore: decorator
@inline
function word(offset: u32): u32 {
  return load<u32>(TABLE_STATE + offset);
}
// @ts-ignore: decorator
@inline
function setWord(offset: u32, value: u32): void {
  store<u32>(TABLE_STATE + offset, value);
}

/** False when there is no memory for the first table. */
export function initTable(): bool {
  if (!prepare(LEAST_LOG)) return false;
  while (word(TS_ZERO) < word(TS_ZERO_END)) clearSome();
  setWord(TS_SLOTS, word(TS_NEXT));
  setWord(TS_LOG, LEAST_LOG);
  setWord(TS_NEXT, 0);
  return true;
}

/** Gives all tables back and begins with an empty one: no reader may look at them any more. False: no memory. */
export function resetTable(): bool {
  givePages(word(TS_SLOTS) >> 16, pagesFor(word(TS_LOG)));
  if (word(TS_OLD) != 0) givePages(word(TS_OLD) >> 16, pagesFor(word(TS_OLD_LOG)));
  if (word(TS_NEXT) != 0) givePages(word(TS_NEXT) >> 16, pagesFor(word(TS_NEXT_LOG)));
  freeRetiredTables(0, u64.MAX_VALUE);
  const generation = word(TS_GENERATION) + 1;
  memory.fill(TABLE_STATE, 0, TS_RETIRED_LIST);
  setWord(TS_GENERATION, generation);
  return initTable();
}

/** The table has no room for another key and cannot grow. */
export function tableFull(): bool {
  const size = tableSlots();
  return word(TS_OLD) == 0 && word(TS_NEXT) == 0 && word(TS_USED) >= size - (size >> 4) - 1;
}

export function tableKeys(): u32 {
  return word(TS_KEYS);
}
export function tableSlots(): u32 {
  return (<u32>1) << word(TS_LOG);
}
export function tableGeneration(): u32 {
  return word(TS_GENERATION);
}
export function tableMoving(): bool {
  return word(TS_OLD) != 0;
}

/** The record that a slot points to. */
// @ts-ignore: decorator
@inline
export function slotRecord(slot: u32): u32 {
  return <u32>(load<u64>(slot) << 4);
}

/** Points a slot that `locate` found at another record of the same key. */
// @ts-ignore: decorator
@inline
export function setSlot(slot: u32, hash: u64, record: u32): void {
  atomic.store<u64>(slot, (hash & ~SLOT_ADDRESS_MASK) | <u64>(record >> 4));
}

/** Makes a slot that `locate` found a tombstone. */
export function clearSlot(slot: u32): void {
  atomic.store<u64>(slot, SLOT_TOMBSTONE);
  setWord(TS_KEYS, word(TS_KEYS) - 1);
}

/** The first slot that a key with this hash may have: touching it early hides its cache miss. */
// @ts-ignore: decorator
@inline
export function homeSlot(hash: u64): u32 {
  return word(TS_SLOTS) + ((<u32>(hash >> (64 - <u64>word(TS_LOG)))) << 3);
}

// @ts-ignore: decorator
@inline
function probe(slots: u32, log: u32, hash: u64, key: u32, identity: u32): u32 {
  const mask = (((<u32>1) << log) - 1) << 3;
  let at = (<u32>(hash >> (64 - <u64>log))) << 3;
  let slot = atomic.load<u64>(slots + at);
  while (slot != 0) {
    if ((slot ^ hash) >> SLOT_ADDRESS_BITS == 0) {
      const record = <u32>(slot << 4);
      if (record != NO_RECORD && isKey(record, key, identity)) return slots + at;
    }
    at = (at + 8) & mask;
    slot = atomic.load<u64>(slots + at);
  }
  return 0;
}

// @ts-ignore: decorator
@inline
function isKey(record: u32, key: u32, identity: u32): bool {
  return (
    (load<u32>(record, REC_KEY_LENGTH) & IDENTITY) == identity && equal(record + REC_KEY, key, identity & ~FLAG_SYSTEM)
  );
}

/** The slot of a key, or 0. `identity`: the key's length, with FLAG_SYSTEM for a system record. */
export function locate(hash: u64, key: u32, identity: u32): u32 {
  const old = atomic.load<u32>(TABLE_STATE, TS_OLD);
  if (old == 0) return probe(word(TS_SLOTS), word(TS_LOG), hash, key, identity);
  return locateMoving(old, hash, key, identity);
}

function locateMoving(old: u32, hash: u64, key: u32, identity: u32): u32 {
  const watermark = old + (atomic.load<u32>(TABLE_STATE, TS_WATERMARK) << 3);
  const slot = probe(word(TS_SLOTS), word(TS_LOG), hash, key, identity);
  if (slot != 0) return slot;
  const found = probe(old, word(TS_OLD_LOG), hash, key, identity);
  return found >= watermark ? found : 0;
}

/** The slot that points to `record`, which is the newest of its key. */
export function locateRecord(hash: u64, record: u32): u32 {
  const identity = load<u32>(record, REC_KEY_LENGTH) & IDENTITY;
  return locate(hash, record + REC_KEY, identity);
}

/** Adds a key that is not in the table. */
export function insertSlot(hash: u64, record: u32): void {
  const slots = word(TS_SLOTS);
  const log = word(TS_LOG);
  const mask = (((<u32>1) << log) - 1) << 3;
  let at = (<u32>(hash >> (64 - <u64>log))) << 3;
  let slot = load<u64>(slots + at);
  while ((slot & SLOT_ADDRESS_MASK) > SLOT_TOMBSTONE) {
    at = (at + 8) & mask;
    slot = load<u64>(slots + at);
  }
  atomic.store<u64>(slots + at, (hash & ~SLOT_ADDRESS_MASK) | <u64>(record >> 4));
  setWord(TS_KEYS, word(TS_KEYS) + 1);
  if (slot == 0) {
    const used = word(TS_USED) + 1;
    setWord(TS_USED, used);
    check(used <= mask >> 3, FAIL_TABLE_FULL);
  }
}

/** The load at which the next table is made ready: there is time to clear it before three quarters are full. */
// @ts-ignore: decorator
@inline
function growAt(log: u32): u32 {
  return (((<u32>1) << log) >> 5) * 23;
}

/** log2 of the size that a table for `keys` keys begins with: at most half full. */
export function sizeFor(keys: u32): u32 {
  return keys < 2 ? LEAST_LOG : max(LEAST_LOG, 33 - <u32>clz(keys - 1));
}

function pagesFor(log: u32): u32 {
  return (<u32>1) << (log - LEAST_LOG);
}

/** Pages that tables may need while `inserts` keys are added: nothing, or all sizes on the way, which sum up to twice the last. */
export function growthPages(inserts: u32): u32 {
  if (word(TS_OLD) == 0 && word(TS_USED) + inserts < growAt(word(TS_LOG))) return 0;
  return pagesFor(sizeFor(word(TS_KEYS) + inserts) + 2);
}

/** A share of the work of growing; every write calls it once. */
// @ts-ignore: decorator
@inline
export function growSome(): void {
  if (word(TS_OLD) != 0) moveSome();
  else if (word(TS_NEXT) != 0) clearSome();
  else if (word(TS_USED) >= growAt(word(TS_LOG))) startGrowth();
}

function startGrowth(): void {
  const log = word(TS_LOG);
  const size = (<u32>1) << log;
  if (!prepare(max(sizeFor(word(TS_KEYS)), log - 2))) check(word(TS_USED) < size - (size >> 4), FAIL_TABLE_FULL);
}

/** Takes memory for the next table. What has been used before has to be cleared, in slices. */
function prepare(log: u32): bool {
  const fresh = freshPage() << 16;
  const page = takePages(pagesFor(log));
  if (page == 0) return false;
  paidPages(pagesFor(log));
  const slots = page << 16;
  setWord(TS_NEXT, slots);
  setWord(TS_NEXT_LOG, log);
  setWord(TS_ZERO, slots);
  setWord(TS_ZERO_END, max(slots, min(fresh, slots + ((<u32>8) << log))));
  return true;
}

function clearSome(): void {
  const from = word(TS_ZERO);
  const n = min(word(TS_ZERO_END) - from, CLEAR_BYTES);
  memory.fill(from, 0, n);
  setWord(TS_ZERO, from + n);
  if (from + n == word(TS_ZERO_END) && word(TS_SLOTS) != 0) startMove();
}

function startMove(): void {
  setWord(TS_GENERATION, word(TS_GENERATION) + 1);
  setWord(TS_OLD_LOG, word(TS_LOG));
  setWord(TS_WATERMARK, 0);
  const old = word(TS_SLOTS);
  setWord(TS_SLOTS, word(TS_NEXT));
  setWord(TS_LOG, word(TS_NEXT_LOG));
  setWord(TS_USED, 0);
  setWord(TS_NEXT, 0);
  atomic.store<u32>(TABLE_STATE, old, TS_OLD);
}

function moveSome(): void {
  const old = word(TS_OLD);
  const size = (<u32>1) << word(TS_OLD_LOG);
  const slots = word(TS_SLOTS);
  const log = <u64>word(TS_LOG);
  const mask = (((<u32>1) << (<u32>log)) - 1) << 3;
  let used = word(TS_USED);
  const from = word(TS_WATERMARK);
  const to = min(from + MOVE_SLOTS, size);
  for (let i = from; i < to; i++) {
    const slot = load<u64>(old + (i << 3));
    if ((slot & SLOT_ADDRESS_MASK) <= SLOT_TOMBSTONE) continue;
    let at = (<u32>(slot >> (64 - log))) << 3;
    while (load<u64>(slots + at) != 0) at = (at + 8) & mask;
    store<u64>(slots + at, slot);
    used++;
  }
  setWord(TS_USED, used);
  atomic.store<u32>(TABLE_STATE, to, TS_WATERMARK);
  if (to == size) endMove(old);
}

function endMove(old: u32): void {
  const log = word(TS_OLD_LOG);
  setWord(TS_GENERATION, word(TS_GENERATION) + 1);
  atomic.store<u32>(TABLE_STATE, 0, TS_OLD);
  if (!anyReaders()) {
    givePages(old >> 16, pagesFor(log));
    return;
  }
  const n = word(TS_RETIRED);
  check(n < MOST_RETIRED, FAIL_TABLE_FULL);
  const entry = TABLE_STATE + TS_RETIRED_LIST + n * RETIRED_ENTRY;
  store<u32>(entry, old);
  store<u32>(entry, log, RETIRED_LOG);
  store<u64>(entry, 0, RETIRED_SINCE);
  setWord(TS_RETIRED, n + 1);
}

/** At each publish: frees retired tables that no reader can be in, because it reads at a revision published since. */
export function freeRetiredTables(published: u64, oldestReader: u64): void {
  let n = word(TS_RETIRED);
  for (let i: u32 = 0; i < n; ) {
    const entry = TABLE_STATE + TS_RETIRED_LIST + i * RETIRED_ENTRY;
    if (load<u64>(entry, RETIRED_SINCE) == 0) store<u64>(entry, published, RETIRED_SINCE);
    if (oldestReader < load<u64>(entry, RETIRED_SINCE)) {
      i++;
      continue;
    }
    givePages(load<u32>(entry) >> 16, pagesFor(load<u32>(entry, RETIRED_LOG)));
    n--;
    memory.copy(entry, TABLE_STATE + TS_RETIRED_LIST + n * RETIRED_ENTRY, RETIRED_ENTRY);
  }
  setWord(TS_RETIRED, n);
}

/** Bytes of all tables that are held. */
export function tableBytes(): u64 {
  let bytes = (<u64>8) << (<u64>word(TS_LOG));
  if (word(TS_OLD) != 0) bytes += (<u64>8) << (<u64>word(TS_OLD_LOG));
  if (word(TS_NEXT) != 0) bytes += (<u64>8) << (<u64>word(TS_NEXT_LOG));
  return bytes;
}

/** The record that a key with this hash most likely has, found without looking at any record; or an address that may be read. */
// @ts-ignore: decorator
@inline
export function likelyRecord(hash: u64): u32 {
  const slots = word(TS_SLOTS);
  const log = <u64>word(TS_LOG);
  const mask = ((<u32>1 << <u32>log) - 1) << 3;
  let at = <u32>(hash >> (64 - log)) << 3;
  let slot = load<u64>(slots + at);
  while (slot != 0 && (slot ^ hash) >> SLOT_ADDRESS_BITS != 0) {
    at = (at + 8) & mask;
    slot = load<u64>(slots + at);
  }
  return <u32>(slot << 4);
}

/** Hashes a key and touches the slot and the record that it probably has; the result means nothing. */
export function touch(key: u32, keyLen: u32): u32 {
  const record = likelyRecord(hashKey(key, keyLen));
  return load<u32>(record, REC_KEY_LENGTH) + load<u32>(record, REC_KEY);
}
