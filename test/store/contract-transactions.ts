/** Transactions: snapshot, own writes, checks, conflicts, and how they end. */
import { describe, expect, test } from 'vitest';
import type { MakeHarness } from './contract.js';
import type { Harness } from './harness.js';

const conflict = (key: string) => `ERR conflict key "${key}" has changed since BEGIN; nothing was written\n`;
const expired = 'ERR aborted the transaction was idle for too long and was rolled back; begin it again\n';

/** A store with a connection in a transaction and another one beside it. */
function pair(make: MakeHarness, setup = ''): { h: Harness; t: number; o: number } {
  const h = make();
  const [t, o] = [h.open(), h.open()];
  if (setup !== '') h.send(o, setup);
  expect(h.send(t, 'BEGIN\n')).toBe('OK\n');
  return { h, t, o };
}

export function transactionContract(make: MakeHarness): void {
  describe('transactions', () => {
    snapshotTests(make);
    conflictTests(make);
    commandTests(make);
    sizeTests(make);
    endTests(make);
  });
}

function snapshotTests(make: MakeHarness): void {
  test('the transcript of two keys set together', () => {
    const h = make();
    const c = h.open();
    expect(h.send(c, 'BEGIN\nSET key1 value1\nSET key2 value2\nCOMMIT\nMGET key1 key2\n')).toBe(
      'OK\nOK\nOK\nOK\n["value1","value2"]\n',
    );
  });

  test('reads see the moment of BEGIN, whatever others write, delete and create', () => {
    const { h, t, o } = pair(make, 'SET a 1\nSET b 1\n');
    h.send(o, 'SET a 2\nDEL b\nSET c 1\nSET a 3\nSET b 2\n');
    expect(h.send(t, 'GET a\nGET b\nGET c\nMGET a b c\nEXISTS a b c\n')).toBe(
      '"1"\n"1"\n(nil)\n["1","1",null]\n(integer) 2\n',
    );
    expect(h.send(o, 'MGET a b c\n')).toBe('["3","2","1"]\n');
    expect(h.send(t, 'ROLLBACK\nMGET a b c\n')).toBe('OK\n["3","2","1"]\n');
  });

  test('transactions of several moments see each their own', () => {
    const h = make();
    const o = h.open();
    const open: number[] = [];
    for (let i = 0; i < 20; i++) {
      h.send(o, i % 5 === 4 ? 'DEL k\n' : `SET k ${i}\n`);
      const c = h.open();
      expect(h.send(c, 'BEGIN\n')).toBe('OK\n');
      open.push(c);
    }
    const order = [7, 19, 0, 3, 12, 1, 18, 2, 11, 4, 9, 17, 5, 6, 16, 8, 10, 13, 15, 14];
    for (const i of order) {
      for (const j of order) {
        if (h.store.stats().transactions < 20 && order.indexOf(j) < order.indexOf(i)) continue;
        expect(h.send(open[j]!, 'GET k\n')).toBe(j % 5 === 4 ? '(nil)\n' : `"${j}"\n`);
      }
      expect(h.send(open[i]!, 'ROLLBACK\n')).toBe('OK\n');
      h.send(o, `SET k new${i}\n`);
    }
    expect(h.store.stats().transactions).toBe(0);
    expect(h.send(o, 'GET k\n')).toBe('"new14"\n');
  });

  test('own writes are seen, others do not see them before COMMIT', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    expect(h.send(t, 'SET a 2\nGET a\nSET b 1\nDEL a\nGET a\nMGET a b\nEXISTS a b\nSET a 5\nINCR a\nGET a\n')).toBe(
      'OK\n"2"\nOK\n(integer) 1\n(nil)\n[null,"1"]\n(integer) 1\nOK\n(integer) 6\n"6"\n',
    );
    expect(h.send(o, 'MGET a b\n')).toBe('["1",null]\n');
    expect(h.send(t, 'COMMIT\n')).toBe('OK\n');
    expect(h.send(o, 'MGET a b\n')).toBe('["6","1"]\n');
  });

  test('in a transaction commands are answered at once, without an entry or a batch', () => {
    const { h, t } = pair(make);
    h.feed(t, 'SET a 1\nGET a\nPING\nfoo\nINCR n\nHELP PING\n');
    h.ingest();
    expect(h.take(t).split('\n')).toHaveLength(7);
    expect(h.store.openCommands + h.store.gathered).toBe(0);
  });

  test('all keys of a COMMIT get one revision', () => {
    const { h, t } = pair(make, 'SET gone 1\n');
    h.send(t, 'SET a 1\nSET b 2\nDEL gone\nINCR c\nCOMMIT\n');
    const revisions = h.store.dump().map((record) => record.revision);
    expect(new Set(revisions).size).toBe(1);
    expect(h.store.stats().revision).toBe(revisions[0]);
  });

  test('a COMMIT is one command of its entry, behind the writes before it', () => {
    const { h, t, o } = pair(make);
    h.feed(o, 'SET a 1\n');
    h.feed(t, 'SET a 2\nCOMMIT\nGET a\n');
    h.ingest();
    expect(h.store.openCommands).toBe(2);
    h.write();
    expect(h.take(t)).toBe('OK\nOK\n"2"\n');
  });
}

