import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  builds,
  bytesOf,
  cas,
  commit,
  del,
  EntryType,
  incr,
  type Origin,
  payload,
  persist,
  record,
  set,
  setFor,
  TestKernel,
} from './support.js';

const origin: Origin = { identity: 'someone', starts: 1, nonce: 7 };
const Outcome = { done: 0, more: 1, noMemory: 2 } as const;

/** A kernel to which entries are applied at log times of the test's choice. */
class Timed {
  readonly kernel: TestKernel;
  private index = 0;
  private sequence = 0;

  constructor(build: (typeof builds)[number], maximumPages = 0) {
    this.kernel = new TestKernel(build, 1, maximumPages);
  }

  stage(logTime: number, commands: number, ...operations: Buffer[]): void {
    const body = commands === 0 ? Buffer.alloc(0) : payload(origin, ++this.sequence, commands, ...operations);
    const type = commands === 0 ? EntryType.noop : EntryType.data;
    this.kernel.stage(record(++this.index, type, body, logTime));
  }

  apply(logTime: number, commands = 0, ...operations: Buffer[]): { outcome: number; slices: number } {
    this.stage(logTime, commands, ...operations);
    return this.kernel.applyAll();
  }

  /** Key of the record that falls due first. */
  get first(): string | undefined {
    const found = this.kernel.call('test_expiryFirst') >>> 0;
    if (found === 0) return undefined;
    const at = this.kernel.call('test_recKey', found) >>> 0;
    const bytes = this.kernel.kernel.u8.slice(at, at + this.kernel.call('test_recKeyLen', found));
    return Buffer.from(bytes).toString('latin1');
  }

  expired(time: number): number {
    return this.kernel.call64('test_expiredUsers', BigInt(time)) as unknown as number;
  }
}

interface Known {
  readonly deadline: number;
  readonly order: number;
}

/** What falls due first, by deadline and then by the order of the writes. */
function firstOf(model: ReadonlyMap<string, Known>): string | undefined {
  const due = [...model].filter(([, { deadline }]) => deadline > 0);
  due.sort(([, a], [, b]) => a.deadline - b.deadline || a.order - b.order);
  return due[0]?.[0];
}

