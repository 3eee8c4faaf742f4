/**
 * Control parts: the fields of a message as one MessagePack array of numbers, booleans, nil, strings, bytes and arrays.
 *
 * A control part comes from whoever dialled this port, so it is looked through before msgpackr sees it: `wellFormed`
 * walks the tokens without allocating and lets through just the types used here, bounded depth and counts that the
 * bytes can hold (an array header alone may claim four billion elements, and an extension may run a constructor). The
 * fields are then taken out one by one by `Fields`, which checks each one's type and range.
 *
 * msgpackr comes from 'msgpackr/pack': plain JavaScript, where the main entry loads a native addon if it finds one.
 */
import { FLOAT32_OPTIONS, Packr, REUSE_BUFFER_MODE } from 'msgpackr/pack';
import { isAddress } from './address.js';

/** Most bytes of a control part: it fits into one frame. */
export const MAX_CONTROL_BYTES = 65_520;
/** Room for msgpackr to encode in; it wants 2 KiB more than it needs. */
const TARGET_BYTES = 16_384;
/** Arrays in arrays: fields, founding, members, member. */
const MAX_DEPTH = 4;

export type Field = number | boolean | string | Uint8Array | undefined | readonly Field[];

/** A control part that is not what it should be; the message says what was found. */
export class ControlError extends Error {}

const packr = new Packr({
  useRecords: false,
  int64AsType: 'number',
  copyBuffers: true,
  moreTypes: false,
  structuredClone: false,
  bundleStrings: false,
  encodeUndefinedAsNil: true,
  useFloat32: FLOAT32_OPTIONS.NEVER,
});

/** Decoding from one place that stays spares msgpackr a DataView for each message. */
const scratch = Buffer.alloc(MAX_CONTROL_BYTES);

/** Where msgpackr encodes, again and again; it makes a larger one by itself for what does not fit. */
const target = Buffer.alloc(TARGET_BYTES);

/** Bytes of an encoded control part: those from `start` to `end`. */
export interface Packed extends Uint8Array {
  readonly start: number;
  readonly end: number;
}

/** Encodes fields. What it returns is valid until the next call only. */
export function packControl(fields: readonly Field[]): Packed {
  packr.useBuffer(target);
  const packed = packr.pack(fields, REUSE_BUFFER_MODE) as Buffer & Packed;
  if (packed.end - packed.start > MAX_CONTROL_BYTES) {
    throw new ControlError(
      `control part of ${packed.end - packed.start} bytes; at most ${MAX_CONTROL_BYTES} are allowed`,
    );
  }
  return packed;
}

/** Encodes fields; the bytes are the caller's to keep. */
export function encodeControl(fields: readonly Field[]): Uint8Array {
  const packed = packControl(fields);
  return Uint8Array.prototype.slice.call(packed, packed.start, packed.end);
}

/**
 * Decodes a control part, the bytes from `from` to `to`. Throws ControlError unless it is one well-formed array, whole and
 * with nothing behind it.
 */
export function decodeControl(bytes: Uint8Array, from = 0, to = bytes.length): Fields {
  if (to - from > MAX_CONTROL_BYTES || !wellFormed(bytes, from, to)) throw new ControlError('malformed control part');
  for (let at = from; at < to; at++) scratch[at - from] = bytes[at]!;
  const value: unknown = packr.unpack(scratch, to - from);
  if (!Array.isArray(value)) throw new ControlError('control part is not an array');
  return new Fields(value);
}

/** The elements of one decoded array, taken in order; each getter throws ControlError if the next one is not of its kind. */
export class Fields {
  readonly #values: readonly unknown[];
  #next = 0;

  constructor(values: readonly unknown[]) {
    this.#values = values;
  }

  get length(): number {
    return this.#values.length;
  }

  /** A safe integer from `min` to `max`. */
  integer(min = 0, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.#values[this.#next++];
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw this.#wrong(`an integer from ${min} to ${max}`);
  }

  boolean(): boolean {
    const value = this.#values[this.#next++];
    if (typeof value === 'boolean') return value;
    throw this.#wrong('a boolean');
  }

