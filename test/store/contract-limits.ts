/** Limits: lengths of keys, values, lines and replies, and the replicated limit of memory. */
import { describe, expect, test } from 'vitest';
import { MOST_RECORD_BYTES, StoreEvent } from '../../src/store/store.js';
import type { MakeHarness } from './contract.js';
import type { Harness } from './harness.js';
import { cas, commit, dataPayload, del, incr, peer, referenceSize, set } from './payloads.js';

const outOfMemory = 'ERR out-of-memory the memory limit is reached; delete keys first\n';

export function limitContract(make: MakeHarness): void {
  describe('lengths', () => lengthTests(make));
  describe('long lines and replies', () => lineTests(make));
  describe('large output', () => largeOutputTests(make));
  describe('logical bytes', () => logicalTests(make));
  describe('the memory limit', () => memoryTests(make));
}

function lengthTests(make: MakeHarness): void {
  test('keys and values are limited, exactly, in the order of the arguments', () => {
    const h = make({ limits: { maxKey: 10, maxValue: 20 } });
    const c = h.open();
    const [key, longKey, value, longValue] = ['k'.repeat(10), 'k'.repeat(11), 'v'.repeat(20), 'v'.repeat(21)];
    const keyError = 'ERR too-large key of 11 bytes; the limit is 10\n';
    const valueError = 'ERR too-large value of 21 bytes; the limit is 20\n';
    expect(h.send(c, `SET ${key} ${value}\nGET ${key}\n`)).toBe(`OK\n"${value}"\n`);
    for (const command of ['GET', 'DEL', 'EXISTS', 'MGET', 'INCR'])
      expect(h.send(c, `${command} ${longKey}\n`)).toBe(keyError);
    expect(h.send(c, `DEL a ${longKey} b\nMGET a b ${longKey}\nEXISTS ${longKey} ${longKey}x\n`)).toBe(
      keyError.repeat(3),
    );
    expect(h.send(c, `SET ${longKey} ${longValue}\nSET a ${longValue}\n`)).toBe(keyError + valueError);
    expect(h.send(c, `CAS ${longKey} ${longValue} b\nCAS a ${longValue} ${longValue}x\nCAS a b ${longValue}\n`)).toBe(
      keyError + valueError + valueError,
    );
    expect(h.send(c, `SET ${longKey} a FOO\nINCR ${longKey} x\n`)).toBe(
      'ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not "FOO"\nERR not-an-integer INCR takes a 64-bit integer, not "x"\n',
    );
    expect(h.send(c, `BEGIN\nGET ${longKey}\nSET a ${longValue}\nCOMMIT\n`)).toBe(`OK\n${keyError}${valueError}OK\n`);
    expect(h.store.stats().counters.applied).toBe(1);
  });

  test('lengths are those of the bytes that escapes stand for', () => {
    const h = make({ limits: { maxKey: 4 } });
    expect(h.send(h.open(), 'SET "\\u20ac\\udcff" 1\nSET "\\u20ac\\u20ac" 1\nSET "\\ud83d\\ude00" 1\n')).toBe(
      'OK\nERR too-large key of 6 bytes; the limit is 4\nOK\n',
    );
  });

  test('the default limits are 64 KiB and 1 MiB', () => {
    const h = make();
    const c = h.open();
    expect(h.send(c, `SET ${'k'.repeat(65_536)} ${'v'.repeat(1_048_576)}\n`)).toBe('OK\n');
    expect(h.send(c, `SET ${'k'.repeat(65_537)} v\nSET k ${'v'.repeat(1_048_577)}\n`)).toBe(
      'ERR too-large key of 65537 bytes; the limit is 65536\nERR too-large value of 1048577 bytes; the limit is 1048576\n',
    );
    expect(h.send(c, `GET ${'k'.repeat(65_536)}\n`)).toBe(`"${'v'.repeat(1_048_576)}"\n`);
  });
}

