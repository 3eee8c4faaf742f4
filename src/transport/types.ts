/** The seam between the node and its peers. See `transport.ts` for frames, hello and flow control. */
import type { Socket } from '../env/env.js';
import type { Founding, SnapshotInfo } from '../log/types.js';
import type { Message, NodeId } from '../raft/types.js';
import type { VersionRange } from '../store/store.js';

/** An entry sent to the leader by the node that took it in: raw bytes, a record whose header is not filled in yet. */
export interface Forward {
  readonly type: 'forward';
  readonly from: NodeId;
  readonly to: NodeId;
  /** The leader's term that the sender believes in; whoever does not lead it drops the entry, and the sender sends it again when it learns of another leader. */
  readonly term: number;
  readonly sequence: number;
  /** HEADER_BYTES of room, then the payload; checked by CRC on arrival. */
  readonly record: Uint8Array;
  readonly payloadCrc: number;
}

/** Most bytes of content in one chunk of a snapshot, and of the host's bytes beside it. */
export const MAX_CHUNK_BYTES = 262_144;
export const MAX_META_BYTES = 65_535;

/**
 * How a snapshot travels: the leader offers, the other pulls, and says when it is done. `index` and `key`, the CRC32C of the
 * snapshot's host's bytes, say which snapshot is meant.
 */
interface OfSnapshot {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The term in which the leader that sends it leads. */
  readonly term: number;
  readonly index: number;
  readonly key: number;
}
/** The leader has this one for the receiver, who needs it. */
export interface SnapshotOffer extends OfSnapshot {
  readonly type: 'offer';
  readonly info: SnapshotInfo;
}
/** The next chunk, please: the content from `offset` on. */
export interface SnapshotWant extends OfSnapshot {
  readonly type: 'want';
  readonly offset: number;
}
/** Content from `offset` on, at least one byte; checked by CRC on arrival. */
export interface SnapshotChunk extends OfSnapshot {
  readonly type: 'chunk';
  readonly offset: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}
/** `ok`: everything up to `index` is on the sender's disk, by this snapshot or anyway. Else it cannot take it now. */
export interface SnapshotDone extends OfSnapshot {
  readonly type: 'done';
  readonly ok: boolean;
}
export type SnapshotMessage = SnapshotOffer | SnapshotWant | SnapshotChunk | SnapshotDone;
/** Whether there is room on disks for entries with commands: on the sender's own, and, as far as the leader says, on a majority's. */
export interface RoomNotice {
  readonly type: 'room';
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
  readonly own: boolean;
  /** True but from a leader. */
  readonly majority: boolean;
}
/** The sender's state hash (16 hexadecimal digits) after the entry `index`. */
export interface StateNotice {
  readonly type: 'state';
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
  readonly index: number;
  readonly hash: string;
}
/** The sender's state is not that of a majority: it needs a snapshot of everything up to `least`, at least; 0: it only asks for the state hash noted last. */
export interface RebuildRequest {
  readonly type: 'rebuild';
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
  readonly least: number;
}
export type PeerMessage = Message | Forward | SnapshotMessage | RoomNotice | StateNotice | RebuildRequest;

/** What each side says of itself when a link opens. */
export interface Hello {
  /** Version of the peer protocol: 1. */
  readonly protocol: number;
  readonly id: NodeId;
  /** The address at which this node is reached by peers and clients, host:port. */
  readonly address: string;
  /** Folder identity, 16 bytes. */
  readonly identity: Uint8Array;
  /** Incarnation: start counter and a random 32-bit nonce. */
  readonly starts: number;
  readonly nonce: number;
  /** Undefined as long as the folder belongs to no cluster. */
  readonly founding: Founding | undefined;
  /** Id, address of each member as its own --peers say; checked for equality before a cluster is founded. */
  readonly peers: readonly { readonly id: NodeId; readonly address: string }[];
  /** The entry as of which it knows the members; 0: as of the founding. */
  readonly members: number;
  /** By which its program can apply entries. */
  readonly versions: VersionRange;
}

export interface TransportHandlers {
  /** What to say in the next hello; asked anew for each link. */
  hello(): Hello;
  /** Judges a peer's hello: undefined lets it in; a text refuses it, and is sent to the peer as the reason. */
  judge(hello: Hello): string | undefined;
  /** A peer refused this node's hello, and why. The same reason again is told again only after the link was up. */
  refused(peer: NodeId | undefined, address: string, reason: string): void;
  /** Messages can be sent to `peer` now (true), or no longer (false); what was queued when it broke is lost. */
  link(peer: NodeId, up: boolean): void;
  message(message: PeerMessage): void;
  log(level: 'debug' | 'info' | 'warn', text: string): void;
}

export interface Transport {
  /** Dials these peers (again and again: first redial after 50 ms, at most 300 ms apart), and lets go of those it dialled and that are not listed. */
  connect(peers: readonly { readonly id: NodeId; readonly address: string }[]): void;
  /** Has every peer that was let in judged anew, by what it said in its hello: who is refused now is told so, and its link closed. */
  review(): void;
  /** Queues a message; it leaves with the next `flush`. Dropped in silence when the link is down or its queue is full (32 MiB): Raft repeats itself. */
  send(message: PeerMessage): void;
  /** Ends the turn: what was queued leaves in as few writes as possible. */
  flush(): void;
  isUp(peer: NodeId): boolean;
  /** Takes over an accepted socket whose first bytes are those of a peer; `first` is what has been read of it. */
  accept(socket: Socket, first: Uint8Array): void;
  close(): void;
}
