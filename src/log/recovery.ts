/**
 * Recovery: reads the segments, tells torn from rotten, and makes what it found durable again.
 *
 * ## Torn or rotten
 *
 * A crash leaves sectors unwritten; rot changes sectors that were written. A sector is all or nothing. So, where the next
 * batch header would stand:
 *
 * - *a valid header* of the next number: a batch. If its body is good, the log goes on behind it. If not, and one of its
 *   sectors still holds the pattern, and no valid header follows anywhere, it is the torn last batch: cut off (it was
 *   never acknowledged, for batch n + 1 is written only after n is durable). Else it is rotten.
 * - *the pattern*: nothing was written here. The log goes on where a later segment begins with the next number (a segment
 *   stays empty when the batch is too big for it), or ends. If a valid header follows anywhere else, a written sector was
 *   lost: rotten.
 * - *anything else*: rotten. So is every number out of order, and a record that does not continue the log.
 *
 * A valid header carries a CRC seeded with folder, generation, segment and offset: bytes from elsewhere are no header.
 *
 * ## Snapshots and generations
 *
 * The newest snapshot says in which *generation* the log goes on behind it. Segments of lower generations are left over.
 * So are those of a higher one, as long as nothing was written to them: a snapshot was about to be installed. If
 * something was, the snapshot that names them is lost.
 *
 * - A generation that *begins* behind its snapshot (it was installed) has all its segments, from number 1 on, and its first
 *   record is the snapshot's next.
 * - Else the snapshot was taken of this log, and the log was durable up to its last entry before it got its name: the log
 *   ends there or later, and has that entry with that term. What stands before may be gone (compaction), any part of it
 *   after a crash in the middle of the removal. So the log begins with the newest segments that have no hole between them,
 *   and its first record is at most one behind the snapshot; whatever was superseded in the segments before cannot matter,
 *   for a record with index i supersedes all from i on.
 *
 * The term of the entry before the first is known only when that is the snapshot's last entry. Else the first entry of the
 * log gives up its place: its term is known.
 *
 * ## Making it durable again
 *
 * `scan` changes nothing, so a rotten log stays as it was found. `settle` follows only when all of the folder is sound. It
 * trusts no page cache (after a failed write it may hold what the disk does not):
 *
 * 1. What is left over is removed, and so are segments behind the log's last one, the highest first, the folder synced
 *    after each.
 * 2. Everything behind the last good batch is filled with the pattern, durably. A torn batch only gains sectors of the
 *    pattern by that, so a crash halfway leaves a torn batch or none.
 * 3. The last good batch is written again through O_DSYNC: the same bytes in the same place. If a crash tears it then, the
 *    disk never had it, so it was never acknowledged.
 *
 * Nothing is appended before all three are done, so a second recovery meets the same end of the log.
 */
import type { Disk } from '../env/env.js';
import { BATCH_HEADER_BYTES, type BatchHeader, batchBytes, readBatchHeader, verifyBody } from './batch.js';
import type { EntryTable } from './entry-table.js';
import { corrupt, join, readWhole } from './files.js';
import type { LedgerRow } from './ledger.js';
import { RECORD_HEADER_BYTES, verifyRecord } from './record.js';
import { isPattern, type Place, SECTOR } from './sector.js';
import {
  FIRST_GENERATION,
  parseSegmentName,
  refill,
  SEGMENT_HEADER_BYTES,
  segmentFault,
  segmentName,
} from './segment.js';
import type { Crc32c } from './types.js';

/** Where the log ends. */
export interface LogEnd {
  readonly place: Place;
  readonly path: string;
  /** Bytes of the segment. */
  readonly size: number;
  /** Where the next batch goes. */
  readonly offset: number;
  /** The last good batch, if it stands in this segment. */
  readonly lastBatch: { readonly offset: number; readonly bytes: Uint8Array } | undefined;
}

