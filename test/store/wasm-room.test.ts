/**
 * A store whose memory is so little that records must move out of sparse pages (assembly/compact.ts): its twin, which moves
 * nothing, gives the same bytes, and clients notice nothing. Without moving, each of these runs out of memory.
 */
import { describe, expect, test } from 'vitest';
import { JsStore } from '../../src/store/js-store.js';
import { EntryType } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import { Harness, testOptions } from './harness.js';
import { Pair } from './pair.js';
import { configPayload, dataPayload, peer, set, u64 } from './payloads.js';
import { Dice } from './random-input.js';
import type { Taken } from './snapshots.js';

const builds = ['debug', 'release'] as const;
type Build = (typeof builds)[number];

/** Where the kernel's heap begins, and as many pages as it may have: an entry needs some 140 in a row before it begins. */
const HEAP_BEGINS = 1_568;
const HEAP = 420;
const PAGE = 65_536;

function small(build: Build, n = 1): WasmStore {
  return new WasmStore(testOptions(n), build, HEAP_BEGINS + HEAP);
}

/** Writes `bytes` of values of `size`, then deletes all but about one a page; as lines, many at a time. */
function* fillAndThin(prefix: string, size: number, bytes: number): Generator<string> {
  const keys = Array.from({ length: Math.floor(bytes / (size + 100)) }, (_, i) => `${prefix}/${i}`);
  const kept = Math.ceil(PAGE / size);
  const lines = keys.map((key, i) => `SET ${key} ${key.padEnd(size, 'x')}${i % 5 === 0 ? ' EX 1000000' : ''}\n`);
  lines.push(...keys.filter((_, i) => i % kept !== 0).map((key) => `DEL ${key}\n`));
  const many = Math.min(2_000, Math.ceil(900_000 / size));
  for (let i = 0; i < lines.length; i += many) yield lines.slice(i, i + many).join('');
}

const sizes = [700, 3_000, 1_500, 9_000, 500, 2_000, 40_000, 5_000, 900, 100_000];

