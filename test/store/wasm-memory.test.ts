/** What the kernel holds for clients, what it gives back, and how long its calls may take. */
import { describe, expect, test } from 'vitest';
import { StoreEvent, type StoreSink } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import { sized } from '../support/sizes.js';
import { bytesOf, Harness, testOptions, textOf } from './harness.js';

const builds = ['debug', 'release'] as const;
type Build = (typeof builds)[number];

function harness(build: Build, options = {}): Harness {
  return new Harness(new WasmStore({ ...testOptions(), ...options }, build));
}

function lines(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => `${line(i)}\n`).join('');
}

function usedBytes(h: Harness): number {
  return h.store.stats().usedBytes;
}

/** Processor time of a call, in milliseconds. */
function cpuMs(call: () => void): number {
  const start = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

describe.each(builds)('memory of the %s kernel', (build) => {
  test('is given back when all clients are gone, whatever they were doing', () => {
    const h = harness(build);
    const first = h.open();
    h.send(
      first,
      lines(200, (i) => `SET key${i} ${'v'.repeat(i * 20)}`),
    );
    h.send(first, `SET late ${'y'.repeat(3_000)}\nBEGIN\n`);
    h.store.close(first);
    h.run();
    const before = usedBytes(h);
    for (let round = 0; round < 3; round++) {
      const clients = Array.from({ length: 300 }, () => h.open());
      clients.forEach((c, i) => {
        if (i % 3 === 0)
          h.send(c, `BEGIN\n${lines(40, (k) => `SET t${k} ${'x'.repeat(500)}`)}GET key1\nINCR n\nDEL key3\n`);
        if (i % 5 === 0) h.feed(c, `GET key199\nMGET key1 key2 key199\nKEYS key\nSET late ${'y'.repeat(3_000)}\n`);
        if (i % 7 === 0) h.feed(c, 'PING\n'.repeat(300));
        h.feed(c, `SET partial ${'z'.repeat(2_000)}`);
        if (i % 4 === 0) h.store.finish(c);
      });
      h.store.ingest(h.nowMs);
      h.store.sealReads();
      h.store.evalReads();
      expect(usedBytes(h)).toBeGreaterThan(before + 100_000);
      for (const c of clients) h.store.close(c);
      h.run();
      h.run();
      expect(h.store.stats().transactions).toBe(0);
      expect(usedBytes(h)).toBe(before);
    }
  });

  test('for a transaction does not grow with how often a key is written again', () => {
    const h = harness(build);
    const c = h.open();
    h.send(c, 'BEGIN\nSET a 0\n');
    const before = usedBytes(h);
    // Each value needs more room than the one before.
    h.send(
      c,
      lines(1_000, (i) => `SET a ${'v'.repeat(4 * i)}`),
    );
    h.send(c, 'SET a last\n');
    expect(usedBytes(h)).toBeLessThan(before + 40_000);
    expect(h.send(c, 'COMMIT\nGET a\n')).toBe('OK\n"last"\n');
  });

  test('of the entries that a refused command made in a transaction is used again', () => {
    const h = harness(build, { limits: { maxTransaction: 4_096 } });
    const c = h.open();
    h.send(c, `BEGIN\n${lines(40, (i) => `SET own${i} 1`)}`);
    const many = (round: number) => Array.from({ length: 2_000 }, (_, i) => `k${10 + round}-${1_000 + i}`).join(' ');
    const refused = /^ERR too-large .*\nERR too-large .*\n$/;
    expect(h.send(c, `DEL ${many(0)}\nMGET ${many(0)}\n`)).toMatch(refused);
    const before = usedBytes(h);
    for (let round = 1; round < 20; round++) {
      expect(h.send(c, `DEL ${many(round)}\nMGET ${many(round)}\n`)).toMatch(refused);
    }
    expect(usedBytes(h)).toBeLessThan(before + 10_000);
    const replies = h.send(
      c,
      `${lines(40, (i) => `GET own${i}`)}EXISTS k11-1001 k12-1002 k1 own3\nSET k1 2\nGET k1\nCOMMIT\n`,
    );
    expect(replies).toBe(`${'"1"\n'.repeat(40)}(integer) 1\nOK\n"2"\nOK\n`);
    expect(h.send(c, 'COUNT\n')).toBe('(integer) 41\n');
  });

  test('for output may be more than one block holds', () => {
    const h = harness(build);
    const c = h.open();
    const value = 'v'.repeat(1_000_000);
    h.send(c, `SET a ${value}\n`);
    h.feed(c, `MGET a a a a a a a\n`.repeat(12));
    h.ingest();
    h.store.sealReads();
    // Never handed out before all are answered.
    while (!h.store.evalReads());
    h.drain();
    expect(h.take(c)).toBe(`[${Array(7).fill(`"${value}"`).join(',')}]\n`.repeat(12));
  });

  test('of a slot is not used again while a reply for the one before it waits', () => {
    const h = harness(build);
    const c = h.open();
    h.feed(c, 'PING\n');
    h.store.ingest(1);
    h.store.close(c);
    const next = h.store.open();
    expect(next).not.toBe(c);
    h.drain();
    expect(h.take(c)).toBe('');
    expect(h.store.open()).toBe(c);
  });
});

describe.each(builds)('calls of the %s kernel', (build) => {
  test('may be made from inside drain, by the sink', () => {
    const store = new WasmStore(testOptions(), build);
    const slots = [store.open(), store.open()];
    const [a, b] = slots as [number, number];
    let text = '';
    let calls = 0;
    const sink: StoreSink = {
      output: (slot, bytes, start, end) => {
        text += `${slot === a ? 'a' : 'b'}:${textOf(bytes.subarray(start, end))}`;
        if (calls++ > 3) return;
        // Grows memory, parses, writes output of its own, and even drains.
        store.feed(b, bytesOf(`${'x'.repeat(3_000_000)}\n`));
        store.feed(b, bytesOf(`${'x'.repeat(3_000_000)}\n`));
        store.ingest(2);
        store.drain(sink);
        expect(textOf(bytes.subarray(start, end))).toMatch(/^(?:PONG|ERR)/);
      },
      event: (kind, slot) => {
        if (kind === StoreEvent.control) store.release(slot);
      },
    };
    store.feed(a, bytesOf('PING\nSTATUS\nPING\n'));
    store.ingest(1);
    store.drain(sink);
    store.ingest(3);
    store.drain(sink);
    expect(text).toMatch(/^a:PONG\n(?:b:(?:ERR syntax unknown command .*\n)+)+a:PONG\n(?:b:(?:ERR .*\n)+)*$/);
  });

  test('do not hand out to a client what the sink has closed meanwhile', () => {
    const store = new WasmStore(testOptions(), build);
    const [a, b] = [store.open(), store.open()];
    const heard: number[] = [];
    store.feed(a, bytesOf('PING\n'));
    store.feed(b, bytesOf('PING\n'));
    store.ingest(1);
    store.drain({
      output: (slot) => {
        heard.push(slot);
        if (slot === a) store.close(b);
      },
      event: () => {},
    });
    expect(heard).toEqual([a]);
  });

  test('tell no client of a write before others can read it', () => {
    const h = harness(build, { limits: { maxEntry: 8_388_608 } });
    const writers = Array.from({ length: 16 }, () => h.open());
    const reader = h.open();
    // Short replies make the window of each wide enough.
    for (const c of writers) h.send(c, 'SET a 0\n');
    for (const c of writers)
      h.feed(
        c,
        lines(3_000, (i) => `SET k${i} ${'x'.repeat(100)}\nSET a ${i}`),
      );
    h.ingest();
    expect(h.store.openCommands).toBeGreaterThan(5_000);
    h.commit(h.sealEntry()!);
    let unseen = 0;
    let more = true;
    while (more) {
      more = h.store.apply() === 'more';
      h.drain();
      const told = writers.some((c) => h.take(c) !== '');
      h.feed(reader, 'EXISTS k0\n');
      h.ingest();
      h.read();
      expect(h.take(reader)).toBe(told ? '(integer) 1\n' : '(integer) 0\n');
      if (told) break;
      unseen++;
    }
    expect(unseen).toBeGreaterThan(0);
    h.run();
  });

  test('list the keys in slices, over the state at their beginning', () => {
    const h = harness(build);
    const [c, writer] = [h.open(), h.open()];
    const count = 40_000;
    for (let from = 0; from < count; from += 10_000) {
      h.send(
        writer,
        lines(10_000, (i) => `SET k${String(((from + i) * 7_919) % count).padStart(6, '0')} v`),
      );
    }
    const keys = Array.from({ length: count }, (_, i) => `k${String(i).padStart(6, '0')}`);
    h.feed(c, 'KEYS LIMIT 100000\n');
    h.ingest();
    h.store.sealReads();
    let slices = 1;
    for (; !h.store.evalReads(); slices++) {
      // Written and deleted while the scan goes on: it does not see that.
      const replies = h.send(
        writer,
        lines(500, (i) => `SET new${slices}-${i} v`) +
          lines(50, (i) => `DEL k${String(slices * 50 + i).padStart(6, '0')}`),
      );
      expect(replies).toBe('OK\n'.repeat(500) + '(integer) 1\n'.repeat(50));
    }
    h.drain();
    expect(slices).toBeGreaterThan(10);
    expect(JSON.parse(h.take(c))).toEqual(keys);
    const after = JSON.parse(h.send(c, 'KEYS k LIMIT 51\n')) as string[];
    expect(after.slice(-2)).toEqual(['k000049', `k${String(slices * 50).padStart(6, '0')}`]);
  });

  test('answer other reads before a long KEYS of the same batch', () => {
    const h = harness(build);
    const [c, o] = [h.open(), h.open()];
    for (let from = 0; from < 40_000; from += 10_000)
      h.send(
        c,
        lines(10_000, (i) => `SET k${from + i} v`),
      );
    h.feed(c, 'KEYS LIMIT 100000\n');
    h.feed(o, 'GET k1\n');
    h.ingest();
    h.store.sealReads();
    expect(h.store.evalReads()).toBe(false);
    h.drain();
    expect(h.take(o)).toBe('"v"\n');
    expect(h.take(c)).toBe('');
    h.store.close(c);
    while (!h.store.evalReads());
    h.run();
    expect(h.send(o, 'COUNT\n')).toBe('(integer) 40000\n');
  });

  test('fail the KEYS under way with the batch, and take the next one', () => {
    const h = harness(build);
    const [c, o] = [h.open(), h.open()];
    for (let from = 0; from < 40_000; from += 10_000)
      h.send(
        c,
        lines(10_000, (i) => `SET k${from + i} v`),
      );
    h.feed(c, 'KEYS LIMIT 100000\n');
    h.feed(o, 'GET k1\n');
    h.ingest();
    h.store.sealReads();
    expect(h.store.evalReads()).toBe(false);
    h.store.failReads('no-leader');
    h.drain();
    expect(h.take(o)).toBe('"v"\n');
    expect(h.take(c)).toMatch(/^ERR no-leader .*\n$/);
    expect(h.send(c, 'KEYS k3999 LIMIT 2\n')).toBe('["k3999","k39990"]\n');
  });

  test('of a transaction of many writes cost no more a command than of one of few', () => {
    const h = harness(build);
    const c = h.open();
    const cost = (writes: number): number => {
      const input = bytesOf(lines(writes, (i) => `SET key${i} ${i}`) + lines(writes, (i) => `INCR n${i}\nDEL key${i}`));
      h.send(c, 'BEGIN\n');
      const ms = cpuMs(() => {
        h.store.feed(c, input);
        h.run();
      });
      h.take(c);
      expect(h.send(c, 'ROLLBACK\n')).toBe('OK\n');
      return ms / writes;
    };
    cost(5_000);
    const few = Math.min(cost(5_000), cost(5_000), cost(5_000));
    const many = Math.min(cost(sized(100_000, 50_000)), cost(sized(100_000, 50_000)));
    expect(many / few).toBeLessThan(8);
  });

  test('expire many idle transactions without looking at the others', () => {
    const h = harness(build);
    const clients = Array.from({ length: 2_000 }, () => h.open());
    for (const c of clients) h.feed(c, 'BEGIN\n');
    h.run();
    h.nowMs += 1_000;
    for (const c of clients.slice(0, 500)) h.feed(c, 'PING\n');
    h.run();
    h.store.expire(h.nowMs - 500);
    expect(h.store.stats().transactions).toBe(500);
    expect(h.send(clients[499]!, 'COMMIT\n')).toMatch(/OK\n$/);
    expect(h.send(clients[500]!, 'COMMIT\nCOMMIT\n')).toMatch(/ERR aborted .*\nERR no-transaction .*\n$/);
  });
});

describe('limits of the Wasm store', () => {
  test.each([
    [{ maxKey: 0 }, /maxKey/],
    [{ maxLine: 1.5 }, /maxLine/],
    [{ maxReply: 2 ** 40 }, /maxReply/],
    [{ maxTransaction: 33_000_000 }, /must fit/],
    [{ maxValue: 20_000_000 }, /must fit/],
  ])('%j are refused', (limits, message) => {
    expect(() => new WasmStore({ ...testOptions(), limits })).toThrow(RangeError);
    expect(() => new WasmStore({ ...testOptions(), limits })).toThrow(message);
  });

  test('an identity of another length is refused', () => {
    expect(() => new WasmStore({ ...testOptions(), identity: new Uint8Array(15) })).toThrow(/16 bytes, not 15/);
  });
});
