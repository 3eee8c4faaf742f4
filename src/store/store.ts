/**
 * The store: everything between the bytes of a client and the state that is replicated. Two implementations give the
 * same bytes: `WasmStore` (the kernel in assembly/) and `JsStore` (plain TypeScript over Map).
 *
 * ## Concept
 *
 * A store parses what clients send, keeps each connection's place in the stream, collects writes into the *open entry*
 * and reads into the *gathering batch*, holds transactions, applies committed entries, and produces replies. The node
 * drives it with a handful of calls a turn, never one a command.
 *
 *     feed*  → ingest → seal ──(Raft)──→ stage* → apply ─┐
 *                  └──→ sealReads ─(ReadIndex)→ evalReads ┴→ drain
 *
 * What it holds can be written out while it is used, and be replaced by what another store wrote: snapshot.ts.
 *
 * ## Connections
 *
 * `open` gives a slot. A connection is in one of these modes:
 *
 * - *idle*: nothing unanswered. Constants (PING, HELP, every error) are answered at once.
 * - *reading*: it has unanswered items in the gathering batch or the one in flight. More reads and constants join the
 *   gathering batch, at their place. A write waits: the connection is *held* until it is idle again.
 * - *writing*: it has unanswered items in sealed entries or the open one. More writes join the open entry. A read or a
 *   constant joins the open entry's side list, at its place, if the open entry holds at least one command (of anybody);
 *   else the connection is held until it is idle. (Joining an entry that has left would read the past: it may stand in the
 *   log before a write that was acknowledged already.)
 * - A *barrier* command (BEGIN, KEYS, STATUS, MEMBERS, QUIT) waits until the connection is idle, is then carried out alone,
 *   and holds the connection until it is answered. BEGIN and KEYS are items of the gathering batch; for the others the
 *   store emits `control` and waits for `release`. SESSION too is carried out alone, as a command of the open entry: what follows it
 *   needs to know the session that the connection then has.
 * - In a transaction every command but COMMIT is answered at once from the pinned revision and the own writes
 *   (STATUS, MEMBERS, QUIT by `control`). COMMIT with writes, or with SEQ, joins the open entry as one command; with SEQ
 *   and without a transaction a fence does in its stead.
 *
 * Held input is kept by the store and parsed on by the next `ingest` after the cause is gone; while it is held, `hold` has
 * been emitted and the node stops reading that socket until `unhold`. A connection is also held while it has more than
 * its *window* of unanswered commands (128 at first, then 8 MiB over its largest recent reply, between 16 and 4,096),
 * while `pause(slot, true)` says that its socket does not drain, and, for writes, while the open entry is full (1 MiB).
 * Replies of one connection always come in the order of its commands.
 *
 * ## Sealing and outcomes
 *
 * `seal` closes the open entry and numbers it. Own entries are numbered 1, 2, 3 … within an incarnation. When `apply` meets
 * an own entry in its order, it answers its items, each at its place, and emits `applied`. An entry that is not last + 1 of
 * its origin is a no-op; if it was an own entry that is still undecided, `gap` is emitted, and the node sends again from
 * the first undecided one.
 *
 * ## Visibility
 *
 * Every effective write command takes the next revision; all writes of one COMMIT (and all keys of one DEL) share one. An
 * effective entry of an origin also takes one, for the origin's record, before its first command; a command with a
 * sequence one more, for its session's record, behind its own. `apply` publishes once
 * at its end (not after a slice that ends in the middle): reads, BEGIN and `stats` see published state only. Side reads see
 * the state at their place inside the entry.
 *
 * ## Expiry
 *
 * Log time is that of the last entry. A record whose deadline it has reached is absent for every read, check and count, and
 * is removed by one of the next entries; until then it counts in `logicalBytes` and `stateHash` only.
 *
 * Layouts of entries, logical sizes and the state hash are in ARCHITECTURE.md, "Formats".
 */
import type { Crc32c } from '../log/types.js';
import type { Config } from './config.js';
import type { Snapshots } from './snapshot.js';

/** Bytes of room for the leader's header in front of every payload. */
export const HEADER_BYTES = 64;

/** The largest record (header and payload) that every store can stage, and so the largest that one seals. */
export const MOST_RECORD_BYTES = 33_554_432 - 4_096;

