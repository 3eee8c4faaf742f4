/**
 * Pages: the heap is cut into pages of 64 KiB, and a map at a fixed address says what each one is.
 *
 *     page entry, 16 bytes at PAGES + 16 * page
 *      0  u8   kind: 0 none, 1 blocks of one class, 2 first of a run, 3 last of a run, 4 first of a free run, 5 last of a free run;
 *              behind the fence (alloc.ts): 6 blocks, 7 first of a run, 8 first of pages that are free and held back
 *      1  u8   list of its blocks (alloc.ts); of a run: 0, or whose it is
 *      2  u16  blocks in use
 *      4  u32  blocks: first free block, or 0;  a run, free or not (first and last page), held pages (first): length in pages
 *      8  u32  blocks: where the next block can be cut from what was never used, or 0
 *     12  u16  next page of the list that it is on, or 0
 *     14  u16  the one before, or 0
 *
 *     state, at PAGES_STATE
 *      0  u32  pages that memory has
 *      4  u32  pages it may have at most
 *      8  u32  first page that was never handed out: from here on memory is zero
 *     12  u32  free pages
 *     16  u32  17 lists of free runs: list k holds those of 2^k to 2^(k+1)-1 pages
 *     84  u32  owed: pages that the entry under way may still take; 0: none is under way
 *
 * Free runs know their length at both ends, so a run that is given back joins its neighbours in constant time. A request
 * takes the first that fits in its own list, else the head of a longer one, and leaves the upper part: the untouched
 * end of memory is the longest run, so it is used last.
 *
 * An entry is begun when all pages that it may take are there, in a row, and goes on in slices, between which clients take memory too:
 * they are refused what would not leave that (`leavesOwed`).
 */

import { HEAP_BASE, PAGES_BASE, PAGES_STATE } from './layout';
import { check, FAIL_FREE, FAIL_PAGES } from './memory';

export const PAGE_BYTES: u32 = 65536;
export const PAGE_ENTRY: u32 = 16;
export const PAGE_KIND: u32 = 0;
export const PAGE_CLASS: u32 = 1;
export const PAGE_USED: u32 = 2;
export const PAGE_LENGTH: u32 = 4;
export const PAGE_BUMP: u32 = 8;
export const PAGE_NEXT: u32 = 12;
export const PAGE_PREV: u32 = 14;

export const PS_TOTAL: u32 = 0;
export const PS_MAX: u32 = 4;
export const PS_FRESH: u32 = 8;
export const PS_FREE: u32 = 12;
export const PS_BINS: u32 = 16;
export const PS_OWED: u32 = 84;

export const KIND_NONE: u8 = 0;
export const KIND_BLOCKS: u8 = 1;
export const KIND_RUN: u8 = 2;
export const KIND_RUN_LAST: u8 = 3;
export const KIND_FREE: u8 = 4;
export const KIND_FREE_LAST: u8 = 5;
export const KIND_FENCED: u8 = 6;
export const KIND_FENCED_RUN: u8 = 7;
export const KIND_HELD: u8 = 8;

/** Pages beyond an entry's own need that must be there before it is begun: half for clients and replies, half so that any one reply still fits. */
export const SPARE_PAGES: u32 = 128;
/** The last page is never used, so that no address in a block can wrap round. */
const MOST_PAGES: u32 = 65535;
/** Memory grows by at least this much at a time (4 MiB): untouched pages cost nothing, and growth makes views stale. */
const GROW_PAGES: u32 = 64;

// @ts-ignore: decorator
@inline
export function pageEntry(page: u32): u32 {
  return PAGES_BASE + page * PAGE_ENTRY;
}

// @ts-ignore: decorator
@inline
export function pageOf(address: u32): u32 {
  return address >> 16;
}

export function totalPages(): u32 {
  return load<u32>(PAGES_STATE, PS_TOTAL);
}
export function freePages(): u32 {
  return load<u32>(PAGES_STATE, PS_FREE);
}
export function firstHeapPage(): u32 {
  return HEAP_BASE >> 16;
}

