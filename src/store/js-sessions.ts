/**
 * The records of sessions: which sequences have been answered, and what (ARCHITECTURE.md, "System records"). Where the rules come
 * from: assembly/sessions.ts.
 */
import type { SystemRecords } from './js-system.js';
import { logicalSize, type Table } from './js-table.js';
import { quote, type Texts } from './js-text.js';

const PREFIX = 's';
const KEY_BYTES = 9;
const EMPTY_BYTES = 8;
/** How long a session lives after its last write, ms of log time. */
const SESSION_MS = 3_600_000;
/** Sequences that are answered and not forgotten lie less than this above the lowest unanswered one: as many as a byte tells apart. */
const WINDOW = 256;
const TWO_32 = 4_294_967_296;
/** Bytes of a key that a message shows. */
const SHOWN = 64;
/** Bytes of an answer without what stands behind its outcome. */
const ANSWER_BYTES = 2;

const Outcome = {
  ok: 0,
  nil: 1,
  integer: 2,
  notInteger: 3,
  overflow: 4,
  outOfMemory: 5,
  conflict: 6,
  conflictLong: 7,
  fenced: 8,
} as const;

interface Answer {
  readonly sequence: number;
  readonly outcome: number;
  /** What stands behind the outcome: an integer, or the key of a conflict with its length in front if it is short. */
  readonly data: string;
}

/** The logical size of a session that has just been registered. */
export const newSessionSize = logicalSize(KEY_BYTES, EMPTY_BYTES);

/** What is to be done with a sequenced command. */
export type Verdict =
  /** Nothing: this is its reply. */
  | { readonly reply: string }
  /** It is carried out; its note will take so many logical bytes. */
  | { readonly growth: number };

export class Sessions {
  private readonly system: SystemRecords;
  private readonly users: Table;
  private readonly texts: Texts;
  /** Of the sequenced command under way. */
  private number = 0;
  private sequence = 0;
  private lowest = 0;

  constructor(system: SystemRecords, users: Table, texts: Texts) {
    this.system = system;
    this.users = users;
    this.texts = texts;
  }

  /** A new session; its number is the revision that was taken for it. */
  register(): number {
    const number = this.users.revision;
    this.write(number, u64(1));
    return number;
  }

  /** Whether there is such a session. */
  has(number: number): boolean {
    return this.value(number) !== undefined;
  }

  /** The session's time begins anew, at the revision that was taken for it. */
  renew(number: number): void {
    this.write(number, this.value(number)!);
  }

  unknown(number: number): string {
    return this.texts.number('sessionUnknown', number);
  }

  private value(number: number): string | undefined {
    return this.system.current(PREFIX + u64(number))?.value;
  }

  private write(number: number, value: string): void {
    const deadline = Math.min(this.users.time + SESSION_MS, Number.MAX_SAFE_INTEGER);
    this.system.write(PREFIX + u64(number), value, deadline);
  }

  /**
   * Judges the command of a sequence, whose answer will have at most `mostData` bytes behind its outcome. `from`: the lowest
   * sequence that is unanswered, 0: not said.
   */
  judge(number: number, sequence: number, from: number, mostData: number): Verdict {
    const { texts } = this;
    const value = this.value(number);
    if (value === undefined) return { reply: this.unknown(number) };
    const lowest = Math.max(readU64(value, 0), from);
    if (sequence < lowest) return { reply: texts.number('sessionAnswered', sequence) };
    if (sequence - lowest >= WINDOW) return { reply: texts.number('sessionWindow', sequence) };
    const answers = answersIn(value);
    const answer = answers.find((one) => one.sequence === sequence);
    if (answer !== undefined) return { reply: this.line(answer) };
    let bytes = EMPTY_BYTES + ANSWER_BYTES + mostData;
    for (const { sequence: other, data } of answers) if (other >= lowest) bytes += ANSWER_BYTES + data.length;
    this.number = number;
    this.sequence = sequence;
    this.lowest = lowest;
    return { growth: logicalSize(KEY_BYTES, bytes) - logicalSize(KEY_BYTES, value.length) };
  }

  /** The command that was judged last is done, with that reply; its note is written at the revision that was taken for it. `key`: of a conflict. */
  note(reply: string, key: string | undefined): void {
    const { sequence } = this;
    const lowest = this.lowest;
    const answers = answersIn(this.value(this.number)!).filter((one) => one.sequence >= lowest);
    const place = answers.findIndex((one) => one.sequence > sequence);
    answers.splice(place < 0 ? answers.length : place, 0, { sequence, ...this.outcomeOf(reply, key) });
    let value = u64(lowest);
    for (const answer of answers) {
      value += String.fromCharCode(answer.sequence - lowest, answer.outcome) + answer.data;
    }
    this.write(this.number, value);
  }

