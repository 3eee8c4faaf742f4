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
 * ## Repair
 *
 * `scan` changes nothing, so a rotten log stays as it was found. `repair` follows only when all of the folder is sound. It
 * trusts no page cache (after a failed write it may hold what the disk does not):
 *
 * 1. Segments behind the log's last one are removed, the highest first, the folder synced after each.
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
import { type Crc32c, LogError } from './types.js';

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
  /** The torn batch that `repair` will cut off: where it stands. */
  readonly torn: string | undefined;
}

export interface ScanOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Uint8Array;
  readonly crc32c: Crc32c;
  /** Gets every entry, in the order in which they were written. */
  readonly table: EntryTable;
}

/** Places of the segments in the folder, in order. Throws LogError `corrupt` when one is missing between them. */
function listSegments({ disk, directory, identity }: ScanOptions): Place[] {
  const places: Place[] = [];
  for (const name of disk.list(directory)) {
    const parsed = parseSegmentName(name);
    if (!parsed || parsed.generation < FIRST_GENERATION) continue;
    if (parsed.generation > FIRST_GENERATION) {
      throw new LogError('format', `${join(directory, name)}: generation ${parsed.generation} of the log is unknown`);
    }
    places.push({ identity, ...parsed });
  }
  places.sort((a, b) => a.segment - b.segment);
  for (const [i, place] of places.entries()) {
    if (place.segment !== i + 1) {
      throw corrupt(join(directory, segmentName(FIRST_GENERATION, i + 1)), 0, 'the segment is missing');
    }
  }
  return places;
}

/** One segment being read. */
interface Reading {
  readonly place: Place;
  readonly path: string;
  readonly file: Uint8Array;
}

class Scan {
  readonly #options: ScanOptions;
  #nextBatch = 1;
  #end: LogEnd | undefined;
  #torn: string | undefined;
  /** The end was met: no valid header may follow. */
  #ended = false;
  #behind: string[] = [];

  constructor(options: ScanOptions) {
    this.#options = options;
  }

  run(): ScanResult {
    for (const place of listSegments(this.#options)) this.#segment(this.#read(place));
    return { end: this.#end, nextBatch: this.#nextBatch, behind: this.#behind, torn: this.#torn };
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
    const end = this.#ended ? this.#nothingAfter(reading, SEGMENT_HEADER_BYTES) : this.#walk(reading);
    if (end) {
      this.#end = end;
      this.#behind = [];
    } else this.#behind.push(reading.path);
  }

  /** Follows the batches of a segment to where they end, and checks that nothing follows there. Undefined when it adds nothing to the log. */
  #walk(reading: Reading): LogEnd | undefined {
    const { place, path, file } = reading;
    let offset = SEGMENT_HEADER_BYTES;
    let last: number | undefined;
    while (offset + BATCH_HEADER_BYTES <= file.length) {
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
    const end = offset + BATCH_HEADER_BYTES + header.length;
    const body = file.subarray(0, end);
    let at = offset + BATCH_HEADER_BYTES;
    let count = 0;
    for (; at < end; count++) {
      const record = verifyRecord(body, at, crc32c);
      if (!record) throw corrupt(path, at, 'a record in a sound batch is damaged');
      const fault = table.fault(record.index, record.term);
      if (fault) throw corrupt(path, at, fault);
      const length = RECORD_HEADER_BYTES + record.payloadLength;
      table.put(record.index, record.term, length);
      table.place(record.index, place.segment, at);
      at += length;
    }
    if (count !== header.count) throw corrupt(path, offset, `${count} records, the header says ${header.count}`);
  }
}

/** Reads all segments, changes nothing. Throws LogError `corrupt`, or `format` for a generation that it does not know. */
export function scan(options: ScanOptions): ScanResult {
  return new Scan(options).run();
}

/** Makes durable what `scan` found, and clears what lies behind it. Rejects with DiskError. */
export async function repair(disk: Disk, directory: string, found: ScanResult): Promise<void> {
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
