/**
 * Records, their versions and their pins, over one `Map`.
 *
 * ## Concept
 *
 * Bytes are strings of latin1 characters, one a byte: V8 keeps them one byte a character in one block that the garbage
 * collector never looks into, while a `Buffer` is three objects. The map always leads to a key's newest record, which is
 * changed in place; what it was before is put behind it as a `Version`, but only if somebody may still ask for it.
 *
 *     map: key → TableRecord (newest, maybe not yet published) → Version → Version …   each one older
 *
 * ## Invariants
 *
 * - Pins are in ascending order and none is above the published revision: a pin is always taken on what is published.
 * - A version is alive from its revision up to the one of its successor. It is kept exactly as long as a pin lies in that
 *   range (or, until `publish`, the published revision does): it hangs on the list of the newest such pin, and when that
 *   one goes, moves to the next older one that sees it, or is dropped. So the work is in proportion to what is freed.
 * - A deleted key keeps a record without a value as long as a version is behind it.
 * - Log time decides what is live: a state is absent for whoever looks at or after its deadline. It stays in the map, and in all
 *   sums but `publishedKeys`, until it is removed.
 * - With `retain` off (no pin, and nobody can look before `publish`) no version is made at all.
 *
 * ## Caveats
 *
 * V8 takes the length for the hash of a string above 16 KiB: very many very long keys of one length make chains.
 */
import { type Due, ExpiryIndex } from './js-expiry.js';
import { HashSum } from './js-hash.js';

/** The newest state of a key: `value` undefined while it is deleted and has versions behind it. */
export class TableRecord {
  value: string | undefined;
  revision: number;
  /** Its part of the state hash, halves as int32. */
  lo: number;
  hi: number;
  /** Log time, ms; 0: none. */
  deadline: number;
  older: Version | undefined = undefined;

  constructor(value: string, revision: number, lo: number, hi: number, deadline: number) {
    this.value = value;
    this.revision = revision;
    this.lo = lo;
    this.hi = hi;
    this.deadline = deadline;
  }
}

export class Version {
  readonly key: string;
  readonly value: string | undefined;
  readonly revision: number;
  readonly deadline: number;
  newer: TableRecord | Version;
  older: Version | undefined;

  constructor(key: string, record: TableRecord) {
    this.key = key;
    this.value = record.value;
    this.revision = record.revision;
    this.deadline = record.deadline;
    this.newer = record;
    this.older = record.older;
  }
}

interface Pin {
  readonly revision: number;
  count: number;
  versions: Version[];
}

/** What a look-up finds. */
export interface Found {
  readonly value: string;
  readonly revision: number;
  readonly deadline: number;
}

/** Most keys of one `Map` in V8 that stay possible whatever was deleted in between (half of 2^24). */
const MAX_KEYS = 8_388_608;

/** The logical size of a record in bytes (ARCHITECTURE.md, "Logical size, and the memory limit"). */
export function logicalSize(keyLength: number, valueLength: number): number {
  const bytes = 40 + keyLength + valueLength;
  if (bytes <= 512) return ((bytes + 15) & ~15) + 16;
  if (bytes <= 32_768) {
    const step = 1 << (28 - Math.clz32(bytes - 1));
    return ((bytes + step - 1) & -step) + 16;
  }
  return Math.ceil(bytes / 65_536) * 65_536 + 16;
}

export class Table {
  private readonly map = new Map<string, TableRecord>();
  private readonly pins: Pin[] = [];
  /** Versions made since the last `publish`: the published revision sees them. */
  private displaced: Version[] = [];
  private versions = 0;
  /** Bytes of keys and values of the newest records. */
  private textBytes = 0;
  /** On: what is overwritten is kept for who looks at an older revision. */
  retain = false;
  /** The revision of the last write, and the one that readers see. */
  revision = 0;
  published = 0;
  /** Log time of the newest entry, and the one at which published state is read. */
  time = 0;
  publishedTime = 0;
  /** Keys in the map, those that have expired too; and published ones that are live. */
  keys = 0;
  publishedKeys = 0;
  /** Logical bytes and state hash of everything live, system records included. */
  logicalBytes = 0;
  readonly hash = new HashSum();

  private readonly expiry: ExpiryIndex;
  /** Its records are the system's. */
  private readonly system: boolean;

  /** With `users`, whose index of deadlines it shares: the table of the system's records. */
  constructor(users?: Table) {
    this.system = users !== undefined;
    this.expiry = users?.expiry ?? new ExpiryIndex();
  }

  /** Whether `more` new keys fit into the map. */
  hasRoom(more: number): boolean {
    return this.map.size + more <= MAX_KEYS;
  }

  get pinned(): boolean {
    return this.pins.length > 0;
  }

  /** The key's record, maybe without a value. */
  record(key: string): TableRecord | undefined {
    return this.map.get(key);
  }

  /** What of a record is live now. */
  live(record: TableRecord | undefined): Found | undefined {
    if (record === undefined || record.value === undefined || hasExpired(record, this.time)) return undefined;
    return record as Found;
  }

  /** The newest state, writes that are not yet published included. */
  current(key: string): Found | undefined {
    return this.live(this.map.get(key));
  }

  /** The state at a revision that is pinned or published, and its log time (0: whether it has expired or not). */
  at(key: string, revision: number, time: number): Found | undefined {
    const record = this.map.get(key);
    return record && visible(record, revision, time);
  }

  /** Keys that are live now, writes that are not yet published included. */
  liveKeys(): number {
    return this.keys - this.expiry.expiredUsers(this.time);
  }

