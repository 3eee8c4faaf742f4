/**
 * Transactions: what each has written and depended on, held in buffers of its own until COMMIT.
 *
 * ```
 * transaction, 128 bytes:
 *  0  u32  transaction used less recently (0: none)
 *  4  u32  transaction used more recently (0: none)
 *  8  u32  slot of its connection
 * 12  u32  bytes against the limit
 * 16  f64  when it was last used, ms
 * 24  u64  pinned revision
 * 32  u32  entries
 * 36  u32  how many
 * 40  u32  how many there is room for
 * 44  u32  arena
 * 48  u32  bytes of it that are used
 * 52  u32  bytes of it
 * 56  u32  bytes of it that are used no more
 * 60  u32  hash index (0: none)
 * 64  u32  its mask
 * 68  u32  first check + 1
 * 72  u32  last check + 1
 * 76  u32  number of checks
 * 80  u32  first write + 1
 * 84  u32  last write + 1
 * 88  u32  number of writes
 * 92  u32  number of the command
 * 96  u64  log time of the pinned revision
 *
 * entry, 64 bytes, one for each key:
 *  0  u32  hash
 *  4  u32  key in the arena
 *  8  u32  key length
 * 12  u32  1: check, 2: write, 4: the write is a DEL, 8: it has a time to live, 16: it keeps the deadline of the record seen
 * 16  u64  revision seen
 * 24  u32  value in the arena
 * 28  u32  value length
 * 32  u32  room for the value
 * 36  u32  next check + 1
 * 40  u32  next write + 1
 * 44  u32  last command that counted it
 * 48  u32  record seen by this command
 * 56  u64  time to live of the write, ms; of one that keeps a deadline: that
 * ```
 *
 * Keys and values lie in the arena; a value that outgrows its room gets a new place, and when half of the arena is in use no
 * more it is packed. The index (open addressing, u32 entry + 1, seeded hash) is made when there are more than a few
 * keys, so no command looks through all of them. Checks and writes are chains through the entries, in the order in which
 * the transaction first depended on each key and first wrote it.
 *
 * A command is worked out first: the keys that it names get entries, which change nothing as long as they have neither check
 * nor write. Then it is taken as a whole or, when the transaction would be above its limit, refused as a whole, and the
 * entries it made are taken back, last first.
 */
import { give, take } from './heap';
import { conn, connSet, connSetTxn, connSlot, connTxn, IS_EXPIRED } from './conn';
import { FLAG_KEEP, FLAG_TTL, OP_COMMIT, OP_DEL, OP_SET, putOperation, putPadding } from './encode';
import { F_MAX_TRANSACTION, F_NOW, F_TXN_COUNT, F_TXN_FIRST, F_TXN_LAST, FAIL_TRANSACTION, pad4 } from './front';
import { hashKey } from './hash';
import { check, equal } from './memory';
import { recDeadline, recRevision, recValue, recValueLen } from './record';
import { TTL_BYTES } from './validate';
import { findAt, pin, publishedTime, unpin } from './version';

export const TXN_BYTES: u32 = 128;
export const T_OLDER: usize = 0;
export const T_NEWER: usize = 4;
export const T_SLOT: usize = 8;
export const T_BYTES: usize = 12;
export const T_USED: usize = 16;
export const T_REVISION: usize = 24;
export const T_ENTRIES: usize = 32;
export const T_COUNT: usize = 36;
export const T_ROOM: usize = 40;
export const T_ARENA: usize = 44;
export const T_ARENA_USED: usize = 48;
export const T_ARENA_ROOM: usize = 52;
export const T_ARENA_WASTE: usize = 56;
export const T_INDEX: usize = 60;
export const T_INDEX_MASK: usize = 64;
export const T_CHECKS: usize = 68;
export const T_CHECK_COUNT: usize = 76;
export const T_WRITES: usize = 80;
export const T_WRITE_COUNT: usize = 88;
export const T_COMMAND: usize = 92;
export const T_TIME: usize = 96;

