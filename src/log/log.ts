/**
 * The log on disk: what a node promised, in files.
 *
 * ## Concept
 *
 *     meta                          who the folder is                                     meta.ts
 *     founding                      which cluster it belongs to                           founding.ts
 *     vote-1, vote-2                term, vote and start counter, in two copies           vote.ts
 *     wal-<generation>-<n>.seg      segments: files made ahead, filled with a pattern     segment.ts, sector.ts
 *
 * Entries are appended in memory, and one write at a time makes all of them durable that came while the one before was
 * under way (group commit). Such a write is a *batch* (batch.ts): header, records, padding, in whole sectors, in one
 * segment, through an O_DSYNC descriptor into space that was allocated before, so that no metadata has to follow it.
 * recovery.ts says what a crash may leave and how it is told from rot.
 *
 * ## Invariants
 *
 * - *Append-only.* Nothing is overwritten. A record with index i supersedes all earlier ones from i on; `EntryTable` knows
 *   which record of an index is the newest.
 * - *One write in flight*, so batches become durable in their order, and only the last can be torn.
 * - *Acknowledged means durable.* `onPersisted` follows the callback of an O_DSYNC write, and names the last entry of that
 *   write with the term that it had then: what was superseded meanwhile is not vouched for (dissertation §10.2.1).
 * - *Term and vote first.* `saveVote` returns when both copies are durable; its caller sends afterwards (Raft figure 2).
 *   Terms and start counters never go back, and a vote never changes within its term.
 * - *A failure is final.* After a failed write nobody knows what the disk holds (the page cache may hold more). Nothing
 *   is written or acknowledged any more; recovery decides after a restart.
 * - *Rot is never cut off.* A folder that is damaged where it was once written does not open, and stays as it is.
 *
 * ## Caveats
 *
 * - A sector of 512 bytes is assumed to be written all or nothing.
 * - A disk that acknowledges the very last batch and never writes one of its sectors cannot be told from a crash.
 * - A batch that cannot be placed because the disk is full fails the log. Serving on with a full disk would hook in at
 *   `#start` (refuse what has client data while `hasSpare` is false).
 */
import type { Disk, DiskError } from '../env/env.js';
import type { Entry } from '../raft/types.js';
import { BatchWriter } from './batch-writer.js';
import { EntryCache } from './entry-cache.js';
import { EntryReader } from './entry-reader.js';
import { EntryTable } from './entry-table.js';
import { asLogError, corrupt, join, TEMPORARY } from './files.js';
import { readFounding, writeFounding } from './founding.js';
import { createMeta, META_FILE, readMeta } from './meta.js';
import { readHeader } from './record.js';
import { type LogEnd, repair, type ScanResult, scan } from './recovery.js';
import { SECTOR } from './sector.js';
import { FIRST_GENERATION, makeSegment, parseSegmentName, SEGMENT_HEADER_BYTES, segmentName } from './segment.js';
import { SegmentSupply } from './segment-supply.js';
import { type FolderIdentity, type Founding, type Log, LogError, type LogOptions, type VoteState } from './types.js';
import { type FoundVote, readVotes, VoteFiles } from './vote.js';

const MIB = 1024 * 1024;
const DEFAULT_SEGMENT_BYTES = 16 * MIB;
/** The first segment is no larger, so that an empty folder opens fast; the others are made in the background. */
const FIRST_SEGMENT_BYTES = 4 * MIB;
const DEFAULT_CACHE_BYTES = 32 * MIB;
const DEFAULT_BATCH_BYTES = 4 * MIB;
/** Completed batches between two attempts to make a spare on a disk that was full. */
const RETRY_BATCHES = 256;

type Settings = Required<LogOptions>;

function settings(options: LogOptions): Settings {
  const segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
  if (segmentBytes % SECTOR !== 0 || segmentBytes < SEGMENT_HEADER_BYTES + 2 * SECTOR) {
    throw new Error(`log: segmentBytes must be a multiple of ${SECTOR} from ${4 * SECTOR} on, not ${segmentBytes}`);
  }
  return {
    cacheBytes: DEFAULT_CACHE_BYTES,
    batchBytes: DEFAULT_BATCH_BYTES,
    onWarning: () => {},
    ...options,
    segmentBytes,
  };
}

/** All that reading the folder has told. Nothing has been changed. */
interface Found {
  readonly folder: FolderIdentity;
  readonly founding: Founding | undefined;
  readonly votes: FoundVote | undefined;
  readonly scan: ScanResult;
  readonly table: EntryTable;
}

