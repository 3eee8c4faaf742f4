/** How the kernel takes input in: cut anywhere, hostile, long, and much of it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WasmStore } from '../../src/store/wasm-store.js';
import { bytesOf, Harness, testOptions } from './harness.js';

const builds = ['debug', 'release'] as const;
const limits = { maxKey: 24, maxValue: 40, maxLine: 120, maxReply: 400, maxTransaction: 300, maxEntry: 400 };

function harness(build: (typeof builds)[number], options = {}): Harness {
  return new Harness(new WasmStore({ ...testOptions(), ...options }, build));
}

/** Every command, every error of a line, quotes and escapes, both ends of a line, a transaction. */
const script = [
  'SET a 1\r',
  'set "k\\u00e9y" "v \\"\\udcff\\" \\ud83d\\ude00" nx',
  'GET "k\\u00e9y"',
  'INCR a 41',
  'CAS a 42 "forty two"',
  '\t MGET  a\tb "c d" \r',
  'EXISTS a a b',
  'DEL a b a',
  '',
  'nonsense',
  'SET a',
  'GET "open',
  'GET "x"y',
  'GET "\\q"',
  'SET a b ZZ',
  'INCR a x',
  'KEYS a LIMIT 0',
  `GET ${'k'.repeat(25)}`,
  'BEGIN',
  'SET t 1',
  'INCR t',
  'GET t',
  'KEYS',
  'COMMIT',
  'KEYS LIMIT 5',
  'COUNT',
  'STATUS',
  'PING',
  'HELP GET',
  'ROLLBACK',
].join('\n');

describe.each(builds)('input to the %s kernel', (build) => {
  const whole = `${script}\n`;
  const expected = (() => {
    const h = harness(build, { limits });
    return h.send(h.open(), whole);
  })();

  test('gives one reply a line', () => {
    expect(expected.match(/\n/g)?.length).toBe(whole.match(/\n/g)?.length);
  });

  test('may come byte by byte', () => {
    const h = harness(build, { limits });
    const c = h.open();
    let replies = '';
    for (const byte of bytesOf(whole)) replies += h.send(c, Uint8Array.of(byte));
    expect(replies).toBe(expected);
  });

  test('may be split at every position, parsed between the parts or not', () => {
    for (let at = 1; at < whole.length; at++) {
      const h = harness(build, { limits });
      const c = h.open();
      h.feed(c, whole.slice(0, at));
      if (at % 2 === 0) h.ingest();
      expect(h.send(c, whole.slice(at)), `split at ${at}`).toBe(expected);
      h.store.close(c);
    }
  }, 60_000);

  test('of many connections may be mixed in any order', () => {
    const h = harness(build, { limits: { ...limits, maxEntry: 1_000_000 } });
    const line = (c: number, i: number) => `SET k${c} ${i}\nGET k${c}\n`;
    const clients = Array.from({ length: 40 }, () => h.open());
    for (let i = 0; i < 30; i++) {
      for (const c of clients) {
        const text = line(c, i);
        const at = (i * 7 + c) % text.length;
        h.feed(c, text.slice(0, at));
        h.feed(c, text.slice(at));
      }
      if (i % 3 === 0) h.ingest();
    }
    h.run();
    const replies = Array.from({ length: 30 }, (_, i) => `OK\n"${i}"\n`).join('');
    for (const c of clients) expect(h.take(c)).toBe(replies);
  });

  test('of any bytes never stops the kernel, and each line gets one reply', () => {
    const word = fc.oneof(
      fc.constantFrom(
        'SET',
        'GET',
        'DEL',
        'MGET',
        'INCR',
        'CAS',
        'KEYS',
        'LIMIT',
        'BEGIN',
        'COMMIT',
        'NX',
        '"',
        '"\\u',
        '\\',
        '"\\ud8',
      ),
      fc.constantFrom('a', 'b', '-1', '9223372036854775807', '"\\udc80"', '""', 'x'.repeat(30)),
      fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    );
    const line = fc.array(word, { maxLength: 6 }).map((words) => words.join(' ').replaceAll('\n', ''));
    const lines = fc.array(line, { minLength: 1, maxLength: 25 });
    const cuts = fc.array(fc.nat(400), { maxLength: 6 });
    fc.assert(
      fc.property(lines, cuts, (all, places) => {
        const h = harness(build, { limits: { ...limits, maxLine: 8192 } });
        const c = h.open();
        const text = `${all.join('\n')}\n`;
        const ends = [...new Set([0, ...places.filter((at) => at < text.length), text.length])].sort((a, b) => a - b);
        ends.slice(1).forEach((end, i) => {
          h.feed(c, text.slice(ends[i]!, end));
          if (end % 3 === 0) h.ingest();
        });
        h.run();
        expect(h.take(c).match(/\n/g)?.length).toBe(all.length);
        h.store.close(c);
        h.run();
        expect(h.store.stats().transactions).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  test('of a long line in small chunks costs no more than its length', () => {
    const h = harness(build);
    const c = h.open();
    /** Processor time of a line of so many bytes, fed 64 at a time. */
    const cost = (bytes: number): number => {
      const line = bytesOf(`SET long ${'x'.repeat(bytes)}\n`);
      const start = process.cpuUsage();
      for (let at = 0; at < line.length; at += 64) {
        h.store.feed(c, line.subarray(at, at + 64));
        h.store.ingest(1);
      }
      const used = process.cpuUsage(start);
      h.run();
      expect(h.take(c)).toBe('OK\n');
      return used.user + used.system;
    };
    cost(100_000);
    const short = Math.min(cost(60_000), cost(60_000), cost(60_000));
    const long = Math.min(cost(960_000), cost(960_000), cost(960_000));
    expect(long / short).toBeLessThan(16 * 4);
  });

  test('that is fed beyond the staging region is parsed at once', () => {
    const h = harness(build);
    const c = h.open();
    const lines = `SET a ${'v'.repeat(1_000)}\n`.repeat(9_000);
    h.feed(c, lines);
    expect(h.store.openCommands).toBeGreaterThan(0);
    h.run();
    expect(h.take(c)).toBe('OK\n'.repeat(9_000));
  });

  test('of a DEL that no entry can hold is refused, and leaves the open entry as it was', () => {
    const h = harness(build);
    const [c, o] = [h.open(), h.open()];
    h.feed(o, 'SET a 1\n');
    h.ingest();
    const before = [h.store.openCommands, h.store.openBytes];
    h.feed(c, `DEL${' a'.repeat(3_000_000)}\n`);
    h.ingest();
    expect([h.store.openCommands, h.store.openBytes]).toEqual(before);
    expect(h.take(c)).toMatch(/^ERR too-large /);
    expect(h.send(c, 'EXISTS a\n')).toBe('(integer) 1\n');
  });

  test('that fails leaves the open entry as it was', () => {
    const h = harness(build, { limits });
    const [c, o] = [h.open(), h.open()];
    h.feed(o, 'SET a 1\n');
    h.ingest();
    const before = [h.store.openCommands, h.store.openBytes];
    const long = 'x'.repeat(41);
    const bad = [
      `SET a ${long}`,
      `CAS a ${long} b`,
      `CAS a b ${long}`,
      `DEL a ${long}`,
      `SET a b NO`,
      `INCR a 1.5`,
      'CAS a b',
    ];
    h.feed(c, bad.map((line) => `${line}\n`).join(''));
    h.ingest();
    expect([h.store.openCommands, h.store.openBytes]).toEqual(before);
    expect(h.take(c).match(/ERR/g)?.length).toBe(bad.length);
    h.run();
    expect(h.take(o)).toBe('OK\n');
  });
});
