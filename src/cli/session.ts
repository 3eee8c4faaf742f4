/**
 * What the CLI talks through: lines go in, exactly one line of reply comes out for each, in order, whatever becomes of
 * the node that it is connected to. When that dies, the session goes on with another member.
 *
 * ## What a lost connection makes of unanswered commands
 *
 * - A command that cannot change anything is sent again to the next node.
 * - So is a write, with the same sequence of the CLI's own session with the cluster (sequencer.ts): it is done once, and gets its
 *   first answer. `UNKNOWN disconnected` is left for one that has no sequence, or when the session is gone or nobody answers.
 * - A transaction is gone with its connection. Each of its commands gets `ERR aborted`, until COMMIT or ROLLBACK has
 *   ended it, or BEGIN begins the next: a SET that was meant for the transaction must not run on its own. If the COMMIT
 *   had been sent already, it is sent again: it has happened, or it never will. The unanswered writes before it are UNKNOWN.
 *
 * ## Invariants
 *
 * - `#items` holds, in order, what is not answered, from `#head` on; before `#next` stands what was sent, or answered
 *   here without being sent. The item at the head has no answer waiting.
 * - `#open` tells of the transaction after the last reply given, `#doom` of the one that the next line to be sent belongs
 *   to: set, it is gone, and holds what its commands get.
 * - Lines of the session's own (SESSION) stand among the items; their replies go to nobody. While one is on its way, nothing is
 *   sent behind it.
 * - The bytes held are bounded by the window: the caller stops when `full`, until `room`.
 */
import { type Address, formatAddress } from '../client/address.js';
import type { Connection } from '../client/connection.js';
import { messages } from '../protocol/commands.js';
import { type CommandKind, kindOf } from './command-kind.js';
import { type Found, locate } from './locate.js';
import { Sequencer, saysNothingOfEarlier } from './sequencer.js';

export interface SessionOptions {
  /** Tried in this order; the members that a node names are added. */
  readonly addresses: readonly Address[];
  /** A node that owes an answer and is silent for this long is given up. */
  readonly timeoutMs: number;
  /** How long to look for another member before giving up. */
  readonly reconnectMs: number;
}

export interface SessionHandlers {
  /** The reply to the oldest unanswered line, without a newline. */
  reply(line: Buffer): void;
  /** Something to tell the user that is no reply. */
  note(text: string): void;
  /** The session is no longer full. */
  room(): void;
  /** QUIT was answered: the session is closed. */
  quit(): void;
  /** Nobody could be reached, and all that was unanswered has been answered so. `send` tries anew. */
  unreachable(reason: string): void;
}

interface Item {
  readonly line: Buffer;
  readonly kind: CommandKind;
  /** A line of the session's own, which asks for the session with the cluster. */
  readonly own?: true;
  /** Its number within the CLI's session with the cluster. */
  sequence?: number;
  /** To be sent without a sequence. */
  plain?: true;
  /** To be sent again: it stood outside any transaction and changes nothing, or has a sequence. */
  repeat?: true;
  /** What it gets if it had a sequence and cannot be sent again after all. */
  unknown?: string;
  /** Set when the session answers in the node's stead; given when all before it is answered. */
  answer?: string;
}

/** The window: most unanswered lines, and most bytes of them (one line may exceed it). */
const maxLines = 4_096;
const maxBytes = 1_048_576;
/** Between two rounds of looking for a member. */
const roundMs = 100;
const newline = Buffer.from('\n');
const ok = Buffer.from('OK');
/** So much of a reply tells what it is. */
const headBytes = 16;
const nothing = Buffer.alloc(0);

export class Session {
  readonly #options: SessionOptions;
  readonly #handlers: SessionHandlers;
  readonly #addresses: Address[];
  #connection: Connection | undefined;
  #reconnecting = false;
  #closed = false;
  #items: Item[] = [];
  #head = 0;
  #next = 0;
  #bytes = 0;
  #full = false;
  #open = false;
  #doom: string | undefined;
  #paused = false;
  #watch: NodeJS.Timeout | undefined;
  readonly #sequencer = new Sequencer();

  constructor(options: SessionOptions, handlers: SessionHandlers) {
    this.#options = options;
    this.#handlers = handlers;
    this.#addresses = [...options.addresses];
  }

  /** Connects to the first that answers; rejects with an Error naming each that does not. */
  async start(): Promise<void> {
    this.#adopt(await locate(this.#addresses));
  }

