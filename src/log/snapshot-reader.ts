/** Reads a snapshot, block by block, each verified before anything of it is handed out. */
import { type Disk, DiskError, type DiskFile } from '../env/env.js';
import { asLogError, corrupt, write } from './files.js';
import { SECTOR } from './sector.js';
import {
  BLOCK_BYTES,
  BLOCK_CONTENT,
  BLOCK_HEADER_BYTES,
  blockBytes,
  blockCount,
  bodyBytes,
  contentOf,
  decodeSnapshotHeader,
  decodeTrailer,
  headerBytes,
  headerLength,
  type SnapshotHeader,
  snapshotSeed,
  TRAILER_BYTES,
  verifyBlock,
} from './snapshot-file.js';
import type { Crc32c, SnapshotInfo, SnapshotReader } from './types.js';

/** Reads `length` bytes; fewer at the end of the file. */
function readAt(file: DiskFile, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  return bytes.subarray(0, file.readSync(bytes, position));
}

/** A finished snapshot of this folder. Header and trailer are verified by `open`, blocks when they are read. */
export class SnapshotFile implements SnapshotReader {
  readonly info: SnapshotInfo;
  readonly generation: number;
  readonly begins: boolean;
  readonly #file: DiskFile;
  readonly #crc32c: Crc32c;
  readonly #seed: number;
  /** Where the first block begins. */
  readonly #body: number;
  #block: Uint8Array = new Uint8Array(0);
  /** Number of the block in `#block`; -1 when none is. */
  #number = -1;

  private constructor(file: DiskFile, header: SnapshotHeader, body: number, identity: Uint8Array, crc32c: Crc32c) {
    this.#file = file;
    this.#crc32c = crc32c;
    this.#body = body;
    this.#seed = snapshotSeed(identity, header.info, crc32c);
    this.generation = header.generation;
    this.begins = header.begins;
    const { size, count } = this.#trailer(header);
    this.info = { ...header.info, size, count };
  }

  /** Throws LogError `corrupt` (header or trailer), DiskError. */
  static open(disk: Disk, path: string, identity: Uint8Array, crc32c: Crc32c): SnapshotFile {
    const file = disk.open(path);
    try {
      const body = headerLength(readAt(file, 0, SECTOR));
      if (body === undefined) throw corrupt(path, 0, 'it does not begin like a snapshot');
      const bytes = readAt(file, 0, body);
      if (bytes.length < body) throw corrupt(path, bytes.length, 'it is cut short');
      const header = decodeSnapshotHeader(bytes, identity, crc32c);
      if (typeof header === 'string') throw corrupt(path, 0, header);
      return new SnapshotFile(file, header, body, identity, crc32c);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get path(): string {
    return this.#file.path;
  }

  get size(): number {
    return this.info.size;
  }

  read(offset: number, into: Uint8Array): number {
    const end = Math.min(offset + into.length, this.size);
    for (let at = offset; at < end; ) {
      const number = Math.floor(at / BLOCK_CONTENT);
      const from = at - number * BLOCK_CONTENT;
      const part = this.#told(number).subarray(from, from + end - at);
      into.set(part, at - offset);
      at += part.length;
    }
    return Math.max(0, end - offset);
  }

  /** Verifies every block. Throws LogError `corrupt`, DiskError. */
  verify(): void {
    for (let number = 0; number < blockCount(this.size); number++) this.#content(number);
  }

  close(): void {
    this.#file.close();
  }

  #told(number: number): Uint8Array {
    try {
      return this.#content(number);
    } catch (error) {
      throw asLogError(error);
    }
  }

  #content(number: number): Uint8Array {
    const length = contentOf(this.size, number);
    if (this.#number !== number) {
      const position = this.#body + number * BLOCK_BYTES;
      this.#number = -1;
      this.#block = readAt(this.#file, position, blockBytes(length));
      if (!verifyBlock(this.#block, number, length, this.#seed, this.#crc32c))
        throw corrupt(this.path, position, `block ${number} of the snapshot has changed`);
      this.#number = number;
    }
    return this.#block.subarray(BLOCK_HEADER_BYTES, BLOCK_HEADER_BYTES + length);
  }

  #trailer({ info }: SnapshotHeader): { size: number; count: number } {
    const end = this.#file.size();
    const at = Math.max(0, end - TRAILER_BYTES);
    const trailer = decodeTrailer(readAt(this.#file, at, TRAILER_BYTES), this.#seed, this.#crc32c);
    if (!trailer) throw corrupt(this.path, at, 'it does not end with the trailer of a snapshot');
    if (this.#body + bodyBytes(trailer.size) + TRAILER_BYTES !== end)
      throw corrupt(this.path, at, `the snapshot has ${end} bytes, its trailer says otherwise`);
    if (trailer.stateHash !== info.stateHash) throw corrupt(this.path, at, 'header and trailer disagree');
    return trailer;
  }
}

/** The same; undefined when it cannot be read. */
function readable(file: DiskFile, position: number, length: number): Uint8Array | undefined {
  try {
    return readAt(file, position, length);
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    return undefined;
  }
}

/**
 * How much of an unfinished snapshot is there: bytes of content in whole, good blocks from the first on. What is read may
 * stand in the page cache alone, left there by a write that failed: but for the first `durable` bytes of content it is
 * written again, through O_DSYNC, before it counts. `pause` is waited for after each block, so that a large file blocks
 * nothing; `stopped` is asked then. Rejects with DiskError.
 */
export async function verifiedBytes(
  file: DiskFile,
  { meta, size }: SnapshotInfo,
  seed: number,
  crc32c: Crc32c,
  durable: number,
  pause: () => Promise<void>,
  stopped: () => boolean,
): Promise<number> {
  const body = headerBytes(meta);
  for (let number = 0; number < blockCount(size); number++) {
    const length = contentOf(size, number);
    const position = body + number * BLOCK_BYTES;
    const good = readable(file, position, blockBytes(length));
    if (!good || !verifyBlock(good, number, length, seed, crc32c)) return number * BLOCK_CONTENT;
    if (number * BLOCK_CONTENT + length > durable) await write(file, good, position);
    await pause();
    if (stopped()) return 0;
  }
  return size;
}