function conflictTests(make: MakeHarness): void {
  test.each([
    ['GET a', 'a'],
    ['GET absent', 'absent'],
    ['MGET b a', 'a'],
    ['EXISTS absent', 'absent'],
    ['EXISTS a', 'a'],
    ['DEL a', 'a'],
    ['DEL absent', 'absent'],
    ['INCR a', 'a'],
    ['INCR absent', 'absent'],
    ['INCR text', 'text'],
    ['CAS a 1 2', 'a'],
    ['CAS a other 2', 'a'],
    ['CAS absent 1 2', 'absent'],
    ['SET a 2 NX', 'a'],
    ['SET a 2 XX', 'a'],
    ['SET absent 2 NX', 'absent'],
    ['SET absent 2 XX', 'absent'],
  ])('%s depends on its key', (command, key) => {
    const { h, t, o } = pair(make, 'SET a 1\nSET b 1\nSET text x\n');
    h.send(t, `${command}\nSET other 1\n`);
    h.send(o, `SET ${key} 1\n`);
    const revision = h.store.stats().revision;
    expect(h.send(t, 'COMMIT\n')).toBe(conflict(key));
    expect(h.send(o, 'GET other\n')).toBe('(nil)\n');
    expect(h.store.stats().revision).toBe(revision + 1);
  });

  test.each([
    'GET a',
    'DEL a',
    'INCR a',
    'CAS a 1 2',
    'SET a 2 NX',
    'SET absent 1 NX',
  ])('%s does not conflict when nothing has changed', (command) => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, `${command}\nSET x 1\n`);
    h.send(o, 'SET b 1\n');
    expect(h.send(t, 'COMMIT\n')).toBe('OK\n');
    expect(h.send(o, 'GET x\n')).toBe('"1"\n');
  });

  test('a plain SET depends on nothing, nor does anything on a key that was set before', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, 'SET a 5\nGET a\nINCR a\nSET a 7 XX\nCAS a 7 8\nDEL a\nEXISTS a\nSET a 9 NX\n');
    h.send(o, 'SET a 2\n');
    expect(h.send(t, 'COMMIT\nGET a\n')).toBe('OK\n"9"\n');
  });

  test('a key that was read before it was set still counts', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, 'GET a\nSET a 5\n');
    h.send(o, 'SET a 2\n');
    expect(h.send(t, 'COMMIT\nGET a\n')).toBe(`${conflict('a')}"2"\n`);
  });

  test('the message names the first check that failed, in the order in which the keys were depended on', () => {
    const { h, t, o } = pair(make, 'SET a 1\nSET b 1\nSET c 1\n');
    h.send(t, 'MGET c b\nGET a\nGET c\nSET x 1\n');
    h.send(o, 'SET a 2\nSET b 2\n');
    expect(h.send(t, 'COMMIT\n')).toBe(conflict('b'));
  });

  test('the same value written again is a change, as is a key deleted and made anew', () => {
    for (const change of ['SET a 1\n', 'DEL a\nSET a 1\n']) {
      const { h, t, o } = pair(make, 'SET a 1\n');
      h.send(t, 'GET a\nSET x 1\n');
      h.send(o, change);
      expect(h.send(t, 'COMMIT\n')).toBe(conflict('a'));
    }
  });

  test('a key that was absent, made and deleted again is no change', () => {
    const { h, t, o } = pair(make);
    h.send(t, 'GET a\nSET x 1\n');
    h.send(o, 'SET a 1\nDEL a\n');
    expect(h.send(t, 'COMMIT\n')).toBe('OK\n');
  });

  test('what changes in the same entry before the COMMIT is a conflict, what changes behind it is not', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, 'GET a\nSET x 1\n');
    h.feed(t, 'COMMIT\n');
    h.feed(o, 'SET a 2\n');
    h.run();
    expect(h.take(t)).toBe('OK\n');
    expect(h.send(t, 'BEGIN\nGET a\nSET x 2\n')).toBe('OK\n"2"\nOK\n');
    h.feed(o, 'SET a 3\n');
    h.feed(t, 'COMMIT\n');
    h.run();
    expect(h.take(t)).toBe(conflict('a'));
    h.take(o);
    expect(h.send(o, 'GET x\n')).toBe('"1"\n');
  });

  test('the key in the message is a string of its first 64 bytes', () => {
    const key = `\xff${'k'.repeat(70)}`;
    const { h, t, o } = pair(make);
    h.send(t, `GET ${key}\nSET x 1\n`);
    h.send(o, `SET ${key} 1\n`);
    expect(h.send(t, 'COMMIT\n')).toBe(
      `ERR conflict key "\\udcff${'k'.repeat(63)}..." has changed since BEGIN; nothing was written\n`,
    );
  });
}

