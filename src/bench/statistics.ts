/**
 * Numbers of a benchmark: a histogram of durations that costs nothing to fill, and the summaries of repeats.
 *
 * The histogram is log-linear: below 64 one bucket a unit, above it 64 buckets for each doubling, so a value read back is at most
 * 1/64 off. The unit is the caller's (nanoseconds and microseconds here); values go up to 2^45.
 */

const SUB_BITS = 6;
const SUB = 1 << SUB_BITS;
const DOUBLINGS = 40;

export class Histogram {
  count = 0;
  sum = 0;
  max = 0;
  readonly #buckets = new Float64Array(SUB * (DOUBLINGS + 1));

  /** Adds `weight` values of `value` (0 or more; a fraction is dropped). */
  add(value: number, weight = 1): void {
    const index = bucketOf(value);
    this.#buckets[index] = this.#buckets[index]! + weight;
    this.count += weight;
    this.sum += value * weight;
    if (value > this.max) this.max = value;
  }

  /** The value that a share `quantile` (0 … 1) of all values does not exceed; 0 when empty. Never above `max`. */
  quantile(quantile: number): number {
    const wanted = Math.max(1, Math.ceil(quantile * this.count));
    let seen = 0;
    for (let i = 0; i < this.#buckets.length; i++) {
      seen += this.#buckets[i]!;
      if (seen >= wanted && seen > 0) return Math.min(upperEdge(i), this.max);
    }
    return this.max;
  }

  get mean(): number {
    return this.count === 0 ? 0 : this.sum / this.count;
  }
}

function bucketOf(value: number): number {
  if (value < SUB) return Math.max(0, Math.floor(value));
  const exponent = Math.min(Math.floor(Math.log2(value)), SUB_BITS + DOUBLINGS - 1);
  const shift = exponent - SUB_BITS;
  const sub = Math.min(Math.floor(value / 2 ** shift) - SUB, SUB - 1);
  return SUB * (shift + 1) + sub;
}

/** The largest whole number in the bucket. */
function upperEdge(index: number): number {
  if (index < SUB) return index;
  const shift = Math.floor(index / SUB) - 1;
  return (SUB + (index % SUB) + 1) * 2 ** shift - 1;
}

/** The middle value; the mean of the two in the middle of an even number; 0 of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** (largest − smallest) / median: how far the repeats lie apart; 0 of none. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  return middle === 0 ? 0 : (Math.max(...values) - Math.min(...values)) / middle;
}

/** A small generator (xorshift32) for benchmark data: the same seed gives the same list on every machine. */
export class Sequence {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0 || 0x9e3779b9;
  }

  /** A whole number in [0, bound). */
  below(bound: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return Math.floor((this.#state / 0x1_0000_0000) * bound);
  }

  /** The numbers 0 … length − 1 in random order. */
  permutation(length: number): Uint32Array {
    const order = new Uint32Array(length);
    for (let i = 0; i < length; i++) {
      const j = this.below(i + 1);
      order[i] = order[j]!;
      order[j] = i;
    }
    return order;
  }
}

/** 1234567 → `1.23 M`, 12345 → `12.3 k`: three digits for people. */
export function short(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (value >= 1e3) return `${(value / 1e3).toPrecision(3)} k`;
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Lines of a table: the first `left` columns flush left, the others flush right. */
export function table(rows: readonly (readonly string[])[], left: number): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) => row.map((c, i) => (i < left ? c.padEnd(widths[i]!) : c.padStart(widths[i]!))).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}
