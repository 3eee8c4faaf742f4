/** Words, quotes, escapes, strings on the way out, and what a line without a command gets. */
import { describe, expect, test } from 'vitest';
import type { MakeHarness } from './contract.js';
import { bytesOf } from './harness.js';

/** Latin1 text of a string in UTF-8. */
const utf8 = (text: string) => Buffer.from(text).toString('latin1');

/** What a word of one line becomes: set, then read back out of the store's records. */
function wordOf(make: MakeHarness, word: string): string {
  const h = make();
  const c = h.open();
  expect(h.send(c, `SET k ${word}\n`)).toBe('OK\n');
  const [record] = h.store.dump();
  return Buffer.from(record!.value).toString('latin1');
}

function echo(make: MakeHarness, lines: string): string {
  const h = make();
  return h.send(h.open(), lines);
}

export function protocolContract(make: MakeHarness): void {
  describe('words', () => wordTests(make));
  describe('strings on the way out', () => stringTests(make));
  describe('lines without a command', () => lineTests(make));
}

function wordTests(make: MakeHarness): void {
  test('blanks are spaces and tabs, any number of them, also around the line', () => {
    expect(echo(make, ' \t SET \t\t a   b\t \nGET\ta\n')).toBe('OK\n"b"\n');
  });

  test('one carriage return before the newline is not part of the line, a second one is', () => {
    expect(echo(make, 'SET a b\r\nGET a\r\r\nGET a\r\n')).toBe('OK\n(nil)\n"b"\n');
  });

  test('a quote inside a bare word is itself', () => {
    expect(wordOf(make, 'a"b"')).toBe('a"b"');
    expect(wordOf(make, 'a\\n')).toBe('a\\n');
  });

  test.each([
    ['""', ''],
    ['"a b\tc"', 'a b\tc'],
    ['"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'],
    ['"\\u0041\\u00e9\\u20AC"', utf8('Aé€')],
    ['"\\u0000\\u007f\\u0080\\u07ff\\u0800\\uffff"', utf8('\u0000\u007f\u0080\u07ff\u0800\uffff')],
    ['"\\ud83d\\ude00"', utf8('😀')],
    ['"\\udbff\\udfff\\ud800\\udc00"', utf8('\u{10ffff}\u{10000}')],
    ['"\\ud800\\udc80"', utf8('\u{10080}')],
    ['"x\\udc80\\udcFFy"', 'x\x80\xffy'],
    ['"\\udcc3\\udca9"', '\xc3\xa9'],
  ])('the word %s is resolved', (word, bytes) => {
    expect(wordOf(make, word)).toBe(bytes);
  });

  test('every byte stands for itself in a bare word, but blanks and the newline', () => {
    const bytes = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('');
    const word = `x${bytes.replace(/[ \t\n\r]/g, '')}`;
    expect(wordOf(make, word)).toBe(word);
  });

  test('a carriage return inside a line is an ordinary byte', () => {
    expect(wordOf(make, 'a\rb')).toBe('a\rb');
  });

  test.each(['SET a "b', 'SET "a b', 'SET a "b\\', 'SET a "b\\"', '"'])('%s is an unterminated quote', (line) => {
    expect(echo(make, `${line}\nPING\n`)).toBe(
      'ERR syntax a word that begins with a double quote must end with one\nPONG\n',
    );
  });

  test.each(['SET a "b"c', 'SET "a"b c', '"PING"x', 'SET a "b""c"'])('%s has text after a quote', (line) => {
    expect(echo(make, `${line}\nPING\n`)).toBe(
      'ERR syntax a closing quote must be followed by a blank or the end of the line\nPONG\n',
    );
  });

  test.each([
    '\\x',
    '\\U0041',
    '\\u',
    '\\u00',
    '\\u00g0',
    '\\u+123',
    '\\u 123',
    '\\ud800',
    '\\ud800x',
    '\\ud800\\n',
    '\\ud800\\u0041',
    '\\ud800\\ud800',
    '\\udc00',
    '\\udc7f',
    '\\udd00',
    '\\udfff',
    "\\'",
    '\\0',
    '\\ ',
  ])('%s is a bad escape', (sequence) => {
    expect(echo(make, `SET a "b${sequence}c"\nPING\n`)).toBe(
      'ERR syntax bad escape in a quoted word; use \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX\nPONG\n',
    );
  });

  test('of several bad words the first one is told, before anything else that is wrong', () => {
    expect(echo(make, 'nonsense "a"b "\\x"\n')).toMatch(/^ERR syntax a closing quote/);
    expect(echo(make, 'nonsense "\\x"b "c\n')).toMatch(/^ERR syntax bad escape/);
    expect(echo(make, 'PING "\\x\n')).toMatch(/^ERR syntax bad escape/);
    expect(echo(make, 'PING "a" "b\n')).toMatch(/^ERR syntax a word that begins/);
  });

  test('command names and options may be in lower case and in quotes', () => {
    expect(echo(make, 'ping\npInG\n"PING"\nset a b nX\n"set" a c "Xx"\nget a\nkeys "" limit 1\n')).toBe(
      'PONG\nPONG\nPONG\nOK\nOK\n"c"\n["a"]\n',
    );
  });

  test('bytes that look like letters of another script are not letters of a command', () => {
    expect(echo(make, 'p\xeeng\n')).toBe('ERR syntax unknown command "p\\udceeng"; HELP lists the commands\n');
  });
}

