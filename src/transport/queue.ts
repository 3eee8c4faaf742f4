/**
 * What waits to leave on one link, in two classes: *urgent* (votes, heartbeats, responses, reads) and *bulk* (appends,
 * forwards, parts of snapshots). Urgent messages go first, also between the pieces of a bulk message, so 32 MiB of entries hold up no
 * heartbeat. Within a class order is kept: no append overtakes an append, no forward a forward.
 *
 * No more than about WINDOW_BYTES are handed to the socket beyond what it has drained: what waits here can still be
 * overtaken, what waits there cannot. Each pump is one write. The next comes with the next message, or when the socket has
 * drained; where the system took the whole write at once there is nothing to drain, and it comes a little later by itself.
 * The memory of a write is written again only when the socket has nothing queued: then the system has taken everything
 * that was handed over.
 */
import type { Socket } from '../env/env.js';
import type { Crc32c } from '../log/types.js';
import { firstOffset, packMessage, pieceOf, rawBytes } from './codec.js';
import { FrameFlag, FrameKind, FrameWriter, MAX_BODY_BYTES } from './frame.js';
import type { PeerMessage } from './types.js';

/** Most bytes given to the socket and not yet drained, but for the last frame. */
const WINDOW_BYTES = 262_144;
/** A class that holds as much takes no more. One message may go beyond it. */
const MAX_BULK_BYTES = 33_554_432;
const MAX_URGENT_BYTES = 1_048_576;
/** What a message counts for besides its raw bytes. */
const MESSAGE_BYTES = 64;

const WHOLE = FrameFlag.first | FrameFlag.last;
const NO_CONTROL = Object.assign(new Uint8Array(0), { start: 0, end: 0 });

/** First in, first out: a ring that grows, and keeps its memory when it runs empty. */
class Fifo<T> {
  #items: (T | undefined)[] = new Array(16).fill(undefined);
  #first = 0;
  #count = 0;
  bytes = 0;

  get head(): T | undefined {
    return this.#items[this.#first];
  }

  push(item: T, bytes: number): void {
    if (this.#count === this.#items.length) this.#grow();
    this.#items[(this.#first + this.#count) & (this.#items.length - 1)] = item;
    this.#count++;
    this.bytes += bytes;
  }

  shift(bytes: number): void {
    this.#items[this.#first] = undefined;
    this.#first = (this.#first + 1) & (this.#items.length - 1);
    this.#count--;
    this.bytes -= bytes;
  }

  #grow(): void {
    const { length } = this.#items;
    const inOrder = [...this.#items.slice(this.#first), ...this.#items.slice(0, this.#first)];
    this.#items = inOrder.concat(new Array(length).fill(undefined));
    this.#first = 0;
  }
}

export class SendQueue {
  readonly #writer: FrameWriter;
  readonly #socket: Socket;
  readonly #urgent = new Fifo<PeerMessage>();
  readonly #bulk = new Fifo<PeerMessage>();
  /** How much of the first bulk message has left: what is left begins at `#offset` in its piece `#piece`. */
  #begun = false;
  #total = 0;
  #sent = 0;
  #piece = 0;
  #offset = 0;
  /** Bytes handed to the socket so far. */
  #handed = 0;
  readonly #later: (pump: () => void) => void;
  #scheduled = false;
  readonly #goOn = (): void => {
    this.#scheduled = false;
    this.pump();
  };

  /** `later`: calls the function once, behind what this round of the event loop has to do, as long as the link is there. */
  constructor(socket: Socket, crc32c: Crc32c, later: (pump: () => void) => void) {
    this.#socket = socket;
    this.#later = later;
    this.#writer = new FrameWriter(crc32c);
  }

  /** Bytes that the socket has not drained, and all that it has. */
  get undrained(): number {
    return this.#socket.queued;
  }

  get drained(): number {
    return this.#handed - this.#socket.queued;
  }

  /** Queues a message; false when it was dropped because its class is full. */
  push(message: PeerMessage): boolean {
    const { type } = message;
    const bulk = type === 'append' || type === 'forward' || type === 'chunk' || type === 'offer';
    const fifo = bulk ? this.#bulk : this.#urgent;
    if (fifo.bytes >= (bulk ? MAX_BULK_BYTES : MAX_URGENT_BYTES)) return false;
    fifo.push(message, sizeOf(message));
    return true;
  }

  /** A frame of the link's own (hello, refusal, ping, pong), or its greeting: leaves with the next `pump`, before all else. */
  control(kind: FrameKind, control: Uint8Array): void {
    this.#reuse();
    this.#writer.frame(kind, WHOLE, 0, 0, control);
  }

  greet(bytes: Uint8Array): void {
    this.#reuse();
    this.#writer.raw(bytes);
  }

  #reuse(): void {
    if (this.#writer.pending === 0 && this.#socket.queued === 0) this.#writer.reuse();
  }

  /** Hands the socket as much as the window allows, in one write. */
  pump(): void {
    this.#reuse();
    const writer = this.#writer;
    const room = WINDOW_BYTES - this.#socket.queued;
    while (writer.pending < room && this.#step());
    if (writer.pending === 0) return;
    this.#handed += writer.pending;
    this.#socket.write(writer.take());
    const waiting = this.#urgent.head !== undefined || this.#bulk.head !== undefined;
    if (!waiting || this.#scheduled || this.#socket.queued > 0) return;
    this.#scheduled = true;
    this.#later(this.#goOn);
  }

  /** Writes the next frame; false when nothing waits. */
  #step(): boolean {
    const message = this.#urgent.head;
    if (message === undefined) return this.#stepBulk();
    const control = packMessage(message);
    this.#writer.frame(FrameKind[message.type], WHOLE, 0, 0, control, control.start, control.end);
    this.#urgent.shift(sizeOf(message));
    return true;
  }

  #stepBulk(): boolean {
    const message = this.#bulk.head;
    if (message === undefined) return false;
    const first = !this.#begun;
    if (first) this.#beginBulk(message);
    const kind = FrameKind[message.type];
    const control = first ? packMessage(message) : NO_CONTROL;
    const length = Math.min(this.#total - this.#sent, MAX_BODY_BYTES - (control.end - control.start));
    const last = this.#sent + length === this.#total;
    const flags = (first ? FrameFlag.first : 0) | (last ? FrameFlag.last : 0);
    this.#writer.frame(kind, flags, this.#total, length, control, control.start, control.end);
    this.#writePieces(message, length);
    if (last) {
      this.#begun = false;
      this.#bulk.shift(sizeOf(message));
    }
    return true;
  }

  #beginBulk(message: PeerMessage): void {
    this.#begun = true;
    this.#total = rawBytes(message);
    this.#sent = 0;
    this.#piece = 0;
    this.#offset = firstOffset(message);
  }

  /** Writes the `length` raw bytes that come next. */
  #writePieces(message: PeerMessage, length: number): void {
    let left = length;
    while (left > 0) {
      const piece = pieceOf(message, this.#piece);
      const to = Math.min(piece.length, this.#offset + left);
      this.#writer.raw(piece, this.#offset, to);
      left -= to - this.#offset;
      this.#offset = to;
      if (to === piece.length) {
        this.#piece++;
        this.#offset = 0;
      }
    }
    this.#sent += length;
  }
}

function sizeOf(message: PeerMessage): number {
  return MESSAGE_BYTES + rawBytes(message);
}
