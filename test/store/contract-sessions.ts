/** Sessions: a command with a sequence happens once however often it is sent, and is answered the same each time. */
import { describe, expect, test } from 'vitest';
import { JsStore } from '../../src/store/js-store.js';
import { EntryType } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import type { MakeHarness } from './contract.js';
import { Harness, testOptions, textOf } from './harness.js';
import {
  commit,
  dataPayload,
  del,
  fence,
  get,
  incr,
  join,
  operation,
  originRecord,
  peer,
  type ReferenceRecord,
  referenceSize,
  referenceState,
  seq,
  session,
  sessionRecord,
  set,
  u64,
} from './payloads.js';
import { entry, load, recordsIn, take } from './snapshots.js';

const HOUR = 3_600_000;
const noSession = 'ERR session SEQ needs a session on this connection: SESSION begins one, SESSION n goes on with it';
const unknown = (n: number) => `ERR session number ${n} is unknown or has expired; nothing was done now`;
const answered = (s: number) =>
  `ERR session sequence ${s} was said to be answered, and is forgotten; nothing was done now`;
const window = (s: number) =>
  `ERR session sequence ${s} is 256 or more above the lowest unanswered one, see FROM; nothing was done now`;
const seqNumber = (word: string) =>
  `ERR syntax SEQ takes a number from 1 on, and FROM one that is not above it, not "${word}"`;
const seqCommand = (word: string) =>
  `ERR syntax SEQ stands before SET, DEL, INCR, CAS, PERSIST or COMMIT, not "${word}"`;
const fenced = 'ERR aborted the transaction was gone before its COMMIT; nothing was written, begin it again';
const idle = 'ERR aborted the transaction was idle for too long and was rolled back; begin it again';
const outOfMemory = 'ERR out-of-memory the memory limit is reached; delete keys first';

/** Entries without content let log time pass. */
function pass(h: Harness, ms: number): void {
  h.logTime += ms - 1;
  h.commitPayload(new Uint8Array(0), EntryType.noop);
  h.applyAll();
}

interface Talk {
  readonly h: Harness;
  readonly c: number;
  /** Sends lines one by one on a connection of its own. */
  send(...lines: string[]): string[];
  /** The number of the connection's session. */
  readonly n: number;
}

/** A store with a connection that has registered a session. */
function start(make: MakeHarness): Talk {
  const h = make();
  return talk(h);
}

function talk(h: Harness, n?: number): Talk {
  const c = h.open();
  const send = (...lines: string[]) => lines.map((line) => h.send(c, `${line}\n`).slice(0, -1));
  const [reply] = send(n === undefined ? 'SESSION' : `SESSION ${n}`);
  if (n !== undefined) expect(reply).toBe('OK');
  return { h, c, send, n: n ?? Number(/^\(integer\) (\d+)$/.exec(reply!)![1]) };
}

/** Has a peer's entry applied. */
class Peer {
  private sequence = 0;
  private readonly h: Harness;
  constructor(h: Harness) {
    this.h = h;
  }
  apply(commands: number, ...operations: Uint8Array[]): void {
    this.h.commitPayload(dataPayload(peer, ++this.sequence, commands, ...operations));
    this.h.applyAll();
  }
}

export function sessionContract(make: MakeHarness): void {
  describe('SESSION', () => sessionTests(make));
  describe('SEQ', () => sequenceTests(make));
  describe('SEQ before COMMIT', () => commitTests(make));
  describe('the record of a session', () => recordTests(make));
}

