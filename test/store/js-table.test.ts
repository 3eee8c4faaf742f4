/** The twin's records, versions and pins against a model that keeps every state whole. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logicalSize, Table } from '../../src/store/js-table.js';
import { referenceSize } from './payloads.js';

type State = ReadonlyMap<string, string>;

/** A table that is changed together with whole copies of its state. */
class Model {
  readonly table = new Table();
  private live = new Map<string, string>();
  private published: State = new Map();
  readonly pins: { readonly revision: number; readonly state: State }[] = [];

  begin(mayBeSeen: boolean): void {
    this.table.retain = mayBeSeen || this.table.pinned;
  }

  set(key: string, value: string): void {
    this.table.revision++;
    this.table.set(key, this.table.record(key), value, this.table.revision, 1, 0);
    this.live.set(key, value);
  }

  remove(key: string): void {
    const record = this.table.record(key);
    if (record?.value === undefined) return;
    this.table.revision++;
    this.table.remove(key, record, this.table.revision);
    this.live.delete(key);
  }

  publish(): void {
    this.table.publish();
    this.published = new Map(this.live);
  }

  pin(): void {
    this.pins.push({ revision: this.table.pin(), state: this.published });
  }

  unpin(at: number): void {
    const [pin] = this.pins.splice(at, 1);
    if (pin) this.table.unpin(pin.revision);
  }

  check(keys: readonly string[]): void {
    const { table } = this;
    for (const key of keys) {
      expect(table.current(key)?.value).toBe(this.live.get(key));
      if (table.retain) expect(table.at(key, table.published, 0)?.value).toBe(this.published.get(key));
      for (const { revision, state } of this.pins) expect(table.at(key, revision, 0)?.value).toBe(state.get(key));
    }
    expect(table.keys).toBe(this.live.size);
    expect(table.publishedKeys).toBe(this.published.size);
    expect(table.hash.lo).toBe(this.live.size);
  }
}

const keys = ['a', 'b', 'c'];
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('set' as const), key: fc.constantFrom(...keys), value: fc.string() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), key: fc.constantFrom(...keys) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('publish' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pin' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unpin' as const), at: fc.nat(5) }) },
);

describe('the table', () => {
  test('every pin sees the state it was taken on, and nothing is left when the last one goes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const model = new Model();
        model.begin(true);
        for (const one of steps) {
          if (one.do === 'set') model.set(one.key, one.value);
          else if (one.do === 'remove') model.remove(one.key);
          else if (one.do === 'publish') model.publish();
          else if (one.do === 'pin') model.pin();
          else model.unpin(one.at % Math.max(1, model.pins.length));
          model.check(keys);
        }
        model.publish();
        while (model.pins.length > 0) model.unpin(0);
        model.check(keys);
        for (const key of keys) expect(model.table.record(key)?.older).toBeUndefined();
        expect([...model.table.allKeys()].length).toBe(model.table.keys);
      }),
      { numRuns: 500 },
    );
  });

  test('a key that is written over and over under one old pin has two versions, not one for each write', () => {
    const model = new Model();
    model.set('a', 'first');
    model.publish();
    model.pin();
    for (let i = 0; i < 100; i++) {
      model.begin(false);
      model.set('a', String(i));
      model.publish();
    }
    const record = model.table.record('a')!;
    expect(record.older?.value).toBe('first');
    expect(record.older?.older).toBeUndefined();
  });

  test('without a pin, nothing is kept', () => {
    const model = new Model();
    model.begin(false);
    model.set('a', '1');
    model.publish();
    model.set('a', '2');
    model.remove('a');
    model.set('a', '3');
    expect(model.table.record('a')?.older).toBeUndefined();
  });

  test('a revision that is not pinned cannot be unpinned', () => {
    const model = new Model();
    model.pin();
    expect(() => model.table.unpin(5)).toThrow(/revision 5 is not pinned/);
    model.unpin(0);
    expect(() => model.table.unpin(0)).toThrow(/not pinned/);
  });

  test('logical sizes are those of ARCHITECTURE.md', () => {
    for (let n = 0; n < 70_000; n += 1 + (n >> 6)) expect(logicalSize(3, n)).toBe(referenceSize(3, n));
    for (const n of [469, 470, 981, 982, 32_725, 32_726, 65_493, 65_494, 2 ** 31, 2 ** 32]) {
      expect(logicalSize(3, n)).toBe(referenceSize(3, n));
    }
  });
});
