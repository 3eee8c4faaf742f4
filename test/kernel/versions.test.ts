import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Build, builds, commit, del, set, TestKernel } from './support.js';

/** What every revision looked like, kept whole: the simplest store with versions there is. */
class Model {
  private readonly states = new Map<bigint, Map<string, string>>([[0n, new Map()]]);
  now = new Map<string, string>();

  keep(revision: bigint): void {
    this.states.set(revision, new Map(this.now));
  }
  at(revision: bigint): Map<string, string> {
    return this.states.get(revision)!;
  }
}

type Step =
  | { readonly kind: 'write'; readonly writes: readonly (readonly [number, number])[]; readonly together: boolean }
  | { readonly kind: 'pin' }
  | { readonly kind: 'unpin'; readonly which: number };

/** Value 0 deletes. */
const write = fc.tuple(fc.nat(11), fc.nat(4));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      writes: fc.array(write, { minLength: 1, maxLength: 12 }),
      together: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'pin' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('unpin' as const), which: fc.nat(100) }) },
);

const keys = Array.from({ length: 12 }, (_, i) => `key${i}`);

class Checked {
  readonly kernel: TestKernel;
  private readonly model = new Model();
  private readonly pins: bigint[] = [];

  constructor(build: Build) {
    this.kernel = new TestKernel(build);
  }

  private operation(key: number, value: number): Buffer {
    const name = keys[key]!;
    if (value === 0) {
      this.model.now.delete(name);
      return del(name);
    }
    const text = `${'v'.repeat(value * 20)}${key}`;
    this.model.now.set(name, text);
    return set(name, text);
  }

  take(step: Step): void {
    if (step.kind === 'write') {
      const operations = step.writes.map(([key, value]) => this.operation(key, value));
      expect(this.kernel.run(...(step.together ? [commit([], ...operations)] : operations)).outcome).toBe(0);
      this.model.keep(this.kernel.published);
    } else if (step.kind === 'pin') {
      this.pins.push(this.kernel.pin());
    } else if (this.pins.length > 0) {
      this.kernel.unpin(this.pins.splice(step.which % this.pins.length, 1)[0]!);
    }
  }

  check(): void {
    for (const revision of new Set([...this.pins, this.kernel.published])) {
      const state = this.model.at(revision);
      for (const key of keys) expect(this.kernel.getAt(key, revision), `${key} at ${revision}`).toBe(state.get(key));
      expect(new Map(this.kernel.scan(revision))).toEqual(state);
    }
    for (const key of keys) expect(this.kernel.getCurrent(key)).toBe(this.model.now.get(key));
    expect(this.kernel.stats().keys).toBe(this.model.now.size);
  }

  /** Lets go of everything; what is left must be nothing. */
  end(): void {
    for (const revision of this.pins.splice(0)) this.kernel.unpin(revision);
    expect(this.kernel.records).toBe(this.model.now.size);
    this.kernel.run(del(...keys));
    expect(this.kernel.records).toBe(0);
    expect(this.kernel.call('test_tableKeys')).toBe(0);
    expect(this.kernel.stats()).toMatchObject({ keys: 0, logical: 0, hash: 0n });
  }
}

