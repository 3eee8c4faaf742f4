/**
 * The messages of a link and their control parts. Sender and receiver of a message are those of the link, so neither is
 * written. The fields, in this order:
 *
 * ```
 * hello      protocol, id, address, identity, starts, nonce, founding or nil, peers, members, oldest and newest version
 *            founding: cluster id, members (each: id, address, identity); peers: each id, address
 * refusal    reason
 * ping pong  (none)
 * vote       term, pre, lastIndex, lastTerm, transfer
 * voted      term, pre, granted
 * append     term, prevIndex, prevTerm, commit, count; raw: the records
 * appended   term, ok, index, hintTerm, refused, abstains
 * heartbeat  term, commit, round
 * beaten     term, round, abstains, amid
 * read       term, id
 * readable   term, id, index
 * timeoutNow term
 * cleared    term, index, repair
 * room       term, own, majority
 * state      term, index, hash
 * rebuild    term, least
 * forward    term, sequence, payloadCrc; raw: the payload (the room for the header is not sent)
 * offer      term, index, key, term of the snapshot, logTime, stateHash, size, count; raw: the host's bytes, whose CRC32C is the key
 * want       term, index, key, offset
 * chunk      term, index, key, offset, crc; raw: the content
 * done       term, index, key, ok
 * ```
 */
import { RECORD_HEADER_BYTES } from '../log/record.js';
import type { Crc32c, Founding } from '../log/types.js';
import type { Entry, NodeId } from '../raft/types.js';
import { BytesBody, PayloadBody, RecordsBody } from './bodies.js';
import {
  ControlError,
  decodeControl,
  encodeControl,
  type Field,
  type Fields,
  type Packed,
  packControl,
} from './control.js';
import { type Body, FrameError, FrameKind } from './frame.js';
import { type Hello, MAX_CHUNK_BYTES, MAX_META_BYTES, type PeerMessage, type SnapshotMessage } from './types.js';

/** Bytes of an identity (a folder's, a cluster's). */
const IDENTITY_BYTES = 16;
const MAX_NODE_ID = 65_535;
const MAX_U32 = 4_294_967_295;
const MAX_ADDRESS_CHARS = 300;
/** Longer reasons are cut. */
const MAX_REASON_CHARS = 500;
const STATE_HASH_CHARS = 16;
const NO_ENTRIES: readonly Entry[] = [];
const NO_RECORD = new Uint8Array(0);

/** Encodes the control part of a message: valid until the next one is encoded. */
export function packMessage(message: PeerMessage): Packed {
  return packControl(messageFields(message));
}

/**
 * A message's raw bytes come in pieces, which are not copied: the records of an append, the record of a forward, without
 * the room in front of it, or what a part of a snapshot holds.
 */
export function pieceOf(message: PeerMessage, piece: number): Uint8Array {
  if (message.type === 'append') return message.entries[piece]!.bytes;
  if (message.type === 'forward') return message.record;
  if (message.type === 'chunk') return message.bytes;
  if (message.type === 'offer') return message.info.meta;
  throw new Error(`a ${message.type} has no raw bytes`);
}

/** Where the raw bytes begin in a message's first piece. */
export function firstOffset(message: PeerMessage): number {
  return message.type === 'forward' ? RECORD_HEADER_BYTES : 0;
}

/** Raw bytes of a message. */
export function rawBytes(message: PeerMessage): number {
  if (message.type === 'forward') return message.record.length - RECORD_HEADER_BYTES;
  if (message.type === 'chunk') return message.bytes.length;
  if (message.type === 'offer') return message.info.meta.length;
  if (message.type !== 'append') return 0;
  let total = 0;
  for (let i = 0; i < message.entries.length; i++) total += message.entries[i]!.bytes.length;
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
      return [m.term, m.round, m.abstains, m.amid ?? false];
    case 'read':
      return [m.term, m.id];
    case 'readable':
      return [m.term, m.id, m.index];
    case 'timeoutNow':
      return [m.term];
    case 'cleared':
      return [m.term, m.index, m.repair];
    case 'room':
      return [m.term, m.own, m.majority];
    case 'state':
      return [m.term, m.index, m.hash];
    case 'rebuild':
      return [m.term, m.least];
    case 'forward':
      return [m.term, m.sequence, m.payloadCrc >>> 0];
    default:
      return snapshotFields(m);
  }
}

