/**
 * Snapshots of a node's own state, so that its log stays short.
 *
 * ## Concept
 *
 * Every member takes its own, of what it has applied, and shortens its own log behind it. When the log has grown enough, the
 * store's published revision is pinned and written out between turns, a chunk at a time, while writes go on; then the snapshot
 * gets its name, and the log drops what lies before it.
 *
 *     log grown ─▶ pin ─▶ chunk, write, chunk, write … ─▶ unpin ─▶ finish ─▶ compact
 *
 * The log is allowed the greater of `logBytes` and a quarter of the newest snapshot: a large state is not written again and
 * again for a little log.
 *
 * ## Invariants
 *
 * - One at a time; none while another member's is being installed or loaded.
 * - What is not applied yet stays in the log.
 * - What a snapshot that is being sent ends with stays in the log, and all behind it, so that who gets it can go on from there.
 * - A disk without room, or a newer snapshot that came in between, is no failure: it is tried again later.
 */
import type { Env } from '../env/env.js';
import { type Log, LogError, type NewSnapshot, type SnapshotWriter } from '../log/types.js';
import type { Store } from '../store/store.js';
import type { Members } from './members.js';
import type { LogLevel } from './options.js';
import { encodeSnapshotMeta, NONCE_BYTES } from './snapshot-meta.js';
import { versionIn } from './versions.js';

/** Most bytes of one chunk: written in one go. */
const chunkBytes = 65_536;
/** The log may grow to this share of the newest snapshot. */
const logShare = 1 / 4;
/** When there was no room for one, the next is tried once there is, but not sooner. */
const pauseMs = 1_000;
/** And after so long in any case, for what it takes is only estimated. */
const retryMs = 10_000;

export interface TakingHost {
  readonly env: Pick<Env, 'clock' | 'timers' | 'random'>;
  readonly store: Store;
  readonly log: Log;
  /** Bytes of log behind which a snapshot is taken. */
  readonly logBytes: number;
  /** The members as of the last applied entry. */
  members(): Members;
  /** Bytes that are free where snapshots are kept. */
  free(): number;
  /** The log is kept from the entry behind this one on. */
  needed(): number;
  tell(level: LogLevel, text: string): void;
  /** Carries out a step: an error in it stops the node. */
  guard(action: () => void): void;
  /** The pin is gone: what waited for memory may go on. */
  unpinned(): void;
}

interface Taking {
  readonly info: NewSnapshot;
  readonly writer: SnapshotWriter;
  readonly keys: number;
  readonly since: number;
  pinned: boolean;
}

export class SnapshotTaking {
  readonly #host: TakingHost;
  #taking: Taking | undefined;
  /** None is begun. */
  #suspended = false;
  /** When there was no room for one. */
  #crampedAt = Number.NEGATIVE_INFINITY;
  /** Bytes that the log was told to keep room for, and up to where it was shortened. */
  #reserved = 0;
  #compacted = 0;

  constructor(host: TakingHost) {
    this.#host = host;
  }

  /** The store keeps old versions for the snapshot that is being written. */
  get pinned(): boolean {
    return this.#taking?.pinned ?? false;
  }

  /** To be called now and then, when no entry is in the middle of being applied: begins one if the log has grown enough. */
  look(): void {
    if (this.#suspended) return;
    this.#reserve();
    this.#compact();
    const { log, store, logBytes } = this.#host;
    const allowed = Math.max(logBytes, (log.snapshot?.size ?? 0) * logShare);
    if (log.logBytes > allowed && store.applied > (log.snapshot?.index ?? 0)) this.take();
  }

  /** Begins one of what is applied now, unless one is under way; of the same entry once more if need be. No entry may be in the middle. */
  take(): void {
    const { log, store, env } = this.#host;
    const now = env.clock.monotonic();
    if (this.#taking || this.#suspended || !this.#mayFit(now)) return;
    if (store.applied < Math.max(1, log.snapshot?.index ?? 0)) return;
    const state = store.snapshotBegin();
    const { identity } = log.folder;
    const contents = { state, members: this.#host.members(), version: versionIn(store) };
    const { applied: index, logTimeMs: logTime, stateHash } = state;
    const meta = encodeSnapshotMeta(contents, identity, env.random.bytes(NONCE_BYTES));
    const info = { index, term: log.term(index), logTime, stateHash, meta };
    try {
      const writer = log.beginSnapshot(info);
      this.#taking = { info, writer, keys: state.keys, since: now, pinned: true };
    } catch (error) {
      store.snapshotEnd();
      this.#failed(error);
      return;
    }
    this.#next(this.#taking);
  }

  /** What is to be written may find room: the log can only be shortened, and make room itself, behind a newer snapshot. */
  #mayFit(now: number): boolean {
    const pausedMs = now - this.#crampedAt;
    if (pausedMs >= retryMs) return true;
    return pausedMs >= pauseMs && this.#host.free() >= this.#host.store.stats().logicalBytes;
  }

  /** Gives up the one under way, and begins none until `resume`. */
  suspend(): void {
    this.#suspended = true;
    const taking = this.#taking;
    if (!taking) return;
    taking.writer.abort();
    this.#over(taking);
  }

  resume(): void {
    this.#suspended = false;
  }

  /** The next chunk, at the end of this round of the event loop. */
  #next(taking: Taking): void {
    this.#host.env.timers.defer(() => {
      if (this.#taking === taking) this.#host.guard(() => this.#step(taking));
    });
  }