export const ENTRY: u32 = 64;
export const E_HASH: usize = 0;
export const E_KEY: usize = 4;
export const E_KEY_BYTES: usize = 8;
export const E_FLAGS: usize = 12;
export const E_REVISION: usize = 16;
export const E_VALUE: usize = 24;
export const E_VALUE_BYTES: usize = 28;
export const E_VALUE_ROOM: usize = 32;
export const E_NEXT_CHECK: usize = 36;
export const E_NEXT_WRITE: usize = 40;
export const E_COMMAND: usize = 44;
export const E_RECORD: usize = 48;
export const E_TTL: usize = 56;
const FIRST_ENTRIES: u32 = 8;
const FIRST_ARENA: u32 = 512;
const LARGEST: u32 = (64 << 20) - 64;
/** More entries than this get an index. */
const FEW: u32 = 8;
const SLACK: u32 = 16;

export const HAS_CHECK: u32 = 1;
export const HAS_WRITE: u32 = 2;
export const IS_DEL: u32 = 4;
/** The same bits as the flags of a SET. */
export const HAS_TTL: u32 = FLAG_TTL;
export const KEEPS: u32 = FLAG_KEEP;

export function txnCount(): u32 {
  return load<u32>(F_TXN_COUNT);
}

/** Begins a transaction at the published revision; false when there is no memory for it. */
export function txnBegin(c: usize): bool {
  const t: usize = take(TXN_BYTES);
  if (t == 0) return false;
  memory.fill(t, 0, TXN_BYTES);
  store<u32>(t, connSlot(c), T_SLOT);
  store<u64>(t, pin(), T_REVISION);
  store<u64>(t, publishedTime(), T_TIME);
  connSetTxn(c, t);
  link(t);
  store<u32>(F_TXN_COUNT, load<u32>(F_TXN_COUNT) + 1);
  return true;
}

/** Appends to the end of the list of open transactions: the one most recently used. */
function link(t: usize): void {
  const last: usize = load<u32>(F_TXN_LAST);
  store<f64>(t, load<f64>(F_NOW), T_USED);
  store<u32>(t, <u32>last, T_OLDER);
  store<u32>(t, 0, T_NEWER);
  if (last == 0) store<u32>(F_TXN_FIRST, <u32>t);
  else store<u32>(last, <u32>t, T_NEWER);
  store<u32>(F_TXN_LAST, <u32>t);
}

function unlink(t: usize): void {
  const older: usize = load<u32>(t, T_OLDER);
  const newer: usize = load<u32>(t, T_NEWER);
  if (older == 0) store<u32>(F_TXN_FIRST, <u32>newer);
  else store<u32>(older, <u32>newer, T_NEWER);
  if (newer == 0) store<u32>(F_TXN_LAST, <u32>older);
  else store<u32>(newer, <u32>older, T_OLDER);
}

/** The connection has sent a command: its transaction is not idle. */
export function txnUsed(t: usize): void {
  if (load<u32>(F_TXN_LAST) != <u32>t) {
    unlink(t);
    link(t);
  } else {
    store<f64>(t, load<f64>(F_NOW), T_USED);
  }
}

/** Ends the connection's transaction and gives back all it holds. */
export function txnDrop(c: usize): void {
  const t = connTxn(c);
  unlink(t);
  unpin(load<u64>(t, T_REVISION));
  if (load<u32>(t, T_ENTRIES) != 0) give(load<u32>(t, T_ENTRIES));
  if (load<u32>(t, T_ARENA) != 0) give(load<u32>(t, T_ARENA));
  if (load<u32>(t, T_INDEX) != 0) give(load<u32>(t, T_INDEX));
  give(<u32>t);
  connSetTxn(c, 0);
  store<u32>(F_TXN_COUNT, load<u32>(F_TXN_COUNT) - 1);
}

/** Rolls back the transactions that have not been used since before `since`; their connections will be told. */
export function txnExpire(since: f64): void {
  while (load<u32>(F_TXN_FIRST) != 0 && load<f64>(load<u32>(F_TXN_FIRST), T_USED) < since) txnBreak();
}

/** Rolls back the transaction that has been idle for the longest; false when none is open. */
export function txnBreak(): bool {
  const t: usize = load<u32>(F_TXN_FIRST);
  if (t == 0) return false;
  const c = conn(load<u32>(t, T_SLOT));
  txnDrop(c);
  connSet(c, IS_EXPIRED);
  return true;
}

// ---- entries

