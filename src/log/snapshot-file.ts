/**
 * A snapshot as a file: a header, the content in blocks, a trailer. All of it in whole sectors.
 *
 * The header:
 *
 * ```
 *  0  u32   magic 0x314e4c44 ("DLN1")
 *  4  u32   CRC32C of everything from 8 to the first block
 *  8  u32   format: 1
 * 12  u32   generation of the log that goes on behind the snapshot
 * 16  u64   index of the last entry in the snapshot
 * 24  u64   its term
 * 32  u64   its log time, ms
 * 40  u64   state hash
 * 48  u32   flags: 1 the generation begins behind this snapshot
 * 52  u32   length of the host's bytes
 * 56  16 B  folder identity
 * 72  the host's bytes, then zeros up to a whole sector
 * ```
 *
 * A block, of 262,144 bytes; the last one is shorter, with zeros up to a whole sector:
 *
 * ```
 *  0  u32  magic 0x314b4c44 ("DLK1")
 *  4  u32  CRC32C of everything from 8 to the next block, seeded with the snapshot
 *  8  u32  number of the block, from 0
 * 12  u32  length of its content
 * 16  content
 * ```
 *
 * The trailer, one sector, which ends the file:
 *
 * ```
 *  0  u32  magic 0x31544c44 ("DLT1")
 *  4  u32  CRC32C of bytes 8 … 511, seeded with the snapshot
 *  8  u64  length of the content
 * 16  u64  number of records, as the host counts them
 * 24  u64  state hash
 * 32  u32  number of blocks
 * 36  zeros
 * 512 end
 * ```
 *
 * The snapshot is (folder identity, index, term, state hash, host's bytes): no block of another snapshot passes for one of this,
 * not even of one of the same state, which may hold the same records in another order. Every byte of the file is under a CRC.
 */
import { equalBytes, readU64, viewOf, writeU64 } from './bytes.js';
import { padToSector, SECTOR } from './sector.js';
import type { Crc32c, SnapshotInfo } from './types.js';

export const SNAPSHOT_MAGIC = 0x314e4c44;
export const BLOCK_MAGIC = 0x314b4c44;
export const TRAILER_MAGIC = 0x31544c44;
export const SNAPSHOT_FORMAT = 1;
/** Bytes of a block on disk: what one write takes, and one read verifies. */
export const BLOCK_BYTES = 256 * 1024;
export const BLOCK_HEADER_BYTES = 16;
/** Bytes of content in every block but the last. */
export const BLOCK_CONTENT = BLOCK_BYTES - BLOCK_HEADER_BYTES;
export const TRAILER_BYTES = SECTOR;
const FLAG_BEGINS = 1;
const MAX_HOST_BYTES = 16 * 1024 * 1024;

/** Offsets of the drawings above. */
export const SnapshotOffset = {
  magic: 0,
  crc: 4,
  format: 8,
  generation: 12,
  index: 16,
  term: 24,
  logTime: 32,
  stateHash: 40,
  flags: 48,
  metaLength: 52,
  identity: 56,
  meta: 72,
} as const;
export const BlockOffset = { magic: 0, crc: 4, number: 8, length: 12, content: 16 } as const;
export const TrailerOffset = {
  magic: 0,
  crc: 4,
  size: 8,
  count: 16,
  stateHash: 24,
  blocks: 32,
  zeros: 36,
} as const;

/** What identifies a snapshot within a cluster, before its size is known: `meta` is like no other snapshot's. */
export type SnapshotKey = Pick<SnapshotInfo, 'index' | 'term' | 'stateHash' | 'meta'>;

/** What the header says. */
export interface SnapshotHeader {
  readonly info: Omit<SnapshotInfo, 'size' | 'count'>;
  readonly generation: number;
  /** The log of the generation begins behind this snapshot: nothing of it was written before. */
  readonly begins: boolean;
}

export interface Trailer {
  /** Bytes of content. */
  readonly size: number;
  readonly count: number;
  readonly stateHash: string;
}

function writeHash(view: DataView, offset: number, hash: string): void {
  if (!/^[0-9a-f]{16}$/.test(hash)) throw new Error(`log: a state hash has 16 hexadecimal digits, not ${hash}`);
  view.setUint32(offset, Number.parseInt(hash.slice(8), 16), true);
  view.setUint32(offset + 4, Number.parseInt(hash.slice(0, 8), 16), true);
}

function readHash(view: DataView, offset: number): string {
  const digits = (at: number): string => view.getUint32(at, true).toString(16).padStart(8, '0');
  return digits(offset + 4) + digits(offset);
}

