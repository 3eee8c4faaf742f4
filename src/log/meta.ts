/**
 * Who the folder is: the file `meta`, made durable before anything else in the folder.
 *
 * ```
 *  0  u32   magic 0x314d4c44 ("DLM1")
 *  4  u32   CRC32C of all bytes from 8 on
 *  8  u32   format of the folder: 1
 * 12  u32   node id
 * 16  16 B  folder identity
 * 32  end
 * ```
 *
 * Magic, CRC and format stand there in every format, so that a program can name a format that it does not know.
 */
import type { Disk, Random } from '../env/env.js';
import { viewOf } from './bytes.js';
import { corrupt, join, readWhole, writeWhole } from './files.js';
import { type Crc32c, type FolderIdentity, LogError } from './types.js';

export const META_FILE = 'meta';
export const META_BYTES = 32;
export const META_MAGIC = 0x314d4c44;
/** The format of the folder that this program writes, and the only one that it reads. */
export const FOLDER_FORMAT = 1;
export const IDENTITY_BYTES = 16;

/** Offsets of the drawing above. */
export const MetaOffset = { magic: 0, crc: 4, format: 8, nodeId: 12, identity: 16 } as const;

/** Reads and checks `meta`; undefined when there is none. Throws LogError `corrupt` or `format`. */
export function readMeta(disk: Disk, directory: string, crc32c: Crc32c): FolderIdentity | undefined {
  const path = join(directory, META_FILE);
  const bytes = readWhole(disk, path);
  if (!bytes) return undefined;
  if (bytes.length < MetaOffset.nodeId) throw corrupt(path, bytes.length, 'it is cut short');
  const view = viewOf(bytes, 0, bytes.length);
  if (view.getUint32(MetaOffset.magic, true) !== META_MAGIC) throw corrupt(path, 0, 'it does not begin with DLM1');
  if (crc32c(bytes.subarray(8)) >>> 0 !== view.getUint32(MetaOffset.crc, true)) throw corrupt(path, 4, 'wrong CRC');
  const format = view.getUint32(MetaOffset.format, true);
  if (format !== FOLDER_FORMAT) {
    throw new LogError('format', `${path}: the folder has format ${format}; this program knows ${FOLDER_FORMAT} only`);
  }
  if (bytes.length !== META_BYTES) throw corrupt(path, bytes.length, `it must have ${META_BYTES} bytes`);
  return {
    format,
    nodeId: view.getUint32(MetaOffset.nodeId, true),
    identity: bytes.slice(MetaOffset.identity, MetaOffset.identity + IDENTITY_BYTES),
  };
}

/** Gives an empty folder its identity, durably. */
export function createMeta(
  disk: Disk,
  directory: string,
  nodeId: number,
  random: Random,
  crc32c: Crc32c,
): FolderIdentity {
  const identity = random.bytes(IDENTITY_BYTES);
  const bytes = new Uint8Array(META_BYTES);
  const view = viewOf(bytes, 0, META_BYTES);
  view.setUint32(MetaOffset.magic, META_MAGIC, true);
  view.setUint32(MetaOffset.format, FOLDER_FORMAT, true);
  view.setUint32(MetaOffset.nodeId, nodeId, true);
  bytes.set(identity, MetaOffset.identity);
  view.setUint32(MetaOffset.crc, crc32c(bytes.subarray(8)), true);
  writeWhole(disk, directory, META_FILE, bytes);
  return { format: FOLDER_FORMAT, nodeId, identity };
}