describe.each(builds)('deadlines (%s)', (build) => {
  test('the index has every record with a deadline in its order, whatever is done to them', () => {
    const key = fc.nat(30).map((n) => `k${n}`.padEnd(1 + (n % 9), '.'));
    const step = fc.oneof(
      fc.record({ what: fc.constant('set' as const), key, ms: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ what: fc.constantFrom('plain' as const, 'del' as const, 'incr' as const, 'persist' as const), key }),
    );
    const property = fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const timed = new Timed(build);
      const model = new Map<string, Known>();
      timed.apply(1_000);
      steps.forEach((one, order) => {
        const old = model.get(one.key);
        if (one.what === 'set') {
          timed.apply(1_000, 1, setFor(one.key, '1', one.ms));
          model.set(one.key, { deadline: 1_000 + one.ms, order });
        } else if (one.what === 'plain') {
          timed.apply(1_000, 1, set(one.key, '1'));
          model.set(one.key, { deadline: 0, order });
        } else if (one.what === 'del') {
          timed.apply(1_000, 1, del(one.key));
          model.delete(one.key);
        } else if (one.what === 'incr') {
          timed.apply(1_000, 1, incr(one.key, 1n));
          model.set(one.key, { deadline: old?.deadline ?? 0, order });
        } else {
          timed.apply(1_000, 1, persist(one.key));
          if (old) model.set(one.key, { deadline: 0, order: old.deadline > 0 ? order : old.order });
        }
        expect(timed.first).toBe(firstOf(model));
        const probe = 1_000 + (order % 45);
        const due = [...model.values()].filter(({ deadline }) => deadline > 0 && deadline <= probe);
        expect(timed.expired(probe)).toBe(due.length);
      });
    });
    fc.assert(property, { numRuns: 60 });
  });

  test('a pinned revision shows a key at its own log time after the key has been removed, until the pin goes', () => {
    const timed = new Timed(build);
    timed.apply(100, 1, setFor('a', 'value', 50));
    const { kernel } = timed;
    const blocks = kernel.records;
    const pinned = kernel.pin();
    timed.apply(150);
    expect(kernel.stats().keys).toBe(0);
    expect(kernel.getCurrent('a')).toBeUndefined();
    expect(kernel.getAt('a', pinned, 149n)).toBe('value');
    expect(kernel.getAt('a', pinned, 150n)).toBeUndefined();
    expect(kernel.getAt('a', kernel.published, 150n)).toBeUndefined();
    kernel.unpin(pinned);
    timed.apply(151);
    expect(kernel.records).toBe(blocks - 1);
  });

  test('a removal takes a revision for all that an entry removes', () => {
    const timed = new Timed(build);
    timed.apply(100, 3, setFor('a', '1', 50), setFor('b', '1', 60), setFor('c', '1', 900));
    expect(timed.kernel.stats().revision).toBe(4);
    timed.apply(200);
    expect(timed.kernel.stats()).toMatchObject({ revision: 5, keys: 1 });
    timed.apply(300);
    expect(timed.kernel.stats()).toMatchObject({ revision: 5, keys: 1 });
  });

  test('everything that was written with a deadline is given back when it has expired', () => {
    const timed = new Timed(build);
    timed.apply(1, 1, set('kept', '1'));
    const { kernel } = timed;
    const blocks = kernel.records;
    for (let round = 0; round < 20; round++) {
      const at = 1_000 * (round + 1);
      const many = Array.from({ length: 3_000 }, (_, i) => setFor(`${round}/${i}`, 'x'.repeat(i % 300), 1 + (i % 7)));
      timed.apply(at, many.length + 2, ...many, incr(`${round}/0`, 1n), cas(`${round}/1`, 'x', 'yy'));
      for (let n = 1; n <= 4; n++) timed.apply(at + 100 + n);
      expect(kernel.stats().keys).toBe(1);
    }
    timed.apply(50_000);
    expect(timed.first).toBeUndefined();
    expect(kernel.records).toBe(blocks);
  });

  test('PERSISTs of large values: their memory is made sure before the entry begins', () => {
    const timed = new Timed(build, 2_400);
    const value = 'v'.repeat(1_000_000);
    // 20 MB of values, in at most 50 MB of heap: they cannot stand there twice.
    let n = 0;
    for (; n < 30 && timed.apply(1, 1, setFor(`k${n}`, value, 1_000_000)).outcome === Outcome.done; n++);
    expect(n).toBe(30);
    const { kernel } = timed;
    const before = kernel.stats();
    const outcome = timed.apply(2, n, ...Array.from({ length: n }, (_, i) => persist(`k${i}`))).outcome;
    expect(outcome).toBe(Outcome.noMemory);
    expect(kernel.stats()).toEqual(before);
  });

  test('a large COMMIT with deadlines, removals before it, in slices of bounded work', () => {
    const timed = new Timed(build);
    const keys = Array.from({ length: 12_000 }, (_, i) => `key ${i}`);
    timed.apply(1, 1, commit([], ...keys.map((key) => setFor(key, 'value', 10))));
    timed.stage(20, 1, commit([], ...keys.map((key) => setFor(key, 'other', 10))));
    let slices = 1;
    while (timed.kernel.call('apply') === Outcome.more) slices++;
    expect(slices).toBeGreaterThan(5);
    expect(timed.kernel.stats().keys).toBe(12_000);
    expect(timed.kernel.getCurrent('key 7')).toBe('other');
    expect(timed.first).toBe('key 0');
  });
});

test('records of every length with a deadline', () => {
  const timed = new Timed('test-debug');
  for (let length = 0; length < 70; length++) timed.apply(1, 1, setFor('k'.repeat(length), 'v'.repeat(length % 13), 5));
  expect(timed.expired(6)).toBe(70);
  expect(bytesOf(timed.first!).length).toBe(0);
  timed.apply(6);
  expect(timed.kernel.stats().keys).toBe(0);
});
