/** The open log: see log.ts for the concept and the invariants. */
import type { Disk, DiskError } from '../env/env.js';
import type { Entry } from '../raft/types.js';
import { BatchWriter } from './batch-writer.js';
import { EntryCache } from './entry-cache.js';
import { EntryReader } from './entry-reader.js';
import type { EntryTable } from './entry-table.js';
import { asLogError, join } from './files.js';
import { writeFounding } from './founding.js';
import { type Position, SegmentLedger } from './ledger.js';
import { isRecordOf, readHeader } from './record.js';
import type { LogEnd, ScanResult } from './recovery.js';
import { LOST_STARTS, unmark } from './salvage.js';
import type { Place } from './sector.js';
import { FIRST_SEGMENT_BYTES, makeSegment, SEGMENT_HEADER_BYTES, segmentName } from './segment.js';
import { SegmentSupply } from './segment-supply.js';
import { type FoundSnapshots, type SnapshotHost, Snapshots } from './snapshots.js';
import {
  type FolderIdentity,
  type Founding,
  type Log,
  LogError,
  type LogOptions,
  type NewSnapshot,
  type SnapshotInfo,
  type SnapshotReader,
  type SnapshotReceiver,
  type SnapshotWriter,
  type VoteState,
  type WriteLatency,
} from './types.js';
import type { FoundVote, VoteFiles } from './vote.js';
import { WriteTimes } from './write-times.js';

/** Completed batches between two looks at how much room there is. */
const LOOK_BATCHES = 64;

export type Settings = Required<LogOptions>;

/** All that reading the folder has told. Nothing has been changed. */
export interface Found {
  readonly folder: FolderIdentity;
  readonly founding: Founding | undefined;
  readonly votes: FoundVote | undefined;
  readonly snapshots: FoundSnapshots;
  readonly scan: ScanResult;
  readonly table: EntryTable;
  /** The folder is marked: it has lost something that it may have acknowledged. */
  readonly damaged: boolean;
}

/** Removes files one after the other, letting other work in between. What is left of them does no harm. */
class Removal {
  readonly #disk: Disk;
  readonly #options: Settings;
  readonly #paths: string[] = [];
  #running = false;
  readonly #removed: () => void;
  closed = false;

  /** `removed` is called after each file: there is room again. */
  constructor(options: Settings, removed: () => void) {
    this.#disk = options.disk;
    this.#options = options;
    this.#removed = removed;
  }

  add(paths: readonly string[]): void {
    this.#paths.push(...paths);
    if (!this.#running && this.#paths.length > 0) this.#next();
  }

  #next(): void {
    this.#running = true;
    this.#options.defer(() => {
      const path = this.#paths.shift();
      if (!this.closed && path !== undefined) this.#disk.remove(path, (error) => this.#done(path, error));
    });
  }

  #done(path: string, error: DiskError | undefined): void {
    this.#running = false;
    if (this.closed) return;
    if (error && error.code !== 'missing')
      this.#options.onWarning(`cannot remove ${path}, which nobody needs: ${error.message}`);
    this.#removed();
    if (this.#paths.length > 0) this.#next();
  }
}

/** What a generation of the log is written and read through. */
interface Files {
  readonly place: Place;
  readonly cache: EntryCache;
  readonly reader: EntryReader;
  readonly supply: SegmentSupply;
  readonly writer: BatchWriter;
  readonly ledger: SegmentLedger;
}

