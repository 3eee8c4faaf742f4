/**
 * Blocks: a page holds blocks of one size class; what is larger than 32 KiB is a run of whole pages.
 *
 *     classes 0 … 31: 16, 32, … 512 bytes;  then eight steps to each doubling: classes 32 … 79 end with 32,768 bytes
 *
 *     state, at ALLOC_STATE
 *      0  u64  bytes of blocks in use, rounded up to their class or to whole pages
 *      8  u32  blocks in use
 *     12  u32  records among them
 *     16  u32  160 lists of pages that have room for a block: for 80 classes, then for those of records
 *
 *     a block in the debug build (the release build has only its data)
 *      0  u32  bytes asked for
 *      4  u32  canary, different for every address
 *      8  u32  the same
 *     12  u32  the same
 *     16       data, then the canary once more (4 bytes, not aligned)
 *
 * Records have pages and runs of their own (`allocRecord`; PAGE_CLASS is then the class + 80, of a run just 80): so all of
 * them can be given back by the page (`freeRecords`), and moved out of pages that hold nothing else (`compact.ts`).
 *
 * A page's free blocks are a list through their first words; blocks never used are cut from the page in order, so that
 * what is loaded first lies in sequence. A page that becomes empty goes back to the common pool, unless it is the only
 * one of its class with room. Pages behind a *fence* give nothing out, and what is freed there does not come back before the
 * fence goes: so whole stretches of memory can be emptied. Sizes of classes are part of the replicated logical size (`record.ts`): they may not change.
 */

import { ALLOC_STATE, HEAP_BASE } from './layout';
import { check, FAIL_ACCOUNTING, FAIL_CANARY, FAIL_FREE } from './memory';
import {
  firstHeapPage,
  givePages,
  holdFree,
  KIND_BLOCKS,
  KIND_FENCED,
  KIND_FENCED_RUN,
  KIND_FREE,
  KIND_HELD,
  KIND_RUN,
  PAGE_BUMP,
  PAGE_BYTES,
  PAGE_CLASS,
  PAGE_KIND,
  PAGE_LENGTH,
  PAGE_NEXT,
  PAGE_PREV,
  PAGE_USED,
  pageEntry,
  pageOf,
  paidPages,
  segmentPages,
  takePages,
  totalPages,
} from './pages';

export const AS_BYTES: u32 = 0;
export const AS_BLOCKS: u32 = 8;
export const AS_RECORDS: u32 = 12;
export const AS_PAGES: u32 = 16;
export const CLASSES: u32 = 80;
export const LISTS: u32 = 2 * CLASSES;
export const LARGEST_BLOCK: u32 = 32768;
export const LARGEST_RUN: u32 = 64 << 20;

export const GUARD_BEFORE: u32 = 16;
export const GUARD_AFTER: u32 = 4;

/** The class of `n` bytes, 1 ≤ n ≤ 32,768. */
// @ts-ignore: decorator
@inline
export function classOf(n: u32): u32 {
  if (n <= 512) return ((n + 15) >> 4) - 1;
  const shift = 28 - <u32>clz(n - 1);
  return (shift << 3) + ((n - 1) >> shift) - 24;
}

/** Bytes of a block of class `c`. */
// @ts-ignore: decorator
@inline
export function classBytes(c: u32): u32 {
  if (c < 32) return (c + 1) << 4;
  return (9 + (c & 7)) << ((c >> 3) + 2);
}

/** `n` rounded up to what a block for it takes (`class` in "Logical size"). */
// @ts-ignore: decorator
@inline
export function roundUp(n: u32): u32 {
  if (n <= 512) return (n + 15) & ~15;
  if (n > LARGEST_BLOCK) return (n + 65535) & ~65535;
  const mask = ((<u32>1) << (28 - <u32>clz(n - 1))) - 1;
  return (n + mask) & ~mask;
}

/** A block of `bytes` bytes at a multiple of 16, or 0 when memory is exhausted. Its content is undefined. */
export function alloc(bytes: u32): u32 {
  if (CHECKS) {
    const block = allocBlock(bytes + GUARD_BEFORE + GUARD_AFTER, 0);
    return block == 0 ? 0 : guard(block, bytes);
  }
  return allocBlock(bytes, 0);
}

/** The same for a record. */
export function allocRecord(bytes: u32): u32 {
  if (CHECKS) {
    const block = allocBlock(bytes + GUARD_BEFORE + GUARD_AFTER, CLASSES);
    return block == 0 ? 0 : guard(block, bytes);
  }
  return allocBlock(bytes, CLASSES);
}

