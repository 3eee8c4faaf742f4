/**
 * What the host calls of the front. Numbers cross as u32, or f64 where they may exceed 32 bits; bytes are copied to and from
 * the addresses returned here.
 *
 * ```
 * ARGS at `frontInit`:   0  u32 limits: key, value, line, reply, transaction, entry (4 bytes each)
 *                       32  16 B folder identity    48  u32 starts    52  u32 nonce
 * ARGS after `seal` and `giveUp`:     0  f64 sequence    8  u32 CRC32C of the payload    12  u32 address    16  u32 bytes
 * ARGS after `frontStats`:            0  f64 lines parsed   8  f64 commands encoded   16  f64 reads   24  f64 transactions
 * ARGS for `dumpNext`:                0  f64 cursor
 * ARGS after `dumpRecord`:            0  u32 key   4  u32 its length   8  u32 value   12  u32 its length   16  f64 revision
 *                                    24  f64 deadline, 0: none
 * ARGS after `runBatch`:              0  u32 address of the replies    4  u32 bytes
 * ARGS for `systemValue`:             0  the key      after it:        0  u32 address of the value
 * ```
 */
import { apply, run, setOrigin, systemRecord } from './apply';
import { connWakeWaiting, IS_CLOSED, IS_OPEN } from './conn';
import { entryReset, PAYLOAD_HEADER, payloadCrc, payloadHeader, ROOM, sealEntry } from './encode';
import {
  F_ENCODED,
  F_GATHERED,
  F_MAX_KEY,
  F_OPEN_BYTES,
  F_OPEN_COMMANDS,
  F_ORIGIN,
  F_PARSED,
  F_READS,
  F_READY_FIRST,
  F_SCRATCH,
  F_SEQUENCE,
  F_STAGED,
  FAIL_SEQUENCE,
} from './front';
import { itemsGiveUp, itemsGiveUpOpen, settleGivenUp } from './items';
import { ARGS_BASE, ENTRY_BASE } from './layout';
import { check } from './memory';
import {
  MSG_DISK_FULL,
  MSG_NO_LEADER,
  MSG_READ_TIMEOUT,
  MSG_STOPPING,
  MSG_STOPPING_UNKNOWN,
  MSG_WRITE_TIMEOUT,
} from './messages';
import { outputApplied, outputApplying, outputAt, outputRelease, resultDrop, resultStart } from './output';
import { failReads } from './reads';
import { recDeadline, recKey, recKeyLen, recRevision, recValue, recValueLen } from './record';
import { SCAN_END, scanSome } from './scan';
import { textsInit } from './text';
import { txnCount } from './txn';
import { newestRevision, published, publishedTime } from './version';

/** Bits of a connection's flags that say whether its client is there: open, and not closed. */
export const CONN_ALIVE_MASK: u32 = IS_OPEN | IS_CLOSED;
export const CONN_ALIVE: u32 = IS_OPEN;

/** After `init` and once the texts are at TEXT_BASE. */
export function frontInit(): void {
  memory.copy(F_MAX_KEY, ARGS_BASE, 24);
  memory.copy(F_ORIGIN, ARGS_BASE + 32, 24);
  setOrigin(ARGS_BASE + 32, load<u32>(ARGS_BASE, 48), load<u32>(ARGS_BASE, 52));
  textsInit();
}

/** `ingest` has something to do: bytes are staged, or held input could be parsed now. */
export function ready(): u32 {
  return (load<u32>(F_READY_FIRST) | load<u32>(F_STAGED)) != 0 ? 1 : 0;
}

export function openCommands(): u32 {
  return load<u32>(F_OPEN_COMMANDS);
}

/** Bytes of the open entry's payload; 0 when it holds no command. */
export function openBytes(): u32 {
  return load<u32>(F_OPEN_COMMANDS) == 0 ? 0 : PAYLOAD_HEADER + load<u32>(F_OPEN_BYTES);
}

/** Tells the host about a record with its room at `record`. */
function tellRecord(sequence: u64, record: usize, bytes: u32): void {
  store<f64>(ARGS_BASE, <f64>sequence);
  store<u32>(ARGS_BASE, payloadCrc(record, bytes), 8);
  store<u32>(ARGS_BASE, <u32>record, 12);
  store<u32>(ARGS_BASE, bytes, 16);
}

