/** Snapshots: written from a pinned revision while writes go on, and loaded into an empty or a running store. */
import { describe, expect, test } from 'vitest';
import { JsStore } from '../../src/store/js-store.js';
import { loadFailures, type SnapshotState } from '../../src/store/snapshot.js';
import { EntryType, type Store, StoreEvent } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import type { MakeHarness } from './contract.js';
import { bytesOf, Harness, testOptions, textOf } from './harness.js';
import {
  dataPayload,
  incr,
  joinAll,
  peer,
  persist,
  type ReferenceRecord,
  referenceState,
  set,
  setFor,
} from './payloads.js';
import { entry, load, logicalBytesOf, recordsIn, type Taken, take } from './snapshots.js';

const lost = 'UNKNOWN lost this node has caught up by a snapshot; the write was decided, its answer is lost\n';
const readLost = 'ERR lost this node has caught up by a snapshot; nothing was done, ask again\n';
const aborted = 'ERR aborted the transaction was idle for too long and was rolled back; begin it again\n';

function lines(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => `${line(i)}\n`).join('');
}

/** What a state says, but for what is of the store itself and not of what it holds. */
function held(store: Store) {
  const { revision, applied, keys, stateHash, logicalBytes, limitBytes, checkpoint } = store.stats();
  const state: SnapshotState = {
    revision,
    applied,
    keys,
    stateHash,
    logicalBytes,
    limitBytes,
    logTimeMs: store.logTime,
    checkpoint,
  };
  return { state, earliest: store.earliestDeadline, records: texts(store.dump()) };
}

function texts(records: readonly ReferenceRecord[]): string[] {
  return records
    .map(({ key, value, revision, deadline }) => `${textOf(key)}=${textOf(value)}@${revision}<${deadline}`)
    .sort();
}

/** The chunks are all that the state speaks of, each record once. */
function expectWhole({ state, chunks }: Taken): void {
  const records = recordsIn(chunks);
  const names = records.map(({ key, system }) => `${system} ${textOf(key)}`);
  expect(new Set(names).size).toBe(names.length);
  const live = records.filter(({ system, deadline }) => !system && (!deadline || deadline > state.logTimeMs));
  expect(live).toHaveLength(state.keys);
  expect(logicalBytesOf(records)).toBe(state.logicalBytes);
  expect(referenceState(records)).toBe(state.stateHash);
  expect(records.every(({ revision }) => revision <= state.revision)).toBe(true);
}

/** A store that goes on where another one is: the next record it takes is the other's next. */
function follow(make: MakeHarness, source: Harness, n = 7): Harness {
  const h = make(testOptions(n));
  h.records.push(...source.records);
  h.logTime = source.logTime;
  return h;
}

export function snapshotContract(make: MakeHarness): void {
  describe('writing a snapshot', () => writeTests(make));
  describe('the order of calls', () => orderTests(make));
  describe('loading into a new store', () => loadTests(make));
  describe('deadlines', () => deadlineTests(make));
  describe('loading what is wrong', () => wrongTests(make));
  describe('loading into a running store', () => runningTests(make));
}