/** Gives a block back. */
export function free(ptr: u32): void {
  if (CHECKS) freeBlock(unguard(ptr));
  else freeBlock(ptr);
}

/** Bytes that may be used of a block. */
export function usable(ptr: u32): u32 {
  if (CHECKS) return load<u32>(ptr - GUARD_BEFORE);
  return blockBytes(ptr);
}

export function usedBytes(): u64 {
  return load<u64>(ALLOC_STATE, AS_BYTES);
}
export function usedBlocks(): u32 {
  return load<u32>(ALLOC_STATE, AS_BLOCKS);
}
/** Records that take memory, old versions and those that wait to be freed included. */
export function usedRecords(): u32 {
  return load<u32>(ALLOC_STATE, AS_RECORDS);
}

/** The class of a page of blocks, from its list. */
// @ts-ignore: decorator
@inline
export function listClass(list: u32): u32 {
  return list >= CLASSES ? list - CLASSES : list;
}

/** Whether a page of blocks, or a run that begins with it, is of records. */
// @ts-ignore: decorator
@inline
export function isRecordPage(entry: u32): bool {
  return <u32>load<u8>(entry, PAGE_CLASS) >= CLASSES;
}

/** Checked and cheap: whether `ptr` can be a block. */
// @ts-ignore: decorator
@inline
function isBlock(ptr: u32): bool {
  return ptr >= HEAP_BASE && (ptr & 15) == 0 && pageOf(ptr) < totalPages();
}

/** `family`: CLASSES for records, else 0. */
// @ts-ignore: decorator
@inline
function allocBlock(n: u32, family: u32): u32 {
  if (n > LARGEST_BLOCK) return allocRun(n, family);
  const c = classOf(max<u32>(n, 1));
  const list = c + family;
  let page = load<u32>(ALLOC_STATE + (list << 2), AS_PAGES);
  if (page == 0) {
    page = newPage(list);
    if (page == 0) return 0;
  }
  const size = classBytes(c);
  const entry = pageEntry(page);
  let block = load<u32>(entry, PAGE_LENGTH);
  let next: u32 = 0;
  if (block != 0) {
    next = load<u32>(block);
    store<u32>(entry, next, PAGE_LENGTH);
  } else {
    block = load<u32>(entry, PAGE_BUMP);
    const after = block + size;
    store<u32>(entry, after + size <= (page + 1) << 16 ? after : 0, PAGE_BUMP);
  }
  store<u16>(entry, load<u16>(entry, PAGE_USED) + 1, PAGE_USED);
  if (next == 0 && load<u32>(entry, PAGE_BUMP) == 0) unlinkPage(list, page, entry);
  count(<i64>size, 1);
  if (family != 0) countRecords(1);
  return block;
}

function freeBlock(ptr: u32): void {
  check(isBlock(ptr), FAIL_FREE);
  const page = pageOf(ptr);
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  if (kind == KIND_RUN) {
    check((ptr & 65535) == 0, FAIL_FREE);
    const pages = load<u32>(entry, PAGE_LENGTH);
    if (isRecordPage(entry)) countRecords(-1);
    givePages(page, pages);
    count(-((<i64>pages) << 16), -1);
    return;
  }
  if (kind != KIND_BLOCKS) return freeFenced(ptr, entry);
  const list = <u32>load<u8>(entry, PAGE_CLASS);
  const used = <u32>load<u16>(entry, PAGE_USED) - 1;
  const head = load<u32>(entry, PAGE_LENGTH);
  store<u32>(ptr, head);
  store<u32>(entry, ptr, PAGE_LENGTH);
  store<u16>(entry, <u16>used, PAGE_USED);
  if (head == 0 && load<u32>(entry, PAGE_BUMP) == 0) linkPage(list, page, entry);
  if (used == 0) emptyPage(list, page, entry);
  count(-(<i64>classBytes(listClass(list))), -1);
  if (list >= CLASSES) countRecords(-1);
}

function blockBytes(ptr: u32): u32 {
  const entry = pageEntry(pageOf(ptr));
  const kind = load<u8>(entry, PAGE_KIND);
  if (kind == KIND_RUN || kind == KIND_FENCED_RUN) return load<u32>(entry, PAGE_LENGTH) << 16;
  return classBytes(listClass(<u32>load<u8>(entry, PAGE_CLASS)));
}

