/** Applying: origins, revisions, malformed entries, state hash, checkpoints, counters, slices, replay, `run`. */
import { describe, expect, test } from 'vitest';
import { EntryType } from '../../src/store/store.js';
import { sized } from '../support/sizes.js';
import type { MakeHarness } from './contract.js';
import { bytesOf, type Harness, testOptions, textOf } from './harness.js';
import {
  type Check,
  cas,
  commit,
  configPayload,
  dataPayload,
  del,
  get,
  incr,
  join,
  joinAll,
  operation,
  originRecord,
  peer,
  persist,
  referenceState,
  set,
  setFor,
  type TestOrigin,
  u64,
} from './payloads.js';

/** The contents as text, by key. */
function contents(h: Harness): Record<string, string> {
  return Object.fromEntries(h.store.dump().map(({ key, value }) => [textOf(key), textOf(value)]));
}

/** Commits and applies an entry of a peer's. */
function applyFrom(h: Harness, origin: TestOrigin, sequence: number, ...operations: Uint8Array[]): void {
  h.commitPayload(dataPayload(origin, sequence, operations.length, ...operations));
  h.applyAll();
}

export function applyContract(make: MakeHarness): void {
  describe('origins', () => originTests(make));
  describe('malformed entries', () => malformedTests(make));
  describe('revisions and the state hash', () => stateTests(make));
  describe('slices', () => sliceTests(make));
  describe('stats and replay', () => statsTests(make));
  describe('run', () => runTests(make));
}

function originTests(make: MakeHarness): void {
  const entry = (h: Harness, origin: TestOrigin, sequence: number, key: string) => {
    applyFrom(h, origin, sequence, set(key, String(sequence)));
    return key in contents(h);
  };

  test('an entry takes effect if it is the next of its origin, else it changes nothing but the applied index', () => {
    const h = make();
    expect(entry(h, peer, 2, 'gap at the start')).toBe(false);
    expect(entry(h, peer, 1, 'a')).toBe(true);
    const before = h.store.stats();
    expect(entry(h, peer, 1, 'duplicate')).toBe(false);
    expect(entry(h, peer, 3, 'gap')).toBe(false);
    expect(entry(h, peer, 0, 'zero')).toBe(false);
    const { revision, stateHash, logicalBytes, applied } = h.store.stats();
    expect({ revision, stateHash, logicalBytes }).toEqual({
      revision: before.revision,
      stateHash: before.stateHash,
      logicalBytes: before.logicalBytes,
    });
    expect(applied).toBe(before.applied + 3);
    expect(entry(h, peer, 2, 'b')).toBe(true);
    expect(entry(h, peer, 3, 'c')).toBe(true);
  });

  test('a higher start counter opens a new incarnation with sequence 1, and voids the lower ones', () => {
    const h = make();
    const next = { ...peer, starts: 2, nonce: 77 };
    expect(entry(h, peer, 1, 'a')).toBe(true);
    expect(entry(h, next, 2, 'not the first')).toBe(false);
    expect(entry(h, next, 1, 'b')).toBe(true);
    expect(entry(h, peer, 2, 'void')).toBe(false);
    expect(entry(h, peer, 1, 'void')).toBe(false);
    expect(entry(h, next, 2, 'c')).toBe(true);
    expect(entry(h, { ...next, starts: 4_294_967_295 }, 1, 'd')).toBe(true);
    expect(entry(h, { ...next, starts: 3 }, 1, 'void')).toBe(false);
  });

  test('another nonce at the same counter is not the recorded incarnation', () => {
    const h = make();
    const twin = { ...peer, nonce: 6 };
    expect(entry(h, peer, 1, 'a')).toBe(true);
    expect(entry(h, twin, 1, 'twin')).toBe(false);
    expect(entry(h, twin, 2, 'twin')).toBe(false);
    expect(entry(h, peer, 2, 'b')).toBe(true);
  });

  test('origins do not disturb each other, and are no keys of users', () => {
    const h = make();
    const other = { ...peer, identity: 98 };
    expect(entry(h, peer, 1, 'a')).toBe(true);
    expect(entry(h, other, 1, 'b')).toBe(true);
    expect(entry(h, peer, 2, 'c')).toBe(true);
    expect(h.store.stats().keys).toBe(3);
    const c = h.open();
    expect(h.send(c, `SET o${'c'.repeat(16)} user\nCOUNT\nKEYS\n`)).toBe(
      `OK\n(integer) 4\n["a","b","c","o${'c'.repeat(16)}"]\n`,
    );
    expect(entry(h, peer, 3, 'd')).toBe(true);
  });

  test('a sequence beyond 32 bits is compared as a whole', () => {
    const h = make();
    expect(entry(h, peer, 1, 'a')).toBe(true);
    const payload = dataPayload(peer, 2, 1, set('b', '1'));
    payload[28] = 1;
    h.commitPayload(payload);
    h.applyAll();
    expect(contents(h)).toEqual({ a: '1' });
  });

  test('no-ops and entries of unknown type move the applied index alone', () => {
    const h = make();
    const before = h.store.stats();
    h.commitPayload(new Uint8Array(0), EntryType.noop);
    h.commitPayload(dataPayload(peer, 1, 1, set('a', '1')), EntryType.noop);
    h.commitPayload(dataPayload(peer, 1, 1, set('a', '1')), 7);
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ revision: 0, applied: 3, stateHash: before.stateHash, logicalBytes: 0 });
  });

  test('a record that does not follow the one before is refused', () => {
    const h = make();
    h.commitPayload(new Uint8Array(0), EntryType.noop);
    expect(() => h.stage(h.records[0]!)).toThrow();
  });
}

