/** Snapshots inside the kernel: bounded calls, what a load gives back, and chunks of any bytes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Build, builds, bytesOf, del, EntryType, payload, record, set, setFor, TestKernel } from './support.js';

const DONE = 0xffff_ffff;

/** Takes the next chunk; undefined: that was all. */
function next(kernel: TestKernel, most: number): Buffer | undefined {
  const bytes = kernel.call('snapshotPick', most) >>> 0;
  if (bytes === DONE) return undefined;
  const window = kernel.kernel.constant('SNAPSHOT_WINDOW');
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes; ) {
    const copied = kernel.call('snapshotCopy');
    expect(copied).toBeGreaterThan(0);
    parts.push(kernel.kernel.u8.slice(window, window + copied));
    at += copied;
  }
  return Buffer.concat(parts);
}

/** All chunks of a snapshot at the published revision; `between` is called before each. */
function snapshot(kernel: TestKernel, most: number, between = () => {}): Buffer[] {
  kernel.call('snapshotBegin');
  const chunks: Buffer[] = [];
  for (;;) {
    between();
    const chunk = next(kernel, most);
    if (chunk === undefined) break;
    chunks.push(chunk);
  }
  kernel.call('snapshotEnd');
  return chunks;
}

/** Keys and values in chunks. */
function contents(chunks: readonly Buffer[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const [key, value] = [chunk.readUInt32LE(at) & 0x7fff_ffff, chunk.readUInt32LE(at + 4)];
      const text = chunk.toString('latin1', at + 24, at + 24 + key + value);
      if (found.has(text.slice(0, key))) throw new Error(`${text.slice(0, key)} comes twice`);
      found.set(text.slice(0, key), text.slice(key));
      at += 24 + Math.ceil((key + value) / 4) * 4;
    }
  }
  return found;
}

function load(kernel: TestKernel, chunk: Uint8Array): number {
  const at = kernel.call('stageRoom', Math.max(64, chunk.length)) >>> 0;
  kernel.kernel.u8.set(chunk, at);
  return kernel.call('loadChunk', at, chunk.length);
}

function fill(kernel: TestKernel, count: number, value: (i: number) => string, prefix = 'key'): void {
  for (let i = 0; i < count; i += 1_000) {
    const n = Math.min(1_000, count - i);
    kernel.run(...Array.from({ length: n }, (_, j) => set(`${prefix} ${i + j}`, value(i + j))));
  }
}

describe.each(builds)('snapshots of the %s kernel', (build: Build) => {
  test('hold what the pin sees, through growth, shrinking, deletion and new keys', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9_000 }),
        fc.integer({ min: 100, max: 60_000 }),
        fc.nat(),
        (count, least, salt) => {
          // At most some two hundred chunks, with writes between each two.
          const most = Math.max(least, Math.ceil((count * 40) / 200));
          const kernel = new TestKernel(build, 1 + (salt & 63));
          fill(kernel, count, (i) => `${i}`);
          const before = new Map(kernel.scan(kernel.published));
          let round = 0;
          const chunks = snapshot(kernel, most, () => {
            round++;
            const at = (salt + round * 613) % count;
            kernel.run(
              ...Array.from({ length: 300 }, (_, i) => set(`new ${round} ${i}`, 'x')),
              del(...Array.from({ length: 100 }, (_, i) => `key ${(at + i) % count}`)),
              ...Array.from({ length: 30 }, (_, i) => set(`key ${(at + 7 * i) % count}`, 'again')),
              del(...Array.from({ length: 290 }, (_, i) => `new ${round - 1} ${i}`)),
            );
          });
          expect(contents(chunks)).toEqual(before);
          while (kernel.call('test_reclaim', 4_096) !== 0);
          expect(kernel.records).toBe(kernel.stats().keys);
        },
      ),
      { numRuns: build === 'test-release' ? 10 : 4 },
    );
  }, 120_000);

  test('take a bounded number of records a call, also when none of them is in the snapshot', () => {
    const kernel = new TestKernel(build);
    const count = 60_000;
    fill(kernel, 1, () => 'old');
    kernel.call('snapshotBegin');
    fill(kernel, count, (i) => `${i}`, 'new');
    let calls = 0;
    let bytes = 0;
    for (let chunk = next(kernel, 1 << 20); chunk !== undefined; chunk = next(kernel, 1 << 20)) {
      bytes += chunk.length;
      calls++;
    }
    expect(bytes).toBe(24 + 8);
    expect(calls).toBeGreaterThan(count / 4_096);
    kernel.call('snapshotEnd');
  });

  test('of a table that is nearly empty take a bounded number of slots a call', () => {
    const kernel = new TestKernel(build);
    const count = 150_000;
    fill(kernel, count, () => '');
    for (let i = 1; i < count; i += 1_000) {
      kernel.run(del(...Array.from({ length: Math.min(1_000, count - i) }, (_, j) => `key ${i + j}`)));
    }
    const slots = kernel.call('test_tableSlots');
    let calls = 0;
    const chunks = snapshot(kernel, 1 << 20, () => calls++);
    expect(contents(chunks)).toEqual(new Map([['key 0', '']]));
    expect(calls).toBeGreaterThan(slots / 65_536);
  });

  test('cannot be begun twice, nor be ended when none is under way', () => {
    const kernel = new TestKernel(build);
    expect(() => kernel.call('snapshotEnd')).toThrow(/out of order/);
    kernel.call('snapshotBegin');
    expect(() => kernel.call('snapshotBegin')).toThrow(/out of order/);
    expect(() => kernel.call('loadBegin')).toThrow(/out of order/);
  });
});