/** Once, by the owner of the memory. `most`: pages that memory may have (0: as many as the format allows). */
export function initPages(most: u32): void {
  const first = firstHeapPage();
  const total = min<u32>(<u32>memory.size(), MOST_PAGES);
  check(total > first, FAIL_PAGES);
  store<u32>(PAGES_STATE, total, PS_TOTAL);
  store<u32>(PAGES_STATE, most == 0 || most > MOST_PAGES ? MOST_PAGES : max(most, total), PS_MAX);
  store<u32>(PAGES_STATE, first, PS_FRESH);
  freeRun(first, total - first);
}

/** Takes `n` pages in a row: the first one's number, or 0 when memory cannot grow any more. */
export function takePages(n: u32): u32 {
  let page = findRun(n);
  if (page == 0) {
    if (!grow(n)) return 0;
    page = findRun(n);
    check(page != 0, FAIL_PAGES);
  }
  const length = load<u32>(pageEntry(page), PAGE_LENGTH);
  unlinkFree(page);
  if (length > n) linkFree(page + n, length - n);
  const entry = pageEntry(page);
  store<u8>(pageEntry(page + n - 1), KIND_RUN_LAST, PAGE_KIND);
  store<u8>(entry, KIND_RUN, PAGE_KIND);
  store<u8>(entry, 0, PAGE_CLASS);
  store<u32>(entry, n, PAGE_LENGTH);
  if (page + n > freshPage()) store<u32>(PAGES_STATE, page + n, PS_FRESH);
  return page;
}

/** Pages from this one on were never handed out: they are zero. */
export function freshPage(): u32 {
  return load<u32>(PAGES_STATE, PS_FRESH);
}

/** Gives back a whole run that `takePages` handed out. */
export function givePages(page: u32, n: u32): void {
  check(page >= firstHeapPage() && page + n <= totalPages(), FAIL_FREE);
  freeRun(page, n);
}

/** Most pages in a row that can be had, growth of memory (should the system allow it) included. */
export function longestRun(): u32 {
  const total = totalPages();
  let longest = trailingFree() + load<u32>(PAGES_STATE, PS_MAX) - total;
  for (let bin: i32 = 16; bin >= 0; bin--) {
    let page = load<u32>(PAGES_STATE + ((<u32>bin) << 2), PS_BINS);
    if (page == 0) continue;
    for (; page != 0; page = <u32>load<u16>(pageEntry(page), PAGE_NEXT)) {
      longest = max(longest, load<u32>(pageEntry(page), PAGE_LENGTH));
    }
    break;
  }
  return longest;
}

/** Makes sure that `n` pages in a row can be taken without growth; false when they cannot be had. */
export function reserve(n: u32): bool {
  return findRun(n) != 0 || grow(n);
}

/** The entry that begins may take so many pages, records and tables together; 0: it is done. */
export function owePages(n: u32): void {
  store<u32>(PAGES_STATE, n, PS_OWED);
}

/** So many pages were taken for records or a table. */
export function paidPages(n: u32): void {
  const owed = load<u32>(PAGES_STATE, PS_OWED);
  store<u32>(PAGES_STATE, owed - min(owed, n), PS_OWED);
}

/** Whether the entry under way, if there is one, still finds what it may take, but for `spare` pages, when others have taken `n`. */
export function leavesOwed(n: u32, spare: u32): bool {
  const owed = load<u32>(PAGES_STATE, PS_OWED);
  return owed <= spare || reserve(owed - spare + n);
}

/** Pages of what begins with `page`: a run, a free run, or a page of blocks. Pages inside of runs tell nothing. */
export function segmentPages(page: u32): u32 {
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  const isRun = kind == KIND_RUN || kind == KIND_FREE || kind == KIND_FENCED_RUN || kind == KIND_HELD;
  return isRun ? load<u32>(entry, PAGE_LENGTH) : 1;
}

/** Takes the free run that begins with `page` from those that can be had, until it is given back with `givePages`. */
export function holdFree(page: u32): void {
  unlinkFree(page);
  store<u8>(pageEntry(page), KIND_HELD, PAGE_KIND);
}

