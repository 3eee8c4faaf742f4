/** Whether the operations of a data entry are well-formed: ARCHITECTURE.md, "What makes an entry malformed". */
import type { EntryView } from './js-bytes.js';
import {
  HEAD,
  MAX_PERSISTS,
  MAX_SESSIONS,
  MAX_TTL_MS,
  Op,
  OpFlag,
  readU64,
  ttlBytes,
  unitsOf,
} from './js-operations.js';
import { isNumber } from './js-sessions.js';

export class Validation {
  private readonly view: EntryView;
  private at = 0;
  private end = 0;
  private expected = 0;
  private commands = 0;
  /** What carrying out the operations will cost at most, in the units of `Operations.step`. */
  units = 0;
  /** Where the body of the COMMIT ends that we are in; 0 outside. */
  private bodyEnd = 0;
  /** Checks of that COMMIT that are still to come. */
  private checks = 0;
  /** The next operation must be a DEL of the same command. */
  private more = false;
  private persists = 0;
  private sessions = 0;
  /** The next operation is the command of a SEQ. */
  private sequenced = false;
  /** GET is allowed in `Store.run`. */
  private reads = false;

  constructor(view: EntryView) {
    this.view = view;
  }

  /** Begins with the operations between two offsets, which must be `commands` commands (-1: any number). */
  start(from: number, end: number, commands: number, reads = false): void {
    this.at = from;
    this.end = end;
    this.expected = commands;
    this.commands = 0;
    this.units = 0;
    this.bodyEnd = 0;
    this.checks = 0;
    this.more = false;
    this.persists = 0;
    this.sessions = 0;
    this.sequenced = false;
    this.reads = reads;
  }

  /** Looks at up to `budget` operations and checks; undefined: call again. */
  step(budget: number): boolean | undefined {
    for (let left = budget; this.at < this.end; left--) {
      if (left === 0) return undefined;
      const before = this.at;
      if (!(this.checks > 0 ? this.check() : this.operation())) return false;
      const passes = this.bodyEnd === 0 ? 1 : 2;
      this.units += passes * unitsOf(this.at - before);
      if (this.at === this.bodyEnd && this.checks === 0) this.bodyEnd = 0;
    }
    return this.checks === 0 && !this.more && !this.sequenced && (this.expected < 0 || this.commands === this.expected);
  }

  private check(): boolean {
    const { view, at, bodyEnd } = this;
    if (bodyEnd - at < HEAD) return false;
    const length = HEAD + padded(view.words[at >>> 2]! >>> 0);
    if (length > bodyEnd - at) return false;
    this.at += length;
    this.checks--;
    return true;
  }

  private operation(): boolean {
    const { view, at } = this;
    const limit = this.bodyEnd === 0 ? this.end : this.bodyEnd;
    if (limit - at < HEAD) return false;
    const head = view.words[at >>> 2]!;
    const code = head & 0xff;
    const flags = (head >>> 8) & 0xff;
    const keyLength = view.words[(at >>> 2) + 1]! >>> 0;
    const valueLength = view.words[(at >>> 2) + 2]! >>> 0;
    if (head >>> 16 !== 0 || !this.allowed(code, flags)) return false;
    this.sequenced = code === Op.seq;
    if (code === Op.commit) return this.commit(keyLength, valueLength);
    if (alone.has(code)) return this.session(code, limit, keyLength, valueLength);
    const data = HEAD + padded(keyLength + valueLength);
    const length = data + ttlBytes(flags);
    if (length > limit - at || !this.valueFits(code, keyLength, valueLength)) return false;
    if (length > data && !isTtl(readU64(view, at + data))) return false;
    if (code === Op.persist && ++this.persists > MAX_PERSISTS) return false;
    this.more = (flags & OpFlag.more) !== 0;
    if (this.bodyEnd === 0 && !this.more) this.commands++;
    this.at += length;
    return true;
  }

  private allowed(code: number, flags: number): boolean {
    if (this.bodyEnd > 0) return code === Op.set ? setFlags(flags & ~bodyFlags, flags) : flags === 0 && code === Op.del;
    if (this.more && code !== Op.del) return false;
    if (code === Op.fence) return flags === 0 && this.sequenced;
    if (code === Op.session || code === Op.seq || code === Op.get) {
      return flags === 0 && !this.sequenced && (code !== Op.get || this.reads);
    }
    if (code === Op.set) return setFlags(flags & ~(conditions | bodyFlags), flags);
    if (code === Op.del) return flags === 0 || flags === OpFlag.more;
    return flags === 0 && plainCodes.has(code);
  }

  private valueFits(code: number, keyLength: number, valueLength: number): boolean {
    if (code === Op.del || code === Op.get || code === Op.persist) return valueLength === 0;
    if (code === Op.incr) return valueLength === 8;
    if (code !== Op.cas) return true;
    if (valueLength < 4) return false;
    return this.view.bytes.readUInt32LE(this.at + HEAD + keyLength) <= valueLength - 4;
  }

  private session(code: number, limit: number, keyLength: number, valueLength: number): boolean {
    const { view } = this;
    const data = this.at + HEAD;
    const isSeq = code === Op.seq;
    const keyFits = keyLength === 8 ? code !== Op.fence : keyLength === 0 && !isSeq;
    if (!keyFits || valueLength !== (isSeq ? 16 : 0) || data + keyLength + valueLength > limit) return false;
    if (keyLength > 0 && !isNumber(readU64(view, data))) return false;
    if (isSeq && !(isNumber(readU64(view, data + 8)) && readU64(view, data + 16) <= readU64(view, data + 8)))
      return false;
    this.at = data + keyLength + valueLength;
    if (!isSeq) this.commands++;
    return code === Op.fence || ++this.sessions <= MAX_SESSIONS;
  }

  private commit(checks: number, body: number): boolean {
    this.at += HEAD;
    if ((body & 3) !== 0 || body > this.end - this.at || checks > body / HEAD) return false;
    this.commands++;
    this.checks = checks;
    this.bodyEnd = body === 0 ? 0 : this.at + body;
    return true;
  }
}

/** SESSION: no key, or a number. SEQ: the session's number; its sequence, and the lowest unanswered one, 0: not said. FENCE: nothing. */
const alone: ReadonlySet<number> = new Set([Op.session, Op.seq, Op.fence]);
const plainCodes: ReadonlySet<number> = new Set([Op.incr, Op.cas, Op.commit, Op.persist]);
const conditions = OpFlag.nx | OpFlag.xx;
const bodyFlags = OpFlag.ttl | OpFlag.keep;

/** A SET's flags: NX or XX, a time to live or a deadline kept; `others` must be 0. */
function setFlags(others: number, flags: number): boolean {
  return others === 0 && (flags & conditions) !== conditions && (flags & bodyFlags) !== bodyFlags;
}

function isTtl(ms: number): boolean {
  return ms >= 1 && ms <= MAX_TTL_MS;
}

/** `pad4` for lengths that may not fit into 32 bits. */
function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}
