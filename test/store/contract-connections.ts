/** Connections: modes, the order of replies, holding back, and the ends of a connection. */
import { describe, expect, test } from 'vitest';
import { StoreEvent } from '../../src/store/store.js';
import type { MakeHarness } from './contract.js';
import type { Harness } from './harness.js';

const kinds = (h: Harness) => h.takeEvents().map((event) => event.kind);

export function connectionContract(make: MakeHarness): void {
  describe('modes', () => modeTests(make));
  describe('side reads', () => sideReadTests(make));
  describe('barriers', () => barrierTests(make));
  describe('holding back', () => holdTests(make));
  describe('the end of a connection', () => endTests(make));
  describe('slots', () => slotTests(make));
}

function modeTests(make: MakeHarness): void {
  test('an idle connection gets constants at once', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'PING\nfoo\nPING\n');
    h.ingest();
    expect(h.take(c)).toBe('PONG\nERR syntax unknown command "foo"; HELP lists the commands\nPONG\n');
    expect(h.store.openCommands).toBe(0);
    expect(h.store.gathered).toBe(0);
  });

  test('reads gather, constants among them keep their place', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'GET a\nPING\nCOUNT\nfoo\n');
    h.ingest();
    expect(h.take(c)).toBe('');
    expect(h.store.gathered).toBe(4);
    expect(h.read()).toBe(true);
    expect(h.take(c)).toBe('(nil)\nPONG\n(integer) 0\nERR syntax unknown command "foo"; HELP lists the commands\n');
  });

  test('a write waits for the reads before it', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'GET a\nSET a 1\n');
    h.ingest();
    expect(h.store.openCommands).toBe(0);
    expect(kinds(h)).toEqual([StoreEvent.hold]);
    h.read();
    expect(h.take(c)).toBe('(nil)\n');
    expect(h.store.ready).toBe(true);
    h.ingest();
    expect(kinds(h)).toEqual([StoreEvent.unhold]);
    expect(h.store.openCommands).toBe(1);
    h.run();
    expect(h.take(c)).toBe('OK\n');
  });

  test('reads of a connection whose reads are in flight gather for the next batch', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'GET a\n');
    h.ingest();
    expect(h.store.sealReads()).toBe(true);
    h.feed(c, 'COUNT\n');
    h.ingest();
    expect(h.store.gathered).toBe(1);
    expect(h.store.sealReads()).toBe(false);
    while (!h.store.evalReads());
    h.drain();
    expect(h.take(c)).toBe('(nil)\n');
    h.run();
    expect(h.take(c)).toBe('(integer) 0\n');
  });

  test('writes join the open entry, also of connections that already write', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'SET a 1\nSET a 2\n');
    h.feed(b, 'INCR n\n');
    h.ingest();
    expect(h.store.openCommands).toBe(3);
    h.write();
    expect(h.take(a)).toBe('OK\nOK\n');
    expect(h.take(b)).toBe('(integer) 1\n');
    expect(h.records).toHaveLength(1);
  });

  test('more writes join the next entry while earlier ones are under way', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'INCR n\n');
    h.ingest();
    const first = h.sealEntry()!;
    h.feed(c, 'INCR n\n');
    h.ingest();
    const second = h.sealEntry()!;
    expect([first.sequence, second.sequence]).toEqual([1, 2]);
    h.commit(first);
    h.commit(second);
    h.applyAll();
    expect(h.take(c)).toBe('(integer) 1\n(integer) 2\n');
  });

  test('a connection without open commands that still waits for an entry gets nothing at once', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    const entry = h.sealEntry()!;
    h.feed(c, 'PING\nGET a\n');
    h.ingest();
    expect(h.take(c)).toBe('');
    expect(h.store.gathered).toBe(0);
    expect(kinds(h)).toEqual([StoreEvent.hold]);
    h.commit(entry);
    h.applyAll();
    expect(h.take(c)).toBe('OK\n');
    h.run();
    expect(h.take(c)).toBe('PONG\n"1"\n');
  });

  test('a connection that is held until it is idle stays so when others open an entry, and when more input comes', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'SET a 1\n');
    h.ingest();
    const entry = h.sealEntry()!;
    h.feed(a, 'GET a\n');
    h.ingest();
    h.feed(b, 'SET a 2\n');
    h.ingest();
    h.feed(a, 'GET a\n');
    h.ingest();
    const next = h.sealEntry()!;
    h.commit(entry);
    h.applyAll();
    h.ingest();
    expect(h.store.gathered).toBe(2);
    h.read();
    expect(h.take(a)).toBe('OK\n"1"\n"1"\n');
    h.commit(next);
    h.applyAll();
    expect(h.take(b)).toBe('OK\n');
  });

  test('replies come in the order of the commands, however they are mixed', () => {
    const h = make();
    const c = h.open();
    const input =
      'SET a 1\nGET a\nPING\nSET a 2\nGET a\nCOUNT\nMGET a b\nEXISTS a\nINCR a\nfoo\nDEL a\nGET a\nKEYS\nSET b 1\nBEGIN\nGET b\nCOMMIT\nGET b\n';
    expect(h.send(c, input)).toBe(
      'OK\n"1"\nPONG\nOK\n"2"\n(integer) 1\n["2",null]\n(integer) 1\n(integer) 3\nERR syntax unknown command "foo"; HELP lists the commands\n(integer) 1\n(nil)\n[]\nOK\nOK\n"1"\nOK\n"1"\n',
    );
  });
}

