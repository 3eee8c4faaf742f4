/**
 * Compaction: records move out of sparse pages when physical room runs low, so that fill, delete, refill in another size goes
 * on for ever.
 *
 *     state, at COMPACT_STATE
 *      0  u32  window that is being emptied, its first page; 0: none
 *      4  u32  the page behind it
 *      8  u32  what is to be emptied next
 *     12  u32  longest run of pages that is moved
 *     16  u32  windows so far that could not be emptied, or were not long enough
 *     24  u64  records moved so far
 *     32  u32  of the window that is looked at: free pages in it
 *     36  u32  pages of its runs
 *     40  u32  new pages that its blocks need elsewhere
 *     44  u32  what would be copied, in units of 16 bytes
 *     64       80 classes of records, i32 each: pages of the class that the window may have until their blocks need new ones elsewhere
 *
 *     bytes at SCRATCH: of the page that is being emptied, 1 for each block that is free
 *
 * An entry is begun only when as many pages as it may need are free *in a row* (`apply.ts`): so sparse pages are to be emptied
 * that lie beside each other. Of all windows of that length which hold only records and free pages, the one is taken of which the
 * least must be copied, if what is in it fits elsewhere. It is put behind a fence (`alloc.ts`), so that nothing new gets in.
 * Then each record is copied to another page of its class and its slot is pointed at the copy by one atomic store
 * (`moveRecord`). When the window is empty, the fence goes and the pages are free, in a row. Records in runs of their own are
 * moved too; if there is no place for one, windows that hold such long ones are left alone. If none is left, a shorter window is
 * emptied, so that there is one, and the search begins again.
 *
 * Old versions that are kept for a pin move first, all that the window has: they are in no slot, but on the queue of their pin. If
 * there are very many, or moving does not help, transactions lose their snapshot, the one idle longest first. A KEYS under way, which
 * remembers addresses, begins again. A snapshot that is being written remembers some too, and is waited for, and so are readers on
 * other threads of which it is not known whether they still look at a version that is superseded.
 *
 * Nothing that is replicated knows of addresses, so nothing of this can be seen in a reply, a hash, or the logical bytes.
 * The work is sliced; between two slices all is as it should be: clients may allocate, read, begin transactions and snapshots.
 */
import {
  canBeEmptied,
  CLASSES,
  classBytes,
  fence,
  GUARD_BEFORE,
  isRecordPage,
  listClass,
  unfence,
  usedRecords,
} from './alloc';
import { DONE, MORE, NO_MEMORY, WAIT } from './apply';
import { NODE_MARK, NODE_MARKED } from './expiry';
import { hashKey } from './hash';
import { COMPACT_STATE, SCRATCH_BASE } from './layout';
import { check, FAIL_COMPACT } from './memory';
import {
  firstHeapPage,
  growWhole,
  KIND_BLOCKS,
  KIND_FENCED_RUN,
  KIND_FREE,
  KIND_HELD,
  PAGE_BUMP,
  PAGE_BYTES,
  PAGE_CLASS,
  PAGE_KIND,
  PAGE_LENGTH,
  PAGE_USED,
  pageEntry,
  pageOf,
  reserve,
  segmentPages,
  totalPages,
} from './pages';
import { anyReaders, oldestReader } from './readers';
import { keysDrop } from './reads';
import { NODE_BYTES, recKey, recKeyLen, recLoose } from './record';
import { snapshotRunning } from './snapshot';
import { locateRecord, slotRecord, tableKeys } from './table';
import { txnBreak } from './txn';
import { allJudged, moveKept, moveRecord, openGate, reclaim } from './version';

export const CO_FIRST: u32 = 0;
export const CO_END: u32 = 4;
export const CO_AT: u32 = 8;
export const CO_LONGEST: u32 = 12;
export const CO_FAILED: u32 = 16;
export const CO_MOVED: u32 = 24;
export const CO_FREE: u32 = 32;
export const CO_RUNS: u32 = 36;
export const CO_NEW: u32 = 40;
export const CO_COST: u32 = 44;
export const CO_CLASSES: u32 = 64;

/** Units of work of a slice: a record, or 2 KiB of it, is one. */
const SLICE_UNITS: i32 = 2000;
/** Retired versions that are judged in one slice. */
const VERSIONS: u32 = 4096;
/** Old versions that are moved at once. */
const MOST_OLD: u32 = 4096;
/** Pages emptied beyond those asked for, so that not every entry has to look for a window. */
const AHEAD: u32 = 64;
/** So many windows that did not help: there is no room. */
const MOST_FAILED: u32 = 64;

// @ts-ignore: decorator
@inline
function get(offset: u32): u32 {
  return load<u32>(COMPACT_STATE + offset);
}
// @ts-ignore: decorator
@inline
function set(offset: u32, value: u32): void {
  store<u32>(COMPACT_STATE + offset, value);
}

