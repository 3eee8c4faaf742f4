/**
 * Applies committed records in their order: the state machine that is the same on every replica.
 *
 * An entry goes through two phases, each in slices: first all of it is judged (js-validate.ts), so that a malformed one
 * changes nothing of its own; then log time is the entry's, whatever it is, and some of what has expired is removed; then
 * its origin is judged and its operations are carried out. Nothing is published while an entry is
 * in the middle.
 */
import { decodeConfig, LIMIT_KEY, MEMBERS_KEY, MOST_MEMBERS_BYTES, VERSION_KEY } from './config.js';
import { ORIGIN_BYTES, type Origin } from './js-encode.js';
import { HashSum, type StateHasher } from './js-hash.js';
import { type CommandSink, HEAD, nobody, Operations } from './js-operations.js';
import { isGoodSession, isSessionKey, Sessions } from './js-sessions.js';
import { SystemRecords } from './js-system.js';
import type { Found, Table } from './js-table.js';
import type { Texts } from './js-text.js';
import { Validation } from './js-validate.js';
import type { SnapshotState } from './snapshot.js';
import { EntryType, HEADER_BYTES } from './store.js';

/** The items of the entries that this store has sealed. */
export interface OwnEntries {
  /** Own entry number `sequence` takes effect now; the sink answers its items. */
  begin(sequence: number): CommandSink;
  end(sequence: number): void;
  /** It came out as a no-op that was not the next of its origin. */
  gap(sequence: number): void;
}

/** Bytes and records that may be staged before `apply` has to run. */
const STAGED_BYTES = 67_108_864;
const STAGED_RECORDS = 65_536;
/** Units of work of a slice of about 2 ms, see js-operations.ts; so many operations are judged for one. */
const SLICE_UNITS = 1_500;
const VALIDATIONS_A_UNIT = 16;
const CHECKPOINT_ENTRIES = 1_024;
/** An entry removes expired records until it has removed so many, or keys of so many bytes (ARCHITECTURE.md, "Expiry"). */
const MOST_REMOVED = 1_024;
const MOST_REMOVED_BYTES = 1_048_576;
const TWO_32 = 4_294_967_296;
/** Offsets in a record's header (src/log/record.ts). */
const INDEX_AT = 8;
const TIME_AT = 24;
const PAYLOAD_LENGTH_AT = 40;
const TYPE_AT = 48;
/** Parts of system records. */
const ORIGIN_PREFIX = 'o';
const ORIGIN_VALUE_BYTES = 16;

