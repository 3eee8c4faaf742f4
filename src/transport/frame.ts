/**
 * Frames: what a link between two nodes consists of, behind the greeting.
 *
 * Each side opens with five bytes:
 *
 * ```
 *  0  4 B  PEER_MAGIC 0xd1 "DST"
 *  4  u8   version of the peer protocol: 1
 * ```
 *
 * and then sends frames, little-endian:
 *
 * ```
 *  0  u32  CRC32C of bytes 4 … 15 and the control part
 *  4  u32  bytes of this frame behind its header: the control part, then raw bytes (at most 65,520)
 *  8  u32  raw bytes of the whole message
 * 12  u16  bytes of the control part
 * 14  u8   kind
 * 15  u8   flags: 1 first, 2 last
 * 16  control part, raw bytes
 * ```
 *
 * A message is one frame (first and last), or several of the same kind with the same total, of which only the first has a
 * control part. Between the frames of one message there may be whole messages of one frame each, so that a heartbeat need
 * not wait for 32 MiB of entries; but at most one message is in pieces at a time.
 *
 * The CRC covers what no other one does: raw bytes are records, payloads and parts of snapshots, which bring their own.
 * Greeting, frame header and the kinds `hello` and `refusal` are the same in every version, so that any version can tell
 * any other one why it does not let it in.
 */

import { getU32, putU32 } from '../log/bytes.js';
import type { Crc32c } from '../log/types.js';
import { PEER_MAGIC } from '../protocol/sniff.js';

export { PEER_MAGIC };

export const PROTOCOL_VERSION = 1;
/** Bytes of the greeting. */
export const GREETING_BYTES = 5;
export const FRAME_HEADER_BYTES = 16;
/** Most bytes behind a frame's header: with it they are 64 KiB. */
export const MAX_BODY_BYTES = 65_520;
/** Most raw bytes of a message. */
export const MAX_MESSAGE_BYTES = 67_108_864;

export const FrameOffset = { crc: 0, body: 4, total: 8, control: 12, kind: 14, flags: 15 } as const;
export const FrameFlag = { first: 1, last: 2 } as const;

