/** Deadlines: what has one, when it is absent, when it is removed, and what transactions see of it. */
import { describe, expect, test } from 'vitest';
import { EntryType } from '../../src/store/store.js';
import type { MakeHarness } from './contract.js';
import type { Harness } from './harness.js';
import { bytesOf } from './harness.js';
import {
  commit,
  dataPayload,
  del,
  originRecord,
  peer,
  persist,
  type ReferenceRecord,
  referenceSize,
  referenceState,
  set,
  setFor,
} from './payloads.js';

/** Entries without content let log time pass. */
function pass(h: Harness, ms: number): void {
  h.logTime += ms - 1;
  h.commitPayload(new Uint8Array(0), EntryType.noop);
  h.applyAll();
}

function start(make: MakeHarness): { h: Harness; send: (...lines: string[]) => string[] } {
  const h = make();
  const c = h.open();
  return { h, send: (...lines) => lines.map((line) => h.send(c, `${line}\n`).slice(0, -1)) };
}

const setOption = (word: string) =>
  `ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not "${word}"`;
const setTime = (word: string) =>
  `ERR syntax SET takes EX 1 to 10000000000 seconds or PX 1 to 10000000000000 milliseconds, not "${word}"`;

export function expiryContract(make: MakeHarness): void {
  describe('SET with a deadline, TTL, PTTL, PERSIST', () => commandTests(make));
  describe('a key that has expired', () => absenceTests(make));
  describe('the removal of expired keys', () => removalTests(make));
  describe('deadlines in transactions', () => transactionTests(make));
}

