/**
 * Raw bytes of messages that come in: records of an append, the payload of a forward, parts of a snapshot. Each message has one stretch of memory
 * of its own, of which the entries are views: it stays valid for as long as any of them is kept, and is never reused.
 * All is checked while it comes in: a record as soon as it is whole, a payload piece by piece.
 */
import { getU32 } from '../log/bytes.js';
import { RECORD_HEADER_BYTES, RecordOffset, verifyRecord } from '../log/record.js';
import type { Crc32c } from '../log/types.js';
import type { AppendRequest, Entry } from '../raft/types.js';
import { type Body, FrameError } from './frame.js';
import type { Forward } from './types.js';

/** Messages up to this share a slab; an array of its own costs a small message more than all the rest of its reading. */
const SMALL_BYTES = 2048;
const SLAB_BYTES = 16_384;
const NONE: Entry[] = [];
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

/** A message whose raw bytes are still coming in. */
type Unfinished<T> = { -readonly [field in keyof T]: T[field] };

/**
 * Records, one behind the other. They must be undamaged, as many as announced, of consecutive indexes from prevIndex + 1
 * on, and of terms that never go down from prevTerm nor above the leader's (which holds in every log, Raft §5.3).
 */
export class RecordsBody implements Body {
  readonly #crc32c: Crc32c;
  readonly #append: Unfinished<AppendRequest>;
  readonly #count: number;
  readonly #deliver: (append: AppendRequest) => void;
  readonly #bytes: Uint8Array;
  #entries: Entry[] = NONE;
  #filled = 0;
  /** Everything before it has been checked. */
  #checked = 0;
  #term: number;

  /** `append` lacks its `count` entries; `deliver` gets it with them. */
  constructor(
    crc32c: Crc32c,
    append: Unfinished<AppendRequest>,
    count: number,
    total: number,
    deliver: (append: AppendRequest) => void,
  ) {
    this.#crc32c = crc32c;
    this.#append = append;
    this.#count = count;
    this.#deliver = deliver;
    this.#bytes = allocate(total);
    this.#term = append.prevTerm;
  }

  push(bytes: Uint8Array, from: number, to: number): void {
    this.#bytes.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#filled);
    this.#filled += to - from;
    while (this.#filled - this.#checked >= RECORD_HEADER_BYTES) {
      const end = this.#checked + RECORD_HEADER_BYTES + getU32(this.#bytes, this.#checked + RecordOffset.payloadLength);
      if (end > this.#bytes.length) throw new FrameError('malformed', 'a record reaches beyond its message');
      if (end > this.#filled) return;
      this.#check(end);
    }
  }

  finish(): void {
    if (this.#checked !== this.#bytes.length || this.#entries.length !== this.#count) {
      throw new FrameError('malformed', `an append does not hold the ${this.#count} records it announced`);
    }
    this.#append.entries = this.#entries;
    this.#deliver(this.#append);
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
    const whole = this.#checked === 0 && end === this.#bytes.length;
    const bytes = whole ? this.#bytes : this.#bytes.subarray(this.#checked, end);
    const entry = { index, term: header.term, bytes };
    // An array of one is small; one that grows from none has room for seventeen.
    if (this.#entries.length === 0) this.#entries = [entry];
    else this.#entries.push(entry);
    this.#checked = end;
  }
}

/** The payload of a forward, put behind room for a header. */
export class PayloadBody implements Body {
  readonly #crc32c: Crc32c;
  readonly #forward: Unfinished<Forward>;
  readonly #deliver: (forward: Forward) => void;
  readonly #record: Uint8Array;
  #filled = RECORD_HEADER_BYTES;
  #crc = 0;

  /** `forward` lacks its record; `deliver` gets it with that. */
  constructor(crc32c: Crc32c, forward: Unfinished<Forward>, total: number, deliver: (forward: Forward) => void) {
    this.#crc32c = crc32c;
    this.#forward = forward;
    this.#deliver = deliver;
    this.#record = allocate(RECORD_HEADER_BYTES + total);
  }

  push(bytes: Uint8Array, from: number, to: number): void {
    this.#record.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#filled);
    this.#filled += to - from;
    this.#crc = this.#crc32c(bytes, this.#crc, from, to);
  }

  finish(): void {
    if (this.#crc >>> 0 !== this.#forward.payloadCrc) {
      throw new FrameError('malformed', 'the payload of a forwarded entry does not match its CRC');
    }
    this.#forward.record = this.#record;
    this.#deliver(this.#forward);
  }
}

/** Bytes of a snapshot's: at least one, and of the CRC that was announced. */
export class BytesBody implements Body {
  readonly #crc32c: Crc32c;
  readonly #expected: number;
  readonly #deliver: (bytes: Uint8Array) => void;
  readonly #bytes: Uint8Array;
  #filled = 0;
  #crc = 0;

  constructor(crc32c: Crc32c, expected: number, total: number, deliver: (bytes: Uint8Array) => void) {
    if (total === 0) throw new FrameError('malformed', 'a part of a snapshot without bytes');
    this.#crc32c = crc32c;
    this.#expected = expected;
    this.#deliver = deliver;
    this.#bytes = new Uint8Array(total);
  }

  push(bytes: Uint8Array, from: number, to: number): void {
    this.#bytes.set(bytes.subarray(from, to), this.#filled);
    this.#filled += to - from;
    this.#crc = this.#crc32c(bytes, this.#crc, from, to);
  }

  finish(): void {
    if (this.#crc >>> 0 !== this.#expected) {
      throw new FrameError('malformed', 'a part of a snapshot does not match its CRC');
    }
    this.#deliver(this.#bytes);
  }
}
