/**
 * A transaction: what it has written, and the revision of each key that it has depended on.
 *
 * Every command is worked out first and noted only if the transaction stays within its limit with it: it is refused as a
 * whole or taken as a whole.
 */
import type { Command } from '../protocol/commands.js';
import { allocate, pad4 } from './js-bytes.js';
import { HEAD, OpFlag, ttlBytes } from './js-operations.js';
import { type SetOptions, setOptions } from './js-options.js';
import { timeLeft, valueList } from './js-reads.js';
import type { Found, Table } from './js-table.js';
import { parseInteger, quote, type Texts } from './js-text.js';
import type { StoreLimits } from './store.js';

const OK = 'OK';
const NIL = '(nil)';

/** How a write gets its deadline: `ms` to live from COMMIT on, or the deadline `ms` of the record it replaces. */
export interface Expiry {
  readonly keeps: boolean;
  readonly ms: number;
}

interface Value {
  readonly value: string;
  readonly expiry: Expiry | undefined;
}

/** A value, or undefined for a key that is to be deleted. */
type Write = Value | undefined;

export function expiryFlag(expiry: Expiry | undefined): number {
  return expiry === undefined ? 0 : expiry.keeps ? OpFlag.keep : OpFlag.ttl;
}

export class Transaction {
  /** The pinned revision. */
  readonly revision: number;
  /** Its log time. */
  readonly time: number;
  /** In the order in which the transaction first depended on each key: the revision it saw (0: absent). */
  readonly checks = new Map<string, number>();
  /** In the order of the first write to each key. */
  readonly writes = new Map<string, Write>();
  /** Bytes of the body of its COMMIT. */
  size = 0;
  /** The monotonic clock at its last command. */
  lastMs: number;
  /** Rolled back for its idleness; its pin is gone. */
  expired = false;

  constructor(revision: number, time: number, nowMs: number) {
    this.revision = revision;
    this.time = time;
    this.lastMs = nowMs;
  }
}

/** What a command would do. */
interface Plan {
  readonly line: string;
  readonly writes?: ReadonlyMap<string, Write>;
}

export class TransactionRunner {
  private readonly table: Table;
  private readonly texts: Texts;
  private readonly limits: Pick<StoreLimits, 'maxTransaction' | 'maxReply'>;

  constructor(table: Table, texts: Texts, limits: Pick<StoreLimits, 'maxTransaction' | 'maxReply'>) {
    this.table = table;
    this.texts = texts;
    this.limits = limits;
  }

  /** Carries out GET, TTL, PTTL, MGET, EXISTS, SET, PERSIST, DEL, INCR or CAS, whose arguments are in order, and returns its reply. */
  run(transaction: Transaction, command: Command, words: readonly string[]): string {
    const checks = this.newChecks(transaction, dependsOn(command, words));
    const plan = this.plan(transaction, command, words);
    let size = transaction.size;
    for (const key of checks.keys()) size += HEAD + pad4(key.length);
    for (const [key, value] of plan.writes ?? []) {
      size += writeSize(key, value);
      if (transaction.writes.has(key)) size -= writeSize(key, transaction.writes.get(key));
    }
    if (size > this.limits.maxTransaction) return this.texts.fixed.transactionTooLarge;
    for (const [key, revision] of checks) transaction.checks.set(compact(key), revision);
    for (const [key, value] of plan.writes ?? []) {
      transaction.writes.set(compact(key), value && { value: compact(value.value), expiry: value.expiry });
    }
    transaction.size = size;
    return plan.line;
  }

  private newChecks(transaction: Transaction, keys: readonly string[]): ReadonlyMap<string, number> {
    const checks = new Map<string, number>();
    for (const key of keys) {
      if (transaction.writes.has(key) || transaction.checks.has(key)) continue;
      checks.set(key, this.seen(transaction, key)?.revision ?? 0);
    }
    return checks;
  }

  /** The record of a key at BEGIN. */
  private seen(transaction: Transaction, key: string): Found | undefined {
    return this.table.at(key, transaction.revision, transaction.time);
  }

  /** A key as the transaction sees it. */
  private state(transaction: Transaction, key: string): Write {
    if (transaction.writes.has(key)) return transaction.writes.get(key);
    const found = this.seen(transaction, key);
    if (found === undefined) return undefined;
    const { value, deadline } = found;
    return { value, expiry: deadline === 0 ? undefined : { keeps: true, ms: deadline } };
  }

  /** The value of a key as the transaction sees it. */
  private view(transaction: Transaction, key: string): string | undefined {
    return this.state(transaction, key)?.value;
  }