function snapshotFields(m: SnapshotMessage): Field[] {
  switch (m.type) {
    case 'offer': {
      const { term, logTime, stateHash, size, count } = m.info;
      return [m.term, m.index, m.key >>> 0, term, logTime, stateHash, size, count];
    }
    case 'want':
      return [m.term, m.index, m.key >>> 0, m.offset];
    case 'chunk':
      return [m.term, m.index, m.key >>> 0, m.offset, m.crc >>> 0];
    case 'done':
      return [m.term, m.index, m.key >>> 0, m.ok];
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
    hello.members,
    hello.versions.oldest,
    hello.versions.newest,
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
    address: fields.address(MAX_ADDRESS_CHARS),
    identity: fields.bytes(IDENTITY_BYTES),
    starts: fields.integer(0, MAX_U32),
    nonce: fields.integer(0, MAX_U32),
    founding: readFounding(fields.optionalArray()),
    peers: fields.list((peer) => ({ id: peer.integer(1, MAX_NODE_ID), address: peer.address(MAX_ADDRESS_CHARS) })),
    members: fields.integer(),
    versions: { oldest: fields.integer(1), newest: fields.integer(1) },
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
      address: member.address(MAX_ADDRESS_CHARS),
      identity: member.bytes(IDENTITY_BYTES),
    })),
  };
  fields.end();
  return founding;
}

function amid<T extends PeerMessage>(is: boolean, message: T): T {
  return is ? { ...message, amid: true } : message;
}

/** Most raw bytes of a message of this kind; those of entries are bounded by all messages' bound. */
function mostRaw(kind: FrameKind): number {
  if (kind === FrameKind.append || kind === FrameKind.forward) return Number.POSITIVE_INFINITY;
  if (kind === FrameKind.chunk) return MAX_CHUNK_BYTES;
  return kind === FrameKind.offer ? MAX_META_BYTES : 0;
}

