/**
 * The open entry: writes are encoded into it while they are parsed, at the place from which they leave.
 *
 * ```
 * ENTRY_BASE +   0  room for the leader's header, zeros
 *            +  64  payload: origin (24 bytes), u64 sequence, u32 commands, u32 0      filled in by `seal`
 *            + 104  operations, 12 bytes and their data each:
 *                     0  u8 code   1  u8 flags   2  u16 0   4  u32 key length   8  u32 value length   12 key, value, pad4,
 *                     and with the flag TTL: u64 time to live, ms
 * ```
 *
 * In front of a command whose line began with SEQ stands that, an operation of its own.
 *
 * Invariant: all checks on a command are made before its first byte is written, so a refused command leaves no trace.
 */
import { connJoined, connSession, connSlot, IS_WRITING } from './conn';
import { crc32c } from './crc';
import {
  count,
  F_ENCODED,
  F_MAX_ENTRY,
  F_OPEN_BYTES,
  F_OPEN_COMMANDS,
  F_OPEN_ITEMS,
  F_OPEN_PERSISTS,
  F_OPEN_SESSIONS,
  F_ORIGIN,
  F_SEQ,
  F_SEQ_FROM,
  F_SEQUENCE,
  FAIL_ENTRY_REGION,
  pad4,
} from './front';
import { ITEM_COMMAND, itemsSeal, listRoom, listTook } from './items';
import { ENTRY_BASE, ENTRY_SIZE, STAGE_SIZE } from './layout';
import { check } from './memory';
import { MOST_PERSISTS, MOST_SESSIONS } from './validate';
import { putWord, wordLength } from './words';

export const OP_SET: u32 = 1;
export const OP_DEL: u32 = 2;
export const OP_INCR: u32 = 3;
export const OP_CAS: u32 = 4;
export const OP_COMMIT: u32 = 5;
export const OP_PERSIST: u32 = 6;
export const OP_SESSION: u32 = 7;
export const OP_SEQ: u32 = 8;
export const OP_FENCE: u32 = 9;
export const FLAG_NX: u32 = 1;
export const FLAG_XX: u32 = 2;
export const FLAG_MORE: u32 = 4;
export const FLAG_TTL: u32 = 8;
export const FLAG_KEEP: u32 = 16;

export const ROOM: u32 = 64;
export const PAYLOAD_HEADER: u32 = 40;
const OPERATIONS: usize = ENTRY_BASE + ROOM + PAYLOAD_HEADER;
/** Bytes of a SEQ. */
const SEQ_BYTES: u32 = 36;
/** Bytes of operations that an entry can hold: it must fit in the region where it is staged for apply, the smaller one. */
const MOST: u32 = STAGE_SIZE - ROOM - PAYLOAD_HEADER - 4096;

/** The open entry has reached the size at which it closes. */
// @ts-ignore: decorator
@inline
export function entryFull(): bool {
  return load<u32>(F_OPEN_BYTES) + PAYLOAD_HEADER >= load<u32>(F_MAX_ENTRY);
}

/** Operations of `bytes` fit into the open entry. */
export function entryFits(bytes: u64): bool {
  return bytes <= MOST - load<u32>(F_OPEN_BYTES);
}

/** Operations of `bytes` fit into an entry of their own. */
export function entryCanHold(bytes: u64): bool {
  return bytes <= MOST;
}

// @ts-ignore: decorator
@inline
export function entryAt(): usize {
  return OPERATIONS + load<u32>(F_OPEN_BYTES);
}

/** Bytes of the SEQ that goes in front of the next command's operations. */
export function sequenceBytes(): u32 {
  return load<u64>(F_SEQ) == 0 ? 0 : SEQ_BYTES;
}

/** Where the next command's operations go, behind its SEQ if its line began with one. All checks are made. */
// @ts-ignore: decorator
@inline
export function operationsAt(c: usize): usize {
  return load<u64>(F_SEQ) == 0 ? entryAt() : putSequence(c);
}

function putSequence(c: usize): usize {
  const at = putOperation(entryAt(), OP_SEQ, 0, 8, 16);
  store<u64>(at, connSession(c));
  store<u64>(at, load<u64>(F_SEQ), 8);
  store<u64>(at, load<u64>(F_SEQ_FROM), 16);
  store<u32>(F_OPEN_SESSIONS, load<u32>(F_OPEN_SESSIONS) + 1);
  return at + 24;
}

/** The open entry holds as many SESSIONs and SEQs as an entry may. */
export function sessionsFull(): bool {
  return load<u32>(F_OPEN_SESSIONS) >= MOST_SESSIONS;
}

/** Writes an operation's header and returns where its data goes. */
// @ts-ignore: decorator
@inline
export function putOperation(at: usize, code: u32, flags: u32, key: u32, value: u32): usize {
  store<u32>(at, code | (flags << 8));
  store<u32>(at, key, 4);
  store<u32>(at, value, 8);
  return at + 12;
}

/** Fills up with zeros to a multiple of 4 and returns the address behind them. */
// @ts-ignore: decorator
@inline
export function putPadding(at: usize): usize {
  store<u32>(at, 0);
  return (at + 3) & ~3;
}