function sideReadTests(make: MakeHarness): void {
  test('a side read sees exactly its place in the entry, with the writes of others before it', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'SET k 1\nGET k\nMGET k x\n');
    h.ingest();
    h.feed(b, 'SET k 2\nSET x y\n');
    h.ingest();
    h.feed(a, 'GET k\nEXISTS k x\nCOUNT\nDEL k\nCOUNT\nGET k\n');
    h.ingest();
    expect(h.store.gathered).toBe(0);
    h.write();
    expect(h.take(a)).toBe('OK\n"1"\n["1",null]\n"2"\n(integer) 2\n(integer) 2\n(integer) 1\n(integer) 1\n(nil)\n');
    expect(h.take(b)).toBe('OK\nOK\n');
  });

  test('a read behind a write of its own connection joins a later entry that is open, not one that has left', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'SET k 1\n');
    h.ingest();
    const first = h.sealEntry()!;
    h.feed(b, 'SET k 2\n');
    h.ingest();
    h.feed(a, 'GET k\n');
    h.ingest();
    expect(h.store.gathered).toBe(0);
    const second = h.sealEntry()!;
    h.commit(first);
    h.applyAll();
    expect(h.take(a)).toBe('OK\n');
    h.commit(second);
    h.applyAll();
    expect(h.take(a)).toBe('"2"\n');
  });

  test('side reads behind the last command of an entry are answered with it', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET k 1\nGET k\n');
    h.ingest();
    h.write();
    expect(h.take(c)).toBe('OK\n"1"\n');
  });

  test('a side read sees the writes of entries before its own', () => {
    const h = make();
    const c = h.open();
    h.send(c, 'SET k old\n');
    h.feed(c, 'SET x 1\nGET k\nSET k new\nGET k\n');
    h.run();
    expect(h.take(c)).toBe('OK\n"old"\nOK\n"new"\n');
  });
}

