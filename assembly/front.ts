/**
 * The front's fixed state: everything of the parser, the connections and the items that is not in a buffer of its own.
 * It stands at FRONT_BASE and is all zeros before `frontInit`.
 *
 * ```
 *    0  u32   limit of a key, bytes
 *    4  u32   of a value
 *    8  u32   of a line
 *   12  u32   of a reply
 *   16  u32   of a transaction
 *   20  u32   of the open entry
 *   24  u32   free slots: first slot + 1 (0: none)
 *   28  u32   slots ever used
 *   32  u32   ready list: first slot + 1
 *   36  u32   last slot + 1
 *   40  u32   waiting list: first slot + 1
 *   44  u32   last slot + 1
 *   48  u32   closed slots that may not be reused yet: first slot + 1
 *   52  u32   bytes staged
 *   56  f64   now, ms
 *   64  u64   lines parsed
 *   72  u64   commands encoded
 *   80  u64   reads answered
 *   88  u32   open entry: bytes of its operations
 *   92  u32   its commands
 *   96  u32   its list of items
 *  100  u32   first sealed list
 *  104  u32   last sealed list
 *  108  u32   list of the entry that is being applied
 *  112  u32   next item of it
 *  120  u64   sequence of the last sealed entry
 *  128  u32   gathering reads: list
 *  132  u32   reads in flight: list
 *  136  u32   gathering reads: how many
 *  140  u32   reads in flight: next item
 *  144  u32   KEYS not yet answered among them
 *  148  u32   transactions: least recently used
 *  152  u32   most recently used
 *  156  u32   how many
 *  160  64 B  output: see output.ts
 *  224  96 B  KEYS: see reads.ts
 *  320  160 B  words of the line: see words.ts
 *  488  u64   bytes of a line's keys in an item
 *  496  u64   bytes of them as operations
 *  512  24 B  origin of own entries: folder identity (16 bytes), u32 starts, u32 nonce
 *  536  u64   bytes of blocks taken for clients
 *  544  24 B  output, the other chain: see output.ts
 *  568  u32   bytes of lines looked at by this `ingest`
 *  576  u64   options of the SET being parsed: its time to live, ms
 *  584  u32   its flags
 *  588  u32   PERSISTs in the open entry
 *  592  u64   of the SEQ that is being parsed: its sequence, 0: none
 *  600  u64   the lowest sequence still unanswered that it says, 0: it does not
 *  608  u32   SESSIONs and SEQs in the open entry
 * 1024  1024 B  hash table of the command names: see text.ts
 * 2048  4096 B  scratch
 * ```
 */
import { FRONT_BASE } from './layout';