function stateHash(fields: Fields, field: number): string {
  const hash = fields.text(STATE_HASH_CHARS);
  if (!/^[0-9a-f]{16}$/.test(hash)) throw new ControlError(`field ${field} is not a state hash`);
  return hash;
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
  readonly #message: (message: PeerMessage) => void;
  /** A message with raw bytes has begun, and is not delivered yet. */
  #arriving = false;
  /** The node at the other end; 0 until its hello has been let in. */
  from: NodeId = 0;

  constructor(crc32c: Crc32c, to: NodeId, deliver: Deliver) {
    this.#crc32c = crc32c;
    this.#to = to;
    this.#deliver = deliver;
    this.#message = (message) => {
      this.#arriving = false;
      deliver.message(message);
    };
  }

  /** See `FrameReceiver.begin`. A message with a body is delivered when that finishes. */
  begin(kind: FrameKind, bytes: Uint8Array, at: number, end: number, total: number): Body | undefined {
    if (total > mostRaw(kind)) throw new FrameError('malformed', 'raw bytes in a message that has none, or fewer');
    if (kind === FrameKind.ping || kind === FrameKind.pong) {
      if (at < end) throw new ControlError('a control part in a message that has none');
      if (kind === FrameKind.ping) this.#deliver.ping();
      else this.#deliver.pong();
      return undefined;
    }
    const fields = decodeControl(bytes, at, end);
    if (kind === FrameKind.hello) {
      this.#deliver.hello(readHello(fields));
      return undefined;
    }
    if (kind === FrameKind.refusal) {
      const reason = fields.text(MAX_REASON_CHARS);
      fields.end();
      this.#deliver.refusal(reason);
      return undefined;
    }
    const term = fields.integer();
    if (total > 0) this.#arriving = true;
    if (kind === FrameKind.append) return this.#append(fields, term, total);
    if (kind === FrameKind.forward) return this.#forward(fields, term, total);
    if (kind === FrameKind.offer) return this.#offer(fields, term, total);
    if (kind === FrameKind.chunk) return this.#chunk(fields, term, total);
    const message = this.#plain(kind, fields, term);
    fields.end();
    this.#deliver.message(message);
    return undefined;
  }

  #append(fields: Fields, term: number, total: number): Body {
    const prevIndex = fields.integer();
    const prevTerm = fields.integer();
    const commit = fields.integer();
    const count = fields.integer(0, total);
    fields.end();
    const { from } = this;
    return new RecordsBody(
      this.#crc32c,
      { type: 'append', from, to: this.#to, term, prevIndex, prevTerm, commit, entries: NO_ENTRIES },
      count,
      total,
      this.#message,
    );
  }

  #forward(fields: Fields, term: number, total: number): Body {
    const sequence = fields.integer(1);
    const payloadCrc = fields.integer(0, MAX_U32);
    fields.end();
    const { from } = this;
    return new PayloadBody(
      this.#crc32c,
      { type: 'forward', from, to: this.#to, term, sequence, record: NO_RECORD, payloadCrc },
      total,
      this.#message,
    );
  }

  #offer(f: Fields, term: number, total: number): Body {
    const { index, key } = this.#snapshot(f);
    const info = {
      index,
      term: f.integer(1),
      logTime: f.integer(),
      stateHash: stateHash(f, 6),
      size: f.integer(),
      count: f.integer(),
    };
    f.end();
    const { from } = this;
    return new BytesBody(this.#crc32c, key, total, (meta) =>
      this.#message({ type: 'offer', from, to: this.#to, term, index, key, info: { ...info, meta } }),
    );
  }

  #chunk(f: Fields, term: number, total: number): Body {
    const { index, key } = this.#snapshot(f);
    const offset = f.integer();
    const crc = f.integer(0, MAX_U32);
    f.end();
    const { from } = this;
    return new BytesBody(this.#crc32c, crc, total, (bytes) =>
      this.#message({ type: 'chunk', from, to: this.#to, term, index, key, offset, crc, bytes }),
    );
  }

  /** Which snapshot is meant. */
  #snapshot(f: Fields): { index: number; key: number } {
    return { index: f.integer(1), key: f.integer(0, MAX_U32) };
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

  #beaten(f: Fields, term: number): PeerMessage {
    const [round, abstains] = [f.integer(), f.integer()];
    return amid(f.boolean(), { type: 'beaten', from: this.from, to: this.#to, term, round, abstains });
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
        return amid(this.#arriving, { type: 'heartbeat', from, to, term, commit: f.integer(), round: f.integer() });
      case FrameKind.beaten:
        return this.#beaten(f, term);
      case FrameKind.read:
        return { type: 'read', from, to, term, id: f.integer() };
      case FrameKind.readable:
        return { type: 'readable', from, to, term, id: f.integer(), index: f.integer(-1) };
      case FrameKind.timeoutNow:
        return { type: 'timeoutNow', from, to, term };
      case FrameKind.cleared:
        return { type: 'cleared', from, to, term, index: f.integer(), repair: f.integer(1) };
      case FrameKind.want:
        return { type: 'want', from, to, term, ...this.#snapshot(f), offset: f.integer() };
      case FrameKind.done:
        return { type: 'done', from, to, term, ...this.#snapshot(f), ok: f.boolean() };
      case FrameKind.room:
        return { type: 'room', from, to, term, own: f.boolean(), majority: f.boolean() };
      case FrameKind.state:
        return { type: 'state', from, to, term, index: f.integer(1), hash: stateHash(f, 3) };
      case FrameKind.rebuild:
        return { type: 'rebuild', from, to, term, least: f.integer() };
      default:
        throw new FrameError('malformed', `message of kind ${kind}`);
    }
  }
}
