/**
 * What waits to leave on one link, in two classes: *urgent* (votes, heartbeats, responses, reads) and *bulk* (appends and
 * forwards). Urgent messages go first, also between the pieces of a bulk message, so 32 MiB of entries hold up no
 * heartbeat. Within a class order is kept: no append overtakes an append, no forward a forward.
 *
 * No more than about WINDOW_BYTES are handed to the socket beyond what it has drained: what waits here can still be
 * overtaken, what waits there cannot.
 */
import type { Socket } from '../env/env.js';
import type { Crc32c } from '../log/types.js';
import { type Encoded, encodeMessage, rawBytes } from './codec.js';
import { FrameFlag, type FrameKind, FrameWriter, MAX_BODY_BYTES } from './frame.js';
import type { PeerMessage } from './types.js';

/** Most bytes given to the socket and not yet drained, but for the last frame. */
const WINDOW_BYTES = 262_144;
/** A class that holds as much takes no more. One message may go beyond it. */
const MAX_BULK_BYTES = 33_554_432;
const MAX_URGENT_BYTES = 1_048_576;
/** What a message counts for besides its raw bytes. */
const MESSAGE_BYTES = 64;

/** First in, first out, without moving the rest at each step. */
class Fifo<T> {
  #items: T[] = [];
  #next = 0;
  bytes = 0;

  get head(): T | undefined {
    return this.#items[this.#next];
  }

  push(item: T, bytes: number): void {
    this.#items.push(item);
    this.bytes += bytes;
  }

  shift(bytes: number): void {
    this.#next++;
    this.bytes -= bytes;
    if (this.#next === this.#items.length) {
      this.#items.length = 0;
      this.#next = 0;
    } else if (this.#next >= 1024) {
      this.#items.splice(0, this.#next);
      this.#next = 0;
    }
  }
}

/** The bulk message that is leaving: what is left of it begins at `offset` in piece `piece`. */
interface Leaving {
  readonly encoded: Encoded;
  piece: number;
  offset: number;
  sent: number;
}

export class SendQueue {
  readonly #writer: FrameWriter;
  readonly #socket: Socket;
  readonly #urgent = new Fifo<PeerMessage>();
  readonly #bulk = new Fifo<PeerMessage>();
  #leaving: Leaving | undefined;
  /** Bytes handed to the socket so far. */
  #handed = 0;

  constructor(socket: Socket, crc32c: Crc32c) {
    this.#socket = socket;
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
    const bulk = message.type === 'append' || message.type === 'forward';
    const fifo = bulk ? this.#bulk : this.#urgent;
    if (fifo.bytes >= (bulk ? MAX_BULK_BYTES : MAX_URGENT_BYTES)) return false;
    fifo.push(message, sizeOf(message));
    return true;
  }

  /** A frame of the link's own (hello, refusal, ping, pong), or its greeting: leaves with the next `pump`, before all else. */
  control(kind: FrameKind, control: Uint8Array): void {
    this.#writer.frame(kind, FrameFlag.first | FrameFlag.last, control, 0, 0);
  }

  greet(bytes: Uint8Array): void {
    this.#writer.raw(bytes);
  }

  /** Hands the socket as much as the window allows, in one write if possible. */
  pump(): void {
    const writer = this.#writer;
    const room = WINDOW_BYTES - this.#socket.queued;
    while (writer.pending < room && this.#step());
    if (writer.pending === 0) return;
    this.#handed += writer.pending;
    const writes = writer.take();
    if (writes.length === 1) {
      this.#socket.write(writes[0]!);
      return;
    }
    this.#socket.cork();
    for (const bytes of writes) this.#socket.write(bytes);
    this.#socket.uncork();
  }

  /** Writes the next frame; false when nothing waits. */
  #step(): boolean {
    const message = this.#urgent.head;
    if (message !== undefined) {
      const { kind, control } = encodeMessage(message);
      this.#writer.frame(kind, FrameFlag.first | FrameFlag.last, control, 0, 0);
      this.#urgent.shift(sizeOf(message));
      return true;
    }
    return this.#stepBulk();
  }

  #stepBulk(): boolean {
    const message = this.#bulk.head;
    if (message === undefined) return false;
    const first = this.#leaving === undefined;
    this.#leaving ??= { encoded: encodeMessage(message), piece: 0, offset: 0, sent: 0 };
    const leaving = this.#leaving;
    const { kind, control, total } = leaving.encoded;
    const head = first ? control : NOTHING;
    const length = Math.min(total - leaving.sent, MAX_BODY_BYTES - head.length);
    const last = leaving.sent + length === total;
    const flags = (first ? FrameFlag.first : 0) | (last ? FrameFlag.last : 0);
    copyPieces(leaving, this.#writer.frame(kind, flags, head, total, length));
    if (last) {
      this.#leaving = undefined;
      this.#bulk.shift(sizeOf(message));
    }
    return true;
  }
}

const NOTHING = new Uint8Array(0);

function sizeOf(message: PeerMessage): number {
  return MESSAGE_BYTES + rawBytes(message);
}

/** Fills `target` with what comes next. */
function copyPieces(leaving: Leaving, target: Uint8Array): void {
  let at = 0;
  while (at < target.length) {
    const piece = leaving.encoded.pieces[leaving.piece]!;
    const length = Math.min(piece.length - leaving.offset, target.length - at);
    target.set(piece.subarray(leaving.offset, leaving.offset + length), at);
    at += length;
    leaving.offset += length;
    if (leaving.offset === piece.length) {
      leaving.piece++;
      leaving.offset = 0;
    }
  }
  leaving.sent += target.length;
}