export class DiskLog implements Log {
  readonly folder: FolderIdentity;
  onPersisted: Log['onPersisted'] = () => {};
  onFailed: Log['onFailed'] = () => {};
  onRoom: Log['onRoom'] = () => {};
  readonly #options: Settings;
  readonly #votes: VoteFiles;
  readonly #table: EntryTable;
  readonly #snapshots: Snapshots;
  readonly #removal: Removal;
  readonly #release: () => void;
  #files: Files;
  #founding: Founding | undefined;
  #damaged: boolean;
  /** First entry that no write has taken yet; lastIndex() + 1 when there is none. */
  #unwritten: number;
  /** Index of the first entry of the write in flight, and its last entry; undefined when there is none. */
  #inFlightFirst = 0;
  #inFlight: Entry | undefined;
  /** A flush was asked for that the write in flight does not cover. */
  #wanted = false;
  /** Segment of the last batch that is durable. */
  #durableSegment: number;
  /** Where the newest snapshot's last entry stands, or the log begins. */
  #mark: Position;
  /** Who waits until all up to an entry is durable. */
  #waiting: { readonly index: number; readonly resolve: () => void }[] = [];
  /** A new generation is being made: nothing may be appended. */
  #replacing: Promise<void> | undefined;
  /** The log of this generation is at its end: nothing more is written. */
  #stopped = false;
  #failed: LogError | undefined;
  #closed = false;
  /** Called when no write is in flight any more. */
  #idle: (() => void) | undefined;
  #batches = 0;
  /** A spare could not be made for lack of room. */
  #full = false;
  /** The operator has been told so. */
  #warned = false;
  #hasRoom = true;
  #reserve: number;
  readonly #times: WriteTimes;

