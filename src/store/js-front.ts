/**
 * From bytes to commands: connections, their modes, and where each command goes. The rules are in store.ts,
 * "Connections".
 *
 * A line is taken away only when its command has found its place; a command that must wait is parsed again later. What it
 * waits for is noted in the connection, so it is not parsed again in vain.
 */
import { type Command, usageError } from '../protocol/commands.js';
import { latin1View, pad4 } from './js-bytes.js';
import { Connection, Mode, Wait } from './js-connection.js';
import { type OpenEntry, SEQUENCE_BYTES, type Sequence } from './js-encode.js';
import type { Entries } from './js-entries.js';
import { type ItemArgs, ItemKind } from './js-items.js';
import { HEAD, MAX_PERSISTS, MAX_SESSIONS, OpFlag } from './js-operations.js';
import { setOptions } from './js-options.js';
import type { Reads } from './js-reads.js';
import type { Replies } from './js-replies.js';
import { isNumber } from './js-sessions.js';
import type { Table } from './js-table.js';
import { commandNamed, helpReply, parseInteger, splitWords, type Texts } from './js-text.js';
import { Transaction, type TransactionRunner } from './js-transaction.js';
import { StoreEvent, type StoreLimits } from './store.js';

const MAX_CONNECTIONS = 65_535;
/** Bytes fed and not parsed that make `feed` parse at once. */
const STAGING_BYTES = 4_194_304;
const KEYS_LIMIT = 1_000;
const MAX_KEYS_LIMIT = 1_000_000n;
/** What an expired transaction still answers. */
const allowedWhenExpired: ReadonlySet<string> = new Set(['PING', 'HELP', 'STATUS', 'MEMBERS', 'QUIT', 'ROLLBACK']);
/** What SEQ may stand before. */
const takesSequence: ReadonlySet<string> = new Set(['SET', 'DEL', 'INCR', 'CAS', 'PERSIST', 'COMMIT']);
const controls: ReadonlySet<string> = new Set(['STATUS', 'MEMBERS', 'QUIT']);

/** The parts that a command may go to. */
export interface FrontParts {
  readonly table: Table;
  readonly texts: Texts;
  readonly limits: StoreLimits;
  readonly replies: Replies;
  readonly reads: Reads;
  readonly entries: Entries;
  readonly transactions: TransactionRunner;
}

export class Front {
  /** Lines parsed, commands encoded. */
  parsed = 0;
  encoded = 0;
  /** Transactions that are open and have not expired. */
  transactions = 0;
  private readonly parts: FrontParts;
  private readonly connections: (Connection | undefined)[] = [];
  private readonly freeSlots: number[] = [];
  /** Connections in a transaction, expired or not. */
  private readonly inTransactions = new Set<Connection>();
  private nowMs = 0;
  /** What came and is not parsed; `text` undefined: FIN. */
  private staged: { readonly connection: Connection; readonly text: string | undefined }[] = [];
  private stagedBytes = 0;
  /** Held connections whose cause is gone. */
  private readyList: Connection[] = [];
  /** Connections with a write that waits for room in the open entry. */
  private entryWaiters: Connection[] = [];
  private words: string[] = [];
  /** Of the SEQ that the line being placed began with. */
  private sequence: Sequence | undefined;

  constructor(parts: FrontParts) {
    this.parts = parts;
    parts.replies.onAnswered = (connection) => this.afterAnswer(connection);
    parts.reads.onBegin = (connection) => this.begin(connection);
  }

  open(): number {
    const slot = this.freeSlots.pop() ?? this.connections.length;
    if (slot >= MAX_CONNECTIONS) return -1;
    this.connections[slot] = new Connection(slot);
    return slot;
  }

  /** The connection of a slot; undefined when it is closed: what comes late for it is ignored. */
  private connection(slot: number): Connection | undefined {
    const connection = this.connections[slot];
    return connection?.closed ? undefined : connection;
  }

