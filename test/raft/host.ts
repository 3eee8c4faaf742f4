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
}

export type HostOptions = Partial<Omit<RaftConfig, 'log' | 'persisted' | 'changes'>> & {
  /** The founding membership, when it has nothing but voters; default 1, 2, 3. */
  readonly voters?: readonly number[];
  /** Terms of the entries in the log at the start, all of them durable. */
  readonly terms?: readonly number[];
};

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
  /** What a crash leaves. */
  hard: HardState;
  disk: Entry[];
  /** What the core's LogReader reads. */
  memory: Entry[];
  sent: Message[] = [];
  reads: { id: number; index: number }[] = [];
  commit: number;
  /** The write in flight; one at a time, of all that was in memory and not yet on disk when it began. */
  writing: Entry[] | undefined;
  /** First entry in memory that is not on disk and not in the write. */
  #unwritten: number;
  /** The write is on disk, but its completion has not been told. */
  #landed = false;
  #outgoing = 0;
  /** What `Ready.leaveJoint` asked for last. */
  leaveJoint: Membership | undefined;
  readonly #options: HostOptions;
  readonly #watcher: Watcher;

  constructor(options: HostOptions = {}, watcher: Watcher = {}) {
    this.#options = options;
    this.#watcher = watcher;
    this.id = options.id ?? 1;
    this.hard = options.hardState ?? { term: options.terms?.at(-1) ?? 0, vote: 0 };
    this.disk = entriesOf(options.terms ?? []);
    this.memory = [...this.disk];
    this.#unwritten = this.memory.length + 1;
    this.commit = options.commit ?? 0;
    this.raft = this.#make(this.commit);
  }

  #make(commit: number): Raft {
    const { voters = [1, 2, 3], terms: _terms, ...options } = this.#options;
    return new Raft({
      membership: members(voters),
      heartbeatTicks: 1,
      electionTicks: [10, 19],
      random: random(this.id),
      maxAppendBytes: 1000,
      maxInflightBytes: 10_000,
      seal: (_index, _term, record) => record ?? new Uint8Array(1),
      ...options,
      id: this.id,
      changes: this.disk.flatMap(({ index, membership }): MembershipAt[] =>
        membership === undefined ? [] : [{ index, membership }],
      ),
      hardState: this.hard,
      log: this,
      persisted: this.disk.length,
      commit,
    });
  }

  lastIndex(): number {
    return this.memory.length;
  }

  term(index: number): number {
    if (index === 0) return 0;
    const found = this.memory[index - 1];
    if (found === undefined) throw new Error(`term(${index}) of a log of ${this.memory.length}`);
    return found.term;
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    if (from < 1 || to > this.memory.length || from > to)
      throw new Error(`entries(${from}, ${to}) of ${this.memory.length}`);
    const found: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= to; index++) {
      bytes += this.memory[index - 1]!.bytes.length;
      if (found.length > 0 && bytes > maxBytes) break;
      found.push(this.memory[index - 1]!);
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
    for (const { id, index } of ready.reads) {
      this.#watcher.read?.(this, id, index);
      this.reads.push({ id, index });
    }
  }

  #append(entries: readonly Entry[]): void {
    const first = entries[0]!.index;
    if (first > this.memory.length + 1) throw new Error(`entry ${first} behind a log of ${this.memory.length}`);
    this.memory.length = first - 1;
    for (const added of entries) this.memory.push(added);
    this.#unwritten = Math.min(this.#unwritten, first);
    this.#watcher.appended?.(this, entries);
  }

  /** Begins a write of what is not on disk, unless one is in flight. */
  write(): void {
    if (this.writing !== undefined || this.#unwritten > this.memory.length) return;
    this.writing = this.memory.slice(this.#unwritten - 1);
    this.#unwritten = this.memory.length + 1;
    this.#landed = false;
  }

  /** The write in flight reaches the disk; nobody is told yet. */
  land(): void {
    if (this.writing === undefined || this.#landed) return;
    this.disk.length = this.writing[0]!.index - 1;
    for (const written of this.writing) this.disk.push(written);
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
    this.#unwritten = this.memory.length + 1;
    this.writing = undefined;
    this.commit = 0;
    this.raft = this.#make(0);
  }

  get terms(): number[] {
    return this.memory.map(({ term }) => term);
  }
}