function lineTests(make: MakeHarness): void {
  test('a DEL of more keys than one entry holds is refused, or no node could apply it', () => {
    const h = make();
    const c = h.open();
    expect(h.send(c, `SET a 1\nDEL ${'a '.repeat(2_500_000)}\nGET a\n`)).toMatch(/^OK\nERR too-large .*\n"1"\n$/);
    expect(h.send(c, `DEL ${'a '.repeat(1_500_000)}\nGET a\n`)).toBe('(integer) 1\n(nil)\n');
    expect(h.records.every((record) => record.length <= MOST_RECORD_BYTES)).toBe(true);
  });

  const tooLong = 'ERR too-large line of more than 100 bytes; closing the connection\n';
  const closes = (h: Harness) => h.takeEvents().filter((event) => event.kind === StoreEvent.close);
  const line = (n: number) => `SET k ${'v'.repeat(n - 6)}`;

  test('a line of just the limit is run, with either end', () => {
    const h = make({ limits: { maxLine: 100 } });
    const c = h.open();
    expect(h.send(c, `${line(100)}\n${line(100)}\r\nPING\n`)).toBe('OK\nOK\nPONG\n');
    expect(closes(h)).toEqual([]);
  });

  test.each([
    '\n',
    '\r\n',
  ])('a longer one is refused in its place, all later input is dropped, then the connection closed (%j)', (end) => {
    const h = make({ limits: { maxLine: 100 } });
    const c = h.open();
    expect(h.send(c, `SET a 1\n${line(101)}${end}SET b 1\n`)).toBe(`OK\n${tooLong}`);
    expect(closes(h)).toHaveLength(1);
    expect(h.send(c, 'SET c 1\n')).toBe('');
    expect(h.send(h.open(), 'MGET a b c k\n')).toBe('["1",null,null,null]\n');
    expect(closes(h)).toEqual([]);
  });

  test('a line that goes on and on is refused before its end comes', () => {
    const h = make({ limits: { maxLine: 100 } });
    const c = h.open();
    let output = '';
    for (let i = 0; i < 30; i++) output += h.send(c, 'xxxxxxxxxx');
    expect(output).toBe(tooLong);
    expect(closes(h)).toHaveLength(1);
  });

  test('a line of 8 MiB that comes in pieces is run', () => {
    const h = make();
    const c = h.open();
    const keys = Array.from({ length: 800_000 }, (_, i) => `k${100_000 + i}`).join(' ');
    const input = `EXISTS ${keys}\n`;
    for (let at = 0; at < input.length; at += 65_536) {
      h.feed(c, input.slice(at, at + 65_536));
      h.ingest();
    }
    h.run();
    expect(h.take(c)).toBe('(integer) 0\n');
  });

  test('the default limits of a line and a reply are 8 MiB, exactly', () => {
    const h = make();
    const [c, longer] = [h.open(), h.open()];
    const limit = 8 * 1024 ** 2;
    // A list of nine values is longer than they are by 28: quotes, commas, brackets.
    const each = Math.floor((limit - 28) / 9);
    const last = limit - 28 - 8 * each;
    const sized = { a: each, b: last, c: last + 1 };
    for (const [key, bytes] of Object.entries(sized)) h.send(c, `SET ${key} ${'v'.repeat(bytes)}\n`);
    h.discard(c);
    h.send(c, 'MGET a a a a a a a a b\n');
    expect(h.discarded(c)).toBe(limit + 1);
    const tooLong = 'ERR too-large reply of more than 8388608 bytes; ask for less at a time\n';
    h.send(c, 'MGET a a a a a a a a c\n');
    expect(h.discarded(c)).toBe(limit + 1 + tooLong.length);
    const line = (bytes: number) => `SET k "${' '.repeat(bytes - 8)}"\n`;
    expect(h.send(longer, line(limit))).toMatch(/^ERR too-large value of /);
    expect(h.send(longer, line(limit + 1))).toBe(
      'ERR too-large line of more than 8388608 bytes; closing the connection\n',
    );
  });

  test('more input than any buffer holds is parsed all the same', () => {
    const h = make();
    const c = h.open();
    const value = 'v'.repeat(1_000_000);
    for (let i = 0; i < 12; i++) h.feed(c, `SET k${i} ${value}\n`);
    h.run();
    expect(h.take(c)).toBe('OK\n'.repeat(12));
    expect(h.store.stats().keys).toBe(12);
  });

  test('a reply longer than the limit becomes an error, one of just the limit does not', () => {
    const h = make({ limits: { maxReply: 200 } });
    const c = h.open();
    const tooLongReply = 'ERR too-large reply of more than 200 bytes; ask for less at a time\n';
    h.send(
      c,
      `SET fits ${'v'.repeat(198)}\nSET long ${'v'.repeat(199)}\nSET escaped ${'\xff'.repeat(34)}\nSET b ${'v'.repeat(90)}\n`,
    );
    expect(h.send(c, 'GET fits\nGET long\nGET escaped\nMGET b\nMGET b b b\nHELP\nPING\n')).toBe(
      `"${'v'.repeat(198)}"\n${tooLongReply}${tooLongReply}["${'v'.repeat(90)}"]\n${tooLongReply.repeat(2)}PONG\n`,
    );
    expect(h.send(c, 'SET x 1\nGET long\nMGET long long\nSET x 2\n')).toBe(`OK\n${tooLongReply.repeat(2)}OK\n`);
    expect(h.send(c, 'BEGIN\nGET long\nMGET b b b\nGET b\nCOMMIT\n')).toBe(
      `OK\n${tooLongReply.repeat(2)}"${'v'.repeat(90)}"\nOK\n`,
    );
    h.send(c, `SET ${'k'.repeat(100)} 1\nSET ${'k'.repeat(101)} 1\n`);
    expect(h.send(c, 'KEYS k\nKEYS k LIMIT 1\n')).toBe(`${tooLongReply}["${'k'.repeat(100)}"]\n`);
  });

  test('a list of large values many times over is refused without being built', () => {
    const h = make();
    const c = h.open();
    h.send(c, `SET k ${'v'.repeat(1_000_000)}\n`);
    const keys = ' k'.repeat(100_000);
    expect(h.send(c, `MGET${keys}\nBEGIN\nMGET${keys}\nROLLBACK\nSET a 1\nMGET${keys}\n`)).toBe(
      ['X', 'OK', 'X', 'OK', 'OK', 'X', '']
        .map((reply) =>
          reply === 'X' ? 'ERR too-large reply of more than 8388608 bytes; ask for less at a time' : reply,
        )
        .join('\n'),
    );
  });
}