function malformedTests(make: MakeHarness): void {
  const good = set('good', '1');
  const raw = (code: number, flags: number, reserved: number, keyLength: number, valueLength: number, rest = '') => {
    const head = new Uint8Array(12);
    const view = new DataView(head.buffer);
    view.setUint8(0, code);
    view.setUint8(1, flags);
    view.setUint16(2, reserved, true);
    view.setUint32(4, keyLength, true);
    view.setUint32(8, valueLength, true);
    return join(head, bytesOf(rest));
  };
  const check: Check = { key: 'k', revision: 0 };
  const commitWith = (edit: (bytes: Uint8Array) => void, ...parts: Uint8Array[]) => {
    const bytes = commit([check], ...parts);
    edit(bytes);
    return bytes;
  };
  const setU32 = (at: number, value: number) => (bytes: Uint8Array) =>
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, value, true);

  const cases: readonly [string, number, readonly Uint8Array[]][] = [
    ['fewer commands than the header says', 3, [good, good]],
    ['more commands than the header says', 1, [good, good]],
    ['commands, but the header says none', 0, [good]],
    ['a header of commands without operations', 1, []],
    ['a cut head', 2, [good, raw(1, 0, 0, 0, 0).subarray(0, 8)]],
    ['a key beyond the end', 2, [good, raw(1, 0, 0, 5, 0, 'abcd')]],
    ['a value beyond the end', 2, [good, raw(1, 0, 0, 1, 8, 'abcd')]],
    ['a key of 2^32 - 1 bytes', 2, [good, raw(1, 0, 0, 0xffff_ffff, 0, 'abcd')]],
    ['lengths that add up to 2^32', 2, [good, raw(1, 0, 0, 0x8000_0000, 0x8000_0000, 'abcd')]],
    ['lengths that are short mod 2^32', 2, [good, raw(1, 0, 0, 0xffff_ffff, 5, 'abcd')]],
    ['a cut padding', 2, [good, raw(1, 0, 0, 1, 0, 'a')]],
    ['trailing bytes', 1, [good, new Uint8Array(4)]],
    ['code 0', 2, [good, operation(0, 'k')]],
    ['code 7', 2, [good, operation(7, 'k')]],
    ['GET', 2, [good, operation(16, 'k')]],
    ['code 255', 2, [good, operation(255, 'k')]],
    ['a reserved field', 2, [good, raw(1, 0, 1, 0, 0)]],
    ['a reserved field, high byte', 2, [good, raw(1, 0, 0x8000, 0, 0)]],
    ['NX and XX', 2, [good, set('k', 'v', 3)]],
    ['MORE on SET', 2, [good, set('k', 'v', 4), del('k')]],
    ['an unknown flag on SET', 2, [good, set('k', 'v', 32)]],
    ['a SET with a time to live that is not there', 2, [good, set('k', 'v', 8)]],
    ['a SET whose time to live is cut', 2, [good, setFor('k', 'v', 5).subarray(0, -4)]],
    ['a SET with a time to live of 0', 2, [good, setFor('k', 'v', 0)]],
    ['a SET with a time to live above the largest', 2, [good, setFor('k', 'v', 10_000_000_000_001)]],
    ['a SET with a time to live that keeps a deadline', 2, [good, setFor('k', 'v', 5, 16)]],
    ['a time to live on DEL', 2, [good, operation(2, 'k', '', 8), u64(5n)]],
    ['a time to live on INCR', 2, [good, operation(3, 'k', new Uint8Array(8), 8), u64(5n)]],
    ['PERSIST with a value', 2, [good, operation(6, 'k', 'v')]],
    ['PERSIST with a flag', 2, [good, operation(6, 'k', '', 1)]],
    ['PERSIST with MORE', 2, [good, operation(6, 'k', '', 4), del('k')]],
    ['65 PERSISTs', 66, [good, ...Array.from({ length: 65 }, () => persist('k'))]],
    ['NX on DEL', 2, [good, operation(2, 'k', '', 1)]],
    ['MORE and NX on DEL', 2, [good, operation(2, 'k', '', 5), del('k')]],
    ['NX on INCR', 2, [good, operation(3, 'k', new Uint8Array(8), 1)]],
    ['XX on CAS', 2, [good, operation(4, 'k', new Uint8Array(4), 2)]],
    ['MORE on COMMIT', 2, [good, raw(5, 4, 0, 0, 0), del('k')]],
    ['a DEL with MORE at the end', 2, [good, del('a', true)]],
    ['a DEL with MORE at the end, which makes no command', 1, [good, del('a', true)]],
    ['a DEL with MORE before a SET', 2, [good, del('a', true), set('b', '1')]],
    ['a DEL with MORE before a COMMIT', 2, [good, del('a', true), commit([])]],
    ['a DEL with a value', 2, [good, operation(2, 'k', 'v')]],
    ['INCR of 7 bytes', 2, [good, operation(3, 'k', new Uint8Array(7))]],
    ['INCR of 9 bytes', 2, [good, operation(3, 'k', new Uint8Array(9))]],
    ['INCR without a value', 2, [good, operation(3, 'k')]],
    ['CAS of 3 bytes', 2, [good, operation(4, 'k', new Uint8Array(3))]],
    ['CAS that expects more than is there', 2, [good, operation(4, 'k', new Uint8Array([2, 0, 0, 0, 1]))]],
    ['CAS that expects 2^32 - 1 bytes', 2, [good, operation(4, 'k', new Uint8Array([255, 255, 255, 255, 1]))]],
    ['COMMIT of 2 bytes', 2, [good, raw(5, 0, 0, 0, 2, 'ab\0\0')]],
    ['COMMIT beyond the end', 2, [good, raw(5, 0, 0, 0, 16, 'abcdabcd')]],
    ['COMMIT with checks but no body', 2, [good, raw(5, 0, 0, 1, 0)]],
    ['COMMIT with more checks than fit', 2, [good, commitWith(setU32(4, 3), good)]],
    ['COMMIT with 2^32 - 1 checks', 2, [good, commitWith(setU32(4, 0xffff_ffff), good)]],
    ['COMMIT with a check beyond its body', 2, [good, commitWith(setU32(12, 50), good), good]],
    ['COMMIT with a check of 2^32 - 1 bytes', 2, [good, commitWith(setU32(12, 0xffff_ffff), good), good]],
    ['COMMIT with one check less than there are', 2, [good, commitWith(setU32(4, 0), good)]],
    ['COMMIT with an operation beyond its body', 2, [good, commitWith(setU32(8, 28), good), good]],
    ['COMMIT with an INCR', 2, [good, commit([], incr('k', 1n))]],
    ['COMMIT with a CAS', 2, [good, commit([], cas('k', 'a', 'b'))]],
    ['COMMIT in a COMMIT', 2, [good, commit([], commit([], set('k', 'v')))]],
    ['COMMIT with PERSIST', 2, [good, commit([], persist('k'))]],
    ['COMMIT with a time to live above the largest', 2, [good, commit([], setFor('k', 'v', 10_000_000_000_001))]],
    ['COMMIT with a time to live beyond its body', 2, [good, commit([], set('k', 'v', 8)), u64(5n)]],
    ['COMMIT with NX and a time to live', 2, [good, commit([], setFor('k', 'v', 5, 1))]],
    ['COMMIT with NX', 2, [good, commit([], set('k', 'v', 1))]],
    ['COMMIT with MORE', 2, [good, commit([], del('k', true), del('k'))]],
    ['COMMIT with a DEL that has a value', 2, [good, commit([], operation(2, 'k', 'v'))]],
    ['COMMIT with a reserved field in an operation', 2, [good, commit([], raw(1, 0, 1, 0, 0))]],
    ['COMMIT with 4 bytes behind its last operation', 2, [good, commit([], set('k', 'v'), new Uint8Array(4))]],
  ];

  test.each(cases)('%s: nothing of the entry takes effect', (_, commands, operations) => {
    const h = make();
    applyFrom(h, peer, 1, set('before', '1'));
    const before = h.store.stats();
    h.commitPayload(dataPayload(peer, 2, commands, ...operations));
    h.applyAll();
    const after = h.store.stats();
    expect(after).toMatchObject({ revision: before.revision, stateHash: before.stateHash, keys: 1, applied: 2 });
    expect(after.logicalBytes).toBe(before.logicalBytes);
    expect(after.counters.applied).toBe(1);
    applyFrom(h, peer, 2, set('after', '1'));
    expect(contents(h)).toEqual({ before: '1', after: '1' });
  });

  test('a payload without room for its origin, or with its reserved field in use, is malformed', () => {
    const h = make();
    const payload = dataPayload(peer, 1, 1, good);
    for (let length = 0; length < 40; length++) h.commitPayload(payload.subarray(0, length));
    const reserved = Uint8Array.from(payload);
    reserved[39] = 1;
    h.commitPayload(reserved);
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ revision: 0, applied: 41, keys: 0 });
  });

  test('every payload cut short is malformed, and so is one of random bytes', () => {
    const h = make();
    const payload = dataPayload(
      peer,
      1,
      4,
      good,
      del('a', true),
      del('b'),
      incr('n', 1n),
      commit([check], good, del('k')),
    );
    for (let length = 40; length < payload.length; length++) h.commitPayload(payload.subarray(0, length));
    let state = 7;
    for (let round = 0; round < 300; round++) {
      const bytes = Uint8Array.from(payload);
      for (let i = 40; i < bytes.length; i++) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        if (state >>> 28 < 3) bytes[i] = state >>> 16;
      }
      bytes[32] = 9;
      h.commitPayload(bytes);
    }
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ revision: 0, keys: 0 });
    h.commitPayload(payload);
    h.applyAll();
    expect(contents(h)).toEqual({ good: '1', n: '1' });
  });

  test('what is odd but allowed takes effect: padding, empty keys, an empty COMMIT, several DELs, an empty entry', () => {
    const h = make();
    const padded = set('abc', 'de');
    padded.fill(255, 17);
    applyFrom(h, peer, 1, padded, set('', ''), commit([]), operation(4, '', new Uint8Array(4)));
    expect(contents(h)).toEqual({ abc: 'de', '': '' });
    h.commitPayload(dataPayload(peer, 2, 2, del('abc', true), del('x', true), del(''), del('y')));
    h.commitPayload(dataPayload(peer, 3, 0));
    h.applyAll();
    expect(contents(h)).toEqual({});
    expect(h.store.stats().counters.applied).toBe(6);
    applyFrom(h, peer, 4, commit([], set('twice', 'long value'), del('twice'), set('twice', 'b')));
    expect(contents(h)).toEqual({ twice: 'b' });
  });

  test('config entries are judged the same way', () => {
    const h = make();
    const limit = { key: 'limit', value: u64(5_000n) };
    const malformed = [
      new Uint8Array(0),
      new Uint8Array(3),
      configPayload(limit).subarray(0, 24),
      join(configPayload(limit), new Uint8Array(4)),
      configPayload({ key: 'limit', value: new Uint8Array(7) }),
      configPayload({ key: 'other', value: u64(1n) }),
      configPayload(limit, { key: 'LIMIT', value: u64(1n) }),
      join(new Uint8Array([2, 0, 0, 0]), configPayload(limit).subarray(4)),
      join(new Uint8Array([255, 255, 255, 255]), configPayload(limit).subarray(4)),
    ];
    for (const payload of malformed) h.commitPayload(payload, EntryType.config);
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ limitBytes: 0, revision: 0, applied: malformed.length, logicalBytes: 0 });
    h.commitPayload(configPayload(), EntryType.config);
    h.commitPayload(configPayload(limit, { key: 'limit', value: u64(7_000n) }), EntryType.config);
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ limitBytes: 7_000, revision: 1 });
  });
}