function sessionTests(make: MakeHarness): void {
  test('registers a session, each time another, and goes on with one that there is', () => {
    const { send, n } = start(make);
    const [again] = send('SESSION');
    expect(again).toMatch(/^\(integer\) \d+$/);
    expect(again).not.toBe(`(integer) ${n}`);
    expect(send(`SESSION ${n}`, `session "${n}"`, 'SESSION 999', 'SESSION 1')).toEqual([
      'OK',
      'OK',
      unknown(999),
      unknown(1),
    ]);
  });

  test('takes a number from 1 to 2^53 - 1 and nothing else', () => {
    const { send } = start(make);
    const bad = ['0', '-1', 'x', '""', '01', '1.5', '9007199254740992', '9223372036854775807', '18446744073709551615'];
    for (const word of bad) {
      const shown = word === '""' ? '' : word;
      expect(send(`SESSION ${word}`)).toEqual([`ERR syntax SESSION takes the number of a session, not "${shown}"`]);
    }
    expect(send('SESSION 9007199254740991', 'SESSION 1 2')).toEqual([
      unknown(9007199254740991),
      'ERR syntax usage: SESSION [n]',
    ]);
  });

  test('has the lines behind it wait for what comes of it, however the input is cut', () => {
    const input = 'SET b 1\nSESSION\nSEQ 1 INCR a\nGET a\nSESSION 77\nSEQ 1 INCR a\nSESSION\nSEQ 1 INCR a\nPING\n';
    for (let cut = 0; cut <= input.length; cut++) {
      const h = make();
      const c = h.open();
      const replies = (h.send(c, input.slice(0, cut)) + h.send(c, input.slice(cut))).split('\n');
      expect(replies[1]).toMatch(/^\(integer\) \d+$/);
      expect(replies[6]).toMatch(/^\(integer\) \d+$/);
      expect([replies[0], ...replies.slice(2, 6), ...replies.slice(7)]).toEqual([
        'OK',
        '(integer) 1',
        '"1"',
        unknown(77),
        noSession,
        '(integer) 2',
        'PONG',
        '',
      ]);
    }
  });

  test('that fails leaves the connection without a session', () => {
    const { send, n } = start(make);
    expect(send('SESSION x', 'SEQ 1 SET a 1', 'SESSION 999', 'SEQ 2 SET a 1', `SESSION ${n}`, 'SEQ 2 SET a 1')).toEqual(
      ['ERR syntax SESSION takes the number of a session, not "x"', 'OK', unknown(999), noSession, 'OK', 'OK'],
    );
  });

  test('that was given up leaves it without one too, although it takes effect', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SESSION\nSEQ 1 SET a 1\n');
    h.ingest();
    const sealed = h.sealEntry()!;
    h.store.giveUp(sealed.sequence, 'timeout', true);
    h.drain();
    h.run();
    expect(h.take(c).split('\n')).toEqual([expect.stringMatching(/^UNKNOWN timeout /), noSession, '']);
    h.commit(sealed);
    h.applyAll();
    expect(h.send(c, 'SEQ 1 SET a 1\nSESSION 2\nSEQ 1 SET a 1\n')).toBe(`${noSession}\nOK\nOK\n`);
  });

  test('is refused in a transaction; the session outlives one', () => {
    const { send } = start(make);
    expect(send('BEGIN', 'SESSION', 'SESSION 5', 'ROLLBACK', 'SEQ 1 SET a 1')).toEqual([
      'OK',
      'ERR in-transaction "SESSION" cannot be used between BEGIN and COMMIT',
      'ERR in-transaction "SESSION" cannot be used between BEGIN and COMMIT',
      'OK',
      'OK',
    ]);
  });

  test('belongs to its connection: the next one in the same slot has none', () => {
    const { h, c } = start(make);
    h.store.close(c);
    h.run();
    const next = h.open();
    expect(h.send(next, 'SEQ 1 SET a 1\n')).toBe(`${noSession}\n`);
  });

  test('is a system record: no key of a user', () => {
    const { send } = start(make);
    expect(send('COUNT', 'KEYS', 'SEQ 1 SET a 1', 'COUNT', 'KEYS')).toEqual([
      '(integer) 0',
      '[]',
      'OK',
      '(integer) 1',
      '["a"]',
    ]);
  });
}

