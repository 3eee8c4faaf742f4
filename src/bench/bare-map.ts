/**
 * The least that a JavaScript program can do with the same bytes: a bare `Map<string, Buffer>`. It decodes the same
 * operations and answers the same lines, and leaves out all that makes a store: versions, state hash, limits, errors,
 * escapes, checksums. It is the yardstick that keeps the comparison of the two stores honest.
 *
 * COMMIT: without versions there is nothing to compare, so it looks up every checked key (present or not must agree)
 * and sets the rest. Encoding: splits `SET key value` lines and writes operations, with no checksum.
 */

const QUOTE = 0x22;
const SPACE = 0x20;
const NEWLINE = 0x0a;
const OPERATION_HEADER = 12;
const SET_NAME_BYTES = 4;

export class BareMap {
  readonly #map = new Map<string, Buffer>();
  #out: Buffer = Buffer.allocUnsafe(64 * 1024);
  #length = 0;

  get size(): number {
    return this.#map.size;
  }

  /** As `Store.run`, for SET and DEL without flags, GET, and COMMIT. */
  run(operations: Uint8Array): Uint8Array {
    const bytes = Buffer.from(operations.buffer, operations.byteOffset, operations.length);
    this.#length = 0;
    for (let at = 0; at < bytes.length; ) {
      const code = bytes[at]!;
      const keyLength = bytes.readUInt32LE(at + 4);
      const valueLength = bytes.readUInt32LE(at + 8);
      const body = at + OPERATION_HEADER;
      if (code === 5) {
        this.#answer(this.#commit(bytes, keyLength, body, body + valueLength) ? 'OK\n' : 'ERR conflict\n');
        at = body + valueLength;
        continue;
      }
      const key = bytes.toString('latin1', body, body + keyLength);
      if (code === 16) this.#get(key);
      else if (code === 1) {
        this.#map.set(key, Buffer.from(bytes.subarray(body + keyLength, body + keyLength + valueLength)));
        this.#answer('OK\n');
      } else this.#answer(this.#map.delete(key) ? '(integer) 1\n' : '(integer) 0\n');
      at = body + pad4(keyLength + valueLength);
    }
    return this.#out.subarray(0, this.#length);
  }

  #commit(bytes: Buffer, checks: number, from: number, end: number): boolean {
    let at = from;
    for (let i = 0; i < checks; i++) {
      const keyLength = bytes.readUInt32LE(at);
      const absent = bytes.readUInt32LE(at + 4) === 0 && bytes.readUInt32LE(at + 8) === 0;
      const key = bytes.toString('latin1', at + OPERATION_HEADER, at + OPERATION_HEADER + keyLength);
      if (this.#map.has(key) === absent) return false;
      at += OPERATION_HEADER + pad4(keyLength);
    }
    while (at < end) {
      const keyLength = bytes.readUInt32LE(at + 4);
      const valueLength = bytes.readUInt32LE(at + 8);
      const body = at + OPERATION_HEADER;
      const key = bytes.toString('latin1', body, body + keyLength);
      if (bytes[at] === 1) {
        this.#map.set(key, Buffer.from(bytes.subarray(body + keyLength, body + keyLength + valueLength)));
      } else this.#map.delete(key);
      at = body + pad4(keyLength + valueLength);
    }
    return true;
  }

  #get(key: string): void {
    const value = this.#map.get(key);
    if (!value) {
      this.#answer('(nil)\n');
      return;
    }
    this.#room(value.length + 3);
    this.#out[this.#length] = QUOTE;
    value.copy(this.#out, this.#length + 1);
    this.#out[this.#length + 1 + value.length] = QUOTE;
    this.#out[this.#length + 2 + value.length] = NEWLINE;
    this.#length += value.length + 3;
  }

  #answer(line: string): void {
    this.#room(line.length);
    this.#length += this.#out.write(line, this.#length, 'latin1');
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#out.length) return;
    const larger = Buffer.allocUnsafe(2 * this.#out.length + bytes);
    this.#out.copy(larger, 0, 0, this.#length);
    this.#out = larger;
  }
}

/** The operations section for a chunk of `SET key value` lines. */
export function encodeLines(chunk: Uint8Array): Uint8Array {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
  const out = Buffer.allocUnsafe(bytes.length * 2 + 64);
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, at);
    const keyAt = at + SET_NAME_BYTES;
    const blank = bytes.indexOf(SPACE, keyAt);
    const [keyLength, valueLength] = [blank - keyAt, end - blank - 1];
    out.writeUInt32LE(1, length);
    out.writeUInt32LE(keyLength, length + 4);
    out.writeUInt32LE(valueLength, length + 8);
    length += OPERATION_HEADER;
    length += bytes.copy(out, length, keyAt, blank);
    length += bytes.copy(out, length, blank + 1, end);
    for (; length % 4 !== 0; length++) out[length] = 0;
    at = end + 1;
  }
  return out.subarray(0, length);
}

function pad4(n: number): number {
  return (n + 3) & ~3;
}