describe.each(builds)('versions in the %s kernel', (build) => {
  test('every pin sees what was published when it was taken, and memory comes back when they go', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const checked = new Checked(build);
        for (const s of steps) {
          checked.take(s);
          checked.check();
        }
        checked.end();
      }),
      { numRuns: build === 'test-release' ? 150 : 60 },
    );
  }, 60_000);

  test('an update under a pin keeps exactly one old version however often it is repeated', () => {
    const kernel = new TestKernel(build);
    kernel.run(set('hot', 'first'));
    const pin = kernel.pin();
    for (let i = 0; i < 1000; i++) kernel.run(set('hot', `value ${i}`), set('hot', `again ${i}`));
    expect(kernel.records).toBe(2);
    expect(kernel.getAt('hot', pin)).toBe('first');
    kernel.unpin(pin);
    expect(kernel.records).toBe(1);
  });

  test('pins of equal revisions count each for itself', () => {
    const kernel = new TestKernel(build);
    kernel.run(set('k', 'old'));
    const pins = [kernel.pin(), kernel.pin(), kernel.pin()];
    kernel.run(set('k', 'new'));
    kernel.unpin(pins[0]!);
    kernel.unpin(pins[1]!);
    expect(kernel.getAt('k', pins[2]!)).toBe('old');
    kernel.unpin(pins[2]!);
    expect(kernel.records).toBe(1);
    expect(() => kernel.unpin(pins[2]!)).toThrow(/not pinned/);
  });

  test('a pin that held ten thousand versions lets go of them in slices', () => {
    const kernel = new TestKernel(build);
    const count = 10_000;
    const all = (value: string) => {
      for (let i = 0; i < count; i += 1000) {
        kernel.run(...Array.from({ length: 1000 }, (_, j) => set(`key ${i + j}`, value)));
      }
    };
    all('old');
    const pin = kernel.pin();
    all('new');
    expect(kernel.records).toBe(2 * count);
    kernel.unpin(pin);
    const left = kernel.records;
    expect(left).toBeGreaterThan(count + 8000);
    let calls = 0;
    while (kernel.records > count) {
      const before = kernel.records;
      kernel.call('test_reclaim', 1000);
      expect(before - kernel.records).toBeLessThanOrEqual(1000);
      calls++;
    }
    expect(calls).toBeGreaterThanOrEqual(9);
    expect(kernel.getCurrent('key 77')).toBe('new');
  });

  test('a deleted key stands for its pin, then leaves nothing but a tombstone', () => {
    const kernel = new TestKernel(build);
    kernel.run(set('a', '1'), set('b', '2'));
    const pin = kernel.pin();
    kernel.run(del('a', 'b'));
    kernel.run(set('b', '3'));
    expect(kernel.getAt('a', pin)).toBe('1');
    expect(kernel.getAt('b', pin)).toBe('2');
    expect(kernel.getCurrent('a')).toBeUndefined();
    expect(kernel.getCurrent('b')).toBe('3');
    kernel.unpin(pin);
    expect(kernel.records).toBe(1);
    expect(kernel.call('test_tableKeys')).toBe(1);
  });

  test('nothing is freed while a reader has announced a lower revision', () => {
    const kernel = new TestKernel(build);
    kernel.run(set('k', 'one'));
    const announcement = kernel.call('test_readerAddress', kernel.call('test_addReader')) >>> 2;
    kernel.kernel.u32[announcement] = Number(kernel.published);
    for (let i = 0; i < 10; i++) kernel.run(set('k', `${i}`));
    expect(kernel.records).toBe(11);
    expect(kernel.getAt('k', kernel.published)).toBe('9');
    kernel.kernel.u32[announcement] = 0;
    kernel.run(set('k', 'last'));
    kernel.run(set('k', 'very last'));
    expect(kernel.records).toBeLessThanOrEqual(2);
  });

  test('many pins, let go in any order, never keep more versions than they see', () => {
    const kernel = new TestKernel(build);
    const pins: bigint[] = [];
    for (let i = 0; i < 300; i++) {
      kernel.run(set('k', `${i}`));
      pins.push(kernel.pin());
    }
    // Every second one, then from the middle outwards.
    const order = [
      ...pins.filter((_, i) => i % 2 === 0),
      ...pins.filter((_, i) => i % 2 === 1).sort((a, b) => Number((a - 150n) ** 2n - (b - 150n) ** 2n)),
    ];
    let left = 300;
    for (const pin of order) {
      kernel.unpin(pin);
      left--;
      const newestPinned = order.slice(order.indexOf(pin) + 1).includes(300n) ? 0 : 1;
      expect(kernel.records).toBe(left + newestPinned);
    }
  });
});