  close(slot: number): void {
    const connection = this.connection(slot);
    if (connection === undefined) throw new Error(`store: connection ${slot} is not open; it cannot be closed`);
    connection.closed = true;
    connection.dropInput();
    this.endTransaction(connection);
    if (connection.unanswered === 0) this.free(connection);
  }

  private free(connection: Connection): void {
    this.connections[connection.slot] = undefined;
    this.freeSlots.push(connection.slot);
  }

  feed(slot: number, chunk: Uint8Array): void {
    const connection = this.connection(slot);
    if (connection === undefined || chunk.length === 0) return;
    this.staged.push({ connection, text: latin1View(chunk).latin1Slice() });
    this.stagedBytes += chunk.length;
    if (this.stagedBytes >= STAGING_BYTES) this.ingest(this.nowMs);
  }

  finish(slot: number): void {
    const connection = this.connection(slot);
    if (connection !== undefined) this.staged.push({ connection, text: undefined });
  }

  pause(slot: number, on: boolean): void {
    const connection = this.connection(slot);
    if (connection === undefined) return;
    connection.paused = on;
    if (!on) this.wake(connection);
  }

  release(slot: number): void {
    const connection = this.connection(slot);
    if (connection === undefined || connection.unanswered > 0) return;
    connection.barrier = false;
    this.wake(connection);
  }

  get ready(): boolean {
    return this.readyList.length > 0 || this.staged.length > 0;
  }

  ingest(nowMs: number): void {
    this.nowMs = nowMs;
    const { readyList, staged } = this;
    this.readyList = [];
    this.staged = [];
    this.stagedBytes = 0;
    for (const connection of readyList) {
      connection.queued = false;
      this.advance(connection);
    }
    for (const { connection, text } of staged) {
      if (connection.closed || connection.ended) continue;
      if (text === undefined) connection.finished = true;
      else connection.feed(text);
      this.advance(connection);
    }
  }

  private enqueue(connection: Connection): void {
    if (connection.queued) return;
    connection.queued = true;
    this.readyList.push(connection);
  }

  /** A cause to hold the connection may be gone. */
  private wake(connection: Connection): void {
    if (connection.closed) return;
    const waiting = connection.held || (connection.finished && connection.pending > 0);
    if (waiting && !connection.blocked) this.enqueue(connection);
    else this.closeIfDone(connection);
  }

  private afterAnswer(connection: Connection): void {
    if (!connection.closed) this.wake(connection);
    else if (connection.unanswered === 0) this.free(connection);
  }

  /** The open entry is empty again. */
  entryClosed(): void {
    const waiters = this.entryWaiters;
    this.entryWaiters = [];
    for (const connection of waiters) {
      connection.wait = Wait.nothing;
      // In turn with the others, even if it is paused: until `ingest` looks at it, it may not be any more.
      if (!connection.closed) this.enqueue(connection);
    }
  }

  /** Parses what the connection may have parsed now, and holds it or lets it go on. */
  private advance(connection: Connection): void {
    if (connection.closed) return;
    const { output } = this.parts.replies;
    while (!connection.ended && !connection.blocked && !output.full && this.nextLine(connection));
    if (output.full && !connection.ended && connection.pending > 0) this.enqueue(connection);
    const held = connection.blocked && !connection.ended && connection.pending > 0;
    if (held !== connection.held) {
      connection.held = held;
      output.event(held ? StoreEvent.hold : StoreEvent.unhold, connection);
    }
    this.closeIfDone(connection);
  }

  private closeIfDone(connection: Connection): void {
    const { ended, finished, pending, unanswered, barrier, closeEmitted } = connection;
    if (closeEmitted || !(ended || (finished && pending === 0)) || unanswered > 0 || barrier) return;
    connection.closeEmitted = true;
    this.parts.replies.output.event(StoreEvent.close, connection);
  }

  /** Carries one line out; false when there is none, or it has to wait. */
  private nextLine(connection: Connection): boolean {
    const line = connection.peekLine();
    if (line === undefined) return this.noLine(connection);
    if (line.length > this.parts.limits.maxLine) return this.lineTooLong(connection);
    if (!this.place(connection, line)) return false;
    this.parsed++;
    connection.consume();
    return true;
  }

