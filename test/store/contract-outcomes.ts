/** Sealing, giving up, gaps, failed reads: what commands are told that get no result. */
import { describe, expect, test } from 'vitest';
import { type GiveUp, HEADER_BYTES, StoreEvent } from '../../src/store/store.js';
import type { MakeHarness } from './contract.js';
import { bytesOf } from './harness.js';
import { dataPayload, peer, set } from './payloads.js';

const definite = {
  'no-leader': 'ERR no-leader no leader answered within the time-out; nothing was done\n',
  timeout: 'ERR timeout no majority answered within the time-out; nothing was done\n',
  stopping: 'ERR stopping this node is stopping; nothing was done\n',
  'disk-full':
    'ERR disk-full the disks of a majority have no room for writes; nothing was written: free some, reads go on\n',
} as const;
const unknown = {
  'no-leader': 'UNKNOWN timeout no majority answered within the time-out; the write may still take effect\n',
  timeout: 'UNKNOWN timeout no majority answered within the time-out; the write may still take effect\n',
  stopping: 'UNKNOWN stopping this node is stopping; the write may still take effect\n',
  'disk-full': 'UNKNOWN timeout no majority answered within the time-out; the write may still take effect\n',
} as const;
const reasons = Object.keys(definite) as GiveUp[];

export function outcomeContract(make: MakeHarness): void {
  describe('sealed entries', () => sealTests(make));
  describe('giving up', () => giveUpTests(make));
  describe('gaps and resending', () => gapTests(make));
}

