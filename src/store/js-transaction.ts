/**
 * A transaction: what it has written, and the revision of each key that it has depended on.
 *
 * Every command is worked out first and noted only if the transaction stays within its limit with it: it is refused as a
 * whole or taken as a whole.
 */
import type { Command } from '../protocol/commands.js';
import { allocate, pad4 } from './js-bytes.js';
import { HEAD } from './js-operations.js';
import { valueList } from './js-reads.js';
import type { Table } from './js-table.js';
import { parseInteger, quote, type Texts } from './js-text.js';
import type { StoreLimits } from './store.js';

const OK = 'OK';
const NIL = '(nil)';

/** A value, or undefined for a key that is to be deleted. */
type Write = string | undefined;

export class Transaction {
  /** The pinned revision. */
  readonly revision: number;
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

  constructor(revision: number, nowMs: number) {
    this.revision = revision;
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

  /** Carries out GET, MGET, EXISTS, SET, DEL, INCR or CAS, whose arguments are in order, and returns its reply. */
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
      transaction.writes.set(compact(key), value === undefined ? value : compact(value));
    }
    transaction.size = size;
    return plan.line;
  }

  private newChecks(transaction: Transaction, keys: readonly string[]): ReadonlyMap<string, number> {
    const checks = new Map<string, number>();
    for (const key of keys) {
      if (transaction.writes.has(key) || transaction.checks.has(key)) continue;
      checks.set(key, this.table.at(key, transaction.revision)?.revision ?? 0);
    }
    return checks;
  }

  /** The value of a key as the transaction sees it. */
  private view(transaction: Transaction, key: string): string | undefined {
    if (transaction.writes.has(key)) return transaction.writes.get(key);
    return this.table.at(key, transaction.revision)?.value;
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
        return this.planSet(transaction, key, words[2]!, words[3]);
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

  private planSet(transaction: Transaction, key: string, value: string, option: string | undefined): Plan {
    if (option !== undefined) {
      const exists = this.view(transaction, key) !== undefined;
      if (exists !== /^xx$/i.test(option)) return { line: NIL };
    }
    return { line: OK, writes: new Map([[key, value]]) };
  }

  private planDel(transaction: Transaction, keys: readonly string[]): Plan {
    const writes = new Map<string, Write>();
    for (const key of keys) {
      if (!writes.has(key) && this.view(transaction, key) !== undefined) writes.set(key, undefined);
    }
    return { line: `(integer) ${writes.size}`, writes };
  }

  private planIncr(transaction: Transaction, key: string, by: string | undefined): Plan {
    const current = parseInteger(this.view(transaction, key) ?? '0');
    if (current === undefined) return { line: this.texts.fixed.notInteger };
    const sum = current + BigInt(by ?? '1');
    if (sum !== BigInt.asIntN(64, sum)) return { line: this.texts.fixed.overflow };
    return { line: `(integer) ${sum}`, writes: new Map([[key, String(sum)]]) };
  }

  private planCas(transaction: Transaction, key: string, expected: string, value: string): Plan {
    if (this.view(transaction, key) !== expected) return { line: NIL };
    return { line: OK, writes: new Map([[key, value]]) };
  }
}

/** The keys on whose state the reply or the effect of the command depends. */
function dependsOn(command: Command, words: readonly string[]): readonly string[] {
  if (command.name === 'SET') return words.length > 3 ? [words[1]!] : [];
  if (command.name === 'GET' || command.name === 'INCR' || command.name === 'CAS') return [words[1]!];
  return words.slice(1);
}

function writeSize(key: string, value: Write): number {
  return HEAD + pad4(key.length + (value?.length ?? 0));
}

const KEPT_BYTES = 65_536;
const scratch = allocate(KEPT_BYTES);

/** The same bytes in a string of their own: a slice of the input would keep all of that in memory. */
function compact(text: string): string {
  const buffer = text.length <= KEPT_BYTES ? scratch : allocate(text.length);
  return buffer.latin1Slice(0, buffer.latin1Write(text, 0));
}