/** Kinds of frames; 16 and up carry messages of the node. */
export const FrameKind = {
  hello: 1,
  refusal: 2,
  ping: 3,
  pong: 4,
  vote: 16,
  voted: 17,
  append: 18,
  appended: 19,
  heartbeat: 20,
  beaten: 21,
  read: 22,
  readable: 23,
  forward: 24,
  timeoutNow: 25,
  cleared: 26,
  offer: 27,
  want: 28,
  chunk: 29,
  done: 30,
  room: 31,
  state: 32,
  rebuild: 33,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** The greeting of this version. */
export function greeting(): Uint8Array {
  return Uint8Array.of(...PEER_MAGIC, PROTOCOL_VERSION);
}

/** What makes a link be closed. `code`: `stranger` (the other end is no peer), `version`, or `malformed`. */
export class FrameError extends Error {
  readonly code: 'stranger' | 'version' | 'malformed';
  constructor(code: 'stranger' | 'version' | 'malformed', message: string) {
    super(message);
    this.code = code;
  }
}

/** What a writer begins with; it doubles as needed. */
const SLAB_BYTES = 65_536;

/**
 * Puts frames one behind the other, so that all of a turn leave in one write.
 *
 * Invariant: bytes that were taken stay as they are until the next `reuse`, which says that nobody reads them any more.
 */
export class FrameWriter {
  readonly #crc32c: Crc32c;
  #slab: Buffer = Buffer.alloc(0);
  /** What is written and not yet taken lies between these. */
  #from = 0;
  #to = 0;

  constructor(crc32c: Crc32c) {
    this.#crc32c = crc32c;
  }

  /** Bytes written and not yet taken. */
  get pending(): number {
    return this.#to - this.#from;
  }

  /** Everything that was taken has been read: its memory is written again. Nothing may be pending. */
  reuse(): void {
    this.#from = 0;
    this.#to = 0;
  }

  /** The bytes as they are, from `from` to `to`. */
  raw(bytes: Uint8Array, from = 0, to = bytes.length): void {
    this.#reserve(to - from);
    this.#slab.set(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#to);
    this.#to += to - from;
  }

  /**
   * Writes a frame's header and control part, which are the bytes of `control` from `from` to `to`. The caller writes the
   * frame's `rawBytes` raw bytes next.
   */
  frame(
    kind: FrameKind,
    flags: number,
    total: number,
    rawBytes: number,
    control: Uint8Array,
    from = 0,
    to = control.length,
  ): void {
    const controlBytes = to - from;
    const head = FRAME_HEADER_BYTES + controlBytes;
    this.#reserve(head + rawBytes);
    const slab = this.#slab;
    const at = this.#to;
    putU32(slab, at + FrameOffset.body, controlBytes + rawBytes);
    putU32(slab, at + FrameOffset.total, total);
    slab[at + FrameOffset.control] = controlBytes & 0xff;
    slab[at + FrameOffset.control + 1] = controlBytes >>> 8;
    slab[at + FrameOffset.kind] = kind;
    slab[at + FrameOffset.flags] = flags;
    for (let i = 0; i < controlBytes; i++) slab[at + FRAME_HEADER_BYTES + i] = control[from + i]!;
    putU32(slab, at + FrameOffset.crc, this.#crc32c(slab, 0, at + FrameOffset.body, at + head));
    this.#to = at + head;
  }

  /** Takes all that was written, in order. */
  take(): Uint8Array {
    const taken = this.#slab.subarray(this.#from, this.#to);
    this.#from = this.#to;
    return taken;
  }

  /** Room behind what is written; what is pending moves to a larger slab if there is none. */
  #reserve(bytes: number): void {
    if (this.#to + bytes <= this.#slab.length) return;
    let length = Math.max(SLAB_BYTES, this.#slab.length);
    while (length < this.pending + bytes) length *= 2;
    // Not zeroed: every byte is written before it is taken.
    const slab = Buffer.allocUnsafeSlow(length);
    slab.set(this.#slab.subarray(this.#from, this.#to));
    this.#slab = slab;
    this.#to = this.pending;
    this.#from = 0;
  }
}

/** Where the raw bytes of a message that is coming in go. */
export interface Body {
  /** Takes the next bytes, those from `from` to `to`; throws FrameError (or ControlError) when they show that the message is damaged. */
  push(bytes: Uint8Array, from: number, to: number): void;
  /** All bytes have come. */
  finish(): void;
}

export interface FrameReceiver {
  /** Whether frames of this kind may come now. Asked before anything is allocated for it. */
  accepts(kind: number): boolean;
  /**
   * A message begins, with the control part that is the bytes from `from` to `to`: valid during the call only. `total` has
   * been checked against the cap. Undefined: the message has no raw bytes, and has been dealt with.
   */
  begin(kind: FrameKind, bytes: Uint8Array, from: number, to: number, total: number): Body | undefined;
}

/** A message that is coming in. */
interface Incoming {
  readonly kind: number;
  readonly body: Body;
  readonly total: number;
  received: number;
}

/**
 * Takes a link's bytes apart, in whatever chunks they come. Holds at most one header with its control part (64 KiB), and
 * the bodies of at most two messages: the one in pieces, and a whole one between its pieces (of at most 64 KiB).
 */
export class FrameReader {
  readonly #crc32c: Crc32c;
  readonly #receiver: FrameReceiver;
  readonly #maxMessageBytes: number;
  #greeted = 0;
  /** The start of a header and control part that was cut by the end of a chunk. */
  #head = new Uint8Array(FRAME_HEADER_BYTES);
  #headBytes = 0;
  /** The message in pieces, if any, and the one whose frame is being read. */
  #open: Incoming | undefined;
  #current: Incoming | undefined;
  #last = false;
  #rawLeft = 0;

  constructor(crc32c: Crc32c, receiver: FrameReceiver, maxMessageBytes: number) {
    this.#crc32c = crc32c;
    this.#receiver = receiver;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Takes the next bytes. Throws FrameError (or ControlError): the link is to be closed, and this reader dropped. */
  push(chunk: Uint8Array): void {
    let at = this.#greeted < GREETING_BYTES ? this.#greet(chunk) : 0;
    while (at < chunk.length) {
      if (this.#current !== undefined) at = this.#takeRaw(this.#current, chunk, at);
      else if (this.#headBytes > 0 || !wholeHead(chunk, at)) at = this.#takeHead(chunk, at);
      else {
        const end = headEnd(chunk, at);
        this.#begin(chunk, at, end);
        at = end;
      }
    }
  }

  #greet(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && this.#greeted < GREETING_BYTES) {
      const byte = chunk[at++]!;
      const place = this.#greeted++;
      if (place < PEER_MAGIC.length) {
        if (byte !== PEER_MAGIC[place])
          throw new FrameError('stranger', 'the other end does not speak the peer protocol');
      } else if (byte !== PROTOCOL_VERSION) {
        throw new FrameError(
          'version',
          `the other end speaks version ${byte} of the peer protocol, not ${PROTOCOL_VERSION}`,
        );
      }
    }
    return at;
  }

  /** A header that may be cut: gathers it, then its control part, in memory of its own. */
  #takeHead(chunk: Uint8Array, at: number): number {
    const head = this.#head;
    const missing = head.length - this.#headBytes;
    const end = Math.min(at + missing, chunk.length);
    head.set(chunk.subarray(at, end), this.#headBytes);
    this.#headBytes += end - at;
    if (this.#headBytes < head.length) return end;
    const whole = headEnd(head, 0);
    if (whole > head.length) {
      this.#head = new Uint8Array(whole);
      this.#head.set(head);
      return end;
    }
    this.#head = new Uint8Array(FRAME_HEADER_BYTES);
    this.#headBytes = 0;
    this.#begin(head, 0, head.length);
    return end;
  }

  /** A whole header with its control part has come. */
  #begin(bytes: Uint8Array, from: number, to: number): void {
    if (this.#crc32c(bytes, 0, from + FrameOffset.body, to) >>> 0 !== getU32(bytes, from + FrameOffset.crc)) {
      throw malformed('the CRC of a frame does not match');
    }
    const controlBytes = to - from - FRAME_HEADER_BYTES;
    const bodyBytes = getU32(bytes, from + FrameOffset.body);
    const kind = bytes[from + FrameOffset.kind]!;
    const flags = bytes[from + FrameOffset.flags]!;
    if (bodyBytes < controlBytes || bodyBytes > MAX_BODY_BYTES) throw malformed(`frame of ${bodyBytes} bytes`);
    if (!this.#receiver.accepts(kind)) throw malformed(`frame of kind ${kind}`);
    if (flags > 3) throw malformed(`flags ${flags}`);
    this.#rawLeft = bodyBytes - controlBytes;
    this.#last = (flags & FrameFlag.last) !== 0;
    const total = getU32(bytes, from + FrameOffset.total);
    const message =
      (flags & FrameFlag.first) !== 0
        ? this.#first(kind, bytes, from + FRAME_HEADER_BYTES, to, total)
        : this.#next(kind, controlBytes, total);
    this.#current = message;
    if (message !== undefined && this.#rawLeft === 0) this.#frameDone(message);
  }

  #first(kind: number, bytes: Uint8Array, from: number, to: number, total: number): Incoming | undefined {
    if (total > this.#maxMessageBytes) throw malformed(`message of ${total} bytes, more than ${this.#maxMessageBytes}`);
    if (!this.#last && this.#open !== undefined) throw malformed('two messages in pieces');
    this.#checkLength(this.#rawLeft, total);
    const body = this.#receiver.begin(kind as FrameKind, bytes, from, to, total);
    if (body === undefined) return undefined;
    const message = { kind, body, total, received: 0 };
    if (!this.#last) this.#open = message;
    return message;
  }

  /** `after`: raw bytes of the message when this frame is in. */
  #checkLength(after: number, total: number): void {
    if (after > total || this.#last !== (after === total)) throw malformed('a message is not as long as it said');
  }

  #next(kind: number, controlBytes: number, total: number): Incoming {
    const open = this.#open;
    if (open === undefined || open.kind !== kind || open.total !== total || controlBytes > 0) {
      throw malformed('a piece that belongs to no message');
    }
    if (this.#rawLeft === 0) throw malformed('an empty piece');
    this.#checkLength(open.received + this.#rawLeft, total);
    return open;
  }

  #takeRaw(message: Incoming, chunk: Uint8Array, at: number): number {
    const end = Math.min(at + this.#rawLeft, chunk.length);
    message.body.push(chunk, at, end);
    message.received += end - at;
    this.#rawLeft -= end - at;
    if (this.#rawLeft === 0) this.#frameDone(message);
    return end;
  }

  #frameDone(message: Incoming): void {
    this.#current = undefined;
    if (!this.#last) return;
    if (message === this.#open) this.#open = undefined;
    message.body.finish();
  }
}

function malformed(what: string): FrameError {
  return new FrameError('malformed', what);
}

function headEnd(bytes: Uint8Array, at: number): number {
  return at + FRAME_HEADER_BYTES + (bytes[at + FrameOffset.control]! | (bytes[at + FrameOffset.control + 1]! << 8));
}

function wholeHead(chunk: Uint8Array, at: number): boolean {
  return at + FRAME_HEADER_BYTES <= chunk.length && headEnd(chunk, at) <= chunk.length;
}
