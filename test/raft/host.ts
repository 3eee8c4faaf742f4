/** A host for one core: a log in memory, a disk that completes writes when told to, and no network. */
import { Raft } from '../../src/raft/raft.js';
import type {
  Entry,
  HardState,
  LogReader,
  Membership,
  MembershipAt,
  Message,
  RaftConfig,
  Ready,
  SnapshotOrder,
} from '../../src/raft/types.js';

/** A generator of numbers in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a test watches of a host; every hook is called at the moment that the seam prescribes. */
export interface Watcher {
  ready?(host: Host, ready: Ready): void;
  appended?(host: Host, entries: readonly Entry[]): void;
  message?(host: Host, message: Message): void;
  read?(host: Host, id: number, index: number): void;
  /** The snapshot is durable and replaces what `host` has in its log; the core does not know yet. */
  installed?(host: Host, snapshot: Snapshot): void;
}

export type HostOptions = Partial<Omit<RaftConfig, 'log' | 'persisted' | 'changes'>> & {
  /** The founding membership, when it has nothing but voters; default 1, 2, 3. */
  readonly voters?: readonly number[];
  /** A snapshot that the log begins behind. */
  readonly snapshot?: Snapshot;
  /** Terms of the entries in the log at the start, all of them durable. */
  readonly terms?: readonly number[];
};

/** What a test's snapshot is: all that the core knows of one. */
export interface Snapshot {
  readonly index: number;
  readonly term: number;
  readonly membership: Membership;
}

const TINY = new Uint8Array(1);

/** The entry a test means by (index, term) when its bytes do not matter. */
export function entry(index: number, term: number, bytes: Uint8Array = TINY): Entry {
  return { index, term, bytes };
}

export function entriesOf(terms: readonly number[], from = 1): Entry[] {
  return terms.map((term, i) => entry(from + i, term));
}

export function members(
  voters: readonly number[],
  outgoing: readonly number[] = [],
  learners: readonly number[] = [],
): Membership {
  return { voters, outgoing, learners };
}

export class Host implements LogReader {
  readonly id: number;
  raft: Raft;
  /** What a crash leaves: what follows the snapshot in `disk` is on the disk. */
  hard: HardState;
  base: Snapshot;
  disk: Entry[];
  /** What the core's LogReader reads. */
  memory: Entry[];
  /** Those of them that set a membership. */
  #settings: Entry[] = [];
  sent: Message[] = [];
  reads: { id: number; index: number }[] = [];
  /** The snapshots that the core has asked for. */
  orders: SnapshotOrder[] = [];
  commit: number;
  /** The write in flight; one at a time, of all that was in memory and not yet on disk when it began. */
  writing: Entry[] | undefined;
  /** First entry in memory that is not on disk and not in the write. */
  #unwritten: number;
  /** The write is on disk, but its completion has not been told. */
  #landed = false;
  #outgoing = 0;
  /** Its log was found corrupt, and it has not made that good yet. */
  repairing = false;
  /** What `Ready.leaveJoint` asked for last. */
  leaveJoint: Membership | undefined;
  readonly #options: HostOptions;
  readonly #watcher: Watcher;

  constructor(options: HostOptions = {}, watcher: Watcher = {}) {
    this.#options = options;
    this.#watcher = watcher;
    this.id = options.id ?? 1;
    this.hard = options.hardState ?? { term: options.terms?.at(-1) ?? 0, vote: 0 };
    const { voters = [1, 2, 3], membership = members(voters) } = options;
    this.repairing = options.abstains ?? false;
    this.base = options.snapshot ?? { index: 0, term: 0, membership };
    this.disk = entriesOf(options.terms ?? [], this.base.index + 1);
    this.memory = [...this.disk];
    this.#unwritten = this.lastIndex() + 1;
    this.commit = options.commit ?? this.base.index;
    this.raft = this.#make(this.commit);
  }

