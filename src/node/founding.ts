/**
 * How a folder comes to belong to a cluster: first start, and the judgement of every hello until then. Who counts once it
 * does is the roster's to say (roster.ts).
 *
 * A folder's identity is durable before its first hello. When all members of `--peers` answer that they are empty, the lowest
 * id makes the founding record durable (cluster id; every id, address and folder identity), then says it in its hellos. An empty node
 * whose identity is listed adopts the record durably, from any holder, at any time, before it votes.
 *
 * Invariants: a folder has at most one founding record, and it never changes; a node that has none neither votes nor
 * acknowledges. A node that finds its address in the record of others with another folder identity has lost its folder, and with it
 * its votes and acknowledgements: letting it in would let a majority forget a write. It asks to be replaced instead (joining.ts).
 */
import type { Random } from '../env/env.js';
import type { Founding, Log } from '../log/types.js';
import type { Hello } from '../transport/types.js';
import type { Incarnation, Incarnations } from './incarnations.js';
import { sameIdentity } from './members.js';
import type { PeerAddress } from './options.js';
import type { Roster } from './roster.js';

export interface FoundingHost {
  readonly id: number;
  readonly address: string;
  /** What --peers says; undefined for a cluster of one. */
  readonly peers: readonly PeerAddress[] | undefined;
  readonly log: Log;
  readonly random: Random;
  readonly roster: Pick<Roster, 'judge'>;
  /** The newest incarnation of a folder of which this node has applied an entry. */
  origin(identity: Uint8Array): { readonly starts: number; readonly nonce: number } | undefined;
  /** Of the folders that were let in. */
  readonly incarnations: Pick<Incarnations, 'get' | 'set'>;
  /** Whether it asks to join a cluster: no record is made or adopted but the one that it is answered. */
  joining(): boolean;
  /** A member of some cluster has dialled this node, or was dialled by it: nothing it said tells whether it knows it. */
  heardOf(address: string): void;
  /** The record is durable here now. */
  founded(founding: Founding): void;
  /** The members know this node with another folder; `members`: where to ask that this one take its place. */
  lost(reason: string, members: readonly string[]): void;
  /** The record could not be made durable: the node must stop, for its log is closed to everything from now on. */
  failed(error: Error): void;
}

export class FirstStart {
  readonly #host: FoundingHost;
  /** Members that said that they are empty, with the identity they said it with. */
  readonly #empty = new Map<number, Uint8Array>();

  constructor(host: FoundingHost) {
    this.#host = host;
  }

  get founding(): Founding | undefined {
    return this.#host.log.founding;
  }

  /** Undefined lets the peer in; else the reason it is told. */
  judge(hello: Hello): string | undefined {
    const refusal = this.#judgeIncarnation(hello) ?? this.#judgeMembership(hello);
    if (refusal === undefined) this.#note(hello);
    return refusal;
  }