function stringTests(make: MakeHarness): void {
  const out = (value: string) => {
    const h = make();
    const c = h.open();
    const escaped = Array.from(value, (char) => `\\udc${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
    const word = Array.from(value, (char, i) => (char.charCodeAt(0) < 0x80 ? asciiWord(char) : escaped[i]!)).join('');
    expect(h.send(c, `SET k "${word}"\n`)).toBe('OK\n');
    return h.send(c, 'GET k\n').slice(0, -1);
  };

  test('control characters, quotes and backslashes are escaped, all other ASCII is not', () => {
    expect(out('\b\f\n\r\t"\\')).toBe('"\\b\\f\\n\\r\\t\\"\\\\"');
    expect(out('\x00\x01\x0b\x1f\x7f')).toBe('"\\u0000\\u0001\\u000b\\u001f\x7f"');
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
    expect(out(printable)).toBe(`"${printable.replace(/["\\]/g, '\\$&')}"`);
  });

  test.each([
    ['é', '\xc3\xa9'],
    ['€', '\xe2\x82\xac'],
    ['😀', '\xf0\x9f\x98\x80'],
    ['the lowest and highest of each length', utf8('\u0080\u07ff\u0800\ud7ff\ue000\uffff\u{10000}\u{10ffff}')],
  ])('well-formed UTF-8 stays as it is: %s', (_, bytes) => {
    expect(out(bytes)).toBe(`"${bytes}"`);
  });

  test.each([
    ['a lone continuation', '\x80', '\\udc80'],
    ['an overlong sequence of two', '\xc0\xaf', '\\udcc0\\udcaf'],
    ['an overlong sequence of three', '\xe0\x9f\xbf', '\\udce0\\udc9f\\udcbf'],
    ['an overlong sequence of four', '\xf0\x8f\xbf\xbf', '\\udcf0\\udc8f\\udcbf\\udcbf'],
    ['a surrogate', '\xed\xa0\x80', '\\udced\\udca0\\udc80'],
    ['above U+10FFFF', '\xf4\x90\x80\x80', '\\udcf4\\udc90\\udc80\\udc80'],
    ['bytes that never occur', '\xf5\xfe\xff', '\\udcf5\\udcfe\\udcff'],
    ['a cut sequence at the end', 'a\xe2\x82', 'a\\udce2\\udc82'],
    ['a cut sequence before another one', '\xe2\x82\xc3\xa9', '\\udce2\\udc82\xc3\xa9'],
    ['a first byte before ASCII', '\xc3A', '\\udcc3A'],
    ['a first byte before a control character', '\xf0\x9f\n', '\\udcf0\\udc9f\\n'],
  ])('%s is escaped byte by byte', (_, bytes, text) => {
    expect(out(bytes)).toBe(`"${text}"`);
  });

  test('every byte string comes back as it went in, also out of the reply that shows it', () => {
    const h = make();
    const c = h.open();
    let state = 12_345;
    for (let round = 0; round < 200; round++) {
      const bytes = Array.from({ length: round % 40 }, () => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        return state >>> 24;
      });
      const word = bytes.map((byte) => `\\u${(byte < 0x80 ? byte : 0xdc00 + byte).toString(16).padStart(4, '0')}`);
      h.send(c, `SET k "${word.join('')}"\n`);
      const shown = h.send(c, 'GET k\n').slice(0, -1);
      expect(Array.from(h.store.dump()[0]!.value)).toEqual(bytes);
      expect(() => JSON.parse(Buffer.from(shown, 'latin1').toString())).not.toThrow();
      expect(h.send(c, `SET k ${shown}\n`)).toBe('OK\n');
      expect(Array.from(h.store.dump()[0]!.value)).toEqual(bytes);
    }
  });
}