// @ts-ignore: decorator
@inline
export function entry(t: usize, i: u32): usize {
  return load<u32>(t, T_ENTRIES) + i * ENTRY;
}

// @ts-ignore: decorator
@inline
export function entryCount(t: usize): u32 {
  return load<u32>(t, T_COUNT);
}

// @ts-ignore: decorator
@inline
function entryKey(t: usize, e: usize): usize {
  return load<u32>(t, T_ARENA) + load<u32>(e, E_KEY);
}

// @ts-ignore: decorator
@inline
export function entryFlags(e: usize): u32 {
  return load<u32>(e, E_FLAGS);
}

/** The number of the entry of a key, or -1. */
function findEntry(t: usize, hash: u32, key: usize, length: u32): i32 {
  const index: usize = load<u32>(t, T_INDEX);
  if (index == 0) {
    for (let i: u32 = 0, n = entryCount(t); i < n; i++) if (isKey(t, entry(t, i), hash, key, length)) return i;
    return -1;
  }
  const mask = load<u32>(t, T_INDEX_MASK);
  let place = hash & mask;
  while (true) {
    const found = load<u32>(index + (place << 2));
    if (found == 0) return -1;
    if (isKey(t, entry(t, found - 1), hash, key, length)) return found - 1;
    place = (place + 1) & mask;
  }
}

// @ts-ignore: decorator
@inline
function isKey(t: usize, e: usize, hash: u32, key: usize, length: u32): bool {
  return (
    load<u32>(e, E_HASH) == hash &&
    load<u32>(e, E_KEY_BYTES) == length &&
    equal(<u32>entryKey(t, e), <u32>key, length)
  );
}

/** The number of the entry of a key, made when there is none; -1 when there is no memory for it. */
export function takeEntry(t: usize, key: usize, length: u32): i32 {
  const hash = <u32>hashKey(<u32>key, length);
  const found = findEntry(t, hash, key, length);
  if (found >= 0) return found;
  const n = entryCount(t);
  if (n == load<u32>(t, T_ROOM) && !growEntries(t)) return -1;
  if (n >= FEW && n * 2 >= load<u32>(t, T_INDEX_MASK) && !growIndex(t)) return -1;
  const at = arenaTake(t, length);
  if (at == NO_ROOM) return -1;
  memory.copy(load<u32>(t, T_ARENA) + at, key, length);
  const e = entry(t, n);
  memory.fill(e, 0, ENTRY);
  store<u32>(e, hash, E_HASH);
  store<u32>(e, at, E_KEY);
  store<u32>(e, length, E_KEY_BYTES);
  store<u32>(t, n + 1, T_COUNT);
  if (load<u32>(t, T_INDEX) != 0) indexPut(t, hash, n);
  return n;
}

function growEntries(t: usize): bool {
  const n = entryCount(t);
  const room = min(max(n * 2, FIRST_ENTRIES), LARGEST / ENTRY);
  if (room == n) return false;
  const entries = take(room * ENTRY);
  if (entries == 0) return false;
  if (n != 0) {
    memory.copy(entries, load<u32>(t, T_ENTRIES), n * ENTRY);
    give(load<u32>(t, T_ENTRIES));
  }
  store<u32>(t, entries, T_ENTRIES);
  store<u32>(t, room, T_ROOM);
  return true;
}

/** Makes an index of at least four places for each entry. */
function growIndex(t: usize): bool {
  const n = entryCount(t);
  let places: u32 = 64;
  while (places < n * 4) places <<= 1;
  if (places * 4 > LARGEST) return false;
  const index = take(places * 4);
  if (index == 0) return false;
  if (load<u32>(t, T_INDEX) != 0) give(load<u32>(t, T_INDEX));
  memory.fill(index, 0, places * 4);
  store<u32>(t, index, T_INDEX);
  store<u32>(t, places - 1, T_INDEX_MASK);
  for (let i: u32 = 0; i < n; i++) indexPut(t, load<u32>(entry(t, i)), i);
  return true;
}

function indexPut(t: usize, hash: u32, i: u32): void {
  const index: usize = load<u32>(t, T_INDEX);
  const mask = load<u32>(t, T_INDEX_MASK);
  let place = hash & mask;
  while (load<u32>(index + (place << 2)) != 0) place = (place + 1) & mask;
  store<u32>(index + (place << 2), i + 1);
}