function writeTests(make: MakeHarness): void {
  test('an entry is what ARCHITECTURE.md draws', () => {
    const h = make();
    h.commitPayload(dataPayload(peer, 1, 2, set('abc', 'de'), setFor('', '', 2 ** 40)));
    h.applyAll();
    const { state, chunks } = take(h.store);
    const origin = entry(`o${'\x63'.repeat(16)}`, '\x01\0\0\0\x05\0\0\0\x01\0\0\0\0\0\0\0', 1, true);
    const wanted = [entry('', '', 3, false, 2 ** 40 + 1), entry('abc', 'de', 2), origin].map(textOf).sort();
    const found = recordsIn(chunks).map(({ key, value, revision, system, deadline }) =>
      textOf(entry(textOf(key), textOf(value), revision, system, deadline)),
    );
    expect(found.sort()).toEqual(wanted);
    expect(textOf(joinAll(chunks)).length).toBe(wanted.join('').length);
    expect(state).toEqual({
      applied: 1,
      revision: 3,
      stateHash: h.store.stats().stateHash,
      keys: 2,
      logicalBytes: h.store.stats().logicalBytes,
      limitBytes: 0,
      logTimeMs: 1,
      checkpoint: { index: 0, stateHash: '0'.repeat(16) },
    });
  });

  test('of an empty store holds nothing', () => {
    const { state, chunks } = take(make().store);
    expect(joinAll(chunks)).toHaveLength(0);
    expect(state).toMatchObject({ applied: 0, revision: 0, keys: 0, logTimeMs: 0 });
  });

  test('holds each record of its revision once, whatever is written, deleted, grown and freed meanwhile', () => {
    const h = make();
    const c = h.open();
    h.commitLimit(1 << 30);
    h.send(
      c,
      lines(6_000, (i) => `SET key${i} value${i}`),
    );
    const before = held(h.store);
    let round = 0;
    const snapshot = take(h.store, 4_096, () => {
      round++;
      const at = round * 97;
      h.send(
        c,
        `${lines(150, (i) => `SET new${round}-${i} ${'x'.repeat(i)}`)}${lines(40, (i) => `DEL key${(at + i * 7) % 6_000}`)}` +
          `${lines(40, (i) => `SET key${(at + i * 11) % 6_000} again${round}`)}DEL new${round - 1}-5 new${round}-6\n`,
      );
    });
    expect(round).toBeGreaterThan(40);
    expect(h.store.stats().keys).toBeGreaterThan(10_000);
    expectWhole(snapshot);
    expect(snapshot.state).toEqual(before.state);
    expect(texts(recordsIn(snapshot.chunks).filter(({ system }) => !system))).toEqual(before.records);
  });

  test('holds what was published when it was begun in the middle of a long entry', () => {
    const h = make();
    const count = 30_000;
    h.commitPayload(dataPayload(peer, 1, 1, set('a', 'before')));
    h.applyAll();
    const operations = Array.from({ length: count }, (_, i) => set(i % 3 === 0 ? 'a' : `key${i}`, `during ${i}`));
    const pin = h.store.snapshotBegin();
    h.store.snapshotEnd();
    h.commitPayload(dataPayload(peer, 2, count, ...operations));
    // A pinned revision keeps the twin in slices too.
    h.open();
    let states = 0;
    while (h.store.apply() === 'more' && states < 5) {
      const snapshot = take(h.store);
      expectWhole(snapshot);
      if (snapshot.state.applied === 1) expect(snapshot.state).toEqual(pin);
      states++;
    }
    h.applyAll();
    expectWhole(take(h.store));
    expect(h.store.stats().applied).toBe(2);
  });

  test('comes in chunks of whole entries within the size asked for, unless one alone is larger', () => {
    const h = make();
    const c = h.open();
    const sizes = [0, 1, 900, 3_000, 70_000, 229_351, 229_352, 229_353, 300_000, 1_000_000, 17];
    for (const [i, size] of sizes.entries()) h.send(c, `SET k${i} "${'abcdefg'.repeat(size).slice(0, size)}"\n`);
    for (const most of [0, 1, 500, 4_096, 250_000, 10_000_000]) {
      const snapshot = take(h.store, most);
      expectWhole(snapshot);
      for (const chunk of snapshot.chunks) {
        if (recordsIn([chunk]).length > 1) expect(chunk.length).toBeLessThanOrEqual(Math.min(most, 1_048_576));
      }
      const values = new Map(recordsIn(snapshot.chunks).map(({ key, value }) => [textOf(key), textOf(value)]));
      for (const [i, size] of sizes.entries()) {
        expect(values.get(`k${i}`) === 'abcdefg'.repeat(size).slice(0, size), `value of ${size} bytes`).toBe(true);
      }
    }
  });

  test('has the log time, limit and checkpoint of its moment', () => {
    const h = make();
    h.commitLimit(5_000_000);
    for (let i = 0; i < 1_100; i++) h.commitPayload(dataPayload(peer, i + 1, 1, set(`k${i % 50}`, `${i}`)));
    h.applyAll();
    const { state } = take(h.store);
    expect(state).toMatchObject({ applied: 1_101, logTimeMs: 1_101, limitBytes: 5_000_000 });
    expect(state.checkpoint).toEqual(h.store.stats().checkpoint);
    expect(state.checkpoint.index).toBe(1_024);
  });
}