  private outcomeOf(reply: string, key: string | undefined): { readonly outcome: number; readonly data: string } {
    const { fixed } = this.texts;
    if (key !== undefined) {
      if (key.length > SHOWN) return { outcome: Outcome.conflictLong, data: key.slice(0, SHOWN) };
      return { outcome: Outcome.conflict, data: String.fromCharCode(key.length) + key };
    }
    const integer = /^\(integer\) (.*)$/.exec(reply);
    if (integer !== null) return { outcome: Outcome.integer, data: i64(BigInt(integer[1]!)) };
    const plain: Readonly<Record<string, number>> = {
      [fixed.ok]: Outcome.ok,
      [fixed.nil]: Outcome.nil,
      [fixed.notInteger]: Outcome.notInteger,
      [fixed.overflow]: Outcome.overflow,
      [fixed.outOfMemory]: Outcome.outOfMemory,
      [fixed.fenced]: Outcome.fenced,
    };
    const outcome = plain[reply];
    if (outcome === undefined) throw new Error(`store: ${quote(reply)} is no reply of a write`);
    return { outcome, data: '' };
  }

  private line({ outcome, data }: Answer): string {
    const { fixed } = this.texts;
    switch (outcome) {
      case Outcome.ok:
        return fixed.ok;
      case Outcome.nil:
        return fixed.nil;
      case Outcome.integer:
        return `(integer) ${Buffer.from(data, 'latin1').readBigInt64LE()}`;
      case Outcome.notInteger:
        return fixed.notInteger;
      case Outcome.overflow:
        return fixed.overflow;
      case Outcome.outOfMemory:
        return fixed.outOfMemory;
      case Outcome.conflict:
        return this.texts.word('conflict', data.slice(1));
      case Outcome.conflictLong:
        // One byte more than is shown, for the message to say that there were more.
        return this.texts.word('conflict', `${data} `);
      default:
        return fixed.fenced;
    }
  }
}

/** Most bytes behind the outcome of a COMMIT's answer, and of one that may be an integer. */
export const MOST_COMMIT_DATA = 1 + SHOWN;
export const INTEGER_DATA = 8;

/** Whether a system record's key is that of a session. */
export function isSessionKey(key: string): boolean {
  return key.length === KEY_BYTES && key[0] === PREFIX;
}

/** Whether a session's key and value from a snapshot are what this version writes. */
export function isGoodSession(key: string, value: string): boolean {
  if (value.length < EMPTY_BYTES || !isNumber(readU64(key, 1)) || !isNumber(readU64(value, 0))) return false;
  let least = 0;
  for (let at = EMPTY_BYTES; at < value.length; ) {
    if (value.length - at < ANSWER_BYTES) return false;
    const above = value.charCodeAt(at);
    const outcome = value.charCodeAt(at + 1);
    if (above < least || outcome > Outcome.fenced) return false;
    at += ANSWER_BYTES;
    if (outcome === Outcome.conflict && !(value.charCodeAt(at) <= SHOWN)) return false;
    at += dataBytes(value, at, outcome);
    if (at > value.length) return false;
    least = above + 1;
  }
  return true;
}

/** Numbers of sessions and sequences. */
export function isNumber(number: number): boolean {
  return number >= 1 && number <= Number.MAX_SAFE_INTEGER;
}

function dataBytes(value: string, at: number, outcome: number): number {
  if (outcome === Outcome.integer) return INTEGER_DATA;
  if (outcome === Outcome.conflict) return 1 + value.charCodeAt(at);
  return outcome === Outcome.conflictLong ? SHOWN : 0;
}

function answersIn(value: string): Answer[] {
  const lowest = readU64(value, 0);
  const answers: Answer[] = [];
  for (let at = EMPTY_BYTES; at < value.length; ) {
    const outcome = value.charCodeAt(at + 1);
    const end = at + ANSWER_BYTES + dataBytes(value, at + ANSWER_BYTES, outcome);
    answers.push({ sequence: lowest + value.charCodeAt(at), outcome, data: value.slice(at + ANSWER_BYTES, end) });
    at = end;
  }
  return answers;
}

function i64(value: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes.toString('latin1');
}

function u64(value: number): string {
  return i64(BigInt(value));
}

function readU64(text: string, at: number): number {
  const bytes = Buffer.from(text.slice(at, at + 8), 'latin1');
  return bytes.readUInt32LE(4) * TWO_32 + bytes.readUInt32LE(0);
}
