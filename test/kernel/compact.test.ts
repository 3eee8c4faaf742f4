/**
 * Records move out of sparse pages: a kernel with little memory goes on for ever, and nobody can tell it from one that never
 * has to move anything.
 */
import { describe, expect, test } from 'vitest';
import {
  type Build,
  builds,
  config,
  del,
  EntryType,
  get,
  type Origin,
  payload,
  record,
  set,
  setFor,
  TestKernel,
} from './support.js';

const origin: Origin = { identity: 'someone', starts: 1, nonce: 7 };
const Outcome = { done: 0, more: 1, noMemory: 2 } as const;
const PAGE = 65_536;
const ENTRY_BYTES = 256 << 10;

/** Heap pages of the small kernel, and the limit of logical bytes: a fraction, as an entry needs some 130 pages in a row. */
const HEAP = 400;
const LIMIT = 6_000_000;

/** Pages that a kernel of `heap` pages may have. */
function pagesFor(heap: number): number {
  return new TestKernel('test-release').kernel.constant('HEAP_BASE') / PAGE + heap;
}

/** A small generator of numbers: the same in every run. */
class Dice {
  private state: number;
  constructor(seed: number) {
    this.state = seed;
  }
  below(n: number): number {
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * n);
  }
}

/** Two kernels that get the same entries: one with little memory, one with all that it wants. */
class Both {
  readonly small: TestKernel;
  readonly large: TestKernel;
  logTime = 1_000;
  private index = 0;
  private sequence = 0;
  /** Most records moved by one slice. */
  mostMoved = 0;

  constructor(build: Build, heap = HEAP, limit = LIMIT) {
    this.small = new TestKernel(build, 1, pagesFor(heap));
    this.large = new TestKernel('test-release', 2);
    this.entry(EntryType.config, config(limit));
  }

  get moved(): number {
    return this.small.word('COMPACT_STATE', 'CO_MOVED');
  }

  stage(type: number, body: Buffer): void {
    const bytes = record(++this.index, type, body, this.logTime);
    expect(this.small.stage(bytes)).toBe(true);
    expect(this.large.stage(bytes)).toBe(true);
    expect(this.large.applyAll().outcome).toBe(Outcome.done);
  }

  /** A slice of the small kernel. */
  slice(): number {
    const before = this.moved;
    const outcome = this.small.call('apply');
    this.mostMoved = Math.max(this.mostMoved, this.moved - before);
    return outcome;
  }

  entry(type: number, body: Buffer): void {
    this.stage(type, body);
    let outcome: number = Outcome.more;
    for (let slices = 0; outcome === Outcome.more; slices++) {
      outcome = this.slice();
      expect(slices).toBeLessThan(10_000);
    }
    expect(outcome).toBe(Outcome.done);
  }

  data(...operations: Buffer[]): void {
    this.entry(EntryType.data, payload(origin, ++this.sequence, operations.length, ...operations));
  }

  /** All of them, in entries of the usual size. */
  all(operations: Iterable<Buffer>): void {
    let batch: Buffer[] = [];
    let bytes = 0;
    for (const operation of operations) {
      batch.push(operation);
      bytes += operation.length;
      if (bytes < ENTRY_BYTES) continue;
      this.data(...batch);
      batch = [];
      bytes = 0;
    }
    if (batch.length > 0) this.data(...batch);
  }

  stageData(...operations: Buffer[]): void {
    this.stage(EntryType.data, payload(origin, ++this.sequence, operations.length, ...operations));
  }

  compare(): void {
    const [small, large] = [this.small, this.large].map((kernel) => {
      const { used, reserved, ...rest } = kernel.stats();
      return rest;
    });
    expect(small).toEqual(large);
  }

  /** Pins what is published: a transaction begins. */
  pin(): bigint {
    expect(this.small.pin()).toBe(this.large.pin());
    return this.small.published;
  }

  unpin(revision: bigint): void {
    this.small.unpin(revision);
    this.large.unpin(revision);
  }

  compareContents(revision = this.small.published): void {
    this.compare();
    const sorted = (kernel: TestKernel) => kernel.scan(revision).sort(([a], [b]) => (a < b ? -1 : 1));
    const [small, large] = [sorted(this.small), sorted(this.large)];
    expect(small.length).toBe(large.length);
    expect(small.every(([key, value], i) => key === large[i]![0] && value === large[i]![1])).toBe(true);
  }
}

