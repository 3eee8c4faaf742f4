/**
 * The leader's side of bringing a snapshot to a member that needs what the log has no more (§7).
 *
 * ## Concept
 *
 * Raft orders a snapshot for a member; the leader offers its newest one, again and again with growing pauses, and the member
 * pulls it, chunk by chunk, from wherever it has it already. The member says when it is done, and Raft is told.
 *
 *     order ─▶ offer … ─▶ want, chunk, want, chunk … ─▶ done ─▶ raft.snapshotSent
 *
 * ## Invariants
 *
 * - Each order is answered once, unless this node ceases to lead: then never.
 * - A link that breaks, or a time without progress, fails the order: Raft asks again, and what has arrived is not sent again.
 * - A node whose state is known to be wrong sends nothing of it: orders wait until it is good again, or another leads.
 * - What is being sent is read through one open reader: a newer snapshot takes the place of the file, not of what is sent.
 */
import { BLOCK_CONTENT } from '../log/snapshot-file.js';
import { type Crc32c, type Log, LogError, type SnapshotInfo, type SnapshotReader } from '../log/types.js';
import type { NodeId, SnapshotOrder } from '../raft/types.js';
import type { SnapshotDone, SnapshotMessage, SnapshotWant } from '../transport/types.js';
import type { LogLevel } from './options.js';

/** Bytes of content in one chunk: a block, so that each is read and verified once, and written once. */
export const chunkBytes = BLOCK_CONTENT;
/** Pause before an offer is repeated: at first, and at most. */
const firstPauseMs = 200;
const longestPauseMs = 2_000;
/** Without progress for this long, an order has failed. */
const patienceMs = 10_000;
/** The log behind a snapshot that has arrived is kept for so long, for who goes on from there. */
const afterwardsMs = 10_000;

export interface SendingHost {
  readonly id: NodeId;
  readonly log: Log;
  readonly crc32c: Crc32c;
  now(): number;
  /** This node's state is not known to be wrong: what it has taken a snapshot of is good. */
  trusted(): boolean;
  send(message: SnapshotMessage): void;
  /** The answer to an order. */
  sent(to: NodeId, ok: boolean, index: number): void;
  /** A newer snapshot is needed. */
  take(): void;
  tell(level: LogLevel, text: string): void;
}

interface Sending {
  readonly to: NodeId;
  readonly least: number;
  /** Raft waits for the answer; else the member asked by itself. */
  readonly ordered: boolean;
  /** Undefined until there is a snapshot that is new enough. */
  what: { readonly info: SnapshotInfo; readonly key: number; readonly reader: SnapshotReader } | undefined;
  offerAt: number;
  pauseMs: number;
  /** When it moved last, and the last offset that was wanted. */
  movedAt: number;
  offset: number;
}

export class SnapshotSending {
  readonly #host: SendingHost;
  /** The term that this node leads; 0: none. */
  #term = 0;
  readonly #sendings = new Map<NodeId, Sending>();
  readonly #arrived = new Map<NodeId, { readonly index: number; readonly until: number }>();

  constructor(host: SendingHost) {
    this.#host = host;
  }

