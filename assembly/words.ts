/**
 * Words of a line: blanks, quotes, escapes, integers. Nothing is copied while a line is looked over: a word is noted as
 * where it stands, and its length once its escapes are resolved, so that it can be written straight to where it belongs.
 *
 * ```
 * F_WORDS +   0  u32  number of words in the line
 *         +   8  i64  the integer found by `parseInteger`
 *         +  16  the first 8 words, 16 bytes each:
 *                  0  u32  address of its first byte (after the quote)
 *                  4  u32  bytes as they stand in the line (without the quotes)
 *                  8  u32  bytes when escapes are resolved: never more
 *                 12  u32  1: it holds escapes
 *         + 144  one more word, for going through a long line
 * ```
 *
 * Lines are read 16 bytes at a time; whatever holds lines has at least 16 bytes of memory behind it.
 */
import { copyLoose, F_WORDS } from './front';
import { MSG_AFTER_QUOTE, MSG_BAD_ESCAPE, MSG_UNTERMINATED_QUOTE } from './messages';

const KEPT: u32 = 8;
const WORD: usize = F_WORDS + 16;
export const WALK: usize = F_WORDS + 144;
export const INTEGER: usize = F_WORDS + 8;

/** What `nextWord` returns instead of an address: only blanks are left, or a bad word. */
export const NO_WORD: usize = 0;
const BAD_LAST: usize = 64;

// @ts-ignore: decorator
@inline
export function word(i: u32): usize {
  return WORD + (i << 4);
}

// @ts-ignore: decorator
@inline
export function wordCount(): u32 {
  return load<u32>(F_WORDS);
}

// @ts-ignore: decorator
@inline
export function wordStart(w: usize): usize {
  return load<u32>(w);
}

// @ts-ignore: decorator
@inline
export function wordRaw(w: usize): u32 {
  return load<u32>(w, 4);
}

// @ts-ignore: decorator
@inline
export function wordLength(w: usize): u32 {
  return load<u32>(w, 8);
}

// @ts-ignore: decorator
@inline
export function wordEscaped(w: usize): bool {
  return load<u32>(w, 12) != 0;
}

// @ts-ignore: decorator
@inline
function setWord(w: usize, start: usize, raw: u32, length: u32, escaped: u32): void {
  store<u32>(w, <u32>start);
  store<u32>(w, raw, 4);
  store<u32>(w, length, 8);
  store<u32>(w, escaped, 12);
}

/** Address of the first newline from `p` on, or `end`. */
export function findNewline(p: usize, end: usize): usize {
  const newline = i8x16.splat(10);
  for (; p < end; p += 16) {
    const hits = i8x16.bitmask(i8x16.eq(v128.load(p), newline));
    if (hits) return min(p + ctz(hits), end);
  }
  return end;
}

/** Address of the first space or tab from `p` on, or `end`. */
function findBlank(p: usize, end: usize): usize {
  const space = i8x16.splat(32);
  const tab = i8x16.splat(9);
  for (; p < end; p += 16) {
    const bytes = v128.load(p);
    const hits = i8x16.bitmask(v128.or(i8x16.eq(bytes, space), i8x16.eq(bytes, tab)));
    if (hits) return min(p + ctz(hits), end);
  }
  return end;
}

/** Address of the first quote or backslash from `p` on, or `end`. */
function findQuoteOrEscape(p: usize, end: usize): usize {
  const quote = i8x16.splat(34);
  const backslash = i8x16.splat(92);
  for (; p < end; p += 16) {
    const bytes = v128.load(p);
    const hits = i8x16.bitmask(v128.or(i8x16.eq(bytes, quote), i8x16.eq(bytes, backslash)));
    if (hits) return min(p + ctz(hits), end);
  }
  return end;
}

// @ts-ignore: decorator
@inline
function isBlank(byte: u32): bool {
  return byte == 32 || byte == 9;
}

/**
 * Notes the next word from `p` on in `w` and returns the address behind it (behind its closing quote); NO_WORD when only
 * blanks are left, or for a bad word the number of the message (`isBad`).
 */