  /** Takes a line (without its newline) to be sent now, or as soon as there is a connection. */
  send(line: Buffer): void {
    this.#items.push({ line, kind: kindOf(line) });
    this.#bytes += line.length;
    this.#full = this.unanswered >= maxLines || this.#bytes >= maxBytes;
    if (this.#connection) this.#transmit();
    else void this.#reconnect(undefined);
  }

  /** Takes a line that is not to be sent, and the reply that it gets when its turn comes. */
  refuse(answer: string): void {
    this.#items.push({ line: Buffer.alloc(0), kind: 'constant', answer });
    this.#giveAnswers();
  }

  /** host:port of the node that it is connected to. */
  get address(): string | undefined {
    return this.#connection && formatAddress(this.#connection.address);
  }

  get full(): boolean {
    return this.#full;
  }

  get unanswered(): number {
    return this.#items.length - this.#head;
  }

  /** Stops and starts the delivery of replies. */
  pause(): void {
    this.#paused = true;
    this.#connection?.pause();
  }

  resume(): void {
    this.#paused = false;
    if (!this.#connection) return;
    this.#connection.heardMs = performance.now();
    this.#connection.resume();
  }

  /** Stops waiting: everything unanswered is answered, nothing is sent again, the connection is dropped for a new one. */
  interrupt(): void {
    if (this.unanswered === 0) return;
    const dropped = this.#connection?.address;
    const where = dropped ? `the connection to ${formatAddress(dropped)} was dropped` : 'no node was reached yet';
    this.#drop();
    if (dropped) this.#tryLast(dropped);
    this.#settle(where);
    this.#refuseRest(`ERR interrupted ${where}; nothing was done`);
    void this.#reconnect(undefined);
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  // ── Sending and answering ──────────────────────────────────────────────────────────────────────────────────────────

  #transmit(): void {
    const connection = this.#connection!;
    if (this.#next === this.#head) connection.heardMs = performance.now();
    const out: Buffer[] = [];
    for (; this.#next < this.#items.length; this.#next++) {
      let item = this.#items[this.#next]!;
      item.answer ??= item.repeat ? undefined : this.#doomed(item);
      if (item.answer !== undefined) continue;
      if (this.#sequencer.asked) break;
      const refusal = this.#sequencer.refuses(item.line);
      if (refusal !== undefined) {
        this.#items[this.#next] = { line: item.line, kind: 'constant', answer: refusal };
        continue;
      }
      const first = this.#goesFirst(item);
      if (first === 'wait') break;
      if (first !== undefined) {
        this.#items.splice(this.#next, 0, first);
        this.#bytes += first.line.length;
        item = first;
      }
      out.push(this.#sequencer.prefix(item) ?? nothing, item.line, newline);
      this.#sequencer.sent(item);
    }
    if (out.length > 0) connection.send(Buffer.concat(out));
    this.#giveAnswers();
  }

  /** What must be sent before a line, and nothing if that is the line itself; or that it must wait for replies. */
  #goesFirst(item: Item): Item | 'wait' | undefined {
    const need = this.#sequencer.needs(item);
    if (need === 'nothing') return undefined;
    if (need === 'replies') return 'wait';
    return { line: Buffer.from(this.#sequencer.ask()), kind: 'constant', own: true };
  }

  /** The session with the cluster was asked for, and this is the reply. */
  #asked(reply: string): void {
    const outcome = this.#sequencer.answered(reply);
    if (outcome === 'has') return;
    for (const item of this.#items.slice(this.#next)) this.#giveUp(item);
    if (outcome !== 'unavailable') return;
    const text = reply.startsWith('ERR ') ? reply : messages.readTimeout;
    for (const item of this.#items.slice(this.#next)) {
      if (item.kind === 'begin') item.plain = true;
      if (item.kind === 'begin' || item.kind === 'commit') break;
      if (item.kind === 'write') item.answer ??= text;
    }
  }

  /** What was sent with a sequence, and cannot be asked about any more. */
  #giveUp(item: Item): void {
    if (item.sequence === undefined) return;
    item.answer ??= item.unknown;
    delete item.sequence;
  }

  /** What a line gets that belongs to a transaction which is gone; undefined when it is to be sent. */
  #doomed(item: Item): string | undefined {
    const doom = this.#doom;
    if (doom === undefined || item.kind === 'constant' || item.kind === 'quit') return undefined;
    if (item.kind === 'read' || item.kind === 'write') return doom;
    this.#doom = undefined;
    if (item.kind === 'begin') return undefined;
    return item.kind === 'rollback' ? 'OK' : doom;
  }

  #take(line: Buffer): void {
    // More lines than were asked for: the server's last word before it closes.
    if (this.#head === this.#next) {
      this.#handlers.note(line.toString());
      return;
    }
    const { sequence } = this.#items[this.#head]!;
    // The node knows less than the others do: what came of it can be asked there.
    if (sequence !== undefined && line[0] === 0x55 && /^UNKNOWN (?:lost|stopping) /.test(line.toString())) {
      this.#lost(this.#connection!, line.toString());
      return;
    }
    this.#give(line);
    this.#giveAnswers();
    if (this.#connection && this.#next < this.#items.length) this.#transmit();
  }

  /** Gives the head its reply. */
  #give(line: Buffer): void {
    const item = this.#items[this.#head++]!;
    this.#sequencer.replied(item, line.toString('latin1', 0, headBytes));
    this.#next = Math.max(this.#next, this.#head);
    this.#bytes -= item.line.length;
    if (this.#head >= maxLines || this.#head === this.#items.length) this.#compact();
    if (item.own !== undefined) {
      if (item.answer === undefined) this.#asked(line.toString());
      return;
    }
    if (item.kind === 'begin' && line.equals(ok)) this.#open = true;
    if (item.kind === 'commit' || item.kind === 'rollback') this.#open = false;
    this.#handlers.reply(outcomeOf(item, line));
    if (item.kind === 'quit' && line.equals(ok)) this.#quit();
    if (!this.#full || this.unanswered > maxLines / 2 || this.#bytes > maxBytes / 2) return;
    this.#full = false;
    this.#handlers.room();
  }

  #giveAnswers(): void {
    for (;;) {
      const answer = this.#items[this.#head]?.answer;
      if (answer === undefined) return;
      this.#give(Buffer.from(answer));
    }
  }

  #compact(): void {
    this.#items = this.#items.slice(this.#head);
    this.#next -= this.#head;
    this.#head = 0;
  }

  /** What follows a QUIT is not run. */
  #quit(): void {
    this.close();
    this.#items = [];
    this.#head = 0;
    this.#next = 0;
    this.#handlers.quit();
  }

  // ── Losing a connection, and finding another ───────────────────────────────────────────────────────────────────────

  #adopt({ connection, members }: Found): void {
    const known = new Set(this.#addresses.map(formatAddress));
    this.#addresses.push(...members.filter((member) => !known.has(formatAddress(member))));
    this.#connection = connection;
    this.#sequencer.connected();
    if (this.#paused) connection.pause();
    connection.on({
      reply: (line) => this.#take(line),
      closed: (reason) => this.#lost(connection, reason),
    });
    const { timeoutMs } = this.#options;
    const checkMs = Math.min(timeoutMs / 2, 500);
    this.#watch = setInterval(() => {
      const silentMs = performance.now() - connection.heardMs;
      if (this.#next === this.#head || this.#paused || silentMs < timeoutMs) return;
      this.#lost(connection, `no answer for ${timeoutMs} ms`);
    }, checkMs);
    this.#watch.unref();
  }

  #drop(): void {
    clearInterval(this.#watch);
    this.#connection?.close();
    this.#connection = undefined;
  }

  #lost(connection: Connection, reason: string): void {
    this.#drop();
    this.#tryLast(connection.address);
    const lost = `the connection to ${formatAddress(connection.address)} was lost`;
    const before = this.#doom;
    this.#settle(lost);
    const rolledBack = this.#doom !== before ? '; the open transaction was rolled back' : '';
    const again = this.#items.some(({ sequence }) => sequence !== undefined)
      ? '; what it had under way is sent again'
      : '';
    if (!this.#closed) void this.#reconnect(`${lost} (${reason})${rolledBack}${again}`);
  }

  /** Decides what becomes of everything that was sent. */
  #settle(lost: string): void {
    const sent = this.#items.slice(this.#head, this.#next);
    let inside: Inside = this.#open ? fateOf(sent, 0) : 'none';
    for (const [i, item] of sent.entries()) {
      if (item.answer !== undefined) continue;
      if (inside === 'none' && item.kind === 'begin') inside = fateOf(sent, i + 1);
      item.answer = item.own === undefined ? this.#answerOf(item, inside, lost) : 'nobody asks any more';
      if (item.answer === undefined) item.repeat = true;
      if (item.kind === 'commit' || item.kind === 'rollback') inside = 'none';
    }
    if (inside !== 'none') this.#doom = abortedText(lost);
    this.#open = false;
    this.#next = this.#head;
    this.#giveAnswers();
  }

  /** The reply to a line that was sent and not answered; undefined when it can be sent again. */
  #answerOf(item: Item, inside: Inside, lost: string): string | undefined {
    if (item.sequence === undefined) return answerOf(item.kind, inside, lost);
    item.unknown = unknownText(lost);
    if (this.#sequencer.repeats) return undefined;
    delete item.sequence;
    return item.unknown;
  }

  /** Answers what is left in the same way; a BEGIN among it leaves the lines that follow without their transaction. */
  #refuseRest(text: string): void {
    this.#sequencer.abandoned();
    for (const item of this.#items.slice(this.#head)) {
      this.#giveUp(item);
      item.answer ??= (item.repeat ? undefined : this.#doomed(item)) ?? text;
      if (item.kind === 'begin') this.#doom = text;
      if (item.kind === 'commit' || item.kind === 'rollback') this.#doom = undefined;
    }
    this.#giveAnswers();
  }

  async #reconnect(loss: string | undefined): Promise<void> {
    if (this.#reconnecting || this.#closed) return;
    this.#reconnecting = true;
    const found = await this.#search();
    this.#reconnecting = false;
    if (this.#closed) {
      if (typeof found !== 'string') found.connection.close();
      return;
    }
    if (typeof found === 'string') {
      this.#refuseRest(`ERR unreachable ${found}; nothing was done`);
      this.#handlers.unreachable(loss ? `${loss}; ${found}` : found);
      return;
    }
    this.#adopt(found);
    if (loss) this.#handlers.note(`${loss}; connected to ${this.address}`);
    this.#transmit();
  }

  /** The order of the addresses is a ring: it begins behind the one that was lost. */
  #tryLast(lost: Address): void {
    const index = this.#addresses.findIndex((address) => formatAddress(address) === formatAddress(lost));
    this.#addresses.push(...this.#addresses.splice(0, index + 1));
  }