function commandTests(make: MakeHarness): void {
  test('the options of SET may come in any order, each kind once', () => {
    const { send } = start(make);
    expect(
      send('SET a 1 EX 10', 'SET a 2 px 5000 xx', 'SET a 3 XX EX 7', 'SET b 1 NX PX 1', 'SET a 4 NX EX 9'),
    ).toEqual(['OK', 'OK', 'OK', 'OK', '(nil)']);
    expect(send('GET a')).toEqual(['"3"']);
    expect(send('SET a 1 EX', 'SET a 1 NX EX', 'SET a 1 EX 1 PX', 'SET a 1 EX 1 EX', 'SET a 1 NX XX')).toEqual([
      setOption('EX'),
      setOption('EX'),
      setOption('PX'),
      setOption('EX'),
      setOption('XX'),
    ]);
    expect(send('SET a 1 EX 0', 'SET a 1 PX -1', 'SET a 1 EX NX', 'SET a 1 PX 1.5', 'SET a 1 EX 10000000001')).toEqual([
      setTime('0'),
      setTime('-1'),
      setTime('NX'),
      setTime('1.5'),
      setTime('10000000001'),
    ]);
    expect(send('SET a 1 PX 10000000000001', 'SET a 1 EX 10000000000', 'SET a 1 PX 10000000000000')).toEqual([
      setTime('10000000000001'),
      'OK',
      'OK',
    ]);
    expect(send('PTTL a')).toEqual(['(integer) 10000000000000']);
  });

  test('input with options may be cut anywhere', () => {
    const input = 'SET "a b" 1 PX "70\\u0030" nx\r\nTTL "a b"\nPTTL "a b"\nPERSIST "a b"\nTTL "a b"\nSET a 1 XX PX x\n';
    const whole = start(make).h;
    const expected = whole.send(whole.open(), input);
    expect(expected.split('\n').slice(0, 1)).toEqual(['OK']);
    expect(expected.split('\n').slice(3)).toEqual(['(integer) 1', '(integer) -1', setTime('x'), '']);
    for (let cut = 0; cut <= input.length; cut++) {
      const h = make();
      const c = h.open();
      // Whole entries between the parts let log time pass: what is left differs by a few milliseconds, nothing else does.
      const parts = h.send(c, input.slice(0, cut)) + h.send(c, input.slice(cut));
      expect(parts.replace(/\b(6\d\d|700)\b/, 'ms')).toBe(expected.replace(/\b(6\d\d|700)\b/, 'ms'));
    }
  });

  test('TTL counts a second that has begun, PTTL milliseconds; both tell no deadline from no key', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 2001', 'SET b 1');
    expect(send('TTL a', 'PTTL a', 'TTL b', 'PTTL b', 'TTL c', 'PTTL c')).toEqual([
      '(integer) 2',
      '(integer) 2000',
      '(integer) -1',
      '(integer) -1',
      '(integer) -2',
      '(integer) -2',
    ]);
    pass(h, 1_000);
    expect(send('TTL a', 'PTTL a')).toEqual(['(integer) 1', '(integer) 1000']);
    pass(h, 999);
    expect(send('TTL a', 'PTTL a', 'GET a')).toEqual(['(integer) 1', '(integer) 1', '"1"']);
    pass(h, 1);
    expect(send('TTL a', 'PTTL a', 'GET a')).toEqual(['(integer) -2', '(integer) -2', '(nil)']);
  });

  test('a plain SET clears a deadline; INCR and CAS keep it; DEL and SET begin anew', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 1000', 'SET b 1 PX 1000', 'SET c 1 PX 1000', 'SET d 1 PX 1000');
    send('SET a 2', 'INCR b', 'CAS c 1 2', 'DEL d', 'SET d 2');
    expect(send('TTL a', 'TTL b', 'TTL c', 'TTL d')).toEqual([
      '(integer) -1',
      '(integer) 1',
      '(integer) 1',
      '(integer) -1',
    ]);
    pass(h, 1_000);
    expect(send('MGET a b c d')).toEqual(['["2",null,null,"2"]']);
  });

  test('PERSIST takes a deadline away, once, and takes a revision', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 1000');
    const { revision } = h.store.stats();
    expect(send('PERSIST a', 'PERSIST a', 'PERSIST none', 'TTL a')).toEqual([
      '(integer) 1',
      '(integer) 0',
      '(integer) 0',
      '(integer) -1',
    ]);
    // Three entries with a record of their origin each, and the one PERSIST that did something.
    expect(h.store.stats().revision).toBe(revision + 4);
    pass(h, 2_000);
    expect(send('GET a')).toEqual(['"1"']);
    expect(h.store.earliestDeadline).toBeUndefined();
  });

  test('more PERSISTs than an entry may hold are carried out in several', () => {
    const { h, send } = start(make);
    const keys = Array.from({ length: 150 }, (_, i) => `k${i}`);
    send(...keys.map((key) => `SET ${key} v PX 5000`));
    const c = h.open();
    expect(h.send(c, keys.map((key) => `PERSIST ${key}\n`).join(''))).toBe('(integer) 1\n'.repeat(150));
    expect(send(`TTL ${keys[149]}`)).toEqual(['(integer) -1']);
  });

  test('reads between the writes of an entry see deadlines', () => {
    const { h } = start(make);
    const c = h.open();
    const lines = 'SET a 1 PX 900\nTTL a\nPTTL a\nPERSIST a\nTTL a\nTTL b\nCOUNT\n';
    expect(h.send(c, lines)).toBe(
      'OK\n(integer) 1\n(integer) 900\n(integer) 1\n(integer) -1\n(integer) -2\n(integer) 1\n',
    );
  });
}

