/** The seam between the node and its log on disk. See `log.ts` for the layouts and the rules of recovery. */
import type { Clock, Disk, Random, Timers } from '../env/env.js';
import type { Entry, LogReader } from '../raft/types.js';

/** CRC32C (Castagnoli, reflected, initial and final inversion; crc32c("123456789") = 0xE3069283). `seed` is the CRC of the bytes before, 0 at the start. `from`, `to`: of this stretch only, which spares the caller a view. */
export type Crc32c = (bytes: Uint8Array, seed?: number, from?: number, to?: number) => number;

/** Who this folder is: made once, durable before the node's first hello. */
export interface FolderIdentity {
  /** Format of the folder; this program writes 1. */
  readonly format: number;
  readonly nodeId: number;
  /** 16 random bytes. */
  readonly identity: Uint8Array;
}

/** The cluster's founding record: made durable by the lowest id, then adopted by every member listed in it. */
export interface Founding {
  /** 16 random bytes. */
  readonly clusterId: Uint8Array;
  readonly members: readonly { readonly id: number; readonly address: string; readonly identity: Uint8Array }[];
}

/** Kept in two copies, written one after the other. */
export interface VoteState {
  readonly term: number;
  readonly vote: number;
  /** How often the node was started on this folder: raised durably at every start. */
  readonly starts: number;
}

/**
 * `corrupt`: rot, the node must not serve. `locked`, `other-node`, `format`: the folder is not for this process. `disk`: a
 * failed write or fsync, fatal. Of snapshots alone, which may be tried again: `full` (no room), `superseded` (a newer one is
 * there already).
 */
export type LogErrorCode = 'corrupt' | 'locked' | 'other-node' | 'format' | 'disk' | 'full' | 'superseded';