/** Makes memory as large as it may be, should the system allow it: pages that nobody writes cost nothing. */
export function growWhole(): void {
  const room = load<u32>(PAGES_STATE, PS_MAX) - totalPages();
  if (room != 0) grow(trailingFree() + room);
}

function binOf(n: u32): u32 {
  return 31 - <u32>clz(n);
}

function findRun(n: u32): u32 {
  let bin = binOf(n);
  for (
    let page = load<u32>(PAGES_STATE + (bin << 2), PS_BINS);
    page != 0;
    page = <u32>load<u16>(pageEntry(page), PAGE_NEXT)
  ) {
    if (load<u32>(pageEntry(page), PAGE_LENGTH) >= n) return page;
  }
  for (bin++; bin < 17; bin++) {
    const page = load<u32>(PAGES_STATE + (bin << 2), PS_BINS);
    if (page != 0) return page;
  }
  return 0;
}

/** Length of the free run that ends where memory ends. */
function trailingFree(): u32 {
  const entry = pageEntry(totalPages() - 1);
  const kind = load<u8>(entry, PAGE_KIND);
  return kind == KIND_FREE || kind == KIND_FREE_LAST ? load<u32>(entry, PAGE_LENGTH) : 0;
}

function grow(n: u32): bool {
  const total = totalPages();
  const room = load<u32>(PAGES_STATE, PS_MAX) - total;
  const needed = n - min(n, trailingFree());
  if (needed > room) return false;
  let step = min(max(needed, max(GROW_PAGES, total >> 5)), room);
  if (memory.grow(step) < 0) {
    step = needed;
    if (memory.grow(step) < 0) return false;
  }
  store<u32>(PAGES_STATE, total + step, PS_TOTAL);
  freeRun(total, step);
  return true;
}

/** Joins a run with its free neighbours and puts it on its list. */
function freeRun(page: u32, n: u32): void {
  let first = page;
  let length = n;
  if (page > firstHeapPage()) {
    const before = pageEntry(page - 1);
    const kind = load<u8>(before, PAGE_KIND);
    if (kind == KIND_FREE || kind == KIND_FREE_LAST) {
      first = page - load<u32>(before, PAGE_LENGTH);
      length += page - first;
      unlinkFree(first);
    }
  }
  const after = page + n;
  if (after < totalPages() && load<u8>(pageEntry(after), PAGE_KIND) == KIND_FREE) {
    length += load<u32>(pageEntry(after), PAGE_LENGTH);
    unlinkFree(after);
  }
  linkFree(first, length);
}

function linkFree(page: u32, length: u32): void {
  const entry = pageEntry(page);
  const last = pageEntry(page + length - 1);
  store<u8>(last, KIND_FREE_LAST, PAGE_KIND);
  store<u32>(last, length, PAGE_LENGTH);
  store<u8>(entry, KIND_FREE, PAGE_KIND);
  store<u32>(entry, length, PAGE_LENGTH);
  const head = PAGES_STATE + PS_BINS + (binOf(length) << 2);
  const next = load<u32>(head);
  store<u16>(entry, <u16>next, PAGE_NEXT);
  store<u16>(entry, 0, PAGE_PREV);
  if (next != 0) store<u16>(pageEntry(next), <u16>page, PAGE_PREV);
  store<u32>(head, page);
  store<u32>(PAGES_STATE, freePages() + length, PS_FREE);
}

function unlinkFree(page: u32): void {
  const entry = pageEntry(page);
  const length = load<u32>(entry, PAGE_LENGTH);
  const next = <u32>load<u16>(entry, PAGE_NEXT);
  const prev = <u32>load<u16>(entry, PAGE_PREV);
  if (next != 0) store<u16>(pageEntry(next), <u16>prev, PAGE_PREV);
  if (prev != 0) store<u16>(pageEntry(prev), <u16>next, PAGE_NEXT);
  else store<u32>(PAGES_STATE + PS_BINS + (binOf(length) << 2), next);
  store<u8>(entry, KIND_NONE, PAGE_KIND);
  store<u8>(pageEntry(page + length - 1), KIND_NONE, PAGE_KIND);
  store<u32>(PAGES_STATE, freePages() - length, PS_FREE);
}