export interface ScanResult {
  /** Undefined when there is no segment. */
  readonly end: LogEnd | undefined;
  /** Number of the next batch. */
  readonly nextBatch: number;
  /** Paths of the segments behind `end`, in order: they hold nothing. */
  readonly behind: readonly string[];
  /** Paths of the segments that the log does not need: of lower generations, dropped ones that came back, empty ones of higher generations. */
  readonly leftOver: readonly string[];
  /** What the segments of the log hold, in order. */
  readonly rows: readonly LedgerRow[];
  /** The torn batch that `settle` will cut off: where it stands. */
  readonly torn: string | undefined;
}

/** A place where a batch may begin; offset 0: the segment as a whole. */
export interface Stop {
  readonly segment: number;
  readonly offset: number;
}

export interface ScanOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Uint8Array;
  readonly crc32c: Crc32c;
  readonly generation: number;
  /** What the log goes on behind; undefined when there is no snapshot. `begins`: the generation begins behind it. */
  readonly snapshot: { readonly index: number; readonly term: number; readonly begins: boolean } | undefined;
  /** Gets every entry, in the order in which they were written. */
  readonly table: EntryTable;
  /** Nothing from here on is looked at (salvage.ts). */
  readonly stop?: Stop | undefined;
}

/** The segments in the folder. */
interface Listed {
  /** Of the log's generation, in order, without a hole. */
  readonly log: readonly Place[];
  /** The others of that generation, in order. */
  readonly below: readonly Place[];
  readonly leftOver: string[];
  /** Of higher generations. */
  readonly higher: readonly Place[];
}

function listSegments({ disk, directory, identity, generation, stop }: ScanOptions): Listed {
  const path = (segment: number): string => join(directory, segmentName(generation, segment));
  const places: Place[] = [];
  const leftOver: string[] = [];
  for (const name of disk.list(directory)) {
    const parsed = parseSegmentName(name);
    if (parsed && parsed.generation < generation) leftOver.push(join(directory, name));
    else if (parsed) places.push({ identity, ...parsed });
  }
  const end = stop ? stop.segment + (stop.offset > 0 ? 1 : 0) : Number.POSITIVE_INFINITY;
  const own = places
    .filter((place) => place.generation === generation && place.segment < end)
    .sort((a, b) => a.segment - b.segment);
  let from = Math.max(0, own.length - 1);
  while (from > 0 && own[from - 1]!.segment === own[from]!.segment - 1) from--;
  leftOver.push(...own.slice(0, from).map(({ segment }) => path(segment)));
  const higher = stop ? [] : places.filter((place) => place.generation > generation);
  return { log: own.slice(from), below: own.slice(0, from), leftOver, higher };
}

/** One segment being read. */
interface Reading {
  readonly place: Place;
  readonly path: string;
  readonly file: Uint8Array;
}

export class Scan {
  readonly #options: ScanOptions;
  /** Entries before the first record may have been dropped: where the log begins is not known in advance. */
  #loose = false;
  /** Number of the next batch; 0: not known yet. */
  #nextBatch = 1;
  #end: LogEnd | undefined;
  #torn: string | undefined;
  /** The end was met: no valid header may follow. */
  #ended = false;
  #behind: string[] = [];
  #rows: LedgerRow[] = [];
  #at: Stop | undefined;

  constructor(options: ScanOptions) {
    this.#options = options;
  }

  /** What is being looked at; undefined when no place in the log is. When `run` throws, everything before it is good. */
  get at(): Stop | undefined {
    return this.#at;
  }