describe.each(builds)('a %s store with little memory', (build) => {
  test('gives the bytes, contents and hash of the twin, which moves nothing, and its snapshots load', () => {
    const dice = new Dice(5);
    const pair = new Pair(new JsStore(testOptions()), small(build));
    pair.commitPayload(configPayload({ key: 'limit', value: u64(6_000_000n) }), EntryType.config, 'limit');
    const [writer, other] = [pair.open(), pair.open()];
    const send = (text: string) => {
      pair.feed(writer, text);
      pair.feed(other, `GET r${dice.below(12)}/${dice.below(3_000)}\nCOUNT\n`);
      pair.settle();
    };
    for (const [round, size] of sizes.entries()) {
      for (const lines of fillAndThin(`r${round}`, size, 4_500_000)) send(lines);
      pair.logTime += 100;
      // What the rounds before have left goes, but for a third.
      const gone = Array.from({ length: 3_000 }, (_, i) => `r${round - 1}/${i}`).filter(() => dice.below(3) !== 0);
      send(`DEL ${gone.join(' ')}\n`);
    }
    pair.snapshotBegin();
    let taken: readonly Taken[] | undefined;
    while (taken === undefined) taken = pair.snapshotNext(100_000);
    const loaded = new Pair(new JsStore(testOptions(2)), small(build, 2));
    loaded.load(taken, pair.records);
    expect(loaded.holds()).toBe(pair.holds());
  }, 120_000);

  test('keeps what an entry under way needs from clients that send more meanwhile', () => {
    const store = small(build);
    const h = new Harness(store);
    const operations = Array.from({ length: 9_000 }, (_, i) => set(`key${i}`, 'v'.repeat(900)));
    h.commitPayload(dataPayload(peer, 1, operations.length, ...operations), EntryType.data);
    expect(store.apply()).toBe('more');
    const clients = Array.from({ length: 80 }, () => h.open());
    const half = 'x'.repeat(1 << 19);
    let outcome = 'more';
    for (let slices = 0; outcome === 'more'; slices++) {
      for (const c of clients.slice(slices * 40, slices * 40 + 40)) h.feed(c, half);
      h.ingest();
      outcome = store.apply();
    }
    expect(outcome).toBe('done');
    expect(store.stats().keys).toBe(9_000);
  });

  test('refuses reads of an entry whose replies would take what its writes need', () => {
    const h = new Harness(small(build));
    const c = h.open();
    h.send(c, `SET large ${'l'.repeat(1_000_000)}\n`);
    const lines = Array.from({ length: 40 }, (_, i) =>
      [...Array.from({ length: 16 }, (_, n) => `SET k${i}/${n} ${'v'.repeat(900)}\n`), 'GET large\n'].join(''),
    );
    const replies = h.send(c, lines.join('')).split('\n');
    expect(replies.filter((reply) => reply === 'OK')).toHaveLength(640);
    const read = replies.filter((reply) => reply.startsWith('"l')).length;
    const refused = replies.filter((reply) => reply.startsWith('ERR too-large ')).length;
    expect(read).toBeGreaterThan(2);
    expect(refused).toBeGreaterThan(0);
    expect(read + refused).toBe(40);
  });

  test('moves what a transaction sees, and it goes on', () => {
    const h = new Harness(small(build));
    const [writer, reader] = [h.open(), h.open()];
    const keys = Array.from({ length: 200 }, (_, i) => `key${i}`);
    h.send(writer, keys.map((key) => `SET ${key} ${key.padEnd(900, '.')} EX 1000000\n`).join(''));
    h.send(reader, 'BEGIN\n');
    h.send(writer, keys.map((key) => `SET ${key} new\n`).join(''));
    for (const [round, size] of sizes.slice(0, 8).entries()) {
      for (const lines of fillAndThin(`r${round}`, size, 4_500_000)) h.send(writer, lines);
      const seen = h.send(reader, `MGET ${keys.join(' ')}\n`);
      expect(seen).toBe(`${JSON.stringify(keys.map((key) => key.padEnd(900, '.')))}\n`);
    }
    expect(h.send(reader, 'INCR other\nCOMMIT\nGET key1\n')).toMatch(/^\(integer\) 1\nERR conflict .*\n"new"\n$/);
  }, 120_000);

  test('takes the snapshot from those transactions that were idle longest when moving is not enough', () => {
    const h = new Harness(small(build));
    const writer = h.open();
    const transactions: number[] = [];
    for (let round = 0; round < 8; round++) {
      for (let from = 0; from < 4_000; from += 200) {
        const lines = Array.from({ length: 200 }, (_, i) => `SET k${from + i} ${`${round}`.padEnd(900, '.')}\n`);
        h.send(writer, lines.join(''));
      }
      transactions.push(h.open());
      h.nowMs++;
      expect(h.send(transactions.at(-1)!, 'BEGIN\n')).toBe('OK\n');
    }
    const seen = transactions.map((c) => h.send(c, 'GET k3999\n'));
    const aborted = seen.filter((reply) => reply.startsWith('ERR aborted')).length;
    expect(aborted).toBeGreaterThan(0);
    expect(aborted).toBeLessThan(8);
    const values = seen.map((_, round) => `"${`${round}`.padEnd(900, '.')}"\n`);
    expect(seen.slice(aborted)).toEqual(values.slice(aborted));
  }, 120_000);

  test('answers a KEYS under way, from before or after records have moved', () => {
    const h = new Harness(small(build));
    const [writer, reader] = [h.open(), h.open()];
    const keys = Array.from({ length: 2_100 }, (_, i) => `k${String(i).padStart(5, '0')}`);
    // They stand alone in their pages, between what is deleted again.
    for (let from = 0; from < keys.length; from += 100) {
      const lines = keys.slice(from, from + 100).map((key, i) => {
        const value = 'v'.repeat(500 + 100 * Math.floor(from / 700));
        return `SET ${key} ${value}\n${Array.from({ length: 8 }, (_, n) => `SET f${from + i}/${n} ${value}\n`).join('')}`;
      });
      h.send(writer, lines.join(''));
    }
    for (let i = 0; i < keys.length; i += 50) {
      const names = Array.from({ length: 400 }, (_, n) => `f${i + (n >> 3)}/${n & 7}`);
      h.send(writer, `DEL ${names.join(' ')}\n`);
    }
    const wanted = `${JSON.stringify(keys)}\n`;
    let answers = 0;
    // A slice of KEYS, the next one as soon as it is answered.
    const look = () => {
      if (h.store.evalReads()) {
        h.drain();
        const reply = h.take(reader);
        // It needs memory of its own, which may be short; but what it answers is right.
        if (reply !== '' && !reply.startsWith('ERR out-of-memory ')) {
          expect(reply === wanted).toBe(true);
          answers++;
        }
        h.feed(reader, 'KEYS k LIMIT 10000\n');
      }
      h.ingest();
      h.store.sealReads();
    };
    look();
    for (const [round, size] of sizes.slice(0, 8).entries()) {
      for (const lines of fillAndThin(`r${round}`, size, 4_000_000)) {
        h.feed(writer, lines);
        do {
          h.ingest();
          const entry = h.sealEntry();
          if (entry) h.commit(entry);
          look();
          for (let slices = 0; h.store.apply() === 'more'; slices++) {
            look();
            expect(slices).toBeLessThan(10_000);
          }
          h.drain();
        } while (h.store.ready);
      }
    }
    expect(answers).toBeGreaterThan(10);
  }, 120_000);
});