/** How far behind its home a key of the table stands on average, in slots: what looking one up costs. */
function meanDistance(kernel: TestKernel): number {
  const { u32 } = kernel.kernel;
  const bits = kernel.word('TABLE_STATE', 'TS_LOG');
  const slots = kernel.word('TABLE_STATE', 'TS_SLOTS') >>> 2;
  const address = kernel.kernel.constant('SLOT_ADDRESS_MASK');
  let distance = 0;
  let keys = 0;
  for (let i = 0; i < 2 ** bits; i++) {
    if ((u32[slots + 2 * i]! & address) <= 1) continue;
    const home = u32[slots + 2 * i + 1]! >>> (32 - bits);
    distance += (i - home + 2 ** bits) % 2 ** bits;
    keys++;
  }
  return distance / Math.max(1, keys);
}

describe.each(builds)('loading into the %s kernel', (build: Build) => {
  test('gives all memory of records and tables back, whatever state they are in', () => {
    const kernel = new TestKernel(build);
    const pages = () => kernel.call('test_totalPages') - kernel.call('test_freePages');
    const [records, held] = [kernel.records, pages()];
    for (let round = 0; round < 3; round++) {
      const pins: bigint[] = [];
      for (let i = 0; i < 12; i++) {
        fill(kernel, 3_000, (k) => 'v'.repeat((k * 7 + i) % 700));
        kernel.run(set(`large ${i}`, 'x'.repeat(200_000 + i)), del(`large ${i - 2}`, `key ${i}`));
        kernel.run(...Array.from({ length: 400 }, (_, k) => setFor(`key ${k * 5}`, 'for a time', 1 + k + i)));
        if (i % 3 === 0) pins.push(kernel.pin());
      }
      while (!kernel.call('test_tableMoving')) fill(kernel, 1_000, () => '', `more ${kernel.stats().keys}`);
      expect(kernel.records).toBeGreaterThan(records + 3_000);
      expect(kernel.call('test_expiryFirst')).not.toBe(0);
      kernel.call('loadBegin');
      expect(kernel.call('test_expiryFirst')).toBe(0);
      expect(kernel.records).toBe(records);
      expect(kernel.call('test_usedRecords')).toBe(0);
      expect(kernel.call('test_tableKeys')).toBe(0);
      expect(pages()).toBe(held);
      const [first, second] = [
        Buffer.from([3, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, round & 1, 0, 0, 0, 0, 0, 0, 0]),
        bytesOf('abcde\0\0\0'),
      ];
      expect(load(kernel, Buffer.concat([first, second]))).toBe(0);
      expect(end(kernel, 9 + round, 1, 64)).toBe(0);
      expect(kernel.getCurrent('abc')).toBe('de');
      expect(kernel.published).toBe(BigInt(9 + round));
      expect(kernel.call('test_expiryFirst') !== 0).toBe(round === 1);
      expect(kernel.call('test_pinCount')).toBe(0);
    }
    kernel.run(del('abc'));
    expect(kernel.records).toBe(records);
  });

  test('into a store with the seed of the one that wrote the snapshot, or into itself, keys stand near their homes', () => {
    const writer = new TestKernel(build);
    fill(writer, 30_000, () => '');
    const chunks = snapshot(writer, 32 << 10);
    for (const kernel of [new TestKernel(build), writer]) {
      for (let round = 0; round < 2; round++) {
        kernel.call('loadBegin');
        for (const chunk of chunks) {
          expect(load(kernel, chunk)).toBe(0);
          expect(meanDistance(kernel)).toBeLessThan(8);
        }
        expect(kernel.call('test_tableKeys')).toBe(30_000);
        expect(kernel.getCurrent('key 29999')).toBe('');
      }
    }
  });

  test('waits for readers to be fenced off, and for what is staged', () => {
    const kernel = new TestKernel(build);
    const announcement = kernel.call('test_readerAddress', kernel.call('test_addReader')) >>> 2;
    fill(kernel, 20_000, () => 'x');
    kernel.kernel.u32[announcement] = 1;
    expect(() => kernel.call('loadBegin')).toThrow(/fenced off/);
    kernel.kernel.u32[announcement] = 0;
    kernel.stage(record(1, EntryType.noop, payload({ identity: 'a', starts: 1, nonce: 1 }, 1, 0)));
    expect(() => kernel.call('loadBegin')).toThrow(/out of order/);
    kernel.applyAll();
    const generation = kernel.call('test_tableGeneration');
    kernel.call('loadBegin');
    expect(kernel.call('test_tableGeneration')).toBeGreaterThan(generation);
  });

  test('chunks of any bytes are taken or refused, and nothing traps', () => {
    const kernel = new TestKernel(build);
    kernel.run(set('a', '1'), set('b', 'x'.repeat(50)), set('', ''));
    const good = Buffer.concat(snapshot(kernel, 1 << 20));
    const byte = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255));
    const mutated = fc.array(fc.tuple(fc.nat(good.length - 1), byte), { maxLength: 4 }).map((changes) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated), fc.nat(200), (bytes, cut) => {
        kernel.call('loadBegin');
        const outcome = load(kernel, bytes.subarray(0, Math.max(cut, bytes.length - 3)));
        expect(outcome).toBeOneOf([0, 1]);
        const { keys } = { keys: kernel.call('test_tableKeys') };
        expect(kernel.call('test_usedRecords')).toBe(keys);
      }),
      { numRuns: build === 'test-release' ? 4_000 : 600 },
    );
  }, 60_000);

  test('without memory for all records says so', () => {
    const kernel = new TestKernel(build, 1, 1_700);
    const chunk = (i: number) => {
      const head = Buffer.alloc(24);
      head.writeUInt32LE(4, 0);
      head.writeUInt32LE(100_000, 4);
      head.writeUInt32LE(1, 8);
      const key = Buffer.alloc(4);
      key.writeUInt32LE(i);
      return Buffer.concat([head, key, Buffer.alloc(100_000)]);
    };
    kernel.call('loadBegin');
    let outcome = 0;
    for (let i = 0; i < 200 && outcome === 0; i++) outcome = load(kernel, chunk(i));
    expect(outcome).toBe(2);
    expect(load(kernel, chunk(1_000))).toBe(2);
    expect(end(kernel, 5, 1, 1)).toBe(2);
    // All of it can be given back.
    kernel.call('loadBegin');
    expect(load(kernel, chunk(1))).toBe(0);
  });
});

/** Ends a load with this state; the hash is the one that has come out. */
function end(kernel: TestKernel, revision: number, keys: number, logical: number): number {
  const args = kernel.kernel.constant('ARGS_BASE');
  kernel.kernel.f64.set([revision, 1, keys, logical, 0, 0, 0], args / 8);
  const newest = kernel.kernel.constant('VERSION_STATE') + kernel.kernel.constant('VS_NEWEST');
  const hash = (newest + kernel.kernel.constant('VS_HASH')) / 4;
  kernel.kernel.u32.copyWithin(args / 4 + 16, hash, hash + 2);
  return kernel.call('loadEnd');
}
