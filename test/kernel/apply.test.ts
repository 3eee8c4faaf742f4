import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  builds,
  Code,
  cas,
  commit,
  config,
  del,
  EntryType,
  Flag,
  fence,
  get,
  incr,
  logicalSize,
  operation,
  payload,
  persist,
  Run,
  record,
  seq,
  session,
  set,
  setFor,
  stateHash,
  TestKernel,
} from './support.js';

const origin = { identity: 'origin', starts: 1, nonce: 77 };
const MASK = (1n << 64n) - 1n;
const Outcome = { done: 0, more: 1, noMemory: 2 };

describe.each(builds)('apply in the %s kernel', (build) => {
  /** A kernel and a log: appends records in order and applies them. */
  function start(maximumPages = 0) {
    const kernel = new TestKernel(build, 3, maximumPages);
    let index = 0;
    const stage = (type: number, body: Uint8Array) => {
      index++;
      expect(kernel.stage(record(index, type, body))).toBe(true);
    };
    const data = (body: Uint8Array) => {
      stage(EntryType.data, body);
      expect(kernel.applyAll().outcome).toBe(Outcome.done);
      return kernel.stats();
    };
    return { kernel, stage, data, last: () => index };
  }

  test('an entry of an origin takes one revision for its record, then one for each effective command', () => {
    const { kernel, data } = start();
    const operations = [
      set('a', '1'),
      set('a', '2', 1),
      set('b', '2', 2),
      set('c', '3', 1),
      del('x', 'y'),
      del('a', 'c', 'c'),
      incr('n', 5n),
      cas('n', '4', 'no'),
      cas('n', '5', 'yes'),
    ];
    const stats = data(payload(origin, 1, 9, ...operations));
    expect(stats).toMatchObject({ revision: 6, applied: 1, keys: 1, commands: 9 });
    expect(kernel.getCurrent('n')).toBe('yes');
    const originKey = `o${'origin'.padEnd(16, '.')}`;
    const value = Buffer.alloc(16);
    value.writeUInt32LE(1, 0);
    value.writeUInt32LE(77, 4);
    value.writeUInt32LE(1, 8);
    const sum = stateHash(originKey, value.toString('latin1'), 1n, true) + stateHash('n', 'yes', 6n, false);
    expect(stats.hash).toBe(sum & MASK);
    expect(stats.logical).toBe(logicalSize(originKey, ' '.repeat(16)) + logicalSize('n', 'yes'));
  });

  test('an entry takes effect only as the next of its incarnation, or as the first of a higher one', () => {
    const { kernel, data } = start();
    const attempt = (starts: number, nonce: number, sequence: number) => {
      const before = kernel.stats().revision;
      const { revision } = data(payload({ ...origin, starts, nonce }, sequence, 1, set('k', `${starts} ${sequence}`)));
      return revision > before;
    };
    expect(attempt(5, 1, 2)).toBe(false);
    expect(attempt(5, 1, 1)).toBe(true);
    expect(attempt(5, 1, 1)).toBe(false);
    expect(attempt(5, 1, 3)).toBe(false);
    expect(attempt(5, 1, 2)).toBe(true);
    expect(attempt(5, 2, 3)).toBe(false);
    expect(attempt(5, 2, 1)).toBe(false);
    expect(attempt(4, 9, 1)).toBe(false);
    expect(attempt(6, 9, 2)).toBe(false);
    expect(attempt(6, 9, 1)).toBe(true);
    expect(attempt(5, 1, 3)).toBe(false);
    expect(kernel.getCurrent('k')).toBe('6 1');
    expect(kernel.stats().applied).toBe(11);
  });

  test('the state hash of any mix of operations is the sum over the records that are left', () => {
    const key = fc.constantFrom('', 'a', 'bb', 'key with blanks', 'k'.repeat(40));
    const text = fc.string({ unit: 'binary-ascii', maxLength: 30 });
    const anyOperation = fc.oneof(
      fc.tuple(key, text, fc.nat(2)).map(([k, v, flags]) => set(k, v, flags)),
      fc.array(key, { minLength: 1, maxLength: 4 }).map((ks) => del(...ks)),
      fc.tuple(key, fc.bigInt({ min: -5n, max: 5n })).map(([k, by]) => incr(k, by)),
      fc.tuple(key, text, text).map(([k, v, w]) => commit([], set(k, v), set(`${k}2`, w), del('a'))),
    );
    fc.assert(
      fc.property(fc.array(anyOperation, { maxLength: 40 }), (operations) => {
        const kernel = new TestKernel(build);
        expect(kernel.run(...operations).outcome).toBe(0);
        let sum = 0n;
        let logical = 0;
        for (const [k, v] of kernel.scan(kernel.published)) {
          sum += stateHash(k, v, BigInt(kernel.revisionOf(k)), false);
          logical += logicalSize(k, v);
        }
        expect(kernel.stats()).toMatchObject({ hash: sum & MASK, logical });
      }),
      { numRuns: build === 'test-release' ? 100 : 30 },
    );
  });

  test('INCR counts within 64 bits and refuses what is no canonical integer', () => {
    const kernel = new TestKernel(build);
    const max = '9223372036854775807';
    const min = '-9223372036854775808';
    expect(kernel.run(incr('n', 7n), incr('n', -10n)).lines).toEqual(['(integer) 7', '(integer) -3']);
    kernel.run(set('n', max), incr('n', 1n));
    expect(kernel.getCurrent('n')).toBe(max);
    kernel.run(set('n', min), incr('n', -1n));
    expect(kernel.getCurrent('n')).toBe(min);
    expect(kernel.run(incr('n', 9223372036854775807n)).lines).toEqual(['(integer) -1']);
    for (const bad of [
      '',
      '-',
      '+1',
      '01',
      '-0',
      ' 1',
      '1 ',
      '1a',
      '9223372036854775808',
      '-9223372036854775809',
      '1'.repeat(20),
    ]) {
      kernel.run(set('n', bad), incr('n', 1n));
      expect(kernel.getCurrent('n'), bad).toBe(bad);
    }
  });

  test('a GET between two writes of a batch sees the first', () => {
    const kernel = new TestKernel(build);
    const { lines } = kernel.run(get('k'), set('k', 'one'), get('k'), set('k', 'two'), get('k'), del('k'), get('k'));
    expect([lines[2], lines[4], lines[5]]).toEqual(['"one"', '"two"', '(integer) 1']);
    expect(lines).toHaveLength(7);
  });

  test('a COMMIT writes all at one revision if every check holds, else nothing', () => {
    const kernel = new TestKernel(build);
    kernel.run(set('a', '1'), set('b', '2'));
    expect(
      kernel.run(
        commit(
          [
            ['a', 1],
            ['b', 2],
            ['c', 0],
          ],
          set('a', 'x'),
          set('c', 'y'),
          del('b'),
        ),
      ).outcome,
    ).toBe(0);
    expect([kernel.revisionOf('a'), kernel.revisionOf('c'), kernel.revisionOf('b')]).toEqual([3, 3, 0]);
    for (const checks of [
      [['a', 2]],
      [
        ['a', 3],
        ['b', 2],
      ],
      [
        ['a', 3],
        ['c', 0],
      ],
      [['a', 0]],
    ] as [string, number][][]) {
      kernel.run(commit(checks, set('a', 'no')));
      expect(kernel.getCurrent('a')).toBe('x');
    }
    expect(kernel.published).toBe(3n);
    kernel.run(commit([], del('absent')));
    expect(kernel.published).toBe(4n);
  });

  test('the memory limit of the log refuses what grows beyond it, a COMMIT as a whole', () => {
    const { kernel, stage, data } = start();
    stage(EntryType.config, config(1_000_000, 600));
    kernel.applyAll();
    const base = kernel.stats();
    expect(base).toMatchObject({ revision: 1, limit: 600, logical: 80, applied: 1 });
    data(payload(origin, 1, 1, set('a', 'x'.repeat(80))));
    const { logical } = kernel.stats();
    expect(logical).toBe(80 + 96 + 144);
    data(payload(origin, 2, 3, set('b', 'x'.repeat(240)), set('a', 'y'.repeat(80)), set('c', '')));
    expect([kernel.getCurrent('b'), kernel.getCurrent('a'), kernel.getCurrent('c')]).toEqual([
      undefined,
      'y'.repeat(80),
      '',
    ]);
    data(
      payload(
        origin,
        3,
        2,
        commit([], set('d', 'x'.repeat(40)), set('e', 'x'.repeat(100))),
        commit([], del('a'), set('e', 'x'.repeat(100))),
      ),
    );
    expect([kernel.getCurrent('d'), kernel.getCurrent('e'), kernel.getCurrent('a')]).toEqual([
      undefined,
      'x'.repeat(100),
      undefined,
    ]);
    expect(kernel.stats().logical).toBeLessThanOrEqual(600);
  });

  test('malformed entries are no-ops, each for its own reason', () => {
    const { kernel, stage, last } = start();
    const with_ = (bytes: Buffer, at: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy[at] = value;
      return copy;
    };
    const one = payload(origin, 1, 1, set('k', 'value'));
    const body = commit([['k', 0]], set('k', 'value'));
    const bad: [string, Buffer][] = [
      ['a payload that is too short', one.subarray(0, 39)],
      ['a reserved field of the payload', with_(one, 36, 1)],
      ['a reserved field of an operation', with_(one, 42, 1)],
      ['too few commands', payload(origin, 1, 2, set('k', 'v'))],
      ['too many commands', payload(origin, 1, 0, set('k', 'v'))],
      ['an unknown code', payload(origin, 1, 1, operation(7, 'k'))],
      ['PERSIST with a value', payload(origin, 1, 1, operation(Code.persist, 'k', 'v'))],
      ['too many PERSISTs', payload(origin, 1, 65, ...Array(65).fill(persist('k')))],
      ['TTL and KEEP', payload(origin, 1, 1, setFor('k', 'v', 5, Flag.keep))],
      ['a time to live of 0', payload(origin, 1, 1, setFor('k', 'v', 0))],
      ['a time to live above the largest', payload(origin, 1, 1, setFor('k', 'v', 10_000_000_000_001))],
      ['a time to live that is cut', payload(origin, 1, 1, setFor('k', 'v', 5).subarray(0, -4))],
      ['TTL without a time', payload(origin, 1, 1, set('k', 'v', Flag.ttl))],
      ['TTL on DEL', payload(origin, 1, 1, operation(Code.del, 'k', '', Flag.ttl), Buffer.alloc(8, 1))],
      ['code 0', payload(origin, 1, 1, operation(0, 'k'))],
      ['GET', payload(origin, 1, 1, get('k'))],
      ['NX and XX', payload(origin, 1, 1, set('k', 'v', 3))],
      ['MORE on SET', payload(origin, 1, 1, set('k', 'v', 4))],
      ['a flag on INCR', with_(payload(origin, 1, 1, incr('k', 1n)), 41, 1)],
      ['DEL with a value', payload(origin, 1, 1, operation(Code.del, 'k', 'v'))],
      ['MORE at the end', payload(origin, 1, 0, operation(Code.del, 'k', '', 4))],
      ['MORE before a SET', payload(origin, 1, 1, operation(Code.del, 'k', '', 4), set('k', 'v'))],
      ['INCR by seven bytes', payload(origin, 1, 1, operation(Code.incr, 'k', '1234567'))],
      ['CAS without a length', payload(origin, 1, 1, operation(Code.cas, 'k', 'abc'))],
      ['CAS that expects too much', payload(origin, 1, 1, operation(Code.cas, 'k', '\x04\0\0\0abc'))],
      ['a key that is cut', with_(one, 44, 200)],
      ['a value that is cut', with_(one, 48, 200)],
      ['lengths whose sum wraps round', with_(with_(one, 47, 255), 51, 255)],
      ['bytes after the last operation', Buffer.concat([one, Buffer.alloc(4)])],
      ['a COMMIT whose checks are cut', payload(origin, 1, 1, with_(body, 4, 3))],
      ['a COMMIT with countless checks', payload(origin, 1, 1, with_(body, 7, 255))],
      ['a COMMIT whose body is cut', payload(origin, 1, 1, with_(body, 8, body[8]! + 4))],
      ['a COMMIT whose body is no multiple of 4', payload(origin, 1, 1, with_(body, 8, body[8]! - 1))],
      ['a COMMIT with INCR', payload(origin, 1, 1, commit([], incr('k', 1n)))],
      ['a COMMIT with PERSIST', payload(origin, 1, 1, commit([], persist('k')))],
      ['a COMMIT with XX and TTL', payload(origin, 1, 1, commit([], setFor('k', 'v', 5, Flag.xx)))],
      ['a COMMIT with NX', payload(origin, 1, 1, commit([], set('k', 'v', 1)))],
      ['a COMMIT in a COMMIT', payload(origin, 1, 1, commit([], commit([], set('k', 'v'))))],
      ['an operation that leaves the COMMIT', payload(origin, 1, 2, with_(body, 8, body[8]! - 4))],
    ];
    for (const [why, bytes] of bad) {
      stage(EntryType.data, bytes);
      expect(kernel.applyAll().outcome, why).toBe(Outcome.done);
      expect(kernel.stats(), why).toMatchObject({ revision: 0, keys: 0, logical: 0, hash: 0n, applied: last() });
    }
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(3),
      Buffer.from([1, 0, 0, 0]),
      config(5).subarray(0, 24),
      with_(config(5), 4, 6),
      with_(config(5), 12, 1),
      Buffer.concat([config(5), Buffer.alloc(4)]),
    ]) {
      stage(EntryType.config, bytes);
      kernel.applyAll();
      expect(kernel.stats()).toMatchObject({ revision: 0, limit: 0, applied: last() });
    }
    stage(EntryType.noop, Buffer.from('anything'));
    stage(99, Buffer.from('anything'));
    stage(EntryType.config, config());
    stage(EntryType.data, one);
    kernel.applyAll();
    expect(kernel.stats()).toMatchObject({ revision: 2, keys: 1, applied: last() });
  });

  test('no payload whatsoever can make apply fail or change what it must not', () => {
    const { kernel, stage, last } = start();
    const good = [
      set('k', 'value'),
      del('a', 'b'),
      incr('n', 1n),
      cas('k', 'value', 'w'),
      commit([['k', 1]], set('k', 'x'), del('a')),
      session(),
      session(3),
      seq(3, 1),
      incr('n', 1n),
      seq(3, 2, 1),
      commit([['k', 1]], set('k', 'x')),
      seq(3, 3),
      fence(),
    ];
    const valid = Buffer.concat(good);
    const mutated = fc
      .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((changes) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    let sequence = 1;
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 120 }), mutated),
        fc.nat(12),
        fc.nat(2),
        (bytes, commands, type) => {
          stage(type, payload(origin, sequence, commands, Buffer.from(bytes)));
          expect(kernel.applyAll().outcome).toBe(Outcome.done);
          const stats = kernel.stats();
          expect(stats.applied).toBe(last());
          expect(stats.keys).toBe(kernel.scan(kernel.published).length);
          sequence = stats.commands > 0 && stats.hash !== 0n ? sequenceOf(kernel) + 1 : sequence;
          expect(kernel.run(Buffer.from(bytes)).outcome).toBeOneOf([Run.done, Run.malformed]);
        },
      ),
      { numRuns: build === 'test-release' ? 3000 : 500 },
    );
    kernel.run(del(...kernel.scan(kernel.published).map(([key]) => key), 'end'));
    expect(kernel.stats().keys).toBe(0);
    // The sessions that it began run out, 1,024 an entry; what is left is the origin's record.
    for (let i = 1; i <= 12; i++) {
      expect(kernel.stage(record(last() + i, EntryType.noop, Buffer.alloc(0), 10_000_000))).toBe(true);
      expect(kernel.applyAll().outcome).toBe(Outcome.done);
    }
    expect(kernel.records).toBeLessThanOrEqual(1);
  });

  function sequenceOf(kernel: TestKernel): number {
    const key = Buffer.from(`o${'origin'.padEnd(16, '.')}`, 'latin1');
    const found = kernel.call('test_findCurrent', kernel.put(key), key.length, 1) >>> 0;
    if (found === 0) return 0;
    const at = kernel.call('test_recValue', found) >>> 0;
    return new DataView(kernel.kernel.u8.slice(at, at + 16).buffer).getUint32(8, true);
  }

  test('a large entry goes in slices, and nothing of it is seen before it is whole', () => {
    const { kernel, stage } = start();
    const count = 20_000;
    const keys = Array.from({ length: count }, (_, i) => `key ${i}`);
    stage(EntryType.data, payload(origin, 1, 1, set('before', 'it')));
    stage(
      EntryType.data,
      payload(
        origin,
        2,
        1,
        commit(
          keys.map((key) => [key, 0] as const),
          ...keys.map((key) => set(key, key)),
        ),
      ),
    );
    stage(EntryType.data, payload(origin, 3, count, ...keys.map((key) => set(key, 'again'))));
    let slices = 0;
    const seen = new Set<number>();
    while (kernel.call('apply') === Outcome.more) {
      slices++;
      seen.add(kernel.stats().applied);
      expect(kernel.getAt('key 5', kernel.published)).toBe(
        [undefined, undefined, 'key 5', 'again'][kernel.stats().applied],
      );
    }
    expect(slices).toBeGreaterThan(20);
    expect([...seen]).toEqual(expect.arrayContaining([1, 2]));
    expect(kernel.stats()).toMatchObject({
      applied: 3,
      keys: count + 1,
      revision: 5 + count,
      checked: count,
      commands: count + 2,
    });
    expect(kernel.scan(kernel.published)).toHaveLength(count + 1);
    expect(kernel.records).toBe(count + 2);
  });

  test('a node without memory for the next entry stops before it with nothing changed', () => {
    const kernel = new TestKernel(build, 3, 1900);
    const big = 'x'.repeat(1_000_000);
    let outcome = Outcome.done;
    let index = 0;
    let before = kernel.stats();
    while (outcome === Outcome.done && index < 40) {
      before = kernel.stats();
      index++;
      expect(
        kernel.stage(
          record(
            index,
            EntryType.data,
            payload(origin, index, 2, set(`small ${index}`, 's'), set(`key ${index}`, big)),
          ),
        ),
      ).toBe(true);
      outcome = kernel.applyAll().outcome;
    }
    expect(outcome).toBe(Outcome.noMemory);
    expect(index).toBeGreaterThan(3);
    expect(kernel.stats()).toMatchObject({
      applied: before.applied,
      revision: before.revision,
      hash: before.hash,
      keys: before.keys,
    });
    expect(kernel.getCurrent(`small ${index}`)).toBeUndefined();
    expect(kernel.call('apply')).toBe(Outcome.noMemory);
    expect(kernel.run(set('other', big)).outcome).toBe(Run.noMemory);
    // What is deleted makes room, and the node could go on.
    expect(kernel.run(del(...Array.from({ length: index }, (_, i) => `key ${i}`))).outcome).toBe(Run.done);
    expect(kernel.applyAll().outcome).toBe(Outcome.done);
    expect(kernel.getCurrent(`small ${index}`)).toBe('s');
  });

  test('entries full of sequences have the memory for their notes made sure, or are not begun', () => {
    const long = 'k'.repeat(100);
    let begun = 0;
    // From much room to less and less.
    for (let fillers = 20; fillers <= 140; fillers += 4) {
      const kernel = new TestKernel(build, 3, 2_600);
      let index = 0;
      const apply = (commands: number, ...operations: Buffer[]) => {
        index++;
        expect(kernel.stage(record(index, EntryType.data, payload(origin, index, commands, ...operations)))).toBe(true);
        return kernel.applyAll().outcome;
      };
      let outcome = apply(1, session());
      for (let i = 0; i < fillers && outcome === Outcome.done; i++)
        outcome = apply(1, set(`${i}`, 'x'.repeat(400_000)));
      let sequence = 0;
      for (let round = 0; round < 2 && outcome === Outcome.done; round++) {
        const operations = Array.from({ length: 1_024 }, () => {
          sequence++;
          return Buffer.concat([seq(2, sequence, Math.max(1, sequence - 255)), commit([[long, 9]])]);
        });
        outcome = apply(1_024, ...operations);
        if (outcome === Outcome.done) begun++;
      }
    }
    expect(begun).toBeGreaterThan(5);
    expect(begun).toBeLessThan(60);
  });

  test('the state hash is noted at every index that divides by 1,024, also inside a batch', () => {
    const { kernel, stage } = start();
    let expected = 0n;
    for (let i = 1; i <= 2500; i++) {
      stage(EntryType.data, payload(origin, i, 1, set(`key ${i % 7}`, `${i}`)));
      if (i % 1024 === 0 || i % 300 === 0) {
        if (i % 1024 !== 0) stageRest(kernel);
        else {
          kernel.applyAll();
          expected = kernel.stats().hash;
          expect(kernel.stats()).toMatchObject({ checkpoint: i, checkpointHash: expected });
        }
      }
    }
    kernel.applyAll();
    expect(kernel.stats()).toMatchObject({ applied: 2500, checkpoint: 2048, checkpointHash: expected });
    const again = start();
    for (let i = 1; i <= 2500; i++) again.stage(EntryType.data, payload(origin, i, 1, set(`key ${i % 7}`, `${i}`)));
    again.kernel.applyAll();
    expect(again.kernel.stats()).toMatchObject({
      checkpoint: 2048,
      checkpointHash: expected,
      hash: kernel.stats().hash,
    });
  });

  function stageRest(kernel: TestKernel): void {
    expect(kernel.applyAll().outcome).toBe(Outcome.done);
  }

  test('a record that does not follow the one before, or whose header lies, is refused when it is staged', () => {
    const kernel = new TestKernel(build);
    expect(() => kernel.stage(record(2, EntryType.noop, Buffer.alloc(0)))).toThrow(/bad header/);
    const wrong = record(1, EntryType.noop, Buffer.alloc(8));
    expect(() => kernel.stage(wrong.subarray(0, 68))).toThrow(/bad header/);
    wrong[0] = 0;
    expect(() => kernel.stage(wrong)).toThrow(/bad header/);
    expect(kernel.stage(record(1, EntryType.noop, Buffer.alloc(0)))).toBe(true);
    expect(kernel.applyAll().outcome).toBe(Outcome.done);
    expect(kernel.stats().applied).toBe(1);
  });

  test('staging says when there is no room, and has room again after apply', () => {
    const { kernel, stage, last } = start();
    const body = payload(origin, 1, 1, set('k', 'x'.repeat(1_000_000)));
    for (let i = 0; i < 31; i++) stage(EntryType.data, body);
    const next = record(last() + 1, EntryType.data, payload(origin, 1, 1, set('k', 'x'.repeat(3_000_000))));
    expect(kernel.stage(next)).toBe(false);
    kernel.applyAll();
    expect(kernel.stage(next)).toBe(true);
  });
});