function keys(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}/${i}`);
}

/** Fills up to `bytes` of data with values of `size`, and deletes all but one key in `kept`. */
function fillAndThin(both: Both, prefix: string, size: number, bytes: number, kept: number): void {
  const count = Math.floor(bytes / (size + 100));
  both.all(keys(prefix, count).map((key) => set(key, key.padEnd(size, '.'))));
  both.all(
    keys(prefix, count)
      .filter((_, i) => i % kept !== 0)
      .map((key) => del(key)),
  );
}

describe.each(builds)('a %s kernel with little memory', (build) => {
  test('fills, deletes all but a record a page, and refills in another size, for ever', () => {
    const both = new Both(build);
    const sizes = [500, 3_000, 700, 20_000, 1_200, 5_000, 900, 10_000, 600, 2_000];
    for (const [round, size] of sizes.entries()) {
      fillAndThin(both, `r${round}`, size, LIMIT * 0.8, Math.ceil(PAGE / size));
      both.compare();
      // What the round before left goes, but for every fourth.
      const before = keys(`r${round - 1}`, 20_000).filter((_, i) => i % 4 !== 0);
      if (round > 0) both.all(before.map((key) => del(key)));
    }
    both.compareContents();
    expect(both.moved).toBeGreaterThan(100);
  }, 60_000);

  test('takes values of any size, records with deadlines and keys that come again, in any order', () => {
    // Removals of expired records need 192 pages more.
    const both = new Both(build, 640, 8_000_000);
    const dice = new Dice(7);
    const live = new Map<string, number>();
    const pins: bigint[] = [];
    for (let round = 0; round < 24; round++) {
      const size = Math.floor(100 * 2 ** (dice.below(1_000) / 90));
      const operations: Buffer[] = [];
      let bytes = 0;
      while (bytes < 4_000_000) {
        const key = `k${dice.below(30_000)}`;
        const value = key.padEnd(Math.floor(size * (0.8 + dice.below(40) / 100)), '-');
        operations.push(dice.below(4) === 0 ? setFor(key, value, 1 + dice.below(40_000)) : set(key, value));
        bytes += value.length + 100;
        live.set(key, size);
      }
      both.all(operations);
      both.logTime += dice.below(20_000);
      const gone = [...live.keys()].filter(() => dice.below(100) < 85);
      for (const key of gone) live.delete(key);
      both.all(gone.map((key) => del(key)));
      both.compare();
      // Transactions that see what is left, for a round or two.
      for (const pin of pins) both.compareContents(pin);
      while (pins.length > dice.below(3)) both.unpin(pins.splice(dice.below(pins.length), 1)[0]!);
      pins.push(both.pin());
    }
    for (const pin of pins) both.unpin(pin);
    both.compareContents();
    expect(both.moved).toBeGreaterThan(100);
    expect(both.small.call64('test_expiredUsers', BigInt(both.logTime + 20_000))).toBe(
      both.large.call64('test_expiredUsers', BigInt(both.logTime + 20_000)),
    );
    // All of it can be given back: nothing has been lost.
    both.logTime += 100_000;
    while (both.small.call('test_expiryFirst') !== 0) both.entry(EntryType.noop, Buffer.alloc(0));
    both.all([...live.keys()].map((key) => del(key)));
    expect(both.small.stats().keys).toBe(0);
    while (both.small.call('test_reclaim', 4_096) !== 0);
    expect(both.small.call('test_usedRecords')).toBe(both.small.call('test_tableKeys'));
  }, 60_000);

  test('moves long values too, so that longer ones find room between them', () => {
    const both = new Both(build, 250);
    for (const [round, size] of [60_000, 200_000, 100_000, 400_000, 150_000, 70_000, 300_000].entries()) {
      fillAndThin(both, `r${round}`, size, LIMIT * 0.7, 3);
      if (round > 0) both.all(keys(`r${round - 1}`, 100).map((key) => del(key)));
      both.compareContents();
    }
    expect(both.moved).toBeGreaterThan(5);
  }, 60_000);

  test('does it in slices, tells the bytes in use, and gives pages back to the pool', () => {
    const both = new Both(build);
    sparse(both);
    const before = both.small.stats().used;
    const records = both.small.call('test_usedRecords');
    both.stageData(set('next', 'entry'));
    let slices = 0;
    while (!both.small.call('test_compacting')) expect(both.slice()).toBe(Outcome.more);
    while (both.small.call('test_compacting')) {
      expect(both.slice()).toBe(Outcome.more);
      // No record is there twice, and none is missing.
      expect(both.small.call('test_usedRecords')).toBe(records);
      expect(both.small.stats().used).toBe(before);
      both.small.scan(both.small.published);
      slices++;
    }
    expect(slices).toBeGreaterThan(1);
    expect(both.small.applyAll().outcome).toBe(Outcome.done);
    expect(both.mostMoved).toBeLessThan(2_000 + PAGE / 48);
    both.compareContents();
    expect(both.small.stats().reserved).toBeLessThanOrEqual(HEAP * PAGE);
  }, 60_000);

  test('waits for a snapshot that is being written, and the snapshot holds what it began with', () => {
    const both = new Both(build);
    sparse(both);
    const wanted = new Map(both.small.scan(both.small.published));
    both.small.call('snapshotBegin');
    const bytes: Buffer[] = [chunk(both.small)!];
    both.stageData(set('next', 'entry'), del('r0/0'));
    const { moved } = both;
    for (let i = 0; i < 50; i++) expect(both.slice()).toBe(Outcome.more);
    expect(both.moved).toBe(moved);
    for (let more = chunk(both.small); more !== undefined; more = chunk(both.small)) {
      bytes.push(more);
      expect(both.slice()).toBe(Outcome.more);
    }
    both.small.call('snapshotEnd');
    expect(contents(bytes)).toEqual(wanted);
    expect(both.small.applyAll().outcome).toBe(Outcome.done);
    expect(both.moved).toBeGreaterThan(moved);
    both.compareContents();
  }, 60_000);

  test('gives a window up when a snapshot begins in the middle, and goes on afterwards', () => {
    const both = new Both(build);
    sparse(both);
    both.stageData(set('next', 'entry'));
    while (both.moved === 0) expect(both.slice()).toBe(Outcome.more);
    expect(both.small.call('test_compacting')).toBe(1);
    const wanted = new Map(both.small.scan(both.small.published));
    both.small.call('snapshotBegin');
    const bytes: Buffer[] = [];
    for (let more = chunk(both.small); more !== undefined; more = chunk(both.small)) {
      bytes.push(more);
      expect(both.slice()).toBe(Outcome.more);
      expect(both.small.call('test_compacting')).toBe(0);
    }
    both.small.call('snapshotEnd');
    expect(contents(bytes)).toEqual(wanted);
    expect(both.small.applyAll().outcome).toBe(Outcome.done);
    both.compareContents();
  }, 60_000);

  test('keeps what a reader on another thread may be looking at until it has ended', () => {
    const both = new Both(build);
    sparse(both);
    const { small } = both;
    const announcement = small.call('test_readerAddress', small.call('test_addReader')) >>> 2;
    small.kernel.u32[announcement] = Number(small.published);
    const key = [...small.scan(small.published)].map(([name]) => name);
    const addresses = key.map((name) => find(small, name));
    both.stageData(set('next', 'entry'));
    for (let i = 0; i < 200; i++) expect(both.slice()).toBe(Outcome.more);
    const moved = key.filter((name, i) => find(small, name) !== addresses[i]);
    expect(moved.length).toBeGreaterThan(10);
    for (const [i, address] of addresses.entries()) {
      const at = small.call('test_recKey', address) >>> 0;
      const text = Buffer.from(small.kernel.u8.slice(at, at + small.call('test_recKeyLen', address))).toString(
        'latin1',
      );
      expect(text).toBe(key[i]);
    }
    small.kernel.u32[announcement] = 0;
    expect(small.applyAll().outcome).toBe(Outcome.done);
    both.compareContents();
    expect(small.run(get('next')).lines).toEqual(['"entry"']);
  }, 60_000);

  test('moves the versions that pins keep, and frees them when the pins go', () => {
    const both = new Both(build);
    sparse(both, 150);
    const names = both.large.scan(both.large.published).map(([name]) => name);
    const pins = [both.pin()];
    for (let round = 0; round < 12; round++) {
      both.data(...names.slice(round * 30, round * 30 + 20).map((name) => set(name, 'new')));
      both.data(del(...names.slice(round * 30 + 20, round * 30 + 30)));
      if (round === 5) pins.push(both.pin());
      fillAndThin(both, `p${round}`, 500 + 170 * round, 600_000, 40);
      for (const pin of pins) both.compareContents(pin);
    }
    expect(both.moved).toBeGreaterThan(500);
    for (const pin of pins) both.unpin(pin);
    both.data(set('last', 'entry'));
    while (both.small.call('test_reclaim', 4_096) !== 0);
    expect(both.small.call('test_usedRecords')).toBe(both.small.call('test_tableKeys'));
    both.compareContents();
  }, 60_000);

  test('publishes what entries before have done, to have the room of what they replaced', () => {
    const both = new Both(build);
    const large = Array.from({ length: 12 }, (_, i) => `large ${i}`);
    both.entry(EntryType.config, config(0));
    both.all(large.map((key) => set(key, key.padEnd(1_000_000, '.'))));
    leave(both.small, 150);
    // In one slice; the second entry has room only where the values stood that the first one deletes.
    both.stageData(...large.map((key) => del(key)));
    both.stageData(set('larger', 'x'.repeat(3_000_000)));
    expect(both.small.applyAll().outcome).toBe(Outcome.done);
    both.compareContents();
  }, 60_000);

  test('that is full of what cannot be moved stops before the entry, and goes on when there is room', () => {
    const both = new Both(build);
    both.entry(EntryType.config, config(0));
    let outcome: number = Outcome.done;
    let n = 0;
    for (; outcome === Outcome.done; n++) {
      both.stageData(set(`k${n}`, 'x'.repeat(200_000)));
      do outcome = both.slice();
      while (outcome === Outcome.more);
    }
    expect(outcome).toBe(Outcome.noMemory);
    expect(both.small.call('test_compacting')).toBe(0);
    expect(both.small.getCurrent(`k${n - 1}`)).toBeUndefined();
    expect(both.small.run(del(...Array.from({ length: n - 20 }, (_, i) => `k${i}`))).outcome).toBe(0);
    expect(both.small.applyAll().outcome).toBe(Outcome.done);
    expect(both.small.getCurrent(`k${n - 1}`)).toHaveLength(200_000);
  }, 60_000);
});

/** Takes all pages but so many. */
function leave(kernel: TestKernel, pages: number): void {
  const left = pagesFor(HEAP) - kernel.call('test_totalPages') + kernel.call('test_freePages');
  expect(left).toBeGreaterThan(pages);
  expect(kernel.call('test_alloc', (left - pages) * PAGE - 64)).not.toBe(0);
}

/** Sparse pages of many classes, some of records with deadlines, and so little besides that the next entry finds no room. */
function sparse(both: Both, spare = 100): void {
  for (let round = 0; round < 11; round++) {
    // Another class each time.
    const size = Math.floor(400 * 1.1 ** round);
    const count = Math.floor((LIMIT * 0.2) / (size + 100));
    const value = (key: string) => key.padEnd(size, '.');
    both.all(
      keys(`r${round}`, count).map((key, i) => (i % 3 === 0 ? setFor(key, value(key), 1e9) : set(key, value(key)))),
    );
    both.all(
      keys(`r${round}`, count)
        .filter((_, i) => i % 8 !== 0)
        .map((key) => del(key)),
    );
  }
  leave(both.small, spare);
  expect(both.moved).toBe(0);
}

function find(kernel: TestKernel, key: string): number {
  return kernel.call('test_findCurrent', kernel.put(Buffer.from(key, 'latin1')), key.length, 0) >>> 0;
}

/** The next chunk of a snapshot; undefined: that was all. */
function chunk(kernel: TestKernel): Buffer | undefined {
  const bytes = kernel.call('snapshotPick', 50_000) >>> 0;
  if (bytes === 0xffff_ffff) return undefined;
  const window = kernel.kernel.constant('SNAPSHOT_WINDOW');
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes; at += parts.at(-1)!.length) {
    const copied = kernel.call('snapshotCopy');
    parts.push(kernel.kernel.u8.slice(window, window + copied));
  }
  return Buffer.concat(parts);
}

/** Users' keys and values in chunks. */
function contents(chunks: readonly Buffer[]): Map<string, string> {
  const found = new Map<string, string>();
  const all = Buffer.concat(chunks);
  for (let at = 0; at < all.length; ) {
    const [word, value] = [all.readUInt32LE(at), all.readUInt32LE(at + 4)];
    const key = word & 0x7fff_ffff;
    const text = all.toString('latin1', at + 24, at + 24 + key + value);
    if (word >>> 31 === 0) found.set(text.slice(0, key), text.slice(key));
    at += 24 + Math.ceil((key + value) / 4) * 4;
  }
  return found;
}
