/**
 * A batch: what one write of the log makes durable, and the unit of recovery.
 *
 * A header of one sector, then the records back to back, then zeros up to a whole sector:
 *
 * ```
 *  0  u32  magic 0x31424c44 ("DLB1")
 *  4  u32  CRC32C of bytes 8 … 511, seeded with the place
 *  8  u64  number of the batch, gapless from 1
 * 16  u32  length of the records, bytes
 * 20  u32  number of records
 * 24  u32  CRC32C of all sectors behind the header, seeded with the place
 * 28  u32  reserved: 0
 * 32  u64  index of the first record
 * 40  zeros
 * 512 records
 * ```
 *
 * The place is (folder identity, generation, segment, offset of the header). Invariants: a batch lies in one segment and
 * begins on a sector; batch n + 1 is written only after batch n is durable.
 */
import { getU32, getU64, putU32, putU64 } from './bytes.js';
import { type Place, padToSector, placeSeed, SECTOR } from './sector.js';
import type { Crc32c } from './types.js';

export const BATCH_HEADER_BYTES = SECTOR;
export const BATCH_MAGIC = 0x31424c44;

/** Offsets of the drawing above. */
export const BatchOffset = {
  magic: 0,
  headerCrc: 4,
  number: 8,
  length: 16,
  count: 20,
  bodyCrc: 24,
  reserved: 28,
  firstIndex: 32,
  zeros: 40,
} as const;

export interface BatchHeader {
  readonly number: number;
  /** Bytes of the records, without header and padding. */
  readonly length: number;
  readonly count: number;
  readonly bodyCrc: number;
  readonly firstIndex: number;
}

/** Bytes that a batch with `length` bytes of records takes on disk. */
export function batchBytes(length: number): number {
  return BATCH_HEADER_BYTES + padToSector(length);
}

/** Fills in header and padding round the records, which stand in `bytes` from 512 on; `bytes` is the whole batch. */
export function sealBatch(
  bytes: Uint8Array,
  fields: Omit<BatchHeader, 'bodyCrc'>,
  place: Place,
  offset: number,
  crc32c: Crc32c,
): void {
  if (bytes.length !== batchBytes(fields.length)) throw new Error('log: a batch of another length than its records');
  const seed = placeSeed(place, offset, crc32c);
  bytes.fill(0, 0, BATCH_HEADER_BYTES);
  bytes.fill(0, BATCH_HEADER_BYTES + fields.length);
  putU64(bytes, BatchOffset.number, 'log: batch number', fields.number);
  putU32(bytes, BatchOffset.length, fields.length);
  putU32(bytes, BatchOffset.count, fields.count);
  putU32(bytes, BatchOffset.bodyCrc, crc32c(bytes, seed, BATCH_HEADER_BYTES));
  putU64(bytes, BatchOffset.firstIndex, 'log: first index', fields.firstIndex);
  putU32(bytes, BatchOffset.headerCrc, crc32c(bytes, seed, 8, BATCH_HEADER_BYTES));
  putU32(bytes, BatchOffset.magic, BATCH_MAGIC);
}

/** The batch header that stands at `offset` of the segment `file`, if a valid one of this place does. */
export function readBatchHeader(
  file: Uint8Array,
  place: Place,
  offset: number,
  crc32c: Crc32c,
): BatchHeader | undefined {
  if (getU32(file, offset + BatchOffset.magic) !== BATCH_MAGIC) return undefined;
  const crc = crc32c(file, placeSeed(place, offset, crc32c), offset + 8, offset + BATCH_HEADER_BYTES) >>> 0;
  if (crc !== getU32(file, offset + BatchOffset.headerCrc)) return undefined;
  return {
    number: getU64(file, offset + BatchOffset.number),
    length: getU32(file, offset + BatchOffset.length),
    count: getU32(file, offset + BatchOffset.count),
    bodyCrc: getU32(file, offset + BatchOffset.bodyCrc),
    firstIndex: getU64(file, offset + BatchOffset.firstIndex),
  };
}

/** Whether the sectors behind the header are those that the header was made for. The batch lies within `file`. */
export function verifyBody(
  file: Uint8Array,
  header: BatchHeader,
  place: Place,
  offset: number,
  crc32c: Crc32c,
): boolean {
  const body = file.subarray(offset + BATCH_HEADER_BYTES, offset + batchBytes(header.length));
  return crc32c(body, placeSeed(place, offset, crc32c)) >>> 0 === header.bodyCrc;
}