function orderTests(make: MakeHarness): void {
  test('one snapshot at a time; it can be given up, and begun again', () => {
    const h = make();
    const c = h.open();
    h.send(
      c,
      lines(3_000, (i) => `SET key${i} 1`),
    );
    expect(() => h.store.snapshotNext(1_000)).toThrow(/without snapshotBegin/);
    expect(() => h.store.snapshotEnd()).toThrow(/without snapshotBegin/);
    h.store.snapshotBegin();
    expect(() => h.store.snapshotBegin()).toThrow(/already/);
    expect(() => h.store.loadBegin()).toThrow(/end it before a load/);
    h.store.snapshotNext(1_000);
    h.store.snapshotEnd();
    h.send(c, 'SET key5 2\n');
    expectWhole(take(h.store));
  });

  test('a load waits until nothing is staged, and nothing is applied during it', () => {
    const h = make();
    expect(() => h.store.loadChunk(new Uint8Array(0))).toThrow(/without loadBegin/);
    expect(() => h.store.loadEnd(take(h.store).state)).toThrow(/without loadBegin/);
    h.commitPayload(dataPayload(peer, 1, 1, set('a', '1')));
    expect(() => h.store.loadBegin()).toThrow(/apply them before/);
    h.applyAll();
    const snapshot = take(h.store);
    h.store.loadBegin();
    expect(() => h.store.loadBegin()).toThrow(/under way/);
    expect(() => h.store.stage(h.records[0]!)).toThrow(/under way/);
    expect(() => h.store.apply()).toThrow(/under way/);
    expect(() => h.store.run(set('a', '1'))).toThrow(/under way/);
    expect(() => h.store.snapshotBegin()).toThrow(/under way/);
    for (const chunk of snapshot.chunks) expect(h.store.loadChunk(chunk)).toBe(true);
    expect(h.store.loadEnd(snapshot.state)).toBe('ok');
    expect(h.store.apply()).toBe('done');
  });
}

function loadTests(make: MakeHarness): void {
  test('gives the same state, and the same from there on', () => {
    const source = make();
    const c = source.open();
    source.commitLimit(900_000);
    source.send(
      c,
      lines(3_000, (i) => `SET key${i} value${i}`),
    );
    source.send(c, 'DEL key7\nINCR n 41\n');
    const snapshot = take(source.store, 5_000);
    const h = follow(make, source);
    expect(load(h.store, snapshot)).toBe('ok');
    expect(held(h.store)).toEqual(held(source.store));
    expect(h.store.applied).toBe(source.store.applied);
    source.send(c, 'INCR n\nSET key7 again\nDEL key8 key9\n');
    for (const record of source.records.slice(h.records.length)) h.stage(record);
    h.records.push(...source.records.slice(h.records.length));
    h.applyAll();
    expect(held(h.store)).toEqual(held(source.store));
    expectWhole(take(h.store));
    const d = h.open();
    expect(h.send(d, 'GET key7\nGET n\nCOUNT\nSET after 1\nGET after\n')).toBe(
      '"again"\n"42"\n(integer) 2999\nOK\n"1"\n',
    );
    const after = h.store.dump().find(({ key }) => textOf(key) === 'after')!;
    expect(after.revision).toBeGreaterThan(source.store.stats().revision);
  });

  test('of an empty snapshot is a new store at another index', () => {
    const source = make();
    source.commitPayload(new Uint8Array(0), 0);
    source.applyAll();
    const h = follow(make, source);
    expect(load(h.store, take(source.store))).toBe('ok');
    expect(h.store.stats()).toMatchObject({ applied: 1, revision: 0, keys: 0, logicalBytes: 0 });
    const c = h.open();
    expect(h.send(c, 'SET a 1\nGET a\n')).toBe('OK\n"1"\n');
  });

  test('chunks may come in any order, be cut otherwise at entries, and be of no bytes', () => {
    const source = make();
    source.send(
      source.open(),
      lines(500, (i) => `SET key${i} ${'v'.repeat(i % 50)}`),
    );
    const { state, chunks } = take(source.store, 700);
    const h = follow(make, source);
    const shuffled = [...chunks].reverse().flatMap((chunk) => [chunk, new Uint8Array(0)]);
    expect(load(h.store, { state, chunks: shuffled })).toBe('ok');
    const whole = follow(make, source);
    // Not aligned either.
    const bytes = joinAll([new Uint8Array(1), ...chunks]).subarray(1);
    expect(load(whole.store, { state, chunks: [bytes] })).toBe('ok');
    expect(held(whole.store)).toEqual(held(source.store));
  });

  test('conflicts are found by the revisions that were loaded', () => {
    const source = make();
    const c = source.open();
    source.send(c, 'SET a 1\nSET b 1\n');
    const h = follow(make, source);
    expect(load(h.store, take(source.store))).toBe('ok');
    const [d, e] = [h.open(), h.open()];
    expect(h.send(d, 'BEGIN\nGET a\nSET c 1\n')).toBe('OK\n"1"\nOK\n');
    expect(h.send(e, 'SET a 2\n')).toBe('OK\n');
    expect(h.send(d, 'COMMIT\n')).toMatch(/^ERR conflict key "a"/);
    expect(h.send(d, 'BEGIN\nGET b\nSET c 1\nCOMMIT\n')).toBe('OK\n"1"\nOK\nOK\n');
  });
}

