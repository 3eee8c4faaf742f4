/**
 * A segment: one file of the log, of fixed size, made ahead and filled with the pattern.
 *
 * ```
 *  0  u32   magic 0x31534c44 ("DLS1")
 *  4  u32   CRC32C of bytes 8 … 511
 *  8  u32   format: 1
 * 12  u32   generation
 * 16  u32   number of the segment
 * 20  u32   reserved: 0
 * 24  u64   size of the file, bytes
 * 32  16 B  folder identity
 * 48  zeros
 * 512 batches
 * ```
 *
 * A segment is written under a temporary name, made durable, renamed, and its folder is synced: under its own name it is
 * whole. Its size stands in it, so a file that was cut is told from one that ends.
 */
import { type Disk, DiskError, type DiskFile } from '../env/env.js';
import { equalBytes, readU64, viewOf, writeU64 } from './bytes.js';
import { join, TEMPORARY } from './files.js';
import { fillPattern, type Place, SECTOR } from './sector.js';
import type { Crc32c } from './types.js';

export const SEGMENT_HEADER_BYTES = SECTOR;
export const SEGMENT_MAGIC = 0x31534c44;
export const SEGMENT_FORMAT = 1;
/** The generation of a log that no snapshot has cut yet. */
export const FIRST_GENERATION = 1;

/** Offsets of the drawing above. */
export const SegmentOffset = {
  magic: 0,
  crc: 4,
  format: 8,
  generation: 12,
  segment: 16,
  reserved: 20,
  size: 24,
  identity: 32,
  zeros: 48,
} as const;

/** The first segment of a generation is no larger, so that it is made fast; the others are made in the background. */
export const FIRST_SEGMENT_BYTES = 4 * 1024 * 1024;
/** Bytes that are filled in one write: few enough not to stand long in the way of a batch. */
const CHUNK = 256 * 1024;
const NAME = /^wal-(\d{10})-(\d{10})\.seg$/;

export function segmentName(generation: number, segment: number): string {
  return `wal-${String(generation).padStart(10, '0')}-${String(segment).padStart(10, '0')}.seg`;
}

/** Generation and number in the name of a segment; undefined for the name of anything else. */
export function parseSegmentName(name: string): { generation: number; segment: number } | undefined {
  const match = NAME.exec(name);
  return match ? { generation: Number(match[1]), segment: Number(match[2]) } : undefined;
}

export function encodeSegmentHeader(place: Place, size: number, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = viewOf(bytes, 0, bytes.length);
  view.setUint32(SegmentOffset.magic, SEGMENT_MAGIC, true);
  view.setUint32(SegmentOffset.format, SEGMENT_FORMAT, true);
  view.setUint32(SegmentOffset.generation, place.generation, true);
  view.setUint32(SegmentOffset.segment, place.segment, true);
  writeU64(view, SegmentOffset.size, 'log: size of the segment', size);
  bytes.set(place.identity, SegmentOffset.identity);
  view.setUint32(SegmentOffset.crc, crc32c(bytes.subarray(8)), true);
  return bytes;
}

/** What is wrong with the header of the segment `file` (its whole content); undefined when it is the one of `place`. */
export function segmentFault(file: Uint8Array, place: Place, crc32c: Crc32c): string | undefined {
  if (file.length < SEGMENT_HEADER_BYTES) return 'the segment is cut short';
  const view = viewOf(file, 0, SEGMENT_HEADER_BYTES);
  if (view.getUint32(SegmentOffset.magic, true) !== SEGMENT_MAGIC) return 'the segment does not begin with DLS1';
  const crc = crc32c(file.subarray(8, SEGMENT_HEADER_BYTES)) >>> 0;
  if (crc !== view.getUint32(SegmentOffset.crc, true)) return 'wrong CRC of the segment header';
  if (view.getUint32(SegmentOffset.format, true) !== SEGMENT_FORMAT) return 'unknown format of the segment';
  const identity = file.subarray(SegmentOffset.identity, SegmentOffset.identity + place.identity.length);
  if (!equalBytes(identity, place.identity)) return 'the segment belongs to another folder';
  const generation = view.getUint32(SegmentOffset.generation, true);
  const segment = view.getUint32(SegmentOffset.segment, true);
  if (generation !== place.generation || segment !== place.segment) {
    return `the segment is number ${segment} of generation ${generation}, its name says otherwise`;
  }
  const size = readU64(view, SegmentOffset.size);
  if (size !== file.length) return `the segment has ${file.length} bytes, its header says ${size}`;
  return undefined;
}