/**
 * Takes back the entries from number `kept` on, which have neither check nor write. The last one that was put into the index
 * ends every chain that it stands in, so taking them out last first leaves the index as it was.
 */
export function dropEntries(t: usize, kept: u32): void {
  for (let n = entryCount(t); n > kept; n--) {
    const e = entry(t, n - 1);
    check((entryFlags(e) & (HAS_CHECK | HAS_WRITE)) == 0, FAIL_TRANSACTION);
    store<u32>(t, load<u32>(t, T_ARENA_WASTE) + pad4(load<u32>(e, E_KEY_BYTES)), T_ARENA_WASTE);
    const index: usize = load<u32>(t, T_INDEX);
    if (index != 0) {
      const mask = load<u32>(t, T_INDEX_MASK);
      let place = load<u32>(e, E_HASH) & mask;
      while (load<u32>(index + (place << 2)) != n) place = (place + 1) & mask;
      store<u32>(index + (place << 2), 0);
    }
    store<u32>(t, n - 1, T_COUNT);
  }
}

// ---- the arena

const NO_ROOM: u32 = 0xffffffff;

/** Takes `bytes` of the arena: their place in it, or NO_ROOM. */
function arenaTake(t: usize, bytes: u32): u32 {
  const need = pad4(bytes);
  if (load<u32>(t, T_ARENA_USED) + need > load<u32>(t, T_ARENA_ROOM) && !arenaGrow(t, need)) return NO_ROOM;
  const at = load<u32>(t, T_ARENA_USED);
  store<u32>(t, at + need, T_ARENA_USED);
  return at;
}

/** Moves what is in use to a new arena with at least as much room again, and room for `need` more. */
function arenaGrow(t: usize, need: u32): bool {
  const used = load<u32>(t, T_ARENA_USED) - load<u32>(t, T_ARENA_WASTE) + need;
  if (used > LARGEST - SLACK) return false;
  const room = min(max(used * 2, FIRST_ARENA), LARGEST - SLACK);
  const arena = take(room + SLACK);
  if (arena == 0) return false;
  const old = load<u32>(t, T_ARENA);
  let at: u32 = 0;
  for (let i: u32 = 0, n = entryCount(t); i < n; i++) {
    const e = entry(t, i);
    at = moveTo(arena, at, old, e, E_KEY, load<u32>(e, E_KEY_BYTES), pad4(load<u32>(e, E_KEY_BYTES)));
    const kept = load<u32>(e, E_VALUE_ROOM);
    if (kept != 0) at = moveTo(arena, at, old, e, E_VALUE, load<u32>(e, E_VALUE_BYTES), kept);
  }
  if (old != 0) give(old);
  store<u32>(t, arena, T_ARENA);
  store<u32>(t, at, T_ARENA_USED);
  store<u32>(t, room, T_ARENA_ROOM);
  store<u32>(t, 0, T_ARENA_WASTE);
  return true;
}

/** Moves one key or value; `field` of its entry says where it is. Returns the place behind its room. */
function moveTo(arena: u32, at: u32, old: u32, e: usize, field: usize, bytes: u32, room: u32): u32 {
  memory.copy(arena + at, old + load<u32>(e + field), bytes);
  store<u32>(e + field, at);
  return at + room;
}

/** Room for a value of `bytes` in the arena, where the entry's value will be; false when there is no memory for it. */
export function valueRoom(t: usize, i: u32, bytes: u32): bool {
  const e = entry(t, i);
  if (bytes <= load<u32>(e, E_VALUE_ROOM)) return true;
  const at = arenaTake(t, bytes);
  if (at == NO_ROOM) return false;
  store<u32>(t, load<u32>(t, T_ARENA_WASTE) + load<u32>(e, E_VALUE_ROOM), T_ARENA_WASTE);
  store<u32>(e, at, E_VALUE);
  store<u32>(e, pad4(bytes), E_VALUE_ROOM);
  return true;
}

// ---- what a command sees and does

/** Begins a command: `countCheck` and `countDel` count each key once. */
export function commandBegin(t: usize): void {
  store<u32>(t, load<u32>(t, T_COMMAND) + 1, T_COMMAND);
}