function sequenceTests(make: MakeHarness): void {
  test('has a write done once, and answers it the same each time', () => {
    const { send } = start(make);
    const writes: [string, string][] = [
      ['SET a 1', 'OK'],
      ['SET a 2 NX', '(nil)'],
      ['INCR a 41', '(integer) 42'],
      ['INCR a -9223372036854775808', '(integer) -9223372036854775766'],
      ['INCR a -9223372036854775808', 'ERR overflow the result does not fit in 64 bits; the value is unchanged'],
      ['SET b x PX 100000', 'OK'],
      ['INCR b', 'ERR not-an-integer the value of the key is not a 64-bit integer'],
      ['PERSIST b', '(integer) 1'],
      ['CAS b y z', '(nil)'],
      ['CAS b x z', 'OK'],
      ['DEL a b c', '(integer) 2'],
      ['DEL a b c', '(integer) 0'],
    ];
    for (const [i, [line, reply]] of writes.entries()) {
      expect(send(`SEQ ${i + 1} ${line}`), line).toEqual([reply]);
      expect(send(`SEQ ${i + 1} ${line}`), line).toEqual([reply]);
    }
    // What else is sent under a number is not looked at: it was answered.
    expect(send('SEQ 3 DEL a', 'SEQ 11 COMMIT', 'MGET a b')).toEqual(['(integer) 42', '(integer) 2', '[null,null]']);
  });

  test('does so on every connection that goes on with the session, and for each session on its own', () => {
    const { h, send, n } = start(make);
    const other = talk(h, n);
    const third = talk(h);
    expect(send('SEQ 1 INCR a', 'SEQ 2 INCR a')).toEqual(['(integer) 1', '(integer) 2']);
    expect(other.send('SEQ 2 INCR a', 'SEQ 1 INCR a', 'SEQ 4 INCR a', 'SEQ 3 INCR a')).toEqual([
      '(integer) 2',
      '(integer) 1',
      '(integer) 3',
      '(integer) 4',
    ]);
    expect(third.send('SEQ 1 INCR a')).toEqual(['(integer) 5']);
    expect(send('SEQ 3 INCR a', 'SEQ 4 INCR a')).toEqual(['(integer) 4', '(integer) 3']);
  });

  test('counts once within one entry, one chunk and one batch of many', () => {
    const { h, c, send } = start(make);
    const lines = Array.from({ length: 300 }, (_, i) => `SEQ ${(i % 100) + 1} INCR a\n`).join('');
    const replies = h.send(c, lines).split('\n');
    expect(replies.slice(0, 100)).toEqual(Array.from({ length: 100 }, (_, i) => `(integer) ${i + 1}`));
    expect(replies.slice(100, 200)).toEqual(replies.slice(0, 100));
    expect(replies.slice(200, 300)).toEqual(replies.slice(0, 100));
    expect(send('GET a')).toEqual(['"100"']);
  });

  test('passes over a DEL of many keys and a time to live, and what follows is done', () => {
    const { h, c } = start(make);
    h.send(c, 'SET a 1\nSET b 1\n');
    const input =
      'SEQ 1 DEL a b c\nSET a 2\nSEQ 1 DEL a b c\nSEQ 2 SET t 1 PX 1000000\nSEQ 2 SET t 1 PX 5\nSET z 3\nMGET a b t z\n';
    expect(h.send(c, input)).toBe('(integer) 2\nOK\n(integer) 2\nOK\nOK\nOK\n["2",null,"1","3"]\n');
  });

  test('keeps what is not said to be answered, 256 numbers wide', () => {
    const { send } = start(make);
    expect(send('SEQ 256 INCR a', 'SEQ 257 INCR a', 'SEQ 1 INCR a')).toEqual([
      '(integer) 1',
      window(257),
      '(integer) 2',
    ]);
    expect(send('SEQ 257 FROM 2 INCR a', 'SEQ 1 INCR a', 'SEQ 257 from 1 INCR a', 'SEQ 258 INCR a')).toEqual([
      '(integer) 3',
      answered(1),
      '(integer) 3',
      window(258),
    ]);
    expect(send('SEQ 9007199254740991 FROM 9007199254740900 INCR a', 'SEQ 256 INCR a')).toEqual([
      '(integer) 4',
      answered(256),
    ]);
    expect(send('SEQ 9007199254740991 INCR a', 'GET a')).toEqual(['(integer) 4', '"4"']);
  });

  test('forgets nothing by a command that is refused or was answered', () => {
    const { send } = start(make);
    send('SEQ 1 INCR a', 'SEQ 5 INCR a');
    expect(send('SEQ 5 FROM 5 INCR a', 'SEQ 1 INCR a', 'SEQ 500 FROM 200 INCR a', 'SEQ 1 INCR a')).toEqual([
      '(integer) 2',
      '(integer) 1',
      window(500),
      '(integer) 1',
    ]);
  });

  test('is refused, with nothing done, in the order of what is wrong', () => {
    const { h, send } = start(make);
    const bare = h.open();
    expect(h.send(bare, 'SEQ 1 SET a 1\nSEQ 1 COMMIT\nSEQ 1 SET a\nSEQ 1 SET a 1 x\n').split('\n')).toEqual([
      noSession,
      noSession,
      expect.stringMatching(/^ERR syntax usage: SET /),
      noSession,
      '',
    ]);
    const cases: [string, string | RegExp][] = [
      ['SEQ', 'ERR syntax usage: SEQ n [FROM m] command ...'],
      ['SEQ 1', 'ERR syntax usage: SEQ n [FROM m] command ...'],
      ['SEQ 0 SET a 1', seqNumber('0')],
      ['SEQ x SET a 1', seqNumber('x')],
      ['SEQ 9007199254740992 SET a 1', seqNumber('9007199254740992')],
      ['SEQ 01 SET a 1', seqNumber('01')],
      ['SEQ x FROM', seqNumber('x')],
      ['SEQ 5 FROM 1', 'ERR syntax usage: SEQ n [FROM m] command ...'],
      ['SEQ 5 FROM 6 SET a 1', seqNumber('6')],
      ['SEQ 5 FROM 0 SET a 1', seqNumber('0')],
      ['SEQ 5 FROM SET a 1', seqNumber('SET')],
      ['SEQ 5 "SET a', 'ERR syntax a word that begins with a double quote must end with one'],
      ['SEQ 5 NOPE a', 'ERR syntax unknown command "NOPE"; HELP lists the commands'],
      ['SEQ 5 SET a', /^ERR syntax usage: SET /],
      ['SEQ 5 GET a', seqCommand('GET')],
      ['SEQ 5 begin', seqCommand('BEGIN')],
      ['SEQ 5 SESSION', seqCommand('SESSION')],
      ['SEQ 5 SEQ 6 SET a 1', seqCommand('SEQ')],
      ['SEQ 5 SET a 1 EX', /^ERR syntax SET takes EX /],
      ['SEQ 5 INCR a x', /^ERR not-an-integer INCR takes /],
      [`SEQ 5 SET ${'k'.repeat(65_537)} 1`, /^ERR too-large key of 65537 bytes/],
    ];
    for (const [line, reply] of cases) {
      expect(send(line)[0], line).toEqual(typeof reply === 'string' ? reply : expect.stringMatching(reply));
    }
    expect(
      send('SEQ 5 INCR a', '"SE\\u0051" "\\u0035" "FR\\u004fM" 5 "INC\\u0052" a', 'seq 6 from 6 incr "a"'),
    ).toEqual(['(integer) 1', '(integer) 1', '(integer) 2']);
  });

  test('stands in no transaction, but before its COMMIT', () => {
    const { h, c, send } = start(make);
    const inTransaction = 'ERR in-transaction between BEGIN and COMMIT only the COMMIT takes SEQ';
    expect(send('BEGIN', 'SEQ 1 SET a 1', 'SEQ 1 GET a', 'SET a 1')).toEqual([
      'OK',
      inTransaction,
      seqCommand('GET'),
      'OK',
    ]);
    h.store.expire(Number.POSITIVE_INFINITY);
    expect(h.send(c, 'SEQ 1 SET a 1\nSET a 1\nROLLBACK\nSEQ 1 SET a 1\n')).toBe(`${idle}\n${idle}\nOK\nOK\n`);
  });

  test('has reads of its connection at their place beside it', () => {
    const { h, c } = start(make);
    const input = 'SEQ 1 SET a 1\nGET a\nSEQ 1 SET a 2\nGET a\nSEQ 2 INCR a\nGET a\nSET a 7\nSEQ 2 INCR a\nGET a\n';
    expect(h.send(c, input)).toBe('OK\n"1"\nOK\n"1"\n(integer) 2\n"2"\nOK\n(integer) 2\n"7"\n');
  });

  test('that left and was given up happens once when it is sent again', () => {
    const { h, c, send } = start(make);
    h.feed(c, 'SEQ 1 INCR a\n');
    h.ingest();
    const sealed = h.sealEntry()!;
    h.store.giveUp(sealed.sequence, 'timeout', true);
    h.drain();
    expect(h.take(c)).toMatch(/^UNKNOWN timeout /);
    h.feed(c, 'SEQ 1 INCR a\n');
    h.ingest();
    const again = h.sealEntry()!;
    h.commit(sealed);
    h.commit(again);
    h.applyAll();
    expect(h.take(c)).toBe('(integer) 1\n');
    expect(send('GET a')).toEqual(['"1"']);
  });

  test('closes an entry at 1,024 of it', () => {
    const { h, c } = start(make);
    const before = h.records.length;
    h.send(c, 'PING\n');
    let lines = '';
    for (let i = 1; i <= 2_500; i++) lines += `SEQ ${i} FROM ${Math.max(1, i - 50)} INCR a\n`;
    const connections = [c];
    // A connection's window is smaller than an entry: several share it.
    for (let i = 0; i < 20; i++) connections.push(h.open());
    for (const one of connections.slice(1)) h.feed(one, 'SESSION\n');
    h.run();
    for (const one of connections) h.feed(one, lines);
    h.run();
    for (const one of connections) expect(h.take(one).split('\n')).toHaveLength(one === c ? 2_501 : 2_502);
    expect(h.send(c, 'GET a\n')).toBe(`"${2_500 * connections.length}"\n`);
    const commands = h.records.slice(before).map((record) => Buffer.from(record).readUInt32LE(64 + 32));
    expect(Math.max(...commands)).toBe(1_024);
  });
}

