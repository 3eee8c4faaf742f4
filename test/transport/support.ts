/** Messages, records and a link made of memory, for the tests of the transport. */
import type { Socket, SocketHandlers } from '../../src/env/env.js';
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import type { Entry } from '../../src/raft/types.js';
import { MessageReader } from '../../src/transport/codec.js';
import { FrameReader } from '../../src/transport/frame.js';
import type { Hello, PeerMessage } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';

export const identity = (byte: number): Uint8Array => new Uint8Array(16).fill(byte);

export function entry(index: number, term: number, payloadBytes: number): Entry {
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + payloadBytes);
  for (let at = RECORD_HEADER_BYTES; at < bytes.length; at++) bytes[at] = index * 31 + at;
  const payloadCrc = plainCrc32c(bytes.subarray(RECORD_HEADER_BYTES));
  sealRecord(bytes, { index, term, logTime: 5, wall: 6, type: 1 }, payloadCrc, plainCrc32c);
  return { index, term, bytes };
}

export function append(prevIndex: number, payloads: readonly number[], term = 7): PeerMessage {
  const entries = payloads.map((bytes, at) => entry(prevIndex + 1 + at, Math.max(1, term - 2), bytes));
  return { type: 'append', from: 2, to: 1, term, prevIndex, prevTerm: 1, commit: prevIndex, entries };
}

export function forward(sequence: number, payloadBytes: number): PeerMessage {
  const record = new Uint8Array(RECORD_HEADER_BYTES + payloadBytes);
  for (let at = RECORD_HEADER_BYTES; at < record.length; at++) record[at] = sequence + at * 7;
  const payloadCrc = plainCrc32c(record.subarray(RECORD_HEADER_BYTES));
  return { type: 'forward', from: 2, to: 1, term: 7, sequence, record, payloadCrc };
}

export function offer(index: number, metaBytes: number): PeerMessage {
  const meta = Uint8Array.from({ length: metaBytes }, (_, at) => at * 11);
  const info = { index, term: 2, logTime: 2 ** 41, stateHash: '0123456789abcdef', size: 2 ** 33, count: 2 ** 34, meta };
  return { type: 'offer', from: 2, to: 1, term: 7, index, key: plainCrc32c(meta), info };
}

export function chunk(offset: number, length: number): PeerMessage {
  const bytes = Uint8Array.from({ length }, (_, at) => offset + at * 13);
  return { type: 'chunk', from: 2, to: 1, term: 7, index: 9, key: 77, offset, crc: plainCrc32c(bytes), bytes };
}

/** One message of each type and, where a field has them, its extremes. */
export function allMessages(): PeerMessage[] {
  const link = { from: 2, to: 1 } as const;
  const big = Number.MAX_SAFE_INTEGER;
  return [
    { type: 'vote', ...link, term: 3, pre: true, lastIndex: 2 ** 32, lastTerm: 1, transfer: false },
    { type: 'vote', ...link, term: big, pre: false, lastIndex: big, lastTerm: big, transfer: true },
    { type: 'voted', ...link, term: 0, pre: false, granted: true },
    append(100, [0, 1, 500]),
    append(0, []),
    { type: 'appended', ...link, term: 3, ok: true, index: 5, hintTerm: 0, refused: 0, abstains: 0 },
    { type: 'appended', ...link, term: 3, ok: false, index: 0, hintTerm: 2, refused: 70_000, abstains: 2 ** 31 },
    { type: 'heartbeat', ...link, term: 3, commit: 12, round: 255 },
    { type: 'beaten', ...link, term: 3, round: 0, abstains: 0 },
    { type: 'beaten', ...link, term: 3, round: big, abstains: 7 },
    { type: 'beaten', ...link, term: 3, round: 1, abstains: 0, amid: true },
    { type: 'read', ...link, term: 3, id: 1 },
    { type: 'readable', ...link, term: 3, id: 1, index: -1 },
    { type: 'readable', ...link, term: 3, id: 2 ** 33, index: big },
    { type: 'timeoutNow', ...link, term: 3 },
    { type: 'cleared', ...link, term: 3, index: big, repair: 2 ** 31 },
    { type: 'room', ...link, term: 3, own: false, majority: true },
    { type: 'state', ...link, term: 3, index: big, hash: '0123456789abcdef' },
    { type: 'rebuild', ...link, term: 3, least: big },
    forward(1, 0),
    forward(big, 200),
    offer(70_000, 88),
    { type: 'want', ...link, term: 3, index: 1, key: 0, offset: 0 },
    { type: 'want', ...link, term: big, index: big, key: 2 ** 32 - 1, offset: big },
    chunk(0, 1),
    chunk(2 ** 40, 300),
    { type: 'done', ...link, term: 3, index: 1, key: 7, ok: true },
    { type: 'done', ...link, term: 3, index: big, key: 2 ** 32 - 1, ok: false },
  ];
}

export function helloOf(id: number, fields: Partial<Hello> = {}): Hello {
  return {
    protocol: 1,
    id,
    address: `node${id}:8080`,
    identity: identity(id),
    starts: 3,
    nonce: 0xffff_fff0 + id,
    founding: undefined,
    peers: [],
    members: 0,
    versions: { oldest: 1, newest: 1 },
    ...fields,
  };
}

/** A socket that keeps what is written to it, and drains when told to. */
export class MemorySocket implements Socket {
  readonly remote = 'memory:1';
  readonly written: Uint8Array[] = [];
  queued = 0;
  handlers: SocketHandlers | undefined;

  write(bytes: Uint8Array): void {
    this.written.push(bytes);
    this.queued += bytes.length;
  }
  writeLatin1(): void {}
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
  on(handlers: SocketHandlers): void {
    this.handlers = handlers;
  }

  /** All that was written and not yet taken. */
  take(): Uint8Array {
    this.queued = 0;
    return Buffer.concat(this.written.splice(0));
  }
}

export type Delivered = PeerMessage | { readonly type: 'hello'; readonly hello: Hello } | { readonly type: string };

/** The receiving side of a link from node 2 to node 1, all kinds allowed; the greeting is not expected. */
export class Receiver {
  readonly delivered: Delivered[] = [];
  readonly #reader: FrameReader;

  constructor(greeting: Uint8Array, maxMessageBytes = 67_108_864) {
    const messages = new MessageReader(plainCrc32c, 1, {
      hello: (hello) => this.delivered.push({ type: 'hello', hello }),
      refusal: (reason) => this.delivered.push({ type: `refusal ${reason}` }),
      ping: () => this.delivered.push({ type: 'ping' }),
      pong: () => this.delivered.push({ type: 'pong' }),
      message: (message) => this.delivered.push(message),
    });
    messages.from = 2;
    const kinds = new Set([1, 2, 3, 4, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33]);
    const receiver = {
      accepts: (kind: number) => kinds.has(kind),
      begin: messages.begin.bind(messages),
    };
    this.#reader = new FrameReader(plainCrc32c, receiver, maxMessageBytes);
    this.#reader.push(greeting);
  }

  push(bytes: Uint8Array): this {
    this.#reader.push(bytes);
    return this;
  }
}

/** Messages as text, one each: quicker to compare than arrays of bytes. */
export function texts(messages: readonly Delivered[]): string[] {
  const plain = (_: string, value: unknown): unknown =>
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
  // Field by field in one order, whatever order they were made in.
  const byName = (message: Delivered) => Object.entries(message).sort(([a], [b]) => (a < b ? -1 : 1));
  return messages.map((message) => JSON.stringify(byName(message), plain));
}