  /** Throws LogError `corrupt`. */
  run(): ScanResult {
    const { log, below, leftOver, higher } = listSegments(this.#options);
    this.#begin(log[0], below);
    for (const place of log) {
      this.#at = { segment: place.segment, offset: 0 };
      this.#segment(this.#read(place));
    }
    this.#at = undefined;
    this.#meetSnapshot();
    for (const place of higher) leftOver.push(this.#unused(place));
    return {
      end: this.#end,
      nextBatch: this.#nextBatch,
      behind: this.#behind,
      leftOver,
      rows: this.#rows.slice(0, this.#rows.length - this.#behind.length),
      torn: this.#torn,
    };
  }

  /** Decides what is known of the beginning of the log. */
  #begin(first: Place | undefined, below: readonly Place[]): void {
    const { snapshot, generation, table, directory } = this.#options;
    if (first && first.segment > 1 && (!snapshot || snapshot.begins)) {
      let segment = 1;
      while (below[segment - 1]?.segment === segment) segment++;
      if (segment > 1) this.#at = { segment, offset: 0 };
      throw corrupt(join(directory, segmentName(generation, segment)), 0, 'the segment is missing');
    }
    if (snapshot?.begins) table.reset(snapshot.index, snapshot.term);
    else if (snapshot && (generation > FIRST_GENERATION || (first?.segment ?? 1) > 1)) this.#loose = true;
    if (first && first.segment > 1) this.#nextBatch = 0;
  }

  /** Holds the log against the snapshot that it goes on behind. */
  #meetSnapshot(): void {
    const { snapshot, table, directory } = this.#options;
    if (!snapshot) return;
    const { index, term } = snapshot;
    const first = join(directory, segmentName(this.#options.generation, 1));
    if (!this.#end) throw corrupt(first, 0, 'the segment is missing');
    const { path, offset } = this.#end;
    if (table.last < index || table.base > index)
      throw corrupt(path, offset, `the log has ${table.base + 1} to ${table.last}, the snapshot ends with ${index}`);
    if (table.base < index || !this.#loose) {
      const found = table.term(index);
      if (found !== term) throw corrupt(path, offset, `entry ${index} has term ${found}, in the snapshot ${term}`);
      if (this.#loose && table.base > 0) table.dropTo(table.base + 1);
      return;
    }
    const fault = table.last > index && table.term(index + 1) < term;
    if (fault) throw corrupt(path, offset, `entry ${index + 1} has a lower term than the snapshot before it`);
    table.rebase(term);
  }

  /** The path of a segment of a generation that no snapshot names. Throws when something was written to it. */
  #unused(place: Place): string {
    const { disk, directory } = this.#options;
    const path = join(directory, segmentName(place.generation, place.segment));
    const file = readWhole(disk, path) ?? new Uint8Array(0);
    for (let at = SEGMENT_HEADER_BYTES; at + BATCH_HEADER_BYTES <= file.length; at += SECTOR) {
      if (readBatchHeader(file, place, at, this.#options.crc32c))
        throw corrupt(path, at, `the snapshot that begins generation ${place.generation} of the log is missing`);
    }
    return path;
  }

  #read(place: Place): Reading {
    const { disk, directory, crc32c } = this.#options;
    const path = join(directory, segmentName(place.generation, place.segment));
    const file = readWhole(disk, path) ?? new Uint8Array(0);
    const fault = segmentFault(file, place, crc32c);
    if (fault) throw corrupt(path, 0, fault);
    return { place, path, file };
  }

  #segment(reading: Reading): void {
    const { path, place } = reading;
    this.#rows.push({ segment: place.segment, path, highest: 0, end: SEGMENT_HEADER_BYTES });
    const end = this.#ended ? this.#nothingAfter(reading, SEGMENT_HEADER_BYTES) : this.#walk(reading);
    if (end) {
      this.#end = end;
      this.#behind = [];
    } else this.#behind.push(path);
  }

  /** Follows the batches of a segment to where they end, and checks that nothing follows there. Undefined when it adds nothing to the log. */
  #walk(reading: Reading): LogEnd | undefined {
    const { place, path, file } = reading;
    let offset = SEGMENT_HEADER_BYTES;
    let last: number | undefined;
    const { stop } = this.#options;
    while (offset + BATCH_HEADER_BYTES <= file.length) {
      if (stop && stop.segment === place.segment && stop.offset <= offset) break;
      this.#at = { segment: place.segment, offset };
      const header = this.#header(reading, offset);
      if (!header) {
        this.#nothingAfter(reading, offset + SECTOR);
        break;
      }
      const end = offset + batchBytes(header.length);
      if (!verifyBody(file, header, place, offset, this.#options.crc32c)) {
        this.#cutOff(reading, offset, end);
        break;
      }
      this.#records(reading, offset, header);
      this.#nextBatch++;
      last = offset;
      offset = end;
    }
    if (last === undefined && this.#end) return undefined;
    const lastBatch = last === undefined ? undefined : { offset: last, bytes: file.slice(last, offset) };
    return { place, path, size: file.length, offset, lastBatch };
  }

  /** The header at `offset`; undefined where the pattern stands. */
  #header({ place, path, file }: Reading, offset: number): BatchHeader | undefined {
    const header = readBatchHeader(file, place, offset, this.#options.crc32c);
    if (!header) {
      if (isPattern(place, file, offset)) return undefined;
      throw corrupt(path, offset, 'neither a batch nor unwritten space');
    }
    if (this.#nextBatch === 0) this.#nextBatch = header.number;
    if (header.number !== this.#nextBatch) {
      throw corrupt(path, offset, `batch ${header.number} stands where batch ${this.#nextBatch} belongs`);
    }
    if (offset + batchBytes(header.length) > file.length) {
      throw corrupt(path, offset, `batch ${header.number} goes past the end of its segment`);
    }
    return header;
  }

  /** A batch with a bad body: the torn last one, or rot. */
  #cutOff(reading: Reading, offset: number, end: number): void {
    let unwritten = false;
    for (let at = offset + BATCH_HEADER_BYTES; at < end; at += SECTOR) {
      unwritten ||= isPattern(reading.place, reading.file, at);
    }
    if (!unwritten) throw corrupt(reading.path, offset, `batch ${this.#nextBatch} was written and has changed`);
    this.#nothingAfter(reading, end);
    this.#ended = true;
    this.#torn = `batch ${this.#nextBatch} at offset ${offset} of ${reading.path}`;
  }

  /** Throws when a valid header stands at `from` or behind it in this segment. */
  #nothingAfter({ place, path, file }: Reading, from: number): undefined {
    for (let at = from; at + BATCH_HEADER_BYTES <= file.length; at += SECTOR) {
      const header = readBatchHeader(file, place, at, this.#options.crc32c);
      if (header)
        throw corrupt(path, at, `batch ${header.number} stands behind a gap: batch ${this.#nextBatch} is lost`);
    }
  }

  #records({ path, file, place }: Reading, offset: number, header: BatchHeader): void {
    const { table, crc32c } = this.#options;
    const row = this.#rows.at(-1)!;
    const end = offset + BATCH_HEADER_BYTES + header.length;
    const body = file.subarray(0, end);
    let at = offset + BATCH_HEADER_BYTES;
    let count = 0;
    for (; at < end; count++) {
      const record = verifyRecord(body, at, crc32c);
      if (!record) throw corrupt(path, at, 'a record in a sound batch is damaged');
      if (this.#loose && (table.last === 0 || record.index <= table.base)) table.reset(record.index - 1, 0);
      const fault = table.fault(record.index, record.term);
      if (fault) throw corrupt(path, at, fault);
      const length = RECORD_HEADER_BYTES + record.payloadLength;
      table.put(record.index, record.term, length);
      table.place(record.index, place.segment, at);
      at += length;
      row.highest = Math.max(row.highest, record.index);
      row.end = at;
    }
    if (count !== header.count) throw corrupt(path, offset, `${count} records, the header says ${header.count}`);
  }
}

/** Reads all segments, changes nothing. Throws LogError `corrupt`. */
export function scan(options: ScanOptions): ScanResult {
  return new Scan(options).run();
}

/** Makes durable what `scan` found, and clears what lies behind it. Rejects with DiskError. */
export async function settle(disk: Disk, directory: string, found: ScanResult): Promise<void> {
  for (const path of found.leftOver) disk.unlink(path);
  for (const path of [...found.behind].reverse()) {
    disk.unlink(path);
    disk.syncDir(directory);
  }
  const end = found.end;
  if (!end) return;
  await refill(disk, end.path, end.place, end.offset, end.size);
  if (!end.lastBatch) return;
  const file = disk.open(end.path, { dsync: true });
  try {
    file.writeSync(end.lastBatch.bytes, end.lastBatch.offset);
  } finally {
    file.close();
  }
}
