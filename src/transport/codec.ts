/**
 * The messages of a link and their control parts. Sender and receiver of a message are those of the link, so neither is
 * written. The fields, in this order:
 *
 * ```
 * hello      protocol, id, address, identity, starts, nonce, founding or nil, peers
 *            founding: cluster id, members (each: id, address, identity); peers: each id, address
 * refusal    reason
 * ping pong  (none)
 * vote       term, pre, lastIndex, lastTerm, transfer
 * voted      term, pre, granted
 * append     term, prevIndex, prevTerm, commit, count; raw: the records
 * appended   term, ok, index, hintTerm, refused, abstains
 * heartbeat  term, commit, round
 * beaten     term, round, abstains
 * read       term, id
 * readable   term, id, index
 * timeoutNow term
 * cleared    term, index, repair
 * forward    term, sequence, payloadCrc; raw: the payload (the room for the header is not sent)
 * ```
 */
import { RECORD_HEADER_BYTES } from '../log/record.js';
import type { Crc32c, Founding } from '../log/types.js';
import type { NodeId } from '../raft/types.js';
import { NoBody, PayloadBody, RecordsBody } from './bodies.js';
import { ControlError, decodeControl, encodeControl, type Field, type Fields } from './control.js';
import { type Body, FrameError, FrameKind } from './frame.js';
import type { Hello, PeerMessage } from './types.js';

/** Bytes of an identity (a folder's, a cluster's). */
const IDENTITY_BYTES = 16;
const MAX_NODE_ID = 65_535;
const MAX_U32 = 4_294_967_295;
const MAX_ADDRESS_CHARS = 300;
/** Longer reasons are cut. */
const MAX_REASON_CHARS = 500;

/** A message as it leaves: control part and raw bytes. */
export interface Encoded {
  readonly kind: FrameKind;
  readonly control: Uint8Array;
  /** The raw bytes, in pieces that follow each other. */
  readonly pieces: readonly Uint8Array[];
  readonly total: number;
}

const NO_PIECES: readonly Uint8Array[] = [];

/** Encodes a message; the raw bytes are not copied. */
export function encodeMessage(message: PeerMessage): Encoded {
  const kind = FrameKind[message.type];
  const control = encodeControl(messageFields(message));
  if (message.type === 'append') {
    const pieces = message.entries.map((entry) => entry.bytes);
    return { kind, control, pieces, total: rawBytes(message) };
  }
  if (message.type === 'forward') {
    return { kind, control, pieces: [message.record.subarray(RECORD_HEADER_BYTES)], total: rawBytes(message) };
  }
  return { kind, control, pieces: NO_PIECES, total: 0 };
}

/** Raw bytes of a message. */
export function rawBytes(message: PeerMessage): number {
  if (message.type === 'forward') return message.record.length - RECORD_HEADER_BYTES;
  if (message.type !== 'append') return 0;
  let total = 0;
  for (const entry of message.entries) total += entry.bytes.length;
  return total;
}

function messageFields(m: PeerMessage): Field[] {
  switch (m.type) {
    case 'vote':
      return [m.term, m.pre, m.lastIndex, m.lastTerm, m.transfer];
    case 'voted':
      return [m.term, m.pre, m.granted];
    case 'append':
      return [m.term, m.prevIndex, m.prevTerm, m.commit, m.entries.length];
    case 'appended':
      return [m.term, m.ok, m.index, m.hintTerm, m.refused, m.abstains];
    case 'heartbeat':
      return [m.term, m.commit, m.round];
    case 'beaten':
      return [m.term, m.round, m.abstains];
    case 'read':
      return [m.term, m.id];
    case 'readable':
      return [m.term, m.id, m.index];
    case 'timeoutNow':
      return [m.term];
    case 'cleared':
      return [m.term, m.index, m.repair];
    case 'forward':
      return [m.term, m.sequence, m.payloadCrc >>> 0];
  }
}

/** Control part of a hello. */
export function encodeHello(hello: Hello): Uint8Array {
  const { founding } = hello;
  const members = founding?.members.map((member) => [member.id, member.address, member.identity]);
  const peers = hello.peers.map((peer) => [peer.id, peer.address]);
  return encodeControl([
    hello.protocol,
    hello.id,
    hello.address,
    hello.identity,
    hello.starts,
    hello.nonce >>> 0,
    founding && members ? [founding.clusterId, members] : undefined,
    peers,
  ]);
}

/** Control part of a refusal: the reason as one printable line. */
export function encodeRefusal(reason: string): Uint8Array {
  const line = reason.replace(/[\x00-\x1f\x7f]+/g, ' ').slice(0, MAX_REASON_CHARS);
  return encodeControl([line === '' ? 'no reason given' : line]);
}

function readHello(fields: Fields): Hello {
  const hello = {
    protocol: fields.integer(0, MAX_U32),
    id: fields.integer(1, MAX_NODE_ID),
    address: fields.text(MAX_ADDRESS_CHARS),
    identity: fields.bytes(IDENTITY_BYTES),
    starts: fields.integer(0, MAX_U32),
    nonce: fields.integer(0, MAX_U32),
    founding: readFounding(fields.optionalArray()),
    peers: fields.list((peer) => ({ id: peer.integer(1, MAX_NODE_ID), address: peer.text(MAX_ADDRESS_CHARS) })),
  };
  fields.end();
  return hello;
}

