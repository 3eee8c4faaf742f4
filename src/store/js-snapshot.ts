/** Snapshots of the twin: writes one out, and loads one. The seam and the rules are in snapshot.ts. */
import type { Applier } from './js-apply.js';
import { allocate, EntryView, pad4 } from './js-bytes.js';
import { StateHasher } from './js-hash.js';
import type { Found, Table } from './js-table.js';
import {
  isState,
  LARGEST_CHUNK,
  type LoadFailure,
  SnapshotEntry,
  type SnapshotState,
  SYSTEM_FLAG,
} from './snapshot.js';

const TWO_32 = 4_294_967_296;
/** Keys looked at in one call. */
const MOST_KEYS = 2_048;

interface Picked {
  readonly key: string;
  readonly found: Found;
  readonly system: boolean;
}

function entryBytes({ key, found }: Picked): number {
  return SnapshotEntry.data + pad4(key.length + found.value.length);
}

/** Goes through all that is visible at the revision that is published when it is made, which it pins until `end`. */
export class SnapshotWriter {
  private readonly users: Table;
  private readonly system: Table;
  private readonly revision: number;
  private keys: IterableIterator<string>;
  private inSystem = false;
  private done = false;
  /** Found, but not in a chunk yet. */
  private kept: Picked | undefined;

  constructor(users: Table, system: Table) {
    this.users = users;
    this.system = system;
    this.revision = users.pin();
    system.pin();
    this.keys = users.allKeys();
  }

  end(): void {
    this.users.unpin(this.revision);
    this.system.unpin(this.revision);
  }

  /** See `Snapshots.snapshotNext`. */
  next(maxBytes: number): Uint8Array | undefined {
    const most = Math.min(maxBytes, LARGEST_CHUNK);
    const picked: Picked[] = [];
    let bytes = 0;
    if (this.done && this.kept === undefined) return undefined;
    for (let looked = 0; looked < MOST_KEYS; looked++) {
      const one = this.kept ?? this.pick();
      this.kept = undefined;
      if (one === undefined) {
        if (this.done) break;
        continue;
      }
      if (bytes > 0 && bytes + entryBytes(one) > most) {
        this.kept = one;
        break;
      }
      picked.push(one);
      bytes += entryBytes(one);
    }
    return encode(picked, bytes);
  }

  /** The next key's state; undefined: it has none at this revision, or that was all. */
  private pick(): Picked | undefined {
    const next = this.keys.next();
    if (next.done) {
      if (this.inSystem) this.done = true;
      else this.keys = this.system.allKeys();
      this.inSystem = true;
      return undefined;
    }
    const found = (this.inSystem ? this.system : this.users).at(next.value, this.revision, 0);
    if (found === undefined) return undefined;
    // A copy: the newest record is changed in place.
    const { value, revision, deadline } = found;
    return { key: next.value, found: { value, revision, deadline }, system: this.inSystem };
  }
}

function writeU64(chunk: Buffer, value: number, at: number): void {
  chunk.writeUInt32LE(value % TWO_32, at);
  chunk.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}

function encode(picked: readonly Picked[], bytes: number): Uint8Array {
  const chunk = allocate(bytes);
  let at = 0;
  for (const one of picked) {
    const { key, found, system } = one;
    chunk.writeUInt32LE(key.length + (system ? SYSTEM_FLAG : 0), at + SnapshotEntry.keyLength);
    chunk.writeUInt32LE(found.value.length, at + SnapshotEntry.valueLength);
    writeU64(chunk, found.revision, at + SnapshotEntry.revision);
    writeU64(chunk, found.deadline, at + SnapshotEntry.deadline);
    chunk.latin1Write(key, at + SnapshotEntry.data);
    chunk.latin1Write(found.value, at + SnapshotEntry.data + key.length);
    const end = at + SnapshotEntry.data + key.length + found.value.length;
    at += entryBytes(one);
    chunk.fill(0, end, at);
  }
  return new Uint8Array(chunk.buffer);
}

/** Fills an emptied state with the records of chunks. */
export class SnapshotLoader {
  private readonly applier: Applier;
  private readonly users: Table;
  private readonly hasRoom: (keys: number, bytes: number) => boolean;
  private readonly view = new EntryView();
  private readonly hasher = new StateHasher();
  private highest = 0;

  constructor(applier: Applier, users: Table, hasRoom: (keys: number, bytes: number) => boolean) {
    this.applier = applier;
    this.users = users;
    this.hasRoom = hasRoom;
  }

  /** Takes all entries of a chunk; undefined when all went well. */
  take(chunk: Uint8Array): LoadFailure | undefined {
    if (!this.hasRoom(chunk.length / SnapshotEntry.data, chunk.length)) return 'no-memory';
    let at = this.view.load(chunk);
    const end = at + chunk.length;
    while (at < end) {
      const bytes = end - at < SnapshotEntry.data ? 0 : this.takeEntry(at, end - at);
      if (bytes === 0) return 'chunk';
      at += bytes;
    }
    return undefined;
  }

  /** Takes the entry at `at`, of which at most `room` bytes are there; how many it has, 0 when something is wrong. */
  private takeEntry(at: number, room: number): number {
    const { words, bytes } = this.view;
    const word = at >>> 2;
    const keyWord = words[word]! >>> 0;
    const system = keyWord >= SYSTEM_FLAG;
    const keyLength = keyWord - (system ? SYSTEM_FLAG : 0);
    const valueLength = words[word + 1]! >>> 0;
    const data = at + SnapshotEntry.data;
    // Not `pad4`: the lengths may be anything.
    const size = SnapshotEntry.data + 4 * Math.ceil((keyLength + valueLength) / 4);
    if (size > room) return 0;
    const revision = (words[word + 3]! >>> 0) * TWO_32 + (words[word + 2]! >>> 0);
    const deadline = (words[word + 5]! >>> 0) * TWO_32 + (words[word + 4]! >>> 0);
    if (revision === 0 || !Number.isSafeInteger(deadline)) return 0;
    const key = bytes.latin1Slice(data, data + keyLength);
    const value = bytes.latin1Slice(data + keyLength, data + keyLength + valueLength);
    this.hasher.hash(words, data >>> 2, keyLength, valueLength, system ? 1 : 0, revision, deadline);
    if (revision > this.highest) this.highest = revision;
    const found = { value, revision, deadline };
    const { applier, hasher } = this;
    const taken = system ? applier.loadSystem(key, found, hasher) : applier.loadUser(key, found, hasher);
    return taken ? size : 0;
  }

  /** Compares what was loaded with the state, and publishes it if they are the same. */
  end(state: SnapshotState): 'ok' | LoadFailure {
    if (!isState(state)) return 'state';
    const users = this.users;
    if (this.highest > state.revision) return 'revision';
    // Which keys count is said by the log time.
    users.time = state.logTimeMs;
    if (users.liveKeys() !== state.keys) return 'keys';
    if (users.logicalBytes !== state.logicalBytes) return 'logical-bytes';
    if (users.hash.toString() !== state.stateHash) return 'state-hash';
    if (this.applier.loadedLimit !== state.limitBytes) return 'limit';
    this.applier.moveTo(state);
    return 'ok';
  }
}
