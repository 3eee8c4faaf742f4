import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Build, builds, bytesOf, del, set, TestKernel } from './support.js';

/** Keys whose hashes under this kernel's seed begin with the same bits: they all want the same slot of a small table. */
function colliding(kernel: TestKernel, bits: number, count: number): string[] {
  const shift = BigInt(64 - bits);
  const wanted = BigInt.asUintN(64, kernel.call64('test_hashKey', kernel.put(bytesOf('first')), 5)) >> shift;
  const found: string[] = [];
  for (let i = 0; found.length < count; i++) {
    const key = `c${i}`;
    const hash = BigInt.asUintN(64, kernel.call64('test_hashKey', kernel.put(bytesOf(key)), key.length));
    if (hash >> shift === wanted) found.push(key);
  }
  return found;
}

function inBatches(kernel: TestKernel, operations: Buffer[], size = 500): void {
  for (let i = 0; i < operations.length; i += size) {
    expect(kernel.run(...operations.slice(i, i + size)).outcome).toBe(0);
  }
}

function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `key ${from + i}`);
}

test('a slot that readers look at is written by one atomic store', () => {
  const source = readFileSync(new URL('../../assembly/table.ts', import.meta.url), 'utf8');
  for (const name of ['setSlot', 'clearSlot', 'insertSlot']) {
    const body = new RegExp(`function ${name}\\([\\s\\S]*?\\n}\\n`).exec(source)![0];
    expect(body.match(/(?<!atomic\.)store<u64>\(/g), name).toBe(null);
    expect(body.match(/atomic\.store<u64>\(slot/g), name).toHaveLength(1);
  }
});

describe.each(builds)('the table of the %s kernel', (build: Build) => {
  test('it grows from one page to many keys with every key found at each moment', () => {
    const kernel = new TestKernel(build);
    const sizes = new Set<number>();
    let moving = 0;
    for (let n = 0; n < 60_000; n += 250) {
      kernel.run(...numbered(n, n + 250).map((key) => set(key, key)));
      sizes.add(kernel.call('test_tableSlots'));
      moving += kernel.call('test_tableMoving');
      for (let probe = 0; probe < n; probe += 1 + (n >> 4))
        expect(kernel.getCurrent(`key ${probe}`)).toBe(`key ${probe}`);
      expect(kernel.getCurrent(`key ${n + 250}`)).toBeUndefined();
    }
    expect([...sizes]).toEqual([8192, 16_384, 32_768, 65_536, 131_072]);
    expect(moving).toBeGreaterThan(4);
    expect(kernel.call('test_tableKeys')).toBe(60_000);
    expect(new Set(kernel.scan(kernel.published).map(([key]) => key)).size).toBe(60_000);
  });

  test('updates and deletes hit the right table at every point of a move', () => {
    const kernel = new TestKernel(build);
    const model = new Map<string, string>();
    let i = 0;
    const put = (key: string, value: string) => {
      model.set(key, value);
      return set(key, value);
    };
    const drop = (key: string) => {
      model.delete(key);
      return del(key);
    };
    while (kernel.call('test_tableMoving') === 0) kernel.run(put(`key ${i++}`, 'old'));
    for (let step = 0; kernel.call('test_tableMoving') === 1; step++) {
      const old = `key ${(step * 7919) % i}`;
      kernel.run(put(`new ${step}`, 'n'), put(old, `updated ${step}`), drop(`key ${(step * 104_729) % i}`));
      if (step % 5 === 0) kernel.run(put(`key ${(step * 104_729) % i}`, 'again'));
      if (step % 16 === 0)
        for (const key of [old, `new ${step >> 1}`, `key ${step}`]) expect(kernel.getCurrent(key)).toBe(model.get(key));
    }
    expect(new Map(kernel.scan(kernel.published))).toEqual(model);
    for (const [key, value] of model) expect(kernel.getCurrent(key)).toBe(value);
    expect(kernel.records).toBe(model.size);
  });

  test('keys that all want one slot are kept apart, found, deleted and moved', () => {
    const kernel = new TestKernel(build);
    const keys = colliding(kernel, 10, 120);
    inBatches(
      kernel,
      keys.map((key) => set(key, key)),
    );
    for (const key of keys) expect(kernel.getCurrent(key)).toBe(key);
    inBatches(
      kernel,
      keys.filter((_, i) => i % 3 === 0).map((key) => del(key)),
    );
    inBatches(
      kernel,
      numbered(0, 9000).map((key) => set(key, 'x')),
    );
    for (const [i, key] of keys.entries()) expect(kernel.getCurrent(key)).toBe(i % 3 === 0 ? undefined : key);
    inBatches(
      kernel,
      keys.map((key) => set(key, 'back')),
    );
    for (const key of keys) expect(kernel.getCurrent(key)).toBe('back');
    expect(kernel.scan(kernel.published)).toHaveLength(9000 + keys.length);
  });

  test('a table full of tombstones is made anew at the same size', () => {
    const kernel = new TestKernel(build);
    inBatches(
      kernel,
      numbered(0, 1000).map((key) => set(key, 'stays')),
    );
    for (let round = 0; round < 40; round++) {
      const keys = numbered(10_000 + round * 1000, 11_000 + round * 1000);
      inBatches(
        kernel,
        keys.map((key) => set(key, 'goes')),
      );
      inBatches(
        kernel,
        keys.map((key) => del(key)),
      );
    }
    expect(kernel.call('test_tableSlots')).toBe(8192);
    expect(kernel.call('test_tableGeneration')).toBeGreaterThan(2);
    expect(kernel.call('test_tableKeys')).toBe(1000);
    expect(kernel.getCurrent('key 77')).toBe('stays');
    expect(kernel.records).toBe(1000);
  });

  test('a key that comes and goes uses the same slot again: the table is not made anew for it', () => {
    const kernel = new TestKernel(build);
    for (let i = 0; i < 20; i++) {
      const twice = Array.from({ length: 500 }, () => [set('guest', 'x'), del('guest')]).flat();
      expect(kernel.run(...twice).outcome).toBe(0);
    }
    expect(kernel.word('TABLE_STATE', 'TS_USED')).toBe(1);
    expect(kernel.call('test_tableGeneration')).toBe(0);
  });

  test('tables that were used before are cleared before they are used again', () => {
    const kernel = new TestKernel(build);
    for (let round = 0; round < 3; round++) {
      inBatches(
        kernel,
        numbered(0, 30_000).map((key) => set(key, `${round}`)),
        1000,
      );
      expect(kernel.getCurrent('key 29999')).toBe(`${round}`);
      inBatches(
        kernel,
        numbered(0, 30_000).map((key) => del(key)),
        1000,
      );
      // Few keys and many changes: the table shrinks, its pages go back.
      for (let i = 0; i < 60; i++)
        inBatches(
          kernel,
          numbered(0, 400).flatMap((key) => [set(`${i} ${key}`, 'x'), del(`${i} ${key}`)]),
          800,
        );
    }
    expect(kernel.call('test_tableKeys')).toBe(0);
    expect(kernel.scan(kernel.published)).toEqual([]);
  });

  test('a scan finds every key that stays exactly once, though the table grows, shrinks and is written between its steps', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 7000 }),
        fc.integer({ min: 50, max: 3000 }),
        fc.boolean(),
        (count, churn, removing) => {
          const kernel = new TestKernel(build, count & 0xff);
          const stay = numbered(0, count);
          inBatches(
            kernel,
            stay.map((key) => set(key, key)),
          );
          const pin = kernel.pin();
          let n = 0;
          const found = kernel.scan(pin, () => {
            const fresh = Array.from({ length: churn }, () => `fresh ${n++}`);
            inBatches(
              kernel,
              fresh.map((key) => set(key, 'not seen')),
            );
            if (removing)
              inBatches(
                kernel,
                [...fresh, ...stay.slice(0, churn)].map((key) => del(key)),
              );
          });
          expect(found.map(([key]) => key).sort()).toEqual([...stay].sort());
        },
      ),
      { numRuns: build === 'test-release' ? 15 : 6 },
    );
  }, 60_000);
});