/** A window is behind the fence. */
// @ts-ignore: decorator
@inline
export function compacting(): bool {
  return get(CO_FIRST) != 0;
}

/**
 * A slice of the work of getting `need` free pages in a row, when an entry is about to begin and all before it is published.
 * DONE: they are there. MORE: call again. WAIT: the same, but nothing moves before a snapshot or a reader has ended. NO_MEMORY:
 * they cannot be had.
 */
export function makeWay(need: u32): u32 {
  openGate();
  if (reclaim(VERSIONS)) return MORE;
  if (compacting()) {
    if (!snapshotRunning()) return emptySome(need);
    compactStop();
  }
  if (reserve(need)) return outcome(DONE);
  if (!allJudged()) return unjudged();
  if (usedRecords() - tableKeys() > MOST_OLD && txnBreak()) return MORE;
  if (snapshotRunning()) return WAIT;
  // It remembers addresses. In the same slice, or it would have begun again in the next.
  if (keysDrop()) {
    if (reclaim(VERSIONS)) return MORE;
    if (!allJudged()) return unjudged();
  }
  if (begin(need)) return MORE;
  return outcome(txnBreak() ? MORE : NO_MEMORY);
}

/** Versions are waiting to be judged: for a reader, or only for their turn. */
function unjudged(): u32 {
  return oldestReader() != u64.MAX_VALUE ? WAIT : MORE;
}

/** The search for room has ended like this: the next one begins anew. */
function outcome(code: u32): u32 {
  set(CO_FAILED, 0);
  return code;
}

/** Gives up the window that is being emptied: what has moved has moved. */
export function compactStop(): void {
  if (!compacting()) return;
  const end = get(CO_END);
  let page = get(CO_FIRST);
  set(CO_FIRST, 0);
  while (page < end) {
    const pages = segmentPages(page);
    unfence(page);
    page += pages;
  }
}

// ---- choosing a window

/** Puts a window behind the fence. False: there is none that can be emptied, or nothing has come of too many. */
function begin(need: u32): bool {
  growWhole();
  if (get(CO_FAILED) == 0) set(CO_LONGEST, u32.MAX_VALUE);
  if (get(CO_FAILED) == MOST_FAILED) return false;
  if (!choose(need + AHEAD, u32.MAX_VALUE) && !choose(need, u32.MAX_VALUE) && !chooseShorter(need)) return false;
  for (let page = get(CO_FIRST); page < get(CO_END); ) {
    const pages = segmentPages(page);
    fence(page);
    page += pages;
  }
  set(CO_AT, get(CO_FIRST));
  const stuck = moveKept();
  if (stuck != 0) giveUp(pageOf(stuck));
  return true;
}

/** A shorter window, the longest that there is: what is in the long ones finds room in it. */
function chooseShorter(need: u32): bool {
  set(CO_FAILED, get(CO_FAILED) + 1);
  for (let pages = need >> 1; pages != 0; pages >>= 1) if (choose(pages, pages)) return true;
  return false;
}

/**
 * Looks at all windows of at least `need` pages that are not longer than they must be. Runs of `most` pages or more, free or not,
 * are left alone.
 */
function choose(need: u32, most: u32): bool {
  const free = countRoom(most);
  const total = totalPages();
  let best: u32 = u32.MAX_VALUE;
  let chosen: u32 = 0;
  let chosenEnd: u32 = 0;
  let first = firstHeapPage();
  let end = first;
  while (end < total) {
    const pages = segmentPages(end);
    if (pages >= most || !canBeEmptied(end, get(CO_LONGEST))) {
      while (first < end) first = tally(first, -1);
      first = end + pages;
      end = first;
      continue;
    }
    end = tally(end, 1);
    while (end - first - segmentPages(first) >= need) first = tally(first, -1);
    if (end - first < need || get(CO_COST) >= best) continue;
    if (get(CO_NEW) + get(CO_RUNS) + get(CO_FREE) > free) continue;
    best = get(CO_COST);
    chosen = first;
    chosenEnd = end;
  }
  set(CO_FIRST, chosen);
  set(CO_END, chosenEnd);
  return chosen != 0;
}

// @ts-ignore: decorator
@inline
function classAt(c: u32): u32 {
  return COMPACT_STATE + CO_CLASSES + (c << 2);
}

/**
 * For each class: the blocks that its pages have room for, all over memory, as whole pages. So many of its pages a window may
 * have: what is in them then fits into the rest. Returns the free pages in runs of less than `most`.
 */