function readFounding(fields: Fields | undefined): Founding | undefined {
  if (fields === undefined) return undefined;
  const founding = {
    clusterId: fields.bytes(IDENTITY_BYTES),
    members: fields.list((member) => ({
      id: member.integer(1, MAX_NODE_ID),
      address: member.text(MAX_ADDRESS_CHARS),
      identity: member.bytes(IDENTITY_BYTES),
    })),
  };
  fields.end();
  return founding;
}

/** What a link delivers. */
export interface Deliver {
  hello(hello: Hello): void;
  refusal(reason: string): void;
  ping(): void;
  pong(): void;
  message(message: PeerMessage): void;
}

/** Reads the messages of one link. */
export class MessageReader {
  readonly #crc32c: Crc32c;
  readonly #to: NodeId;
  readonly #deliver: Deliver;
  /** The node at the other end; 0 until its hello has been let in. */
  from: NodeId = 0;

  constructor(crc32c: Crc32c, to: NodeId, deliver: Deliver) {
    this.#crc32c = crc32c;
    this.#to = to;
    this.#deliver = deliver;
  }

  /** See `FrameReceiver.begin`. The message is delivered when the body finishes. */
  begin(kind: FrameKind, control: Uint8Array, total: number): Body {
    if (total > 0 && kind !== FrameKind.append && kind !== FrameKind.forward) {
      throw new FrameError('malformed', 'raw bytes in a message that has none');
    }
    const deliver = this.#deliver;
    if (kind === FrameKind.ping) return this.#empty(control, () => deliver.ping());
    if (kind === FrameKind.pong) return this.#empty(control, () => deliver.pong());
    const fields = decodeControl(control);
    if (kind === FrameKind.hello) {
      const hello = readHello(fields);
      return new NoBody(() => deliver.hello(hello));
    }
    if (kind === FrameKind.refusal) {
      const reason = fields.text(MAX_REASON_CHARS);
      fields.end();
      return new NoBody(() => deliver.refusal(reason));
    }
    const term = fields.integer();
    if (kind === FrameKind.append) return this.#append(fields, term, total);
    if (kind === FrameKind.forward) return this.#forward(fields, term, total);
    const message = this.#plain(kind, fields, term);
    fields.end();
    return new NoBody(() => deliver.message(message));
  }

  #empty(control: Uint8Array, done: () => void): Body {
    if (control.length > 0) throw new ControlError('a control part in a message that has none');
    return new NoBody(done);
  }

  #append(fields: Fields, term: number, total: number): Body {
    const prevIndex = fields.integer();
    const prevTerm = fields.integer();
    const commit = fields.integer();
    const count = fields.integer(0, total);
    fields.end();
    const { from } = this;
    return new RecordsBody(this.#crc32c, { term, prevIndex, prevTerm, count }, total, (entries) =>
      this.#deliver.message({ type: 'append', from, to: this.#to, term, prevIndex, prevTerm, commit, entries }),
    );
  }

  #forward(fields: Fields, term: number, total: number): Body {
    const sequence = fields.integer(1);
    const payloadCrc = fields.integer(0, MAX_U32);
    fields.end();
    const { from } = this;
    return new PayloadBody(this.#crc32c, payloadCrc, total, (record) =>
      this.#deliver.message({ type: 'forward', from, to: this.#to, term, sequence, record, payloadCrc }),
    );
  }

  #vote(f: Fields, term: number): PeerMessage {
    const [pre, lastIndex, lastTerm, transfer] = [f.boolean(), f.integer(), f.integer(), f.boolean()];
    return { type: 'vote', from: this.from, to: this.#to, term, pre, lastIndex, lastTerm, transfer };
  }

  #appended(f: Fields, term: number): PeerMessage {
    const ok = f.boolean();
    const index = f.integer();
    const hintTerm = f.integer();
    const refused = f.integer();
    const abstains = f.integer();
    return { type: 'appended', from: this.from, to: this.#to, term, ok, index, hintTerm, refused, abstains };
  }

  /** Messages that consist of their control part. */
  #plain(kind: FrameKind, f: Fields, term: number): PeerMessage {
    const { from } = this;
    const to = this.#to;
    switch (kind) {
      case FrameKind.vote:
        return this.#vote(f, term);
      case FrameKind.voted:
        return { type: 'voted', from, to, term, pre: f.boolean(), granted: f.boolean() };
      case FrameKind.appended:
        return this.#appended(f, term);
      case FrameKind.heartbeat:
        return { type: 'heartbeat', from, to, term, commit: f.integer(), round: f.integer() };
      case FrameKind.beaten:
        return { type: 'beaten', from, to, term, round: f.integer(), abstains: f.integer() };
      case FrameKind.read:
        return { type: 'read', from, to, term, id: f.integer() };
      case FrameKind.readable:
        return { type: 'readable', from, to, term, id: f.integer(), index: f.integer(-1) };
      case FrameKind.timeoutNow:
        return { type: 'timeoutNow', from, to, term };
      case FrameKind.cleared:
        return { type: 'cleared', from, to, term, index: f.integer(), repair: f.integer(1) };
      default:
        throw new FrameError('malformed', `message of kind ${kind}`);
    }
  }
}
