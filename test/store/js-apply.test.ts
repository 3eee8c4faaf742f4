/** What only the twin can be asked: a heap that is too small for the next entry. */
import { expect, test } from 'vitest';
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import { crc32c } from '../../src/store/crc32c.js';
import { Applier } from '../../src/store/js-apply.js';
import { nobody } from '../../src/store/js-operations.js';
import { Table } from '../../src/store/js-table.js';
import { Texts } from '../../src/store/js-text.js';
import { defaultLimits, EntryType } from '../../src/store/store.js';
import { testOptions } from './harness.js';
import { dataPayload, peer, set } from './payloads.js';

function recordOf(index: number, payload: Uint8Array): Uint8Array {
  const record = new Uint8Array(RECORD_HEADER_BYTES + payload.length);
  record.set(payload, RECORD_HEADER_BYTES);
  sealRecord(record, { index, term: 1, logTime: 0, wall: 0, type: EntryType.data }, crc32c(payload), crc32c);
  return record;
}

test('an entry that the heap cannot hold is not begun, and what came before it is published', () => {
  const table = new Table();
  const own = { begin: () => nobody, end() {}, gap() {} };
  const applier = new Applier(table, new Texts(defaultLimits), testOptions(), own, 100_000);
  applier.stage(recordOf(1, dataPayload(peer, 1, 1, set('small', 'x'))));
  applier.stage(recordOf(2, dataPayload(peer, 2, 1, set('large', 'x'.repeat(50_000)))));
  expect(applier.apply()).toBe('no-memory');
  expect(applier.applied).toBe(1);
  expect(table.publishedKeys).toBe(1);
  expect(table.current('large')).toBeUndefined();
  expect(applier.apply()).toBe('no-memory');
});