  #note({ identity, starts, nonce }: Hello): void {
    const { incarnations } = this.#host;
    const seen = incarnations.get(keyOf(identity));
    if (seen?.starts !== starts || seen.nonce !== nonce) incarnations.set(keyOf(identity), { starts, nonce });
  }

  #judgeIncarnation(hello: Hello): string | undefined {
    const key = keyOf(hello.identity);
    // Who has been let in is known at once; who has written, also where it never was.
    return (
      this.#isOlder(hello, this.#host.incarnations.get(key)) ?? this.#isOlder(hello, this.#host.origin(hello.identity))
    );
  }

  #isOlder(hello: Hello, seen: Incarnation | undefined): string | undefined {
    if (!seen || hello.starts > seen.starts || (hello.starts === seen.starts && hello.nonce === seen.nonce))
      return undefined;
    return `node ${hello.id} was started ${seen.starts} times, and this one says ${hello.starts}: an old copy of its folder, or a second process with a copy of it`;
  }

  #judgeMembership(hello: Hello): string | undefined {
    if (this.founding) return this.#host.roster.judge(hello);
    if (this.#host.joining()) {
      if (hello.founding) this.#host.heardOf(hello.address);
      return `node ${this.#host.id} has asked to join the cluster, and has no answer yet`;
    }
    if (hello.founding) return this.#adopt(hello.founding, hello);
    return this.#noteEmpty(hello);
  }

  /** This node is empty and hears of a cluster. */
  #adopt(founding: Founding, hello: Hello): string | undefined {
    const { id, address, log } = this.#host;
    const ids = new Set(founding.members.map((m) => m.id));
    if (ids.size !== founding.members.length || ids.has(0))
      return `the founding record of node ${hello.id} lists ids twice, or 0: ${describe(founding.members)}`;
    const listed = founding.members.find((m) => m.id === id);
    if (listed && sameIdentity(listed.identity, log.folder.identity)) {
      return this.#makeDurable(founding) ? undefined : `node ${id} could not write the founding record`;
    }
    if (listed?.address === address || founding.members.some((m) => m.address === address)) {
      const reason = `the data folder is new, but the cluster of node ${hello.id} at ${hello.address} knows node ${id} at ${address} with another one`;
      this.#host.lost(reason, [hello.address, ...founding.members.map((m) => m.address)]);
    } else this.#host.heardOf(hello.address);
    return `node ${id} is not a member of the cluster of node ${hello.id}`;
  }

  #noteEmpty(hello: Hello): string | undefined {
    const { peers } = this.#host;
    if (!peers) return `node ${this.#host.id} is a cluster of one; start it with --peers to make it a member`;
    if (!samePeers(peers, hello.peers))
      return `node ${hello.id} was started with other --peers (${describe(hello.peers)}) than node ${this.#host.id} (${describe(peers)})`;
    this.#empty.set(hello.id, hello.identity);
    this.#foundIfComplete(peers);
    return undefined;
  }

  #foundIfComplete(peers: readonly PeerAddress[]): void {
    const { id, log } = this.#host;
    if (log.damaged || peers.some((p) => p.id < id)) return;
    if (!peers.every((p) => p.id === id || this.#empty.has(p.id))) return;
    this.#found(
      peers.map((p) => ({
        id: p.id,
        address: p.address,
        identity: p.id === id ? log.folder.identity : this.#empty.get(p.id)!,
      })),
    );
  }

  /** The link to a member broke: what it said of itself holds no longer, for its folder may be another when it comes back. */
  forget(id: number): void {
    this.#empty.delete(id);
  }

  /** A cluster of one founds itself, unless it has learned meanwhile that it belongs elsewhere. */
  foundAlone(): void {
    const { id, address, log } = this.#host;
    // A folder that has lost its founding record belongs to a cluster already.
    if (this.founding || this.#host.joining() || log.damaged) return;
    this.#found([{ id, address, identity: log.folder.identity }]);
  }

  #found(members: Founding['members']): void {
    const founding: Founding = {
      clusterId: this.#host.random.bytes(16),
      members: [...members].sort((a, b) => a.id - b.id),
    };
    this.#makeDurable(founding);
  }

  /** The cluster that was asked has let this node in. */
  joined(founding: Founding): void {
    if (!this.founding) this.#makeDurable(founding);
  }

  #makeDurable(founding: Founding): boolean {
    try {
      this.#host.log.found(founding);
    } catch (error) {
      this.#host.failed(error as Error);
      return false;
    }
    this.#host.founded(founding);
    return true;
  }
}

function keyOf(identity: Uint8Array): string {
  return Buffer.from(identity).toString('hex');
}

/** `1=127.0.0.1:8080,2=…`, as --peers takes it. */
export function describe(peers: readonly PeerAddress[]): string {
  return peers.map((p) => `${p.id}=${p.address}`).join(',');
}

export function samePeers(a: readonly PeerAddress[], b: readonly PeerAddress[]): boolean {
  const sorted = (peers: readonly PeerAddress[]) => describe([...peers].sort((x, y) => x.id - y.id));
  return sorted(a) === sorted(b);
}
