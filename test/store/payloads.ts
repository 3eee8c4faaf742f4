/**
 * Payloads of entries as any peer could send them, and a second, slow reading of ARCHITECTURE.md, "Formats", that shares
 * nothing with the stores: logical sizes and the state hash, in big integers.
 */
import { bytesOf } from './harness.js';

export interface TestOrigin {
  readonly identity: number;
  readonly starts: number;
  readonly nonce: number;
}

export const peer: TestOrigin = { identity: 99, starts: 1, nonce: 5 };

export function u32(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, true);
  return bytes;
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return joinAll(parts);
}

/** The same for more parts than a call can have arguments. */
export function joinAll(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function padded(bytes: Uint8Array): Uint8Array {
  return join(bytes, new Uint8Array(-bytes.length & 3));
}

/** One operation; `value` as bytes or as text. */
export function operation(code: number, key: string, value: string | Uint8Array = '', flags = 0): Uint8Array {
  const bytes = Buffer.from(new ArrayBuffer(12 + ((key.length + value.length + 3) & -4)));
  bytes.writeUInt32LE(code | (flags << 8), 0);
  bytes.writeUInt32LE(key.length, 4);
  bytes.writeUInt32LE(value.length, 8);
  bytes.write(key, 12, 'latin1');
  if (typeof value === 'string') bytes.write(value, 12 + key.length, 'latin1');
  else bytes.set(value, 12 + key.length);
  return bytes;
}

export const set = (key: string, value: string, flags = 0) => operation(1, key, value, flags);
export const del = (key: string, more = false) => operation(2, key, '', more ? 4 : 0);
/** A SET with a time to live. */
export const setFor = (key: string, value: string, ms: number, flags = 0) =>
  join(set(key, value, flags | 8), u64(BigInt(ms)));
export const persist = (key: string) => operation(6, key);
export const get = (key: string) => operation(16, key);
export const cas = (key: string, expected: string, value: string) =>
  operation(4, key, join(u32(expected.length), bytesOf(expected + value)));

export function incr(key: string, by: bigint): Uint8Array {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigInt64(0, by, true);
  return operation(3, key, value);
}

export interface Check {
  readonly key: string;
  readonly revision: number;
}

export function commit(checks: readonly Check[], ...operations: readonly Uint8Array[]): Uint8Array {
  const encoded = checks.map(({ key, revision }) => join(u32(key.length, revision, 0), padded(bytesOf(key))));
  const body = join(joinAll(encoded), ...operations);
  return join(u32(5, checks.length, body.length), body);
}

/** A number of a session or sequence, as a key's characters. */
function number(value: number): string {
  return Buffer.from(u64(BigInt(value))).toString('latin1');
}

/** SESSION without a number, or with one. */
export const session = (of?: number) => operation(7, of === undefined ? '' : number(of));
/** What stands in front of the operations of a sequenced command. */
export const seq = (of: number, sequence: number, from = 0) =>
  operation(8, number(of), join(u64(BigInt(sequence)), u64(BigInt(from))));
export const fence = () => operation(9, '');

/** The system record of a session: `answers` as bytes, in characters. */
export function sessionRecord(
  of: number,
  lowest: number,
  answers: string,
  revision: number,
  deadline: number,
): ReferenceRecord {
  return {
    key: bytesOf(`s${number(of)}`),
    value: bytesOf(number(lowest) + answers),
    revision,
    system: true,
    deadline,
  };
}

/** The payload of a data entry. */
export function dataPayload(
  origin: TestOrigin,
  sequence: number,
  commands: number,
  ...operations: readonly Uint8Array[]
): Uint8Array {
  const identity = new Uint8Array(16).fill(origin.identity);
  return join(identity, u32(origin.starts, origin.nonce, sequence, 0, commands, 0), ...operations);
}

export function configPayload(...records: readonly { readonly key: string; readonly value: Uint8Array }[]): Uint8Array {
  const encoded = records.map(({ key, value }) =>
    join(u32(key.length, value.length), padded(join(bytesOf(key), value))),
  );
  return join(u32(records.length), ...encoded);
}

export function u64(value: bigint): Uint8Array {
  return u32(Number(value & 0xffff_ffffn), Number(value >> 32n));
}

/** ARCHITECTURE.md, "Logical size, and the memory limit". */
export function referenceSize(keyLength: number, valueLength: number): number {
  const n = 40 + keyLength + valueLength;
  let step = 16;
  if (n > 512) step = n > 32_768 ? 65_536 : 2 ** Math.floor(Math.log2(n - 1)) / 8;
  return Math.ceil(n / step) * step + 16;
}

const [P1, P2, P3, P4, P5] = [0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn, 0x27d4eb2fn, 0x165667b1n] as const;
const MASK = 0xffff_ffffn;

function rotl(x: bigint, by: bigint): bigint {
  const low = x & MASK;
  return ((low << by) | (low >> (32n - by))) & MASK;
}

function avalanche(x: bigint): bigint {
  let h = x & MASK;
  h ^= h >> 15n;
  h = (h * P2) & MASK;
  h ^= h >> 13n;
  h = (h * P3) & MASK;
  return h ^ (h >> 16n);
}

export interface ReferenceRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly revision: number;
  readonly system?: boolean;
  readonly deadline?: number;
}

/** ARCHITECTURE.md, "State hash": of one record. */
export function referenceHash({ key, value, revision, system = false, deadline = 0 }: ReferenceRecord): bigint {
  const text = join(key, value);
  const filled = join(text, new Uint8Array(-text.length & 15), u64(BigInt(revision)), u64(BigInt(deadline)));
  const words = new DataView(filled.buffer);
  const v = [P1 + P2 + BigInt(key.length), P2 ^ BigInt(value.length), P3 + (system ? 1n : 0n), P4];
  for (let at = 0; at < filled.length; at += 16) {
    for (let i = 0; i < 4; i++) {
      const word = BigInt(words.getUint32(at + 4 * i, true));
      v[i] = (rotl(v[i]! + word * P2, 13n) * P1) & MASK;
    }
  }
  const lo = avalanche(rotl(v[0]!, 1n) + rotl(v[1]!, 7n) + rotl(v[2]!, 12n) + rotl(v[3]!, 18n));
  const hi = avalanche((v[0]! ^ rotl(v[2]!, 17n)) * P4 + (v[1]! ^ rotl(v[3]!, 11n)) * P5);
  return (hi << 32n) | lo;
}

/** The state hash of these records, as 16 digits. */
export function referenceState(records: readonly ReferenceRecord[]): string {
  const sum = records.reduce((total, record) => total + referenceHash(record), 0n);
  return BigInt.asUintN(64, sum).toString(16).padStart(16, '0');
}

/** The system record of an origin. */
export function originRecord(origin: TestOrigin, sequence: number, revision: number): ReferenceRecord {
  const key = join(bytesOf('o'), new Uint8Array(16).fill(origin.identity));
  const value = join(u32(origin.starts, origin.nonce), u64(BigInt(sequence)));
  return { key, value, revision, system: true };
}