/** The message names the file. */
export class LogError extends Error {
  readonly code: LogErrorCode;
  constructor(code: LogErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** What the host says of a snapshot when it begins one. */
export interface NewSnapshot {
  /** The last entry whose effects are in it: committed and applied. */
  readonly index: number;
  readonly term: number;
  /** Log time of that entry, ms. */
  readonly logTime: number;
  /** 16 hexadecimal digits. */
  readonly stateHash: string;
  /**
   * Bytes of the host's own, given back as they are. They tell this snapshot from every other, also from one of the same state: content that
   * was written twice, by two members or by one, may hold the same records in another order, and a transfer must not mix them.
   */
  readonly meta: Uint8Array;
}

/** A finished snapshot. (index, term, stateHash, size, meta) identify what one member sends another. */
export interface SnapshotInfo extends NewSnapshot {
  /** Bytes of content. */
  readonly size: number;
  /** Records, as the host counts them. */
  readonly count: number;
}

export interface SnapshotTrailer {
  readonly count: number;
  /** Must be that of the beginning: a check of what was written against what was announced. */
  readonly stateHash: string;
}

/** Called once, later, never from inside the call that registers it. */
export type Done = (error?: LogError) => void;

/** One call at a time: the next one after `done`. After an error only `abort` is of use (and not needed). */
export interface SnapshotWriter {
  /** Takes content. `bytes` (any number) must not change before `done`. */
  write(bytes: Uint8Array, done: Done): void;
  /**
   * Makes the snapshot the folder's: `done` means durable under its name. Waits until the log is durable up to its index.
   * Errors: `full` and `superseded`, of which nothing is left behind.
   */
  finish(trailer: SnapshotTrailer, done: Done): void;
  /** Gives up and removes what was written. Nothing is called back any more. */
  abort(): void;
}

/** Reads what a snapshot holds, verified block by block. Stays good when the snapshot is replaced; to be closed. */
export interface SnapshotReader {
  readonly info: SnapshotInfo;
  /** Bytes of content. */
  readonly size: number;
  /** Fills `into` with content from `offset` on; the number of bytes, fewer only at the end. Throws LogError `corrupt`, `disk`. */
  read(offset: number, into: Uint8Array): number;
  close(): void;
}

/** Receives a snapshot. What has arrived outlives the connection and the process. */
export interface SnapshotReceiver {
  /** Bytes of content that are here and good: the sender goes on from there. */
  readonly verified: number;
  /** As of a writer. */
  write(bytes: Uint8Array, done: Done): void;
  /**
   * All content has been written: makes the snapshot the folder's. If the log holds the snapshot's last entry, what
   * follows it is kept (§7); else the log is emptied and goes on at index + 1. Nothing may be appended before `done`.
   */
  install(done: Done): void;
  /** Lets go of the file, which stays to be resumed. Nothing is called back any more. Ignored while it is being installed. */
  close(): void;
}

export interface LogOptions {
  readonly disk: Disk;
  readonly random: Random;
  readonly crc32c: Crc32c;
  readonly directory: string;
  readonly nodeId: number;
  /** Bytes of a segment, a multiple of 512; default 16 MiB, a smaller one in tests. A batch that does not fit in one gets a segment of its own size. */
  readonly segmentBytes?: number;
  /** Bytes of recent entries kept in memory for followers; default 32 MiB. Older ones are read back from disk. */
  readonly cacheBytes?: number;
  /** Most bytes of one write; a larger single record goes alone. Default 4 MiB. */
  readonly batchBytes?: number;
  /** Bytes of log before the newest snapshot that are kept for slow followers; default 16 MiB. */
  readonly tailBytes?: number;
  /** Bytes that must stay free for one snapshot (more, when the newest one is larger); may be changed later. Default 0. */
  readonly reserveBytes?: number;
  /**
   * Whether a folder that is corrupt is opened as `damaged` (but for `meta`): with what of it is good, for a host that repairs it from
   * the other members. It is asked with the founding record, if that is good. Default: it is not opened.
   */
  readonly repair?: boolean | ((founding: Founding | undefined) => boolean);
  /** Lets other work in between the steps of a long one; by default only the steps of promises. */
  readonly defer?: Timers['defer'];
  /** Times writes; without one, `writeLatency` says 0. */
  readonly clock?: Clock;
  /** Told what an operator should know and the log lives on with: a torn tail cut off, a bad copy of the vote, no room for a spare segment. */
  readonly onWarning?: (message: string) => void;
}

/** Of the durable writes of the last 10 s, at most 32 of them, in milliseconds. */
export interface WriteLatency {
  readonly writes: number;
  readonly medianMs: number;
  readonly slowestMs: number;
  /** How long the write under way has taken so far; 0 when there is none. */
  readonly inFlightMs: number;
}

/** An opened folder. Everything `open` recovered is durable when it resolves (the last batch and both vote copies have been written again). */
export interface Log extends LogReader {
  readonly folder: FolderIdentity;
  /** Undefined as long as the folder belongs to no cluster. */
  readonly founding: Founding | undefined;
  readonly vote: VoteState;
  /** Makes the founding record durable (synchronously). Refused if there is one already. */
  found(founding: Founding): void;
  /** Makes the vote state durable in both copies before it returns (synchronously). Throws LogError `disk`. */
  saveVote(state: VoteState): void;
  /** Takes entries in memory at once (an entry replaces all from its index on). They are written by the next `flush`. */
  append(entries: readonly Entry[]): void;
  /** Starts one write of all that was appended and is not yet written, unless a write is in flight (then it follows by itself). */
  flush(): void;
  /**
   * The folder has lost something that it may have acknowledged, or its votes, and is marked so, durably: its node neither
   * votes nor acknowledges until it holds all up to an index that a leader committed, after this start, by an entry of
   * its own term and without counting this node. Then it calls `repaired`.
   */
  readonly damaged: boolean;
  /** Both copies of term and vote were lost once: as long as it is damaged, they may be lower than what this node has promised. */
  readonly votesLost: boolean;
  /** Takes the mark away, durably (synchronously). Throws LogError `disk`. */
  repaired(): void;
  /** The newest snapshot; what it holds need not be in the log. */
  readonly snapshot: SnapshotInfo | undefined;
  /** First entry that the log still has; lastIndex() + 1 when it has none. The term of the entry before it is known. */
  firstIndex(): number;
  /** Bytes on disk that the log has taken since the snapshot's last entry (since its beginning without one). */
  readonly logBytes: number;
  /** Begins a snapshot of what is applied; one at a time. Refused (throws) when it is older than the newest one. */
  beginSnapshot(info: NewSnapshot): SnapshotWriter;
  /** The newest snapshot's content; undefined when there is none. Throws LogError `corrupt`, `disk`. */
  openSnapshot(): SnapshotReader | undefined;
  /** Begins to receive what another member sends, or goes on with it; one at a time, any receiver before is closed. Rejects with LogError `disk`, `full`. */
  receiveSnapshot(info: SnapshotInfo): Promise<SnapshotReceiver>;
  /** Drops segments whose entries are all at or before `upTo` and in the snapshot, but for the tail. Files go in the background. */
  compact(upTo: number): void;
  /**
   * Whether entries with client data may be taken: the next segment is made, or there is room for it, and for one snapshot
   * beside. Without room the log still takes all that is appended: first what is left of the last segment; then writes wait,
   * unacknowledged, until there is room.
   */
  readonly hasRoom: boolean;
  /** Called when `hasRoom` has changed. */
  onRoom: (hasRoom: boolean) => void;
  /** Looks at the disk again, goes on with what waited for room, and returns `hasRoom`: to be called now and then. */
  checkRoom(): boolean;
  /** Bytes that one snapshot is going to take: sets `reserveBytes`. */
  reserve(bytes: number): void;
  writeLatency(): WriteLatency;
  /** Called after each completed write with the last entry it made durable; the term lets Raft ignore a late vouch for replaced bytes. */
  onPersisted: (index: number, term: number) => void;
  /** Called once on a failed write: the node must stop. Nothing more is persisted or acknowledged. */
  onFailed: (error: LogError) => void;
  /** Waits for the write in flight, releases the lock and closes the files. */
  close(): Promise<void>;
}