function sealTests(make: MakeHarness): void {
  test('an entry without commands is not sealed', () => {
    const h = make();
    h.feed(h.open(), 'PING\nGET a\n');
    h.ingest();
    expect(h.sealEntry()).toBeUndefined();
  });

  test('a sealed entry is what ARCHITECTURE.md draws', () => {
    const h = make({ identity: new Uint8Array(16).fill(99), starts: 1, nonce: 5 });
    h.feed(h.open(), 'SET abc "d\\ne"\nSET a b NX\nSET a b XX\n');
    h.ingest();
    expect(h.store.openCommands).toBe(3);
    const entry = h.sealEntry()!;
    const operations = [set('abc', 'd\ne'), set('a', 'b', 1), set('a', 'b', 2)];
    const payload = dataPayload({ identity: 99, starts: 1, nonce: 5 }, 1, 3, ...operations);
    expect(entry.sequence).toBe(1);
    expect(Buffer.from(entry.record.subarray(0, HEADER_BYTES))).toEqual(Buffer.alloc(HEADER_BYTES));
    expect(Buffer.from(entry.record.subarray(HEADER_BYTES))).toEqual(Buffer.from(payload));
    expect(entry.payloadCrc).toBe(h.store.crc32c(payload));
    expect(h.store.openCommands).toBe(0);
  });

  test('openBytes counts the payload', () => {
    const h = make();
    h.feed(h.open(), 'SET abc d\nDEL x\n');
    h.ingest();
    const { openBytes } = h.store;
    expect(h.sealEntry()!.record.length).toBe(HEADER_BYTES + openBytes);
  });

  test('a sealed entry is a copy that later commands do not touch', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    const entry = h.sealEntry()!;
    const before = Buffer.from(entry.record);
    h.feed(c, 'SET b 2\nSET c 3\n');
    h.ingest();
    h.sealEntry();
    expect(Buffer.from(entry.record)).toEqual(before);
  });

  test('CRC32C, also in parts', () => {
    const { crc32c } = make().store;
    expect(crc32c(bytesOf('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(0))).toBe(0);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
    const bytes = Uint8Array.from({ length: 100_003 }, (_, i) => (i * 31) & 255);
    const whole = crc32c(bytes);
    for (const cut of [0, 1, 7, 8, 9, 255, 256, 65_536, 100_003]) {
      expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(whole);
      expect(crc32c(bytes, crc32c(bytes, 0, 0, cut), cut)).toBe(whole);
      expect(crc32c(bytes, 0, cut >> 1, cut)).toBe(crc32c(bytes.subarray(cut >> 1, cut)));
    }
  });
}

function giveUpTests(make: MakeHarness): void {
  test('an entry that is given up between two slices of an entry before it is answered', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.feed(a, 'SET a 1\n');
    h.ingest();
    const first = h.sealEntry()!;
    h.feed(b, 'SET b 1\n');
    h.ingest();
    const second = h.sealEntry()!;
    h.commit(first);
    const operations = Array.from({ length: 4_000 }, (_, i) => set(`k${i}`, 'v'));
    h.commitPayload(dataPayload(peer, 1, operations.length, ...operations));
    h.commit(second);
    let slices = 0;
    for (; h.store.apply() === 'more'; slices++) {
      h.drain();
      h.store.giveUp(2, 'timeout', true);
      h.drain();
    }
    h.drain();
    expect(slices).toBeGreaterThan(0);
    expect(h.take(b)).toBe(unknown.timeout);
    expect(h.send(b, 'PING\n')).toBe('PONG\n');
  });

  test.each(reasons)('items of a sealed entry that was never sent get a definite error: %s', (why) => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\nGET a\nPING\nDEL a\n');
    h.ingest();
    const { sequence } = h.sealEntry()!;
    const empty = h.store.giveUp(sequence, why, false);
    h.drain();
    expect(h.take(c)).toBe(`${definite[why].repeat(2)}PONG\n${definite[why]}`);
    expect(empty.sequence).toBe(sequence);
    expect(empty.record.length).toBe(HEADER_BYTES + 40);
    expect(empty.payloadCrc).toBe(h.store.crc32c(empty.record.subarray(HEADER_BYTES)));
  });

  test.each(reasons)('writes of an entry that may have left get UNKNOWN, reads an error: %s', (why) => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\nGET a\nfoo\nINCR a\n');
    h.ingest();
    const { sequence } = h.sealEntry()!;
    h.store.giveUp(sequence, why, true);
    h.drain();
    expect(h.take(c)).toBe(
      `${unknown[why]}${definite[why]}ERR syntax unknown command "foo"; HELP lists the commands\n${unknown[why]}`,
    );
  });

  test('the empty entry takes the place of the one given up, and the next one follows', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    const first = h.sealEntry()!;
    h.feed(c, 'SET b 1\n');
    h.ingest();
    const second = h.sealEntry()!;
    const empty = h.store.giveUp(first.sequence, 'timeout', true);
    h.drain();
    h.commit(empty);
    h.commit(second);
    h.applyAll();
    expect(h.take(c)).toBe(`${unknown.timeout}OK\n`);
    expect(
      h
        .takeEvents()
        .filter((event) => event.kind === StoreEvent.applied)
        .map((event) => event.arg),
    ).toEqual([1, 2]);
    expect(h.send(c, 'MGET a b\n')).toBe('[null,"1"]\n');
  });

  test('an entry that was given up and is applied with its content all the same answers nobody', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\nGET a\n');
    h.ingest();
    const first = h.sealEntry()!;
    const empty = h.store.giveUp(first.sequence, 'timeout', true);
    h.drain();
    h.take(c);
    h.commit(first);
    h.commit(empty);
    h.applyAll();
    expect(h.take(c)).toBe('');
    expect(h.takeEvents().map((event) => event.kind)).toEqual([StoreEvent.applied]);
    expect(h.send(c, 'GET a\n')).toBe('"1"\n');
  });

  test('items of an entry given up are answered behind those of the entries before it', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    const first = h.sealEntry()!;
    h.feed(c, 'SET a 2\n');
    h.ingest();
    const second = h.sealEntry()!;
    h.feed(c, 'SET a 3\n');
    h.ingest();
    h.store.giveUp(second.sequence, 'timeout', true);
    h.store.giveUpOpen('no-leader');
    h.drain();
    expect(h.take(c)).toBe('');
    h.commit(first);
    h.applyAll();
    expect(h.take(c)).toBe(`OK\n${unknown.timeout}${definite['no-leader']}`);
  });

  test('giving up the open entry answers its items and lets held writes go on', () => {
    const h = make({ limits: { maxEntry: 100 } });
    const c = h.open();
    h.feed(c, `SET a ${'x'.repeat(100)}\nGET a\nPING\nSET b 1\n`);
    h.ingest();
    h.store.giveUpOpen('no-leader');
    h.drain();
    expect(h.take(c)).toBe(`${definite['no-leader'].repeat(2)}PONG\n`);
    expect(h.store.openCommands).toBe(0);
    expect(h.store.openBytes === 0 || h.store.openBytes === 40).toBe(true);
    h.run();
    expect(h.take(c)).toBe('OK\n');
    expect(h.send(c, 'MGET a b\n')).toBe('[null,"1"]\n');
    expect(h.records).toHaveLength(1);
  });

  test.each(reasons)('reads in flight that fail get an error, constants keep their reply: %s', (why) => {
    const h = make();
    const [a, b, c] = [h.open(), h.open(), h.open()];
    h.feed(a, 'GET x\nPING\nCOUNT\nMGET x\n');
    h.feed(b, 'BEGIN\nSET a 1\n');
    h.feed(c, 'KEYS\nPING\n');
    h.ingest();
    expect(h.store.sealReads()).toBe(true);
    h.store.failReads(why);
    h.drain();
    expect(h.take(a)).toBe(`${definite[why]}PONG\n${definite[why].repeat(2)}`);
    expect(h.take(b)).toBe(definite[why]);
    expect(h.take(c)).toBe(definite[why]);
    expect(h.store.stats().transactions).toBe(0);
    h.run();
    expect(h.take(b)).toBe('OK\n');
    expect(h.take(c)).toBe('PONG\n');
    expect(h.send(b, 'GET a\n')).toBe('"1"\n');
  });

  test('failing reads leaves those that still gather alone, and does nothing when none are in flight', () => {
    const h = make();
    const [a, b] = [h.open(), h.open()];
    h.store.failReads('timeout');
    h.feed(a, 'GET x\n');
    h.ingest();
    h.store.sealReads();
    h.feed(b, 'GET x\n');
    h.ingest();
    h.store.failReads('timeout');
    h.run();
    expect(h.take(a)).toBe(definite.timeout);
    expect(h.take(b)).toBe('(nil)\n');
  });
}

