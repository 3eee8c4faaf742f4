/**
 * CRC32C (Castagnoli) in plain TypeScript: polynomial 0x1EDC6F41, reflected, initial and final inversion.
 *
 * Slicing-by-8 (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation", 2008):
 * table k holds the CRC of a byte followed by k zero bytes, so eight bytes are taken in with eight look-ups that do not
 * wait for each other. All arithmetic is on int32, which V8 keeps in registers.
 */
import type { Crc32c } from '../log/types.js';

const REFLECTED_POLYNOMIAL = 0x82f63b78;

/** Eight tables of 256 entries, one after the other. */
const tables = makeTables();

function makeTables(): Int32Array {
  const made = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ REFLECTED_POLYNOMIAL : crc >>> 1;
    made[byte] = crc;
  }
  for (let at = 256; at < made.length; at++) {
    const before = made[at - 256]!;
    made[at] = (before >>> 8) ^ made[before & 0xff]!;
  }
  return made;
}

/** See `Crc32c`: unsigned; `seed` is the CRC of the bytes before, so that parts can be chained. */
export const crc32c: Crc32c = (bytes, seed = 0, from = 0, to = bytes.length) => {
  const t = tables;
  const wordsEnd = to - ((to - from) & 7);
  let crc = ~seed;
  let at = from;
  for (; at < wordsEnd; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      t[1792 + (crc & 0xff)]! ^
      t[1536 + ((crc >>> 8) & 0xff)]! ^
      t[1280 + ((crc >>> 16) & 0xff)]! ^
      t[1024 + (crc >>> 24)]! ^
      t[768 + bytes[at + 4]!]! ^
      t[512 + bytes[at + 5]!]! ^
      t[256 + bytes[at + 6]!]! ^
      t[bytes[at + 7]!]!;
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ t[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
};
