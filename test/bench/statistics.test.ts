import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Histogram, median, Sequence, short, spread, table } from '../../src/bench/statistics.js';

describe('the histogram', () => {
  it('gives any quantile within 1/64 of the exact one, and never less', () => {
    const values = fc.array(fc.integer({ min: 0, max: 2 ** 40 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, q) => {
        const histogram = new Histogram();
        for (const value of list) histogram.add(value);
        const sorted = [...list].sort((a, b) => a - b);
        const exact = sorted[Math.max(1, Math.ceil(q * list.length)) - 1]!;
        const got = histogram.quantile(q);
        expect(got).toBeGreaterThanOrEqual(exact);
        expect(got).toBeLessThanOrEqual(exact + exact / 64);
      }),
    );
  });

  it('counts weights, and keeps sum and maximum exactly', () => {
    const histogram = new Histogram();
    histogram.add(10, 99);
    histogram.add(5000, 1);
    expect([histogram.count, histogram.max, histogram.mean]).toEqual([100, 5000, 59.9]);
    expect([histogram.quantile(0.5), histogram.quantile(0.99), histogram.quantile(1)]).toEqual([10, 10, 5000]);
  });

  it('is 0 when empty', () => {
    expect([new Histogram().quantile(0.99), new Histogram().mean]).toEqual([0, 0]);
  });
});

describe('summaries', () => {
  it('take the middle of the repeats and their distance', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(spread([90, 100, 120])).toBeCloseTo(0.3);
    expect([median([]), spread([])]).toEqual([0, 0]);
  });

  it('shorten numbers to three digits', () => {
    expect([1_234_567, 12_345, 999, 12.34, 0.5].map(short)).toEqual(['1.23 M', '12.3 k', '999', '12.3', '0.500']);
  });

  it('line up columns', () => {
    expect(
      table(
        [
          ['op', 'n'],
          ['set', '10'],
        ],
        1,
      ),
    ).toBe('op    n\nset  10\n');
  });
});

describe('the sequence', () => {
  it('is the same for the same seed, stays below its bound, and permutes', () => {
    const [a, b] = [new Sequence(5), new Sequence(5)];
    const drawn = Array.from({ length: 1000 }, () => a.below(10));
    expect(drawn).toEqual(Array.from({ length: 1000 }, () => b.below(10)));
    expect(new Set(drawn)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    const order = new Sequence(1).permutation(100);
    expect([...order].sort((x, y) => x - y)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect([...order]).not.toEqual([...order].sort((x, y) => x - y));
  });
});
