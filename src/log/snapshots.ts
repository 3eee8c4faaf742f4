/**
 * The snapshots of a folder: which one is the newest, how another takes its place, and what is being received.
 *
 *     snapshot-<generation>-<index>.snap        finished: whole, durable, verified by recovery
 *     snapshot-….snap.tmp                       being written; removed by the next start
 *     incoming-<index>-<term>-<hash>-<size>-<CRC of meta>.part  being received; whoever asks for the same snapshot goes on with it
 *
 * ## Invariants
 *
 * - A snapshot gets its name when all of it is durable, and so is the log up to its last entry (or the new, empty generation
 *   of the log that it begins). The rename is the only commit point; only when it is durable are older snapshots removed,
 *   and then segments.
 * - Content is written block by block through O_DSYNC. No call blocks for longer than one block, or one sync of the folder.
 * - What was received before a restart is written again before it is gone on with: no page cache is trusted.
 * - No room is no failure: what was begun is removed (what was received stays), and the host tries again.
 */
import type { Disk, Timers } from '../env/env.js';
import { DiskError } from '../env/env.js';
import { asLogError, join, TEMPORARY } from './files.js';
import { SnapshotBody } from './snapshot-body.js';
import { BLOCK_CONTENT, PARTIAL, parseSnapshotName, partialName, snapshotName, snapshotSeed } from './snapshot-file.js';
import { SnapshotFile, verifiedBytes } from './snapshot-reader.js';
import {
  type Crc32c,
  type Done,
  LogError,
  type NewSnapshot,
  type SnapshotInfo,
  type SnapshotReader,
  type SnapshotReceiver,
  type SnapshotTrailer,
  type SnapshotWriter,
} from './types.js';

/** A finished snapshot in the folder. */
export interface StoredSnapshot {
  readonly info: SnapshotInfo;
  readonly path: string;
  readonly generation: number;
  readonly begins: boolean;
}

/** A file that has the name of a snapshot and is none. */
export interface BadSnapshot {
  readonly path: string;
  readonly generation: number;
  readonly index: number;
  readonly error: LogError;
}

export interface FoundSnapshots {
  /** The newest that is good, all of it. */
  readonly newest: StoredSnapshot | undefined;
  /** Those that would be newer. */
  readonly bad: readonly BadSnapshot[];
  /** Paths of older ones. */
  readonly older: readonly string[];
}

/** Reads the newest good snapshot, all of it; changes nothing. Throws DiskError. */
export function readSnapshots(disk: Disk, directory: string, identity: Uint8Array, crc32c: Crc32c): FoundSnapshots {
  const named = disk.list(directory).flatMap((name) => {
    const parsed = parseSnapshotName(name);
    return parsed ? [{ path: join(directory, name), ...parsed }] : [];
  });
  // The names sort by generation, then index.
  named.reverse();
  const bad: BadSnapshot[] = [];
  for (const [i, { path, generation, index }] of named.entries()) {
    try {
      const file = SnapshotFile.open(disk, path, identity, crc32c);
      try {
        file.verify();
      } finally {
        file.close();
      }
      if (file.generation !== generation || file.info.index !== index)
        throw new LogError('corrupt', `${path} is corrupt at offset 0: its name says otherwise`);
      const newest = { info: file.info, path, generation, begins: file.begins };
      return { newest, bad, older: named.slice(i + 1).map((each) => each.path) };
    } catch (error) {
      if (!(error instanceof LogError)) throw error;
      bad.push({ path, generation, index, error });
    }
  }
  return { newest: undefined, bad, older: [] };
}

/** What snapshots need of the log that they are of. */
export interface SnapshotHost {
  readonly generation: number;
  /** Whether the log has this entry. */
  holds(index: number, term: number): boolean;
  /** Resolves when all up to this entry is durable. */
  durable(index: number): Promise<void>;
  /**
   * Goes on in a new, empty generation behind `info`. `prepare` makes the file whole; it calls `begin` for the number of
   * that generation, of which there is a segment then. `commit` gives the file its name.
   */
  replace(
    info: SnapshotInfo,
    prepare: (begin: () => Promise<number>) => Promise<void>,
    commit: () => void,
  ): Promise<void>;
  /** There is a new newest snapshot, durably. */
  adopted(info: SnapshotInfo): void;
  /** Removes files, in the background. */
  remove(paths: readonly string[]): void;
  /** The disk failed: fatal. */
  fail(error: LogError): void;
}

export interface SnapshotsOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: Uint8Array;
  readonly crc32c: Crc32c;
  readonly defer: Timers['defer'];
}

/** One that writes to the folder, and is cut off by `stop`. */
interface Work {
  /** It is about to take the place of another. */
  readonly finishing: boolean;
  stop(): void;
}