function largeOutputTests(make: MakeHarness): void {
  const value = 'v'.repeat(1_000_000);

  test('many large replies to one chunk come whole and in order, in a transaction too', () => {
    const h = make();
    const c = h.open();
    expect(h.send(c, `SET k ${value}\n`)).toBe('OK\n');
    const gets = 'GET k\n'.repeat(600);
    h.discard(c);
    h.send(c, `BEGIN\n${gets}ROLLBACK\n`);
    expect(h.discarded(c)).toBe('OK\n'.length * 2 + 600 * (value.length + 3));
  });

  test('what is parsed or read stops while much output waits to be handed out', () => {
    const h = make();
    const c = h.open();
    h.send(c, `SET k ${value}\nBEGIN\n`);
    h.feed(c, 'GET k\n'.repeat(100));
    h.store.ingest(0);
    let bytes = 0;
    h.store.drain({ output: (_slot, _bytes, start, end) => (bytes += end - start), event: () => {} });
    expect(bytes).toBeLessThan(16 * value.length);
    expect(h.store.ready).toBe(true);
  });
}

function logicalTests(make: MakeHarness): void {
  test.each([
    [1, 0],
    [8, 0],
    [9, 0],
    [100, 372],
    [100, 373],
    [10, 526],
    [10, 527],
    [10, 974],
    [10, 975],
    [10, 2_000],
    [16, 4_040],
    [16, 4_041],
    [100, 32_628],
    [100, 32_629],
    [65_536, 1_000_000],
  ])('a record with a key of %i and a value of %i bytes has its logical size', (keyLength, valueLength) => {
    const h = make();
    const base = h.store.stats().logicalBytes;
    expect(base).toBe(0);
    const origin = referenceSize(17, 16);
    h.commitPayload(dataPayload(peer, 1, 1, set('k'.repeat(keyLength), 'v'.repeat(valueLength))));
    h.applyAll();
    expect(h.store.stats().logicalBytes).toBe(origin + referenceSize(keyLength, valueLength));
    h.commitPayload(dataPayload(peer, 2, 1, del('k'.repeat(keyLength))));
    h.applyAll();
    expect(h.store.stats().logicalBytes).toBe(origin);
  });

  test('logical bytes return to the former value when all is undone, whatever was done', () => {
    const h = make();
    const c = h.open();
    h.send(c, 'SET a 1\n');
    const { logicalBytes } = h.store.stats();
    const keys = Array.from({ length: 200 }, (_, i) => `key${i}`);
    h.send(
      c,
      keys.map((key, i) => `SET ${key} ${'v'.repeat(i * 13)}\nSET ${key} ${'w'.repeat(i * 7)}\nINCR n${i}\n`).join(''),
    );
    h.send(c, `BEGIN\nDEL ${keys.join(' ')}\nSET ${keys[0]} ${'x'.repeat(1_000)}\nCOMMIT\n`);
    h.send(c, `DEL ${keys.map((_, i) => `n${i}`).join(' ')} ${keys[0]}\n`);
    expect(h.store.stats().logicalBytes).toBe(logicalBytes);
    expect(h.store.stats().keys).toBe(1);
  });
}

