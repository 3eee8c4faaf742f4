/** Bytes as latin1 strings and back: Node's own methods of `Buffer`, without the detour over the name of an encoding. */

export interface Latin1Buffer extends Buffer {
  latin1Slice(start?: number, end?: number): string;
  latin1Write(text: string, offset?: number, length?: number): number;
}

export function allocate(length: number): Latin1Buffer {
  return Buffer.allocUnsafeSlow(length) as Latin1Buffer;
}

/** A view on the same bytes. */
export function latin1View(bytes: Uint8Array): Latin1Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) as Latin1Buffer;
}

export function pad4(length: number): number {
  return (length + 3) & ~3;
}

/** Views of the whole buffer that an entry lies in, as bytes and as words in the machine's order (little-endian). */
export class EntryView {
  bytes: Latin1Buffer = allocate(0);
  /** Without the last bytes, if they are not a whole word. */
  words: Int32Array = new Int32Array(0);
  private buffer: ArrayBufferLike = this.bytes.buffer;

  /**
   * Looks at `entry` and returns where it begins in `bytes`: a multiple of 4 (an entry that is not aligned is copied).
   * Views are made once for a buffer: whoever brings many entries in one buffer pays nothing for them.
   */
  load(entry: Uint8Array): number {
    if ((entry.byteOffset & 3) !== 0) return this.load(new Uint8Array(entry));
    if (entry.buffer !== this.buffer) {
      this.buffer = entry.buffer;
      this.bytes = Buffer.from(entry.buffer) as Latin1Buffer;
      this.words = new Int32Array(entry.buffer, 0, entry.buffer.byteLength >>> 2);
    }
    return entry.byteOffset;
  }
}