  private noLine(connection: Connection): boolean {
    // One more than the limit: the last byte may be the \r of the line's end.
    if (connection.pending > this.parts.limits.maxLine + 1) return this.lineTooLong(connection);
    if (!connection.finished || connection.pending === 0) return false;
    if (!this.constant(connection, this.parts.texts.fixed.cutLine)) return false;
    this.parsed++;
    connection.dropInput();
    return false;
  }

  private lineTooLong(connection: Connection): boolean {
    if (!this.constant(connection, this.parts.texts.fixed.lineTooLong)) return false;
    this.parsed++;
    connection.ended = true;
    connection.dropInput();
    return false;
  }

  /** False when the line has to wait: why is noted in the connection. */
  private place(connection: Connection, line: string): boolean {
    const { words } = this;
    const { texts } = this.parts;
    // Whatever it sends, a client is not idle.
    if (connection.transaction !== undefined) connection.transaction.lastMs = this.nowMs;
    const bad = splitWords(line, words);
    if (bad !== undefined) return this.constant(connection, texts.fixed[bad]);
    if (words.length === 0) return this.constant(connection, texts.fixed.emptyLine);
    const command = commandNamed(words[0]!);
    if (command === undefined) return this.constant(connection, texts.word('unknownCommand', words[0]!));
    if (!argumentsFit(command, words)) return this.constant(connection, usageError(command));
    if (command.name === 'SEQ') return this.placeSequenced(connection, command);
    const { transaction } = connection;
    if (transaction !== undefined) return this.placeInTransaction(connection, transaction, command);
    if (command.name === 'COMMIT' || command.name === 'ROLLBACK') {
      return this.constant(connection, texts.word('noTransaction', command.name));
    }
    const error = this.argumentError(command);
    if (error !== undefined) return this.constant(connection, error);
    return this.placeCommand(connection, command);
  }

  /** SEQ n [FROM m] and a command. */
  private placeSequenced(connection: Connection, seq: Command): boolean {
    const { words } = this;
    const { texts } = this.parts;
    const number = sessionNumber(words[1]!);
    if (number === 0) return this.constant(connection, texts.word('seqNumber', words[1]!));
    const says = /^from$/i.test(words[2]!);
    if (says && words.length < 5) return this.constant(connection, usageError(seq));
    const from = says ? sessionNumber(words[3]!) : 0;
    if (says && (from === 0 || from > number)) return this.constant(connection, texts.word('seqNumber', words[3]!));
    words.splice(0, says ? 4 : 2);
    this.sequence = { session: connection.session, number, from };
    const placed = this.sequencedCommand(connection);
    this.sequence = undefined;
    return placed;
  }

  private sequencedCommand(connection: Connection): boolean {
    const { words } = this;
    const { texts } = this.parts;
    const { transaction } = connection;
    const command = commandNamed(words[0]!);
    if (command === undefined) return this.constant(connection, texts.word('unknownCommand', words[0]!));
    if (!argumentsFit(command, words)) return this.constant(connection, usageError(command));
    if (!takesSequence.has(command.name)) return this.constant(connection, texts.word('seqCommand', command.name));
    const isCommit = command.name === 'COMMIT';
    if (transaction !== undefined && !isCommit) {
      return this.constant(
        connection,
        transaction.expired ? texts.fixed.transactionExpired : texts.fixed.seqInTransaction,
      );
    }
    if (connection.session === 0) return this.constant(connection, texts.fixed.noSession);
    if (isCommit) {
      const open = transaction !== undefined && !transaction.expired;
      return open ? this.commit(connection, transaction) : this.fence(connection);
    }
    const error = this.argumentError(command);
    return error === undefined ? this.write(connection, command) : this.constant(connection, error);
  }

  /** A COMMIT whose transaction is not here, or not any more: it has happened already, or it never will. */
  private fence(connection: Connection): boolean {
    if (!this.entryOpen(connection)) return false;
    this.endTransaction(connection);
    this.encode().fence();
    return this.encodedFor(connection);
  }