const Phase = { none: 0, judge: 1, judged: 2, carryOut: 3 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

export class Applier {
  readonly operations: Operations;
  /** Published. */
  applied = 0;
  readonly hash = new HashSum();
  limitBytes = 0;
  logicalBytes = 0;
  checkpoint = { index: 0, stateHash: '0'.repeat(16) };
  private readonly system: SystemRecords;
  private readonly table: Table;
  private readonly own: OwnEntries;
  private readonly ownIdentity: string;
  private readonly origin: Origin;
  private readonly validation: Validation;
  private staged: Uint8Array[] = [];
  private stagedAt = 0;
  private stagedBytes = 0;
  private lastStaged = 0;
  /** Of the last entry that was carried out completely. */
  private index = 0;
  private lastCheckpoint = this.checkpoint;
  private phase: Phase = Phase.none;
  /** Units of work left in this slice. */
  private left = 0;
  /** Where the payload of the entry under way is in the view. */
  private payloadAt = 0;
  private payloadEnd = 0;
  /** Log time of the entry under way, and what it does once it is judged. */
  private entryTime = 0;
  private does: EntryType = EntryType.noop;
  /** What a config entry sets. */
  private settings: readonly { readonly key: string; readonly value: Uint8Array }[] = [];
  /** Number of the own entry under way; 0: another's. */
  private ownSequence = 0;
  private readonly heapLimitBytes: number;

  constructor(table: Table, texts: Texts, origin: Origin, own: OwnEntries, heapLimitBytes: number) {
    this.table = table;
    this.own = own;
    this.origin = origin;
    this.ownIdentity = Buffer.from(origin.identity).toString('latin1');
    this.system = new SystemRecords(table);
    this.operations = new Operations(table, texts, new Sessions(this.system, table, texts));
    this.validation = new Validation(this.operations.view);
    this.heapLimitBytes = heapLimitBytes;
  }

  stage(record: Uint8Array): boolean {
    const index = readU64(record, INDEX_AT);
    if (index !== this.lastStaged + 1) {
      throw new Error(`store: record ${index} was staged after ${this.lastStaged}; records must follow each other`);
    }
    if (HEADER_BYTES + readU32(record, PAYLOAD_LENGTH_AT) > record.length) {
      throw new Error(`store: record ${index} is cut; a record must be whole when it is staged`);
    }
    const waiting = this.staged.length - this.stagedAt;
    const full = waiting >= STAGED_RECORDS || this.stagedBytes + record.length > STAGED_BYTES;
    if (waiting > 0 && full) return false;
    this.staged.push(record);
    this.stagedBytes += record.length;
    this.lastStaged = index;
    return true;
  }

  /** An entry is in the middle: nothing is published. */
  get underWay(): boolean {
    return this.phase === Phase.carryOut;
  }

  /** One slice; see `Store.apply`. */
  apply(): 'done' | 'more' | 'no-memory' {
    this.left = SLICE_UNITS;
    for (;;) {
      if (this.phase === Phase.none) {
        if (this.stagedAt === this.staged.length) return this.finish('done');
        if (this.left <= 0) return this.finish('more');
        if (!this.hasRoom()) return this.finish('no-memory');
        this.begin(this.staged[this.stagedAt]!);
      } else if (this.phase === Phase.judge) {
        if (!this.judge()) return this.finish('more');
      } else if (this.phase === Phase.judged) {
        if (this.mustWait()) return this.finish('more');
        this.effect();
      } else if (!this.carryOut()) {
        return 'more';
      }
    }
  }

  private finish<Outcome>(outcome: Outcome): Outcome {
    this.publish();
    this.staged.splice(0, this.stagedAt);
    this.stagedAt = 0;
    return outcome;
  }

  /** An operation has at least 12 bytes, so this many more keys at most; memory as much as the entry has. */
  private hasRoom(): boolean {
    const bytes = this.staged[this.stagedAt]!.length;
    return this.roomFor(bytes / HEAD, bytes);
  }

  /** Room for so many more keys of the users' or the system's, and entries of so many bytes. */
  roomFor(keys: number, bytes: number): boolean {
    const hasRoom = this.table.hasRoom(keys) && this.system.table.hasRoom(keys);
    return hasRoom && this.usedBytes + 8 * bytes < this.heapLimitBytes;
  }

  /** What all records use, by their estimate. */
  get usedBytes(): number {
    return this.table.usedBytes() + this.system.table.usedBytes();
  }

  /** False when the slice is over. */
  private judge(): boolean {
    const good = this.validation.step(Math.max(1, this.left) * VALIDATIONS_A_UNIT);
    if (good === undefined) return false;
    this.left -= this.validation.units / VALIDATIONS_A_UNIT;
    if (!good) this.does = EntryType.noop;
    this.phase = Phase.judged;
    return true;
  }

  /**
   * An entry that fits into a slice is carried out in one, so that nobody looks in between and no versions need be kept
   * for that. If this slice has too little left for it, what was done before is published first.
   */
  private mustWait(): boolean {
    return this.unitsAhead > this.left && this.index > this.applied;
  }

  /** Units of work that the judged entry takes. */
  private get unitsAhead(): number {
    const due = this.table.firstDue;
    const removals = due !== undefined && due.deadline <= this.entryTime ? MOST_REMOVED : 0;
    return removals + (this.does === EntryType.data ? this.validation.units : 0);
  }

  /** False when the slice is over. */
  private carryOut(): boolean {
    const done = this.operations.step(this.table.retain ? this.left : Number.MAX_SAFE_INTEGER);
    if (!done) return false;
    this.left -= this.validation.units;
    if (this.ownSequence > 0) this.own.end(this.ownSequence);
    this.end();
    return true;
  }

  private begin(record: Uint8Array): void {
    this.left--;
    const { view } = this.operations;
    const at = view.load(record);
    this.payloadAt = at + HEADER_BYTES;
    this.payloadEnd = this.payloadAt + readU32(record, PAYLOAD_LENGTH_AT);
    this.entryTime = Math.max(this.table.time, readU64(record, TIME_AT));
    const type = record[TYPE_AT];
    this.does = EntryType.noop;
    this.phase = Phase.judged;
    if (type === EntryType.data && this.payloadEnd - this.payloadAt >= ORIGIN_BYTES) {
      const { words } = view;
      const commands = words[(this.payloadAt + 32) >>> 2]! >>> 0;
      if (words[(this.payloadAt + 36) >>> 2] === 0) {
        this.validation.start(this.payloadAt + ORIGIN_BYTES, this.payloadEnd, commands);
        this.does = EntryType.data;
        this.phase = Phase.judge;
        return;
      }
    }
    if (type !== EntryType.config) return;
    const settings = decodeConfig(record.subarray(HEADER_BYTES, this.payloadEnd - at));
    if (settings === undefined) return;
    this.settings = settings;
    this.does = EntryType.config;
  }

  /** The entry is over, whether it had an effect or not. */
  private end(): void {
    this.phase = Phase.none;
    this.ownSequence = 0;
    this.index++;
    this.stagedBytes -= this.staged[this.stagedAt]!.length;
    this.stagedAt++;
    if (this.index % CHECKPOINT_ENTRIES === 0) {
      this.lastCheckpoint = { index: this.index, stateHash: this.table.hash.toString() };
    }
  }

  /** The judged entry takes effect. */
  private effect(): void {
    const { table } = this;
    table.retain = table.pinned || this.unitsAhead > this.left;
    table.time = this.entryTime;
    this.expire();
    if (this.does === EntryType.data) {
      this.beginData();
      return;
    }
    if (this.does === EntryType.config) this.config();
    this.end();
  }

  /** Removes what has expired, a bounded number of records. */
  private expire(): void {
    const { table } = this;
    let bytes = 0;
    for (let removed = 0; removed < MOST_REMOVED && bytes < MOST_REMOVED_BYTES; removed++) {
      const due = table.firstDue;
      if (due === undefined || due.deadline > table.time) return;
      if (removed === 0) table.revision++;
      bytes += due.key.length;
      if (due.system) this.system.remove(due.key, table.revision);
      else table.remove(due.key, table.record(due.key)!, table.revision);
      this.left--;
    }
  }

  /** Begins to carry the operations out if the entry is the next of its origin. */
  private beginData(): void {
    const { view } = this.operations;
    const at = this.payloadAt;
    const word = at >>> 2;
    const identity = view.bytes.latin1Slice(at, at + 16);
    const starts = view.words[word + 4]! >>> 0;
    const nonce = view.words[word + 5]! >>> 0;
    const sequence = (view.words[word + 7]! >>> 0) * TWO_32 + (view.words[word + 6]! >>> 0);
    const own = starts === this.origin.starts && nonce === this.origin.nonce && identity === this.ownIdentity;
    if (!this.isNext(ORIGIN_PREFIX + identity, starts, nonce, sequence)) {
      if (own) this.own.gap(sequence);
      this.end();
      return;
    }
    this.table.revision++;
    this.system.write(ORIGIN_PREFIX + identity, view.bytes.latin1Slice(at + 16, at + 16 + ORIGIN_VALUE_BYTES));
    this.ownSequence = own ? sequence : 0;
    this.operations.start(at + ORIGIN_BYTES, this.payloadEnd, own ? this.own.begin(sequence) : nobody);
    this.phase = Phase.carryOut;
  }

  /** ARCHITECTURE.md, "System records": what makes a data entry take effect. */
  private isNext(key: string, starts: number, nonce: number, sequence: number): boolean {
    const record = this.system.current(key);
    if (record === undefined) return sequence === 1;
    const value = Buffer.from(record.value, 'latin1');
    const lastStarts = value.readUInt32LE(0);
    if (starts === lastStarts && nonce === value.readUInt32LE(4)) return sequence === readU64(value, 8) + 1;
    return starts > lastStarts && sequence === 1;
  }

  private config(): void {
    if (this.settings.length === 0) return;
    this.table.revision++;
    for (const { key, value } of this.settings) {
      this.system.write(key, Buffer.from(value).toString('latin1'));
      if (key === LIMIT_KEY) this.operations.limitBytes = readU64(value, 0);
    }
  }

  /** The published value of a system record. */
  systemValue(key: string): string | undefined {
    return this.system.table.at(key, this.table.published, 0)?.value;
  }

  private publish(): void {
    const { table } = this;
    table.publish();
    table.retain = false;
    this.system.publish();
    this.applied = this.index;
    this.hash.lo = table.hash.lo;
    this.hash.hi = table.hash.hi;
    this.logicalBytes = table.logicalBytes;
    this.limitBytes = this.operations.limitBytes;
    this.checkpoint = this.lastCheckpoint;
  }

  get nothingStaged(): boolean {
    return this.phase === Phase.none && this.stagedAt === this.staged.length;
  }

  /** Forgets all records, for others to be loaded. */
  reset(): void {
    this.table.reset();
    this.system.reset();
  }

  /** Takes a loaded record of a user's; false: its key is there already. */
  loadUser(key: string, found: Found, { lo, hi }: StateHasher): boolean {
    if (this.table.record(key) !== undefined) return false;
    this.table.set(key, undefined, found.value, found.revision, lo, hi, found.deadline);
    return true;
  }

  /** The same of a system record; false also when it is of a wrong shape. */
  loadSystem(key: string, found: Found, hasher: StateHasher): boolean {
    return isGoodSystemRecord(key, found) && this.system.load(key, found, hasher);
  }

  /** For snapshots: the table of the system's records. */
  get systemTable(): Table {
    return this.system.table;
  }

  /** The limit that has been loaded. */
  get loadedLimit(): number {
    const limit = this.system.current(LIMIT_KEY);
    return limit === undefined ? 0 : readU64(Buffer.from(limit.value, 'latin1'), 0);
  }

  /** What was loaded is the state of this moment: publishes it. */
  moveTo({ applied, revision, logTimeMs, limitBytes, checkpoint }: SnapshotState): void {
    this.table.revision = revision;
    this.table.time = logTimeMs;
    this.operations.limitBytes = limitBytes;
    this.index = applied;
    this.lastStaged = applied;
    this.lastCheckpoint = { index: checkpoint.index, stateHash: checkpoint.stateHash };
    this.publish();
  }

  /** The last sequence of this node's own origin in the state; 0: its record is of another incarnation, or there is none. */
  get lastOwnSequence(): number {
    const record = this.system.current(ORIGIN_PREFIX + this.ownIdentity);
    if (record === undefined) return 0;
    const value = Buffer.from(record.value, 'latin1');
    const same = value.readUInt32LE(0) === this.origin.starts && value.readUInt32LE(4) === this.origin.nonce;
    return same ? readU64(value, 8) : 0;
  }

  /** `Store.run`: see there. */
  run(bytes: Uint8Array, sink: CommandSink): void {
    if (this.phase !== Phase.none) throw new Error('store: run was called while an entry is being applied');
    const { operations, table } = this;
    const at = operations.view.load(bytes);
    this.validation.start(at, at + bytes.length, -1, true);
    if (this.validation.step(Number.MAX_SAFE_INTEGER) !== true) {
      throw new Error('store: run takes well-formed operations, see ARCHITECTURE.md');
    }
    const { commands, checked } = operations;
    table.retain = table.pinned;
    operations.start(at, at + bytes.length, sink);
    operations.step(Number.MAX_SAFE_INTEGER);
    operations.commands = commands;
    operations.checked = checked;
    this.publish();
  }
}

/** Values of system records are read without looking at their length. Sessions have a deadline, no others do. */
function isGoodSystemRecord(key: string, { value, deadline }: Found): boolean {
  if (isSessionKey(key)) return deadline !== 0 && isGoodSession(key, value);
  if (deadline !== 0) return false;
  if (key === LIMIT_KEY || key === VERSION_KEY) return value.length === 8;
  if (key === MEMBERS_KEY) return value.length <= MOST_MEMBERS_BYTES;
  return key[0] !== ORIGIN_PREFIX || key.length !== 17 || value.length === ORIGIN_VALUE_BYTES;
}

function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 4) * TWO_32 + readU32(bytes, at);
}