/** Whether a data entry that a store has sealed holds any command ("Payload of a data entry"). */
export function hasCommands(record: Uint8Array): boolean {
  return record.length > HEADER_BYTES + 40;
}

/** The key of the system record that tells of a folder's entries ("System records"); as `Store.system` takes it. */
export function originKey(identity: Uint8Array): string {
  return `o${Buffer.from(identity).toString('latin1')}`;
}

/** A version is the formats of what is replicated and what applying an entry does to the state, in one number. */
export interface VersionRange {
  readonly oldest: number;
  readonly newest: number;
}
/** What the stores of this program apply entries by. */
export const versions: VersionRange = { oldest: 1, newest: 1 };

/** Types of entries, byte 48 of the header. */
export const EntryType = { noop: 0, data: 1, config: 2 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

export interface StoreLimits {
  /** Bytes; the defaults are 64 KiB, 1 MiB, 8 MiB, 8 MiB, 16 MiB, 1 MiB. */
  readonly maxKey: number;
  readonly maxValue: number;
  readonly maxLine: number;
  readonly maxReply: number;
  readonly maxTransaction: number;
  /** The open entry closes when it has reached this. */
  readonly maxEntry: number;
}
export const defaultLimits: StoreLimits = {
  maxKey: 65_536,
  maxValue: 1_048_576,
  maxLine: 8_388_608,
  maxReply: 8_388_608,
  maxTransaction: 16_777_216,
  maxEntry: 1_048_576,
};

export interface StoreOptions {
  /** Origin of the entries that this store seals: folder identity (16 bytes), start counter, random nonce. */
  readonly identity: Uint8Array;
  readonly starts: number;
  readonly nonce: number;
  /** 16 random bytes: seed of the hash table. Never enters anything that is replicated. */
  readonly seed: Uint8Array;
  readonly limits?: Partial<StoreLimits>;
}

export const StoreEvent = {
  /** `arg` is the code of the command (STATUS, MEMBERS, QUIT): answer it, then `release(slot)`. */
  control: 1,
  /** End the socket once its output is written: after a FIN, a line that was too long. */
  close: 2,
  /** Stop reading the socket. */
  hold: 3,
  /** Read it again. */
  unhold: 4,
  /** Own entry number `arg` was applied with its content and its items were answered. */
  applied: 5,
  /** Own entry number `arg` came out as a no-op over a gap. */
  gap: 6,
} as const;
export type StoreEvent = (typeof StoreEvent)[keyof typeof StoreEvent];

/** Receives what the store has produced, in order. */
export interface StoreSink {
  /** Replies for a connection: `bytes` from `start` to `end`. Valid during the call only. */
  output(slot: number, bytes: Uint8Array, start: number, end: number): void;
  event(kind: StoreEvent, slot: number, arg: number): void;
}

export interface SealedEntry {
  /** Its number within this incarnation, from 1. */
  readonly sequence: number;
  /** HEADER_BYTES of zeros, then the payload. A copy: it belongs to the caller. */
  readonly record: Uint8Array;
  /** CRC32C of the payload. */
  readonly payloadCrc: number;
}

/** Why undecided commands are answered without an outcome. Writes of an entry that may have left get UNKNOWN. */
export type GiveUp = 'no-leader' | 'timeout' | 'stopping' | 'disk-full';

export interface StoreStats {
  /** The published revision, applied index, number of users' keys (what has expired not counted), and state hash (16 hex digits), of one moment. */
  readonly revision: number;
  readonly applied: number;
  readonly keys: number;
  readonly stateHash: string;
  /** Logical bytes against the replicated limit (0: none yet), and what is really used by records and tables. */
  readonly logicalBytes: number;
  readonly limitBytes: number;
  readonly usedBytes: number;
  /** Bytes held from the system for state. */
  readonly reservedBytes: number;
  readonly transactions: number;
  /** Last entry whose index divides by 1,024, and the state hash right after it. */
  readonly checkpoint: { readonly index: number; readonly stateHash: string };
  readonly counters: {
    /** Lines parsed into commands or errors. */
    readonly parsed: number;
    /** Commands encoded into entries (a COMMIT counts as one). */
    readonly encoded: number;
    /** Keys checked for conflicts in COMMITs. */
    readonly checked: number;
    /** Commands of entries applied, from all origins (a COMMIT counts as one). */
    readonly applied: number;
    /** Reads answered outside transactions (side reads too). */
    readonly reads: number;
  };
}

/** A user's record: its deadline in log time, ms; 0: none. */
export interface DumpedRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly revision: number;
  readonly deadline: number;
}

