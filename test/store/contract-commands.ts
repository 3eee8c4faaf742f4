/** Each command outside of transactions: its replies, its errors and their order. */
import { describe, expect, test } from 'vitest';
import { commands, helpLines } from '../../src/protocol/commands.js';
import type { MakeHarness } from './contract.js';

/** One connection that sends its lines one after the other. */
function session(make: MakeHarness): (...lines: string[]) => string[] {
  const h = make();
  const c = h.open();
  return (...lines) => lines.map((line) => h.send(c, `${line}\n`).slice(0, -1));
}

const notInteger = 'ERR not-an-integer the value of the key is not a 64-bit integer';
const overflow = 'ERR overflow the result does not fit in 64 bits; the value is unchanged';

export function commandContract(make: MakeHarness): void {
  describe('commands that read and write', () => valueTests(make));
  describe('INCR and CAS', () => arithmeticTests(make));
  describe('KEYS and COUNT', () => listTests(make));
  describe('HELP, PING and the commands of the node', () => constantTests(make));
}

function valueTests(make: MakeHarness): void {
  test('SET and GET', () => {
    const send = session(make);
    expect(
      send('GET a', 'SET a b', 'GET a', 'SET a c', 'GET a', 'SET "" empty', 'GET ""', 'SET a ""', 'GET a'),
    ).toEqual(['(nil)', 'OK', '"b"', 'OK', '"c"', 'OK', '"empty"', 'OK', '""']);
  });

  test('SET with NX sets only an absent key, with XX only one that exists', () => {
    const send = session(make);
    expect(send('SET a 1 XX', 'GET a', 'SET a 2 NX', 'SET a 3 NX', 'GET a', 'SET a 4 xx', 'GET a', 'DEL a')).toEqual([
      '(nil)',
      '(nil)',
      'OK',
      '(nil)',
      '"2"',
      'OK',
      '"4"',
      '(integer) 1',
    ]);
    expect(send('SET a 5 XX', 'SET a 6 nx', 'GET a')).toEqual(['(nil)', 'OK', '"6"']);
  });

  test('another option of SET is named', () => {
    const send = session(make);
    expect(send('SET a 1 EX', 'SET a 1 ""', 'SET a 1 "N\\nX"', 'GET a')).toEqual([
      'ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not "EX"',
      'ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not ""',
      'ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not "N\\nX"',
      '(nil)',
    ]);
  });

  test('DEL counts each key once, EXISTS as often as it is named', () => {
    const send = session(make);
    send('SET a 1', 'SET b 2', 'SET c 3');
    expect(send('EXISTS a b x', 'EXISTS a a x a', 'DEL a x a b', 'EXISTS a b c', 'DEL a', 'DEL c', 'COUNT')).toEqual([
      '(integer) 2',
      '(integer) 3',
      '(integer) 2',
      '(integer) 1',
      '(integer) 0',
      '(integer) 1',
      '(integer) 0',
    ]);
  });

  test('MGET gives null for no such key, in order, without blanks', () => {
    const send = session(make);
    send('SET a "x y"', 'SET b "null"');
    expect(send('MGET a', 'MGET x', 'MGET a x b a')).toEqual(['["x y"]', '[null]', '["x y",null,"null","x y"]']);
  });

  test('commands take as many keys as fit in a line', () => {
    const send = session(make);
    const keys = Array.from({ length: 5_000 }, (_, i) => `k${i}`);
    send('SET k0 a', 'SET k4999 b', 'SET k70000 c');
    expect(send(`EXISTS ${keys.join(' ')}`)).toEqual(['(integer) 2']);
    expect(send(`MGET ${keys.join(' ')}`)).toEqual([`["a",${'null,'.repeat(4_998)}"b"]`]);
    const more = Array.from({ length: 70_000 }, (_, i) => `k${i}`);
    expect(send(`DEL ${more.join(' ')}`, 'COUNT')).toEqual(['(integer) 2', '(integer) 1']);
  });
}

