/**
 * Carries out the operations of an entry, well-formed as they are (js-validate.ts), on the table. It can stop between
 * any two operations, also inside a COMMIT or a DEL of many keys, and go on later.
 *
 * A COMMIT goes through its body three times: its checks, then what its operations add to the logical bytes, then the
 * operations. Nothing is changed before the third.
 */
import { EntryView } from './js-bytes.js';
import { StateHasher } from './js-hash.js';
import { INTEGER_DATA, MOST_COMMIT_DATA, newSessionSize, type Sessions } from './js-sessions.js';
import { type Found, logicalSize, type Table, type TableRecord } from './js-table.js';
import { parseInteger, quote, type Texts } from './js-text.js';

/** Codes of operations. */
export const Op = {
  set: 1,
  del: 2,
  incr: 3,
  cas: 4,
  commit: 5,
  persist: 6,
  session: 7,
  seq: 8,
  fence: 9,
  get: 16,
} as const;
/** `ttl`: a SET's time to live stands behind it. `keep`: it keeps the deadline of the record that it replaces. */
export const OpFlag = { nx: 1, xx: 2, more: 4, ttl: 8, keep: 16 } as const;
/** Bytes of a time to live: u64, ms. */
export const TTL_BYTES = 8;
export const MAX_TTL_MS = 10_000_000_000_000;
export const MAX_PERSISTS = 64;
/** Most SESSIONs and SEQs of an entry. */
export const MAX_SESSIONS = 1_024;
/** Bytes of an operation's head, and of a check's. */
export const HEAD = 12;

/** Who hears of the commands, one after the other. */
export interface CommandSink {
  /** The next command is about to begin. */
  before(): void;
  /** It is a SESSION, and this is the number of the session that its connection has from now on. */
  session(number: number): void;
  /** Its reply. */
  reply(line: string): void;
}

export const nobody: CommandSink = { before() {}, session() {}, reply() {} };

const OK = 'OK';
const NIL = '(nil)';
const TWO_32 = 4_294_967_296;
/** An operation is a unit of work, and one more for every so many bytes. */
const BYTES_A_UNIT_SHIFT = 10;
/** Decimal digits that surely fit into a double without loss, the sum of two such included. */
const SAFE_DIGITS = 15;

const CommitPhase = { none: 0, check: 1, judge: 2, write: 3 } as const;
type CommitPhase = (typeof CommitPhase)[keyof typeof CommitPhase];

export class Operations {
  readonly view = new EntryView();
  /** The replicated limit of logical bytes, as of the entry being applied; 0: none. */
  limitBytes = 0;
  /** Keys checked for conflicts, and commands carried out. */
  checked = 0;
  commands = 0;
  private readonly table: Table;
  private readonly texts: Texts;
  private readonly sessions: Sessions;
  private readonly hasher = new StateHasher();
  /** Key and value next to each other, for what does not stand so in the entry. */
  private readonly built = new EntryView();
  private scratch = new Uint8Array(4_096);
  private sink: CommandSink = nobody;
  private at = 0;
  private end = 0;
  /** Of the DEL under way: keys deleted so far (-1: none under way), and their revision. */
  private deleted = -1;
  private delRevision = 0;
  private phase: CommitPhase = CommitPhase.none;
  private bodyEnd = 0;
  private operationsAt = 0;
  private checks = 0;
  private growth = 0;
  private commitRevision = 0;
  /** The command under way has a sequence, and its outcome is to be noted; logical bytes that this will take. */
  private sequenced = false;
  private notedBytes = 0;

  constructor(table: Table, texts: Texts, sessions: Sessions) {
    this.table = table;
    this.texts = texts;
    this.sessions = sessions;
    this.built.load(this.scratch);
  }

  /** Begins with the operations between two offsets of `view`. */
  start(from: number, end: number, sink: CommandSink): void {
    this.at = from;
    this.end = end;
    this.sink = sink;
    this.deleted = -1;
    this.phase = CommitPhase.none;
    this.sequenced = false;
    this.notedBytes = 0;
  }

  /** Does about `budget` units of work; false: call again. */
  step(budget: number): boolean {
    const { words } = this.view;
    let left = budget;
    while (this.at < this.end || this.phase !== CommitPhase.none) {
      if (left <= 0) return false;
      const before = this.at;
      if (this.phase !== CommitPhase.none) this.commitStep();
      else this.operation(words[before >>> 2]!);
      left -= this.at > before ? unitsOf(this.at - before) : 1;
    }
    return true;
  }