function stateTests(make: MakeHarness): void {
  test('revisions: one for the origin, one for each command that changes something', () => {
    const h = make();
    applyFrom(
      h,
      peer,
      1,
      set('a', '1'),
      set('a', '1'),
      set('a', '2', 1),
      incr('a', 0n),
      cas('a', '1', '1'),
      cas('a', 'x', 'y'),
    );
    const revisions = () => Object.fromEntries(h.store.dump().map((r) => [textOf(r.key), r.revision]));
    expect(revisions()).toEqual({ a: 5 });
    expect(h.store.stats().revision).toBe(5);
    h.commitPayload(
      dataPayload(
        peer,
        2,
        5,
        del('x'),
        del('x', true),
        del('y'),
        set('b', '1'),
        set('c', '1'),
        del('a', true),
        del('b'),
      ),
    );
    h.applyAll();
    expect(revisions()).toEqual({ c: 8 });
    expect(h.store.stats().revision).toBe(9);
    applyFrom(
      h,
      peer,
      3,
      commit([{ key: 'c', revision: 8 }], set('d', '1'), set('c', '2')),
      commit([{ key: 'c', revision: 8 }], set('e', '1')),
      commit([], del('x')),
    );
    expect(revisions()).toEqual({ c: 11, d: 11 });
    expect(h.store.stats().revision).toBe(12);
  });

  test('the state hash is the one of an independent implementation, of the contents alone', () => {
    const h = make();
    const lengths = [0, 1, 3, 4, 5, 11, 12, 15, 16, 17, 31, 32, 33, 100, 1_000];
    const operations = lengths.flatMap((n) => [
      set('k'.repeat(n), 'v'.repeat((n * 7) % 50)),
      set(`\xff${n}`, '\x80'.repeat(n)),
    ]);
    applyFrom(h, peer, 1, ...operations);
    expect(h.store.stats().stateHash).toBe(referenceState([...h.store.dump(), originRecord(peer, 1, 1)]));
    const revision = h.store.stats().revision + 1;
    applyFrom(
      h,
      peer,
      2,
      set('k', 'new'),
      del('kkk'),
      incr('n', 5n),
      cas('k', 'new', 'newer'),
      commit([], set('c', 'd'), del('kkkk')),
    );
    const records = [...h.store.dump(), originRecord(peer, 2, revision)];
    expect(h.store.stats().stateHash).toBe(referenceState(records));
    h.commitPayload(configPayload({ key: 'limit', value: u64(1_000_000n) }), EntryType.config);
    h.applyAll();
    const limit = { key: bytesOf('limit'), value: u64(1_000_000n), revision: h.store.stats().revision, system: true };
    expect(h.store.stats().stateHash).toBe(referenceState([...records, limit]));
  });

  test('an empty store hashes to zero, and so does one whose records are all gone but the origin', () => {
    const h = make();
    expect(h.store.stats().stateHash).toBe('0000000000000000');
    applyFrom(h, peer, 1, set('a', '1'), set('b', '2'));
    h.commitPayload(dataPayload(peer, 2, 1, del('a', true), del('b')));
    h.applyAll();
    expect(h.store.stats().stateHash).toBe(referenceState([originRecord(peer, 2, 4)]));
  });

  test('the hash does not depend on the order in which records came to be', () => {
    const hashes = [0, 1].map((direction) => {
      const h = make();
      const keys = Array.from({ length: 300 }, (_, i) => `key ${i}`);
      if (direction === 1) keys.reverse();
      applyFrom(h, peer, 1, ...keys.slice(0, 150).map((key) => set(key, 'other')));
      applyFrom(h, peer, 2, ...keys.map((key) => set(key, 'old')));
      const pad = 1_000 - h.store.stats().revision - 2;
      applyFrom(h, peer, 3, ...Array.from({ length: pad }, () => set('x', 'x')));
      applyFrom(h, peer, 4, commit([], ...keys.map((key) => set(key, 'new')), del('x')));
      return [h.store.stats().stateHash, h.store.stats().revision];
    });
    expect(hashes[0]).toEqual(hashes[1]);
  });
}