function commandTests(make: MakeHarness): void {
  test('SET with NX and XX, INCR and CAS go by the view of the transaction', () => {
    const { h, t } = pair(make, 'SET a 1\n');
    expect(
      h.send(
        t,
        'SET a 2 NX\nSET b 2 XX\nSET b 2 NX\nSET b 3 XX\nCAS b 2 4\nCAS b 3 4\nINCR b\nDEL b b\nDEL b\nCAS b 5 6\n',
      ),
    ).toBe('(nil)\n(nil)\nOK\nOK\n(nil)\nOK\n(integer) 5\n(integer) 1\n(integer) 0\n(nil)\n');
    expect(h.send(t, 'COMMIT\nMGET a b\n')).toBe('OK\n["1",null]\n');
  });

  test('errors of values leave the transaction open and the key unchanged', () => {
    const { h, t } = pair(make, 'SET a x\nSET n 9223372036854775807\n');
    expect(h.send(t, 'INCR a\nINCR n\nINCR n x\nSET n 1 FOO\nGET n\n')).toBe(
      'ERR not-an-integer the value of the key is not a 64-bit integer\n' +
        'ERR overflow the result does not fit in 64 bits; the value is unchanged\n' +
        'ERR not-an-integer INCR takes a 64-bit integer, not "x"\n' +
        'ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not "FOO"\n' +
        '"9223372036854775807"\n',
    );
    expect(h.send(t, 'INCR n -7\nCOMMIT\nGET n\n')).toBe('(integer) 9223372036854775800\nOK\n"9223372036854775800"\n');
  });

  test('what cannot be used between BEGIN and COMMIT is refused by name', () => {
    const { h, t } = pair(make);
    expect(h.send(t, 'begin\nkeys x y z\nKeys\nCOUNT\ncount x\n')).toBe(
      'ERR in-transaction a transaction is open already; COMMIT or ROLLBACK it first\n' +
        'ERR in-transaction "KEYS" cannot be used between BEGIN and COMMIT\n'.repeat(2) +
        'ERR in-transaction "COUNT" cannot be used between BEGIN and COMMIT\n' +
        'ERR syntax usage: COUNT\n',
    );
    expect(h.send(t, 'SET a 1\nCOMMIT\nGET a\n')).toBe('OK\nOK\n"1"\n');
  });

  test('STATUS, MEMBERS and HELP may be used, and keep the transaction', () => {
    const { h, t } = pair(make);
    expect(h.send(t, 'SET a 1\nSTATUS\nMEMBERS\nHELP PING\nGET a\nCOMMIT\n')).toBe(
      'OK\nCONTROL 14\nCONTROL 15\n["PING","Answers PONG, from this node alone.","Replies: PONG"]\n"1"\nOK\n',
    );
  });

  test('a DEL of a key that was set before is written, one of an absent key is not', () => {
    const { h, t, o } = pair(make);
    h.send(t, 'SET a 1\nDEL a\nDEL b\n');
    h.send(o, 'SET a 2\n');
    expect(h.send(t, 'COMMIT\nEXISTS a\n')).toBe('OK\n(integer) 0\n');
  });

  test('COMMIT encodes checks and writes in the order of the first use of each key', () => {
    const { h, t } = pair(make, 'SET a 1\n');
    h.send(t, 'GET x\nMGET a x z\nSET b 1\nSET c 2\nSET b 3\nDEL a\nSET c 4\n');
    h.feed(t, 'COMMIT\n');
    h.ingest();
    const { record } = h.sealEntry()!;
    const text = Buffer.from(record.subarray(64 + 40 + 12))
      .toString('latin1')
      .replace(/[^a-z1-9]/g, '');
    const revision = h.store.dump()[0]!.revision;
    expect(revision).toBe(2);
    // Lengths of keys and values below 10 are control characters; what is left are keys and values.
    expect(text).toBe('xazb3c4a');
  });
}