  private operation(head: number): void {
    const { at } = this;
    const { words } = this.view;
    const code = head & 0xff;
    const flags = (head >>> 8) & 0xff;
    const keyLength = words[(at >>> 2) + 1]!;
    const valueLength = words[(at >>> 2) + 2]!;
    if (this.deleted < 0) this.sink.before();
    if (code === Op.commit) {
      this.beginCommit(keyLength, valueLength);
      return;
    }
    this.at = at + HEAD + ((keyLength + valueLength + 3) & ~3) + ttlBytes(flags);
    if (code === Op.del) {
      this.del(at, keyLength, flags);
      return;
    }
    if (code === Op.seq) {
      this.sequence(at + HEAD);
      return;
    }
    if (code === Op.session) {
      this.reply(keyLength === 0 ? this.register() : this.resume(readU64(this.view, at + HEAD)));
      return;
    }
    if (code === Op.fence) {
      this.reply(this.texts.fixed.fenced);
      return;
    }
    this.reply(this.single(code, flags, at, keyLength, valueLength));
  }

  private single(code: number, flags: number, at: number, keyLength: number, valueLength: number): string {
    const keyAt = at + HEAD;
    const key = this.view.bytes.latin1Slice(keyAt, keyAt + keyLength);
    const record = this.table.record(key);
    const live = this.table.live(record);
    if (code === Op.set) {
      const condition = flags & (OpFlag.nx | OpFlag.xx);
      if (condition !== 0 && (condition === OpFlag.nx) === (live !== undefined)) return NIL;
      return this.set(key, record, keyAt, valueLength, flags);
    }
    if (code === Op.get) return live === undefined ? NIL : quote(live.value);
    if (code === Op.incr) return this.incr(key, record, live, keyAt + keyLength);
    if (code === Op.persist) return this.persist(key, record, live);
    return live === undefined ? NIL : this.cas(key, record, live, keyAt + keyLength, valueLength);
  }

  private register(): string {
    if (!this.fits(newSessionSize)) return this.texts.fixed.outOfMemory;
    this.table.revision++;
    const number = this.sessions.register();
    this.sink.session(number);
    return `(integer) ${number}`;
  }

  private resume(number: number): string {
    if (!this.sessions.has(number)) return this.sessions.unknown(number);
    this.table.revision++;
    this.sessions.renew(number);
    this.sink.session(number);
    return OK;
  }

  /** A SEQ, with its numbers at `at`: is the command behind it to be carried out? If not, it is answered and passed over. */
  private sequence(at: number): void {
    const { view } = this;
    const code = view.words[this.at >>> 2]! & 0xff;
    const [number, sequence, from] = [readU64(view, at), readU64(view, at + 8), readU64(view, at + 16)];
    const mostData = code === Op.commit ? MOST_COMMIT_DATA : withInteger.has(code) ? INTEGER_DATA : 0;
    const verdict = this.sessions.judge(number, sequence, from, mostData);
    if ('reply' in verdict) {
      this.pass(verdict.reply);
    } else if (mayBeRefused(code) && !this.fits(verdict.growth)) {
      this.pass(this.texts.fixed.outOfMemory);
    } else {
      this.sequenced = true;
      this.notedBytes = mayBeRefused(code) ? Math.max(0, verdict.growth) : 0;
    }
  }

  /** Answers the command at the place and passes all its operations over. */
  private pass(line: string): void {
    const { words } = this.view;
    for (let more = true; more; ) {
      const head = words[this.at >>> 2]!;
      const flags = (head >>> 8) & 0xff;
      const isCommit = (head & 0xff) === Op.commit;
      const keyLength = isCommit ? 0 : words[(this.at >>> 2) + 1]!;
      this.at += HEAD + ((keyLength + words[(this.at >>> 2) + 2]! + 3) & ~3) + ttlBytes(flags);
      more = (flags & OpFlag.more) !== 0;
    }
    this.reply(line);
  }

  /** `key`: of a conflict. */
  private reply(line: string, key?: string): void {
    if (this.sequenced) {
      this.sequenced = false;
      this.notedBytes = 0;
      this.table.revision++;
      this.sessions.note(line, key);
    }
    this.commands++;
    this.sink.reply(line);
  }

  /** Whether a change of so many bytes is within the limit; what the note of the outcome takes counts as taken. */
  private fits(growth: number): boolean {
    if (this.limitBytes === 0 || growth <= 0) return true;
    return this.table.logicalBytes + this.notedBytes + growth <= this.limitBytes;
  }