function countRoom(most: u32): u32 {
  let free: u32 = 0;
  memory.fill(COMPACT_STATE + CO_FREE, 0, CO_CLASSES - CO_FREE + 4 * CLASSES);
  for (let page = firstHeapPage(), pages: u32 = 0; page < totalPages(); page += pages) {
    const entry = pageEntry(page);
    const kind = load<u8>(entry, PAGE_KIND);
    pages = segmentPages(page);
    if (kind == KIND_FREE && pages < most) free += pages;
    if (kind != KIND_BLOCKS || !isRecordPage(entry)) continue;
    const c = listClass(<u32>load<u8>(entry, PAGE_CLASS));
    store<u32>(classAt(c), load<u32>(classAt(c)) + PAGE_BYTES / classBytes(c) - <u32>load<u16>(entry, PAGE_USED));
  }
  for (let c: u32 = 0; c < CLASSES; c++) {
    store<u32>(classAt(c), load<u32>(classAt(c)) / (PAGE_BYTES / classBytes(c)));
  }
  return free;
}

/** What begins with `page` comes into the window (1) or leaves it (-1); the page behind it. */
function tally(page: u32, sign: i32): u32 {
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  const pages = segmentPages(page);
  if (kind == KIND_FREE) set(CO_FREE, get(CO_FREE) + sign * pages);
  else if (kind != KIND_BLOCKS) {
    set(CO_RUNS, get(CO_RUNS) + sign * pages);
    set(CO_COST, get(CO_COST) + sign * (pages << 12));
  } else if (isRecordPage(entry)) {
    const c = listClass(<u32>load<u8>(entry, PAGE_CLASS));
    const left = load<i32>(classAt(c));
    store<i32>(classAt(c), left - sign);
    if (min(left, left - sign) < 0) set(CO_NEW, get(CO_NEW) + sign);
    set(CO_COST, get(CO_COST) + sign * ((<u32>load<u16>(entry, PAGE_USED) * classBytes(c)) >> 4));
  }
  return page + pages;
}

// ---- emptying it

/** A slice; when the window is empty, and is still all that was asked for, DONE. */
function emptySome(need: u32): u32 {
  // One may have begun since the last slice.
  keysDrop();
  let left = SLICE_UNITS;
  while (get(CO_AT) < get(CO_END)) {
    if (left <= 0) return MORE;
    const page = get(CO_AT);
    const pages = segmentPages(page);
    const moved = load<u64>(COMPACT_STATE, CO_MOVED);
    if (!empty(page)) return giveUp(page);
    left -= 1 + <i32>(load<u64>(COMPACT_STATE, CO_MOVED) - moved) + <i32>(pages << 5);
    set(CO_AT, page + pages);
  }
  if (!isEmpty()) {
    check(anyReaders(), FAIL_COMPACT);
    return WAIT;
  }
  compactStop();
  // There is a new place for long runs.
  set(CO_LONGEST, u32.MAX_VALUE);
  // At once: between two slices clients would take it.
  return reserve(need) ? outcome(DONE) : MORE;
}

/** There is no place for what is in `page`. */
function giveUp(page: u32): u32 {
  if (load<u8>(pageEntry(page), PAGE_KIND) == KIND_FENCED_RUN) set(CO_LONGEST, segmentPages(page) - 1);
  set(CO_FAILED, get(CO_FAILED) + 1);
  compactStop();
  return MORE;
}

/** Nothing is left in the window, not even records that readers may still hold. */
function isEmpty(): bool {
  for (let page = get(CO_FIRST); page < get(CO_END); page += segmentPages(page)) {
    if (load<u8>(pageEntry(page), PAGE_KIND) != KIND_HELD) return false;
  }
  return true;
}

/** Moves all records out of what begins with `page`. False: there is no memory for one. */
function empty(page: u32): bool {
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  const base = page << 16;
  if (kind == KIND_HELD) return true;
  if (kind == KIND_FENCED_RUN) return moveOut(base);
  const bytes = classBytes(listClass(<u32>load<u8>(entry, PAGE_CLASS)));
  const bump = load<u32>(entry, PAGE_BUMP);
  const end = bump != 0 ? bump : base + (PAGE_BYTES / bytes) * bytes;
  memory.fill(SCRATCH_BASE, 0, PAGE_BYTES / bytes);
  for (let free = load<u32>(entry, PAGE_LENGTH); free != 0; free = load<u32>(free)) {
    store<u8>(SCRATCH_BASE + (free - base) / bytes, 1);
  }
  for (let block = base, i: u32 = 0; block < end; block += bytes, i++) {
    if (load<u8>(SCRATCH_BASE + i) == 0 && !moveOut(block)) return false;
  }
  return true;
}

/** Moves the record that a block holds. */
function moveOut(block: u32): bool {
  const start = CHECKS ? block + GUARD_BEFORE : block;
  const record = load<u32>(start, NODE_MARKED) == NODE_MARK ? start + NODE_BYTES : start;
  // It has moved already, and waits for readers.
  if (recLoose(record)) return true;
  const hash = hashKey(recKey(record), recKeyLen(record));
  const slot = locateRecord(hash, record);
  check(slot != 0 && slotRecord(slot) == record, FAIL_COMPACT);
  if (!moveRecord(hash, slot, record)) return false;
  store<u64>(COMPACT_STATE, load<u64>(COMPACT_STATE, CO_MOVED) + 1, CO_MOVED);
  return true;
}