/** Room for the item of one more command; false when there is no memory for it. */
export function commandRoom(): bool {
  return listRoom(F_OPEN_ITEMS, 4) != 0;
}

/** The operations up to `end` are one more command of the open entry, whose reply goes to this connection. */
export function commandDone(c: usize, end: usize): void {
  check(<u32>end <= ENTRY_BASE + ENTRY_SIZE - 1024, FAIL_ENTRY_REGION);
  store<u32>(F_OPEN_BYTES, <u32>end - <u32>OPERATIONS);
  store<u32>(F_OPEN_COMMANDS, load<u32>(F_OPEN_COMMANDS) + 1);
  store<u32>(listRoom(F_OPEN_ITEMS, 4), connSlot(c) | (ITEM_COMMAND << 16));
  listTook(F_OPEN_ITEMS, 4);
  connJoined(c, IS_WRITING);
  count(F_ENCODED);
}

/** SET key value; `ttl` with the flag TTL only. */
export function encodeSet(c: usize, flags: u32, key: usize, value: usize, ttl: u64): void {
  let at = putOperation(operationsAt(c), OP_SET, flags, wordLength(key), wordLength(value));
  at = putWord(at, key);
  at = putPadding(putWord(at, value));
  if ((flags & FLAG_TTL) != 0) {
    store<u64>(at, ttl);
    at += 8;
  }
  commandDone(c, at);
}

/** PERSIST key. */
export function encodePersist(c: usize, key: usize): void {
  store<u32>(F_OPEN_PERSISTS, load<u32>(F_OPEN_PERSISTS) + 1);
  commandDone(c, putPadding(putWord(putOperation(operationsAt(c), OP_PERSIST, 0, wordLength(key), 0), key)));
}

/** The open entry holds as many PERSISTs as an entry may. */
export function persistsFull(): bool {
  return load<u32>(F_OPEN_PERSISTS) >= MOST_PERSISTS;
}

/** INCR key by. */
export function encodeIncr(c: usize, key: usize, by: i64): void {
  const at = putWord(putOperation(operationsAt(c), OP_INCR, 0, wordLength(key), 8), key);
  store<i64>(at, by);
  commandDone(c, putPadding(at + 8));
}

/** CAS key expected new. */
export function encodeCas(c: usize, key: usize, expected: usize, value: usize): void {
  const bytes = 4 + wordLength(expected) + wordLength(value);
  let at = putWord(putOperation(operationsAt(c), OP_CAS, 0, wordLength(key), bytes), key);
  store<u32>(at, wordLength(expected));
  at = putWord(at + 4, expected);
  at = putWord(at, value);
  commandDone(c, putPadding(at));
}

/** SESSION (0), or SESSION number. */
export function encodeSession(c: usize, number: u64): void {
  let at = putOperation(entryAt(), OP_SESSION, 0, number == 0 ? 0 : 8, 0);
  if (number != 0) {
    store<u64>(at, number);
    at += 8;
  }
  store<u32>(F_OPEN_SESSIONS, load<u32>(F_OPEN_SESSIONS) + 1);
  commandDone(c, at);
}

/** FENCE: the line's sequence is taken by a COMMIT that did not happen. */
export function encodeFence(c: usize): void {
  commandDone(c, putOperation(operationsAt(c), OP_FENCE, 0, 0, 0));
}

/** One key of a DEL at `at`; returns the address behind it. */
export function encodeDelKey(at: usize, key: usize, more: bool): usize {
  return putPadding(putWord(putOperation(at, OP_DEL, more ? FLAG_MORE : 0, wordLength(key), 0), key));
}

/**
 * Closes the open entry: its payload then stands behind the room, numbered, and its items wait for it to be applied.
 * Returns the bytes of room and payload; 0 when it holds no command.
 */
export function sealEntry(): u32 {
  const commands = load<u32>(F_OPEN_COMMANDS);
  if (commands == 0) return 0;
  const bytes = ROOM + PAYLOAD_HEADER + load<u32>(F_OPEN_BYTES);
  const sequence = load<u64>(F_SEQUENCE) + 1;
  store<u64>(F_SEQUENCE, sequence);
  payloadHeader(ENTRY_BASE, sequence, commands);
  itemsSeal(sequence);
  entryReset();
  return bytes;
}

/** Forgets what the open entry holds. */
export function entryReset(): void {
  store<u32>(F_OPEN_BYTES, 0);
  store<u32>(F_OPEN_COMMANDS, 0);
  store<u32>(F_OPEN_PERSISTS, 0);
  store<u32>(F_OPEN_SESSIONS, 0);
}

/** Room, origin, sequence and number of commands of a record at `record`. */
export function payloadHeader(record: usize, sequence: u64, commands: u32): void {
  memory.fill(record, 0, ROOM);
  memory.copy(record + ROOM, F_ORIGIN, 24);
  store<u64>(record + ROOM, sequence, 24);
  store<u32>(record + ROOM, commands, 32);
  store<u32>(record + ROOM, 0, 36);
}

/** CRC32C of the payload of a record of `bytes` at `record`. */
export function payloadCrc(record: usize, bytes: u32): u32 {
  return crc32c(<u32>record + ROOM, bytes - ROOM, 0);
}