export interface Store extends Snapshots {
  readonly kind: 'wasm' | 'js';
  /** The versions that it can apply entries by: which one is in force is a system record (config.ts). */
  readonly versions: VersionRange;
  readonly crc32c: Crc32c;

  /** A new connection's slot (0 … 65,534), or -1 when all are taken. */
  open(): number;
  /** The client is gone: its transaction is dropped, what it has under way is carried out and answered to nobody. The slot is reused only when nothing of it is left. */
  close(slot: number): void;
  /** Takes bytes that a client sent; parsed by the next `ingest` (or at once, when the staging area is full). */
  feed(slot: number, chunk: Uint8Array): void;
  /** The client sent FIN: when all is answered, `close` is emitted. A last line without a newline is refused, not run: it may have been cut. */
  finish(slot: number): void;
  /** While on, nothing more of this connection is parsed. */
  pause(slot: number, on: boolean): void;
  /** A `control` command has been answered; the connection goes on (its transaction too). */
  release(slot: number): void;
  /** Parses all that was fed and all held input whose cause is gone. `nowMs`: the monotonic clock, for the idle time of transactions. */
  ingest(nowMs: number): void;
  /** Held input could be parsed now: call `ingest`. */
  readonly ready: boolean;
  /** Hands out replies and events in order, and forgets them. */
  drain(sink: StoreSink): void;
  /** Rolls back transactions that have been idle since before `idleSinceMs`; their next command is told, then COMMIT or ROLLBACK ends them. */
  expire(idleSinceMs: number): void;

  /** Commands in the open entry (side items not counted), and its bytes. */
  readonly openCommands: number;
  readonly openBytes: number;
  /** Closes the open entry; undefined when it holds no command. Any number of sealed entries may be undecided. */
  seal(): SealedEntry | undefined;
  /** Answers all items of the sealed entry `sequence` without an outcome (writes UNKNOWN when `mayHaveLeft`), and returns the empty entry that takes its place: same number, no commands. */
  giveUp(sequence: number, why: GiveUp, mayHaveLeft: boolean): SealedEntry;
  /** Answers all items of the open entry: nothing happened. */
  giveUpOpen(why: GiveUp): void;

  /** Reads gathered for the next round. */
  readonly gathered: number;
  /** Moves the gathered reads into flight (one batch at a time); false when there are none. */
  sealReads(): boolean;
  /** The read index is applied: answers reads in flight from published state. False when it has more to do (call again next turn). */
  evalReads(): boolean;
  /** Answers the reads in flight with an error. */
  failReads(why: GiveUp): void;

  /** Queues a committed record (header and payload, verified by the log or the transport) for `apply`; false when there is no room until `apply` has run. Its index must follow the one before. */
  stage(record: Uint8Array): boolean;
  /**
   * Applies what is staged, in slices of about 2 ms. `more`: call again; when memory is short that may go on until the snapshot
   * that is being written has ended. `no-memory`: this node cannot hold the next
   * entry; nothing of it was applied, the node must stop.
   */
  apply(): 'done' | 'more' | 'no-memory';
  /** Index of the last entry applied and published. */
  readonly applied: number;

  /** Log time at which published state is read: of the last entry applied and published, ms. */
  readonly logTime: number;
  /** The earliest deadline of a record, ms of log time; undefined when none has one. Once log time has reached it, entries remove what has expired, a bounded number each. */
  readonly earliestDeadline: number | undefined;

  /** The payload (after HEADER_BYTES of room) of a config entry, and its CRC. */
  configRecord(config: Config): { readonly record: Uint8Array; readonly payloadCrc: number };
  /** The published value of a system record whose key has at most 64 bytes, one a character; a copy; undefined when there is none. */
  system(key: string): Uint8Array | undefined;

  /**
   * Applies a batch of encoded operations at once, publishes, and returns the replies, one line each: for benchmarks and
   * tests. The batch is the operations section of a data entry, in which GET (code 16: key) may stand too. No origin, no index, not replicated.
   * The result is valid until the next call.
   */
  run(operations: Uint8Array): Uint8Array;

  stats(): StoreStats;
  /** All users' records that are visible now, for tests: in no order. */
  dump(): DumpedRecord[];
}
