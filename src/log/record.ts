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
import { getU32, getU64, putU32, putU64 } from './bytes.js';
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
  if (getU32(record, RecordOffset.magic) !== 0) throw new Error('record: is sealed already');
  if (!Number.isInteger(fields.type) || fields.type < 0 || fields.type > 255) {
    throw new Error(`record: type must be a byte, not ${fields.type}`);
  }
  putU64(record, RecordOffset.index, 'record: index', fields.index);
  putU64(record, RecordOffset.term, 'record: term', fields.term);
  putU64(record, RecordOffset.logTime, 'record: log time', fields.logTime);
  putU64(record, RecordOffset.wall, 'record: wall clock', fields.wall);
  putU32(record, RecordOffset.payloadLength, record.length - RECORD_HEADER_BYTES);
  putU32(record, RecordOffset.payloadCrc, payloadCrc);
  record[RecordOffset.type] = fields.type;
  record[RecordOffset.format] = RECORD_FORMAT;
  record.fill(0, RecordOffset.flags, RECORD_HEADER_BYTES);
  putU32(record, RecordOffset.headerCrc, crc32c(record, 0, RecordOffset.index, RECORD_HEADER_BYTES));
  putU32(record, RecordOffset.magic, RECORD_MAGIC);
}

/** Reads the header of a record that was verified before. Throws RangeError when fewer than 64 bytes are left. */
export function readHeader(record: Uint8Array, offset = 0): Header {
  if (offset < 0 || offset + RECORD_HEADER_BYTES > record.length) throw new RangeError('record: no whole header there');
  return {
    index: getU64(record, offset + RecordOffset.index),
    term: getU64(record, offset + RecordOffset.term),
    logTime: getU64(record, offset + RecordOffset.logTime),
    wall: getU64(record, offset + RecordOffset.wall),
    type: record[offset + RecordOffset.type]!,
    payloadLength: getU32(record, offset + RecordOffset.payloadLength),
    payloadCrc: getU32(record, offset + RecordOffset.payloadCrc),
  };
}

/** Whether a sealed record is that of entry `index` of `term`. */
export function isRecordOf(record: Uint8Array, index: number, term: number): boolean {
  return getU64(record, RecordOffset.index) === index && getU64(record, RecordOffset.term) === term;
}

/**
 * The header of the record at `offset`, if a whole and undamaged record begins there: magic, format, both CRCs, a length
 * that stays within `bytes`, and u64 fields that are safe integers. Else undefined.
 */
export function verifyRecord(bytes: Uint8Array, offset: number, crc32c: Crc32c): Header | undefined {
  if (offset < 0 || offset + RECORD_HEADER_BYTES > bytes.length) return undefined;
  const payload = offset + RECORD_HEADER_BYTES;
  if (getU32(bytes, offset + RecordOffset.magic) !== RECORD_MAGIC) return undefined;
  if (bytes[offset + RecordOffset.format] !== RECORD_FORMAT) return undefined;
  const headerCrc = crc32c(bytes, 0, offset + RecordOffset.index, payload) >>> 0;
  if (headerCrc !== getU32(bytes, offset + RecordOffset.headerCrc)) return undefined;
  const header = readHeader(bytes, offset);
  const end = payload + header.payloadLength;
  if (end > bytes.length || !hasSafeNumbers(header)) return undefined;
  if (crc32c(bytes, 0, payload, end) >>> 0 !== header.payloadCrc) return undefined;
  return header;
}

function hasSafeNumbers({ index, term, logTime, wall }: Header): boolean {
  return (
    Number.isSafeInteger(index) &&
    Number.isSafeInteger(term) &&
    Number.isSafeInteger(logTime) &&
    Number.isSafeInteger(wall)
  );
}
