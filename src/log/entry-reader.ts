/** Reads old entries back from the segments, neighbours in one read, each verified by its CRC before it is handed out. */
import type { Disk, DiskFile } from '../env/env.js';
import type { Entry } from '../raft/types.js';
import type { EntryTable } from './entry-table.js';
import { corrupt, join } from './files.js';
import { verifyRecord } from './record.js';
import { segmentName } from './segment.js';
import type { Crc32c } from './types.js';

/** Segments kept open for reading. */
const OPEN_FILES = 8;
/** Between records of neighbouring batches lie padding and a header: less than this. Wider gaps end a read. */
const GAP = 1024;

export class EntryReader {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #generation: number;
  readonly #table: EntryTable;
  readonly #crc32c: Crc32c;
  /** By number of the segment, the one used last at the end. */
  readonly #files = new Map<number, DiskFile>();

  constructor(disk: Disk, directory: string, generation: number, table: EntryTable, crc32c: Crc32c) {
    this.#disk = disk;
    this.#directory = directory;
    this.#generation = generation;
    this.#table = table;
    this.#crc32c = crc32c;
  }

  /** Entries from `from` on that lie close together in one segment, at most up to `to`, at least one. Throws LogError `corrupt`, DiskError. */
  read(from: number, to: number): Entry[] {
    const first = this.#table.location(from);
    let last = from;
    let end = first.offset + first.length;
    while (last < to) {
      const next = this.#table.location(last + 1);
      if (next.segment !== first.segment || next.offset < end || next.offset - end > GAP) break;
      end = next.offset + next.length;
      last++;
    }
    const bytes = new Uint8Array(end - first.offset);
    const read = this.#file(first.segment).readSync(bytes, first.offset);
    return this.#cut(bytes.subarray(0, read), from, last);
  }

  /** Closes the segments up to `segment`: they are being removed. */
  forget(segment: number): void {
    for (const [number, file] of this.#files) {
      if (number > segment) continue;
      file.close();
      this.#files.delete(number);
    }
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }

  #cut(bytes: Uint8Array, from: number, last: number): Entry[] {
    const base = this.#table.location(from).offset;
    const entries: Entry[] = [];
    for (let index = from; index <= last; index++) {
      const { segment, offset, length } = this.#table.location(index);
      const at = offset - base;
      const record = bytes.subarray(at, at + length);
      const header = verifyRecord(record, 0, this.#crc32c);
      const term = this.#table.term(index);
      if (header?.index !== index || header.term !== term) {
        throw corrupt(this.#path(segment), offset, `entry ${index} of term ${term} was written there and has changed`);
      }
      entries.push({ index, term, bytes: record });
    }
    return entries;
  }

  #path(segment: number): string {
    return join(this.#directory, segmentName(this.#generation, segment));
  }

  #file(segment: number): DiskFile {
    const file = this.#files.get(segment) ?? this.#disk.open(this.#path(segment));
    this.#files.delete(segment);
    this.#files.set(segment, file);
    if (this.#files.size > OPEN_FILES) {
      const [oldest, unused] = this.#files.entries().next().value!;
      this.#files.delete(oldest);
      unused.close();
    }
    return file;
  }
}