function sliceTests(make: MakeHarness): void {
  const many = sized(200_000, 40_000);

  test('a large entry is applied in slices and is invisible until it is done', () => {
    const h = make();
    const c = h.open();
    h.send(c, 'SET k5 old\n');
    const before = h.store.stats();
    const operations = Array.from({ length: many }, (_, i) => set(`k${i}`, 'new'));
    h.commitPayload(dataPayload(peer, 1, many, joinAll(operations)));
    let slices = 0;
    while (h.store.apply() === 'more') {
      slices++;
      h.drain();
      if (slices % 10 !== 0) continue;
      expect(h.store.stats()).toEqual({
        ...before,
        counters: expect.anything(),
        usedBytes: expect.anything(),
        reservedBytes: expect.anything(),
      });
      h.feed(c, 'MGET k5 k6\nCOUNT\nKEYS\n');
      h.ingest();
      while (h.store.gathered > 0) {
        h.read();
        h.ingest();
      }
      expect(h.take(c)).toBe('["old",null]\n(integer) 1\n["k5"]\n');
    }
    expect(slices).toBeGreaterThan(many / 10_000);
    expect(h.store.stats()).toMatchObject({ keys: many, applied: 2 });
    expect(h.send(c, `MGET k5 k${many - 1}\n`)).toBe('["new","new"]\n');
  });

  test('a large COMMIT too, and a transaction of before still sees what was', () => {
    const h = make();
    const [c, t] = [h.open(), h.open()];
    h.send(c, 'SET k0 old\nSET k7 old\n');
    h.send(t, 'BEGIN\n');
    const checks: Check[] = Array.from({ length: many / 4 }, (_, i) => ({ key: `absent${i}`, revision: 0 }));
    const operations = Array.from({ length: many }, (_, i) => (i % 7 === 0 ? del(`k${i}`) : set(`k${i}`, 'new')));
    h.commitPayload(dataPayload(peer, 1, 1, commit(checks, joinAll(operations))));
    let slices = 0;
    while (h.store.apply() === 'more') slices++;
    expect(slices).toBeGreaterThan(many / 10_000);
    expect(h.send(t, 'MGET k0 k1 k7\n')).toBe('["old",null,"old"]\n');
    expect(h.send(c, 'MGET k0 k1 k7 k8\n')).toBe('[null,"new",null,"new"]\n');
    expect(h.store.stats().counters.checked).toBe(many / 4);
    h.send(t, 'ROLLBACK\n');
    expect(h.store.stats().stateHash).toBe(
      referenceState([...h.store.dump(), originRecord(testOrigin(), 1, 1), originRecord(peer, 1, 4)]),
    );
  });

  test('a COMMIT whose last of many checks fails changes nothing', () => {
    const h = make();
    applyFrom(h, peer, 1, set('last', '1'));
    const { revision } = h.store.stats();
    const checks: Check[] = Array.from({ length: many }, (_, i) => ({ key: `absent${i}`, revision: 0 }));
    checks.push({ key: 'last', revision: 1 });
    h.commitPayload(dataPayload(peer, 2, 1, commit(checks, set('a', '1'))));
    let slices = 0;
    while (h.store.apply() === 'more') slices++;
    expect(slices).toBeGreaterThan(many / 40_000);
    expect(contents(h)).toEqual({ last: '1' });
    expect(h.store.stats().revision).toBe(revision + 1);
  });

  test('a large malformed entry leaves nothing behind', () => {
    const h = make();
    const operations = Array.from({ length: many }, (_, i) => set(`k${i}`, 'new'));
    h.commitPayload(dataPayload(peer, 1, many + 1, joinAll(operations)));
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ keys: 0, revision: 0, applied: 1 });
  });

  test('a large own entry is answered completely, and what is read meanwhile sees nothing of it', () => {
    const h = make({ limits: { maxEntry: 8_388_608 } });
    const [c, o] = [h.open(), h.open()];
    h.send(c, 'SET a 0\n');
    h.feed(c, Array.from({ length: 2_000 }, (_, i) => `SET a ${i}\nSET k${i} ${'x'.repeat(1_000)}\nGET a\n`).join(''));
    h.ingest();
    const commands = h.store.openCommands;
    expect(commands).toBeGreaterThan(2_000);
    h.commit(h.sealEntry()!);
    let slices = 0;
    for (; h.store.apply() === 'more'; slices++) {
      h.drain();
      h.feed(o, 'EXISTS k0\nGET a\n');
      h.ingest();
      h.read();
      expect(h.take(o)).toBe('(integer) 0\n"0"\n');
    }
    expect(slices).toBeGreaterThan(0);
    h.drain();
    const replies = h.take(c).split('\n');
    expect(replies.filter((reply) => reply === 'OK').length).toBe(commands);
    h.run();
    const rest = h.take(c).split('\n');
    const values = [...replies, ...rest].filter((reply) => reply.startsWith('"'));
    expect(values).toEqual(Array.from({ length: 2_000 }, (_, i) => `"${i}"`));
  });

  test('entries that are staged together are applied in their order', () => {
    const h = make();
    for (let sequence = 1; sequence <= 500; sequence++) {
      h.commitPayload(dataPayload(peer, sequence, 2, incr('n', 1n), set('last', String(sequence))));
    }
    h.applyAll();
    expect(contents(h)).toEqual({ n: '500', last: '500' });
    expect(h.store.applied).toBe(500);
  });

  test('stage says when there is no room, and has some again after apply', () => {
    const h = make();
    const big = set('k', 'x'.repeat(1_000_000));
    for (let sequence = 1; sequence <= 120; sequence++) h.commitPayload(dataPayload(peer, sequence, 1, big));
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ applied: 120, keys: 1 });
  });
}

