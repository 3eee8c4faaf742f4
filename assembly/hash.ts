/**
 * SipHash-1-3 of a key, with the seed that the host drew at start: a key set chosen by an attacker, who does not know
 * the seed, does not degrade the table (Aumasson and Bernstein, "SipHash: a fast short-input PRF"; one round a word
 * and three at the end). The seed enters nothing that is replicated, and is another one after each load (`renewHash`).
 *
 *     state, at HASH_STATE: the four words after the seed was mixed in
 *      0  u64  v0
 *      8  u64  v1
 *     16  u64  v2
 *     24  u64  v3
 *     32  u64  first half of the seed that takes its place
 *     40  u64  the other half
 */
import { HASH_STATE } from './layout';

export const HS_V0: u32 = 0;
export const HS_V1: u32 = 8;
export const HS_V2: u32 = 16;
export const HS_V3: u32 = 24;
export const HS_NEXT: u32 = 32;
export const HS_NEXT_HALF: u32 = 40;

/** Takes the 16 bytes of the seed. */
export function initHash(seed: u32): void {
  const k0 = load<u64>(seed);
  const k1 = load<u64>(seed, 8);
  store<u64>(HASH_STATE, k0 ^ 0x736f6d6570736575, HS_V0);
  store<u64>(HASH_STATE, k1 ^ 0x646f72616e646f6d, HS_V1);
  store<u64>(HASH_STATE, k0 ^ 0x6c7967656e657261, HS_V2);
  store<u64>(HASH_STATE, k1 ^ 0x7465646279746573, HS_V3);
}

/**
 * Takes a seed made of the old one: two hashes under it, so who knows neither learns nothing. No hash made before is good any
 * more. A snapshot's records come in the order of the hashes that they had in the store that wrote it: under the same seed they
 * would all begin at the front of a table that has yet to grow, and each would walk past those before it.
 */
export function renewHash(): void {
  store<u64>(HASH_STATE, 1, HS_NEXT);
  store<u64>(HASH_STATE, hashKey(HASH_STATE + HS_NEXT, 8), HS_NEXT_HALF);
  store<u64>(HASH_STATE, hashKey(HASH_STATE + HS_NEXT, 16), HS_NEXT);
  initHash(HASH_STATE + HS_NEXT);
}

/** The last 0 to 7 bytes of `n` at `ptr`, as the low bytes of a word. */
// @ts-ignore: decorator
@inline
function lastBytes(ptr: u32, n: u32): u64 {
  const rest = n & 7;
  if (rest == 0) return 0;
  if (n >= 8) return load<u64>(ptr + n - 8) >> (64 - ((<u64>rest) << 3));
  if (n >= 4) {
    const high: u64 = load<u32>(ptr + n - 4);
    return <u64>load<u32>(ptr) | (high << (((<u64>n) << 3) - 32));
  }
  const half: u64 = n >> 1;
  const low: u64 = load<u8>(ptr);
  const middle: u64 = load<u8>(ptr + <u32>half);
  const high: u64 = load<u8>(ptr + n - 1);
  return low | (middle << (half << 3)) | (high << (((<u64>n) << 3) - 8));
}

export function hashKey(ptr: u32, n: u32): u64 {
  let v0 = load<u64>(HASH_STATE, HS_V0);
  let v1 = load<u64>(HASH_STATE, HS_V1);
  let v2 = load<u64>(HASH_STATE, HS_V2);
  let v3 = load<u64>(HASH_STATE, HS_V3);
  const end = ptr + (n & ~7);
  let word: u64 = 0;
  let rounds: u32 = 0;
  const last = ((<u64>n) << 56) | lastBytes(ptr, n);
  for (let p = ptr; p <= end; p += 8) {
    word = p < end ? load<u64>(p) : last;
    v3 ^= word;
    v0 += v1;
    v2 += v3;
    v1 = rotl<u64>(v1, 13) ^ v0;
    v3 = rotl<u64>(v3, 16) ^ v2;
    v0 = rotl<u64>(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = rotl<u64>(v1, 17) ^ v2;
    v3 = rotl<u64>(v3, 21) ^ v0;
    v2 = rotl<u64>(v2, 32);
    v0 ^= word;
  }
  v2 ^= 0xff;
  for (; rounds < 3; rounds++) {
    v0 += v1;
    v2 += v3;
    v1 = rotl<u64>(v1, 13) ^ v0;
    v3 = rotl<u64>(v3, 16) ^ v2;
    v0 = rotl<u64>(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = rotl<u64>(v1, 17) ^ v2;
    v3 = rotl<u64>(v3, 21) ^ v0;
    v2 = rotl<u64>(v2, 32);
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
