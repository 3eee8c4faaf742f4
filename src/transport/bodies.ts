/**
 * Raw bytes of messages that come in: records of an append, the payload of a forward. Each message has one stretch of memory
 * of its own, of which the entries are views: it stays valid for as long as any of them is kept, and is never reused.
 * All is checked while it comes in: a record as soon as it is whole, a payload piece by piece.
 */
import { RECORD_HEADER_BYTES, RecordOffset, verifyRecord } from '../log/record.js';
import type { Crc32c } from '../log/types.js';
import type { Entry } from '../raft/types.js';
import { type Body, FrameError } from './frame.js';

/** Messages up to this share a slab; an array of its own costs a small message more than all the rest of its reading. */
const SMALL_BYTES = 2048;
const SLAB_BYTES = 16_384;
let slab = new Uint8Array(0);
let slabUsed = 0;

/**
 * Zeros, aligned to 8. Nothing but records lives in a slab, and those of one time are kept and dropped together: a slab
 * held by one of them is hardly ever held for it alone.
 */
function allocate(bytes: number): Uint8Array {
  if (bytes > SMALL_BYTES) return new Uint8Array(bytes);
  if (slabUsed + bytes > slab.length) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  const from = slabUsed;
  slabUsed = (from + bytes + 7) & ~7;
  return slab.subarray(from, from + bytes);
}

/** What an append says of the records that follow it. */
export interface Append {
  readonly term: number;
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly count: number;
}

/**
 * Records, one behind the other. They must be undamaged, as many as announced, of consecutive indexes from prevIndex + 1
 * on, and of terms that never go down from prevTerm nor above the leader's (which holds in every log, Raft §5.3).
 */
export class RecordsBody implements Body {
  readonly #crc32c: Crc32c;
  readonly #append: Append;
  readonly #done: (entries: Entry[]) => void;
  readonly #bytes: Uint8Array;
  readonly #entries: Entry[] = [];
  #filled = 0;
  /** Everything before it has been checked. */
  #checked = 0;
  #term: number;

  constructor(crc32c: Crc32c, append: Append, total: number, done: (entries: Entry[]) => void) {
    this.#crc32c = crc32c;
    this.#append = append;
    this.#done = done;
    this.#bytes = allocate(total);
    this.#term = append.prevTerm;
  }

  push(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#filled);
    this.#filled += bytes.length;
    while (this.#filled - this.#checked >= RECORD_HEADER_BYTES) {
      const end = this.#checked + RECORD_HEADER_BYTES + this.#payloadLength();
      if (end > this.#bytes.length) throw new FrameError('malformed', 'a record reaches beyond its message');
      if (end > this.#filled) return;
      this.#check(end);
    }
  }

  finish(): void {
    if (this.#checked !== this.#bytes.length || this.#entries.length !== this.#append.count) {
      throw new FrameError('malformed', `an append does not hold the ${this.#append.count} records it announced`);
    }
    this.#done(this.#entries);
  }

  #payloadLength(): number {
    const at = this.#checked + RecordOffset.payloadLength;
    const bytes = this.#bytes;
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  }

  #check(end: number): void {
    const index = this.#append.prevIndex + 1 + this.#entries.length;
    const header = verifyRecord(this.#bytes, this.#checked, this.#crc32c);
    if (header === undefined) throw new FrameError('malformed', `the record for index ${index} is damaged`);
    if (header.index !== index) {
      throw new FrameError('malformed', `a record of index ${header.index} stands where ${index} belongs`);
    }
    if (header.term < this.#term || header.term > this.#append.term) {
      throw new FrameError(
        'malformed',
        `the record of index ${index} has term ${header.term}, which cannot stand there`,
      );
    }
    this.#term = header.term;
    this.#entries.push({ index, term: header.term, bytes: this.#bytes.subarray(this.#checked, end) });
    this.#checked = end;
  }
}

/** The payload of a forward, put behind room for a header. */
export class PayloadBody implements Body {
  readonly #crc32c: Crc32c;
  readonly #expected: number;
  readonly #done: (record: Uint8Array) => void;
  readonly #record: Uint8Array;
  #filled = RECORD_HEADER_BYTES;
  #crc = 0;

  constructor(crc32c: Crc32c, payloadCrc: number, total: number, done: (record: Uint8Array) => void) {
    this.#crc32c = crc32c;
    this.#expected = payloadCrc;
    this.#done = done;
    this.#record = allocate(RECORD_HEADER_BYTES + total);
  }

  push(bytes: Uint8Array): void {
    this.#record.set(bytes, this.#filled);
    this.#filled += bytes.length;
    this.#crc = this.#crc32c(bytes, this.#crc);
  }

  finish(): void {
    if (this.#crc >>> 0 !== this.#expected) {
      throw new FrameError('malformed', 'the payload of a forwarded entry does not match its CRC');
    }
    this.#done(this.#record);
  }
}

/** For messages that consist of their control part. */
export class NoBody implements Body {
  readonly #done: () => void;

  constructor(done: () => void) {
    this.#done = done;
  }

  push(): void {
    throw new FrameError('malformed', 'raw bytes in a message that has none');
  }

  finish(): void {
    this.#done();
  }
}
