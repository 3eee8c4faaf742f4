/**
 * Links between the nodes of a cluster.
 *
 * ## Concept
 *
 * Every node dials every peer, sends its own messages on the link it dialled, and only receives on those it accepted. So
 * there is no question which of two links is *the* one, and each direction fails and comes back by itself. Peers come in on
 * the port that clients use: their first bytes (`PEER_MAGIC`) are no beginning of a command, and the node hands such a
 * socket over with `accept`.
 *
 * A link opens with a hello from the dialler and one in answer. Both sides judge what they read (protocol, id, and
 * whatever the node's `judge` looks at), and the one that does not agree says why before it closes. Only then is the link
 * up: that a socket connects says nothing, since the system completes connections for a process that is stopped.
 *
 *     wire.ts      one socket: frames in, frames out         outbound.ts, inbound.ts   the two sides' states
 *     frame.ts     the drawing of a frame, reader, writer    queue.ts                  what waits, in two classes
 *     control.ts   msgpack parts, checked                    codec.ts, bodies.ts       messages and their entries
 *
 * ## Invariants
 *
 * - A message is delivered whole, once, unchanged and in the order of its class on the link, or not at all. Nothing is
 *   repeated here: Raft repeats itself.
 * - Entries travel as the bytes that were encoded where they came from; each is checked by its CRCs on arrival.
 * - What is queued is bounded, and so is what one message that comes in may claim, before and after the hello.
 * - Whatever comes in that makes no sense closes the link that it came on, with one line in the log, and nothing else.
 *
 * ## Caveats
 *
 * - A dead link is told from a quiet one by pings, answered on the same socket: nothing heard for 2 s closes it.
 * - Bytes in the system's own socket buffers cannot be overtaken any more: on a slow network a heartbeat may wait for them.
 * - Peers are not authenticated: whoever can reach the port and knows the cluster id can speak as a member.
 */
import type { Env, Socket, Timer } from '../env/env.js';
import type { Crc32c } from '../log/types.js';
import type { NodeId } from '../raft/types.js';
import { parseAddress } from './address.js';
import { MAX_MESSAGE_BYTES, PEER_MAGIC, PROTOCOL_VERSION } from './frame.js';
import { Inbound } from './inbound.js';
import { Outbound } from './outbound.js';
import type { PeerMessage, Transport, TransportHandlers } from './types.js';
import { Complaints, PING_MS, type Shared } from './wire.js';

export { PEER_MAGIC, PROTOCOL_VERSION, parseAddress };

export interface TransportOptions {
  readonly id: NodeId;
  readonly env: Pick<Env, 'timers' | 'network' | 'random'>;
  readonly crc32c: Crc32c;
  readonly handlers: TransportHandlers;
  /** Most raw bytes (records, payload) of a message that comes in; default 64 MiB. */
  readonly maxMessageBytes?: number;
}

/**
 * The transport of node `id`. Handlers are called from socket events and timers, and from `accept`, never from `connect`,
 * `send`, `flush` or `close`; from `review` only `judge` and, for a link that it ends, `link`. What a handler throws is logged and closes the link on whose behalf it was called.
 */
export function createTransport(options: TransportOptions): Transport {
  return new Links(options);
}

class Links implements Transport {
  readonly #shared: Shared;
  readonly #outbound = new Map<NodeId, Outbound>();
  /** The same, to go through without an iterator. */
  #links: readonly Outbound[] = [];
  /** All that were accepted, and those whose peer was let in. */
  readonly #accepted = new Set<Inbound>();
  readonly #inbound = new Map<NodeId, Inbound>();
  readonly #pings: Timer;
  #closed = false;

  constructor({ id, env, crc32c, handlers, maxMessageBytes = MAX_MESSAGE_BYTES }: TransportOptions) {
    const complaints = new Complaints(handlers.log.bind(handlers));
    this.#shared = { id, env, crc32c, handlers, complaints, maxMessageBytes };
    this.#pings = env.timers.every(PING_MS, () => this.#tick());
  }

  /** Throws when an address is not `host:port`. A second call replaces the first: peers it does not list are dropped. */
  connect(peers: readonly { readonly id: NodeId; readonly address: string }[]): void {
    const others = peers.filter((peer) => peer.id !== this.#shared.id);
    const links = others.map(({ id, address }) => {
      const known = this.#outbound.get(id);
      return known?.address === address ? known : new Outbound(this.#shared, id, address);
    });
    const dropped = [...this.#outbound.values()].filter((link) => !links.includes(link));
    for (const link of dropped) link.close();
    const started = links.filter((link) => this.#outbound.get(link.peer) !== link);
    this.#outbound.clear();
    for (const link of links) this.#outbound.set(link.peer, link);
    this.#links = links;
    for (const link of started) link.dial();
  }

  review(): void {
    for (const link of [...this.#outbound.values()]) link.review();
    for (const link of [...this.#inbound.values()]) link.review();
  }

  send(message: PeerMessage): void {
    this.#outbound.get(message.to)?.send(message);
  }

  flush(): void {
    for (let i = 0; i < this.#links.length; i++) this.#links[i]!.flush();
  }

  isUp(peer: NodeId): boolean {
    return this.#outbound.get(peer)?.up ?? false;
  }

  accept(socket: Socket, first: Uint8Array): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    const link = new Inbound(this.#shared, socket, {
      up: (next) => this.#replace(next),
      down: (lost) => this.#forget(lost),
    });
    this.#accepted.add(link);
    link.receive(first);
  }

  close(): void {
    this.#closed = true;
    this.#pings.cancel();
    for (const link of this.#outbound.values()) link.close();
    for (const link of this.#accepted) link.close();
    this.#outbound.clear();
    this.#links = [];
    this.#accepted.clear();
    this.#inbound.clear();
  }

  /** A peer has dialled again: it knows better than this end that the older link is of no use. */
  #replace(next: Inbound): void {
    const older = this.#inbound.get(next.peer);
    this.#inbound.set(next.peer, next);
    older?.drop('the peer has dialled again');
  }

  #forget(link: Inbound): void {
    this.#accepted.delete(link);
    if (this.#inbound.get(link.peer) === link) this.#inbound.delete(link.peer);
  }

  #tick(): void {
    for (const link of this.#outbound.values()) link.tick();
    for (const link of this.#inbound.values()) link.tick();
  }
}
