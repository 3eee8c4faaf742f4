/**
 * The smallest helpers: invariants that stay on, and moving and comparing bytes.
 *
 * `copy` and `equal` work in words of 16 and 8 bytes whose last one overlaps the one before:
 *
 *     |0 .............. 15|16 ............. 31|
 *                    |n-16 ............. n-1|
 *
 * so that no byte outside [p, p + n) is touched and no loop runs over single bytes.
 */

/** Implemented by the host: throws an error that names the check. */
// @ts-ignore: decorator
@external("env", "fail")
declare function fail(code: u32): void;

/** Codes of failed checks; the texts are in src/kernel/failures.ts. The front half uses 100 and above. */
export const FAIL_FREE: u32 = 1;
export const FAIL_CANARY: u32 = 2;
export const FAIL_ACCOUNTING: u32 = 3;
export const FAIL_TABLE_FULL: u32 = 4;
export const FAIL_PINS_FULL: u32 = 5;
export const FAIL_UNPIN: u32 = 6;
export const FAIL_MEMORY: u32 = 7;
export const FAIL_HEADER: u32 = 8;
export const FAIL_STAGE: u32 = 9;
export const FAIL_VERSIONS: u32 = 10;
export const FAIL_SCAN: u32 = 11;
export const FAIL_PAGES: u32 = 12;
export const FAIL_REVISION: u32 = 13;
export const FAIL_READER: u32 = 14;
export const FAIL_SNAPSHOT: u32 = 15;
export const FAIL_LOAD: u32 = 16;
export const FAIL_EXPIRY: u32 = 17;
export const FAIL_COMPACT: u32 = 18;
export const FAIL_SESSION: u32 = 19;

/** Stops with an error of the host's unless `condition` holds. Invariants only: bad input is answered, never checked. */
// @ts-ignore: decorator
@inline
export function check(condition: bool, code: u32): void {
  if (!condition) fail(code);
}

/** Copies `n` bytes; the areas do not overlap. */
export function copy(dst: u32, src: u32, n: u32): void {
  if (n >= 16) {
    if (n > 512) {
      memory.copy(dst, src, n);
      return;
    }
    const last = n - 16;
    for (let i: u32 = 0; i < last; i += 16) v128.store(dst + i, v128.load(src + i));
    v128.store(dst + last, v128.load(src + last));
  } else if (n >= 8) {
    const last = n - 8;
    const tail = load<u64>(src + last);
    store<u64>(dst, load<u64>(src));
    store<u64>(dst + last, tail);
  } else if (n >= 4) {
    const last = n - 4;
    const tail = load<u32>(src + last);
    store<u32>(dst, load<u32>(src));
    store<u32>(dst + last, tail);
  } else if (n > 0) {
    store<u8>(dst, load<u8>(src));
    if (n > 1) {
      store<u8>(dst + (n >> 1), load<u8>(src + (n >> 1)));
      store<u8>(dst + n - 1, load<u8>(src + n - 1));
    }
  }
}

/** Whether `n` bytes at `a` and `b` are the same. */
export function equal(a: u32, b: u32, n: u32): bool {
  if (n >= 8) {
    const last = n - 8;
    for (let i: u32 = 0; i < last; i += 8) if (load<u64>(a + i) != load<u64>(b + i)) return false;
    return load<u64>(a + last) == load<u64>(b + last);
  }
  if (n >= 4) {
    const last = n - 4;
    return load<u32>(a) == load<u32>(b) && load<u32>(a + last) == load<u32>(b + last);
  }
  for (let i: u32 = 0; i < n; i++) if (load<u8>(a + i) != load<u8>(b + i)) return false;
  return true;
}

/** n rounded up to a multiple of 4. */
// @ts-ignore: decorator
@inline
export function pad4(n: u32): u32 {
  return (n + 3) & ~3;
}
