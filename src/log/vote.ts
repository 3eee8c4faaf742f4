/**
 * Term, vote and start counter, in two copies: the files `vote-1` and `vote-2`, one sector each.
 *
 * ```
 *  0  u32   magic 0x31564c44 ("DLV1")
 *  4  u32   CRC32C of bytes 8 … 511
 *  8  u64   generation: one more with every save
 * 16  u64   term
 * 24  u32   vote
 * 28  u32   start counter
 * 32  16 B  folder identity
 * 48  u32   flags: 1 a founding record exists
 * 52  zeros
 * 512 end
 * ```
 *
 * A save writes one copy, durably, then the other: at any moment one of them is whole, and when a save has returned both
 * hold it, so rot of either loses nothing. Recovery takes the newest valid copy. It writes the other one first, so that
 * what it took stays whole on disk until its twin is.
 */
import type { Disk, DiskFile } from '../env/env.js';
import { equalBytes, readU64, viewOf, writeU64 } from './bytes.js';
import { corrupt, join, readWhole, writeWhole } from './files.js';
import { IDENTITY_BYTES } from './meta.js';
import { SECTOR } from './sector.js';
import type { Crc32c, VoteState } from './types.js';

export const VOTE_FILES = ['vote-1', 'vote-2'] as const;
export const VOTE_BYTES = SECTOR;
export const VOTE_MAGIC = 0x31564c44;

/** Offsets of the drawing above. */
export const VoteOffset = {
  magic: 0,
  crc: 4,
  generation: 8,
  term: 16,
  vote: 24,
  starts: 28,
  identity: 32,
  flags: 48,
  zeros: 52,
} as const;
const FLAG_FOUNDED = 1;

/** What a copy says. */
export interface VoteCopy extends VoteState {
  readonly generation: number;
  /** A founding record was made: if its file is gone, the folder has lost it. */
  readonly founded: boolean;
}

export function encodeVote(copy: VoteCopy, identity: Uint8Array, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(VOTE_BYTES);
  const view = viewOf(bytes, 0, VOTE_BYTES);
  view.setUint32(VoteOffset.magic, VOTE_MAGIC, true);
  writeU64(view, VoteOffset.generation, 'log: generation of the vote', copy.generation);
  writeU64(view, VoteOffset.term, 'log: term', copy.term);
  view.setUint32(VoteOffset.vote, copy.vote, true);
  view.setUint32(VoteOffset.starts, copy.starts, true);
  bytes.set(identity, VoteOffset.identity);
  view.setUint32(VoteOffset.flags, copy.founded ? FLAG_FOUNDED : 0, true);
  view.setUint32(VoteOffset.crc, crc32c(bytes.subarray(8)), true);
  return bytes;
}

/** What the bytes of one file say; undefined when they are no valid copy of this folder's. */
export function decodeVote(bytes: Uint8Array, identity: Uint8Array, crc32c: Crc32c): VoteCopy | undefined {
  if (bytes.length !== VOTE_BYTES) return undefined;
  const view = viewOf(bytes, 0, VOTE_BYTES);
  if (view.getUint32(VoteOffset.magic, true) !== VOTE_MAGIC) return undefined;
  if (crc32c(bytes.subarray(8)) >>> 0 !== view.getUint32(VoteOffset.crc, true)) return undefined;
  if (!equalBytes(bytes.subarray(VoteOffset.identity, VoteOffset.identity + IDENTITY_BYTES), identity))
    return undefined;
  return {
    generation: readU64(view, VoteOffset.generation),
    term: readU64(view, VoteOffset.term),
    vote: view.getUint32(VoteOffset.vote, true),
    starts: view.getUint32(VoteOffset.starts, true),
    founded: (view.getUint32(VoteOffset.flags, true) & FLAG_FOUNDED) !== 0,
  };
}

/** What the two files say when the folder is opened. */
export interface FoundVote {
  readonly newest: VoteCopy;
  /** Index into VOTE_FILES of the copy that was taken. */
  readonly taken: number;
  /** Names of files that were there and not valid. */
  readonly bad: readonly string[];
}

/** Reads both copies, changes nothing. Undefined when neither file exists. Throws LogError `corrupt` when none is valid. */
export function readVotes(disk: Disk, directory: string, identity: Uint8Array, crc32c: Crc32c): FoundVote | undefined {
  const found = VOTE_FILES.map((name) => readWhole(disk, join(directory, name)));
  if (found.every((bytes) => bytes === undefined)) return undefined;
  const copies = found.map((bytes) => bytes && decodeVote(bytes, identity, crc32c));
  const bad = VOTE_FILES.filter((_, i) => found[i] && !copies[i]).map((name) => join(directory, name));
  let taken = -1;
  for (const [i, copy] of copies.entries()) {
    if (copy && (taken < 0 || copy.generation > copies[taken]!.generation)) taken = i;
  }
  if (taken < 0) throw corrupt(bad.join(' and '), 0, 'no valid copy of term and vote is left');
  return { newest: copies[taken]!, taken, bad };
}

/** Opens one file for durable writes; makes it anew when it is missing or has another length. */
function openCopy(disk: Disk, directory: string, name: string, bytes: Uint8Array): DiskFile {
  const path = join(directory, name);
  if (readWhole(disk, path)?.length !== VOTE_BYTES) writeWhole(disk, directory, name, bytes);
  return disk.open(path, { dsync: true });
}

/** The two files, open for writing. */
export class VoteFiles {
  readonly #files: DiskFile[];
  readonly #identity: Uint8Array;
  readonly #crc32c: Crc32c;
  #current: VoteCopy;

  private constructor(files: DiskFile[], current: VoteCopy, identity: Uint8Array, crc32c: Crc32c) {
    this.#files = files;
    this.#current = current;
    this.#identity = identity;
    this.#crc32c = crc32c;
  }

  /** Makes both copies (again) through O_DSYNC and keeps them open. `found` is what `readVotes` said. */
  static open(
    disk: Disk,
    directory: string,
    identity: Uint8Array,
    crc32c: Crc32c,
    found: FoundVote | undefined,
  ): VoteFiles {
    const newest = found?.newest ?? { generation: 0, term: 0, vote: 0, starts: 0, founded: false };
    const rewritten = { ...newest, generation: newest.generation + 1 };
    const bytes = encodeVote(rewritten, identity, crc32c);
    const files: DiskFile[] = [];
    const order = found?.taken === 0 ? [1, 0] : [0, 1];
    for (const i of order) {
      files[i] = openCopy(disk, directory, VOTE_FILES[i]!, bytes);
      files[i].writeSync(bytes, 0);
    }
    return new VoteFiles(files, rewritten, identity, crc32c);
  }

  get state(): VoteCopy {
    return this.#current;
  }

  /** Makes the state durable in both copies, one after the other. Throws DiskError. */
  save(state: VoteState, founded: boolean): void {
    const next = { ...state, founded, generation: this.#current.generation + 1 };
    const bytes = encodeVote(next, this.#identity, this.#crc32c);
    for (const file of this.#files) file.writeSync(bytes, 0);
    this.#current = next;
  }

  close(): void {
    for (const file of this.#files) file.close();
  }
}