  #make(commit: number): Raft {
    const { voters: _voters, terms: _terms, snapshot: _snapshot, ...options } = this.#options;
    return new Raft({
      heartbeatTicks: 1,
      electionTicks: [10, 19],
      random: random(this.id),
      maxAppendBytes: 1000,
      maxInflightBytes: 10_000,
      seal: (_index, _term, record) => record ?? new Uint8Array(1),
      ...options,
      id: this.id,
      abstains: this.repairing,
      membership: this.base.membership,
      changes: this.disk.flatMap(({ index, membership }): MembershipAt[] =>
        membership === undefined ? [] : [{ index, membership }],
      ),
      hardState: this.hard,
      log: this,
      persisted: this.diskEnd,
      commit,
    });
  }

  /** Index of the last entry on disk. */
  get diskEnd(): number {
    return this.base.index + this.disk.length;
  }

  /** The entry at `index` in memory. */
  at(index: number): Entry | undefined {
    return this.memory[index - 1 - this.base.index];
  }

  firstIndex(): number {
    return this.base.index + 1;
  }

  lastIndex(): number {
    return this.base.index + this.memory.length;
  }

  term(index: number): number {
    if (index === this.base.index) return this.base.term;
    const found = this.at(index);
    if (found === undefined) throw new Error(`term(${index}) of a log of ${this.firstIndex()} to ${this.lastIndex()}`);
    return found.term;
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    if (from < this.firstIndex() || to > this.lastIndex() || from > to)
      throw new Error(`entries(${from}, ${to}) of a log of ${this.firstIndex()} to ${this.lastIndex()}`);
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= to; index++) {
      bytes += this.at(index)!.bytes.length;
      if (found.length > 0 && bytes > maxBytes) break;
      found.push(this.at(index)!);
    }
    return found;
  }

  /** Carries out every Ready there is; returns the messages that left. */
  turn(): Message[] {
    const from = this.sent.length;
    for (let ready = this.raft.ready(); ready !== undefined; ready = this.raft.ready()) this.#carryOut(ready);
    return this.sent.slice(from);
  }

  #carryOut(ready: Ready): void {
    if (ready.hardState !== undefined) this.hard = ready.hardState;
    if (ready.entries.length > 0) this.#append(ready.entries);
    this.#watcher.ready?.(this, ready);
    this.commit = ready.commit;
    this.leaveJoint = ready.leaveJoint ?? this.leaveJoint;
    for (const message of ready.messages) {
      this.#watcher.message?.(this, message);
      this.sent.push(message);
    }
    this.orders.push(...ready.snapshots);
    for (const { id, index } of ready.reads) {
      this.#watcher.read?.(this, id, index);
      this.reads.push({ id, index });
    }
  }

  #append(entries: readonly Entry[]): void {
    const first = entries[0]!.index;
    if (first > this.lastIndex() + 1) throw new Error(`entry ${first} behind a log of ${this.lastIndex()}`);
    this.memory.length = first - this.firstIndex();
    for (const added of entries) this.memory.push(added);
    if (this.#settings.length > 0) this.#settings = this.#settings.filter(({ index }) => index < first);
    for (const added of entries) if (added.membership !== undefined) this.#settings.push(added);
    this.#unwritten = Math.min(this.#unwritten, first);
    this.#watcher.appended?.(this, entries);
  }

  /** Begins a write of what is not on disk, unless one is in flight. */
  write(): void {
    if (this.writing !== undefined || this.#unwritten > this.lastIndex()) return;
    this.writing = this.memory.slice(this.#unwritten - this.firstIndex());
    this.#unwritten = this.lastIndex() + 1;
    this.#landed = false;
  }

  /** The write in flight reaches the disk; nobody is told yet. */
  land(): void {
    if (this.writing === undefined || this.#landed) return;
    // What a snapshot has replaced meanwhile is in an older generation of the log.
    const written = this.writing.filter(({ index }) => index > this.base.index);
    if (written.length > 0) this.disk.length = written[0]!.index - this.firstIndex();
    for (const entry of written) this.disk.push(entry);
    this.#landed = true;
  }

  /** The completion of the write in flight is told to the core. */
  complete(): void {
    this.land();
    const last = this.writing?.at(-1);
    this.writing = undefined;
    if (last !== undefined) this.raft.persisted(last.index, last.term);
  }

  /** Writes all there is, and carries out what follows; returns the messages that left. */
  sync(): Message[] {
    const from = this.sent.length;
    this.turn();
    for (this.write(); this.writing !== undefined; this.write()) {
      this.complete();
      this.turn();
    }
    return this.sent.slice(from);
  }

  step(...messages: Message[]): Message[] {
    for (const message of messages) this.raft.step(message);
    return this.turn();
  }

  /** Lets time pass, tick by tick, and returns the messages that left. */
  tick(count = 1): Message[] {
    const from = this.sent.length;
    for (let i = 0; i < count; i++) {
      this.raft.tick();
      this.turn();
    }
    return this.sent.slice(from);
  }

  /** The membership that the log sets up to `index`. */
  membershipAt(index: number): Membership {
    return this.#settings.findLast((entry) => entry.index <= index)?.membership ?? this.base.membership;
  }

  /** Replaces what is up to `index`, applied and on disk, by a snapshot; by default all that can be. */
  compact(index = Math.min(this.commit, this.diskEnd)): void {
    if (index <= this.base.index) return;
    const base = { index, term: this.term(index), membership: this.membershipAt(index) };
    const dropped = index - this.base.index;
    this.memory.splice(0, dropped);
    this.#settings = this.#settings.filter((entry) => entry.index > index);
    this.disk.splice(0, dropped);
    this.base = base;
  }

  /** A snapshot of another's is durable here: the log begins behind it, and keeps what follows if it had that entry. */
  install(snapshot: Snapshot): void {
    this.turn();
    const { index, term, membership } = snapshot;
    if (index <= this.base.index || index <= this.commit) return;
    const keep = index <= this.lastIndex() && this.term(index) === term;
    const behind = (entry: Entry): boolean => keep && entry.index > index;
    this.memory = this.memory.filter(behind);
    // The disk may not have yet what the memory has, or have what the memory has replaced.
    const onDisk =
      keep && index <= this.diskEnd && (this.disk[index - this.firstIndex()]?.term ?? this.base.term) === term;
    this.disk = onDisk ? this.disk.filter(behind) : [];
    this.base = snapshot;
    this.#settings = this.#settings.filter(behind);
    this.#unwritten = Math.max(Math.min(this.#unwritten, this.lastIndex() + 1), this.firstIndex());
    this.#watcher.installed?.(this, snapshot);
    if (!keep) this.writing = undefined;
    this.raft.installed(index, term, membership);
    this.turn();
  }

  /** Proposes a membership; the record is of no interest. */
  change(membership: Membership): ReturnType<Raft['proposeMembership']> {
    return this.raft.proposeMembership(new Uint8Array(1), membership);
  }

  /** The messages that left since the last call. */
  outgoing(): Message[] {
    const from = this.#outgoing;
    this.#outgoing = this.sent.length;
    return this.sent.slice(from);
  }

  /** Loses what is in memory only, and starts again from the disk. */
  restart(): void {
    this.memory = [...this.disk];
    this.#settings = this.memory.filter(({ membership }) => membership !== undefined);
    this.#unwritten = this.lastIndex() + 1;
    this.writing = undefined;
    this.commit = this.base.index;
    this.raft = this.#make(this.commit);
  }

  get terms(): number[] {
    return this.memory.map(({ term }) => term);
  }
}
