/** The seam between the node and its log on disk. See `log.ts` for the layouts and the rules of recovery. */
import type { Disk, Random } from '../env/env.js';
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

/** `code`: `corrupt` (rot: the node must not serve), `locked`, `other-node`, `format`, `disk` (a failed write or fsync: fatal). The message names the file. */
export class LogError extends Error {
  readonly code: 'corrupt' | 'locked' | 'other-node' | 'format' | 'disk';
  constructor(code: 'corrupt' | 'locked' | 'other-node' | 'format' | 'disk', message: string) {
    super(message);
    this.code = code;
  }
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
  /** Told what an operator should know and the log lives on with: a torn tail cut off, a bad copy of the vote, no room for a spare segment. */
  readonly onWarning?: (message: string) => void;
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
  /** Called after each completed write with the last entry it made durable; the term lets Raft ignore a late vouch for replaced bytes. */
  onPersisted: (index: number, term: number) => void;
  /** Called once on a failed write: the node must stop. Nothing more is persisted or acknowledged. */
  onFailed: (error: LogError) => void;
  /** Waits for the write in flight, releases the lock and closes the files. */
  close(): Promise<void>;
}