function absenceTests(make: MakeHarness): void {
  /** Many keys that have expired: more than one entry removes. */
  function expired(h: Harness, keys: readonly string[]): void {
    const operations = keys.map((key) => setFor(key, 'old', 10));
    h.commitPayload(dataPayload(peer, 1, operations.length, ...operations));
    h.applyAll();
    pass(h, 10);
  }
  const many = Array.from({ length: 3_000 }, (_, i) => `k${i}`);
  /** The last in the order of removal: still there after the first entries. */
  const last = many[2_999]!;

  test('is absent for every read although it is not yet removed', () => {
    const { h, send } = start(make);
    send('SET x 1');
    expired(h, many);
    expect(h.store.earliestDeadline).toBeLessThanOrEqual(h.logTime);
    const c = h.open();
    expect(h.send(c, `GET ${last}\nTTL ${last}\nEXISTS ${last} x\nMGET ${last} x\nCOUNT\n`)).toBe(
      '(nil)\n(integer) -2\n(integer) 1\n[null,"1"]\n(integer) 1\n',
    );
    expect(h.send(c, 'KEYS\n')).toBe('["x"]\n');
    expect(h.store.stats().keys).toBe(1);
    expect(h.store.dump()).toHaveLength(1);
    expect(h.store.stats().logicalBytes).toBeGreaterThan(1_900 * 64);
  });

  test('is absent for every write and check although it is not yet removed', () => {
    const h = make();
    const keys = Array.from({ length: 9_000 }, (_, i) => `k${String(i).padStart(4, '0')}`);
    expired(h, keys);
    const left = [...keys].reverse();
    const c = h.open();
    const [a, b, d, e, f, g] = left as [string, string, string, string, string, string];
    const lines = `SET ${a} 1 XX\nSET ${a} 1 NX\nINCR ${b}\nCAS ${d} old new\nDEL ${e} ${f}\nPERSIST ${g}\nCOUNT\n`;
    expect(h.send(c, lines)).toBe('(nil)\nOK\n(integer) 1\n(nil)\n(integer) 0\n(integer) 0\n(integer) 2\n');
    expect(h.send(c, `TTL ${a}\nTTL ${b}\n`)).toBe('(integer) -1\n(integer) -1\n');
    // A check of revision 0 holds for what has expired; one of its old revision does not.
    const operations = [
      commit([{ key: left[10]!, revision: 0 }], set('seen', 'absent')),
      commit([{ key: left[11]!, revision: 2 + keys.length - 12 }], set('seen', 'there')),
    ];
    h.commitPayload(dataPayload(peer, 2, 2, ...operations));
    h.applyAll();
    expect(h.send(c, 'GET seen\n')).toBe('"absent"\n');
    while ((h.store.earliestDeadline ?? Number.POSITIVE_INFINITY) <= h.logTime) pass(h, 1);
    expect(h.send(c, 'KEYS\n')).toBe(`["${b}","${a}","seen"]\n`);
  });

  test('that is written again is not removed with its old deadline', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 100');
    pass(h, 100);
    send('SET a 2 PX 500');
    pass(h, 400);
    expect(send('GET a')).toEqual(['"2"']);
    pass(h, 100);
    expect(send('GET a', 'COUNT')).toEqual(['(nil)', '(integer) 0']);
  });

  test('does not come back when log time would go back', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 100');
    pass(h, 200);
    h.logTime = 3;
    expect(send('GET a', 'SET b 1 PX 50', 'PTTL b')).toEqual(['(nil)', 'OK', '(integer) 50']);
    expect(h.store.logTime).toBeGreaterThan(200);
  });
}