  constructor(options: Settings, found: Found, end: LogEnd, votes: VoteFiles, release: () => void) {
    this.folder = found.folder;
    this.#options = options;
    this.#founding = found.founding;
    this.#damaged = found.damaged;
    this.#reserve = options.reserveBytes;
    this.#times = new WriteTimes(options.clock);
    this.#votes = votes;
    this.#table = found.table;
    this.#release = release;
    this.#removal = new Removal(options, () => {
      if (!this.#hasRoom) this.checkRoom();
    });
    this.#unwritten = this.#table.last + 1;
    const rows = found.scan.end ? found.scan.rows : [rowOf(end.place.segment, end.path)];
    this.#files = this.#open(end, found.scan.nextBatch, new SegmentLedger(rows));
    this.#durableSegment = end.place.segment;
    const { newest } = found.snapshots;
    this.#mark = this.#markOf(newest?.info.index ?? 0);
    const { disk, directory, crc32c, defer } = options;
    const { identity } = found.folder;
    this.#snapshots = new Snapshots({ disk, directory, identity, crc32c, defer }, this.#host(), newest);
    this.#hasRoom = this.#room();
  }

  get founding(): Founding | undefined {
    return this.#founding;
  }

  get vote(): VoteState {
    const { term, vote, starts } = this.#votes.state;
    return { term, vote, starts };
  }

  found(founding: Founding): void {
    if (this.#founding) throw new Error('log: the folder belongs to a cluster already');
    const { disk, directory, crc32c } = this.#options;
    this.#synchronously(() => {
      writeFounding(disk, directory, founding, this.folder.identity, crc32c);
      this.#founding = founding;
      this.#votes.save(this.#votes.state, true);
    });
  }

  saveVote(state: VoteState): void {
    const now = this.#votes.state;
    if (state.term < now.term || state.starts < now.starts) {
      throw new Error(`log: term and starts never go back: ${JSON.stringify(now)} to ${JSON.stringify(state)}`);
    }
    if (state.term === now.term && now.vote !== 0 && state.vote !== now.vote) {
      throw new Error(`log: the vote of term ${now.term} went to ${now.vote} and cannot go to ${state.vote}`);
    }
    this.#synchronously(() => this.#votes.save(state, this.#founding !== undefined));
  }

  get damaged(): boolean {
    return this.#damaged;
  }

  get votesLost(): boolean {
    return this.#votes.state.starts >= LOST_STARTS;
  }

  repaired(): void {
    this.#synchronously(() => unmark(this.#options.disk, this.#options.directory));
    this.#damaged = false;
  }

  firstIndex(): number {
    return this.#table.base + 1;
  }

  lastIndex(): number {
    return this.#table.last;
  }

  term(index: number): number {
    return this.#table.term(index);
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    if (from > to) throw new Error(`log: no entries from ${from} to ${to}`);
    let last = from;
    let bytes = this.#table.length(from);
    while (last < to) {
      bytes += this.#table.length(last + 1);
      if (bytes > maxBytes) break;
      last++;
    }
    const first = this.#files.cache.get(from);
    const entries: Entry[] = first === undefined ? [] : [first];
    while (from + entries.length <= last) this.#collect(entries, from + entries.length, last);
    return entries;
  }

  append(entries: readonly Entry[]): void {
    if (this.#closed) throw new Error('log: append to a closed log');
    if (this.#replacing) throw new Error('log: append while a snapshot takes the place of the log');
    for (let i = 0; i < entries.length; i++) this.#append(entries[i]!);
  }

  #append(entry: Entry): void {
    const { index, term, bytes } = entry;
    if (!isRecordOf(bytes, index, term)) {
      const header = readHeader(bytes);
      throw new Error(`log: entry ${index} of term ${term} says ${header.index} of ${header.term}`);
    }
    const kept = this.#snapshots.newest;
    if (kept && index <= kept.index) throw new Error(`log: entry ${index} is in the snapshot`);
    this.#table.put(index, term, bytes.length);
    this.#files.cache.put(entry);
    this.#unwritten = Math.min(this.#unwritten, index);
  }

  flush(): void {
    if (this.#closed || this.#stopped || this.#unwritten > this.#table.last) return;
    this.#wanted = true;
    if (!this.#inFlight) this.#start();
  }

  get snapshot(): SnapshotInfo | undefined {
    return this.#snapshots.newest;
  }

  get logBytes(): number {
    return this.#files.ledger.bytesFrom(this.#mark);
  }

  beginSnapshot(info: NewSnapshot): SnapshotWriter {
    this.#living();
    return this.#snapshots.begin(info);
  }

  openSnapshot(): SnapshotReader | undefined {
    return this.#snapshots.open();
  }

  async receiveSnapshot(info: SnapshotInfo): Promise<SnapshotReceiver> {
    this.#living();
    return await this.#snapshots.receive(info);
  }

  compact(upTo: number): void {
    const { ledger, cache, reader } = this.#files;
    const index = Math.min(upTo, this.snapshot?.index ?? 0);
    const dropped = ledger.drop(index, this.#mark, this.#options.tailBytes, this.#durableSegment);
    const last = dropped.at(-1);
    if (!last) return;
    this.#table.dropTo(this.#table.lastIn(last.segment));
    cache.forget(this.#table.base);
    reader.forget(last.segment);
    this.#removal.add(dropped.map(({ path }) => path));
  }

  get hasRoom(): boolean {
    return this.#hasRoom;
  }

  checkRoom(): boolean {
    if (!this.#failed && !this.#stopped) {
      this.#full = false;
      this.#files.supply.retry();
    }
    this.#lookForRoom();
    return this.#hasRoom;
  }

  reserve(bytes: number): void {
    this.#reserve = bytes;
    this.#lookForRoom();
  }

  writeLatency(): WriteLatency {
    return this.#times.now();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#snapshots.close();
    this.#wake(Number.POSITIVE_INFINITY);
    this.#removal.closed = true;
    await this.#replacing;
    await this.#quiet();
    await new Promise<void>((resolve) => this.#files.supply.close(resolve));
    this.#files.writer.close();
    this.#files.reader.close();
    this.#votes.close();
    this.#release();
  }

  /** Opens a generation of the log at `end`. */
  #open({ place, size, path, offset }: LogEnd, nextBatch: number, ledger: SegmentLedger): Files {
    const { disk, directory, crc32c, segmentBytes } = this.#options;
    const { identity, generation, segment } = place;
    const supply = new SegmentSupply({
      disk,
      directory,
      crc32c,
      identity,
      generation,
      current: segment,
      segmentBytes,
      room: (bytes) => disk.free(directory) >= bytes + this.#needed(),
      onChange: (full) => this.#spareChanged(full),
      onError: (error) => this.#fail(new LogError('disk', error.message)),
    });
    const writer = new BatchWriter({
      supply,
      current: { place, size, file: disk.open(path, { dsync: true }) },
      offset,
      number: nextBatch,
      crc32c,
      times: this.#times,
      placed: (entry, at, position) => this.#placed(entry, at, position),
    });
    const reader = new EntryReader(disk, directory, generation, this.#table, crc32c);
    return { place, cache: new EntryCache(this.#table.last), reader, supply, writer, ledger };
  }

  /** Bytes that must stay free for a snapshot. */
  #needed(): number {
    return Math.max(this.#reserve, this.snapshot?.size ?? 0);
  }

  #room(): boolean {
    const { disk, directory } = this.#options;
    return !this.#full && disk.free(directory) >= this.#files.supply.missing + this.#needed();
  }

  #lookForRoom(): void {
    if (this.#closed) return;
    const room = this.#room();
    if (room === this.#hasRoom) return;
    this.#hasRoom = room;
    this.onRoom(room);
  }

  #spareChanged(full: DiskError | undefined): void {
    if (full && !this.#warned)
      this.#options.onWarning(`no room for a spare segment of the log, trying again: ${full.message}`);
    this.#full = full !== undefined;
    this.#warned = this.#full;
    this.#lookForRoom();
    // A batch that waits for its segment does not hold up who waits for quiet.
    if (this.#files.supply.stalled) this.#idle?.();
  }

  /** Starts the next write, if one is wanted and none is in flight. */
  #start(): void {
    if (!this.#wanted || this.#failed) return;
    const batch = this.#batch();
    const last = batch[batch.length - 1]!;
    this.#inFlightFirst = batch[0]!.index;
    this.#inFlight = last;
    this.#unwritten = last.index + 1;
    this.#wanted = this.#unwritten <= this.#table.last;
    this.#files.writer.write(batch, this.#written);
    // The spare is made from the first write on, not from `openLog` on: by then somebody listens for its failure.
    if (this.#batches === 0 && !this.#failed) this.#files.supply.prepare();
  }

  /** The entries of the next write. They are all in the cache: nothing unwritten is ever evicted. */
  #batch(): Entry[] {
    const { cache } = this.#files;
    const first = cache.get(this.#unwritten)!;
    const batch = [first];
    let bytes = first.bytes.length;
    for (let index = this.#unwritten + 1; index <= this.#table.last; index++) {
      bytes += this.#table.length(index);
      if (bytes > this.#options.batchBytes) break;
      batch.push(cache.get(index)!);
    }
    return batch;
  }

  #placed(entry: Entry, segment: number, offset: number): void {
    const { ledger, place } = this.#files;
    if (ledger.rows.at(-1)!.segment !== segment)
      ledger.open(segment, join(this.#options.directory, segmentName(place.generation, segment)));
    ledger.note(entry.index, offset + entry.bytes.length);
    // Superseded while the write waited for its segment: the newer record will get the place.
    if (entry.index >= this.#unwritten) return;
    this.#table.place(entry.index, segment, offset);
  }

  readonly #written = (error: DiskError | undefined): void => {
    const last = this.#inFlight!;
    this.#inFlight = undefined;
    if (error) this.#fail(new LogError('disk', error.message));
    else this.#durableSegment = this.#files.writer.segment;
    this.#start();
    if (!this.#failed) {
      this.#files.cache.evict(this.#options.cacheBytes, this.#pinned());
      if (++this.#batches % LOOK_BATCHES === 0) this.checkRoom();
      this.onPersisted(last.index, last.term);
      this.#wake();
    }
    if (!this.#inFlight) this.#idle?.();
  };

  /** First entry that must stay in memory: all before it are durable. */
  #pinned(): number {
    return this.#inFlight ? Math.min(this.#inFlightFirst, this.#unwritten) : this.#unwritten;
  }

  /** Resolves when all up to `index` is durable, or the log is not the same any more. Rejects with LogError. */
  async #durable(index: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.push({ index, resolve });
      this.#wake();
    });
    if (this.#failed) throw this.#failed;
  }

  /** Tells those who wait for what is durable now, or all: they look again whether their log is still there. */
  #wake(durable = this.#pinned() - 1): void {
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter(({ index }) => index <= durable);
    this.#waiting = this.#waiting.filter(({ index }) => index > durable);
    for (const { resolve } of ready) resolve();
  }

  /** Waits until no write is in flight, and none follows. One that has no segment, and gets none, is given up. */
  async #quiet(): Promise<void> {
    const { supply, writer } = this.#files;
    while (this.#inFlight && !(writer.waiting && (supply.stalled || supply.closed)))
      await new Promise<void>((resolve) => (this.#idle = resolve));
    this.#inFlight = undefined;
  }

  #host(): SnapshotHost {
    const generation = (): number => this.#files.place.generation;
    return {
      get generation() {
        return generation();
      },
      holds: (index, term) =>
        index >= this.#table.base && index <= this.#table.last && this.#table.term(index) === term,
      durable: (index) => this.#durable(index),
      replace: (info, prepare, commit) => this.#replace(info, prepare, commit),
      adopted: (info) => {
        if (!this.#replacing) this.#mark = this.#markOf(info.index);
      },
      remove: (paths) => this.#removal.add(paths),
      fail: (error) => this.#fail(error),
    };
  }

  #markOf(index: number): Position {
    return index > this.#table.base ? this.#table.location(index) : this.#files.ledger.start;
  }

  /** Empties the log behind `info`. Until `commit` the old one stays as it is. Rejects with DiskError, LogError. */
  async #replace(
    info: SnapshotInfo,
    prepare: (begin: () => Promise<number>) => Promise<void>,
    commit: () => void,
  ): Promise<void> {
    let over = (): void => {};
    this.#replacing = new Promise((resolve) => (over = resolve));
    try {
      const end = this.#nextEnd();
      await prepare(() => this.#makeFirst(end));
      this.#stopped = true;
      this.#wanted = false;
      await new Promise<void>((resolve) => this.#files.supply.close(resolve));
      await this.#quiet();
      if (this.#failed) throw this.#failed;
      if (this.#closed) return;
      commit();
      this.#goOn(info, end);
    } finally {
      this.#replacing = undefined;
      over();
    }
  }

  /** Where the next generation of the log will begin. */
  #nextEnd(): LogEnd {
    const { directory, segmentBytes } = this.#options;
    const place = { ...this.#files.place, generation: this.#files.place.generation + 1, segment: 1 };
    const size = Math.min(segmentBytes, FIRST_SEGMENT_BYTES);
    const path = join(directory, segmentName(place.generation, place.segment));
    return { place, path, size, offset: SEGMENT_HEADER_BYTES, lastBatch: undefined };
  }

  /** Makes the segment; nobody reads it before a snapshot names its generation. Returns that. Rejects with DiskError. */
  async #makeFirst({ place, size }: LogEnd): Promise<number> {
    const { disk, directory, crc32c } = this.#options;
    await makeSegment({ disk, directory, place, size, crc32c, background: true });
    return place.generation;
  }

  /** The snapshot has taken the place of the log: goes on in the generation that begins at `end`. */
  #goOn({ index, term }: SnapshotInfo, end: LogEnd): void {
    const old = this.#files;
    old.writer.close();
    old.reader.close();
    this.#table.reset(index, term);
    this.#unwritten = index + 1;
    this.#batches = 0;
    this.#durableSegment = 1;
    this.#files = this.#open(end, 1, new SegmentLedger([rowOf(1, end.path)]));
    this.#mark = this.#files.ledger.start;
    this.#stopped = false;
    this.#wake(Number.POSITIVE_INFINITY);
    const spare = segmentName(old.place.generation, old.ledger.rows.at(-1)!.segment + 1);
    this.#removal.add([...old.ledger.rows.map(({ path }) => path), join(this.#options.directory, spare)]);
  }

  /** Adds entry `index`, and what comes with it in one read. */
  #collect(entries: Entry[], index: number, last: number): void {
    const { cache, reader } = this.#files;
    const cached = cache.get(index);
    if (cached) {
      entries.push(cached);
      return;
    }
    try {
      entries.push(...reader.read(index, Math.min(last, cache.first - 1)));
    } catch (error) {
      throw asLogError(error);
    }
  }

  #living(): void {
    if (this.#closed) throw new Error('log: it is closed');
    if (this.#failed) throw this.#failed;
  }

  #synchronously(work: () => void): void {
    if (this.#failed) throw this.#failed;
    try {
      work();
    } catch (error) {
      const told = asLogError(error);
      if (told instanceof LogError) {
        this.#failed = told;
        this.#wake(Number.POSITIVE_INFINITY);
      }
      throw told;
    }
  }

  #fail(error: LogError): void {
    if (this.#failed) return;
    this.#failed = error;
    this.#wake(Number.POSITIVE_INFINITY);
    this.onFailed(error);
  }
}

function rowOf(segment: number, path: string): { segment: number; path: string; highest: number; end: number } {
  return { segment, path, highest: 0, end: SEGMENT_HEADER_BYTES };
}
