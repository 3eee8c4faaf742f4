/**
 * Writes batches, one at a time: places each in a segment, stages it in one contiguous buffer, and writes that through
 * an O_DSYNC descriptor. The buffer is reused only after the callback of the write that reads it.
 */
import type { DiskError } from '../env/env.js';
import type { Entry } from '../raft/types.js';
import { BATCH_HEADER_BYTES, batchBytes, sealBatch } from './batch.js';
import { SEGMENT_HEADER_BYTES } from './segment.js';
import type { OpenSegment, SegmentSupply } from './segment-supply.js';
import type { Crc32c } from './types.js';

/** Staging buffers above this size are not kept. */
const KEEP_STAGING = 8 * 1024 * 1024;
const FIRST_STAGING = 64 * 1024;

export interface WriterOptions {
  readonly supply: SegmentSupply;
  readonly current: OpenSegment;
  /** Where the next batch begins in the current segment. */
  readonly offset: number;
  /** Number of the next batch. */
  readonly number: number;
  readonly crc32c: Crc32c;
  /** Told when a write begins and ends. */
  readonly times: { begin(): void; end(): void };
  /** Where a record of the batch under way stands; called before its write begins. */
  readonly placed: (entry: Entry, segment: number, offset: number) => void;
}

export class BatchWriter {
  readonly #supply: SegmentSupply;
  readonly #crc32c: Crc32c;
  readonly #times: WriterOptions['times'];
  readonly #placed: WriterOptions['placed'];
  #current: OpenSegment;
  #offset: number;
  #number: number;
  #staging = new Uint8Array(FIRST_STAGING);
  /** Told when the write under way is done; undefined when none is. */
  #done: ((error?: DiskError) => void) | undefined;
  readonly #finish = (error?: DiskError): void => {
    const done = this.#done!;
    this.#done = undefined;
    if (this.#staging.length > KEEP_STAGING) this.#staging = new Uint8Array(FIRST_STAGING);
    done(error);
  };
  readonly #wrote = (error?: DiskError): void => {
    this.#times.end();
    this.#finish(error);
  };
  #waiting = false;

  constructor(options: WriterOptions) {
    this.#supply = options.supply;
    this.#current = options.current;
    this.#offset = options.offset;
    this.#number = options.number;
    this.#crc32c = options.crc32c;
    this.#times = options.times;
    this.#placed = options.placed;
  }

  /** Number of the segment that is written to. */
  get segment(): number {
    return this.#current.place.segment;
  }

  /** The batch under way has no segment yet: nothing of it has been written. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** Writes `entries` (at least one) as one batch; `done` means durable. One at a time. */
  write(entries: readonly Entry[], done: (error?: DiskError) => void): void {
    if (this.#done) throw new Error('log: two writes in flight');
    this.#done = done;
    let length = 0;
    for (let i = 0; i < entries.length; i++) length += entries[i]!.bytes.length;
    if (this.#offset + batchBytes(length) <= this.#current.size) this.#writeHere(entries, length);
    else this.#writeToNext(entries, length);
  }

  #writeToNext(entries: readonly Entry[], length: number): void {
    this.#waiting = true;
    this.#supply.take(length, (error, segment) => {
      this.#waiting = false;
      if (segment) {
        this.#moveTo(segment);
        this.#writeHere(entries, length);
        this.#supply.prepare();
      } else this.#finish(error);
    });
  }

  close(): void {
    this.#current.file.close();
  }

  #moveTo(segment: OpenSegment): void {
    this.#current.file.close();
    this.#current = segment;
    this.#offset = SEGMENT_HEADER_BYTES;
  }

  #writeHere(entries: readonly Entry[], length: number): void {
    const { place, file } = this.#current;
    const offset = this.#offset;
    const bytes = this.#stage(entries, length, place.segment, offset);
    const fields = { number: this.#number, length, count: entries.length, firstIndex: entries[0]!.index };
    sealBatch(bytes, fields, place, offset, this.#crc32c);
    this.#number++;
    this.#offset += bytes.length;
    this.#times.begin();
    file.write(bytes, offset, this.#wrote);
  }

  #stage(entries: readonly Entry[], length: number, segment: number, offset: number): Uint8Array {
    const total = batchBytes(length);
    if (this.#staging.length < total) this.#staging = new Uint8Array(Math.max(total, this.#staging.length * 2));
    let at = BATCH_HEADER_BYTES;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      this.#staging.set(entry.bytes, at);
      this.#placed(entry, segment, offset + at);
      at += entry.bytes.length;
    }
    return this.#staging.subarray(0, total);
  }
}
