/**
 * Hands out the segment to write next, and keeps one spare made ahead.
 *
 * Numbers are gapless: while segment n is written, n + 1 is the spare. A batch too big for a normal segment gets one of
 * its own size, which is made under the spare's number and replaces it (nothing was ever written to a spare).
 */
import { DiskError, type DiskFile } from '../env/env.js';
import { batchBytes } from './batch.js';
import { join } from './files.js';
import type { Place } from './sector.js';
import { SEGMENT_HEADER_BYTES, SegmentMaking, type SegmentSpec, segmentName } from './segment.js';

/** A segment that is written to. */
export interface OpenSegment {
  readonly place: Place;
  readonly size: number;
  /** Opened with O_DSYNC. */
  readonly file: DiskFile;
}

export interface SupplyOptions extends Omit<SegmentSpec, 'place' | 'size' | 'background'> {
  readonly identity: Uint8Array;
  readonly generation: number;
  /** Number of the segment that is written to now. */
  readonly current: number;
  readonly segmentBytes: number;
  /** Whether there is room for a spare of this size, and for all that must stay free. */
  readonly room: (bytes: number) => boolean;
  /** There is one spare more or less, or none for lack of room: then `retry` is to be called. */
  readonly onChange: (full: DiskError | undefined) => void;
  /** The disk failed: fatal. */
  readonly onError: (error: DiskError) => void;
}

type Taken = (error: DiskError | undefined, segment?: OpenSegment) => void;

export class SegmentSupply {
  readonly #options: SupplyOptions;
  /** Number of the spare, made or to be made. */
  #next: number;
  /** Size of the spare that is made and durable; 0 when there is none. */
  #spareBytes = 0;
  #making: SegmentMaking | undefined;
  #makingBytes = 0;
  /** Who waits for the segment that is being made. */
  #taker: Taken | undefined;
  /** Size of the segment that it needs. */
  #takerBytes = 0;
  #closed = false;

  constructor(options: SupplyOptions) {
    this.#options = options;
    this.#next = options.current + 1;
  }

  /** Bytes that the next segment is still going to take: none when it is made. */
  get missing(): number {
    if (this.#making) return this.#making.left;
    return this.#spareBytes > 0 ? 0 : this.#options.segmentBytes;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Somebody waits for a segment that could not be made for lack of room. */
  get stalled(): boolean {
    return this.#taker !== undefined && this.#making === undefined;
  }

  /** Begins to make the spare, unless it is there, under way, or the supply is closed. */
  prepare(): void {
    if (this.#closed || this.#making || this.#spareBytes > 0) return;
    const { segmentBytes, room, onChange } = this.#options;
    if (room(segmentBytes)) this.#make(segmentBytes);
    else onChange(new DiskError('full', `less than ${segmentBytes} bytes are free`));
  }

  /** Tries again what there was no room for. */
  retry(): void {
    if (this.#closed) return;
    if (this.stalled) this.#make(this.#takerBytes);
    else this.prepare();
  }

  /** Hands out the next segment, with room for a batch with `length` bytes of records: at once, or when it is made, or there is room for it. */
  take(length: number, taken: Taken): void {
    if (this.#taker) throw new Error('log: two takers of one segment');
    const needed = SEGMENT_HEADER_BYTES + batchBytes(length);
    const size = Math.max(needed, this.#options.segmentBytes);
    if (this.#spareBytes >= needed) {
      this.#hand(taken);
      return;
    }
    this.#taker = taken;
    this.#takerBytes = size;
    if (!this.#making) this.#make(size);
    else if (this.#makingBytes < needed) {
      this.#making.stop(() => {
        this.#making = undefined;
        this.#make(size);
      });
    }
  }

  /** Stops making ahead; `done` comes when nothing is written any more. */
  close(done: () => void): void {
    this.#closed = true;
    this.#taker = undefined;
    if (this.#making) this.#making.stop(done);
    else done();
  }

  #make(size: number): void {
    const { disk, directory, crc32c, identity, generation } = this.#options;
    const place = { identity, generation, segment: this.#next };
    this.#spareBytes = 0;
    this.#makingBytes = size;
    try {
      const spec = { disk, directory, place, size, crc32c, background: true };
      this.#making = new SegmentMaking(spec, (error) => this.#made(error));
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#made(error);
    }
  }

  #made(error: DiskError | undefined): void {
    this.#making = undefined;
    if (error?.code === 'full') {
      this.#options.onChange(error);
      return;
    }
    const taker = this.#taker;
    this.#taker = undefined;
    if (!error) this.#spareBytes = this.#makingBytes;
    if (!error) this.#options.onChange(undefined);
    if (taker) {
      if (error) taker(error);
      else this.#hand(taker);
    } else if (error) this.#options.onError(error);
  }

  #hand(taken: Taken): void {
    const { disk, directory, identity, generation } = this.#options;
    const place = { identity, generation, segment: this.#next };
    let file: DiskFile;
    try {
      file = disk.open(join(directory, segmentName(generation, this.#next)), { dsync: true });
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      taken(error);
      return;
    }
    const size = this.#spareBytes;
    this.#spareBytes = 0;
    this.#next++;
    this.#options.onChange(undefined);
    taken(undefined, { place, size, file });
  }
}