export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #host: SnapshotHost;
  #newest: StoredSnapshot | undefined;
  #writer: Work | undefined;
  #receiver: Work | undefined;
  /** The file that was received last, and how much of its content this process has made durable. */
  #received: { readonly path: string; readonly bytes: number } | undefined;
  #closed = false;

  constructor(options: SnapshotsOptions, host: SnapshotHost, newest: StoredSnapshot | undefined) {
    this.#options = options;
    this.#host = host;
    this.#newest = newest;
  }

  get newest(): SnapshotInfo | undefined {
    return this.#newest?.info;
  }

  begin(info: NewSnapshot): SnapshotWriter {
    if (this.#writer) throw new Error('log: two snapshots at once');
    if (!this.#host.holds(info.index, info.term) || info.index < 1)
      throw new Error(`log: a snapshot ends with entry ${info.index} of term ${info.term}, which is not in the log`);
    if (!this.#newer(info)) throw new Error(`log: there is a newer snapshot than ${info.index}`);
    const { disk, directory, identity, crc32c } = this.#options;
    const path = join(directory, snapshotName(this.#host.generation, info.index)) + TEMPORARY;
    const body = this.#attempt(() => {
      if (disk.exists(path)) disk.unlink(path);
      const file = disk.open(path, { create: true, exclusive: true, dsync: true });
      return new SnapshotBody(file, info, identity, crc32c);
    });
    const task = new Task(body, (error) => {
      this.#writer = undefined;
      if (error !== undefined) this.#discard(path);
      return error === undefined ? undefined : this.#told(error);
    });
    this.#writer = task;
    return {
      write: (bytes, done) => task.run(() => body.append(bytes), done),
      finish: (trailer, done) => task.run(() => this.#finish(task, path, info, trailer), done, true),
      abort: () => task.abort(() => this.#discard(path)),
    };
  }

  open(): SnapshotReader | undefined {
    const { disk, identity, crc32c } = this.#options;
    const { path } = this.#newest ?? {};
    try {
      return path === undefined ? undefined : SnapshotFile.open(disk, path, identity, crc32c);
    } catch (error) {
      throw asLogError(error);
    }
  }

  async receive(info: SnapshotInfo): Promise<SnapshotReceiver> {
    const { disk, directory, identity, crc32c, defer } = this.#options;
    if (this.#receiver?.finishing) throw new Error('log: a snapshot is being installed');
    this.#receiver?.stop();
    const path = join(directory, partialName(info, crc32c));
    const file = this.#attempt(() => {
      for (const name of disk.list(directory)) {
        if (name.endsWith(PARTIAL) && join(directory, name) !== path) disk.unlink(join(directory, name));
      }
      const opened = disk.open(path, { create: true, dsync: true });
      disk.syncDir(directory);
      return opened;
    });
    let stopped = false;
    this.#receiver = {
      finishing: false,
      stop: () => {
        stopped = true;
        file.close();
      },
    };
    const seed = snapshotSeed(identity, info, crc32c);
    const pause = (): Promise<void> => new Promise((resolve) => defer(resolve));
    const gone = (): boolean => stopped;
    const durable = this.#received?.path === path ? this.#received.bytes : 0;
    const verified = await verifiedBytes(file, info, seed, crc32c, durable, pause, gone).catch((error: unknown) => {
      file.close();
      throw stopped ? error : this.#told(error);
    });
    if (stopped) throw new LogError('superseded', `${path}: another snapshot is being received`);
    return this.#receiving(new SnapshotBody(file, info, identity, crc32c, verified), path, info, verified);
  }

  close(): void {
    this.#closed = true;
    this.#writer?.stop();
    this.#receiver?.stop();
  }

  #receiving(body: SnapshotBody, path: string, info: SnapshotInfo, verified: number): SnapshotReceiver {
    const noted = (bytes: number): void => {
      this.#received = { path, bytes };
    };
    noted(verified);
    const task = new Task(body, (error) => {
      if (this.#receiver === task) this.#receiver = undefined;
      return error === undefined ? undefined : this.#told(error);
    });
    this.#receiver = task;
    return {
      verified,
      write: (bytes, done) => {
        if (body.size + bytes.length > info.size) throw new Error('log: more content than the snapshot has');
        task.run(() => body.append(bytes).then(() => noted(wholeBlocks(body.size))), done);
      },
      install: (done) => {
        if (body.size !== info.size) throw new Error(`log: ${body.size} bytes of a snapshot of ${info.size}`);
        task.run(() => this.#install(task, path, info), done, true);
      },
      close: () => {
        if (!task.finishing) task.abort(() => {});
      },
    };
  }

  async #finish(task: Task, path: string, info: NewSnapshot, trailer: SnapshotTrailer): Promise<void> {
    if (trailer.stateHash !== info.stateHash)
      throw new Error(`log: the snapshot was announced with state hash ${info.stateHash}, not ${trailer.stateHash}`);
    await task.body.end(trailer);
    const whole = { ...info, size: task.body.size, count: trailer.count };
    await this.#publishBehindLog(task, path, whole);
  }

  async #install(task: Task, path: string, info: SnapshotInfo): Promise<void> {
    const { count, stateHash } = info;
    if (!this.#newer(info)) throw superseded(path);
    if (this.#host.holds(info.index, info.term)) {
      await task.body.end({ count, stateHash });
      await this.#publishBehindLog(task, path, info);
      return;
    }
    let begun = 0;
    const prepare = async (begin: () => Promise<number>): Promise<void> => {
      await task.body.end({ count, stateHash });
      begun = await begin();
      await task.body.head({ info, generation: begun, begins: true });
    };
    await this.#host.replace(info, prepare, () => this.#publish(task, path, { info, generation: begun, begins: true }));
  }

  /** Publishes a snapshot of the log as it is: when that is durable up to the snapshot's last entry. */
  async #publishBehindLog(task: Task, path: string, info: SnapshotInfo): Promise<void> {
    await this.#host.durable(info.index);
    const { generation } = this.#host;
    // The log that an installed snapshot begins is still empty, and may be: this one ends where that one does.
    const begins = this.#newest?.begins === true && this.#newest.info.index === info.index;
    await task.body.head({ info, generation, begins });
    const stale = generation !== this.#host.generation || !this.#host.holds(info.index, info.term);
    if (stale || !this.#newer(info)) throw superseded(path);
    if (task.stopped) return;
    this.#publish(task, path, { info, generation, begins });
  }

  #publish(task: Task, from: string, stored: Omit<StoredSnapshot, 'path'>): void {
    const { disk, directory } = this.#options;
    const path = join(directory, snapshotName(stored.generation, stored.info.index));
    task.body.close();
    try {
      disk.rename(from, path);
      disk.syncDir(directory);
    } catch (error) {
      // Nobody knows now under which name the disk holds it.
      throw error instanceof DiskError ? this.#fatal(error) : error;
    }
    this.#newest = { ...stored, path };
    const older = disk.list(directory).filter((name) => parseSnapshotName(name) && join(directory, name) !== path);
    this.#host.adopted(stored.info);
    this.#host.remove(older.map((name) => join(directory, name)));
  }

  #newer({ index }: NewSnapshot): boolean {
    return index >= (this.#newest?.info.index ?? 0);
  }

  #discard(path: string): void {
    const { disk } = this.#options;
    if (this.#closed) return;
    try {
      if (disk.exists(path)) disk.unlink(path);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
    }
  }

  #attempt<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw this.#told(error);
    }
  }

  /** What the host is told of an error; a failure of the disk is fatal. Rethrows what is no error of the disk or the log. */
  #told(error: unknown): LogError {
    if (error instanceof LogError) return error;
    if (!(error instanceof DiskError)) throw error;
    return error.code === 'full' ? new LogError('full', error.message) : this.#fatal(error);
  }

  #fatal(error: DiskError): LogError {
    const told = new LogError('disk', error.message);
    this.#host.fail(told);
    return told;
  }
}

