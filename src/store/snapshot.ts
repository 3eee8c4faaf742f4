/**
 * Snapshots of a store: the seam, and what both stores share of it.
 *
 * ## Concept
 *
 * A snapshot is what a store holds at one published revision, users' and system records alike, cut into chunks of whole
 * entries (layout: ARCHITECTURE.md, "Snapshot"), and beside them a `SnapshotState` of the same moment. It is written while
 * writes go on:
 *
 *     snapshotBegin → snapshotNext* → snapshotEnd          every record once, in no order
 *     loadBegin → loadChunk* → loadEnd                     into either kind of store
 *
 * ## Invariants
 *
 * - One snapshot at a time, and none while a load is under way.
 * - A load begins only when nothing is staged for `apply`. From then until it has ended well, nothing is applied or read.
 */

/** What a snapshot is of, all of one moment. */
export interface SnapshotState {
  /** Index of the last entry that is in it. */
  readonly applied: number;
  readonly revision: number;
  /** 16 hex digits. */
  readonly stateHash: string;
  /** Users' keys; records that have expired by the log time and are not removed are in the snapshot, but do not count. */
  readonly keys: number;
  readonly logicalBytes: number;
  readonly limitBytes: number;
  /** Log time of the last entry that is in it. */
  readonly logTimeMs: number;
  readonly checkpoint: { readonly index: number; readonly stateHash: string };
}

/**
 * Why a load failed: a chunk was malformed or held a key twice, there was no memory, or what was loaded is not what
 * the state says (`state`: it is no state at all).
 */
export const loadFailures = [
  'chunk',
  'no-memory',
  'keys',
  'logical-bytes',
  'state-hash',
  'revision',
  'limit',
  'state',
] as const;
export type LoadFailure = (typeof loadFailures)[number];

export interface Snapshots {
  /** Pins the published revision for a snapshot. Throws when one is being written already, or a load is under way. */
  snapshotBegin(): SnapshotState;
  /**
   * The next chunk: whole entries, `maxBytes` at most (and 1 MiB), unless a single one is larger. It may be empty, when nothing
   * was found within a bounded amount of work (about 2 ms); undefined: that was all. The bytes are the caller's.
   */
  snapshotNext(maxBytes: number): Uint8Array | undefined;
  /** Lets go of the pin: when all has been written, or to give up. */
  snapshotEnd(): void;

  /**
   * Empties the state, for a snapshot to be loaded: all that is staged has been applied before, or this throws. Connections stay,
   * and so does what waits: reads will be answered from the loaded state. Open transactions are aborted, as by `expire`.
   */
  loadBegin(): void;
  /** Takes a chunk; false when it is malformed or there is no memory: then the load has failed. */
  loadChunk(chunk: Uint8Array): boolean;
  /**
   * Compares what was loaded with the state, and publishes it. Own sealed entries that are in it are answered `UNKNOWN lost` and
   * reported as `applied`; later ones stay undecided, and so does the open entry. After a failure the store must not be used.
   */
  loadEnd(state: SnapshotState): 'ok' | LoadFailure;
}

/** An entry of a chunk: ARCHITECTURE.md, "Snapshot". */
export const SnapshotEntry = { keyLength: 0, valueLength: 4, revision: 8, deadline: 16, data: 24 } as const;
/** Bit 31 of the key's length: a system record. */
export const SYSTEM_FLAG = 0x8000_0000;
export const LARGEST_CHUNK = 1_048_576;

/** How many of the first `length` bytes of content are whole entries: where content that comes in any pieces can be cut into chunks. */
export function wholeEntries(bytes: Uint8Array, length: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  let at = 0;
  while (at + SnapshotEntry.data <= length) {
    const key = view.getUint32(at + SnapshotEntry.keyLength, true) % SYSTEM_FLAG;
    const value = view.getUint32(at + SnapshotEntry.valueLength, true);
    // Not by bits: the lengths may be anything.
    const end = at + SnapshotEntry.data + 4 * Math.ceil((key + value) / 4);
    if (end > length) break;
    at = end;
  }
  return at;
}

/** What may be called now: the order of the calls of snapshots and loads. */
export class SnapshotGuard {
  private snapshot = false;
  private load: 'none' | 'under way' | 'failed' = 'none';
  private why: LoadFailure | undefined;

  /** Nothing may be applied or read. */
  get loading(): boolean {
    return this.load !== 'none';
  }

  /** Throws when `what` cannot be done because a load is under way or has failed. */
  notLoading(what: string): void {
    if (this.load !== 'none') throw new Error(`store: ${what} cannot be called: a load is ${this.load}`);
  }

  beginSnapshot(): void {
    this.notLoading('snapshotBegin');
    if (this.snapshot) throw new Error('store: a snapshot is being written already');
    this.snapshot = true;
  }

  inSnapshot(what: string): void {
    if (!this.snapshot) throw new Error(`store: ${what} was called without snapshotBegin`);
  }

  endSnapshot(): void {
    this.inSnapshot('snapshotEnd');
    this.snapshot = false;
  }

  beginLoad(nothingStaged: boolean): void {
    this.notLoading('loadBegin');
    if (this.snapshot) throw new Error('store: a snapshot is being written; end it before a load');
    if (!nothingStaged) throw new Error('store: committed records are staged; apply them before a load');
    this.load = 'under way';
  }

  inLoad(what: string): void {
    if (this.load === 'none') throw new Error(`store: ${what} was called without loadBegin`);
  }

  /** A chunk could not be loaded: what follows is not looked at. */
  failLoad(why: LoadFailure): void {
    this.load = 'failed';
    this.why ??= why;
  }

  /** Why the load has failed already. */
  get failure(): LoadFailure | undefined {
    return this.why;
  }

  endLoad(outcome: 'ok' | LoadFailure): 'ok' | LoadFailure {
    this.load = outcome === 'ok' ? 'none' : 'failed';
    return outcome;
  }
}

/** Whether a state, which may come from anywhere, is one: numbers in range, hashes of 16 digits. */
export function isState(state: SnapshotState): boolean {
  const { applied, revision, stateHash, keys, logicalBytes, limitBytes, logTimeMs, checkpoint } = state;
  const numbers = [applied, revision, keys, logicalBytes, limitBytes, logTimeMs, checkpoint.index];
  const hashes = [stateHash, checkpoint.stateHash];
  return (
    numbers.every((n) => Number.isSafeInteger(n) && n >= 0) &&
    hashes.every((hash) => /^[0-9a-f]{16}$/.test(hash)) &&
    checkpoint.index <= applied
  );
}
