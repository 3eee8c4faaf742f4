/**
 * The state hash of one record (see ARCHITECTURE.md, "State hash"): four lanes of 32-bit multiply and rotate over the key
 * and the value as they stand one after the other in an operation, then over the revision and the deadline.
 *
 * Caveats: `words` is a view in the machine's byte order, which has to be little-endian (as every machine is that Node
 * runs on, save s390x). Key and value begin at a word; up to 15 bytes behind the value are read and masked away, never
 * beyond the end of `words`.
 */
const P1 = 0x9e3779b1 | 0;
const P2 = 0x85ebca77 | 0;
const P3 = 0xc2b2ae3d | 0;
const P4 = 0x27d4eb2f | 0;
const P5 = 0x165667b1 | 0;
const TWO_32 = 4_294_967_296;

function rotl(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}

function lane(v: number, word: number): number {
  const x = (v + Math.imul(word, P2)) | 0;
  return Math.imul((x << 13) | (x >>> 19), P1);
}

function avalanche(x: number): number {
  let h = x;
  h ^= h >>> 15;
  h = Math.imul(h, P2);
  h ^= h >>> 13;
  h = Math.imul(h, P3);
  return h ^ (h >>> 16);
}

export class StateHasher {
  /** Halves of the last result, as int32. */
  lo = 0;
  hi = 0;

  /** Hashes the record whose key, and right behind it the value, begin at word `at`. Lengths in bytes. */
  hash(
    words: Int32Array,
    at: number,
    keyLength: number,
    valueLength: number,
    system: 0 | 1,
    revision: number,
    deadline: number,
  ): void {
    let v1 = (P1 + P2 + keyLength) | 0;
    let v2 = P2 ^ valueLength;
    let v3 = (P3 + system) | 0;
    let v4 = P4;
    const total = keyLength + valueLength;
    const end = at + ((total >>> 4) << 2);
    let w = at;
    for (; w < end; w += 4) {
      v1 = lane(v1, words[w]!);
      v2 = lane(v2, words[w + 1]!);
      v3 = lane(v3, words[w + 2]!);
      v4 = lane(v4, words[w + 3]!);
    }
    const rest = total & 15;
    if (rest > 0) {
      v1 = lane(v1, tailWord(words, w, rest));
      v2 = lane(v2, tailWord(words, w + 1, rest - 4));
      v3 = lane(v3, tailWord(words, w + 2, rest - 8));
      v4 = lane(v4, tailWord(words, w + 3, rest - 12));
    }
    v1 = lane(v1, revision | 0);
    v2 = lane(v2, Math.floor(revision / TWO_32) | 0);
    v3 = lane(v3, deadline | 0);
    v4 = lane(v4, Math.floor(deadline / TWO_32) | 0);
    this.lo = avalanche((rotl(v1, 1) + rotl(v2, 7) + rotl(v3, 12) + rotl(v4, 18)) | 0);
    this.hi = avalanche((Math.imul(v1 ^ rotl(v3, 17), P4) + Math.imul(v2 ^ rotl(v4, 11), P5)) | 0);
  }
}

/** A word of which `left` bytes belong to the record. */
function tailWord(words: Int32Array, at: number, left: number): number {
  if (left <= 0) return 0;
  const word = words[at]!;
  return left >= 4 ? word : word & ((1 << (left << 3)) - 1);
}

/** A sum of hashes mod 2^64, as two unsigned halves. */
export class HashSum {
  lo = 0;
  hi = 0;

  add(lo: number, hi: number): void {
    const sum = this.lo + (lo >>> 0);
    this.lo = sum >>> 0;
    this.hi = (this.hi + hi + (sum >= TWO_32 ? 1 : 0)) >>> 0;
  }

  subtract(lo: number, hi: number): void {
    const difference = this.lo - (lo >>> 0);
    this.lo = difference >>> 0;
    this.hi = (this.hi - hi - (difference < 0 ? 1 : 0)) >>> 0;
  }

  /** 16 hexadecimal digits, the high half first. */
  toString(): string {
    return this.hi.toString(16).padStart(8, '0') + this.lo.toString(16).padStart(8, '0');
  }
}
