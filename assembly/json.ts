/**
 * Strings on their way out: a byte string as one JSON string on one line.
 *
 * ```
 * "  \  \b \f \n \r \t      as escapes of two bytes
 * other bytes below 0x20    \u00xx
 * well-formed UTF-8         as it is
 * any other byte            \udcxx
 * ```
 *
 * Sixteen bytes are looked at in one step: as signed numbers, all that is below 0x20 or above 0x7f is less than 32. A block
 * is stored whole, and what needs no escape before the first special byte is kept of it.
 */
import { lineOver, reserve, wrote } from './output';

/** Bytes of the source for which room is made at once: six times as many may come out. */
const PIECE: u32 = 4096;
/** An escape of six bytes: `\u00` and `\udc`, little-endian, without the two digits. */
const LOW: u32 = 0x3030755c;
const HIGH: u32 = 0x6364755c;

/** Writes the string with its quotes. Stops early when the line is over its limit. */
export function putJsonString(p: usize, length: u32): void {
  const end = p + length;
  let at = reserve(1);
  store<u8>(at, 34);
  wrote(at + 1);
  while (p < end) {
    const stop = min(p + PIECE, end);
    at = reserve(6 * PIECE + 32);
    p = putPiece(at, p, stop, end);
    if (lineOver()) return;
  }
  at = reserve(1);
  store<u8>(at, 34);
  wrote(at + 1);
}

/** Writes the string from `p` up to `stop` (a character that begins before it as a whole) and returns where it stopped. */
function putPiece(at: usize, p: usize, stop: usize, end: usize): usize {
  const limit = i8x16.splat(32);
  const quote = i8x16.splat(34);
  const backslash = i8x16.splat(92);
  while (p + 16 <= stop) {
    const bytes = v128.load(p);
    v128.store(at, bytes);
    const special = v128.or(i8x16.lt_s(bytes, limit), v128.or(i8x16.eq(bytes, quote), i8x16.eq(bytes, backslash)));
    const hits = i8x16.bitmask(special);
    if (hits == 0) {
      p += 16;
      at += 16;
      continue;
    }
    const plain = ctz(hits);
    p += plain;
    at += plain;
    // Special bytes often come together.
    do {
      const byte: u32 = load<u8>(p);
      if (byte < 0x80) {
        at = putEscape(at, byte);
        p++;
      } else {
        const read = sequenceAt(p, end);
        at = putHigh(at, p, read);
        p += max(read, 1);
      }
    } while (p < stop && isSpecial(load<u8>(p)));
  }
  while (p < stop) {
    const byte: u32 = load<u8>(p);
    if (!isSpecial(byte)) {
      store<u8>(at++, byte);
      p++;
    } else if (byte < 0x80) {
      at = putEscape(at, byte);
      p++;
    } else {
      const read = sequenceAt(p, end);
      at = putHigh(at, p, read);
      p += max(read, 1);
    }
  }
  wrote(at);
  return p;
}

// @ts-ignore: decorator
@inline
function follows(p: usize): bool {
  return (load<u8>(p) & 0xc0) == 0x80;
}

/** Bytes of the well-formed UTF-8 sequence of two to four bytes at `p`; 0 when there is none (Unicode, table 3-7). */
function sequenceAt(p: usize, end: usize): u32 {
  const first: u32 = load<u8>(p);
  if (first < 0xc2 || first > 0xf4 || p + 1 >= end) return 0;
  if (first < 0xe0) return follows(p + 1) ? 2 : 0;
  const second: u32 = load<u8>(p + 1);
  if (first < 0xf0) {
    if (p + 2 >= end || !follows(p + 2)) return 0;
    const least: u32 = first == 0xe0 ? 0xa0 : 0x80;
    const most: u32 = first == 0xed ? 0x9f : 0xbf;
    return second >= least && second <= most ? 3 : 0;
  }
  if (p + 3 >= end || !follows(p + 2) || !follows(p + 3)) return 0;
  const least: u32 = first == 0xf0 ? 0x90 : 0x80;
  const most: u32 = first == 0xf4 ? 0x8f : 0xbf;
  return second >= least && second <= most ? 4 : 0;
}

// @ts-ignore: decorator
@inline
function isSpecial(byte: u32): bool {
  return byte < 32 || byte == 34 || byte == 92 || byte >= 0x80;
}

/** Writes the sequence of `read` bytes at `p`, or (0) the byte there with its escape. */
function putHigh(at: usize, p: usize, read: u32): usize {
  if (read == 0) return putDigits(at, HIGH, load<u8>(p));
  for (let i: u32 = 0; i < read; i++) store<u8>(at + i, load<u8>(p + i));
  return at + read;
}

/** Writes the escape of a byte below 0x80. */
// @ts-ignore: decorator
@inline
function putEscape(at: usize, byte: u32): usize {
  const short = shortEscape(byte);
  if (short == 0) return putDigits(at, LOW, byte);
  store<u16>(at, 0x5c | (short << 8));
  return at + 2;
}

/** Writes an escape of six bytes that ends with the byte's two digits. */
// @ts-ignore: decorator
@inline
function putDigits(at: usize, start: u32, byte: u32): usize {
  store<u64>(at, <u64>start | ((<u64>hexDigit(byte >> 4)) << 32) | ((<u64>hexDigit(byte & 15)) << 40));
  return at + 6;
}

// @ts-ignore: decorator
@inline
function hexDigit(n: u32): u32 {
  return n < 10 ? 48 + n : 87 + n;
}

/** The letter of an escape of two bytes, or 0. */
function shortEscape(byte: u32): u32 {
  switch (byte) {
    case 34:
    case 92:
      return byte;
    case 8:
      return 98;
    case 12:
      return 102;
    case 10:
      return 110;
    case 13:
      return 114;
    case 9:
      return 116;
    default:
      return 0;
  }
}