function removalTests(make: MakeHarness): void {
  test('any entry removes what is due, before all else, at a revision of its own', () => {
    const h = make();
    h.commitPayload(dataPayload(peer, 1, 2, setFor('a', '1', 10), setFor('b', '1', 20)));
    h.applyAll();
    expect(h.store.earliestDeadline).toBe(11);
    expect(h.store.logTime).toBe(1);
    h.logTime = 10;
    h.commitPayload(dataPayload(peer, 2, 1, set('c', '1')));
    h.applyAll();
    expect(h.store.earliestDeadline).toBe(21);
    // The removal's revision, the origin's, then the command's.
    expect(h.store.stats().revision).toBe(6);
    const state: ReferenceRecord[] = [
      { key: bytesOf('b'), value: bytesOf('1'), revision: 3, deadline: 21 },
      { key: bytesOf('c'), value: bytesOf('1'), revision: 6 },
      originRecord(peer, 2, 5),
    ];
    expect(h.store.stats().stateHash).toBe(referenceState(state));
    expect(h.store.stats().logicalBytes).toBe(2 * referenceSize(1, 1) + referenceSize(17, 16));
  });

  test.each([
    ['a no-op', (h: Harness) => h.commitPayload(new Uint8Array(0), EntryType.noop)],
    ['an unknown type', (h: Harness) => h.commitPayload(new Uint8Array(9), 77)],
    ['a malformed data entry', (h: Harness) => h.commitPayload(dataPayload(peer, 2, 9, set('x', '1')))],
    ['a gap', (h: Harness) => h.commitPayload(dataPayload(peer, 5, 1, set('x', '1')))],
    ['a malformed config', (h: Harness) => h.commitPayload(new Uint8Array(7), EntryType.config)],
    ['a config entry', (h: Harness) => h.commitLimit(0)],
  ])('%s removes it too', (_, commitEntry) => {
    const h = make();
    h.commitPayload(dataPayload(peer, 1, 1, setFor('a', '1', 10)));
    h.applyAll();
    h.logTime = 10;
    commitEntry(h);
    h.applyAll();
    expect(h.store.earliestDeadline).toBeUndefined();
    expect(h.store.stats()).toMatchObject({ keys: 0, applied: 2 });
    const { limitBytes, logicalBytes } = h.store.stats();
    expect(limitBytes).toBe(0);
    expect(h.store.dump()).toEqual([]);
    expect(logicalBytes).toBeLessThanOrEqual(referenceSize(17, 16) + referenceSize(5, 8));
    expect(h.store.logTime).toBe(11);
  });

  test('an entry removes 1,024 records, in the order of deadline, revision and key', () => {
    const h = make();
    // One COMMIT: all at one revision, so the keys' order decides; the last ones fall due earlier.
    const keys = Array.from({ length: 2_100 }, (_, i) => `k${String((i * 11) % 2_100).padStart(4, '0')}`);
    const late = commit([], ...keys.map((key) => setFor(key, '1', 20)));
    const early = commit([], ...['y', 'z'].map((key) => setFor(key, '1', 10)));
    h.commitPayload(dataPayload(peer, 1, 2, late, early));
    h.applyAll();
    const sizes: number[] = [];
    const survivors = () => (h.store.stats().logicalBytes - referenceSize(17, 16)) / referenceSize(5, 1);
    pass(h, 30);
    const due = h.store.earliestDeadline;
    expect(due).toBe(21);
    sizes.push(survivors());
    pass(h, 1);
    sizes.push(survivors());
    pass(h, 1);
    sizes.push(survivors());
    expect(sizes).toEqual([1_078, 54, 0]);
  });

  test('which records go first does not depend on the order in which they came', () => {
    const hashes = [1, 1_499].map((stride) => {
      const h = make();
      const keys = Array.from({ length: 1_500 }, (_, i) => `k${(i * stride) % 1_500}`);
      h.commitPayload(dataPayload(peer, 1, 1, commit([], ...keys.map((key) => setFor(key, '1', 20)))));
      h.applyAll();
      pass(h, 30);
      return h.store.stats().stateHash;
    });
    expect(hashes[0]).toBe(hashes[1]);
  });

  test('an entry stops removing after keys of 1 MiB', () => {
    const h = make();
    const keys = Array.from({ length: 40 }, (_, i) => String(i).padStart(60_000, 'x'));
    for (const [i, key] of keys.entries()) h.commitPayload(dataPayload(peer, i + 1, 1, setFor(key, '1', 500 - i)));
    h.applyAll();
    const count = () => (h.store.stats().logicalBytes - referenceSize(17, 16)) / referenceSize(60_000, 1);
    pass(h, 1_000);
    expect(count()).toBe(40 - 18);
    pass(h, 1);
    expect(count()).toBe(40 - 36);
  });

  test('what has been deleted or written again leaves no deadline behind', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 100', 'SET b 1 PX 100', 'SET c 1 PX 100', 'SET d 1 PX 100');
    send('DEL a', 'SET b 2', 'PERSIST c', 'SET d 1 PX 9000');
    expect(h.store.earliestDeadline).toBeGreaterThan(9_000);
    pass(h, 200);
    expect(send('KEYS')).toEqual(['["b","c","d"]']);
  });

  test('memory that expired keys take counts until they are removed', () => {
    const h = make();
    const c = h.open();
    h.commitLimit(1_000);
    h.send(c, `SET a ${'x'.repeat(600)} PX 100\n`);
    expect(h.send(c, `SET b ${'x'.repeat(600)}\n`)).toMatch(/^ERR out-of-memory/);
    pass(h, 200);
    expect(h.send(c, `SET b ${'x'.repeat(600)}\n`)).toBe('OK\n');
  });

  test('an entry of many operations and removals is applied in slices, and published as a whole', () => {
    const h = make();
    const keys = Array.from({ length: 20_000 }, (_, i) => setFor(`k${i}`, '1', 10));
    h.commitPayload(dataPayload(peer, 1, keys.length, ...keys));
    h.applyAll();
    h.logTime += 100;
    h.commitPayload(dataPayload(peer, 2, 20_000, ...Array.from({ length: 20_000 }, (_, i) => set(`n${i}`, '1'))));
    const visible = () => {
      const { applied, keys, logicalBytes, revision, stateHash } = h.store.stats();
      return { applied, keys, logicalBytes, revision, stateHash };
    };
    const before = visible();
    let slices = 0;
    while (h.store.apply() === 'more') {
      slices++;
      if (h.store.applied === 1) expect(visible()).toEqual(before);
    }
    expect(slices).toBeGreaterThan(1);
    expect(h.store.stats()).toMatchObject({ keys: 20_000, applied: 2 });
  });
}