/** Entries that both apply, each so many ms of log time after the one before; they hold the same after each. */
function goOn(source: Harness, others: readonly Harness[], steps: readonly number[]): void {
  for (const ms of steps) {
    source.logTime += ms - 1;
    source.commitPayload(new Uint8Array(0), EntryType.noop);
    source.applyAll();
    catchUpTo(source, others);
  }
}

function catchUpTo(source: Harness, others: readonly Harness[]): void {
  for (const h of others) {
    for (const record of source.records.slice(h.records.length)) {
      h.records.push(record);
      h.stage(record);
      h.applyAll();
    }
    h.logTime = source.logTime;
    expect(held(h.store)).toEqual(held(source.store));
  }
}

function deadlineTests(make: MakeHarness): void {
  /** One of each kind that has loaded what is in `source` now. */
  const loaded = (source: Harness, snapshot = take(source.store, 3_000)): Harness[] => {
    expectWhole(snapshot);
    const kinds: MakeHarness[] = [
      make,
      (options) => new Harness(new JsStore({ ...testOptions(), ...options })),
      (options) => new Harness(new WasmStore({ ...testOptions(), ...options }, 'debug')),
    ];
    return kinds.map((kind, i) => {
      const h = follow(kind, source, 20 + i);
      expect(load(h.store, snapshot)).toBe('ok');
      return h;
    });
  };
  const timed = 'SET a 1 PX 100\nSET b 1 PX 100\nSET c 1 EX 5\nSET d 1\nSET e 1 PX 40\nSET e 1 PX 900\n';

  test('are kept: keys expire as where they were written, and are told by TTL', () => {
    const source = make();
    const c = source.open();
    source.send(c, timed);
    const others = loaded(source);
    catchUpTo(source, others);
    const clients = others.map((h) => h.open());
    const ask = (question: string) => {
      const answer = source.send(c, question);
      for (const [i, h] of others.entries()) expect(h.send(clients[i]!, question)).toBe(answer);
      return answer;
    };
    const first = source.store.earliestDeadline!;
    expect(ask('PTTL a\nTTL c\nTTL d\nCOUNT\n')).toBe('(integer) 100\n(integer) 5\n(integer) -1\n(integer) 5\n');
    goOn(source, others, [first - source.logTime - 1]);
    expect(ask('MGET a b e\nCOUNT\n')).toBe('["1","1","1"]\n(integer) 5\n');
    goOn(source, others, [1]);
    expect(ask('MGET a b e\nCOUNT\n')).toBe('[null,null,"1"]\n(integer) 3\n');
    goOn(source, others, [100]);
    expect(ask('KEYS\n')).toBe('["c","d","e"]\n');
    source.send(c, 'PERSIST e\nSET d 2 PX 30\nINCR c\nSET a 1 PX 20\n');
    catchUpTo(source, others);
    goOn(source, others, [20, 20, 20, 10_000]);
    expect(ask('MGET a b c d e\n')).toBe('[null,null,null,null,"1"]\n');
    expect(source.store.earliestDeadline).toBeUndefined();
  });

  test('of what has expired and is not removed: it is in the snapshot, counts as no key, and goes with the same entries', () => {
    const source = make();
    const operations = Array.from({ length: 3_000 }, (_, i) => setFor(`k${(i * 7) % 3_000}`, `${i}`, 1 + (i % 60)));
    source.commitPayload(dataPayload(peer, 1, 3_001, ...operations, set('stays', '1')));
    source.applyAll();
    goOn(source, [], [50]);
    const stats = source.store.stats();
    // 1,024 are removed; of the others those with deadlines to come are live.
    expect(stats.keys).toBe((3_000 / 60) * 10 + 1);
    const snapshot = take(source.store);
    const records = recordsIn(snapshot.chunks).filter(({ system }) => !system);
    expect(records).toHaveLength(3_001 - 1_024);
    expect(source.store.earliestDeadline).toBeLessThan(snapshot.state.logTimeMs);
    const others = loaded(source, snapshot);
    catchUpTo(source, others);
    const written = Array.from({ length: 900 }, (_, i) =>
      i % 3 === 0 ? incr(`k${i}`, 1n) : set(`k${i}`, 'again', i % 3),
    );
    source.commitPayload(dataPayload(peer, 2, 900, ...written));
    source.applyAll();
    catchUpTo(source, others);
    goOn(source, others, [1, 1, 30, 1, 1]);
    for (const h of others) expectWhole(take(h.store));
    expect(source.store.earliestDeadline).toBeUndefined();
  });

  test('of records that expire, go and come again while the snapshot is written', () => {
    const source = make();
    source.commitPayload(
      dataPayload(peer, 1, 4_000, ...Array.from({ length: 4_000 }, (_, i) => setFor(`k${i}`, `${i}`, 1 + (i % 400)))),
    );
    source.applyAll();
    goOn(source, [], [30]);
    const before = held(source.store);
    let sequence = 1;
    const snapshot = take(source.store, 2_000, () => {
      const again = Array.from({ length: 50 }, (_, i) => setFor(`k${(sequence * 50 + i) % 4_000}`, 'again', 5 + i));
      source.commitPayload(dataPayload(peer, ++sequence, 51, ...again, persist(`k${sequence}`)));
      source.applyAll();
      goOn(source, [], [20]);
    });
    expect(sequence).toBeGreaterThan(40);
    expect(snapshot.state).toEqual(before.state);
    const until = source.records.splice(before.state.applied);
    const others = loaded(source, snapshot);
    for (const h of others) expect(held(h.store)).toEqual(before);
    source.records.push(...until);
    catchUpTo(source, others);
    goOn(source, others, [100, 1, 1, 1, 1]);
  });

  test('are forgotten by the store that loads: those of the snapshot alone count', () => {
    const source = make();
    const c = source.open();
    source.send(c, 'SET a 1\n');
    const h = make(testOptions(7));
    const d = h.open();
    h.send(
      d,
      lines(2_000, (i) => `SET old${i} ${'v'.repeat(300)} PX ${1 + (i % 90)}`),
    );
    goOn(h, [], [40]);
    expect(h.store.earliestDeadline).toBeDefined();
    const used = () => h.store.stats().usedBytes;
    const before = used();
    for (const deadline of ['', ' PX 70']) {
      source.send(c, `SET old5 new${deadline}\n`);
      expect(load(h.store, take(source.store))).toBe('ok');
      h.records.length = 0;
      h.records.push(...source.records);
      h.drain();
      catchUpTo(source, [h]);
      expect(used()).toBeLessThan(before / 4);
      goOn(source, [h], [60, 60]);
    }
    expect(h.store.earliestDeadline).toBeUndefined();
    expect(h.send(d, 'KEYS\n')).toBe('["a"]\n');
  });
}