function commitTests(make: MakeHarness): void {
  test('commits once, and answers the same each time', () => {
    const { h, send, n } = start(make);
    expect(send('BEGIN', 'INCR a', 'SEQ 1 COMMIT', 'SEQ 1 COMMIT', 'GET a')).toEqual([
      'OK',
      '(integer) 1',
      'OK',
      'OK',
      '"1"',
    ]);
    const other = talk(h, n);
    expect(other.send('SEQ 1 COMMIT', 'BEGIN', 'INCR a', 'SEQ 1 COMMIT', 'GET a')).toEqual([
      'OK',
      'OK',
      '(integer) 2',
      'OK',
      '"1"',
    ]);
  });

  test.each([
    ['a short key', 'a'],
    ['no key at all', '""'],
    ['a key of 64 bytes', `"${'k"\\'.repeat(16).replace(/["\\]/g, (char) => `\\${char}`)}${'\xff'.repeat(16)}"`],
    ['a longer one', `${'\xc3\xa9'.repeat(32)}x`],
    ['one that is cut in a character', `a${'\xc3\xa9'.repeat(40)}`],
  ])('repeats a conflict on %s byte for byte', (_, key) => {
    const { h, send } = start(make);
    const o = h.open();
    send('BEGIN', `GET ${key}`, 'SET b 1');
    h.send(o, `SET ${key} 1\n`);
    const [first] = send('SEQ 1 COMMIT');
    expect(first).toMatch(/^ERR conflict key "/);
    expect(send('SEQ 1 COMMIT', 'SEQ 2 SET c 1', 'SEQ 1 COMMIT', 'EXISTS b')).toEqual([
      first,
      'OK',
      first,
      '(integer) 0',
    ]);
  });

  test('logs one that wrote nothing too, and never has it conflict', () => {
    const { h, send } = start(make);
    send('BEGIN', 'GET a');
    h.send(h.open(), 'SET a 1\n');
    expect(send('SEQ 1 COMMIT', 'SEQ 1 COMMIT', 'BEGIN', 'SEQ 2 COMMIT')).toEqual(['OK', 'OK', 'OK', 'OK']);
  });

  test('without its transaction fences the number: it did not happen, and never will', () => {
    const { h, send, n } = start(make);
    const node = new Peer(h);
    expect(send('SEQ 1 COMMIT', 'SEQ 1 COMMIT')).toEqual([fenced, fenced]);
    node.apply(1, seq(n, 1), commit([], set('a', '1')));
    expect(send('EXISTS a')).toEqual(['(integer) 0']);
    // And one that came first has happened.
    node.apply(1, seq(n, 2), commit([], set('b', '1')));
    expect(send('SEQ 2 COMMIT', 'GET b', 'SEQ 1 COMMIT')).toEqual(['OK', '"1"', fenced]);
  });

  test('of a transaction that was idle for too long fences it, and ends the transaction', () => {
    const { h, send } = start(make);
    send('BEGIN', 'SET a 1');
    h.store.expire(Number.POSITIVE_INFINITY);
    expect(send('GET a', 'SEQ 1 COMMIT', 'SEQ 1 COMMIT', 'EXISTS a')).toEqual([idle, fenced, fenced, '(integer) 0']);
  });

  test('without a session leaves the transaction as it is', () => {
    const h = make();
    const c = h.open();
    expect(h.send(c, 'BEGIN\nSET a 1\nSEQ 1 COMMIT\nCOMMIT\nGET a\n')).toBe(`OK\nOK\n${noSession}\nOK\n"1"\n`);
  });

  test('passes over a large one in slices', () => {
    const { h, send, n } = start(make);
    const node = new Peer(h);
    const writes = Array.from({ length: 20_000 }, (_, i) => set(`k${i}`, 'v'));
    node.apply(2, seq(n, 1), commit([{ key: 'x', revision: 0 }], ...writes), incr('after', 1n));
    node.apply(2, seq(n, 1), commit([{ key: 'x', revision: 0 }], ...writes), incr('after', 1n));
    expect(send('SEQ 1 COMMIT', 'COUNT', 'GET after')).toEqual(['OK', '(integer) 20001', '"2"']);
  });
}

/** All records of a store, users' and system ones. */
function recordsOf(h: Harness): ReferenceRecord[] {
  return recordsIn(take(h.store).chunks);
}

function sessionsIn(h: Harness): ReferenceRecord[] {
  return recordsOf(h).filter(({ system, key }) => system && key.length === 9 && key[0] === 's'.charCodeAt(0));
}

function recordTests(make: MakeHarness): void {
  test('is as drawn, with what takes a revision', () => {
    const h = make();
    const node = new Peer(h);
    node.apply(1, session());
    // The entry's origin takes 1, the session 2.
    expect(sessionsIn(h)).toEqual([sessionRecord(2, 1, '', 2, 1 + HOUR)]);
    node.apply(2, seq(2, 3), set('a', '7'), seq(2, 1), incr('a', 2n));
    // Origin 3, SET 4, its note 5, INCR 6, its note 7.
    const i64 = Buffer.from(u64(9n)).toString('latin1');
    const both = `\x00\x02${i64}\x02\x00`;
    expect(sessionsIn(h)).toEqual([sessionRecord(2, 1, both, 7, 2 + HOUR)]);
    node.apply(2, session(2), seq(2, 3), set('a', '8'));
    expect(sessionsIn(h)).toEqual([sessionRecord(2, 1, both, 9, 3 + HOUR)]);
    node.apply(1, seq(2, 4, 3), commit([{ key: 'a', revision: 1 }]));
    const long = 'k'.repeat(65);
    node.apply(1, seq(2, 5), commit([{ key: long, revision: 1 }]));
    node.apply(3, seq(2, 6), set('a', '1', 1), seq(2, 7), fence(), seq(2, 8), del('zz'));
    const zero = Buffer.from(u64(0n)).toString('latin1');
    const last = sessionRecord(
      2,
      3,
      `\x00\x00\x01\x06\x01a\x02\x07${'k'.repeat(64)}\x03\x01\x04\x08\x05\x02${zero}`,
      17,
      6 + HOUR,
    );
    expect(sessionsIn(h)).toEqual([last]);
    const contents = [
      originRecord(peer, 6, 14),
      last,
      { key: new Uint8Array([97]), value: new Uint8Array([57]), revision: 6 },
    ];
    expect(h.store.stats()).toMatchObject({ revision: 17, keys: 1, stateHash: referenceState(contents) });
    const sizes = contents.map(({ key, value }) => referenceSize(key.length, value.length));
    expect(h.store.stats().logicalBytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
  });

  test('lives for an hour of log time after its last write', () => {
    const { h, send, n } = start(make);
    const quiet = talk(h);
    pass(h, HOUR / 2);
    expect(send('SEQ 1 INCR a')).toEqual(['(integer) 1']);
    expect(h.store.earliestDeadline).toBeLessThan(HOUR + 10);
    pass(h, HOUR / 2);
    expect(quiet.send('SEQ 1 INCR a', `SESSION ${quiet.n}`)).toEqual([unknown(quiet.n), unknown(quiet.n)]);
    expect(sessionsIn(h)).toHaveLength(1);
    // Being answered again is no write; SESSION with the number is one.
    expect(send('SEQ 1 INCR a')).toEqual(['(integer) 1']);
    pass(h, HOUR / 2 - 10);
    expect(send(`SESSION ${n}`)).toEqual(['OK']);
    pass(h, HOUR - 10);
    expect(send('SEQ 1 INCR a', 'SEQ 2 INCR a')).toEqual(['(integer) 1', '(integer) 2']);
    pass(h, HOUR);
    expect(send('SEQ 2 INCR a', 'SEQ 3 INCR a', 'GET a')).toEqual([unknown(n), unknown(n), '"2"']);
    expect(sessionsIn(h)).toHaveLength(0);
    expect(h.store.earliestDeadline).toBeUndefined();
  });

  test('goes with the users’ expired records, in one order', () => {
    const { h, c } = start(make);
    h.send(c, `SET a 1 PX ${HOUR}\n`);
    talk(h);
    h.send(c, `SET b 1 PX ${HOUR - 1}\n`);
    pass(h, HOUR + 5);
    expect(recordsOf(h).filter(({ deadline }) => deadline !== 0)).toEqual([]);
    expect(h.store.stats().keys).toBe(0);
  });

  test('counts against the memory limit, with room for its outcome, before anything is done', () => {
    const { h, send } = start(make);
    send('SET free 1');
    h.commitLimit(1 << 20);
    // Three answers to SETs fit into the class of the empty record, a fourth does not.
    expect([3, 4].map((answers) => referenceSize(9, 8 + 2 * answers) - referenceSize(9, 8))).toEqual([0, 16]);
    const limit = h.store.stats().logicalBytes + referenceSize(1, 1);
    h.commitLimit(limit);
    expect(send('SEQ 1 SET k 1', 'SEQ 2 SET k 2', 'SEQ 3 SET k 3', 'SEQ 4 SET k 4', 'GET k')).toEqual([
      'OK',
      'OK',
      'OK',
      outOfMemory,
      '"3"',
    ]);
    expect(h.store.stats().logicalBytes).toBe(limit);
    // Nothing was noted of the fourth: with less to keep it is done.
    expect(send('SEQ 4 FROM 2 SET k 4', 'GET k')).toEqual(['OK', '"4"']);
  });

  test('has its room taken when its command is judged, whose refusal is an answer like any other', () => {
    const { h, send } = start(make);
    send('SET free 1', 'SEQ 1 SET k 1', 'SEQ 2 SET k 2', 'SEQ 3 SET k 3');
    h.commitLimit(1 << 20);
    const room = h.store.stats().logicalBytes + referenceSize(1, 1);
    h.commitLimit(room + 15);
    expect(send('SEQ 4 SET n 1', 'DEL free', 'SEQ 4 SET n 1', 'SEQ 5 SET n 1', 'EXISTS n')).toEqual([
      outOfMemory,
      '(integer) 1',
      outOfMemory,
      'OK',
      '(integer) 1',
    ]);
    const other = start(make);
    other.send('SET free 1', 'SEQ 1 SET k 1', 'SEQ 2 SET k 2', 'SEQ 3 SET k 3');
    other.h.commitLimit(1 << 20);
    other.h.commitLimit(room + 16);
    expect(other.send('SEQ 4 SET n 1')).toEqual(['OK']);
    expect(other.h.store.stats().logicalBytes).toBe(room + 16);
  });

  test('is refused when the limit is reached; DEL goes on', () => {
    const { h, send } = start(make);
    send('SET a 1');
    h.commitLimit(1);
    expect(send('SESSION')).toEqual([outOfMemory]);
    const t = talk(h, 2);
    expect(t.send('SEQ 1 SET b 1', 'SEQ 1 INCR a', 'SEQ 2 DEL a', 'SEQ 2 DEL a', 'EXISTS a')).toEqual([
      outOfMemory,
      outOfMemory,
      '(integer) 1',
      '(integer) 1',
      '(integer) 0',
    ]);
  });

  test('takes a fence’s number when the limit is reached too: a COMMIT that comes later does not happen', () => {
    const { h, n } = start(make);
    const node = new Peer(h);
    node.apply(3, seq(n, 1), set('a', '1'), seq(n, 2), set('a', '2'), seq(n, 3), set('a', '3'));
    h.commitLimit(1);
    node.apply(1, seq(n, 4), fence());
    h.commitLimit(0);
    node.apply(1, seq(n, 4), commit([], set('late', '1')));
    const { send } = talk(h, n);
    expect(send('EXISTS late', 'SEQ 4 COMMIT')).toEqual(['(integer) 0', fenced]);
  });

  test('goes with a snapshot into either kind of store', () => {
    const { h, send, n } = start(make);
    send('SEQ 1 INCR a', 'SEQ 2 SET b 1 NX', 'BEGIN', 'SET c 1', 'SEQ 3 COMMIT', 'SEQ 4 COMMIT');
    const taken = take(h.store);
    for (const store of [new JsStore(testOptions(7)), new WasmStore(testOptions(8))]) {
      expect(load(store, taken)).toBe('ok');
      const other = new Harness(store);
      other.records.length = h.records.length;
      other.logTime = h.logTime;
      expect(store.earliestDeadline).toBe(h.store.earliestDeadline);
      const t = talk(other, n);
      expect(t.send('SEQ 1 INCR a', 'SEQ 2 SET b 1 NX', 'SEQ 3 COMMIT', 'SEQ 4 COMMIT', 'SEQ 5 INCR a')).toEqual([
        '(integer) 1',
        'OK',
        'OK',
        fenced,
        '(integer) 2',
      ]);
    }
  });

  test('from a snapshot is refused when it is not as drawn', () => {
    const n = (value: number) => textOf(u64(BigInt(value)));
    const good: [string, string, number][] = [
      [`s${n(3)}`, n(1), 9],
      [`s${n(3)}`, `${n(5)}\x00\x00\x7f\x01`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x02${n(5)}\x01\x06\x00\x02\x06\x02ab\x03\x07${'k'.repeat(64)}\x04\x08`, 9],
    ];
    const bad: [string, string, number][] = [
      [`s${n(3)}`, n(1), 0],
      [`s${n(0)}`, n(1), 9],
      [`s${n(2 ** 53)}`, n(1), 9],
      [`s${n(3)}`, n(0), 9],
      [`s${n(3)}`, n(1).slice(1), 9],
      [`s${n(3)}`, `${n(5)}\x00`, 9],
      [`s${n(3)}`, `${n(5)}\x01\x00\x01\x00`, 9],
      [`s${n(3)}`, `${n(5)}\x02\x00\x01\x00`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x09`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x02${n(5).slice(1)}`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x06`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x06\x02a`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x06\x41${'k'.repeat(65)}`, 9],
      [`s${n(3)}`, `${n(5)}\x00\x07${'k'.repeat(63)}`, 9],
    ];
    const taken = (key: string, value: string, deadline: number) => {
      const { store } = make();
      store.loadBegin();
      return store.loadChunk(entry(key, value, 3, true, deadline));
    };
    for (const [key, value, deadline] of good) expect(taken(key, value, deadline), JSON.stringify(value)).toBe(true);
    for (const [key, value, deadline] of bad) expect(taken(key, value, deadline), JSON.stringify(value)).toBe(false);
    expect(taken('limit', n(1), 9)).toBe(false);
  });

  test('operations that are not as drawn make their entry malformed', () => {
    const h = make();
    const node = (() => {
      let sequence = 0;
      return (commands: number, ...operations: Uint8Array[]) => {
        const before = h.store.stats();
        h.commitPayload(dataPayload(peer, sequence + 1, commands, ...operations));
        h.applyAll();
        const effective = h.store.stats().revision > before.revision;
        if (effective) sequence++;
        return effective;
      };
    })();
    const zero = u64(0n);
    const big = u64(2n ** 53n);
    const one = u64(1n);
    const k = (bytes: Uint8Array) => textOf(bytes);
    const a1 = set('a', '1');
    const bad: [string, number, ...Uint8Array[]][] = [
      ['a key that is no number', 1, operation(7, 'abc')],
      ['number 0', 1, operation(7, k(zero))],
      ['number 2^53', 1, operation(7, k(big))],
      ['a value', 1, operation(7, k(one), 'x')],
      ['flags', 1, operation(7, '', '', 1)],
      ['SEQ at the end', 0, seq(2, 1)],
      ['SEQ counted', 2, seq(2, 1), a1],
      ['SEQ twice', 1, seq(2, 1), seq(2, 1), a1],
      ['SEQ before SESSION', 1, seq(2, 1), session()],
      ['SEQ of no session', 1, operation(8, '', join(one, zero)), a1],
      ['SEQ of session 0', 1, operation(8, k(zero), join(one, zero)), a1],
      ['SEQ 0', 1, seq(2, 0), a1],
      ['SEQ 2^53', 1, operation(8, k(one), join(big, zero)), a1],
      ['SEQ from above', 1, seq(2, 3, 4), a1],
      ['SEQ of 8 bytes', 1, operation(8, k(one), one), a1],
      ['SEQ with flags', 1, operation(8, k(one), join(one, zero), 4), a1],
      ['SEQ in the middle of a DEL', 1, del('a', true), seq(2, 1), del('b')],
      ['FENCE alone', 1, fence()],
      ['FENCE with a key', 1, seq(2, 1), operation(9, k(one))],
      ['FENCE with flags', 1, seq(2, 1), operation(9, '', '', 4)],
      ['SEQ in a COMMIT', 1, commit([], seq(2, 1), a1)],
      ['FENCE in a COMMIT', 1, commit([], fence())],
      ['SEQ before GET', 1, seq(2, 1), get('a')],
      ['code 10', 1, operation(10, '')],
      ['1,025 of them', 1_025, ...Array.from({ length: 1_025 }, () => session())],
    ];
    for (const [name, commands, ...operations] of bad) expect(node(commands, ...operations), name).toBe(false);
    expect(node(1, session())).toBe(true);
    expect(node(1, seq(2, 1), del('a', true), del('b'))).toBe(true);
    expect(node(2, seq(2, 2), commit([]), seq(2, 3), fence())).toBe(true);
    expect(node(1_024, ...Array.from({ length: 1_024 }, () => session()))).toBe(true);
  });
}