export const F_MAX_KEY: usize = FRONT_BASE + 0;
export const F_MAX_VALUE: usize = FRONT_BASE + 4;
export const F_MAX_LINE: usize = FRONT_BASE + 8;
export const F_MAX_REPLY: usize = FRONT_BASE + 12;
export const F_MAX_TRANSACTION: usize = FRONT_BASE + 16;
export const F_MAX_ENTRY: usize = FRONT_BASE + 20;
export const F_FREE: usize = FRONT_BASE + 24;
export const F_SLOTS: usize = FRONT_BASE + 28;
export const F_READY_FIRST: usize = FRONT_BASE + 32;
export const F_READY_LAST: usize = FRONT_BASE + 36;
export const F_WAITING_FIRST: usize = FRONT_BASE + 40;
export const F_WAITING_LAST: usize = FRONT_BASE + 44;
export const F_LIMBO: usize = FRONT_BASE + 48;
export const F_STAGED: usize = FRONT_BASE + 52;
export const F_NOW: usize = FRONT_BASE + 56;
export const F_PARSED: usize = FRONT_BASE + 64;
export const F_ENCODED: usize = FRONT_BASE + 72;
export const F_READS: usize = FRONT_BASE + 80;
export const F_OPEN_BYTES: usize = FRONT_BASE + 88;
export const F_OPEN_COMMANDS: usize = FRONT_BASE + 92;
export const F_OPEN_ITEMS: usize = FRONT_BASE + 96;
export const F_SEALED_FIRST: usize = FRONT_BASE + 100;
export const F_SEALED_LAST: usize = FRONT_BASE + 104;
export const F_APPLYING: usize = FRONT_BASE + 108;
export const F_APPLYING_AT: usize = FRONT_BASE + 112;
export const F_SEQUENCE: usize = FRONT_BASE + 120;
export const F_GATHERING: usize = FRONT_BASE + 128;
export const F_FLIGHT: usize = FRONT_BASE + 132;
export const F_GATHERED: usize = FRONT_BASE + 136;
export const F_FLIGHT_AT: usize = FRONT_BASE + 140;
export const F_FLIGHT_KEYS: usize = FRONT_BASE + 144;
export const F_TXN_FIRST: usize = FRONT_BASE + 148;
export const F_TXN_LAST: usize = FRONT_BASE + 152;
export const F_TXN_COUNT: usize = FRONT_BASE + 156;
export const F_OUT: usize = FRONT_BASE + 160;
export const F_KEYS: usize = FRONT_BASE + 224;
export const F_WORDS: usize = FRONT_BASE + 320;
export const F_KEYS_ITEM_BYTES: usize = FRONT_BASE + 488;
export const F_KEYS_OPERATION_BYTES: usize = FRONT_BASE + 496;
export const F_ORIGIN: usize = FRONT_BASE + 512;
export const F_TAKEN: usize = FRONT_BASE + 536;
export const F_OUT_OTHER: usize = FRONT_BASE + 544;
export const F_INGESTED: usize = FRONT_BASE + 568;
export const F_SET_TTL: usize = FRONT_BASE + 576;
export const F_SET_FLAGS: usize = FRONT_BASE + 584;
export const F_OPEN_PERSISTS: usize = FRONT_BASE + 588;
export const F_SEQ: usize = FRONT_BASE + 592;
export const F_SEQ_FROM: usize = FRONT_BASE + 600;
export const F_OPEN_SESSIONS: usize = FRONT_BASE + 608;
export const F_NAMES: usize = FRONT_BASE + 1024;
export const F_SCRATCH: usize = FRONT_BASE + 2048;

/** Codes of `fail`: the front's are 200 … 299. */
export const FAIL_OUTPUT: u32 = 200;
export const FAIL_ENTRY_REGION: u32 = 201;
export const FAIL_ITEMS: u32 = 202;
export const FAIL_CONNECTION: u32 = 203;
export const FAIL_TRANSACTION: u32 = 204;
export const FAIL_TEXTS: u32 = 205;
export const FAIL_SEQUENCE: u32 = 206;

// @ts-ignore: decorator
@inline
export function maxKey(): u32 {
  return load<u32>(F_MAX_KEY);
}

// @ts-ignore: decorator
@inline
export function maxValue(): u32 {
  return load<u32>(F_MAX_VALUE);
}

// @ts-ignore: decorator
@inline
export function maxReply(): u32 {
  return load<u32>(F_MAX_REPLY);
}

// @ts-ignore: decorator
@inline
export function pad4(n: u32): u32 {
  return (n + 3) & ~3;
}

/** Adds one to a 64-bit counter. */
// @ts-ignore: decorator
@inline
export function count(counter: usize): void {
  store<u64>(counter, load<u64>(counter) + 1);
}

/**
 * Copies in steps of 16 bytes: up to 15 bytes past the end of both are touched, so the source must be a line or the text
 * blob, and the target a buffer with slack.
 */
// @ts-ignore: decorator
@inline
export function copyLoose(dst: usize, src: usize, n: u32): void {
  if (n > 512) {
    memory.copy(dst, src, n);
    return;
  }
  for (let i: u32 = 0; i < n; i += 16) v128.store(dst + i, v128.load(src + i));
}