  /** SESSION, which nothing of its connection may be under way with: what follows needs to know what came of it. */
  private session(connection: Connection): boolean {
    if (connection.unanswered > 0) return this.untilIdle(connection);
    if (!this.entryOpen(connection)) return false;
    const { open } = this.parts.entries;
    if (open.sessions >= MAX_SESSIONS) return this.untilSealed(connection);
    connection.session = 0;
    connection.barrier = true;
    open.session(this.words.length === 1 ? 0 : sessionNumber(this.words[1]!));
    return this.encodedFor(connection);
  }

  private placeCommand(connection: Connection, command: Command): boolean {
    const { words } = this;
    switch (command.name) {
      case 'PING':
        return this.constant(connection, this.parts.texts.fixed.pong);
      case 'HELP':
        return this.help(connection);
      case 'GET':
        return words.length > 2 ? this.stale(connection) : this.read(connection, ItemKind.get, words[1]);
      case 'TTL':
        return this.read(connection, ItemKind.ttl, words[1]);
      case 'PTTL':
        return this.read(connection, ItemKind.pttl, words[1]);
      case 'MGET':
        return this.read(connection, ItemKind.mget, words.slice(1));
      case 'EXISTS':
        return this.read(connection, ItemKind.exists, words.slice(1));
      case 'COUNT':
        return this.read(connection, ItemKind.count, undefined);
      case 'SESSION':
        return this.session(connection);
      case 'BEGIN':
        return this.barrierRead(connection, ItemKind.begin, undefined);
      case 'KEYS':
        return this.barrierRead(connection, ItemKind.keys, { prefix: this.keysPrefix(), limit: this.keysLimit() });
      default:
        return controls.has(command.name) ? this.control(connection, command) : this.write(connection, command);
    }
  }

  private help(connection: Connection): boolean {
    const word = this.words[1];
    return this.constant(connection, helpReply(word) ?? this.parts.texts.word('unknownCommand', word!));
  }

  /** From what is published here, once all before it is answered: a connection does not read what is older than its own writes. */
  private stale(connection: Connection): boolean {
    if (connection.mode !== Mode.idle) return this.untilIdle(connection);
    const { reads, replies } = this.parts;
    replies.send(connection, reads.stale(this.words[1]!));
    return true;
  }

  /** A reply that is known: at once when nothing is before it, else in its place. */
  private constant(connection: Connection, line: string): boolean {
    if (connection.mode !== Mode.idle) return this.read(connection, ItemKind.constant, line);
    this.parts.replies.send(connection, line);
    return true;
  }

  private read(connection: Connection, kind: ItemKind, args: ItemArgs): boolean {
    const { open } = this.parts.entries;
    if (connection.mode !== Mode.writing) {
      this.parts.reads.gathering.push(connection, kind, args);
      connection.mode = Mode.reading;
    } else {
      if (open.commands === 0) return this.untilIdle(connection);
      open.items.push(connection, kind, args);
    }
    connection.unanswered++;
    return true;
  }

  private untilIdle(connection: Connection): boolean {
    connection.wait = Wait.idle;
    return false;
  }

  private barrierRead(connection: Connection, kind: ItemKind, args: ItemArgs): boolean {
    if (connection.unanswered > 0) return this.untilIdle(connection);
    connection.barrier = true;
    return this.read(connection, kind, args);
  }

  private control(connection: Connection, command: Command): boolean {
    if (connection.unanswered > 0) return this.untilIdle(connection);
    connection.barrier = true;
    this.parts.replies.output.event(StoreEvent.control, connection, command.code);
    return true;
  }

  /** Whether the open entry takes a command of this connection's; if not, it waits. */
  private entryOpen(connection: Connection, persists = false): boolean {
    if (connection.mode === Mode.reading) return this.untilIdle(connection);
    const { open } = this.parts.entries;
    const full = open.bytes >= this.parts.limits.maxEntry || (persists && open.persists >= MAX_PERSISTS);
    const sequencesFull = this.sequence !== undefined && open.sessions >= MAX_SESSIONS;
    return !(full || sequencesFull) || this.untilSealed(connection);
  }

