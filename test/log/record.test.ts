import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  RECORD_FORMAT,
  RECORD_HEADER_BYTES,
  RECORD_MAGIC,
  RecordOffset,
  readHeader,
  sealRecord,
  verifyRecord,
} from '../../src/log/record.js';
import { plainCrc32c } from './crc32c.js';
import { drawing } from './drawing.js';

const fields = { index: 7, term: 2 ** 40 + 3, logTime: 1234, wall: 1_700_000_000_123, type: 1 };

function sealed(payload: Uint8Array, of = fields): Uint8Array {
  const record = new Uint8Array(RECORD_HEADER_BYTES + payload.length);
  record.set(payload, RECORD_HEADER_BYTES);
  sealRecord(record, of, plainCrc32c(payload), plainCrc32c);
  return record;
}

describe('the header of a record', () => {
  it('knows the check value of CRC32C', () => {
    expect(plainCrc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
  });

  it('stands where its drawing says, here and in ARCHITECTURE.md', () => {
    for (const file of ['src/log/record.ts', 'ARCHITECTURE.md']) {
      const rows = drawing(readFileSync(file, 'utf8'), 'magic 0x31454c44');
      const at = (text: string) => rows.find((row) => row.text.startsWith(text))?.offset;
      expect(at('magic')).toBe(RecordOffset.magic);
      expect(at('CRC32C of bytes')).toBe(RecordOffset.headerCrc);
      expect(at('index')).toBe(RecordOffset.index);
      expect(at('term')).toBe(RecordOffset.term);
      expect(at('log time')).toBe(RecordOffset.logTime);
      expect(at("the leader's wall clock")).toBe(RecordOffset.wall);
      expect(at('payload length')).toBe(RecordOffset.payloadLength);
      expect(at('CRC32C of the payload')).toBe(RecordOffset.payloadCrc);
      expect(at('type')).toBe(RecordOffset.type);
      expect(at('format')).toBe(RecordOffset.format);
      expect(at('flags')).toBe(RecordOffset.flags);
      expect(at('reserved')).toBe(RecordOffset.reserved);
      expect(rows.at(-1)).toEqual({ offset: RECORD_HEADER_BYTES, bytes: 0, text: 'payload' });
      for (const [i, row] of rows.slice(0, -1).entries()) expect(row.offset + row.bytes).toBe(rows[i + 1]!.offset);
    }
  });

  it('is written byte for byte as drawn', () => {
    const payload = new Uint8Array([1, 2, 3]);
    const record = sealed(payload);
    const view = new DataView(record.buffer);
    expect(view.getUint32(0, true)).toBe(RECORD_MAGIC);
    expect(new TextDecoder().decode(record.subarray(0, 4))).toBe('DLE1');
    expect(view.getUint32(4, true)).toBe(plainCrc32c(record.subarray(8, 64)));
    expect(view.getBigUint64(8, true)).toBe(7n);
    expect(view.getBigUint64(16, true)).toBe(2n ** 40n + 3n);
    expect(view.getBigUint64(24, true)).toBe(1234n);
    expect(view.getBigUint64(32, true)).toBe(1_700_000_000_123n);
    expect(view.getUint32(40, true)).toBe(3);
    expect(view.getUint32(44, true)).toBe(plainCrc32c(payload));
    expect([record[48], record[49], ...record.subarray(50, 64)]).toEqual([1, RECORD_FORMAT, ...new Array(14).fill(0)]);
  });

  it('comes back as it was sealed, for any fields and payload, at any offset', () => {
    const number = fc.maxSafeNat();
    const any = fc.record({ index: number, term: number, logTime: number, wall: number, type: fc.nat(255) });
    fc.assert(
      fc.property(any, fc.uint8Array({ maxLength: 300 }), fc.nat(70), (some, payload, offset) => {
        const bytes = new Uint8Array(offset + 64 + payload.length + 9);
        bytes.set(sealed(payload, some), offset);
        const expected = { ...some, payloadLength: payload.length, payloadCrc: plainCrc32c(payload) };
        expect(verifyRecord(bytes, offset, plainCrc32c)).toEqual(expected);
        expect(readHeader(bytes, offset)).toEqual(expected);
      }),
    );
  });

  it('is refused with any bit flipped, any byte missing, or no room', () => {
    const record = sealed(new Uint8Array([9, 8, 7, 6]));
    for (let bit = 0; bit < record.length * 8; bit++) {
      record[bit >> 3]! ^= 1 << (bit & 7);
      expect(verifyRecord(record, 0, plainCrc32c)).toBeUndefined();
      record[bit >> 3]! ^= 1 << (bit & 7);
    }
    for (let length = 0; length < record.length; length++) {
      expect(verifyRecord(record.subarray(0, length), 0, plainCrc32c)).toBeUndefined();
    }
    expect(verifyRecord(record, 0, plainCrc32c)).toBeDefined();
    expect(verifyRecord(record, -1, plainCrc32c)).toBeUndefined();
  });

  it('is sealed once only, and only with fields that fit', () => {
    const record = sealed(new Uint8Array(1));
    expect(() => sealRecord(record, fields, 0, plainCrc32c)).toThrow('sealed already');
    expect(() => sealRecord(new Uint8Array(63), fields, 0, plainCrc32c)).toThrow('64 bytes of room');
    const room = () => new Uint8Array(64);
    expect(() => sealRecord(room(), { ...fields, index: 2 ** 53 }, 0, plainCrc32c)).toThrow('index');
    expect(() => sealRecord(room(), { ...fields, term: -1 }, 0, plainCrc32c)).toThrow('term');
    expect(() => sealRecord(room(), { ...fields, logTime: 0.5 }, 0, plainCrc32c)).toThrow('log time');
    expect(() => sealRecord(room(), { ...fields, type: 256 }, 0, plainCrc32c)).toThrow('type');
  });
});