  private set(key: string, record: TableRecord | undefined, keyAt: number, valueLength: number, flags: number): string {
    if (!this.fits(change(key, record, valueLength))) return this.texts.fixed.outOfMemory;
    this.table.revision++;
    this.write(key, record, keyAt, valueLength, this.table.revision, flags);
    return OK;
  }

  /** Writes the value that stands behind the key at `keyAt`. */
  private write(
    key: string,
    record: TableRecord | undefined,
    keyAt: number,
    valueLength: number,
    revision: number,
    flags: number,
  ): void {
    const { bytes, words } = this.view;
    const valueAt = keyAt + key.length;
    const deadline = this.deadline(record, flags, (valueAt + valueLength + 3) & ~3);
    this.hasher.hash(words, keyAt >>> 2, key.length, valueLength, 0, revision, deadline);
    const value = bytes.latin1Slice(valueAt, valueAt + valueLength);
    this.table.set(key, record, value, revision, this.hasher.lo, this.hasher.hi, deadline);
  }

  /** The deadline that a SET gives, 0: none; its time to live would stand at `ttlAt`. */
  private deadline(record: TableRecord | undefined, flags: number, ttlAt: number): number {
    const { table, view } = this;
    if ((flags & OpFlag.keep) !== 0) return table.live(record)?.deadline ?? 0;
    return (flags & OpFlag.ttl) === 0 ? 0 : Math.min(table.time + readU64(view, ttlAt), Number.MAX_SAFE_INTEGER);
  }

  /** Writes a value that does not stand behind its key in the entry. */
  private writeBuilt(key: string, record: TableRecord | undefined, value: string, deadline: number): string {
    if (!this.fits(change(key, record, value.length))) return this.texts.fixed.outOfMemory;
    const { table } = this;
    this.build(key, value);
    table.revision++;
    this.hasher.hash(this.built.words, 0, key.length, value.length, 0, table.revision, deadline);
    table.set(key, record, value, table.revision, this.hasher.lo, this.hasher.hi, deadline);
    return OK;
  }

  private build(key: string, value: string): void {
    const length = key.length + value.length;
    if (length > this.scratch.length) {
      this.scratch = new Uint8Array(2 * (length + 4));
      this.built.load(this.scratch);
    }
    this.built.bytes.latin1Write(key, 0);
    this.built.bytes.latin1Write(value, key.length);
  }

  private persist(key: string, record: TableRecord | undefined, live: Found | undefined): string {
    if (live === undefined || live.deadline === 0) return '(integer) 0';
    this.writeBuilt(key, record, live.value, 0);
    return '(integer) 1';
  }

  private incr(key: string, record: TableRecord | undefined, live: Found | undefined, byAt: number): string {
    const old = live?.value ?? '0';
    const current = parseInteger(old);
    if (current === undefined) return this.texts.fixed.notInteger;
    const sum = this.sum(old, byAt);
    if (sum === undefined) return this.texts.fixed.overflow;
    const outcome = this.writeBuilt(key, record, sum, live?.deadline ?? 0);
    return outcome === OK ? `(integer) ${sum}` : outcome;
  }

  /** The decimal sum; undefined when it does not fit into 64 bits. */
  private sum(old: string, byAt: number): string | undefined {
    const { bytes } = this.view;
    const by = bytes.readInt32LE(byAt + 4) * TWO_32 + bytes.readUInt32LE(byAt);
    if (old.length <= SAFE_DIGITS && Math.abs(by) <= Number.MAX_SAFE_INTEGER / 2) return String(Number(old) + by);
    const sum = BigInt(old) + bytes.readBigInt64LE(byAt);
    return sum === BigInt.asIntN(64, sum) ? String(sum) : undefined;
  }

  private cas(
    key: string,
    record: TableRecord | undefined,
    { value, deadline }: Found,
    bodyAt: number,
    bodyLength: number,
  ): string {
    const { bytes } = this.view;
    const expectedLength = bytes.readUInt32LE(bodyAt);
    const newAt = bodyAt + 4 + expectedLength;
    if (expectedLength !== value.length || bytes.latin1Slice(bodyAt + 4, newAt) !== value) return NIL;
    return this.writeBuilt(key, record, bytes.latin1Slice(newAt, bodyAt + bodyLength), deadline);
  }