function barrierTests(make: MakeHarness): void {
  test('BEGIN and KEYS wait until nothing is unanswered, and nothing passes them', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\nKEYS\nSET b 1\n');
    h.ingest();
    expect(h.store.openCommands).toBe(1);
    expect(h.store.gathered).toBe(0);
    h.write();
    h.ingest();
    expect(h.store.gathered).toBe(1);
    expect(h.store.openCommands).toBe(0);
    h.read();
    expect(h.take(c)).toBe('OK\n["a"]\n');
    h.run();
    expect(h.take(c)).toBe('OK\n');
  });

  test('a control command waits for everything before it, and what follows waits for release', () => {
    const h = make();
    const c = h.open();
    h.onControl = () => `{"commands":${h.store.stats().counters.applied}}`;
    expect(h.send(c, 'SET a 1\nGET a\nSTATUS\nSET a 2\nSTATUS\nPING\n')).toBe(
      'OK\n"1"\n{"commands":1}\nOK\n{"commands":2}\nPONG\n',
    );
  });

  test('control names the command and its connection, and release lets it go on', () => {
    const h = make();
    const c = h.open();
    const seen: number[][] = [];
    const output: string[] = [];
    const sink = {
      output: (_: number, bytes: Uint8Array, start: number, end: number) =>
        void output.push(Buffer.from(bytes.subarray(start, end)).toString()),
      event: (...event: number[]) => void seen.push(event),
    };
    h.feed(c, 'MEMBERS\nPING\n');
    h.store.ingest(1);
    h.store.drain(sink);
    expect(seen[0]).toEqual([StoreEvent.control, c, 15]);
    expect(seen.slice(1)).toEqual([[StoreEvent.hold, c, 0]]);
    expect(h.store.ready).toBe(false);
    h.store.ingest(2);
    h.store.drain(sink);
    expect(output).toEqual([]);
    h.store.release(c);
    expect(h.store.ready).toBe(true);
    h.store.ingest(3);
    h.store.drain(sink);
    expect(output).toEqual(['PONG\n']);
    expect(seen.slice(2)).toEqual([[StoreEvent.unhold, c, 0]]);
  });
}

function holdTests(make: MakeHarness): void {
  test('a paused connection is not parsed until it is let go', () => {
    const h = make();
    const c = h.open();
    h.store.pause(c, true);
    h.feed(c, 'PING\nSET a 1\n');
    h.run();
    expect(h.take(c)).toBe('');
    expect(h.held.has(c)).toBe(true);
    h.store.pause(c, false);
    expect(h.store.ready).toBe(true);
    h.run();
    expect(h.take(c)).toBe('PONG\nOK\n');
    expect(h.held.has(c)).toBe(false);
  });

  test('a pause lets unanswered commands be answered', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    h.store.pause(c, true);
    h.write();
    expect(h.take(c)).toBe('OK\n');
  });

  test('a connection with more than its window of unanswered commands is held', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n'.repeat(300));
    h.ingest();
    expect(h.store.openCommands).toBe(129);
    expect(h.held.has(c)).toBe(true);
    h.run();
    expect(h.take(c)).toBe('OK\n'.repeat(300));
    expect(h.held.has(c)).toBe(false);
  });

  test('the window follows the size of replies: short ones widen it, long ones narrow it', () => {
    const h = make();
    const c = h.open();
    h.send(c, 'SET a 1\n');
    h.feed(c, 'SET a 1\n'.repeat(5_000));
    h.ingest();
    expect(h.store.openCommands).toBe(4_097);
    h.run();
    h.take(c);
    h.send(c, `SET big ${'x'.repeat(1_000_000)}\nGET big\n`);
    h.feed(c, 'GET big\n'.repeat(40));
    h.ingest();
    expect(h.store.gathered).toBe(17);
    h.run();
    expect(h.take(c)).toHaveLength(40 * 1_000_003);
    h.feed(c, 'SET a 1\n'.repeat(40));
    h.ingest();
    expect(h.store.openCommands).toBe(17);
    h.run();
    expect(h.take(c)).toBe('OK\n'.repeat(40));
  });

  test('writes wait while the open entry is full, and go on when it is sealed', () => {
    const h = make({ limits: { maxEntry: 1_000 } });
    const [a, b] = [h.open(), h.open()];
    const value = 'x'.repeat(400);
    h.feed(a, `SET a ${value}\nSET b ${value}\nSET c ${value}\nSET d ${value}\n`);
    h.ingest();
    expect(h.store.openCommands).toBe(3);
    expect(h.store.openBytes).toBeGreaterThanOrEqual(1_000);
    h.feed(b, 'PING\nSET e 1\n');
    h.ingest();
    expect(h.take(b)).toBe('PONG\n');
    expect(h.held).toEqual(new Set([a, b]));
    const entry = h.sealEntry()!;
    expect(h.store.ready).toBe(true);
    h.ingest();
    expect(h.held).toEqual(new Set());
    expect(h.store.openCommands).toBe(2);
    h.commit(entry);
    h.run();
    expect(h.take(a)).toBe('OK\n'.repeat(4));
    expect(h.take(b)).toBe('OK\n');
  });

  test('reads go on while writes of others wait for a full entry', () => {
    const h = make({ limits: { maxEntry: 100 } });
    const [a, b] = [h.open(), h.open()];
    h.feed(a, `SET a ${'x'.repeat(100)}\nSET a 1\n`);
    h.feed(b, 'GET a\n');
    h.ingest();
    h.read();
    expect(h.take(b)).toBe('(nil)\n');
    h.run();
    expect(h.take(a)).toBe('OK\nOK\n');
  });

  test('hold and unhold alternate', () => {
    const h = make();
    const c = h.open();
    for (let round = 0; round < 5; round++) h.send(c, 'GET a\nSET a 1\nGET a\nSTATUS\nSET a 2\n'.repeat(5));
    const events = kinds(h).filter((kind) => kind === StoreEvent.hold || kind === StoreEvent.unhold);
    expect(events.length).toBeGreaterThan(2);
    expect(events.every((kind, i) => kind === (i % 2 === 0 ? StoreEvent.hold : StoreEvent.unhold))).toBe(true);
    expect(events.length % 2).toBe(0);
  });
}