function allocRun(n: u32, family: u32): u32 {
  if (n > LARGEST_RUN) return 0;
  const pages = (n + PAGE_BYTES - 1) >> 16;
  const page = takePages(pages);
  if (page == 0) return 0;
  count((<i64>pages) << 16, 1);
  if (family != 0) {
    paidPages(pages);
    store<u8>(pageEntry(page), <u8>family, PAGE_CLASS);
    countRecords(1);
  }
  return page << 16;
}

// @ts-ignore: decorator
@inline
function count(bytes: i64, blocks: i32): void {
  store<u64>(ALLOC_STATE, load<u64>(ALLOC_STATE, AS_BYTES) + bytes, AS_BYTES);
  store<u32>(ALLOC_STATE, load<u32>(ALLOC_STATE, AS_BLOCKS) + blocks, AS_BLOCKS);
}

// @ts-ignore: decorator
@inline
function countRecords(records: i32): void {
  store<u32>(ALLOC_STATE, load<u32>(ALLOC_STATE, AS_RECORDS) + records, AS_RECORDS);
}

/** Gives all records back at once, by the page: nobody may hold one any more. */
export function freeRecords(): void {
  for (let page = firstHeapPage(); page < totalPages(); ) {
    const pages = segmentPages(page);
    const entry = pageEntry(page);
    const kind = load<u8>(entry, PAGE_KIND);
    let next = page + pages;
    if ((kind == KIND_BLOCKS || kind == KIND_RUN) && isRecordPage(entry)) {
      // What follows joins it if it is free, and is then no segment any more.
      if (next < totalPages() && load<u8>(pageEntry(next), PAGE_KIND) == KIND_FREE) next += segmentPages(next);
      freeRecordPages(page, pages, entry);
    }
    page = next;
  }
  for (let list = CLASSES; list < LISTS; list++) store<u32>(ALLOC_STATE + (list << 2), 0, AS_PAGES);
  check(usedRecords() == 0, FAIL_ACCOUNTING);
}

function freeRecordPages(page: u32, pages: u32, entry: u32): void {
  let records: u32 = 1;
  let bytes = pages << 16;
  if (load<u8>(entry, PAGE_KIND) == KIND_BLOCKS) {
    records = load<u16>(entry, PAGE_USED);
    bytes = records * classBytes(listClass(<u32>load<u8>(entry, PAGE_CLASS)));
  }
  count(-(<i64>bytes), -(<i32>records));
  countRecords(-(<i32>records));
  givePages(page, pages);
}

function newPage(list: u32): u32 {
  const page = takePages(1);
  if (page == 0) return 0;
  if (list >= CLASSES) paidPages(1);
  const entry = pageEntry(page);
  store<u8>(entry, KIND_BLOCKS, PAGE_KIND);
  store<u8>(entry, <u8>list, PAGE_CLASS);
  store<u16>(entry, 0, PAGE_USED);
  store<u32>(entry, 0, PAGE_LENGTH);
  store<u32>(entry, page << 16, PAGE_BUMP);
  linkPage(list, page, entry);
  return page;
}

function emptyPage(list: u32, page: u32, entry: u32): void {
  if (load<u16>(entry, PAGE_NEXT) == 0 && load<u16>(entry, PAGE_PREV) == 0) return;
  unlinkPage(list, page, entry);
  givePages(page, 1);
}

// ---- the fence

/** Whether what begins with `page` is free, empty, or holds records and nothing else, none in a run of more than `longest` pages. */
export function canBeEmptied(page: u32, longest: u32): bool {
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  if (kind == KIND_FREE) return true;
  if (kind == KIND_BLOCKS) return isRecordPage(entry) || load<u16>(entry, PAGE_USED) == 0;
  return kind == KIND_RUN && isRecordPage(entry) && load<u32>(entry, PAGE_LENGTH) <= longest;
}

/** A page of blocks has one to give out, and is on its list. */
// @ts-ignore: decorator
@inline
function hasRoom(entry: u32): bool {
  return (load<u32>(entry, PAGE_LENGTH) | load<u32>(entry, PAGE_BUMP)) != 0;
}

/** Puts what begins with `page`, and can be emptied, behind the fence. */
export function fence(page: u32): void {
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  if (kind == KIND_FREE) return holdFree(page);
  if (kind == KIND_RUN) {
    store<u8>(entry, KIND_FENCED_RUN, PAGE_KIND);
    return;
  }
  if (hasRoom(entry)) unlinkPage(<u32>load<u8>(entry, PAGE_CLASS), page, entry);
  if (load<u16>(entry, PAGE_USED) == 0) hold(entry);
  else store<u8>(entry, KIND_FENCED, PAGE_KIND);
}