  /** Where the log must not be shortened: behind the last entry of any snapshot that is being sent, or has arrived just now. */
  get needed(): number {
    const now = this.#host.now();
    let least = Number.POSITIVE_INFINITY;
    for (const { what } of this.#sendings.values()) least = Math.min(least, what?.info.index ?? least);
    for (const { index, until } of this.#arrived.values()) if (now < until) least = Math.min(least, index);
    return least;
  }

  /** This node leads this term from now on, or none (0). Orders of another one are forgotten. */
  lead(term: number): void {
    if (term === this.#term) return;
    this.#term = term;
    this.stop();
  }

  /** A member asks for one by itself: its own state is wrong. What Raft has ordered for it will do. */
  request(order: SnapshotOrder): void {
    if (this.#term !== 0 && !this.#sendings.has(order.to)) this.order(order, false);
  }

  /** Raft wants a snapshot brought to a member. */
  order({ to, least }: SnapshotOrder, ordered = true): void {
    this.#drop(to);
    const now = this.#host.now();
    const sending = {
      to,
      least,
      ordered,
      what: undefined,
      offerAt: now,
      pauseMs: firstPauseMs,
      movedAt: now,
      offset: -1,
    };
    this.#sendings.set(to, sending);
    this.#proceed(sending, now);
  }

  /** Offers are repeated, and orders given up, as it is time. */
  tick(now: number): void {
    if (this.#sendings.size === 0) return;
    for (const sending of [...this.#sendings.values()]) this.#proceed(sending, now);
  }

  #proceed(sending: Sending, now: number): void {
    if (now - sending.movedAt >= patienceMs) {
      this.#host.tell('warn', `gave up sending node ${sending.to} a snapshot: nothing moved`);
      this.#answer(sending, false);
      return;
    }
    if (now < sending.offerAt) return;
    sending.offerAt = now + sending.pauseMs;
    sending.pauseMs = Math.min(2 * sending.pauseMs, longestPauseMs);
    if (sending.what === undefined && !this.#open(sending)) return;
    const { info, key } = sending.what!;
    const { id, send } = this.#host;
    send({ type: 'offer', from: id, to: sending.to, term: this.#term, index: info.index, key, info });
  }

  /** Opens the newest snapshot, if it is new enough; else one is taken first. */
  #open(sending: Sending): boolean {
    const { log, crc32c, take, tell, trusted } = this.#host;
    if (!trusted()) return false;
    const newest = log.snapshot?.index ?? 0;
    if (newest < Math.max(1, sending.least)) {
      take();
      return false;
    }
    const reader = this.#reading(sending, () => log.openSnapshot());
    if (!reader) return false;
    const { info } = reader;
    sending.what = { info, key: crc32c(info.meta) >>> 0, reader };
    tell('info', `node ${sending.to} gets the snapshot of entry ${info.index}: ${info.size} bytes`);
    return true;
  }

  /** The member wants content. */
  want(message: SnapshotWant): void {
    const sending = this.#meant(message);
    if (!sending) return;
    const { offset } = message;
    const { info, key, reader } = sending.what!;
    const { id, send, crc32c, now } = this.#host;
    if (offset >= info.size) return;
    if (offset !== sending.offset) {
      sending.offset = offset;
      sending.movedAt = now();
      sending.pauseMs = firstPauseMs;
    }
    // Who wants has heard the offer.
    sending.offerAt = now() + longestPauseMs;
    const bytes = new Uint8Array(Math.min(chunkBytes, info.size - offset));
    if (this.#reading(sending, () => reader.read(offset, bytes)) === undefined) return;
    const crc = crc32c(bytes) >>> 0;
    const { index } = info;
    send({ type: 'chunk', from: id, to: sending.to, term: this.#term, index, key, offset, crc, bytes });
  }

  /** The member has it, or cannot take it. */
  done(message: SnapshotDone): void {
    const sending = this.#meant(message);
    if (sending) this.#answer(sending, message.ok);
  }

  /** The link to a member broke. */
  lost(peer: NodeId): void {
    const sending = this.#sendings.get(peer);
    if (sending) this.#answer(sending, false);
  }

  /** Nothing that is being sent can be relied on: all orders fail. */
  fail(): void {
    for (const sending of [...this.#sendings.values()]) this.#answer(sending, false);
  }

  /** Forgets all orders. */
  stop(): void {
    for (const to of [...this.#sendings.keys()]) this.#drop(to);
  }

  #meant({ from, index, key }: SnapshotWant | SnapshotDone): Sending | undefined {
    const sending = this.#sendings.get(from);
    return sending?.what?.key === key && sending.what.info.index === index ? sending : undefined;
  }

  #answer(sending: Sending, ok: boolean): void {
    const index = sending.what?.info.index ?? 0;
    const until = this.#host.now() + afterwardsMs;
    if (sending.what) this.#arrived.set(sending.to, { index, until });
    this.#drop(sending.to);
    if (sending.ordered) this.#host.sent(sending.to, ok, index);
  }

  #drop(to: NodeId): void {
    this.#sendings.get(to)?.what?.reader.close();
    this.#sendings.delete(to);
  }

  /** Reads a snapshot; one that has rotted is replaced by a new one, and the order fails. */
  #reading<T>(sending: Sending, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof LogError) || error.code !== 'corrupt') throw error;
      this.#host.tell('warn', `takes another snapshot, for one is not good any more: ${error.message}`);
      this.#answer(sending, false);
      this.#host.take();
      return undefined;
    }
  }
}