/** The key was not yet counted by this command. */
export function firstTime(t: usize, e: usize): bool {
  if (load<u32>(e, E_COMMAND) == load<u32>(t, T_COMMAND)) return false;
  store<u32>(e, load<u32>(t, T_COMMAND), E_COMMAND);
  return true;
}

/** Looks a key up at the pinned revision and its log time, unless it is among the own writes. */
export function see(t: usize, e: usize): void {
  if ((entryFlags(e) & HAS_WRITE) != 0) return;
  const record = findAt(<u32>entryKey(t, e), load<u32>(e, E_KEY_BYTES), 0, load<u64>(t, T_REVISION), load<u64>(t, T_TIME));
  store<u32>(e, record, E_RECORD);
}

/** Whether the key exists in the transaction's view (after `see`). */
export function seenLive(e: usize): bool {
  return (entryFlags(e) & HAS_WRITE) != 0 ? (entryFlags(e) & IS_DEL) == 0 : load<u32>(e, E_RECORD) != 0;
}

/** The value in the transaction's view of a key that exists there. */
export function seenValue(t: usize, e: usize): usize {
  return (entryFlags(e) & HAS_WRITE) != 0 ? load<u32>(t, T_ARENA) + load<u32>(e, E_VALUE) : recValue(load<u32>(e, E_RECORD));
}

export function seenLength(e: usize): u32 {
  return (entryFlags(e) & HAS_WRITE) != 0 ? load<u32>(e, E_VALUE_BYTES) : recValueLen(load<u32>(e, E_RECORD));
}

/** The deadline in the transaction's view of a key that exists there, 0: none. Not for a write with a time to live of its own. */
export function seenDeadline(e: usize): u64 {
  const flags = entryFlags(e);
  if ((flags & HAS_WRITE) != 0) return (flags & KEEPS) == 0 ? 0 : load<u64>(e, E_TTL);
  return recDeadline(load<u32>(e, E_RECORD));
}

/** What a value that takes the place of the one seen must do to have its deadline: HAS_TTL, KEEPS, or 0 for none. */
export function keptExpiry(e: usize): u32 {
  const flags = entryFlags(e);
  if ((flags & HAS_WRITE) != 0) return flags & (HAS_TTL | KEEPS);
  const record = load<u32>(e, E_RECORD);
  return record == 0 || recDeadline(record) == 0 ? 0 : KEEPS;
}

/** Bytes that a time to live adds to a write. */
// @ts-ignore: decorator
@inline
export function ttlBytes(flags: u32): u32 {
  return (flags & HAS_TTL) == 0 ? 0 : TTL_BYTES;
}

/** Bytes that noting the dependence on the key adds. */
export function checkCost(e: usize): u32 {
  return (entryFlags(e) & (HAS_CHECK | HAS_WRITE)) != 0 ? 0 : 12 + pad4(load<u32>(e, E_KEY_BYTES));
}

/** Bytes that the key's write takes up now. */
export function writeCost(e: usize): u32 {
  const flags = entryFlags(e);
  if ((flags & HAS_WRITE) == 0) return 0;
  return 12 + pad4(load<u32>(e, E_KEY_BYTES) + load<u32>(e, E_VALUE_BYTES)) + ttlBytes(flags);
}

/** Whether the transaction stays within its limit when `added` is added and `removed` taken away. */
export function within(t: usize, added: u64, removed: u64): bool {
  return load<u32>(t, T_BYTES) + added <= load<u32>(F_MAX_TRANSACTION) + removed;
}

/** Bytes against the limit. */
export function bytesOf(t: usize): u32 {
  return load<u32>(t, T_BYTES);
}

export function addBytes(t: usize, added: u32, removed: u32): void {
  store<u32>(t, load<u32>(t, T_BYTES) + added - removed, T_BYTES);
}

/** Notes the revision that was seen of the key, unless it is noted or among the own writes. */
export function noteCheck(t: usize, i: u32): void {
  const e = entry(t, i);
  if ((entryFlags(e) & (HAS_CHECK | HAS_WRITE)) != 0) return;
  const record = load<u32>(e, E_RECORD);
  store<u32>(e, entryFlags(e) | HAS_CHECK, E_FLAGS);
  store<u64>(e, record == 0 ? 0 : recRevision(record), E_REVISION);
  chain(t, T_CHECKS, E_NEXT_CHECK, i);
}