/** Reads the identity of the folder; an empty folder gets one, durably, before anything else is in it. */
function identify({ disk, directory, nodeId, random, crc32c }: Settings): FolderIdentity {
  const folder = readMeta(disk, directory, crc32c);
  if (!folder) {
    const others = disk.list(directory).filter((name) => !name.endsWith(TEMPORARY));
    const ours = others.find((name) => parseSegmentName(name) || /^(vote-|founding$)/.test(name));
    if (ours) throw corrupt(join(directory, META_FILE), 0, `it is missing, but there is ${ours}`);
    return createMeta(disk, directory, nodeId, random, crc32c);
  }
  if (folder.nodeId !== nodeId) {
    throw new LogError(
      'other-node',
      `${directory} is the data folder of node ${folder.nodeId}; this is node ${nodeId}: pass --id ${folder.nodeId}, or another folder`,
    );
  }
  return folder;
}

function read(options: Settings, folder: FolderIdentity): Found {
  const { disk, directory, crc32c } = options;
  const { identity } = folder;
  const votes = readVotes(disk, directory, identity, crc32c);
  const founding = readFounding(disk, directory, identity, crc32c);
  const table = new EntryTable();
  const scanned = scan({ disk, directory, identity, crc32c, table });
  if (!votes && scanned.end) throw corrupt(join(directory, 'vote-1'), 0, 'it is missing, but there is a log');
  if (!founding && votes?.newest.founded) throw corrupt(join(directory, 'founding'), 0, 'it is missing');
  if (!scanned.end && votes && votes.newest.starts > 0) {
    throw corrupt(join(directory, segmentName(FIRST_GENERATION, 1)), 0, 'it is missing');
  }
  return { folder, founding, votes, scan: scanned, table };
}

/** Says what was lost or mended, for the operator. */
function warn({ onWarning }: Settings, found: Found): void {
  for (const path of found.votes?.bad ?? []) onWarning(`${path} was damaged; its other copy was taken`);
  if (found.scan.torn)
    onWarning(`cut off a write that a crash left unfinished (never acknowledged): ${found.scan.torn}`);
}

function removeTemporary(disk: Disk, directory: string): void {
  for (const name of disk.list(directory)) {
    if (name.endsWith(TEMPORARY)) disk.unlink(join(directory, name));
  }
}

async function recover(options: Settings, release: () => void): Promise<DiskLog> {
  const { disk, directory, crc32c } = options;
  const folder = identify(options);
  const found = read(options, folder);
  warn(options, found);
  removeTemporary(disk, directory);
  await repair(disk, directory, found.scan);
  const votes = VoteFiles.open(disk, directory, folder.identity, crc32c, found.votes);
  try {
    const end = found.scan.end ?? (await firstSegment(options, folder));
    disk.syncDir(directory);
    return new DiskLog(options, found, end, votes, release);
  } catch (error) {
    votes.close();
    throw error;
  }
}

async function firstSegment(options: Settings, folder: FolderIdentity): Promise<LogEnd> {
  const { disk, directory, crc32c, segmentBytes } = options;
  const size = Math.min(segmentBytes, FIRST_SEGMENT_BYTES);
  const place = { identity: folder.identity, generation: FIRST_GENERATION, segment: 1 };
  await makeSegment({ disk, directory, place, size, crc32c, background: false });
  const path = join(directory, segmentName(place.generation, place.segment));
  return { place, path, size, offset: SEGMENT_HEADER_BYTES, lastBatch: undefined };
}

/**
 * Opens the folder, making it if there is none, and recovers what it holds. Rejects with LogError `locked` (another
 * process has it), `other-node`, `format`, `corrupt` (nothing has been changed), `disk`.
 */
export async function openLog(options: LogOptions): Promise<Log> {
  const all = settings(options);
  try {
    all.disk.mkdir(all.directory);
    const lock = await all.disk.lock(all.directory);
    if (!lock) throw new LogError('locked', `${all.directory} is in use by another process`);
    try {
      return await recover(all, () => lock.release());
    } catch (error) {
      lock.release();
      throw error;
    }
  } catch (error) {
    throw asLogError(error);
  }
}

class DiskLog implements Log {
  readonly folder: FolderIdentity;
  onPersisted: Log['onPersisted'] = () => {};
  onFailed: Log['onFailed'] = () => {};
  readonly #options: Settings;
  readonly #votes: VoteFiles;
  readonly #table: EntryTable;
  readonly #cache: EntryCache;
  readonly #reader: EntryReader;
  readonly #supply: SegmentSupply;
  readonly #writer: BatchWriter;
  readonly #release: () => void;
  #founding: Founding | undefined;
  /** First entry that no write has taken yet; lastIndex() + 1 when there is none. */
  #unwritten: number;
  /** First and last entry of the write in flight. */
  #inFlight: { readonly first: number; readonly last: Entry } | undefined;
  /** A flush was asked for that the write in flight does not cover. */
  #wanted = false;
  #failed: LogError | undefined;
  #closed: (() => void) | undefined;
  #batches = 0;

