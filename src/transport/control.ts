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
import { FLOAT32_OPTIONS, Packr } from 'msgpackr/pack';

/** Most bytes of a control part: it fits into one frame. */
export const MAX_CONTROL_BYTES = 65_520;
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

/** Encodes fields; the bytes are the caller's to keep. */
export function encodeControl(fields: readonly Field[]): Uint8Array {
  const bytes = packr.pack(fields);
  if (bytes.length > MAX_CONTROL_BYTES) {
    throw new ControlError(`control part of ${bytes.length} bytes; at most ${MAX_CONTROL_BYTES} are allowed`);
  }
  return bytes;
}

/** Decodes a control part. Throws ControlError unless it is one well-formed array, whole and with nothing behind it. */
export function decodeControl(control: Uint8Array): Fields {
  if (!wellFormed(control)) throw new ControlError('malformed control part');
  scratch.set(control);
  const value: unknown = packr.unpack(scratch, control.length);
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

/** Whether `bytes` is exactly one value made of the tokens used here. Allocates four numbers at most. */
function wellFormed(bytes: Uint8Array): boolean {
  const open: number[] = [];
  let at = 0;
  do {
    if (at >= bytes.length) return false;
    const token = bytes[at++]!;
    const count = arrayLength(bytes, token, at);
    if (count >= 0) {
      if (token === ARRAY_16) at += 2;
      if (open.length === MAX_DEPTH || count > bytes.length - at) return false;
      open.push(count);
    } else {
      const size = scalarSize(bytes, token, at);
      if (size < 0) return false;
      at += size;
      if (open.length > 0) open[open.length - 1]!--;
    }
    // A full array is one element of the array around it.
    while (open.length > 0 && open[open.length - 1] === 0) {
      open.pop();
      if (open.length > 0) open[open.length - 1]!--;
    }
  } while (open.length > 0);
  return at === bytes.length;
}

/** Elements of the array that begins with `token`, or -1 for another token. */
function arrayLength(bytes: Uint8Array, token: number, at: number): number {
  if ((token & 0xf0) === 0x90) return token & 0x0f;
  if (token !== ARRAY_16) return -1;
  return at + 2 <= bytes.length ? (bytes[at]! << 8) | bytes[at + 1]! : bytes.length;
}

/** Bytes of the scalar behind its `token`, or -1 if the token is not used here. May reach behind the end. */
function scalarSize(bytes: Uint8Array, token: number, at: number): number {
  if (token < 0x80 || token >= 0xe0) return 0;
  if ((token & 0xe0) === 0xa0) return token & 0x1f;
  if (token === STRING_8 || token === BIN_8) return 1 + (bytes[at] ?? 0);
  if (token === STRING_16) return 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  return token >= 0xc0 ? (fixedSize[token - 0xc0] ?? -1) : -1;
}