function memoryTests(make: MakeHarness): void {
  /** A store whose limit leaves room for just `room` more bytes. */
  const limited = (room: number) => {
    const h = make();
    const c = h.open();
    h.send(c, 'SET a 1\n');
    h.commitLimit(1);
    h.commitLimit(h.store.stats().logicalBytes + room);
    return { h, c };
  };
  const small = referenceSize(1, 1);

  test('a write that just fits is done, one more is not, and a deletion makes room', () => {
    const { h, c } = limited(2 * small);
    expect(h.send(c, 'SET b 1\nSET c 1\nSET d 1\nINCR d\nGET d\n')).toBe(`OK\nOK\n${outOfMemory.repeat(2)}(nil)\n`);
    const stats = h.store.stats();
    expect(stats.logicalBytes).toBe(stats.limitBytes);
    expect(h.send(c, 'DEL b\nSET d 1\nSET e 1\n')).toBe(`(integer) 1\nOK\n${outOfMemory}`);
  });

  test('one byte less than needed is too little', () => {
    const { h, c } = limited(small - 1);
    expect(h.send(c, 'SET b 1\nGET b\n')).toBe(`${outOfMemory}(nil)\n`);
  });

  test('a write that leaves the sum as it is or lowers it is done, also above the limit', () => {
    const { h, c } = limited(4 * small);
    h.send(c, `SET b ${'x'.repeat(60)}\nSET n 5\n`);
    h.commitLimit(10);
    expect(h.send(c, `SET b ${'y'.repeat(60)}\nSET b 2\nINCR n\nCAS b 2 3\nDEL a\n`)).toBe(
      'OK\nOK\n(integer) 6\nOK\n(integer) 1\n',
    );
    expect(h.send(c, `SET a 1\nSET b ${'y'.repeat(60)}\nCAS b 3 ${'y'.repeat(60)}\nMGET a b n\n`)).toBe(
      `${outOfMemory.repeat(3)}[null,"3","6"]\n`,
    );
  });

  test('conditions and other errors come before the lack of memory', () => {
    const { h, c } = limited(0);
    h.send(c, 'SET a x\n');
    expect(h.send(c, 'SET a 1 NX\nSET b 1 XX\nCAS b 1 2\nCAS a 1 2\nINCR a\n')).toBe(
      '(nil)\n(nil)\n(nil)\n(nil)\nERR not-an-integer the value of the key is not a 64-bit integer\n',
    );
    h.commitLimit(0);
    h.send(c, 'SET a 9223372036854775807\n');
    h.commitLimit(1);
    expect(h.send(c, 'INCR a\n')).toBe('ERR overflow the result does not fit in 64 bits; the value is unchanged\n');
  });

  test('a COMMIT is judged as a whole', () => {
    const { h, c } = limited(small);
    expect(h.send(c, 'BEGIN\nSET b 1\nSET c 1\nCOMMIT\nMGET b c\n')).toBe(`OK\nOK\nOK\n${outOfMemory}[null,null]\n`);
    expect(h.send(c, 'BEGIN\nSET b 1\nSET c 1\nDEL a\nCOMMIT\nMGET a b c\n')).toBe(
      'OK\nOK\nOK\n(integer) 1\nOK\n[null,"1","1"]\n',
    );
    expect(h.send(c, 'BEGIN\nSET d 1\nSET e 1\nSET f 1\nDEL b\nCOMMIT\nCOUNT\n')).toBe(
      `OK\nOK\nOK\nOK\n(integer) 1\n${outOfMemory}(integer) 2\n`,
    );
  });

  test('a conflict comes before the lack of memory', () => {
    const { h, c } = limited(0);
    const o = h.open();
    h.send(c, 'BEGIN\nGET a\nSET b 1\n');
    h.send(o, 'SET a 2\n');
    expect(h.send(c, 'COMMIT\n')).toBe('ERR conflict key "a" has changed since BEGIN; nothing was written\n');
  });

  test('a command without room takes no revision, and the rest of its entry goes on', () => {
    const { h } = limited(referenceSize(17, 16) + small);
    const { revision } = h.store.stats();
    const operations = [
      set('b', '1'),
      set('c', '1'),
      incr('c', 1n),
      cas('a', '1', 'x'.repeat(50)),
      commit([], set('c', '1')),
      del('b'),
      set('c', '2'),
    ];
    h.commitPayload(dataPayload(peer, 1, operations.length, ...operations));
    h.applyAll();
    expect(h.store.stats().revision).toBe(revision + 4);
    expect(h.send(h.open(), 'MGET a b c\n')).toBe('["1",null,"2"]\n');
  });

  test('records of origins are not refused', () => {
    const { h } = limited(0);
    h.commitPayload(dataPayload(peer, 1, 0));
    h.commitPayload(dataPayload(peer, 2, 1, set('a', '3')));
    h.applyAll();
    expect(h.store.stats().logicalBytes).toBeGreaterThan(h.store.stats().limitBytes);
    expect(h.send(h.open(), 'GET a\n')).toBe('"3"\n');
  });

  test('limit 0 is none, and a limit counts from its place in the log', () => {
    const { h, c } = limited(0);
    expect(h.send(c, 'SET b 1\n')).toBe(outOfMemory);
    h.commitLimit(0);
    expect(h.store.stats().limitBytes).toBe(0);
    expect(h.send(c, 'SET b 1\n')).toBe('OK\n');
    h.commitLimit(2 ** 40);
    expect(h.store.stats().limitBytes).toBe(2 ** 40);
    expect(h.send(c, 'SET c 1\n')).toBe('OK\n');
  });
}
