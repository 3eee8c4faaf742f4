/**
 * Makes a damaged folder sound, for a host that refills it from the other members.
 *
 * ## What is kept
 *
 * Everything that is verifiably good and of use: the log up to the first bad batch, if the newest good snapshot joins it; else
 * that snapshot alone, with an empty log behind it; else nothing. Of term and vote, the copy that is good; without one, the
 * highest term of log and snapshot, no vote, and a start counter that no honest count reaches. The founding record is
 * lost when it is bad: any member has it. Without a good `meta` nothing is kept: that folder is not this node's any more.
 *
 * ## Rules
 *
 * - *Marked first.* The file `damaged` is durable before anything is changed, and stays until the host says that the folder
 *   holds again what it may have acknowledged (`Log.repaired`). A crash in between, at any point, leads back here.
 * - *Nothing bad is deleted.* Files that are damaged or cannot be used any more go to `damaged-<n>/`; of a segment whose
 *   beginning is kept, a copy. Of these folders the newest three stay, and whoever operates the node is told.
 * - What salvage leaves is read again from the beginning like any other folder, and must be sound.
 */
import type { Disk } from '../env/env.js';
import { EntryTable } from './entry-table.js';
import { join, readWhole, writeWhole } from './files.js';
import { FOUNDING_FILE, readFounding } from './founding.js';
import { Scan, type Stop } from './recovery.js';
import {
  FIRST_GENERATION,
  FIRST_SEGMENT_BYTES,
  makeSegment,
  parseSegmentName,
  refill,
  segmentName,
} from './segment.js';
import { encodeSnapshotHeader, parseSnapshotName, snapshotName } from './snapshot-file.js';
import { type FoundSnapshots, readSnapshots, type StoredSnapshot } from './snapshots.js';
import { type Crc32c, LogError } from './types.js';
import { encodeVote, readVotes, VOTE_FILES, type VoteCopy } from './vote.js';

/** Its being there is the mark; what it says is for people. */
export const DAMAGED_FILE = 'damaged';
const KEPT_FOLDERS = 3;
const FOLDER = /^damaged-(\d+)$/;
/** A start counter that no honest count reaches, with room above for later losses. */
export const LOST_STARTS = 0x4000_0000;
const STARTS_APART = 0x1_0000;
const COPY_BYTES = 1024 * 1024;

export interface SalvageOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Uint8Array;
  readonly crc32c: Crc32c;
  readonly segmentBytes: number;
  readonly onWarning: (message: string) => void;
}

export function isMarked(disk: Disk, directory: string): boolean {
  return disk.exists(join(directory, DAMAGED_FILE));
}

/** Makes the mark, durably. */
export function markDamaged(disk: Disk, directory: string, why: string): void {
  if (!isMarked(disk, directory)) writeWhole(disk, directory, DAMAGED_FILE, new TextEncoder().encode(`${why}\n`));
}

/** Takes the mark away, durably. Throws DiskError. */
export function unmark(disk: Disk, directory: string): void {
  if (!isMarked(disk, directory)) return;
  disk.unlink(join(directory, DAMAGED_FILE));
  disk.syncDir(directory);
}

function folderNumbers(disk: Disk, directory: string): number[] {
  const numbers = disk.list(directory).flatMap((name) => Number(FOLDER.exec(name)?.[1] ?? Number.NaN));
  return numbers.filter((number) => !Number.isNaN(number)).sort((a, b) => a - b);
}

/** A folder for what is damaged, made when the first file goes there. */
export class Evidence {
  readonly #options: Pick<SalvageOptions, 'disk' | 'directory' | 'onWarning'>;
  #folder: string | undefined;

  constructor(options: Pick<SalvageOptions, 'disk' | 'directory' | 'onWarning'>) {
    this.#options = options;
  }

  /** Number of the folder that is or will be made. */
  get number(): number {
    return (folderNumbers(this.#options.disk, this.#options.directory).at(-1) ?? 0) + (this.#folder ? 0 : 1);
  }

  /** Moves a file there, durably; one that is gone is passed over. */
  move(name: string): void {
    const { disk, directory } = this.#options;
    if (!disk.exists(join(directory, name))) return;
    const folder = this.#made();
    disk.rename(join(directory, name), join(folder, name));
    disk.syncDir(folder);
    disk.syncDir(directory);
  }

  /** Puts a copy there, durably. */
  copy(name: string): void {
    const { disk, directory } = this.#options;
    const bytes = readWhole(disk, join(directory, name));
    if (bytes) writeWhole(disk, this.#made(), name, bytes);
  }

  #made(): string {
    if (this.#folder !== undefined) return this.#folder;
    const { disk, directory, onWarning } = this.#options;
    const numbers = folderNumbers(disk, directory);
    const number = (numbers.at(-1) ?? 0) + 1;
    for (const old of numbers.slice(0, Math.max(0, numbers.length - KEPT_FOLDERS + 1))) {
      const folder = join(directory, `damaged-${old}`);
      onWarning(`removing ${folder}: damaged files of long ago`);
      for (const name of disk.list(folder)) disk.unlink(join(folder, name));
      disk.rmdir(folder);
    }
    this.#folder = join(directory, `damaged-${number}`);
    disk.mkdir(this.#folder);
    onWarning(`keeping damaged files in ${this.#folder}`);
    return this.#folder;
  }
}

/** Runs what may find rot; undefined when it does. */
function unlessCorrupt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof LogError && error.code === 'corrupt') return undefined;
    throw error;
  }
}

export class Salvage {
  readonly #options: SalvageOptions;
  readonly #evidence: Evidence;

  constructor(options: SalvageOptions) {
    this.#options = options;
    this.#evidence = new Evidence(options);
  }