function sizeTests(make: MakeHarness): void {
  /** 12 + pad4(key + value) for an operation, 12 + pad4(key) for a check. */
  test('a transaction has a limit of bytes, exactly', () => {
    const h = make({ limits: { maxTransaction: 100 } });
    const c = h.open();
    const tooLarge = 'ERR too-large transaction of more than 100 bytes; this command was not added to it\n';
    expect(h.send(c, `BEGIN\nSET a ${'x'.repeat(87)}\n`)).toBe('OK\nOK\n');
    expect(h.send(c, 'GET b\nSET b 1\nDEL b\nGET a\n')).toBe(`${tooLarge.repeat(3)}"${'x'.repeat(87)}"\n`);
    expect(h.send(c, `SET a ${'x'.repeat(88)}\nGET a\n`)).toBe(`${tooLarge}"${'x'.repeat(87)}"\n`);
    expect(h.send(c, 'SET a 1\nGET b\nGET c\nGET d\n')).toBe('OK\n(nil)\n(nil)\n(nil)\n');
    expect(h.send(c, 'GET e\nGET f\nSET f 1\nGET d\nSET a 1234567\nSET a 12345678\nCOMMIT\nGET a\n')).toBe(
      `(nil)\n(nil)\n${tooLarge}(nil)\nOK\n${tooLarge}OK\n"1234567"\n`,
    );
  });

  test('a command that is refused for its size leaves no check', () => {
    const h = make({ limits: { maxTransaction: 64 } });
    const [t, o] = [h.open(), h.open()];
    h.send(t, 'BEGIN\nSET a 1\n');
    expect(h.send(t, `MGET b c d e\nINCR ${'k'.repeat(40)}\n`)).toMatch(/^(ERR too-large transaction[^\n]*\n){2}$/);
    h.send(o, `SET b 1\nSET c 1\nSET ${'k'.repeat(40)} 1\n`);
    expect(h.send(t, 'COMMIT\n')).toBe('OK\n');
  });

  test('a COMMIT of as many operations as fit is carried out', () => {
    const h = make();
    const c = h.open();
    h.send(c, 'BEGIN\n');
    const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}`);
    expect(h.send(c, keys.map((key) => `SET ${key} ${key}\n`).join(''))).toBe('OK\n'.repeat(20_000));
    expect(h.send(c, 'COMMIT\nCOUNT\nGET k19999\n')).toBe('OK\n(integer) 20000\n"k19999"\n');
    h.send(c, 'BEGIN\n');
    expect(h.send(c, `DEL ${keys.join(' ')}\nCOMMIT\nCOUNT\n`)).toBe('(integer) 20000\nOK\n(integer) 0\n');
  });
}

function endTests(make: MakeHarness): void {
  test('a transaction that only reads writes nothing, whatever has changed', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, 'GET a\n');
    h.send(o, 'SET a 2\n');
    const { length } = h.records;
    h.feed(t, 'COMMIT\n');
    h.ingest();
    expect(h.take(t)).toBe('OK\n');
    h.run();
    expect(h.records).toHaveLength(length);
    expect(h.send(t, 'GET a\n')).toBe('"2"\n');
  });

  test('ROLLBACK drops the writes', () => {
    const { h, t } = pair(make, 'SET a 1\n');
    expect(h.send(t, 'SET a 2\nROLLBACK\nGET a\nROLLBACK\n')).toBe(
      'OK\nOK\n"1"\nERR no-transaction "ROLLBACK" without BEGIN\n',
    );
    expect(h.store.stats().transactions).toBe(0);
  });

  test('a disconnect drops the transaction', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, 'SET a 2\n');
    expect(h.store.stats().transactions).toBe(1);
    h.store.close(t);
    h.run();
    expect(h.store.stats().transactions).toBe(0);
    expect(h.send(o, 'GET a\n')).toBe('"1"\n');
  });

  test('a COMMIT that is under way is carried out when its client goes', () => {
    const { h, t, o } = pair(make);
    h.feed(t, 'SET a 1\nCOMMIT\n');
    h.ingest();
    h.store.close(t);
    h.run();
    expect(h.send(o, 'GET a\n')).toBe('"1"\n');
  });

  test('a transaction that was idle for too long is rolled back and told so', () => {
    const { h, t, o } = pair(make, 'SET a 1\n');
    h.send(t, 'SET a 2\n');
    h.nowMs = 2_000;
    h.send(o, 'SET b 1\n');
    h.store.expire(1_000);
    expect(h.store.stats().transactions).toBe(1);
    h.store.expire(1_001);
    expect(h.store.stats().transactions).toBe(0);
    expect(h.send(t, 'GET a\nSET a 3\nKEYS\nCOUNT\nBEGIN\nSET a\nfoo\nPING\nSTATUS\nHELP PING\n')).toBe(
      expired.repeat(5) +
        'ERR syntax usage: SET key value [EX s|PX ms] [NX|XX]\n' +
        'ERR syntax unknown command "foo"; HELP lists the commands\n' +
        'PONG\nCONTROL 14\n["PING","Answers PONG, from this node alone.","Replies: PONG"]\n',
    );
    expect(h.send(t, 'COMMIT\nGET a\nCOMMIT\n')).toBe(`${expired}"1"\nERR no-transaction "COMMIT" without BEGIN\n`);
  });

  test('ROLLBACK ends an expired transaction with OK', () => {
    const { h, t } = pair(make);
    h.store.expire(1_000_000);
    expect(h.send(t, 'ROLLBACK\nROLLBACK\nBEGIN\n')).toBe('OK\nERR no-transaction "ROLLBACK" without BEGIN\nOK\n');
    expect(h.store.stats().transactions).toBe(1);
  });

  test('every command of a transaction, also a refused one, keeps it from expiring', () => {
    const { h, t } = pair(make);
    for (const line of ['GET a\n', 'KEYS\n', 'SET a 1 FOO\n', 'PING\n', 'STATUS\n']) {
      h.nowMs += 1_000;
      h.send(t, line);
      h.store.expire(h.nowMs - 500);
      expect(h.store.stats().transactions).toBe(1);
    }
    expect(h.send(t, 'SET a 1\nCOMMIT\n')).toBe('OK\nOK\n');
  });

  test('old versions are given back when no transaction can see them', () => {
    const h = make();
    const c = h.open();
    const input = Array.from({ length: 2_000 }, (_, i) => `SET k${i} ${'x'.repeat(100)}\n`).join('');
    h.send(c, input);
    h.send(c, input);
    const before = h.store.stats().usedBytes;
    const t = h.open();
    h.send(t, 'BEGIN\n');
    h.send(c, input);
    h.send(c, input);
    const pinned = h.store.stats().usedBytes;
    expect(pinned).toBeGreaterThan(before);
    h.send(c, input);
    expect(h.store.stats().usedBytes).toBeLessThan(pinned + (pinned - before));
    h.send(t, 'ROLLBACK\n');
    h.send(c, input);
    h.send(c, 'SET one more\n');
    expect(h.store.stats().usedBytes).toBeLessThan(before + (pinned - before) / 4);
  });

  test('many transactions at once, with conflicts, keep the sum of what they move', () => {
    const h = make();
    const clients = Array.from({ length: 8 }, () => h.open());
    h.send(clients[0]!, Array.from({ length: 8 }, (_, i) => `SET acc${i} 100\n`).join(''));
    let state = 1;
    const random = (n: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 4_294_967_296) * n);
    };
    let committed = 0;
    for (let round = 0; round < 60; round++) {
      for (const c of clients) {
        const amount = random(20);
        h.feed(c, `BEGIN\nINCR acc${random(8)} -${amount + 1}\nINCR acc${random(8)} ${amount + 1}\n`);
      }
      h.run();
      for (const c of clients) h.feed(c, 'COMMIT\n');
      h.run();
      for (const c of clients) if (h.take(c).endsWith('OK\n')) committed++;
      const sum = JSON.parse(h.send(clients[0]!, 'MGET acc0 acc1 acc2 acc3 acc4 acc5 acc6 acc7\n'));
      expect(sum.reduce((total: number, value: string) => total + Number(value), 0)).toBe(800);
    }
    expect(committed).toBeGreaterThan(60);
    expect(committed).toBeLessThan(480);
  });
}