  /** Text of 1 to `max` characters, none of them a control character (it may end up in a log). */
  text(max: number): string {
    const value = this.#values[this.#next++];
    if (typeof value === 'string' && value.length > 0 && value.length <= max && !/[\x00-\x1f\x7f]/.test(value)) {
      return value;
    }
    throw this.#wrong(`printable text of 1 to ${max} characters`);
  }

  /** host:port, of at most `max` characters: it may be dialled. */
  address(max: number): string {
    const value = this.text(max);
    if (isAddress(value)) return value;
    throw this.#wrong('host:port');
  }

  bytes(length: number): Uint8Array {
    const value = this.#values[this.#next++];
    if (value instanceof Uint8Array && value.length === length) return Uint8Array.from(value);
    throw this.#wrong(`${length} bytes`);
  }

  array(): Fields {
    const value = this.#values[this.#next++];
    if (Array.isArray(value)) return new Fields(value);
    throw this.#wrong('an array');
  }

  /** Like `array`, or undefined for nil. */
  optionalArray(): Fields | undefined {
    if (this.#values[this.#next] !== null) return this.array();
    this.#next++;
    return undefined;
  }

  /** What `read` makes of each element of an array of arrays. */
  list<T>(read: (item: Fields) => T): T[] {
    const items = this.array();
    return Array.from({ length: items.length }, () => {
      const item = items.array();
      const value = read(item);
      item.end();
      return value;
    });
  }

  /** All elements have been taken. */
  end(): void {
    if (this.#next === this.#values.length) return;
    throw new ControlError(`${this.#values.length} fields where ${this.#next} were expected`);
  }

  #wrong(expected: string): ControlError {
    return new ControlError(`field ${this.#next} is not ${expected}`);
  }
}

/** Bytes behind the first one of a token of fixed size, by its first byte from 0xc0 on; -1: not used here. */
const fixedSize: readonly number[] = [
  // nil, (unused), false, true, bin 8, bin 16, bin 32, ext 8, ext 16, ext 32, float 32, float 64
  0, -1, 0, 0, -1, -1, -1, -1, -1, -1, -1, 8,
  // unsigned 8 to 64, signed 8 to 64
  1, 2, 4, 8, 1, 2, 4, 8,
];
const BIN_8 = 0xc4;
const STRING_8 = 0xd9;
const STRING_16 = 0xda;
const ARRAY_16 = 0xdc;

/** Elements that each array around the present token still lacks; by depth. */
const missing = new Int32Array(MAX_DEPTH + 1);

/** Whether the bytes are exactly one value made of the tokens used here. Allocates nothing. */
function wellFormed(bytes: Uint8Array, from: number, to: number): boolean {
  let depth = 0;
  missing[0] = 1;
  let at = from;
  do {
    if (at >= to) return false;
    const token = bytes[at++]!;
    const count = arrayLength(bytes, token, at, to);
    missing[depth]!--;
    if (count >= 0) {
      if (token === ARRAY_16) at += 2;
      if (depth === MAX_DEPTH || count > to - at) return false;
      missing[++depth] = count;
    } else {
      const size = scalarSize(bytes, token, at);
      if (size < 0) return false;
      at += size;
    }
    while (depth > 0 && missing[depth] === 0) depth--;
  } while (depth > 0);
  return at === to;
}

/** Elements of the array that begins with `token`, or -1 for another token; more than there can be when it is cut. */
function arrayLength(bytes: Uint8Array, token: number, at: number, to: number): number {
  if ((token & 0xf0) === 0x90) return token & 0x0f;
  if (token !== ARRAY_16) return -1;
  return at + 2 <= to ? (bytes[at]! << 8) | bytes[at + 1]! : to;
}

/** Bytes of the scalar behind its `token`, or -1 if the token is not used here. May reach behind the end. */
function scalarSize(bytes: Uint8Array, token: number, at: number): number {
  if (token < 0x80 || token >= 0xe0) return 0;
  if ((token & 0xe0) === 0xa0) return token & 0x1f;
  if (token === STRING_8 || token === BIN_8) return 1 + (bytes[at] ?? 0);
  if (token === STRING_16) return 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  return token >= 0xc0 ? (fixedSize[token - 0xc0] ?? -1) : -1;
}
