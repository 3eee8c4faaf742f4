/** More input than the kernel has memory for clients: takes more than a gigabyte, so not for every commit. */
import { expect, test } from 'vitest';
import { WasmStore } from '../../src/store/wasm-store.js';
import { Harness, testOptions } from './harness.js';

test('clients cannot take all memory: input and commands are refused, and the store goes on', () => {
  const h = new Harness(new WasmStore(testOptions(), 'release'));
  const clients = Array.from({ length: 20 }, () => h.open());
  const chunk = new Uint8Array(4_000_000).fill(0x78);
  chunk[chunk.length - 1] = 0x0a;
  // Held back, and fed all the same: what a node never does.
  for (const c of clients) h.store.pause(c, true);
  for (let i = 0; i < 16; i++) {
    for (const c of clients) h.store.feed(c, chunk);
  }
  h.store.ingest(1);
  expect(h.store.stats().reservedBytes).toBeLessThan(1_400_000_000);
  const other = h.open();
  expect(h.send(other, 'SET a 1\nGET a\n')).toMatch(/^(?:OK\n"1"\n|ERR .*\n)/);
  for (const c of clients) h.store.close(c);
  h.run();
  expect(h.send(h.open(), 'SET a 2\nGET a\n')).toBe('OK\n"2"\n');
  expect(h.store.stats().usedBytes).toBeLessThan(1_000_000);
}, 60_000);
