/**
 * The state hash of one record (ARCHITECTURE.md, "State hash"): replicated, so no seed enters. The sum of all of them,
 * mod 2^64, is the hash of the state; each write changes it by one addition and one subtraction.
 *
 *     lanes     v1           v2           v3           v4
 *     block     w1  4 bytes  w2  4 bytes  w3  4 bytes  w4  4 bytes       of key and value, then of revision and deadline
 *
 * The four lanes are independent, so that their multiplications overlap.
 */

const P1: u32 = 0x9e3779b1;
const P2: u32 = 0x85ebca77;
const P3: u32 = 0xc2b2ae3d;
const P4: u32 = 0x27d4eb2f;
const P5: u32 = 0x165667b1;

// @ts-ignore: decorator
@inline
function mix(v: u32, w: u32): u32 {
  return rotl<u32>(v + w * P2, 13) * P1;
}

// @ts-ignore: decorator
@inline
function avalanche(x: u32): u32 {
  let h = x;
  h ^= h >> 15;
  h *= P2;
  h ^= h >> 13;
  h *= P3;
  return h ^ (h >> 16);
}

/** Word `i` of the last, unfilled block: the bytes that are there, then zeros. `rest`: bytes of the block, 1 … 15. */
// @ts-ignore: decorator
@inline
function partial(ptr: u32, rest: u32, i: u32): u32 {
  if (rest >= i + 4) return load<u32>(ptr + i);
  if (rest <= i) return 0;
  let w: u32 = 0;
  for (let k = rest; k > i; k--) w = (w << 8) | <u32>load<u8>(ptr + k - 1);
  return w;
}

/** `data`: the key, and the value right behind it. `system`: 0 or 1. */
export function stateHash(data: u32, keyLen: u32, valueLen: u32, system: u32, revision: u64, deadline: u64): u64 {
  let v1 = P1 + P2 + keyLen;
  let v2 = P2 ^ valueLen;
  let v3 = P3 + system;
  let v4 = P4;
  let p = data;
  const end = data + keyLen + valueLen;
  for (; p + 16 <= end; p += 16) {
    v1 = mix(v1, load<u32>(p));
    v2 = mix(v2, load<u32>(p, 4));
    v3 = mix(v3, load<u32>(p, 8));
    v4 = mix(v4, load<u32>(p, 12));
  }
  const rest = end - p;
  if (rest != 0) {
    v1 = mix(v1, partial(p, rest, 0));
    v2 = mix(v2, partial(p, rest, 4));
    v3 = mix(v3, partial(p, rest, 8));
    v4 = mix(v4, partial(p, rest, 12));
  }
  v1 = mix(v1, <u32>revision);
  v2 = mix(v2, <u32>(revision >> 32));
  v3 = mix(v3, <u32>deadline);
  v4 = mix(v4, <u32>(deadline >> 32));
  const lo = avalanche(rotl<u32>(v1, 1) + rotl<u32>(v2, 7) + rotl<u32>(v3, 12) + rotl<u32>(v4, 18));
  const hi = avalanche((v1 ^ rotl<u32>(v3, 17)) * P4 + (v2 ^ rotl<u32>(v4, 11)) * P5);
  return ((<u64>hi) << 32) | <u64>lo;
}
