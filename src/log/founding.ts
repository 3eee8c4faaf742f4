/**
 * Which cluster the folder belongs to: the file `founding`, made durable once and never changed.
 *
 * ```
 *  0  u32   magic 0x31464c44 ("DLF1")
 *  4  u32   CRC32C of all bytes from 8 on
 *  8  u32   format: 1
 * 12  u32   number of members
 * 16  16 B  cluster id
 * 32  16 B  identity of the folder that the file lies in
 * 48  members
 * ```
 *
 * Each member is `u32 id, u32 length of the address, 16 B folder identity`, then the address in UTF-8.
 */
import type { Disk } from '../env/env.js';
import { equalBytes, viewOf } from './bytes.js';
import { corrupt, join, readWhole, writeWhole } from './files.js';
import { IDENTITY_BYTES } from './meta.js';
import type { Crc32c, Founding } from './types.js';

export const FOUNDING_FILE = 'founding';
export const FOUNDING_MAGIC = 0x31464c44;
export const FOUNDING_FORMAT = 1;

/** Offsets of the drawing above. */
export const FoundingOffset = {
  magic: 0,
  crc: 4,
  format: 8,
  count: 12,
  clusterId: 16,
  identity: 32,
  members: 48,
} as const;
const MEMBER_BYTES = 24;

type Member = Founding['members'][number];

function checked(founding: Founding): void {
  const identities = [founding.clusterId, ...founding.members.map((member) => member.identity)];
  if (identities.some((identity) => identity.length !== IDENTITY_BYTES)) {
    throw new Error(`log: cluster id and folder identities have ${IDENTITY_BYTES} bytes`);
  }
}

export function encodeFounding(founding: Founding, identity: Uint8Array, crc32c: Crc32c): Uint8Array {
  checked(founding);
  const addresses = founding.members.map((member) => new TextEncoder().encode(member.address));
  const length = addresses.reduce<number>(
    (sum, address) => sum + MEMBER_BYTES + address.length,
    FoundingOffset.members,
  );
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes, 0, length);
  view.setUint32(FoundingOffset.magic, FOUNDING_MAGIC, true);
  view.setUint32(FoundingOffset.format, FOUNDING_FORMAT, true);
  view.setUint32(FoundingOffset.count, founding.members.length, true);
  bytes.set(founding.clusterId, FoundingOffset.clusterId);
  bytes.set(identity, FoundingOffset.identity);
  let at: number = FoundingOffset.members;
  for (const [i, member] of founding.members.entries()) {
    const address = addresses[i]!;
    view.setUint32(at, member.id, true);
    view.setUint32(at + 4, address.length, true);
    bytes.set(member.identity, at + 8);
    bytes.set(address, at + MEMBER_BYTES);
    at += MEMBER_BYTES + address.length;
  }
  view.setUint32(FoundingOffset.crc, crc32c(bytes.subarray(8)), true);
  return bytes;
}

function readMembers(path: string, bytes: Uint8Array, count: number): Member[] {
  const view = viewOf(bytes, 0, bytes.length);
  const members: Member[] = [];
  let at: number = FoundingOffset.members;
  for (let i = 0; i < count; i++) {
    if (at + MEMBER_BYTES > bytes.length) throw corrupt(path, at, `it ends before member ${i + 1} of ${count}`);
    const end = at + MEMBER_BYTES + view.getUint32(at + 4, true);
    if (end > bytes.length) throw corrupt(path, at, `the address of member ${i + 1} goes past the end`);
    members.push({
      id: view.getUint32(at, true),
      identity: bytes.slice(at + 8, at + MEMBER_BYTES),
      address: new TextDecoder().decode(bytes.subarray(at + MEMBER_BYTES, end)),
    });
    at = end;
  }
  if (at !== bytes.length) throw corrupt(path, at, 'there are bytes behind the last member');
  return members;
}

/** Reads and checks the founding record; undefined when there is none. Throws LogError `corrupt`. */
export function readFounding(
  disk: Disk,
  directory: string,
  identity: Uint8Array,
  crc32c: Crc32c,
): Founding | undefined {
  const path = join(directory, FOUNDING_FILE);
  const bytes = readWhole(disk, path);
  if (!bytes) return undefined;
  if (bytes.length < FoundingOffset.members) throw corrupt(path, bytes.length, 'it is cut short');
  const view = viewOf(bytes, 0, bytes.length);
  if (view.getUint32(FoundingOffset.magic, true) !== FOUNDING_MAGIC)
    throw corrupt(path, 0, 'it does not begin with DLF1');
  if (crc32c(bytes.subarray(8)) >>> 0 !== view.getUint32(FoundingOffset.crc, true)) throw corrupt(path, 4, 'wrong CRC');
  if (view.getUint32(FoundingOffset.format, true) !== FOUNDING_FORMAT) throw corrupt(path, 8, 'unknown format');
  const owner = bytes.subarray(FoundingOffset.identity, FoundingOffset.members);
  if (!equalBytes(owner, identity)) throw corrupt(path, FoundingOffset.identity, 'it was made for another folder');
  return {
    clusterId: bytes.slice(FoundingOffset.clusterId, FoundingOffset.identity),
    members: readMembers(path, bytes, view.getUint32(FoundingOffset.count, true)),
  };
}

export function writeFounding(
  disk: Disk,
  directory: string,
  founding: Founding,
  identity: Uint8Array,
  crc32c: Crc32c,
): void {
  writeWhole(disk, directory, FOUNDING_FILE, encodeFounding(founding, identity, crc32c));
}
