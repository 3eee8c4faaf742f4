/**
 * The header of a record: one entry of the log, the same bytes on the wire, on disk and in memory.
 *
 * ```
 *  0  u32  magic 0x31454c44 ("DLE1")
 *  4  u32  CRC32C of bytes 8 … 63
 *  8  u64  index
 * 16  u64  term
 * 24  u64  log time, ms
 * 32  u64  the leader's wall clock, ms since the Unix epoch
 * 40  u32  payload length, bytes
 * 44  u32  CRC32C of the payload
 * 48  u8   type
 * 49  u8   format of the record: 1
 * 50  u16  flags: 0
 * 52  u32  reserved: 0
 * 56  u64  reserved: 0
 * 64  payload
 * ```
 *
 * All integers are little-endian; the u64 are safe integers (below 2^53). Whoever encodes a payload leaves 64 bytes of
 * room in front of it and makes the payload's CRC; the leader fills in the room, once, and nobody changes it after that.
 */
import { readU64, viewOf, writeU64 } from './bytes.js';
import type { Crc32c } from './types.js';

/** Bytes of the header: the room in front of every payload. */
export const RECORD_HEADER_BYTES = 64;
export const RECORD_MAGIC = 0x31454c44;
export const RECORD_FORMAT = 1;

/** Offsets of the drawing above. */
export const RecordOffset = {
  magic: 0,
  headerCrc: 4,
  index: 8,
  term: 16,
  logTime: 24,
  wall: 32,
  payloadLength: 40,
  payloadCrc: 44,
  type: 48,
  format: 49,
  flags: 50,
  reserved: 52,
} as const;

/** What the leader decides about an entry. Times are in milliseconds; all but `type` are safe integers. */
export interface RecordFields {
  readonly index: number;
  readonly term: number;
  readonly logTime: number;
  readonly wall: number;
  /** 0 no-op, 1 data, 2 config. */
  readonly type: number;
}

export interface Header extends RecordFields {
  /** Bytes of the payload behind the header. */
  readonly payloadLength: number;
  readonly payloadCrc: number;
}

/**
 * Fills in the header in place: `record` is 64 bytes of unused room (magic 0), then the payload, whose CRC32C is
 * `payloadCrc`. Throws when the room is in use (a record must never be sealed twice) or a field is out of range.
 */
export function sealRecord(record: Uint8Array, fields: RecordFields, payloadCrc: number, crc32c: Crc32c): void {
  if (record.length < RECORD_HEADER_BYTES) {
    throw new Error(`record: needs ${RECORD_HEADER_BYTES} bytes of room for its header, has ${record.length}`);
  }
  const header = viewOf(record, 0, RECORD_HEADER_BYTES);
  if (header.getUint32(RecordOffset.magic, true) !== 0) throw new Error('record: is sealed already');
  if (!Number.isInteger(fields.type) || fields.type < 0 || fields.type > 255) {
    throw new Error(`record: type must be a byte, not ${fields.type}`);
  }
  writeU64(header, RecordOffset.index, 'record: index', fields.index);
  writeU64(header, RecordOffset.term, 'record: term', fields.term);
  writeU64(header, RecordOffset.logTime, 'record: log time', fields.logTime);
  writeU64(header, RecordOffset.wall, 'record: wall clock', fields.wall);
  header.setUint32(RecordOffset.payloadLength, record.length - RECORD_HEADER_BYTES, true);
  header.setUint32(RecordOffset.payloadCrc, payloadCrc, true);
  header.setUint8(RecordOffset.type, fields.type);
  header.setUint8(RecordOffset.format, RECORD_FORMAT);
  record.fill(0, RecordOffset.flags, RECORD_HEADER_BYTES);
  header.setUint32(RecordOffset.headerCrc, crc32c(record.subarray(RecordOffset.index, RECORD_HEADER_BYTES)), true);
  header.setUint32(RecordOffset.magic, RECORD_MAGIC, true);
}

/** Reads the header of a record that was verified before. Throws RangeError when fewer than 64 bytes are left. */
export function readHeader(record: Uint8Array, offset = 0): Header {
  const header = viewOf(record, offset, RECORD_HEADER_BYTES);
  return {
    index: readU64(header, RecordOffset.index),
    term: readU64(header, RecordOffset.term),
    logTime: readU64(header, RecordOffset.logTime),
    wall: readU64(header, RecordOffset.wall),
    type: header.getUint8(RecordOffset.type),
    payloadLength: header.getUint32(RecordOffset.payloadLength, true),
    payloadCrc: header.getUint32(RecordOffset.payloadCrc, true),
  };
}

/**
 * The header of the record at `offset`, if a whole and undamaged record begins there: magic, format, both CRCs, a length
 * that stays within `bytes`, and u64 fields that are safe integers. Else undefined.
 */
export function verifyRecord(bytes: Uint8Array, offset: number, crc32c: Crc32c): Header | undefined {
  if (offset < 0 || offset + RECORD_HEADER_BYTES > bytes.length) return undefined;
  const raw = viewOf(bytes, offset, RECORD_HEADER_BYTES);
  if (raw.getUint32(RecordOffset.magic, true) !== RECORD_MAGIC) return undefined;
  if (raw.getUint8(RecordOffset.format) !== RECORD_FORMAT) return undefined;
  const body = bytes.subarray(offset + RecordOffset.index, offset + RECORD_HEADER_BYTES);
  if (crc32c(body) >>> 0 !== raw.getUint32(RecordOffset.headerCrc, true)) return undefined;
  const header = readHeader(bytes, offset);
  const end = offset + RECORD_HEADER_BYTES + header.payloadLength;
  if (end > bytes.length) return undefined;
  const numbers = [header.index, header.term, header.logTime, header.wall];
  if (!numbers.every(Number.isSafeInteger)) return undefined;
  if (crc32c(bytes.subarray(offset + RECORD_HEADER_BYTES, end)) >>> 0 !== header.payloadCrc) return undefined;
  return header;
}