function testOrigin(): TestOrigin {
  const { identity, starts, nonce } = testOptions();
  return { identity: identity[0]!, starts, nonce };
}

function statsTests(make: MakeHarness): void {
  test('checkpoints are at the indexes that divide by 1,024, also in the middle of a batch', () => {
    const h = make();
    const hashes = new Map<number, string>();
    const single = make();
    for (let sequence = 1; sequence <= 2_100; sequence++) {
      const payload = dataPayload(peer, sequence, 1, set(`k${sequence}`, 'v'));
      h.commitPayload(payload);
      single.commitPayload(payload);
      single.applyAll();
      if (sequence % 1_024 === 0) hashes.set(sequence, single.store.stats().stateHash);
    }
    expect(single.store.stats().checkpoint).toEqual({ index: 2_048, stateHash: hashes.get(2_048) });
    h.applyAll();
    expect(h.store.stats().checkpoint).toEqual({ index: 2_048, stateHash: hashes.get(2_048) });
    expect(make().store.stats().checkpoint).toEqual({ index: 0, stateHash: '0000000000000000' });
  });

  test('counters count what their names say', () => {
    const h = make();
    const c = h.open();
    h.send(c, 'PING\nfoo\n\nSET a 1\nDEL a b c\nGET a\nMGET a b\nCOUNT\nEXISTS a\nKEYS\nSTATUS\n');
    expect(h.store.stats().counters).toEqual({ parsed: 11, encoded: 2, checked: 0, applied: 2, reads: 5 });
    h.send(c, 'BEGIN\nGET a\nGET b\nINCR n\nSET c 1\nCOMMIT\n');
    expect(h.store.stats().counters).toEqual({ parsed: 17, encoded: 3, checked: 3, applied: 3, reads: 5 });
    h.send(c, 'SET a 1\nGET a\n');
    expect(h.store.stats().counters).toEqual({ parsed: 19, encoded: 4, checked: 3, applied: 4, reads: 6 });
    applyFrom(h, peer, 1, set('x', '1'), incr('n', 1n));
    applyFrom(h, peer, 1, set('x', '1'));
    expect(h.store.stats().counters).toEqual({ parsed: 19, encoded: 4, checked: 3, applied: 6, reads: 6 });
    h.feed(c, 'cut');
    h.store.finish(c);
    h.run();
    expect(h.store.stats().counters.parsed).toBe(20);
  });

  test('the same records give the same state in a fresh store, of any identity', () => {
    const h = make();
    const clients = [h.open(), h.open(), h.open()];
    for (let round = 0; round < 50; round++) {
      for (const [i, c] of clients.entries()) {
        h.feed(
          c,
          `SET k${(round * 7 + i) % 20} v${round}\nINCR n ${round}\nDEL k${(round * 3) % 20}\nBEGIN\nINCR m\nSET t ${round}\n`,
        );
      }
      h.run();
      for (const c of clients) h.feed(c, 'COMMIT\nGET n\n');
      h.run();
    }
    const replay = make({ identity: new Uint8Array(16).fill(50), nonce: 9, seed: new Uint8Array(16).fill(3) });
    for (const record of h.records) replay.stage(record);
    replay.applyAll();
    const { revision, applied, keys, stateHash, logicalBytes, checkpoint } = h.store.stats();
    expect(replay.store.stats()).toMatchObject({ revision, applied, keys, stateHash, logicalBytes, checkpoint });
    const sorted = (one: Harness) =>
      one.store
        .dump()
        .map((r) => `${textOf(r.key)}=${textOf(r.value)}@${r.revision}`)
        .sort();
    expect(sorted(replay)).toEqual(sorted(h));
  });

  test('used and reserved bytes grow with the records', () => {
    const h = make();
    const before = h.store.stats();
    applyFrom(h, peer, 1, ...Array.from({ length: 5_000 }, (_, i) => set(`k${i}`, 'x'.repeat(200))));
    const after = h.store.stats();
    expect(after.usedBytes - before.usedBytes).toBeGreaterThan(5_000 * 200);
    expect(after.usedBytes - before.usedBytes).toBeLessThan(5_000 * 600);
    expect(after.reservedBytes).toBeGreaterThanOrEqual(after.usedBytes);
  });
}