/** Closes the open entry; 0 when it holds no command. The record is to be copied before anything else is called. */
export function seal(): u32 {
  const bytes = sealEntry();
  if (bytes == 0) return 0;
  tellRecord(load<u64>(F_SEQUENCE), ENTRY_BASE, bytes);
  connWakeWaiting();
  return 1;
}

/** Messages for why: 0 no-leader, 1 timeout, 2 stopping, 3 disk-full. */
function whyNothing(why: u32): u32 {
  if (why == 3) return MSG_DISK_FULL;
  return why == 0 ? MSG_NO_LEADER : why == 1 ? MSG_READ_TIMEOUT : MSG_STOPPING;
}

function whyUnknown(why: u32): u32 {
  return why == 2 ? MSG_STOPPING_UNKNOWN : MSG_WRITE_TIMEOUT;
}

/** Answers a sealed entry's items without an outcome, and makes the empty entry of its number. */
export function giveUp(sequence: f64, why: u32, mayHaveLeft: u32): void {
  const number = <u64>sequence;
  check(number > 0 && number <= load<u64>(F_SEQUENCE), FAIL_SEQUENCE);
  itemsGiveUp(number, whyNothing(why), mayHaveLeft != 0 ? whyUnknown(why) : whyNothing(why));
  payloadHeader(F_SCRATCH, number, 0);
  tellRecord(number, F_SCRATCH, ROOM + PAYLOAD_HEADER);
}

export function giveUpOpen(why: u32): void {
  itemsGiveUpOpen(whyNothing(why));
  entryReset();
  connWakeWaiting();
}

export function gathered(): u32 {
  return load<u32>(F_GATHERED);
}

export function giveUpReads(why: u32): void {
  failReads(whyNothing(why));
}

export function frontStats(): void {
  store<f64>(ARGS_BASE, <f64>load<u64>(F_PARSED));
  store<f64>(ARGS_BASE, <f64>load<u64>(F_ENCODED), 8);
  store<f64>(ARGS_BASE, <f64>load<u64>(F_READS), 16);
  store<f64>(ARGS_BASE, <f64>txnCount(), 24);
}

/**
 * More of all users' records that are published: how many, their addresses at SCAN_BASE; -1 at the end. The cursor, f64 at
 * ARGS, is 0 at the start.
 */
export function dumpNext(): i32 {
  const cursor = <u64>load<f64>(ARGS_BASE);
  if (cursor >= SCAN_END) return -1;
  store<u64>(ARGS_BASE, cursor);
  const found = scanSome(ARGS_BASE, published(), publishedTime());
  store<f64>(ARGS_BASE, <f64>load<u64>(ARGS_BASE));
  return found;
}

/** A record's key, value, revision and deadline at ARGS. */
export function dumpRecord(record: u32): void {
  store<u32>(ARGS_BASE, recKey(record));
  store<u32>(ARGS_BASE, recKeyLen(record), 4);
  store<u32>(ARGS_BASE, recValue(record), 8);
  store<u32>(ARGS_BASE, recValueLen(record), 12);
  store<f64>(ARGS_BASE, <f64>recRevision(record), 16);
  store<f64>(ARGS_BASE, <f64>recDeadline(record), 24);
}

/** A slice of `apply`; replies are released once what they speak of is published. */
export function applyStaged(): u32 {
  outputApplying();
  const outcome = apply();
  outputApplied();
  if (newestRevision() == published()) {
    outputRelease();
    settleGivenUp();
  }
  return outcome;
}

/** Applies a batch of operations at once; the outcome of `run`. */
export function runBatch(operations: u32, bytes: u32): u32 {
  const outcome = run(operations, bytes);
  if (outcome != 0) return outcome;
  const start = resultStart();
  store<u32>(ARGS_BASE, <u32>start);
  store<u32>(ARGS_BASE, <u32>(outputAt() - start), 4);
  resultDrop(start);
  return 0;
}

/** The published value of the system record whose key stands at ARGS: its length, or -1. */
export function systemValue(keyLen: u32): i32 {
  const record = systemRecord(ARGS_BASE, keyLen);
  if (record == 0) return -1;
  store<u32>(ARGS_BASE, recValue(record));
  return recValueLen(record);
}