  /** The open entry, where the next command's operations go; all checks are made. */
  private encode(): OpenEntry {
    const { open } = this.parts.entries;
    if (this.sequence !== undefined) open.sequence(this.sequence);
    return open;
  }

  /** Bytes of the SEQ that goes in front of them. */
  private get sequenceBytes(): number {
    return this.sequence === undefined ? 0 : SEQUENCE_BYTES;
  }

  private untilSealed(connection: Connection): false {
    connection.wait = Wait.entry;
    this.entryWaiters.push(connection);
    return false;
  }

  private encodedFor(connection: Connection): true {
    this.parts.entries.open.items.push(connection, ItemKind.command, undefined);
    connection.mode = Mode.writing;
    connection.unanswered++;
    this.encoded++;
    return true;
  }

  private write(connection: Connection, command: Command): boolean {
    if (command.name === 'DEL') return this.del(connection);
    if (!this.entryOpen(connection, command.name === 'PERSIST')) return false;
    const { words } = this;
    const open = this.encode();
    const key = words[1]!;
    if (command.name === 'SET') {
      const { condition, ttlMs } = setOptions(words);
      open.set(key, words[2]!, ttlMs === 0 ? condition : condition | OpFlag.ttl, ttlMs);
    } else if (command.name === 'PERSIST') open.persist(key);
    else if (command.name === 'INCR') open.incr(key, BigInt(words[2] ?? '1'));
    else open.cas(key, words[2]!, words[3]!);
    return this.encodedFor(connection);
  }

  /** The only command without a bound of its own: as many keys as fit in a line. */
  private del(connection: Connection): boolean {
    const { open } = this.parts.entries;
    let bytes = this.sequenceBytes;
    for (let at = 1; at < this.words.length; at++) bytes += HEAD + pad4(this.words[at]!.length);
    if (!open.canHold(bytes)) return this.constant(connection, this.parts.texts.fixed.transactionTooLarge);
    if (!this.entryOpen(connection)) return false;
    if (!open.fits(bytes)) return this.untilSealed(connection);
    this.encode().del(this.words.slice(1));
    return this.encodedFor(connection);
  }

  private placeInTransaction(connection: Connection, transaction: Transaction, command: Command): boolean {
    const { fixed } = this.parts.texts;
    if (transaction.expired && !allowedWhenExpired.has(command.name)) {
      if (command.name === 'COMMIT') this.endTransaction(connection);
      return this.constant(connection, fixed.transactionExpired);
    }
    if (command.name === 'BEGIN') return this.constant(connection, fixed.inTransaction);
    if (!command.inTransaction) {
      return this.constant(connection, this.parts.texts.word('notInTransaction', command.name));
    }
    if (command.name === 'COMMIT') return this.commit(connection, transaction);
    if (command.name === 'ROLLBACK') {
      this.endTransaction(connection);
      return this.constant(connection, fixed.ok);
    }
    if (command.name === 'PING' || command.name === 'HELP' || controls.has(command.name)) {
      return this.placeCommand(connection, command);
    }
    const refused = this.argumentError(command) ?? this.staleError(command);
    return this.constant(connection, refused ?? this.parts.transactions.run(transaction, command, this.words));
  }

  private commit(connection: Connection, transaction: Transaction): boolean {
    const writes = transaction.writes.size > 0;
    if (!writes && this.sequence === undefined) {
      this.endTransaction(connection);
      return this.constant(connection, this.parts.texts.fixed.ok);
    }
    if (!this.entryOpen(connection)) return false;
    // With a sequence a COMMIT that wrote nothing is logged too, as an empty one: what it was answered must stay so.
    if (writes) this.encode().commit(transaction);
    else this.encode().emptyCommit();
    this.endTransaction(connection);
    return this.encodedFor(connection);
  }

  private begin(connection: Connection): void {
    connection.transaction = new Transaction(this.parts.table.pin(), this.parts.table.publishedTime, this.nowMs);
    this.inTransactions.add(connection);
    this.transactions++;
  }