function wrongTests(make: MakeHarness): void {
  const source = (): Harness => {
    const h = make();
    h.send(h.open(), 'SET a 1\nSET bcd efghi\nDEL a\nSET long 0123456789\n');
    return h;
  };

  test('a chunk cut anywhere but between entries is refused', () => {
    const from = source();
    const { state, chunks } = take(from.store);
    const bytes = joinAll(chunks);
    const whole = recordsIn([bytes]);
    const ends = new Set<number>([0]);
    for (let at = 0, i = 0; i < whole.length; i++) {
      at += 24 + Math.ceil((whole[i]!.key.length + whole[i]!.value.length) / 4) * 4;
      ends.add(at);
    }
    for (let cut = 0; cut < bytes.length; cut += bytes.length > 400 ? 3 : 1) {
      const h = follow(make, from);
      h.store.loadBegin();
      expect(h.store.loadChunk(bytes.slice(0, cut)), `cut at ${cut}`).toBe(ends.has(cut));
      expect(h.store.loadEnd(state)).not.toBe('ok');
    }
  }, 60_000);

  test.each([
    ['the key is longer than the chunk', (view: DataView) => view.setUint32(0, 30, true)],
    ['the value is longer than the chunk', (view: DataView) => view.setUint32(4, 1_000, true)],
    ['the key has the most bytes there can be', (view: DataView) => view.setUint32(0, 0x7fff_ffff, true)],
    ['key and value together overflow', (view: DataView) => [0, 4].map((at) => view.setUint32(at, 0xffff_fffc, true))],
    ['the revision is 0', (view: DataView) => view.setUint32(8, 0, true)],
  ])('an entry is refused when %s', (_, damage) => {
    const from = source();
    const chunk = joinAll([entry('x', 'y', 1), entry('keykey', 'value', 2)]);
    const h = follow(make, from);
    h.store.loadBegin();
    expect(h.store.loadChunk(entry('first', 'y', 1))).toBe(true);
    damage(new DataView(chunk.buffer, 28));
    expect(h.store.loadChunk(chunk)).toBe(false);
    // Nothing that follows is looked at.
    expect(h.store.loadChunk(entry('z', 'y', 1))).toBe(false);
    expect(h.store.loadEnd(take(from.store).state)).toBe('chunk');
  });

  test.each([
    ['a key that comes twice', [entry('a', '1', 1), entry('a', '2', 2)]],
    ['an origin of a wrong size', [entry(`o${'x'.repeat(16)}`, '1', 1, true)]],
    ['a limit of a wrong size', [entry('limit', '1', 1, true)]],
    ['a version of a wrong size', [entry('version', '1', 1, true)]],
    ['a system record with a deadline', [entry('another', '1', 1, true, 5)]],
    ['a deadline beyond the last one', [entry('a', '1', 1, false, 2 ** 53 - 1), entry('b', '1', 1, false, 2 ** 53)]],
    ['a chunk larger than any record', [new Uint8Array(33_554_436)]],
  ])('%s is refused', (_, chunks) => {
    const h = make();
    const { state } = take(h.store);
    h.store.loadBegin();
    expect(chunks.map((chunk) => h.store.loadChunk(chunk)).at(-1)).toBe(false);
    expect(h.store.loadEnd(state)).toBe('chunk');
  });

  test('a state that is not that of the chunks is refused, and the store says so from then on', () => {
    const from = source();
    const { state, chunks } = take(from.store);
    const other = (change: Partial<SnapshotState>) => {
      const h = follow(make, from);
      const outcome = load(h.store, { state: { ...state, ...change }, chunks });
      if (outcome !== 'ok') expect(() => h.store.apply()).toThrow(/failed/);
      return outcome;
    };
    const flipped = state.stateHash.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'));
    expect(other({})).toBe('ok');
    expect(other({ keys: state.keys + 1 })).toBe('keys');
    expect(other({ logicalBytes: state.logicalBytes - 16 })).toBe('logical-bytes');
    expect(other({ stateHash: flipped })).toBe('state-hash');
    expect(other({ revision: 1 })).toBe('revision');
    expect(other({ limitBytes: 5 })).toBe('limit');
    for (const wrong of [-1, 0.5, Number.NaN, 2 ** 53]) expect(other({ applied: wrong })).toBe('state');
    expect(other({ stateHash: 'x' })).toBe('state');
    expect(other({ checkpoint: { index: state.applied + 1, stateHash: flipped } })).toBe('state');
    const missing = follow(make, from);
    expect(load(missing.store, { state, chunks: [] })).toBe('keys');
    expect(loadFailures).toContain('no-memory');
  });
}