  constructor(options: Settings, found: Found, end: LogEnd, votes: VoteFiles, release: () => void) {
    const { disk, directory, crc32c, segmentBytes } = options;
    const { place, size, path, offset } = end;
    this.folder = found.folder;
    this.#options = options;
    this.#founding = found.founding;
    this.#votes = votes;
    this.#table = found.table;
    this.#release = release;
    this.#unwritten = this.#table.last + 1;
    this.#cache = new EntryCache(this.#table.last);
    this.#reader = new EntryReader(disk, directory, place.generation, this.#table, crc32c);
    this.#supply = new SegmentSupply({
      disk,
      directory,
      crc32c,
      identity: place.identity,
      generation: place.generation,
      current: place.segment,
      segmentBytes,
      onFull: (error) => options.onWarning(`no room for a spare segment of the log, trying again: ${error.message}`),
      onError: (error) => this.#fail(new LogError('disk', error.message)),
    });
    this.#writer = new BatchWriter({
      supply: this.#supply,
      current: { place, size, file: disk.open(path, { dsync: true }) },
      offset,
      number: found.scan.nextBatch,
      crc32c,
      placed: (entry, segment, at) => this.#placed(entry, segment, at),
    });
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

  firstIndex(): number {
    return 1;
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
    const entries: Entry[] = [];
    while (from + entries.length <= last) this.#collect(entries, from + entries.length, last);
    return entries;
  }

  append(entries: readonly Entry[]): void {
    if (this.#closed) throw new Error('log: append to a closed log');
    for (const entry of entries) {
      const header = readHeader(entry.bytes);
      if (header.index !== entry.index || header.term !== entry.term) {
        throw new Error(`log: entry ${entry.index} of term ${entry.term} says ${header.index} of ${header.term}`);
      }
      this.#table.put(entry.index, entry.term, entry.bytes.length);
      this.#cache.put(entry.index, entry.bytes);
      this.#unwritten = Math.min(this.#unwritten, entry.index);
    }
  }

  flush(): void {
    if (this.#closed || this.#unwritten > this.#table.last) return;
    this.#wanted = true;
    if (!this.#inFlight) this.#start();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      if (!this.#inFlight) resolve();
    });
    await new Promise<void>((resolve) => this.#supply.close(resolve));
    this.#writer.close();
    this.#reader.close();
    this.#votes.close();
    this.#release();
  }

  /** Starts the next write, if one is wanted and none is in flight. */
  #start(): void {
    if (!this.#wanted || this.#failed) return;
    const batch = this.#batch();
    const last = batch.at(-1)!;
    this.#inFlight = { first: batch[0]!.index, last };
    this.#unwritten = last.index + 1;
    this.#wanted = this.#unwritten <= this.#table.last;
    this.#writer.write(batch, (error) => this.#written(error));
    // The spare is made from the first write on, not from `openLog` on: by then somebody listens for its failure.
    if (this.#batches === 0 && !this.#failed) this.#supply.prepare();
  }

  /** The entries of the next write. They are all in the cache: nothing unwritten is ever evicted. */
  #batch(): Entry[] {
    const batch: Entry[] = [];
    let bytes = 0;
    for (let index = this.#unwritten; index <= this.#table.last; index++) {
      bytes += this.#table.length(index);
      if (batch.length > 0 && bytes > this.#options.batchBytes) break;
      batch.push({ index, term: this.#table.term(index), bytes: this.#cache.get(index)! });
    }
    return batch;
  }

  #placed(entry: Entry, segment: number, offset: number): void {
    // Superseded while the write waited for its segment: the newer record will get the place.
    if (entry.index >= this.#unwritten) return;
    this.#table.place(entry.index, segment, offset);
  }

  #written(error: DiskError | undefined): void {
    const { last } = this.#inFlight!;
    this.#inFlight = undefined;
    if (error) this.#fail(new LogError('disk', error.message));
    this.#start();
    if (!this.#failed) {
      this.#cache.evict(this.#options.cacheBytes, this.#pinned());
      if (++this.#batches % RETRY_BATCHES === 0) this.#supply.prepare();
      this.onPersisted(last.index, last.term);
    }
    if (!this.#inFlight) this.#closed?.();
  }

  /** First entry that must stay in memory. */
  #pinned(): number {
    return Math.min(this.#inFlight?.first ?? Number.POSITIVE_INFINITY, this.#unwritten);
  }

  /** Adds entry `index`, and what comes with it in one read. */
  #collect(entries: Entry[], index: number, last: number): void {
    const cached = this.#cache.get(index);
    if (cached) {
      entries.push({ index, term: this.#table.term(index), bytes: cached });
      return;
    }
    try {
      entries.push(...this.#reader.read(index, Math.min(last, this.#cache.first - 1)));
    } catch (error) {
      throw asLogError(error);
    }
  }

  #synchronously(work: () => void): void {
    if (this.#failed) throw this.#failed;
    try {
      work();
    } catch (error) {
      const told = asLogError(error);
      if (told instanceof LogError) this.#failed = told;
      throw told;
    }
  }

  #fail(error: LogError): void {
    if (this.#failed) return;
    this.#failed = error;
    this.onFailed(error);
  }
}