function arithmeticTests(make: MakeHarness): void {
  test('INCR adds to an integer, an absent key counts as 0', () => {
    const send = session(make);
    expect(send('INCR n', 'INCR n 41', 'INCR n -43', 'GET n', 'INCR n 0', 'INCR m -7', 'INCR n 1')).toEqual([
      '(integer) 1',
      '(integer) 42',
      '(integer) -1',
      '"-1"',
      '(integer) -1',
      '(integer) -7',
      '(integer) 0',
    ]);
  });

  test('INCR reaches both ends of 64 bits, and does not go beyond', () => {
    const send = session(make);
    const [min, max] = ['-9223372036854775808', '9223372036854775807'];
    expect(send(`INCR n ${max}`, 'INCR n', 'INCR n 0', 'GET n', `INCR n ${min}`, `INCR n ${min}`, 'GET n')).toEqual([
      `(integer) ${max}`,
      overflow,
      `(integer) ${max}`,
      `"${max}"`,
      '(integer) -1',
      overflow,
      '"-1"',
    ]);
    expect(send(`INCR m ${min}`, 'INCR m -1', 'INCR m', `INCR o ${min}`, `INCR o ${max}`)).toEqual([
      `(integer) ${min}`,
      overflow,
      '(integer) -9223372036854775807',
      `(integer) ${min}`,
      '(integer) -1',
    ]);
  });

  test('INCR is exact beyond 2^53', () => {
    const send = session(make);
    expect(
      send('SET n 9007199254740993', 'INCR n', 'INCR n 9007199254740993', 'SET n 999999999999999', 'INCR n 1'),
    ).toEqual(['OK', '(integer) 9007199254740994', '(integer) 18014398509481987', 'OK', '(integer) 1000000000000000']);
    expect(send('SET n -999999999999999', 'INCR n -4503599627370496', 'INCR n -4503599627370497')).toEqual([
      'OK',
      '(integer) -5503599627370495',
      '(integer) -10007199254740992',
    ]);
  });

  test.each([
    'x',
    '',
    '-',
    '-0',
    '00',
    '01',
    '+1',
    '1.0',
    '1e3',
    ' 1',
    '0x1',
    '9223372036854775808',
    '-9223372036854775809',
    '12345678901234567890123',
  ])('"%s" is not an integer, neither as what INCR adds nor as a value', (text) => {
    const send = session(make);
    expect(send(`INCR n "${text}"`)).toEqual([`ERR not-an-integer INCR takes a 64-bit integer, not "${text}"`]);
    expect(send(`SET n "${text}"`, 'INCR n', 'GET n')).toEqual(['OK', notInteger, `"${text}"`]);
  });

  test('CAS sets a key that has the expected value', () => {
    const send = session(make);
    expect(send('CAS a x y', 'SET a x', 'CAS a x "y z"', 'CAS a x w', 'GET a', 'CAS a "y z" ""', 'CAS a "" b')).toEqual(
      ['(nil)', 'OK', 'OK', '(nil)', '"y z"', 'OK', 'OK'],
    );
    expect(send('CAS a bc d', 'CAS a "" d', 'DEL a', 'CAS a b c', 'CAS a "" c', 'GET a')).toEqual([
      '(nil)',
      '(nil)',
      '(integer) 1',
      '(nil)',
      '(nil)',
      '(nil)',
    ]);
  });
}