function runTests(make: MakeHarness): void {
  test('run carries out a batch, reads included, and publishes it', () => {
    const h = make();
    const batch = join(
      get('a'),
      set('a', '"1"'),
      get('a'),
      set('a', '2', 1),
      incr('n', -3n),
      del('a', true),
      del('n', true),
      del('x'),
      get('n'),
    );
    expect(textOf(h.store.run(batch))).toBe('(nil)\nOK\n"\\"1\\""\n(nil)\n(integer) -3\n(integer) 2\n(nil)\n');
    expect(textOf(h.store.run(join(set('k', 'v'), cas('k', 'v', 'w'), commit([], set('c', 'd')))))).toBe(
      'OK\nOK\nOK\n',
    );
    expect(contents(h)).toEqual({ k: 'w', c: 'd' });
    expect(h.store.stats()).toMatchObject({ applied: 0, keys: 2 });
    expect(h.store.stats().stateHash).toBe(referenceState(h.store.dump()));
    expect(h.send(h.open(), 'GET k\n')).toBe('"w"\n');
  });

  test('run takes batches of any size at any place in a buffer', () => {
    const h = make();
    const batch = join(...Array.from({ length: 1_000 }, (_, i) => set(`k${i}`, 'v'.repeat(i % 30))));
    const shifted = join(new Uint8Array(3), batch).subarray(3);
    expect(textOf(h.store.run(shifted))).toBe('OK\n'.repeat(1_000));
    expect(textOf(h.store.run(join(...Array.from({ length: 1_000 }, (_, i) => get(`k${i}`)))))).toBe(
      Array.from({ length: 1_000 }, (_, i) => `"${'v'.repeat(i % 30)}"\n`).join(''),
    );
    expect(textOf(h.store.run(new Uint8Array(0)))).toBe('');
  });
}
