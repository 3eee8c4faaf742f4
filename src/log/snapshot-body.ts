/**
 * Writes the content of a snapshot in blocks, one write at a time through an O_DSYNC descriptor: when a write is done it
 * is durable, nothing is left for one long fsync, and the loop is never blocked.
 */
import type { DiskFile } from '../env/env.js';
import { write } from './files.js';
import {
  BLOCK_BYTES,
  BLOCK_CONTENT,
  BLOCK_HEADER_BYTES,
  blockBytes,
  bodyBytes,
  encodeSnapshotHeader,
  encodeTrailer,
  headerBytes,
  type SnapshotHeader,
  sealBlock,
  snapshotSeed,
} from './snapshot-file.js';
import type { Crc32c, NewSnapshot, SnapshotTrailer } from './types.js';

export class SnapshotBody {
  readonly #file: DiskFile;
  readonly #identity: Uint8Array;
  readonly #crc32c: Crc32c;
  readonly #seed: number;
  /** Where the first block begins. */
  readonly #begin: number;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  /** Bytes of content in `#block`, which is block `#number`. */
  #filled = 0;
  #number: number;
  #size: number;
  #busy = false;

  /** `file` is open with O_DSYNC; `done` bytes of content, whole blocks or all of it, are in it. */
  constructor(file: DiskFile, info: NewSnapshot, identity: Uint8Array, crc32c: Crc32c, done = 0) {
    this.#file = file;
    this.#identity = identity;
    this.#crc32c = crc32c;
    this.#seed = snapshotSeed(identity, info, crc32c);
    this.#begin = headerBytes(info.meta);
    this.#number = Math.ceil(done / BLOCK_CONTENT);
    this.#size = done;
  }

  /** Bytes of content so far. */
  get size(): number {
    return this.#size;
  }

  /** Takes content, which must not change before. Rejects with DiskError. */
  append(bytes: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      for (let at = 0; at < bytes.length; ) {
        const part = bytes.subarray(at, at + BLOCK_CONTENT - this.#filled);
        this.#block.set(part, BLOCK_HEADER_BYTES + this.#filled);
        this.#filled += part.length;
        this.#size += part.length;
        at += part.length;
        if (this.#filled === BLOCK_CONTENT) await this.#flush();
      }
    });
  }

  /** Writes what is left, and the trailer. Rejects with DiskError. */
  end({ count, stateHash }: SnapshotTrailer): Promise<void> {
    return this.#alone(async () => {
      if (this.#filled > 0) await this.#flush();
      const trailer = encodeTrailer({ size: this.#size, count, stateHash }, this.#seed, this.#crc32c);
      await write(this.#file, trailer, this.#begin + bodyBytes(this.#size));
    });
  }

  /** Writes the header: the last thing, for only now it is known which log goes on behind the snapshot. Rejects with DiskError. */
  async head(header: SnapshotHeader): Promise<void> {
    await write(this.#file, encodeSnapshotHeader(header, this.#identity, this.#crc32c), 0);
  }

  close(): void {
    this.#file.close();
  }

  async #flush(): Promise<void> {
    const block = this.#block.subarray(0, blockBytes(this.#filled));
    sealBlock(block, this.#number, this.#filled, this.#seed, this.#crc32c);
    await write(this.#file, block, this.#begin + this.#number * BLOCK_BYTES);
    this.#number++;
    this.#filled = 0;
  }

  async #alone(work: () => Promise<void>): Promise<void> {
    if (this.#busy) throw new Error('log: two writes to a snapshot at once');
    this.#busy = true;
    await work();
    this.#busy = false;
  }
}
