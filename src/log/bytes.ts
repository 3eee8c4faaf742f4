/** Small helpers for layouts of bytes: u64 as safe integers, comparison, hexadecimal. */

const TWO_32 = 4_294_967_296;

/** A little-endian u64; values from 2^53 on come back as unsafe integers, which the callers refuse. */
export function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * TWO_32 + view.getUint32(offset, true);
}

/** Writes a safe integer from 0 on as a little-endian u64; `name` goes into the error. */
export function writeU64(view: DataView, offset: number, name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new Error(`${name} must be an integer from 0 to 2^53 - 1, not ${value}`);
  }
  view.setUint32(offset, value % TWO_32, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

/** The same without a view, for where one an entry would be too many. */
export function getU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

export function getU64(bytes: Uint8Array, at: number): number {
  return getU32(bytes, at + 4) * TWO_32 + getU32(bytes, at);
}

export function putU64(bytes: Uint8Array, at: number, name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new Error(`${name} must be an integer from 0 to 2^53 - 1, not ${value}`);
  }
  putU32(bytes, at, value % TWO_32);
  putU32(bytes, at + 4, Math.floor(value / TWO_32));
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** A view of the bytes from `offset` on. */
export function viewOf(bytes: Uint8Array, offset: number, length: number): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + offset, length);
}
