/**
 * A member's side of being brought a snapshot: it pulls what the leader offers, and makes it its own.
 *
 * ## Concept
 *
 * A few chunks are asked for ahead (a window), written block by block, and asked for again when nothing comes. What has
 * arrived is durable: after a broken link, a change of heart or a restart it goes on from there, if the same snapshot is offered.
 * When all of it is here it is *installed*: in one step, durably, it takes the place of the log up to its last entry.
 *
 *     offer ─▶ want … ─▶ chunk, write, want … ─▶ install ─▶ done
 *
 * ## Invariants
 *
 * - Only the leader's offers count, and only of a snapshot that holds more than is known to be committed here.
 * - While it is being installed, nothing may be appended to the log: the node keeps from Raft what could make it do so.
 * - The leader is told `done` when the snapshot is durable here, or needless, or cannot be taken.
 */
import { type Log, LogError, type SnapshotInfo, type SnapshotReceiver } from '../log/types.js';
import type { NodeId } from '../raft/types.js';
import type { SnapshotChunk, SnapshotMessage, SnapshotOffer } from '../transport/types.js';
import type { LogLevel } from './options.js';
import { decodeSnapshotMeta, type SnapshotContents } from './snapshot-meta.js';
import { chunkBytes } from './snapshot-sending.js';

/** Content that is asked for ahead of what is written. */
const windowBytes = 4 * chunkBytes;
/** Pause before the same is asked for again: at first, and at most. */
const firstPauseMs = 500;
const longestPauseMs = 4_000;
/** When nothing has come for this long, it is given up until it is offered again. */
const patienceMs = 10_000;

export interface ReceivingHost {
  readonly id: NodeId;
  readonly log: Log;
  now(): number;
  send(message: SnapshotMessage): void;
  /** Whether this node follows `from` in this term. */
  follows(from: NodeId, term: number): boolean;
  /** Everything up to here is known to be committed, and in the log. */
  commit(): number;
  /** What was installed before is still on its way into the store. */
  busy(): boolean;
  /** Does all that Raft has asked for. */
  settle(): void;
  /** One is about to be installed: until `installed` or `failed` Raft is given nothing that makes it append to the log. */
  installs(): void;
  installed(info: SnapshotInfo, contents: SnapshotContents): void;
  failed(): void;
  guard(action: () => void): void;
  tell(level: LogLevel, text: string): void;
}

interface Incoming {
  readonly from: NodeId;
  term: number;
  readonly info: SnapshotInfo;
  readonly key: number;
  readonly contents: SnapshotContents;
  /** Undefined until it is known what is here already. */
  receiver: SnapshotReceiver | undefined;
  /** Offsets up to which content was asked for, has come, and is written. */
  asked: number;
  received: number;
  written: number;
  readonly queue: Uint8Array[];
  writing: boolean;
  heardAt: number;
  askAgainAt: number;
  pauseMs: number;
}

export class SnapshotReceiving {
  readonly #host: ReceivingHost;
  #incoming: Incoming | undefined;
  #installing = false;

  constructor(host: ReceivingHost) {
    this.#host = host;
  }

  /** A snapshot is taking the place of the log. */
  get installing(): boolean {
    return this.#installing;
  }