export function nextWord(p: usize, end: usize, w: usize): usize {
  while (p < end && isBlank(load<u8>(p))) p++;
  if (p >= end) return NO_WORD;
  if (load<u8>(p) == 34) return quotedWord(p + 1, end, w);
  const q = findBlank(p, end);
  setWord(w, p, <u32>(q - p), <u32>(q - p), 0);
  return q;
}

// @ts-ignore: decorator
@inline
export function isBad(result: usize): bool {
  return result <= BAD_LAST;
}

function quotedWord(start: usize, end: usize, w: usize): usize {
  let p = start;
  let length: u32 = 0;
  let escaped: u32 = 0;
  while (true) {
    const q = findQuoteOrEscape(p, end);
    if (q == end) return MSG_UNTERMINATED_QUOTE;
    length += <u32>(q - p);
    if (load<u8>(q) == 34) {
      setWord(w, start, <u32>(q - start), length, escaped);
      if (q + 1 < end && !isBlank(load<u8>(q + 1))) return MSG_AFTER_QUOTE;
      return q + 1;
    }
    if (q + 1 == end) return MSG_UNTERMINATED_QUOTE;
    const read = escapeAt(q, end);
    if (read == 0) return MSG_BAD_ESCAPE;
    length += <u32>encodedLength(q, read);
    escaped = 1;
    p = q + read;
  }
}

