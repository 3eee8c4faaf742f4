import { expect, test } from 'vitest';
import { sealRecord } from '../../src/log/record.js';
import { EntryType, HEADER_BYTES } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import { Harness, testOptions } from './harness.js';
import { dataPayload, peer, set } from './payloads.js';

/** Values of 1 MiB, so many in an entry and in all. */
const inEntry = 25;
const keys = 500;

test('transactions that stand idle while everything is written again lose their snapshot, longest idle first; the node goes on', () => {
  const h = new Harness(new WasmStore(testOptions(), 'release'));
  const value = 'v'.repeat(1_048_576);
  let sequence = 0;
  // Not kept by the harness, which keeps all records: there are gigabytes of them.
  const commit = (payload: Uint8Array): void => {
    const record = new Uint8Array(HEADER_BYTES + payload.length);
    record.set(payload, HEADER_BYTES);
    const header = { index: sequence, term: 1, logTime: 1, wall: 0, type: EntryType.data };
    sealRecord(record, header, h.store.crc32c(payload), h.store.crc32c);
    expect(h.store.stage(record)).toBe(true);
    h.applyAll();
  };
  const transactions: number[] = [];
  for (let round = 0; round < 9; round++) {
    for (let key = 0; key < keys; key += inEntry) {
      const operations = Array.from({ length: inEntry }, (_, i) => set(`k${key + i}`, value));
      commit(dataPayload(peer, ++sequence, inEntry, ...operations));
    }
    transactions.push(h.open());
    h.nowMs++;
    expect(h.send(transactions.at(-1)!, 'BEGIN\n')).toBe('OK\n');
  }
  const alive = transactions.map((c) => h.send(c, 'EXISTS k0\n'));
  expect(alive[0]).toMatch(/^ERR aborted /);
  expect(alive.at(-1)).toBe('(integer) 1\n');
}, 300_000);