  private plan(transaction: Transaction, command: Command, words: readonly string[]): Plan {
    const key = words[1]!;
    const keys = words.slice(1);
    switch (command.name) {
      case 'GET':
        return { line: this.planGet(transaction, key) };
      case 'MGET':
        return { line: valueList(keys, (k) => this.view(transaction, k), this.limits.maxReply) };
      case 'EXISTS':
        return { line: `(integer) ${keys.filter((k) => this.view(transaction, k) !== undefined).length}` };
      case 'SET':
        return this.planSet(transaction, key, words[2]!, setOptions(words));
      case 'TTL':
      case 'PTTL':
        return { line: this.planTtl(transaction, key, command.name === 'PTTL') };
      case 'PERSIST':
        return this.planPersist(transaction, key);
      case 'DEL':
        return this.planDel(transaction, keys);
      case 'INCR':
        return this.planIncr(transaction, key, words[2]);
      case 'CAS':
        return this.planCas(transaction, key, words[2]!, words[3]!);
      default:
        throw new Error(`transaction: ${command.name} is not carried out here`);
    }
  }

  private planGet(transaction: Transaction, key: string): string {
    const value = this.view(transaction, key);
    return value === undefined ? NIL : quote(value);
  }

  private planSet(transaction: Transaction, key: string, value: string, options: SetOptions): Plan {
    const { condition, ttlMs } = options;
    if (condition !== 0) {
      const exists = this.view(transaction, key) !== undefined;
      if (exists !== (condition === OpFlag.xx)) return { line: NIL };
    }
    const expiry = ttlMs === 0 ? undefined : { keeps: false, ms: ttlMs };
    return { line: OK, writes: new Map([[key, { value, expiry }]]) };
  }

  /** Of an own write from COMMIT on, else as of BEGIN. */
  private planTtl(transaction: Transaction, key: string, inMs: boolean): string {
    const state = this.state(transaction, key);
    if (state === undefined) return timeLeft(undefined, 0, inMs);
    const { expiry } = state;
    return timeLeft(expiry?.ms ?? 0, expiry?.keeps ? transaction.time : 0, inMs);
  }

  private planPersist(transaction: Transaction, key: string): Plan {
    const state = this.state(transaction, key);
    if (state?.expiry === undefined) return { line: '(integer) 0' };
    return { line: '(integer) 1', writes: new Map([[key, { value: state.value, expiry: undefined }]]) };
  }

  private planDel(transaction: Transaction, keys: readonly string[]): Plan {
    const writes = new Map<string, Write>();
    for (const key of keys) {
      if (!writes.has(key) && this.view(transaction, key) !== undefined) writes.set(key, undefined);
    }
    return { line: `(integer) ${writes.size}`, writes };
  }

  private planIncr(transaction: Transaction, key: string, by: string | undefined): Plan {
    const state = this.state(transaction, key);
    const current = parseInteger(state?.value ?? '0');
    if (current === undefined) return { line: this.texts.fixed.notInteger };
    const sum = current + BigInt(by ?? '1');
    if (sum !== BigInt.asIntN(64, sum)) return { line: this.texts.fixed.overflow };
    return { line: `(integer) ${sum}`, writes: new Map([[key, { value: String(sum), expiry: state?.expiry }]]) };
  }

  private planCas(transaction: Transaction, key: string, expected: string, value: string): Plan {
    const state = this.state(transaction, key);
    if (state?.value !== expected) return { line: NIL };
    return { line: OK, writes: new Map([[key, { value, expiry: state.expiry }]]) };
  }
}

/** The keys on whose state the reply or the effect of the command depends. */
function dependsOn(command: Command, words: readonly string[]): readonly string[] {
  if (command.name === 'SET') return setOptions(words).condition === 0 ? [] : [words[1]!];
  if (command.name === 'CAS' || command.name === 'INCR') return [words[1]!];
  return words.slice(1);
}

function writeSize(key: string, write: Write): number {
  return HEAD + pad4(key.length + (write?.value.length ?? 0)) + ttlBytes(expiryFlag(write?.expiry));
}

const KEPT_BYTES = 65_536;
const scratch = allocate(KEPT_BYTES);

/** The same bytes in a string of their own: a slice of the input would keep all of that in memory. */
function compact(text: string): string {
  const buffer = text.length <= KEPT_BYTES ? scratch : allocate(text.length);
  return buffer.latin1Slice(0, buffer.latin1Write(text, 0));
}