  /** Leaves a sound folder. It is marked already. Rejects with DiskError. */
  async run(): Promise<void> {
    const { disk, directory, identity, crc32c } = this.#options;
    const snapshots = readSnapshots(disk, directory, identity, crc32c);
    for (const { path } of snapshots.bad) this.#evidence.move(nameOf(path));
    const table = new EntryTable();
    const term = await this.#log(snapshots, table);
    const founding = unlessCorrupt(() => readFounding(disk, directory, identity, crc32c));
    if (!founding) this.#evidence.move(FOUNDING_FILE);
    this.#votes(term, founding !== undefined);
  }

  /** Leaves a sound log, and returns the highest term that log and snapshot know. */
  async #log({ newest }: FoundSnapshots, table: EntryTable): Promise<number> {
    const generation = newest?.generation ?? FIRST_GENERATION;
    const stop = this.#firstBad(generation, newest, table);
    if (stop === 'nothing') {
      await this.#without(newest);
      return newest?.info.term ?? 0;
    }
    for (const { name, generation: of, segment } of this.#segments()) {
      const behind =
        stop && of === generation && (segment > stop.segment || (segment === stop.segment && stop.offset === 0));
      if (of > generation || behind) this.#evidence.move(name);
    }
    if (stop && stop.offset > 0) await this.#cut(generation, stop);
    return table.term(table.last);
  }

  /** Where the log is bad first: undefined when nowhere, `nothing` when none of it is of use. Fills the table with what is good. */
  #firstBad(generation: number, newest: StoredSnapshot | undefined, table: EntryTable): Stop | 'nothing' | undefined {
    const { disk, directory, identity, crc32c } = this.#options;
    const snapshot = newest && { index: newest.info.index, term: newest.info.term, begins: newest.begins };
    let stop: Stop | undefined;
    for (;;) {
      table.reset(0, 0);
      const common = { disk, directory, identity, crc32c, generation, snapshot, table };
      // What higher generations hold is of no use without their snapshot.
      const scan = new Scan({ ...common, stop: stop ?? { segment: Number.MAX_SAFE_INTEGER, offset: 0 } });
      const result = unlessCorrupt(() => scan.run());
      if (result) return result.end ? stop : 'nothing';
      const at = scan.at;
      const earlier =
        at && (!stop || at.segment < stop.segment || (at.segment === stop.segment && at.offset < stop.offset));
      if (!earlier) return 'nothing';
      stop = at;
    }
  }

  /** Fills everything from `stop` on with the pattern; the segment as it was is kept aside. */
  async #cut(generation: number, { segment, offset }: Stop): Promise<void> {
    const { disk, directory, identity } = this.#options;
    const name = segmentName(generation, segment);
    this.#evidence.copy(name);
    const file = disk.open(join(directory, name));
    const size = file.size();
    file.close();
    await refill(disk, join(directory, name), { identity, generation, segment }, offset, size);
  }

  /** Puts all of the log aside. A snapshot begins a new generation. */
  async #without(newest: StoredSnapshot | undefined): Promise<void> {
    const { disk, directory, identity, crc32c, segmentBytes } = this.#options;
    const all = this.#segments();
    for (const { name } of all) this.#evidence.move(name);
    const highest = Math.max(0, newest?.generation ?? 0, ...all.map((each) => each.generation));
    const generation = newest ? highest + 1 : FIRST_GENERATION;
    const size = Math.min(segmentBytes, FIRST_SEGMENT_BYTES);
    const place = { identity, generation, segment: 1 };
    await makeSegment({ disk, directory, place, size, crc32c, background: false });
    if (newest) this.#begin(newest, generation);
  }

  /** The same snapshot, from which a new generation of the log goes on. */
  #begin({ path, info }: StoredSnapshot, generation: number): void {
    const { disk, directory, identity, crc32c } = this.#options;
    const name = snapshotName(generation, info.index);
    const from = disk.open(path);
    const to = disk.open(join(directory, `${name}.tmp`), { create: true });
    const header = encodeSnapshotHeader({ info, generation, begins: true }, identity, crc32c);
    to.writeSync(header, 0);
    const bytes = new Uint8Array(COPY_BYTES);
    for (let at = header.length, read = 1; read > 0; at += read) {
      read = from.readSync(bytes, at);
      to.writeSync(bytes.subarray(0, read), at);
    }
    to.syncSync();
    to.close();
    from.close();
    disk.rename(join(directory, `${name}.tmp`), join(directory, name));
    disk.syncDir(directory);
    for (const other of disk.list(directory))
      if (parseSnapshotName(other) && other !== name) disk.unlink(join(directory, other));
  }

  /** Leaves a valid copy of term and vote that says whether there is a founding record. */
  #votes(term: number, founded: boolean): void {
    const { disk, directory, identity, crc32c, onWarning } = this.#options;
    const found = unlessCorrupt(() => readVotes(disk, directory, identity, crc32c));
    if (found && found.newest.founded === founded) return;
    let copy: VoteCopy;
    if (found) copy = { ...found.newest, generation: found.newest.generation + 1, founded };
    else {
      const starts = LOST_STARTS + this.#evidence.number * STARTS_APART;
      copy = { generation: 1, term, vote: 0, starts, founded };
      onWarning(`term and vote are lost; going on in term ${term}`);
    }
    const bytes = encodeVote(copy, identity, crc32c);
    for (const name of VOTE_FILES) {
      if (!found) this.#evidence.move(name);
      writeWhole(disk, directory, name, bytes);
    }
  }

  #segments(): { name: string; generation: number; segment: number }[] {
    const { disk, directory } = this.#options;
    return disk.list(directory).flatMap((name) => {
      const parsed = parseSegmentName(name);
      return parsed ? [{ name, ...parsed }] : [];
    });
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