/**
 * Makes the key's write a SET of a value of `bytes`, which the caller puts at the returned place (`valueRoom` was called).
 * `expiry`: HAS_TTL with `ttl`, KEEPS with the deadline kept in `ttl`, or 0.
 */
export function noteSet(t: usize, i: u32, bytes: u32, expiry: u32, ttl: u64): usize {
  const e = entry(t, i);
  if ((entryFlags(e) & HAS_WRITE) == 0) chain(t, T_WRITES, E_NEXT_WRITE, i);
  store<u32>(e, (entryFlags(e) & HAS_CHECK) | HAS_WRITE | expiry, E_FLAGS);
  store<u64>(e, ttl, E_TTL);
  store<u32>(e, bytes, E_VALUE_BYTES);
  return load<u32>(t, T_ARENA) + load<u32>(e, E_VALUE);
}

export function noteDel(t: usize, i: u32): void {
  const e = entry(t, i);
  if ((entryFlags(e) & HAS_WRITE) == 0) chain(t, T_WRITES, E_NEXT_WRITE, i);
  store<u32>(e, (entryFlags(e) & HAS_CHECK) | HAS_WRITE | IS_DEL, E_FLAGS);
  store<u32>(e, 0, E_VALUE_BYTES);
}

/** Appends entry `i` to a chain whose first, last and count stand at `head`, through the field `next`. */
function chain(t: usize, head: usize, next: usize, i: u32): void {
  const last = load<u32>(t + head + 4);
  if (last == 0) store<u32>(t + head, i + 1);
  else store<u32>(entry(t, last - 1) + next, i + 1);
  store<u32>(t + head + 4, i + 1);
  store<u32>(t + head + 8, load<u32>(t + head + 8) + 1);
  store<u32>(entry(t, i) + next, 0);
}

// ---- COMMIT

export function txnWrites(t: usize): u32 {
  return load<u32>(t, T_WRITE_COUNT);
}

/** Bytes of its COMMIT's operation. */
export function commitBytes(t: usize): u32 {
  return 12 + load<u32>(t, T_BYTES);
}

/** Writes the COMMIT at `at` and returns the address behind it. */
export function putCommit(at: usize, t: usize): usize {
  const bytes = load<u32>(t, T_BYTES);
  const arena: usize = load<u32>(t, T_ARENA);
  const body = putOperation(at, OP_COMMIT, 0, load<u32>(t, T_CHECK_COUNT), bytes);
  at = body;
  for (let i = load<u32>(t, T_CHECKS); i != 0; ) {
    const e = entry(t, i - 1);
    store<u32>(at, load<u32>(e, E_KEY_BYTES));
    store<u64>(at, load<u64>(e, E_REVISION), 4);
    memory.copy(at + 12, arena + load<u32>(e, E_KEY), load<u32>(e, E_KEY_BYTES));
    at = putPadding(at + 12 + load<u32>(e, E_KEY_BYTES));
    i = load<u32>(e, E_NEXT_CHECK);
  }
  for (let i = load<u32>(t, T_WRITES); i != 0; ) {
    const e = entry(t, i - 1);
    const value = load<u32>(e, E_VALUE_BYTES);
    const code = (entryFlags(e) & IS_DEL) != 0 ? OP_DEL : OP_SET;
    const expiry = entryFlags(e) & (HAS_TTL | KEEPS);
    at = putOperation(at, code, expiry, load<u32>(e, E_KEY_BYTES), value);
    memory.copy(at, arena + load<u32>(e, E_KEY), load<u32>(e, E_KEY_BYTES));
    memory.copy(at + load<u32>(e, E_KEY_BYTES), arena + load<u32>(e, E_VALUE), value);
    at = putPadding(at + load<u32>(e, E_KEY_BYTES) + value);
    if (expiry == HAS_TTL) {
      store<u64>(at, load<u64>(e, E_TTL));
      at += TTL_BYTES;
    }
    i = load<u32>(e, E_NEXT_WRITE);
  }
  check(<u32>(at - body) == bytes, FAIL_TRANSACTION);
  return at;
}