function gapTests(make: MakeHarness): void {
  test('own entries that come out of order are no-ops over a gap, and take effect when sent again in order', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'INCR n\n');
    h.ingest();
    const first = h.sealEntry()!;
    h.feed(c, 'INCR n\n');
    h.ingest();
    const second = h.sealEntry()!;
    h.commit(second);
    h.applyAll();
    expect(h.takeEvents()).toEqual([expect.objectContaining({ kind: StoreEvent.gap, arg: 2 })]);
    expect(h.take(c)).toBe('');
    h.commit(first);
    h.commit(second);
    h.commit(first);
    h.commit(second);
    h.applyAll();
    expect(h.take(c)).toBe('(integer) 1\n(integer) 2\n');
    expect(h.takeEvents().map((event) => [event.kind, event.arg])).toEqual([
      [StoreEvent.applied, 1],
      [StoreEvent.applied, 2],
    ]);
    expect(h.store.applied).toBe(5);
  });

  test('replies of an entry come before its applied event', () => {
    const h = make();
    const c = h.open();
    h.feed(c, 'SET a 1\n');
    h.ingest();
    h.commit(h.sealEntry()!);
    while (h.store.apply() === 'more');
    const order: string[] = [];
    h.store.drain({
      output: (slot) => void order.push(`output ${slot}`),
      event: (kind, _, arg) => void order.push(`event ${kind} ${arg}`),
    });
    expect(order).toEqual([`output ${c}`, `event ${StoreEvent.applied} 1`]);
  });
}
