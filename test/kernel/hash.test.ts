import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { builds, bytesOf, stateHash, TestKernel } from './support.js';

const MASK = (1n << 64n) - 1n;

/** SipHash-c-d from the paper, in BigInt. */
function siphash(rounds: readonly [number, number], seed: Uint8Array, data: Uint8Array): bigint {
  const k = Buffer.from(seed);
  const [k0, k1] = [k.readBigUInt64LE(0), k.readBigUInt64LE(8)];
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const rotl = (x: bigint, n: bigint) => ((x << n) | (x >> (64n - n))) & MASK;
  const round = () => {
    v0 = (v0 + v1) & MASK;
    v1 = rotl(v1, 13n) ^ v0;
    v0 = rotl(v0, 32n);
    v2 = (v2 + v3) & MASK;
    v3 = rotl(v3, 16n) ^ v2;
    v0 = (v0 + v3) & MASK;
    v3 = rotl(v3, 21n) ^ v0;
    v2 = (v2 + v1) & MASK;
    v1 = rotl(v1, 17n) ^ v2;
    v2 = rotl(v2, 32n);
  };
  const padded = Buffer.alloc((data.length & ~7) + 8);
  padded.set(data);
  padded[padded.length - 1] = data.length & 0xff;
  for (let at = 0; at < padded.length; at += 8) {
    const word = padded.readBigUInt64LE(at);
    v3 ^= word;
    for (let i = 0; i < rounds[0]; i++) round();
    v0 ^= word;
  }
  v2 ^= 0xffn;
  for (let i = 0; i < rounds[1]; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

/** CRC32C, bit by bit. */
function crc32c(data: Uint8Array, seed = 0): number {
  let c = ~seed;
  for (const byte of data) {
    c ^= byte;
    for (let i = 0; i < 8; i++) c = (c >>> 1) ^ (c & 1 ? 0x82f63b78 : 0);
  }
  return ~c >>> 0;
}

test('the reference implementation of SipHash gives the vector of the paper', () => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => i);
  expect(siphash([2, 4], bytes, bytes.subarray(0, 15))).toBe(0xa129ca6149be45e5n);
});

describe.each(builds)('hashes of the %s kernel', (build) => {
  const seed = 7;
  const kernel = new TestKernel(build, seed);

  test('the hash of a key is SipHash-1-3 for every length up to 80 bytes, at every alignment', () => {
    const data = Uint8Array.from({ length: 100 }, (_, i) => (i * 37 + 11) & 0xff);
    const key = new Uint8Array(16).fill(seed);
    for (let n = 0; n <= 80; n++) {
      const part = data.subarray(n % 8, (n % 8) + n);
      const got = BigInt.asUintN(64, kernel.call64('test_hashKey', kernel.put(part, n % 5), n));
      expect(got, `length ${n}`).toBe(siphash([1, 3], key, part));
    }
  });

  test('crc32c gives the known vectors', () => {
    const of = (bytes: Uint8Array, crc = 0) => kernel.call('crc32c', kernel.put(bytes), bytes.length, crc) >>> 0;
    expect(of(bytesOf('123456789'))).toBe(0xe3069283);
    expect(of(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(of(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(of(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(of(new Uint8Array(0))).toBe(0);
  });

  test('crc32c equals the definition for any bytes, in one piece or in two', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(7), (bytes, cut, offset) => {
        const at = kernel.put(bytes, offset);
        const first = Math.min(cut, bytes.length);
        const half = kernel.call('crc32c', at, first, 0) >>> 0;
        expect(kernel.call('crc32c', at, bytes.length, 0) >>> 0).toBe(crc32c(bytes));
        expect(kernel.call('crc32c', at + first, bytes.length - first, half) >>> 0).toBe(crc32c(bytes));
      }),
    );
  });

  test('the state hash of a record equals the definition for any key, value, revision and deadline', () => {
    const text = fc.uint8Array({ maxLength: 70 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
    const long = fc.bigInt({ min: 0n, max: MASK });
    fc.assert(
      fc.property(text, text, long, fc.boolean(), long, fc.nat(3), (key, value, revision, system, deadline, offset) => {
        const at = kernel.put(bytesOf(key + value), offset);
        const got = kernel.call64('test_stateHash', at, key.length, value.length, system ? 1 : 0, revision, deadline);
        expect(BigInt.asUintN(64, got)).toBe(stateHash(key, value, revision, system, deadline));
      }),
      { numRuns: 500 },
    );
  });

  test('copy and equal are right for every length up to 700 bytes and touch nothing beside', () => {
    for (let n = 0; n <= 700; n += n < 80 ? 1 : 31) {
      const data = Uint8Array.from({ length: n }, (_, i) => (i * 13 + n) & 0xff);
      const from = kernel.put(data, 1);
      const to = kernel.at + 4099;
      kernel.kernel.u8.fill(0xee, to - 32, to + n + 32);
      kernel.call('test_copy', to, from, n);
      expect(Buffer.compare(kernel.kernel.u8.slice(to, to + n), data), `length ${n}`).toBe(0);
      expect(kernel.kernel.u8[to - 1]).toBe(0xee);
      expect(kernel.kernel.u8[to + n]).toBe(0xee);
      expect(kernel.call('test_equal', to, from, n)).toBe(1);
      for (const i of [0, n >> 1, n - 1]) {
        if (n === 0) continue;
        kernel.kernel.u8[to + i]! ^= 1;
        expect(kernel.call('test_equal', to, from, n), `length ${n}, byte ${i}`).toBe(0);
        kernel.kernel.u8[to + i]! ^= 1;
      }
    }
  });
});