/** Where the first block begins. */
export function headerBytes(meta: Uint8Array): number {
  if (meta.length > MAX_HOST_BYTES) throw new Error(`log: ${meta.length} bytes are too many beside a snapshot`);
  return padToSector(SnapshotOffset.meta + meta.length);
}

/** The seed of the CRCs of blocks and trailer. */
export function snapshotSeed(identity: Uint8Array, key: SnapshotKey, crc32c: Crc32c): number {
  const bytes = new Uint8Array(44);
  const view = viewOf(bytes, 0, bytes.length);
  bytes.set(identity);
  writeU64(view, 16, 'log: index of the snapshot', key.index);
  writeU64(view, 24, 'log: term of the snapshot', key.term);
  writeHash(view, 32, key.stateHash);
  view.setUint32(40, crc32c(key.meta), true);
  return crc32c(bytes) >>> 0;
}

export function encodeSnapshotHeader(header: SnapshotHeader, identity: Uint8Array, crc32c: Crc32c): Uint8Array {
  const { info, generation, begins } = header;
  const bytes = new Uint8Array(headerBytes(info.meta));
  const view = viewOf(bytes, 0, bytes.length);
  view.setUint32(SnapshotOffset.magic, SNAPSHOT_MAGIC, true);
  view.setUint32(SnapshotOffset.format, SNAPSHOT_FORMAT, true);
  view.setUint32(SnapshotOffset.generation, generation, true);
  writeU64(view, SnapshotOffset.index, 'log: index of the snapshot', info.index);
  writeU64(view, SnapshotOffset.term, 'log: term of the snapshot', info.term);
  writeU64(view, SnapshotOffset.logTime, 'log: log time of the snapshot', info.logTime);
  writeHash(view, SnapshotOffset.stateHash, info.stateHash);
  view.setUint32(SnapshotOffset.flags, begins ? FLAG_BEGINS : 0, true);
  view.setUint32(SnapshotOffset.metaLength, info.meta.length, true);
  bytes.set(identity, SnapshotOffset.identity);
  bytes.set(info.meta, SnapshotOffset.meta);
  view.setUint32(SnapshotOffset.crc, crc32c(bytes.subarray(SnapshotOffset.format)), true);
  return bytes;
}

/** Bytes of the header that begins with the sector `first`; undefined when it says nothing sensible. */
export function headerLength(first: Uint8Array): number | undefined {
  if (first.length < SECTOR) return undefined;
  const view = viewOf(first, 0, SECTOR);
  const length = view.getUint32(SnapshotOffset.metaLength, true);
  if (view.getUint32(SnapshotOffset.magic, true) !== SNAPSHOT_MAGIC || length > MAX_HOST_BYTES) return undefined;
  return padToSector(SnapshotOffset.meta + length);
}

/** What is wrong with a header (all of its bytes) of this folder's, or what it says. */
export function decodeSnapshotHeader(bytes: Uint8Array, identity: Uint8Array, crc32c: Crc32c): SnapshotHeader | string {
  const view = viewOf(bytes, 0, bytes.length);
  if (view.getUint32(SnapshotOffset.magic, true) !== SNAPSHOT_MAGIC) return 'it does not begin with DLN1';
  const crc = crc32c(bytes.subarray(SnapshotOffset.format)) >>> 0;
  if (crc !== view.getUint32(SnapshotOffset.crc, true)) return 'wrong CRC of the header';
  if (view.getUint32(SnapshotOffset.format, true) !== SNAPSHOT_FORMAT) return 'unknown format of the snapshot';
  if (!equalBytes(bytes.subarray(SnapshotOffset.identity, SnapshotOffset.meta), identity))
    return 'the snapshot belongs to another folder';
  const length = view.getUint32(SnapshotOffset.metaLength, true);
  return {
    info: {
      index: readU64(view, SnapshotOffset.index),
      term: readU64(view, SnapshotOffset.term),
      logTime: readU64(view, SnapshotOffset.logTime),
      stateHash: readHash(view, SnapshotOffset.stateHash),
      meta: bytes.slice(SnapshotOffset.meta, SnapshotOffset.meta + length),
    },
    generation: view.getUint32(SnapshotOffset.generation, true),
    begins: (view.getUint32(SnapshotOffset.flags, true) & FLAG_BEGINS) !== 0,
  };
}

/** Bytes on disk of a block with `length` bytes of content. */
export function blockBytes(length: number): number {
  return padToSector(BLOCK_HEADER_BYTES + length);
}