function transactionTests(make: MakeHarness): void {
  test('read at the log time of BEGIN, however late it gets', () => {
    const { h, send } = start(make);
    const other = h.open();
    h.send(other, 'SET a 1 PX 1000\nSET b 2 PX 5000\n');
    send('BEGIN');
    pass(h, 3_000);
    expect(h.send(other, 'GET a\n')).toBe('(nil)\n');
    expect(send('GET a', 'TTL a', 'PTTL b', 'EXISTS a b', 'MGET a b')).toEqual([
      '"1"',
      '(integer) 1',
      '(integer) 5000',
      '(integer) 2',
      '["1","2"]',
    ]);
  });

  test('COMMIT takes a key that expired meanwhile for absent: who saw it is in conflict', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 1000', 'BEGIN', 'GET a', 'SET x 1');
    pass(h, 2_000);
    expect(send('COMMIT', 'GET x')).toEqual([
      'ERR conflict key "a" has changed since BEGIN; nothing was written',
      '(nil)',
    ]);
  });

  test('COMMIT lets who saw no key pass when one came and went, or had expired before BEGIN', () => {
    const { h, send } = start(make);
    const other = h.open();
    send('BEGIN', 'GET a', 'SET x 1');
    h.send(other, 'SET a 1 PX 10\n');
    pass(h, 100);
    expect(send('COMMIT', 'GET x')).toEqual(['OK', '"1"']);
    h.send(other, 'SET b 1 PX 10\n');
    pass(h, 100);
    expect(send('BEGIN', 'EXISTS b', 'SET x 2', 'COMMIT', 'GET x')).toEqual(['OK', '(integer) 0', 'OK', 'OK', '"2"']);
  });

  test('a time to live runs from COMMIT', () => {
    const { h, send } = start(make);
    expect(send('BEGIN', 'SET a 1 PX 5000', 'TTL a', 'PTTL a')).toEqual(['OK', 'OK', '(integer) 5', '(integer) 5000']);
    pass(h, 60_000);
    expect(send('GET a', 'COMMIT', 'PTTL a')).toEqual(['"1"', 'OK', '(integer) 5000']);
    pass(h, 5_000);
    expect(send('GET a')).toEqual(['(nil)']);
  });

  test('INCR and CAS keep the deadline that a key has, or that the transaction gave it', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 9000', 'SET b 1 PX 9000', 'SET c 1', 'BEGIN');
    expect(send('INCR a', 'CAS b 1 2', 'INCR c', 'SET d 1 PX 700', 'INCR d', 'TTL a', 'PTTL d', 'TTL c')).toEqual([
      '(integer) 2',
      'OK',
      '(integer) 2',
      'OK',
      '(integer) 2',
      '(integer) 9',
      '(integer) 700',
      '(integer) -1',
    ]);
    pass(h, 1_000);
    expect(send('COMMIT', 'TTL a', 'TTL b', 'TTL c', 'PTTL d')).toEqual([
      'OK',
      '(integer) 8',
      '(integer) 8',
      '(integer) -1',
      '(integer) 700',
    ]);
  });

  test('a plain SET and a DEL end a deadline of the transaction too', () => {
    const { send } = start(make);
    send('SET a 1 PX 9000', 'BEGIN', 'INCR a', 'SET a 5', 'SET b 1 EX 5', 'DEL b', 'SET b 2');
    expect(send('TTL a', 'TTL b', 'COMMIT', 'TTL a', 'TTL b')).toEqual([
      '(integer) -1',
      '(integer) -1',
      'OK',
      '(integer) -1',
      '(integer) -1',
    ]);
  });

  test('PERSIST is part of the transaction, and depends on the key', () => {
    const { h, send } = start(make);
    const other = h.open();
    send('SET a 1 PX 9000', 'SET b 1', 'BEGIN', 'SET d 1 EX 9');
    expect(send('PERSIST a', 'PERSIST a', 'PERSIST b', 'PERSIST c', 'PERSIST d', 'TTL a', 'TTL d')).toEqual([
      '(integer) 1',
      '(integer) 0',
      '(integer) 0',
      '(integer) 0',
      '(integer) 1',
      '(integer) -1',
      '(integer) -1',
    ]);
    expect(h.send(other, 'TTL a\n')).toBe('(integer) 9\n');
    expect(send('COMMIT', 'TTL a', 'GET a', 'TTL d')).toEqual(['OK', '(integer) -1', '"1"', '(integer) -1']);
    send('SET a 1 PX 9000', 'BEGIN', 'PERSIST a');
    h.send(other, 'SET a 2 PX 9000\n');
    expect(send('COMMIT')).toEqual(['ERR conflict key "a" has changed since BEGIN; nothing was written']);
  });

  test('a transaction that read TTL notices PERSIST', () => {
    const { h, send } = start(make);
    send('SET a 1 PX 9000', 'BEGIN', 'TTL a', 'SET x 1');
    h.send(h.open(), 'PERSIST a\n');
    expect(send('COMMIT')).toEqual(['ERR conflict key "a" has changed since BEGIN; nothing was written']);
  });

  test('times to live count against the limit of a transaction', () => {
    const h = make({ limits: { maxTransaction: 64 } });
    const c = h.open();
    const tooLarge = 'ERR too-large transaction of more than 64 bytes; this command was not added to it';
    // 16 bytes each, 24 with a time to live.
    expect(h.send(c, 'BEGIN\nSET a 1 EX 1\nSET b 1 EX 1\nSET c 1 EX 1\nSET c 1\nSET a 1\n')).toBe(
      `OK\nOK\nOK\n${tooLarge}\nOK\nOK\n`,
    );
    expect(h.send(c, 'SET c 1 EX 1\nPERSIST b\nCOMMIT\n')).toBe('OK\n(integer) 1\nOK\n');
  });

  test('operations of entries: a COMMIT that keeps a deadline, deletes what has expired, or sets one', () => {
    const h = make();
    h.commitPayload(dataPayload(peer, 1, 2, setFor('a', '1', 1_000), setFor('b', '1', 10)));
    h.applyAll();
    h.logTime = 500;
    h.commitPayload(dataPayload(peer, 2, 2, commit([], set('a', '2', 16), set('b', '2', 16), del('zz')), persist('b')));
    h.applyAll();
    const dumped = h.store.dump().map(({ key, deadline }) => `${Buffer.from(key).toString()} ${deadline}`);
    expect(dumped.sort()).toEqual(['a 1001', 'b 0']);
  });
}
