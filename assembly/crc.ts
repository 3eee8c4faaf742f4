/**
 * CRC32C (Castagnoli, reflected), eight bytes a step ("slicing by 8", Kounavis and Berry). The tables are made at start,
 * because the module has no data segment.
 *
 *     CRC + 1024 * k + 4 * b   u32  the CRC of byte b followed by k zero bytes, k = 0 … 7
 */
import { CRC_BASE } from './layout';

export const CRC_TABLE: u32 = 1024;
const POLYNOMIAL: u32 = 0x82f63b78;

export function initCrc(): void {
  for (let b: u32 = 0; b < 256; b++) {
    let c = b;
    for (let i = 0; i < 8; i++) c = c & 1 ? (c >> 1) ^ POLYNOMIAL : c >> 1;
    store<u32>(CRC_BASE + (b << 2), c);
  }
  for (let at = CRC_BASE; at < CRC_BASE + 7 * CRC_TABLE; at += 4) {
    const c = load<u32>(at);
    store<u32>(at, entry(0, c) ^ (c >> 8), CRC_TABLE);
  }
}

// @ts-ignore: decorator
@inline
function entry(table: u32, byte: u32): u32 {
  return load<u32>(CRC_BASE + table * CRC_TABLE + ((byte & 255) << 2));
}

/** CRC of `len` bytes; `seed`: the CRC of what stands before them, 0 at the start. */
export function crc32c(ptr: u32, len: u32, seed: u32): u32 {
  let c = ~seed;
  let p = ptr;
  let n = len;
  for (; n >= 8; n -= 8, p += 8) {
    const lo = load<u32>(p) ^ c;
    const hi = load<u32>(p, 4);
    c =
      entry(7, lo) ^
      entry(6, lo >> 8) ^
      entry(5, lo >> 16) ^
      entry(4, lo >> 24) ^
      entry(3, hi) ^
      entry(2, hi >> 8) ^
      entry(1, hi >> 16) ^
      entry(0, hi >> 24);
  }
  for (; n > 0; n--, p++) c = entry(0, c ^ <u32>load<u8>(p)) ^ (c >> 8);
  return ~c;
}