function endTests(make: MakeHarness): void {
  const closes = (h: Harness) => h.takeEvents().filter((event) => event.kind === StoreEvent.close);

  test('after FIN everything is answered, then close is emitted, once', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\nGET a\nSTATUS\nSET a 2\n');
    h.store.finish(c);
    h.run();
    expect(h.take(c)).toBe('OK\n"1"\nCONTROL 14\nOK\n');
    expect(closes(h)).toEqual([{ kind: StoreEvent.close, slot: c, arg: 0 }]);
    h.run();
    expect(closes(h)).toEqual([]);
  });

  test('close comes after the last reply, and not before it', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.store.finish(c);
    h.ingest();
    expect(closes(h)).toEqual([]);
    const order: string[] = [];
    h.commit(h.sealEntry()!);
    while (h.store.apply() === 'more');
    h.store.drain({
      output: () => void order.push('output'),
      event: (kind) => void order.push(kind === StoreEvent.close ? 'close' : 'other'),
    });
    h.store.ingest(1);
    h.store.drain({
      output: () => {},
      event: (kind) => void order.push(kind === StoreEvent.close ? 'close' : 'other'),
    });
    expect(order.filter((what) => what !== 'other')).toEqual(['output', 'close']);
  });

  test('a FIN on an idle connection closes it', () => {
    const h = make();
    const c = h.open();
    h.store.finish(c);
    h.run();
    expect(closes(h)).toHaveLength(1);
  });

  test('a last line without a newline is refused, in its place, and not run', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\nSET a 2');
    h.store.finish(c);
    h.run();
    expect(h.take(c)).toBe('OK\nERR syntax the last line has no newline at its end, so it was not run\n');
    expect(closes(h)).toHaveLength(1);
    expect(h.send(h.open(), 'GET a\n')).toBe('"1"\n');
  });

  test('a FIN inside a transaction writes nothing', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'BEGIN\nSET a 1\n');
    h.store.finish(c);
    h.run();
    expect(h.take(c)).toBe('OK\nOK\n');
    expect(closes(h)).toHaveLength(1);
    h.store.close(c);
    expect(h.store.stats().transactions).toBe(0);
    expect(h.store.stats().keys).toBe(0);
  });

  test('what a client that is gone has under way is carried out and answered to nobody', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'SET a 1\nGET a\nSET b 1\n');
    h.feed(b, 'SET a 2\nGET a\n');
    h.ingest();
    h.store.close(a);
    h.run();
    expect(h.take(a)).toBe('');
    expect(h.take(b)).toBe('OK\n"2"\n');
    expect(h.send(b, 'GET b\n')).toBe('"1"\n');
  });

  test('reads of a client that is gone are answered to nobody', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'GET x\nCOUNT\n');
    h.feed(b, 'GET y\n');
    h.ingest();
    h.store.close(a);
    h.read();
    expect(h.take(a)).toBe('');
    expect(h.take(b)).toBe('(nil)\n');
  });

  test('a client that goes during its BEGIN or KEYS leaves nothing behind', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'BEGIN\n');
    h.feed(b, 'KEYS\n');
    h.ingest();
    h.store.close(a);
    h.store.close(b);
    h.run();
    expect(h.store.stats().transactions).toBe(0);
    expect(h.send(h.open(), 'SET a 1\nGET a\n')).toBe('OK\n"1"\n');
  });

  test('input that was fed and not parsed goes with its client, also if the slot is taken at once', () => {
    const h = make();
    const a = h.open();
    h.feed(a, 'SET a 1\n');
    h.store.close(a);
    const b = h.open();
    h.run();
    expect(h.take(b)).toBe('');
    expect(h.send(b, 'GET a\n')).toBe('(nil)\n');
  });

  test('replies that were not yet handed out go with their client, also if the slot is taken at once', () => {
    const h = make();
    const a = h.open();
    h.feed(a, 'PING\nSTATUS\n');
    h.store.ingest(h.nowMs);
    h.store.close(a);
    const b = h.open();
    h.drain();
    expect(h.take(b) + h.take(a)).toBe('');
    expect(h.send(b, 'PING\n')).toBe('PONG\n');
  });

  test('a pause, a hold or a FIN of the one before is not inherited with a slot', () => {
    const h = make();
    for (let round = 0; round < 3; round++) {
      const c = h.open();
      expect(h.send(c, 'BEGIN\nSET a 1\n')).toBe('OK\nOK\n');
      h.store.pause(c, true);
      h.feed(c, 'PING\nPING');
      h.run();
      h.store.finish(c);
      h.store.close(c);
      h.run();
    }
    expect(h.send(h.open(), 'COMMIT\n')).toBe('ERR no-transaction "COMMIT" without BEGIN\n');
  });
}

function slotTests(make: MakeHarness): void {
  test('slots differ, and are reused only when nothing of the one before is left', () => {
    const h = make();
    const slots = Array.from({ length: 100 }, () => h.open());
    expect(new Set(slots).size).toBe(100);
    h.feed(slots[0]!, 'SET a 1\n');
    h.ingest();
    h.store.close(slots[0]!);
    const others = Array.from({ length: 100 }, () => h.open());
    expect(others).not.toContain(slots[0]);
    h.run();
    for (const slot of others) expect(h.take(slot)).toBe('');
  });

  test('65,535 connections fit, one more does not, and a closed one makes room', () => {
    const h = make();
    const slots = Array.from({ length: 65_535 }, () => h.store.open());
    expect(new Set(slots).size).toBe(65_535);
    expect(Math.min(...slots)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...slots)).toBeLessThanOrEqual(65_534);
    expect(h.store.open()).toBe(-1);
    h.feed(slots[65_534]!, 'PING\n');
    h.run();
    expect(h.take(slots[65_534]!)).toBe('PONG\n');
    h.store.close(slots[7]!);
    h.run();
    expect(h.store.open()).toBe(slots[7]);
    expect(h.store.open()).toBe(-1);
  });
}