  private endTransaction(connection: Connection): void {
    const { transaction } = connection;
    if (transaction === undefined) return;
    if (!transaction.expired) this.dropPin(transaction);
    connection.transaction = undefined;
    this.inTransactions.delete(connection);
  }

  private dropPin(transaction: Transaction): void {
    this.parts.table.unpin(transaction.revision);
    this.transactions--;
  }

  expire(idleSinceMs: number): void {
    for (const { transaction } of this.inTransactions) {
      if (transaction === undefined || transaction.expired || transaction.lastMs >= idleSinceMs) continue;
      transaction.expired = true;
      transaction.checks.clear();
      transaction.writes.clear();
      this.dropPin(transaction);
    }
  }

  /** Options first, then lengths in the order of the arguments. */
  private argumentError(command: Command): string | undefined {
    const { words } = this;
    const { texts } = this.parts;
    const keyError = (at: number) => this.tooLong('keyTooLong', this.parts.limits.maxKey, at);
    const valueError = (at: number) => this.tooLong('valueTooLong', this.parts.limits.maxValue, at);
    switch (command.name) {
      case 'SET':
        return this.setError() ?? keyError(1) ?? valueError(2);
      case 'INCR':
        if (words.length > 2 && parseInteger(words[2]!) === undefined) return texts.word('byNotInteger', words[2]!);
        return keyError(1);
      case 'SESSION':
        if (words.length > 1 && sessionNumber(words[1]!) === 0) return texts.word('sessionNumber', words[1]!);
        return undefined;
      case 'CAS':
        return keyError(1) ?? valueError(2) ?? valueError(3);
      case 'KEYS':
        return this.keysError() ?? (this.keysPrefix() === '' ? undefined : keyError(1));
      case 'GET':
        if (words.length > 2 && !/^stale$/i.test(words[2]!)) return texts.word('getOption', words[2]!);
        return keyError(1);
      case 'TTL':
      case 'PTTL':
      case 'PERSIST':
      case 'MGET':
      case 'EXISTS':
      case 'DEL':
        for (let at = 1; at < words.length; at++) if (words[at]!.length > this.parts.limits.maxKey) return keyError(at);
        return undefined;
      default:
        return undefined;
    }
  }

  /** There is nothing that a stale read could mean in a transaction. */
  private staleError(command: Command): string | undefined {
    if (command.name !== 'GET' || this.words.length < 3) return undefined;
    return this.parts.texts.word('notInTransaction', this.words[2]!);
  }

  private setError(): string | undefined {
    const { fault } = setOptions(this.words);
    return fault && this.parts.texts.word(fault.message, fault.word);
  }

  private tooLong(name: 'keyTooLong' | 'valueTooLong', limit: number, at: number): string | undefined {
    const { length } = this.words[at]!;
    return length > limit ? this.parts.texts.number(name, length) : undefined;
  }

  /** The word that stands where LIMIT or its number should. */
  private keysError(): string | undefined {
    const { words } = this;
    if (words.length < 3) return undefined;
    const option = words[words.length - 2]!;
    const number = words[words.length - 1]!;
    const limit = parseInteger(number);
    const wrong = !/^limit$/i.test(option)
      ? option
      : !limit || limit < 1n || limit > MAX_KEYS_LIMIT
        ? number
        : undefined;
    return wrong === undefined ? undefined : this.parts.texts.word('keysLimit', wrong);
  }

  private keysPrefix(): string {
    return this.words.length === 2 || this.words.length === 4 ? this.words[1]! : '';
  }

  private keysLimit(): number {
    return this.words.length < 3 ? KEYS_LIMIT : Number(this.words[this.words.length - 1]);
  }
}

function argumentsFit(command: Command, words: readonly string[]): boolean {
  const given = words.length - 1;
  return given >= command.min && (given <= command.max || command.max === 0xffff);
}

/** The number of a session or a sequence that a word is; 0: it is none. */
function sessionNumber(word: string): number {
  const number = Number(parseInteger(word) ?? 0n);
  return isNumber(number) ? number : 0;
}