/** Bytes of the escape at `p` (a backslash): 2, 6 or, for a pair of surrogates, 12; 0 for a bad one. */
function escapeAt(p: usize, end: usize): u32 {
  const kind: u32 = load<u8>(p + 1);
  if (kind != 117) return simpleEscape(kind) < 0 ? 0 : 2;
  const unit = hexUnit(p + 2, end);
  if (unit < 0) return 0;
  if (unit < 0xd800 || unit > 0xdfff) return 6;
  if (unit >= 0xdc00) return unit >= 0xdc80 && unit <= 0xdcff ? 6 : 0;
  if (p + 12 > end || load<u16>(p + 6) != 0x755c) return 0;
  const low = hexUnit(p + 8, end);
  return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/** The byte that `\kind` stands for, or -1. */
function simpleEscape(kind: u32): i32 {
  switch (kind) {
    case 34:
    case 92:
    case 47:
      return kind;
    case 98:
      return 8;
    case 102:
      return 12;
    case 110:
      return 10;
    case 114:
      return 13;
    case 116:
      return 9;
    default:
      return -1;
  }
}

/** The number that four hexadecimal digits at `p` make; -1 when they do not stand there. */
function hexUnit(p: usize, end: usize): i32 {
  if (p + 4 > end) return -1;
  let unit = 0;
  for (let i: usize = 0; i < 4; i++) {
    const digit = hexDigit(load<u8>(p + i));
    if (digit < 0) return -1;
    unit = (unit << 4) | digit;
  }
  return unit;
}

function hexDigit(byte: u32): i32 {
  if (byte - 48 < 10) return byte - 48;
  const letter = byte | 0x20;
  return letter - 97 < 6 ? letter - 87 : -1;
}

/** The character of a good escape of `read` bytes at `p`; lone \udc80 … \udcff give 0x80 … 0xff with bit 31. */
function escapedCharacter(p: usize, read: u32): u32 {
  if (read == 2) return simpleEscape(load<u8>(p + 1));
  const unit = <u32>hexUnit(p + 2, p + 6);
  if (read == 12) return 0x10000 + ((unit - 0xd800) << 10) + (<u32>hexUnit(p + 8, p + 12) - 0xdc00);
  return unit >= 0xdc80 && unit <= 0xdcff ? 0x80000000 | (unit & 0xff) : unit;
}

function encodedLength(p: usize, read: u32): u32 {
  const c = escapedCharacter(p, read);
  if (c < 0x80 || c >= 0x80000000) return 1;
  return c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/** Writes the character in UTF-8 (or the one byte) and returns the address behind it. */
function putCharacter(dst: usize, c: u32): usize {
  if (c < 0x80 || c >= 0x80000000) {
    store<u8>(dst, c);
    return dst + 1;
  }
  if (c < 0x800) {
    store<u8>(dst, 0xc0 | (c >> 6));
    store<u8>(dst + 1, 0x80 | (c & 63));
    return dst + 2;
  }
  if (c < 0x10000) {
    store<u8>(dst, 0xe0 | (c >> 12));
    store<u8>(dst + 1, 0x80 | ((c >> 6) & 63));
    store<u8>(dst + 2, 0x80 | (c & 63));
    return dst + 3;
  }
  store<u8>(dst, 0xf0 | (c >> 18));
  store<u8>(dst + 1, 0x80 | ((c >> 12) & 63));
  store<u8>(dst + 2, 0x80 | ((c >> 6) & 63));
  store<u8>(dst + 3, 0x80 | (c & 63));
  return dst + 4;
}

/** Looks over a line: notes its first words and counts all. 0, or the message of its first bad word. */
export function splitLine(p: usize, end: usize): u32 {
  let n: u32 = 0;
  while (true) {
    p = nextWord(p, end, n < KEPT ? word(n) : WALK);
    if (isBad(p)) {
      store<u32>(F_WORDS, n);
      return <u32>p;
    }
    n++;
  }
}

/** Writes the word with its escapes resolved to `dst` (16 bytes of slack) and returns the address behind it. */
export function putWord(dst: usize, w: usize): usize {
  if (!wordEscaped(w)) {
    copyLoose(dst, wordStart(w), wordRaw(w));
    return dst + wordRaw(w);
  }
  return putEscaped(dst, wordStart(w), wordRaw(w), <u32>-1);
}

/** Resolves escapes until the source is used up or at least `most` bytes are written. May work in place. */
function putEscaped(dst: usize, p: usize, raw: u32, most: u32): usize {
  const end = p + raw;
  const full = dst + most < dst ? <usize>-1 : dst + most;
  while (p < end && dst < full) {
    const byte: u32 = load<u8>(p);
    if (byte != 92) {
      store<u8>(dst++, byte);
      p++;
      continue;
    }
    const read = escapeAt(p, end);
    dst = putCharacter(dst, escapedCharacter(p, read));
    p += read;
  }
  return dst;
}

/** Resolves the word where it stands in the line, for good: the line cannot be looked over again. */
export function settleWord(w: usize): void {
  if (!wordEscaped(w)) return;
  putEscaped(wordStart(w), wordStart(w), wordRaw(w), <u32>-1);
  store<u32>(w, wordLength(w), 4);
  store<u32>(w, 0, 12);
}

/** Writes at least the first `most` bytes of the word (up to 3 more), or all when it has fewer, to `dst`. */
export function putStart(dst: usize, w: usize, most: u32): void {
  if (wordEscaped(w)) putEscaped(dst, wordStart(w), wordRaw(w), most);
  else memory.copy(dst, wordStart(w), min(wordRaw(w), most));
}

/** Is the number at `p` canonical and within 64 bits? It is left in INTEGER. */
export function parseInteger(p: usize, length: u32): bool {
  if (length == 0 || length > 20) return false;
  const negative = load<u8>(p) == 45;
  let at: u32 = negative ? 1 : 0;
  const first: u32 = at < length ? load<u8>(p + at) : 0;
  if (first == 48 && length == 1) {
    store<i64>(INTEGER, 0);
    return true;
  }
  if (first - 49 > 8 || length - at > 19) return false;
  let magnitude: u64 = 0;
  for (; at < length; at++) {
    const digit = <u32>load<u8>(p + at) - 48;
    if (digit > 9) return false;
    magnitude = magnitude * 10 + digit;
  }
  if (magnitude > (negative ? (<u64>1) << 63 : ((<u64>1) << 63) - 1)) return false;
  store<i64>(INTEGER, negative ? 0 - <i64>magnitude : <i64>magnitude);
  return true;
}

/** Writes the number in decimal at `at` (20 bytes) and returns the address behind it. */
export function putDecimal(at: usize, n: i64): usize {
  let magnitude: u64 = n < 0 ? 0 - <u64>n : <u64>n;
  if (n < 0) store<u8>(at++, 45);
  let digits: usize = 1;
  for (let rest = magnitude / 10; rest != 0; rest /= 10) digits++;
  for (let i = digits; i > 0; i--) {
    store<u8>(at + i - 1, 48 + <u32>(magnitude % 10));
    magnitude /= 10;
  }
  return at + digits;
}
