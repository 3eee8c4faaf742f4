/**
 * Sectors: the unit in which a disk writes all or nothing (512 bytes), and the pattern that fills those not yet written.
 *
 * A sector of the pattern is this block of 32 bytes, 16 times:
 *
 * ```
 *  0  u32   magic 0x50464c44 ("DLFP")
 *  4  u32   generation
 *  8  u32   number of the segment
 * 12  u32   number of the sector in the file
 * 16  16 B  folder identity
 * 32  the same again
 * ```
 *
 * Invariant: a sector that equals the pattern of its own place has not been written since its segment was made or
 * refilled. (Whoever knows the identity could store a value that holds a pattern at the right offset. It would do no
 * more than make a batch that rotted as the very last one look torn, and members tell their identity to each other only.)
 */
import { viewOf } from './bytes.js';
import type { Crc32c } from './types.js';

/** Bytes of a sector. */
export const SECTOR = 512;
export const PATTERN_MAGIC = 0x50464c44;
export const PATTERN_BLOCK_BYTES = 32;

/** Offsets of the drawing above. */
export const PatternOffset = { magic: 0, generation: 4, segment: 8, sector: 12, identity: 16 } as const;

/** Where bytes of the log belong: enters every pattern and seeds every CRC, so nothing from elsewhere passes for valid. */
export interface Place {
  /** 16 bytes: the folder's identity. */
  readonly identity: Uint8Array;
  readonly generation: number;
  readonly segment: number;
}

/** `bytes` rounded up to whole sectors. */
export function padToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR) * SECTOR;
}

const scratch = new Uint8Array(SECTOR);

/** Fills `into` (whole sectors) with the pattern of the sectors from `offset` of the file on. Makes one object, however many they are. */
export function fillPattern(place: Place, offset: number, into: Uint8Array): void {
  const view = viewOf(into, 0, into.length);
  view.setUint32(PatternOffset.magic, PATTERN_MAGIC, true);
  view.setUint32(PatternOffset.generation, place.generation, true);
  view.setUint32(PatternOffset.segment, place.segment, true);
  into.set(place.identity, PatternOffset.identity);
  for (let done = PATTERN_BLOCK_BYTES; done < into.length; done *= 2) into.copyWithin(done, 0, done);
  for (let at = 0; at < into.length; at += PATTERN_BLOCK_BYTES) {
    view.setUint32(at + PatternOffset.sector, Math.floor((offset + at) / SECTOR), true);
  }
}

/** Whether the sector at `offset` of `file` (the whole file, or its beginning) still holds its pattern. */
export function isPattern(place: Place, file: Uint8Array, offset: number): boolean {
  if (viewOf(file, offset, 4).getUint32(0, true) !== PATTERN_MAGIC) return false;
  fillPattern(place, offset, scratch);
  for (let i = 0; i < SECTOR; i++) if (file[offset + i] !== scratch[i]) return false;
  return true;
}

const seedBytes = new Uint8Array(32);
const seedView = viewOf(seedBytes, 0, seedBytes.length);

/** The CRC of a place in the log (identity, generation, segment, offset): the seed of the CRCs of what stands there. */
export function placeSeed(place: Place, offset: number, crc32c: Crc32c): number {
  seedBytes.set(place.identity);
  seedView.setUint32(16, place.generation, true);
  seedView.setUint32(20, place.segment, true);
  seedView.setUint32(24, offset, true);
  return crc32c(seedBytes, 0, 0, 28) >>> 0;
}