  /** Looks for a member, round after round; a text says why there is none. */
  async #search(): Promise<Found | string> {
    const deadlineMs = performance.now() + this.#options.reconnectMs;
    for (;;) {
      try {
        return await locate(this.#addresses);
      } catch (error) {
        if (this.#closed || performance.now() > deadlineMs) return (error as Error).message;
      }
      await new Promise((resolve) => setTimeout(resolve, roundMs));
    }
  }
}

/** Where a sent line stood: in no transaction, in one whose COMMIT was not sent, or in one whose COMMIT was. */
type Inside = 'none' | 'gone' | 'undecided';

function fateOf(items: readonly Item[], from: number): Inside {
  const end = items.slice(from).find((item) => item.kind === 'commit' || item.kind === 'rollback');
  return end?.kind === 'commit' ? 'undecided' : 'gone';
}

/** The reply to a line that was sent and not answered; undefined when it can be sent again. */
function answerOf(kind: CommandKind, inside: Inside, lost: string): string | undefined {
  if (kind === 'quit') return 'OK';
  if (kind === 'constant') return undefined;
  if (inside === 'none') return kind === 'write' ? unknownText(lost) : undefined;
  if (inside === 'undecided' && (kind === 'write' || kind === 'commit')) return unknownText(lost);
  return kind === 'rollback' ? 'OK' : abortedText(lost);
}

/** What the user is told: a refusal of a line sent again, after a loss that left its outcome open, leaves it as open as before. */
function outcomeOf(item: Item, reply: Buffer): Buffer {
  if (item.unknown === undefined || item.sequence === undefined) return reply;
  return saysNothingOfEarlier(reply.toString('latin1', 0, headBytes)) ? Buffer.from(item.unknown) : reply;
}

function unknownText(lost: string): string {
  return `UNKNOWN disconnected ${lost}; the write may still take effect`;
}

function abortedText(lost: string): string {
  return `ERR aborted ${lost} and the transaction with it; begin it again`;
}