/** Takes the fence away from what begins with `page`. */
export function unfence(page: u32): void {
  const entry = pageEntry(page);
  const kind = load<u8>(entry, PAGE_KIND);
  if (kind == KIND_HELD) return givePages(page, load<u32>(entry, PAGE_LENGTH));
  if (kind == KIND_FENCED_RUN) {
    store<u8>(entry, KIND_RUN, PAGE_KIND);
    return;
  }
  check(kind == KIND_FENCED, FAIL_ACCOUNTING);
  store<u8>(entry, KIND_BLOCKS, PAGE_KIND);
  if (hasRoom(entry)) linkPage(<u32>load<u8>(entry, PAGE_CLASS), page, entry);
}

/** Whether a record stands behind the fence. */
export function isFenced(record: u32): bool {
  const kind = load<u8>(pageEntry(pageOf(record)), PAGE_KIND);
  return kind == KIND_FENCED || kind == KIND_FENCED_RUN;
}

/** A page of blocks behind the fence is empty. */
function hold(entry: u32): void {
  store<u8>(entry, KIND_HELD, PAGE_KIND);
  store<u32>(entry, 1, PAGE_LENGTH);
}

function freeFenced(ptr: u32, entry: u32): void {
  const kind = load<u8>(entry, PAGE_KIND);
  countRecords(-1);
  if (kind == KIND_FENCED_RUN) {
    check((ptr & 65535) == 0, FAIL_FREE);
    store<u8>(entry, KIND_HELD, PAGE_KIND);
    return count(-((<i64>load<u32>(entry, PAGE_LENGTH)) << 16), -1);
  }
  check(kind == KIND_FENCED, FAIL_FREE);
  const used = <u32>load<u16>(entry, PAGE_USED) - 1;
  store<u32>(ptr, load<u32>(entry, PAGE_LENGTH));
  store<u32>(entry, ptr, PAGE_LENGTH);
  store<u16>(entry, <u16>used, PAGE_USED);
  count(-(<i64>classBytes(listClass(<u32>load<u8>(entry, PAGE_CLASS)))), -1);
  if (used == 0) hold(entry);
}

function linkPage(list: u32, page: u32, entry: u32): void {
  const head = ALLOC_STATE + AS_PAGES + (list << 2);
  const next = load<u32>(head);
  store<u16>(entry, <u16>next, PAGE_NEXT);
  store<u16>(entry, 0, PAGE_PREV);
  if (next != 0) store<u16>(pageEntry(next), <u16>page, PAGE_PREV);
  store<u32>(head, page);
}

function unlinkPage(list: u32, page: u32, entry: u32): void {
  const next = <u32>load<u16>(entry, PAGE_NEXT);
  const prev = <u32>load<u16>(entry, PAGE_PREV);
  if (next != 0) store<u16>(pageEntry(next), <u16>prev, PAGE_PREV);
  if (prev != 0) store<u16>(pageEntry(prev), <u16>next, PAGE_NEXT);
  else {
    check(load<u32>(ALLOC_STATE + (list << 2), AS_PAGES) == page, FAIL_ACCOUNTING);
    store<u32>(ALLOC_STATE + (list << 2), next, AS_PAGES);
  }
}

/** The canary of an address: never the same for neighbours, never a small number. */
function canary(ptr: u32): u32 {
  return (ptr * 0x9e3779b1) ^ 0xc0ffee11;
}

function guard(block: u32, bytes: u32): u32 {
  const ptr = block + GUARD_BEFORE;
  const word = canary(ptr);
  memory.fill(ptr, 0xa5, bytes);
  store<u32>(block, bytes);
  store<u32>(block, word, 4);
  store<u32>(block, word, 8);
  store<u32>(block, word, 12);
  store<u32>(ptr + bytes, word);
  return ptr;
}

function unguard(ptr: u32): u32 {
  check(isBlock(ptr), FAIL_FREE);
  const block = ptr - GUARD_BEFORE;
  const word = canary(ptr);
  const bytes = load<u32>(block);
  check(load<u32>(block, 4) == word && load<u32>(block, 8) == word && load<u32>(block, 12) == word, FAIL_CANARY);
  check(bytes <= LARGEST_RUN && load<u32>(ptr + bytes) == word, FAIL_CANARY);
  memory.fill(block, 0xdd, bytes + GUARD_BEFORE + GUARD_AFTER);
  return block;
}