interface Filling {
  readonly place: Place;
  readonly from: number;
  readonly to: number;
  /** Asked after each chunk, which ends at `end`. */
  readonly stopped: (end: number) => boolean;
}

/** Fills a part of a file (at least one sector) with its pattern, chunk by chunk, each write aligned to the chunk's size. */
function fillFile(file: DiskFile, filling: Filling, done: (error?: DiskError) => void): void {
  const { place, to } = filling;
  const chunk = new Uint8Array(Math.min(CHUNK, to - filling.from));
  const next = (at: number): void => {
    const part = chunk.subarray(0, Math.min(chunk.length, CHUNK - (at % CHUNK), to - at));
    fillPattern(place, at, part);
    file.write(part, at, (error) => {
      const end = at + part.length;
      if (error || filling.stopped(end) || end >= to) done(error);
      else next(end);
    });
  };
  next(filling.from);
}

/** Writes the pattern over everything from `from` up to `to`, durably: nothing that stood there can come back. Rejects with DiskError. */
export async function refill(disk: Disk, path: string, place: Place, from: number, to: number): Promise<void> {
  if (from >= to) return;
  const file = disk.open(path);
  try {
    await new Promise<void>((resolve, reject) => {
      fillFile(file, { place, from, to, stopped: () => false }, (error) => (error ? reject(error) : resolve()));
    });
    file.syncSync();
  } finally {
    file.close();
  }
}

/** What it takes to make a segment. */
export interface SegmentSpec {
  readonly disk: Disk;
  readonly directory: string;
  readonly place: Place;
  readonly size: number;
  readonly crc32c: Crc32c;
  /** In the background: many small durable writes, so that the loop is never blocked. Else one sync at the end. */
  readonly background: boolean;
}

/** The making of a segment, which replaces one of the same name that was never written to. */
export class SegmentMaking {
  readonly #spec: SegmentSpec;
  readonly #path: string;
  #ended: (error?: DiskError) => void;
  #stopped = false;
  #left: number;

  /** Begins; `done` is called once, later. Throws DiskError when not even the file can be made. */
  constructor(spec: SegmentSpec, done: (error?: DiskError) => void) {
    this.#spec = spec;
    this.#left = spec.size;
    this.#path = join(spec.directory, segmentName(spec.place.generation, spec.place.segment));
    this.#ended = done;
    this.#begin();
  }

  /** Bytes that are not written yet. */
  get left(): number {
    return this.#left;
  }

  /** Gives up. `ended` is called instead of `done`, when the write under way is over and the unfinished file is removed. */
  stop(ended: () => void): void {
    this.#stopped = true;
    this.#ended = ended;
  }

  #begin(): void {
    const { disk, place, size, crc32c, background } = this.#spec;
    const temporary = this.#path + TEMPORARY;
    if (disk.exists(temporary)) disk.unlink(temporary);
    const file = disk.open(temporary, { create: true, exclusive: true, dsync: background });
    file.write(encodeSegmentHeader(place, size, crc32c), 0, (failed) => {
      const stopped = (end: number): boolean => {
        this.#left = size - end;
        return this.#stopped;
      };
      const filling = { place, from: SEGMENT_HEADER_BYTES, to: size, stopped };
      if (failed || this.#stopped) this.#end(file, failed);
      else fillFile(file, filling, (error) => this.#end(file, error));
    });
  }

  #end(file: DiskFile, failed: DiskError | undefined): void {
    let error = failed;
    try {
      if (!error && !this.#stopped && !this.#spec.background) file.syncSync();
      file.close();
      if (error || this.#stopped) this.#spec.disk.unlink(this.#path + TEMPORARY);
      else this.#publish();
    } catch (caught) {
      if (!(caught instanceof DiskError)) throw caught;
      error ??= caught;
    }
    this.#ended(error);
  }

  #publish(): void {
    this.#spec.disk.rename(this.#path + TEMPORARY, this.#path);
    this.#spec.disk.syncDir(this.#spec.directory);
  }
}

/** Makes a segment and waits for it. Rejects with DiskError. */
export function makeSegment(spec: SegmentSpec): Promise<void> {
  return new Promise((resolve, reject) => {
    new SegmentMaking(spec, (error) => (error ? reject(error) : resolve()));
  });
}
