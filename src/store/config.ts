/**
 * The payload of a config entry: system records that the cluster sets for itself (ARCHITECTURE.md, "Payload of a config entry").
 *
 * ```
 *  0  u32  number of records
 *  4  records, each: u32 key length, u32 value length, key, value, zeros up to a multiple of 4
 * ```
 *
 * Known keys: `limit`, whose value is the limit of logical bytes as u64; `members`, whose value is the node's business
 * (src/node/members.ts), of at most 65,536 bytes; `version`, the version that entries behind this one are applied by, as u64
 * (src/node/versions.ts). What it takes for an entry to be well-formed is judged in apply.
 */
import { HEADER_BYTES } from './store.js';

export const LIMIT_KEY = 'limit';
export const MEMBERS_KEY = 'members';
export const VERSION_KEY = 'version';
/** Most bytes of `members`. */
export const MOST_MEMBERS_BYTES = 65_536;
/** Most records of a config entry. */
export const MOST_CONFIG_RECORDS = 16;

const TWO_32 = 4_294_967_296;

/** What a config entry sets: one of these or several. */
export interface Config {
  /** The replicated limit of logical bytes: 0 … 2^53 - 1, 0: none. */
  readonly limitBytes?: number;
  /** At most 65,536 bytes. */
  readonly members?: Uint8Array;
  /** 1 … 2^53 - 1. */
  readonly version?: number;
}

/** The record of a config entry: HEADER_BYTES of room, then the payload. Throws RangeError for what no store would take. */
export function encodeConfig({ limitBytes, members, version }: Config): Uint8Array {
  const parts: Uint8Array[] = [];
  if (limitBytes !== undefined) parts.push(encodeRecord(LIMIT_KEY, numberValue('the memory limit', limitBytes, 0)));
  if (members !== undefined) {
    if (members.length > MOST_MEMBERS_BYTES)
      throw new RangeError(`the members take ${members.length} bytes, and ${MOST_MEMBERS_BYTES} are the most`);
    parts.push(encodeRecord(MEMBERS_KEY, members));
  }
  if (version !== undefined) parts.push(encodeRecord(VERSION_KEY, numberValue('the version', version, 1)));
  const length = parts.reduce((sum, part) => sum + part.length, HEADER_BYTES + 4);
  const record = new Uint8Array(length);
  new DataView(record.buffer).setUint32(HEADER_BYTES, parts.length, true);
  let at = HEADER_BYTES + 4;
  for (const part of parts) {
    record.set(part, at);
    at += part.length;
  }
  return record;
}

function numberValue(what: string, number: number, least: number): Uint8Array {
  if (!Number.isSafeInteger(number) || number < least)
    throw new RangeError(`${what} must be an integer from ${least} to 2^53 - 1, not ${number}`);
  const value = new Uint8Array(8);
  const view = new DataView(value.buffer);
  view.setUint32(0, number % TWO_32, true);
  view.setUint32(4, Math.floor(number / TWO_32), true);
  return value;
}

function encodeRecord(key: string, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((8 + key.length + value.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, key.length, true);
  view.setUint32(4, value.length, true);
  for (let i = 0; i < key.length; i++) bytes[8 + i] = key.charCodeAt(i);
  bytes.set(value, 8 + key.length);
  return bytes;
}

/**
 * The last `members` of a config entry's payload; undefined when it sets none, or is malformed: then no store takes it either.
 * The result is a view.
 */
export function membersOfConfig(payload: Uint8Array): Uint8Array | undefined {
  return lastOf(payload, MEMBERS_KEY);
}

/** The same of `version`. */
export function versionOfConfig(payload: Uint8Array): number | undefined {
  const value = lastOf(payload, VERSION_KEY);
  return value && versionOf(value);
}

/** The number in the record of the version: of what is no safe integer, the largest one. */
export function versionOf(value: Uint8Array): number {
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  return Math.min(view.getUint32(4, true) * TWO_32 + view.getUint32(0, true), Number.MAX_SAFE_INTEGER);
}

function lastOf(payload: Uint8Array, key: string): Uint8Array | undefined {
  return decodeConfig(payload)?.findLast((record) => record.key === key)?.value;
}

/** The records of a payload, their values as views; undefined when it is malformed. */
export function decodeConfig(payload: Uint8Array): { readonly key: string; readonly value: Uint8Array }[] | undefined {
  if (payload.length < 4) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const count = view.getUint32(0, true);
  if (count > MOST_CONFIG_RECORDS) return undefined;
  const records = [];
  let at = 4;
  for (let i = 0; i < count; i++) {
    if (at + 8 > payload.length) return undefined;
    const [keyLength, valueLength] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    const end = at + 8 + keyLength + valueLength;
    if (end > payload.length) return undefined;
    const key = Buffer.from(payload.subarray(at + 8, at + 8 + keyLength)).toString('latin1');
    const value = payload.subarray(at + 8 + keyLength, end);
    if (!isKnown(key, value.length)) return undefined;
    records.push({ key, value });
    at = end + (-end & 3);
  }
  return at === payload.length ? records : undefined;
}

/** Whether a config entry may set this key to a value of so many bytes. */
function isKnown(key: string, valueLength: number): boolean {
  if (key === LIMIT_KEY || key === VERSION_KEY) return valueLength === 8;
  return key === MEMBERS_KEY && valueLength <= MOST_MEMBERS_BYTES;
}