function wholeBlocks(bytes: number): number {
  return bytes - (bytes % BLOCK_CONTENT);
}

function superseded(path: string): LogError {
  return new LogError('superseded', `${path}: there is a newer snapshot, or another log`);
}

/** The writing of one snapshot: one call at a time, nothing called back after its end. */
class Task implements Work {
  readonly body: SnapshotBody;
  /** Called once, at the end; makes of an error what the caller is told. */
  readonly #ended: (error: unknown) => LogError | undefined;
  /** The last step is under way: it looks at `stopped` before it commits, and the file is closed behind it. */
  #finishing = false;
  #stopped = false;

  constructor(body: SnapshotBody, ended: (error: unknown) => LogError | undefined) {
    this.body = body;
    this.#ended = ended;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  get finishing(): boolean {
    return this.#finishing;
  }

  /** Carries out one step; `last` ends the task. */
  run(step: () => Promise<void>, done: Done, last = false): void {
    if (this.#stopped) return;
    this.#finishing = last;
    step().then(
      () => this.#over(done, last, undefined),
      (error: unknown) => this.#over(done, true, error),
    );
  }

  /** Ends the task on behalf of its owner. */
  abort(then: () => void): void {
    if (this.#stopped) return;
    this.stop();
    this.#ended(undefined);
    then();
  }

  stop(): void {
    this.#stopped = true;
    if (!this.#finishing) this.body.close();
  }

  #over(done: Done, last: boolean, error: unknown): void {
    this.#finishing = false;
    if (this.#stopped) {
      this.body.close();
      return;
    }
    if (!last) {
      done();
      return;
    }
    this.stop();
    done(this.#ended(error));
  }
}