function listTests(make: MakeHarness): void {
  test('KEYS lists keys sorted by byte, with a prefix and a limit', () => {
    const send = session(make);
    for (const key of ['b', '"\\udcff"', 'ab', 'a', 'B', 'abc', '""', 'é', 'a\\', '"a "']) send(`SET ${key} 1`);
    expect(send('KEYS', 'KEYS a', 'KEYS ab', 'KEYS x', 'KEYS ""', 'KEYS LIMIT 3', 'KEYS a LIMIT 2')).toEqual([
      '["","B","a","a ","a\\\\","ab","abc","b","\\udce9","\\udcff"]',
      '["a","a ","a\\\\","ab","abc"]',
      '["ab","abc"]',
      '[]',
      '["","B","a","a ","a\\\\","ab","abc","b","\\udce9","\\udcff"]',
      '["","B","a"]',
      '["a","a "]',
    ]);
    expect(send('KEYS LIMIT', 'SET LIMIT 1', 'KEYS LIMIT', 'KEYS LIMIT LIMIT 1')).toEqual([
      '[]',
      'OK',
      '["LIMIT"]',
      '["LIMIT"]',
    ]);
  });

  test('KEYS lists 1,000 unless LIMIT says otherwise', () => {
    const h = make();
    const c = h.open();
    const keys = Array.from({ length: 1_500 }, (_, i) => `k${i}`);
    h.send(c, keys.map((key) => `SET ${key} 1\n`).join(''));
    const sorted = [...keys].sort();
    const list = (n: number) =>
      `[${sorted
        .slice(0, n)
        .map((key) => `"${key}"`)
        .join(',')}]\n`;
    expect(h.send(c, 'KEYS\n')).toBe(list(1_000));
    expect(h.send(c, 'KEYS LIMIT 1200\n')).toBe(list(1_200));
    expect(h.send(c, 'KEYS k LIMIT 1000000\n')).toBe(list(1_500));
    expect(h.send(c, 'KEYS "" LIMIT 1\n')).toBe(list(1));
  });

  test('what stands where LIMIT or its number should is named', () => {
    const send = session(make);
    const error = (word: string) =>
      `ERR syntax KEYS takes LIMIT and a number from 1 to 1000000 after the prefix, not "${word}"`;
    expect(send('KEYS a b', 'KEYS a 1', 'KEYS a b 1', 'KEYS LIMIT x', 'KEYS LIMIT 0', 'KEYS LIMIT 1000001')).toEqual(
      ['a', 'a', 'b', 'x', '0', '1000001'].map(error),
    );
    expect(send('KEYS a LIMIT -1', 'KEYS LIMIT 01', 'KEYS LIMIT ""', 'KEYS limit limit')).toEqual(
      ['-1', '01', '', 'limit'].map(error),
    );
  });

  test('a prefix that is longer than any key is refused like a key', () => {
    const h = make({ limits: { maxKey: 4 } });
    expect(h.send(h.open(), 'SET abcd 1\nKEYS abcde\nKEYS abcd\n')).toBe(
      'OK\nERR too-large key of 5 bytes; the limit is 4\n["abcd"]\n',
    );
  });

  test('COUNT counts all keys', () => {
    const send = session(make);
    expect(send('COUNT', 'SET a 1', 'SET b 1', 'SET a 2', 'COUNT', 'DEL b', 'COUNT')).toEqual([
      '(integer) 0',
      'OK',
      'OK',
      'OK',
      '(integer) 2',
      '(integer) 1',
      '(integer) 1',
    ]);
  });
}

function constantTests(make: MakeHarness): void {
  test('HELP lists all commands, or explains one', () => {
    const send = session(make);
    expect(JSON.parse(send('HELP')[0]!)).toEqual(helpLines());
    for (const command of commands) {
      expect(send(`HELP ${command.name}`)).toEqual([JSON.stringify(helpLines(command))]);
    }
    expect(send('HELP get')).toEqual([JSON.stringify(helpLines(commands.find((c) => c.name === 'GET')))]);
    expect(send('HELP nonsense')).toEqual(['ERR syntax unknown command "nonsense"; HELP lists the commands']);
  });

  test('STATUS, MEMBERS and QUIT are answered by the node', () => {
    const h = make();
    const c = h.open();
    expect(h.send(c, 'STATUS\nMEMBERS\nPING\nQUIT\n')).toBe('CONTROL 14\nCONTROL 15\nPONG\nCONTROL 17\n');
  });

  test('COMMIT and ROLLBACK need a BEGIN', () => {
    const send = session(make);
    expect(send('COMMIT', 'rollback')).toEqual([
      'ERR no-transaction "COMMIT" without BEGIN',
      'ERR no-transaction "ROLLBACK" without BEGIN',
    ]);
  });
}