  offer(message: SnapshotOffer): void {
    const { from, term, key, info } = message;
    const { follows, commit, tell } = this.#host;
    if (this.#installing || this.#host.busy() || !follows(from, term)) return;
    if (info.index <= commit()) {
      this.#done(message, true);
      return;
    }
    const now = this.#host.now();
    const incoming = this.#incoming;
    if (incoming?.from === from && incoming.key === key && incoming.info.index === info.index) {
      incoming.term = term;
      incoming.heardAt = now;
      if (incoming.receiver) this.#askAgain(incoming, now);
      return;
    }
    this.stop();
    const contents = decodeSnapshotMeta(info);
    if (!contents) {
      tell('warn', `node ${from} offers a snapshot of entry ${info.index} that says nothing of its state`);
      this.#done(message, false);
      return;
    }
    this.#begin(message, contents, now);
  }

  #begin({ from, term, key, info }: SnapshotOffer, contents: SnapshotContents, now: number): void {
    const incoming: Incoming = {
      ...{ from, term, info, key, contents, receiver: undefined, asked: 0, received: 0, written: 0 },
      ...{ queue: [], writing: false, heardAt: now, askAgainAt: now + firstPauseMs, pauseMs: firstPauseMs },
    };
    this.#incoming = incoming;
    const { log, guard } = this.#host;
    log.receiveSnapshot(info).then(
      (receiver) => {
        if (this.#incoming === incoming) guard(() => this.#open(incoming, receiver));
      },
      (error: unknown) => {
        if (this.#incoming === incoming) guard(() => this.#failed(incoming, error));
      },
    );
  }

  #open(incoming: Incoming, receiver: SnapshotReceiver): void {
    const { verified } = receiver;
    incoming.receiver = receiver;
    incoming.asked = verified;
    incoming.received = verified;
    incoming.written = verified;
    const { info, from } = incoming;
    const begins = verified > 0 ? `goes on with byte ${verified} of` : 'gets';
    this.#host.tell('info', `${begins} the snapshot of entry ${info.index} from node ${from}: ${info.size} bytes`);
    this.#proceed(incoming);
  }

  chunk({ from, index, key, offset, bytes }: SnapshotChunk): void {
    const incoming = this.#incoming;
    if (incoming?.from !== from || incoming.key !== key || incoming.info.index !== index) return;
    if (!incoming.receiver || this.#installing) return;
    // Another place: it was asked for twice, or something before it was lost.
    if (offset !== incoming.received || offset + bytes.length > incoming.info.size) return;
    const now = this.#host.now();
    incoming.received += bytes.length;
    incoming.heardAt = now;
    incoming.pauseMs = firstPauseMs;
    incoming.askAgainAt = now + firstPauseMs;
    incoming.queue.push(bytes);
    this.#proceed(incoming);
  }

  /** Writes what has come, asks for more, installs when that was all. */
  #proceed(incoming: Incoming): void {
    const { receiver, info } = incoming;
    this.#ask(incoming);
    if (incoming.writing) return;
    const bytes = incoming.queue.shift();
    if (bytes === undefined) {
      if (incoming.written === info.size) this.#install(incoming);
      return;
    }
    incoming.writing = true;
    receiver!.write(bytes, (error) => {
      if (this.#incoming !== incoming) return;
      this.#host.guard(() => {
        incoming.writing = false;
        if (error) {
          this.#failed(incoming, error);
          return;
        }
        incoming.written += bytes.length;
        this.#proceed(incoming);
      });
    });
  }

  #ask(incoming: Incoming): void {
    const { from, term, info, key } = incoming;
    const { id, send } = this.#host;
    const end = Math.min(info.size, incoming.written + windowBytes);
    for (; incoming.asked < end; incoming.asked += chunkBytes)
      send({ type: 'want', from: id, to: from, term, index: info.index, key, offset: incoming.asked });
  }

  #askAgain(incoming: Incoming, now: number): void {
    incoming.asked = incoming.received;
    incoming.askAgainAt = now + incoming.pauseMs;
    incoming.pauseMs = Math.min(2 * incoming.pauseMs, longestPauseMs);
    this.#ask(incoming);
  }

  /** What did not come is asked for again, and given up, as it is time. */
  tick(now: number): void {
    const incoming = this.#incoming;
    if (!incoming?.receiver || this.#installing || incoming.writing) return;
    if (now - incoming.heardAt >= patienceMs) this.stop();
    else if (now >= incoming.askAgainAt) this.#askAgain(incoming, now);
  }

  /** Who leads has changed: what another one sends is of no use until it is offered anew. */
  follow(leader: NodeId): void {
    if (this.#incoming && this.#incoming.from !== leader) this.stop();
  }

  /** Lets go of what is being received; it stays on the disk. One that is being installed will be. */
  stop(): void {
    if (this.#installing) return;
    this.#incoming?.receiver?.close();
    this.#incoming = undefined;
  }

  #install(incoming: Incoming): void {
    const { from, term, info, contents, receiver } = incoming;
    const { follows, commit } = this.#host;
    this.#host.settle();
    if (this.#incoming !== incoming) return;
    if (!follows(from, term) || info.index <= commit()) {
      if (info.index <= commit()) this.#done(incoming, true);
      this.stop();
      return;
    }
    this.#installing = true;
    this.#host.installs();
    receiver!.install((error) => {
      this.#installing = false;
      this.#host.guard(() => {
        if (error) {
          this.#host.failed();
          this.#failed(incoming, error);
          return;
        }
        this.#incoming = undefined;
        this.#host.installed(info, contents);
        this.#done(incoming, true);
      });
    });
  }

  /** No room, or something newer is there: the leader tries again. A failed disk stops the node by itself. */
  #failed(incoming: Incoming, error: unknown): void {
    if (!(error instanceof LogError)) throw error;
    this.#incoming = undefined;
    incoming.receiver?.close();
    if (error.code === 'disk') return;
    this.#host.tell('warn', `cannot take the snapshot of entry ${incoming.info.index}: ${error.message}`);
    this.#done(incoming, false);
  }

  #done({ from, term, info, key }: Pick<Incoming, 'from' | 'term' | 'info' | 'key'>, ok: boolean): void {
    const { id, send } = this.#host;
    send({ type: 'done', from: id, to: from, term, index: info.index, key, ok });
  }
}