  #step(taking: Taking): void {
    const chunk = this.#host.store.snapshotNext(chunkBytes);
    if (chunk === undefined) this.#finish(taking);
    else if (chunk.length === 0) this.#next(taking);
    else taking.writer.write(chunk, (error) => this.#done(taking, error, () => this.#next(taking)));
  }

  #finish(taking: Taking): void {
    const { info, writer, keys } = taking;
    this.#unpin(taking);
    writer.finish({ count: keys, stateHash: info.stateHash }, (error) =>
      this.#done(taking, error, () => {
        this.#over(taking);
        const { log, env, tell } = this.#host;
        const ms = Math.round(env.clock.monotonic() - taking.since);
        tell('info', `took a snapshot of entry ${info.index}: ${log.snapshot?.size} bytes in ${ms} ms`);
        this.#compact();
      }),
    );
  }

  /** A step of the writer's is over. */
  #done(taking: Taking, error: LogError | undefined, next: () => void): void {
    if (this.#taking !== taking) return;
    this.#host.guard(() => {
      if (!error) {
        next();
        return;
      }
      this.#over(taking);
      this.#failed(error);
    });
  }

  #over(taking: Taking): void {
    this.#taking = undefined;
    this.#unpin(taking);
  }

  #unpin(taking: Taking): void {
    if (!taking.pinned) return;
    taking.pinned = false;
    this.#host.store.snapshotEnd();
    this.#host.unpinned();
  }

  /** What cannot be helped is thrown on; a failed disk stops the node by itself. */
  #failed(error: unknown): void {
    if (!(error instanceof LogError)) throw error;
    if (error.code === 'full') {
      this.#crampedAt = this.#host.env.clock.monotonic();
      this.#host.tell('warn', `no room for a snapshot, tried again when there is: ${error.message}`);
    } else if (error.code !== 'superseded') throw error;
  }

  /** The log keeps room for one snapshot: it has at most the logical bytes of all records. */
  #reserve(): void {
    const { logicalBytes } = this.#host.store.stats();
    if (Math.abs(logicalBytes - this.#reserved) <= this.#reserved / 8) return;
    this.#reserved = logicalBytes;
    this.#host.log.reserve(logicalBytes);
  }

  /** Drops what lies before the newest snapshot, as far as it is applied and nobody is being brought there. */
  #compact(): void {
    const { log, store } = this.#host;
    // Another's snapshot of what the log holds too is not loaded: the store gets there by the log.
    const newest = Math.min(log.snapshot?.index ?? 0, store.applied);
    if (newest <= this.#compacted) return;
    const needed = this.#host.needed();
    const upTo = needed < newest && this.#cramped() ? newest : Math.min(newest, needed);
    if (upTo <= this.#compacted) return;
    this.#compacted = upTo;
    log.compact(upTo);
  }

  /**
   * Room for about one more snapshot, and the log until then: too little to keep anything for others. Who needs what is gone is
   * sent a newer snapshot; else one member that cannot go on would fill the disks of all.
   */
  #cramped(): boolean {
    const { log, logBytes, free } = this.#host;
    return !log.hasRoom || free() < logBytes + 2 * (log.snapshot?.size ?? 0);
  }
}