function asciiWord(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function lineTests(make: MakeHarness): void {
  test('an empty line and one of blanks are errors', () => {
    const error = 'ERR syntax empty line; a line is one command, HELP lists them\n';
    expect(echo(make, '\n\r\n \t \nPING\n')).toBe(`${error.repeat(3)}PONG\n`);
  });

  test('an unknown command is named as a string of its first 64 bytes', () => {
    const unknown = (shown: string) => `ERR syntax unknown command ${shown}; HELP lists the commands\n`;
    expect(echo(make, 'FOO a b\n')).toBe(unknown('"FOO"'));
    expect(echo(make, '"a\\nb\\udcff"\n')).toBe(unknown('"a\\nb\\udcff"'));
    expect(echo(make, `${'x'.repeat(64)}\n`)).toBe(unknown(`"${'x'.repeat(64)}"`));
    expect(echo(make, `${'x'.repeat(65)}\n`)).toBe(unknown(`"${'x'.repeat(64)}..."`));
    expect(echo(make, `${'x'.repeat(63)}\xc3\xa9y\n`)).toBe(unknown(`"${'x'.repeat(63)}\\udcc3..."`));
    expect(echo(make, `"${'\\u0041'.repeat(65)}"\n`)).toBe(unknown(`"${'A'.repeat(64)}..."`));
    expect(echo(make, '""\n')).toBe(unknown('""'));
  });

  test('a wrong number of arguments is answered with the usage, whatever the arguments are', () => {
    const usage = (text: string) => `ERR syntax usage: ${text}\n`;
    const input =
      'PING x\nSET\nSET a\nSET a b NX EX 5 c\nGET\nGET a STALE b\nDEL\nEXISTS\nMGET\nINCR\nINCR a 1 2\nCAS a b\nCAS a b c d\nTTL\nTTL a b\nPTTL\nPERSIST\nPERSIST a b\n';
    const replies = [
      'PING',
      ...Array(3).fill('SET key value [EX s|PX ms] [NX|XX]'),
      'GET key [STALE]',
      'GET key [STALE]',
      'DEL key [key ...]',
    ];
    replies.push('EXISTS key [key ...]', 'MGET key [key ...]', 'INCR key [by]', 'INCR key [by]');
    replies.push('CAS key expected new', 'CAS key expected new');
    replies.push('TTL key', 'TTL key', 'PTTL key', 'PERSIST key', 'PERSIST key');
    expect(echo(make, input)).toBe(replies.map(usage).join(''));
    expect(
      echo(make, 'KEYS a LIMIT 1 2\nCOUNT x\nBEGIN x\nCOMMIT x\nROLLBACK x\nSTATUS x\nMEMBERS x\nHELP a b\nQUIT x\n'),
    ).toBe(
      ['KEYS [prefix] [LIMIT n]', 'COUNT', 'BEGIN', 'COMMIT', 'ROLLBACK', 'STATUS', 'MEMBERS', 'HELP [command]', 'QUIT']
        .map(usage)
        .join(''),
    );
  });

  test('input may be cut anywhere', () => {
    const input = 'SET "a b" "\\u00e9"\r\nGET "a b"\n\nMGET x "a b"\nnonsense\n';
    const whole = echo(make, input);
    for (let cut = 0; cut <= input.length; cut++) {
      const h = make();
      const c = h.open();
      const first = h.send(c, input.slice(0, cut));
      expect(first + h.send(c, input.slice(cut))).toBe(whole);
    }
    const h = make();
    const c = h.open();
    expect(Array.from(bytesOf(input), (byte) => h.send(c, Uint8Array.of(byte))).join('')).toBe(whole);
  });
}