  private del(at: number, keyLength: number, flags: number): void {
    const key = this.view.bytes.latin1Slice(at + HEAD, at + HEAD + keyLength);
    const record = this.table.record(key);
    if (this.deleted < 0) this.deleted = 0;
    if (record !== undefined && this.table.live(record) !== undefined) {
      if (this.deleted++ === 0) this.delRevision = ++this.table.revision;
      this.table.remove(key, record, this.delRevision);
    }
    if ((flags & OpFlag.more) !== 0) return;
    const { deleted } = this;
    this.deleted = -1;
    this.reply(`(integer) ${deleted}`);
  }

  private beginCommit(checks: number, bodyLength: number): void {
    this.at += HEAD;
    this.bodyEnd = this.at + bodyLength;
    this.checks = checks;
    this.growth = 0;
    this.phase = CommitPhase.check;
  }

  private endCommit(line: string, key?: string): void {
    this.at = this.bodyEnd;
    this.phase = CommitPhase.none;
    this.reply(line, key);
  }

  private commitStep(): void {
    if (this.phase === CommitPhase.check) {
      if (this.checks > 0) this.check();
      else this.nextPass(CommitPhase.judge);
    } else if (this.at < this.bodyEnd) {
      this.commitOperation();
    } else if (this.phase === CommitPhase.write) {
      this.endCommit(OK);
    } else if (this.fits(this.growth)) {
      this.commitRevision = ++this.table.revision;
      this.nextPass(CommitPhase.write);
    } else {
      this.endCommit(this.texts.fixed.outOfMemory);
    }
  }

  private nextPass(phase: CommitPhase): void {
    if (phase === CommitPhase.judge) this.operationsAt = this.at;
    this.phase = phase;
    this.at = this.operationsAt;
  }

  private check(): void {
    const { at } = this;
    const { bytes, words } = this.view;
    const keyLength = words[at >>> 2]!;
    const revision = (words[(at >>> 2) + 2]! >>> 0) * TWO_32 + (words[(at >>> 2) + 1]! >>> 0);
    const key = bytes.latin1Slice(at + HEAD, at + HEAD + keyLength);
    this.checked++;
    this.checks--;
    if ((this.table.current(key)?.revision ?? 0) !== revision) {
      this.endCommit(this.texts.word('conflict', key), key);
      return;
    }
    this.at = at + HEAD + ((keyLength + 3) & ~3);
  }

  private commitOperation(): void {
    const { at, table } = this;
    const { bytes, words } = this.view;
    const keyLength = words[(at >>> 2) + 1]!;
    const valueLength = words[(at >>> 2) + 2]!;
    const head = words[at >>> 2]!;
    const flags = (head >>> 8) & 0xff;
    const isSet = (head & 0xff) === Op.set;
    const keyAt = at + HEAD;
    const key = bytes.latin1Slice(keyAt, keyAt + keyLength);
    const record = table.record(key);
    this.at = keyAt + ((keyLength + valueLength + 3) & ~3) + ttlBytes(flags);
    const there = isSet || table.live(record) !== undefined;
    if (!there) return;
    if (this.phase === CommitPhase.judge) this.growth += change(key, record, isSet ? valueLength : -1);
    else if (isSet) this.write(key, record, keyAt, valueLength, this.commitRevision, flags);
    else table.remove(key, record!, this.commitRevision);
  }
}

/** Commands whose reply may be an integer. */
/** Whether the note of a command may be refused for want of room: not that of one which makes room, nor that of a FENCE (assembly/sessions.ts). */
function mayBeRefused(code: number): boolean {
  return code !== Op.del && code !== Op.fence;
}

const withInteger: ReadonlySet<number> = new Set([Op.del, Op.incr, Op.persist]);

/** Units of work of an operation or a check of that many bytes. */
export function unitsOf(bytes: number): number {
  return 1 + (bytes >>> BYTES_A_UNIT_SHIFT);
}

/** Bytes that stand behind an operation's key and value. */
export function ttlBytes(flags: number): number {
  return (flags & OpFlag.ttl) === 0 ? 0 : TTL_BYTES;
}

export function readU64({ words }: EntryView, at: number): number {
  return (words[at >>> 2]! >>> 0) + (words[(at >>> 2) + 1]! >>> 0) * TWO_32;
}

/** What the logical bytes change by when the key gets a value of that length (-1: is deleted). */
function change(key: string, record: TableRecord | undefined, valueLength: number): number {
  const old = record?.value;
  const before = old === undefined ? 0 : logicalSize(key.length, old.length);
  return (valueLength < 0 ? 0 : logicalSize(key.length, valueLength)) - before;
}
