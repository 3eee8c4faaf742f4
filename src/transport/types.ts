/** The seam between the node and its peers. See `transport.ts` for frames, hello and flow control. */
import type { Socket } from '../env/env.js';
import type { Founding } from '../log/types.js';
import type { Message, NodeId } from '../raft/types.js';

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
export type PeerMessage = Message | Forward;

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
  /** The entry of its log that set the members it goes by; 0: none did. */
  readonly members: number;
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