  /** The record with a deadline that falls due first. */
  get firstDue(): Due | undefined {
    return this.expiry.first;
  }

  /** `record` is what `record(key)` gives; `lo`, `hi`: the hash of the new state. */
  set(
    key: string,
    record: TableRecord | undefined,
    value: string,
    revision: number,
    lo: number,
    hi: number,
    deadline = 0,
  ): void {
    const keyLength = key.length;
    if (deadline !== 0) this.expiry.add({ deadline, revision, key, system: this.system });
    this.hash.add(lo, hi);
    this.logicalBytes += logicalSize(keyLength, value.length);
    this.textBytes += keyLength + value.length;
    if (record === undefined) {
      this.map.set(key, new TableRecord(value, revision, lo, hi, deadline));
      this.keys++;
      return;
    }
    const before = record.value;
    if (before === undefined) this.keys++;
    else this.forget(key, before.length, record);
    if (this.retain) this.displace(key, record);
    record.value = value;
    record.revision = revision;
    record.lo = lo;
    record.hi = hi;
    record.deadline = deadline;
  }

  /** Deletes a record that has a value. */
  remove(key: string, record: TableRecord, revision: number): void {
    this.forget(key, record.value!.length, record);
    this.keys--;
    if (this.retain) this.displace(key, record);
    if (record.older === undefined) {
      this.map.delete(key);
      return;
    }
    record.value = undefined;
    record.revision = revision;
    record.deadline = 0;
  }

  private forget(key: string, valueLength: number, record: TableRecord): void {
    const keyLength = key.length;
    const { deadline, revision } = record;
    if (deadline !== 0) this.expiry.remove({ deadline, revision, key, system: this.system });
    this.hash.subtract(record.lo, record.hi);
    this.logicalBytes -= logicalSize(keyLength, valueLength);
    this.textBytes -= keyLength + valueLength;
  }

  /** Keeps what readers see now; a state that was never published has been seen by nobody. */
  private displace(key: string, record: TableRecord): void {
    if (record.revision > this.published) return;
    const version = new Version(key, record);
    if (version.older) version.older.newer = version;
    record.older = version;
    this.displaced.push(version);
    this.versions++;
  }

  /** Lets readers see everything up to `revision`. */
  publish(): void {
    this.published = this.revision;
    this.publishedTime = this.time;
    this.publishedKeys = this.liveKeys();
    if (this.displaced.length === 0) return;
    const versions = this.displaced;
    this.displaced = [];
    this.hangOn(versions, this.pins.length - 1);
  }

  /** Forgets everything but what is published: nobody may hold a pin. */
  reset(): void {
    this.map.clear();
    this.pins.length = 0;
    this.displaced = [];
    this.versions = 0;
    this.textBytes = 0;
    this.revision = 0;
    this.time = 0;
    this.keys = 0;
    this.expiry.clear();
    this.logicalBytes = 0;
    this.hash.lo = 0;
    this.hash.hi = 0;
  }

  /** Pins the published revision, and returns it. */
  pin(): number {
    const revision = this.published;
    const last = this.pins[this.pins.length - 1];
    if (last?.revision === revision) last.count++;
    else this.pins.push({ revision, count: 1, versions: [] });
    return revision;
  }

  unpin(revision: number): void {
    const at = this.pinAt(revision);
    const pin = this.pins[at]!;
    if (--pin.count > 0) return;
    this.pins.splice(at, 1);
    this.hangOn(pin.versions, at - 1);
  }

  private pinAt(revision: number): number {
    let low = 0;
    let high = this.pins.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.pins[middle]!.revision < revision) low = middle + 1;
      else high = middle;
    }
    if (this.pins[low]?.revision !== revision) throw new Error(`table: revision ${revision} is not pinned`);
    return low;
  }

  /** Hangs versions on pin number `at` where that sees them, and drops the others. */
  private hangOn(versions: Version[], at: number): void {
    const pin = this.pins[at];
    for (const version of versions) {
      if (pin && pin.revision >= version.revision) pin.versions.push(version);
      else this.drop(version);
    }
  }

  private drop(version: Version): void {
    const { newer, older } = version;
    newer.older = older;
    if (older) older.newer = newer;
    this.versions--;
    if (older === undefined && newer instanceof TableRecord && newer.value === undefined) this.map.delete(version.key);
  }

  /** All keys in the map, deleted ones too, as they stand while others are added and removed: ask `at` for each. */
  allKeys(): IterableIterator<string> {
    return this.map.keys();
  }

  /**
   * Bytes in use, by V8's layouts (64-bit, no pointer compression): a record is 8 words, a string 2 words and its bytes
   * rounded up to a word (half a word on average), a slot of the map 3 words, a version 8 words with its place in a list.
   * The values of old versions and the index of deadlines are not counted.
   */
  usedBytes(): number {
    const perKey = 8 * 8 + 2 * (16 + 4) + 3 * 8;
    return this.textBytes + this.map.size * perKey + this.versions * 64;
  }

  /** The same with the map's table as large as it is: a power of two of slots, and a word of buckets for every two. */
  reservedBytes(): number {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(4, this.map.size)));
    return this.usedBytes() + slots * 28 - this.map.size * 24;
  }
}

function hasExpired({ deadline }: { readonly deadline: number }, time: number): boolean {
  return deadline !== 0 && deadline <= time;
}

function visible(record: TableRecord, revision: number, time: number): Found | undefined {
  let state: TableRecord | Version | undefined = record;
  while (state !== undefined && state.revision > revision) state = state.older;
  return state === undefined || state.value === undefined || hasExpired(state, time) ? undefined : (state as Found);
}