/** Fills in header and padding round the content, which stands in `block` (the whole block) from 16 on. */
export function sealBlock(block: Uint8Array, number: number, length: number, seed: number, crc32c: Crc32c): void {
  const view = viewOf(block, 0, BLOCK_HEADER_BYTES);
  block.fill(0, BLOCK_HEADER_BYTES + length);
  view.setUint32(BlockOffset.magic, BLOCK_MAGIC, true);
  view.setUint32(BlockOffset.number, number, true);
  view.setUint32(BlockOffset.length, length, true);
  view.setUint32(BlockOffset.crc, crc32c(block.subarray(BlockOffset.number), seed), true);
}

/** Whether `block` is whole and block `number` of the snapshot, with `length` bytes of content. */
export function verifyBlock(block: Uint8Array, number: number, length: number, seed: number, crc32c: Crc32c): boolean {
  if (block.length !== blockBytes(length)) return false;
  const view = viewOf(block, 0, BLOCK_HEADER_BYTES);
  return (
    view.getUint32(BlockOffset.magic, true) === BLOCK_MAGIC &&
    view.getUint32(BlockOffset.number, true) === number &&
    view.getUint32(BlockOffset.length, true) === length &&
    view.getUint32(BlockOffset.crc, true) === crc32c(block.subarray(BlockOffset.number), seed) >>> 0
  );
}

export function blockCount(size: number): number {
  return Math.ceil(size / BLOCK_CONTENT);
}

/** Bytes of content in block `number` of a snapshot with `size` of them. */
export function contentOf(size: number, number: number): number {
  return Math.min(BLOCK_CONTENT, size - number * BLOCK_CONTENT);
}

/** Bytes that the blocks of `size` bytes of content take. */
export function bodyBytes(size: number): number {
  const last = blockCount(size) - 1;
  return last < 0 ? 0 : last * BLOCK_BYTES + blockBytes(contentOf(size, last));
}

export function encodeTrailer(trailer: Trailer, seed: number, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(TRAILER_BYTES);
  const view = viewOf(bytes, 0, TRAILER_BYTES);
  view.setUint32(TrailerOffset.magic, TRAILER_MAGIC, true);
  writeU64(view, TrailerOffset.size, 'log: size of the snapshot', trailer.size);
  writeU64(view, TrailerOffset.count, 'log: records of the snapshot', trailer.count);
  writeHash(view, TrailerOffset.stateHash, trailer.stateHash);
  view.setUint32(TrailerOffset.blocks, blockCount(trailer.size), true);
  view.setUint32(TrailerOffset.crc, crc32c(bytes.subarray(TrailerOffset.size), seed), true);
  return bytes;
}

/** What the last sector of the file says; undefined when it is no valid trailer of this snapshot. */
export function decodeTrailer(bytes: Uint8Array, seed: number, crc32c: Crc32c): Trailer | undefined {
  if (bytes.length !== TRAILER_BYTES) return undefined;
  const view = viewOf(bytes, 0, TRAILER_BYTES);
  if (view.getUint32(TrailerOffset.magic, true) !== TRAILER_MAGIC) return undefined;
  const crc = crc32c(bytes.subarray(TrailerOffset.size), seed) >>> 0;
  if (crc !== view.getUint32(TrailerOffset.crc, true)) return undefined;
  return {
    size: readU64(view, TrailerOffset.size),
    count: readU64(view, TrailerOffset.count),
    stateHash: readHash(view, TrailerOffset.stateHash),
  };
}

const NAME = /^snapshot-(\d{10})-(\d{16})\.snap$/;

export function snapshotName(generation: number, index: number): string {
  return `snapshot-${String(generation).padStart(10, '0')}-${String(index).padStart(16, '0')}.snap`;
}

/** Generation and index in the name of a snapshot; undefined for the name of anything else. */
export function parseSnapshotName(name: string): { generation: number; index: number } | undefined {
  const match = NAME.exec(name);
  return match ? { generation: Number(match[1]), index: Number(match[2]) } : undefined;
}

/** The ending of a snapshot that is being received: it outlives a restart. */
export const PARTIAL = '.part';

/** The name says all that identifies what the sender sends. */
export function partialName({ index, term, stateHash, size, meta }: SnapshotInfo, crc32c: Crc32c): string {
  const crc = (crc32c(meta) >>> 0).toString(16).padStart(8, '0');
  return `incoming-${index}-${term}-${stateHash}-${size}-${crc}${PARTIAL}`;
}