function runningTests(make: MakeHarness): void {
  /** A store of the same cluster that is ahead: it has applied what `h` has, and more. */
  const ahead = (h: Harness, more: (source: Harness) => void): Harness => {
    const source = make(testOptions(9));
    for (const record of h.records) {
      source.records.push(record);
      source.stage(record);
    }
    source.applyAll();
    more(source);
    return source;
  };
  const catchUp = (h: Harness, source: Harness) => {
    expect(load(h.store, take(source.store))).toBe('ok');
    h.records.push(...source.records.slice(h.records.length));
    h.drain();
  };

  test('replaces all there was; memory, keys, versions and tables with it', () => {
    const h = make();
    const c = h.open();
    h.send(
      c,
      lines(20_000, (i) => `SET old${i} ${'v'.repeat(i % 300)}`),
    );
    const used = h.store.stats().usedBytes;
    const source = make(testOptions(9));
    source.send(source.open(), 'SET a 1\nSET old5 new\n');
    catchUp(h, source);
    expect(held(h.store)).toEqual(held(source.store));
    expect(h.store.stats().usedBytes).toBeLessThan(used / 4);
    expect(h.send(c, 'GET a\nGET old5\nGET old6\nCOUNT\n')).toBe('"1"\n"new"\n(nil)\n(integer) 2\n');
  });

  test('transactions are aborted; their next command is told', () => {
    const h = make();
    const [c, d, e] = [h.open(), h.open(), h.open()];
    h.send(c, 'SET a 1\n');
    for (const one of [c, d, e]) expect(h.send(one, 'BEGIN\nGET a\nSET b 2\n')).toBe('OK\n"1"\nOK\n');
    h.send(h.open(), 'SET a 2\nSET a 3\n');
    catchUp(
      h,
      ahead(h, (source) => source.send(source.open(), 'SET a 9\n')),
    );
    expect(h.store.stats().transactions).toBe(0);
    expect(h.send(c, 'GET a\nPING\nCOMMIT\nGET a\nGET b\n')).toBe(`${aborted}PONG\n${aborted}"9"\n(nil)\n`);
    expect(h.send(d, 'ROLLBACK\nBEGIN\nGET a\nCOMMIT\n')).toBe('OK\nOK\n"9"\nOK\n');
    h.store.close(e);
    h.run();
  });

  test('reads that were gathered or in flight, a KEYS under way among them, see the loaded state', () => {
    const h = make();
    const [c, d, e] = [h.open(), h.open(), h.open()];
    h.send(
      c,
      lines(9_000, (i) => `SET key${i} old`),
    );
    h.feed(d, 'KEYS key LIMIT 3\nCOUNT\n');
    h.feed(c, 'GET key1\n');
    h.ingest();
    expect(h.store.sealReads()).toBe(true);
    h.feed(e, 'MGET key1 key2\nGET other\n');
    h.ingest();
    h.store.evalReads();
    const source = make(testOptions(9));
    source.send(source.open(), 'SET key1 new\nSET key0 new\nSET other 5\n');
    const snapshot = take(source.store);
    h.store.loadBegin();
    expect(h.store.evalReads()).toBe(false);
    for (const chunk of snapshot.chunks) h.store.loadChunk(chunk);
    expect(h.store.evalReads()).toBe(false);
    expect(h.store.loadEnd(snapshot.state)).toBe('ok');
    h.records.length = 0;
    h.records.push(...source.records);
    while (!h.store.evalReads());
    h.drain();
    h.run();
    expect(h.take(d)).toMatch(/^\["key0","key1"(,"key10")?\]\n\(integer\) 3\n$/);
    expect(h.take(e)).toBe('["new",null]\n"5"\n');
    expect(h.take(c)).toMatch(/^"(old|new)"\n$/);
  });

  test('own entries that the snapshot holds are answered UNKNOWN and reported, later ones stay undecided', () => {
    const h = make();
    const [c, d] = [h.open(), h.open()];
    h.send(c, 'SET a 0\n');
    h.takeEvents();
    const entries = ['SET a 1\nGET a\nPING\n', 'SET a 2\nDEL a b\n', 'SET a 3\nGET a\n'].map((input) => {
      h.feed(c, input);
      h.ingest();
      return h.sealEntry()!;
    });
    h.feed(d, 'SET open 1\nGET open\n');
    h.ingest();
    const source = ahead(h, (other) => {
      other.commit(entries[0]!);
      other.commit(entries[1]!);
      other.applyAll();
    });
    catchUp(h, source);
    expect(h.take(c)).toBe(`${lost}${readLost}PONG\n${lost}${lost}`);
    expect(h.takeEvents().filter(({ kind }) => kind === StoreEvent.applied)).toEqual([
      { kind: StoreEvent.applied, slot: 0, arg: 2 },
      { kind: StoreEvent.applied, slot: 0, arg: 3 },
    ]);
    expect(h.store.openCommands).toBe(1);
    h.commit(entries[2]!);
    h.applyAll();
    expect(h.take(c)).toBe('OK\n"3"\n');
    h.run();
    expect(h.take(d)).toBe('OK\n"1"\n');
    expect(h.send(c, 'GET a\nGET open\n')).toBe('"3"\n"1"\n');
  });

  test('what was given up before is told that, in its place', () => {
    const h = make();
    const c = h.open();
    const entries = ['SET a 1\n', 'SET a 2\nGET a\n', 'SET a 3\n'].map((input) => {
      h.feed(c, input);
      h.ingest();
      return h.sealEntry()!;
    });
    h.store.giveUp(2, 'timeout', true);
    h.feed(c, 'SET b 1\n');
    h.ingest();
    h.store.giveUpOpen('stopping');
    h.drain();
    expect(h.take(c)).toBe('');
    const source = ahead(h, (other) => {
      other.commit(entries[0]!);
      other.commit(entries[1]!);
      other.applyAll();
    });
    catchUp(h, source);
    expect(h.take(c)).toMatch(/^UNKNOWN lost .*\nUNKNOWN timeout .*\nERR timeout .*\n$/);
    h.commit(entries[2]!);
    h.applyAll();
    expect(h.take(c)).toMatch(/^OK\nERR stopping .*\n$/);
  });

  test('entries of another incarnation of the own folder decide nothing', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    const sealed = h.sealEntry()!;
    const source = make({ ...testOptions(), nonce: 1 });
    source.send(source.open(), 'SET a 7\n');
    catchUp(h, source);
    expect(h.take(c)).toBe('');
    expect(h.takeEvents()).toEqual([]);
    expect(h.store.giveUp(sealed.sequence, 'timeout', false).sequence).toBe(1);
    h.drain();
    expect(h.take(c)).toMatch(/^ERR timeout/);
  });

  test('clients that are gone, held input and long values are no obstacle', () => {
    const h = make();
    const [c, d] = [h.open(), h.open()];
    h.feed(c, `SET a 1\nSET b 2\nGET a\n`);
    h.feed(d, `SET c ${'x'.repeat(50_000)}\nBEGIN\n`);
    h.ingest();
    const sealed = h.sealEntry()!;
    h.store.close(c);
    const source = ahead(h, (other) => {
      other.commit(sealed);
      other.applyAll();
    });
    catchUp(h, source);
    expect(h.take(c)).toBe('');
    expect(h.take(d)).toBe(lost);
    h.run();
    expect(h.take(d)).toBe('OK\n');
    expect(h.send(d, 'GET a\nROLLBACK\n')).toBe('"1"\nOK\n');
    expect(h.open()).toBe(c);
  });

  test('again and again, from and into stores that are used meanwhile', () => {
    const pair = [make(), make(testOptions(9))];
    const clients = pair.map((h) => h.open());
    for (let round = 0; round < 6; round++) {
      const [from, into] = round % 2 === 0 ? [0, 1] : [1, 0];
      pair[from]!.send(
        clients[from]!,
        `${lines(800, (i) => `SET r${round}k${i} ${'v'.repeat(i % 90)}`)}${lines(300, (i) => `DEL r${round - 1}k${i}`)}`,
      );
      expect(load(pair[into]!.store, take(pair[from]!.store, 3_000))).toBe('ok');
      pair[into]!.records.length = 0;
      pair[into]!.records.push(...pair[from]!.records);
      pair[into]!.drain();
      expect(held(pair[into]!.store)).toEqual(held(pair[from]!.store));
    }
    expect(bytesOf('x')).toHaveLength(1);
  });
}
