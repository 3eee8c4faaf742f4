/** Starts and stops a node: folder, port, first start, and the parts in between. */
import type { Env, Listener, Socket } from '../env/env.js';
import { ListenError } from '../env/env.js';
import { openLog } from '../log/log.js';
import { type Crc32c, type Founding, type Log, LogError } from '../log/types.js';
import { crc32c } from '../store/crc32c.js';
import type { Store, StoreOptions } from '../store/store.js';
import { createTransport } from '../transport/transport.js';
import type { Transport } from '../transport/types.js';
import { describe, Membership, samePeers } from './founding.js';
import { Node } from './node.js';
import { joinAddress, NodeError, type NodeOptions, splitAddress } from './options.js';
import { restoreAll } from './restore.js';

export type { NodeOptions } from './options.js';
export { defaultNodeOptions, NodeError } from './options.js';

/** A cluster of one listens this long for members that know its address before it founds itself. */
const foundAloneAfterMs = 1_000;
/** What is under way when the node is told to stop may take this long to finish. */
const graceMs = 2_000;
/** Of the log that a snapshot replaces, so much is kept for followers that are a little behind. */
const tailShare = 1 / 4;
/** A segment is this part of the log that is allowed, within these bounds. */
const segmentsKept = 4;
const segmentSizes = [65_536, 16 * 1024 ** 2] as const;

export interface RunningNode {
  /** host:port by which the members know it. */
  readonly address: string;
  /** host:port on which it listens. */
  readonly listens: string;
  /** Clients that are connected. */
  readonly connections: number;
  /** Finishes what is under way, then closes everything. */
  stop(): Promise<void>;
  /** Resolves when the node has stopped by itself, with the reason. */
  readonly failed: Promise<Error>;
}

/** Starts a node; it serves when this resolves (with a quorum or not). Rejects with a NodeError: one line for the user. */
export async function startNode(env: Env, options: NodeOptions): Promise<RunningNode> {
  checkPeers(options);
  const waiting: Socket[] = [];
  let accept = (socket: Socket): void => {
    socket.pause();
    waiting.push(socket);
  };
  const listener = await listen(env, options, (socket) => accept(socket));
  // Recovery comes before the store, whose seed and origin it reads; then the store's own checksum, the faster one, takes over.
  let checksum: Crc32c = crc32c;
  let log: Log;
  try {
    log = await open(env, options, (bytes, seed, from, to) => checksum(bytes, seed, from, to));
  } catch (error) {
    listener.close();
    for (const socket of waiting) socket.destroy();
    throw error;
  }
  try {
    const nonce = new DataView(env.random.bytes(4).slice().buffer).getUint32(0);
    const { identity } = log.folder;
    const store = await makeStore(options.store, {
      identity,
      starts: log.vote.starts,
      nonce,
      seed: env.random.bytes(16),
    });
    checksum = store.crc32c;
    await restoreAll(store, log, env.timers);
    const run = new Run(env, options, log, store, nonce, listener);
    accept = (socket) => run.accept(socket);
    for (const socket of waiting) {
      run.accept(socket);
      socket.resume();
    }
    return run;
  } catch (error) {
    listener.close();
    for (const socket of waiting) socket.destroy();
    await log.close();
    throw error;
  }
}

function checkPeers(options: NodeOptions): void {
  if (!options.peers) return;
  const own = options.peers.find((p) => p.id === options.id);
  if (!own) throw new NodeError(`--peers ${describe(options.peers)} does not list this node's id, ${options.id}`);
  if (splitAddress(own.address).port !== options.port)
    throw new NodeError(`--peers says that node ${options.id} is at ${own.address}, but --port is ${options.port}`);
}

async function listen(env: Env, options: NodeOptions, accept: (socket: Socket) => void): Promise<Listener> {
  try {
    return await env.network.listen(options.host, options.port, accept);
  } catch (error) {
    if (error instanceof ListenError && error.code === 'taken')
      throw new NodeError(
        `port ${options.port} on ${options.host} is in use by another process; choose another with --port`,
      );
    throw new NodeError((error as Error).message);
  }
}

async function open(env: Env, options: NodeOptions, checksum: Crc32c): Promise<Log> {
  const { dataDir, peers, id } = options;
  if (!peers && id !== 1 && !env.disk.exists(dataDir))
    throw new NodeError(
      `node ${id} has no data folder yet (${dataDir}), and only node 1 begins a cluster of one; pass --peers with all members, such as --peers 1=127.0.0.1:8080,${id}=${options.host}:${options.port}`,
    );
  try {
    const log = await openLog({
      disk: env.disk,
      random: env.random,
      clock: env.clock,
      defer: (callback) => env.timers.defer(callback),
      crc32c: checksum,
      directory: dataDir,
      repair: (founding) => hasOthers(options, founding),
      onWarning: (message) => options.log('warn', message),
      nodeId: id,
      tailBytes: Math.floor(options.snapshotLogBytes * tailShare),
      segmentBytes: options.segmentBytes ?? segmentBytes(options.snapshotLogBytes),
    });
    try {
      log.saveVote({ ...log.vote, starts: log.vote.starts + 1 });
    } catch (error) {
      await log.close();
      throw error;
    }
    return log;
  } catch (error) {
    if (error instanceof LogError) throw new NodeError(error.message);
    throw new NodeError(`cannot open the data folder ${dataDir}: ${(error as Error).message}`);
  }
}

/** Whether a damaged folder can be repaired from other members. A founding record that is lost says nothing. */
function hasOthers({ id, peers }: NodeOptions, founding: Founding | undefined): boolean {
  const members = founding?.members ?? peers ?? [];
  return members.some((member) => member.id !== id);
}

/** The log is shortened by whole segments: a few of them make what is kept. */
function segmentBytes(snapshotLogBytes: number): number {
  const wanted = Math.ceil(snapshotLogBytes / segmentsKept / 512) * 512;
  return Math.min(Math.max(wanted, segmentSizes[0]), segmentSizes[1]);
}

/** What the members call this node, which may listen on more than that. A cluster of one goes where it is started. */
function ownAddress(options: NodeOptions, founding: Founding | undefined, port: number): string {
  const { id, peers, host, publicHost } = options;
  const alone = founding?.members.length === 1;
  const members = founding && !alone ? founding.members : alone && peers?.length !== 1 ? undefined : peers;
  return members?.find((m) => m.id === id)?.address ?? joinAddress(publicHost ?? host, port);
}

class Run implements RunningNode {
  readonly address: string;
  readonly listens: string;
  readonly failed: Promise<Error>;
  readonly #env: Env;
  readonly #options: NodeOptions;
  readonly #log: Log;
  readonly #listener: Listener;
  readonly #membership: Membership;
  readonly #node: Node;
  readonly #nonce: number;
  readonly #crc32c: Crc32c;
  #transport: Transport;
  #stopping: Promise<void> | undefined;
  #fail: (error: Error) => void = () => {};

  constructor(env: Env, options: NodeOptions, log: Log, store: Store, nonce: number, listener: Listener) {
    this.#env = env;
    this.#options = options;
    this.#log = log;
    this.#listener = listener;
    this.address = ownAddress(options, log.founding, listener.port);
    this.listens = joinAddress(options.host, listener.port);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    this.#nonce = nonce;
    this.#crc32c = store.crc32c;
    this.#checkFolder();
    this.#membership = new Membership({
      id: options.id,
      address: this.address,
      peers: options.peers,
      log,
      random: env.random,
      founded: (founding) => this.#founded(founding),
      lost: (reason) => this.#node.fail(new NodeError(reason)),
      failed: (error) => this.#node.fail(error),
    });
    this.#transport = this.#makeTransport();
    this.#node = new Node({
      env,
      options,
      address: this.address,
      store,
      log,
      transport: () => this.#transport,
      fail: (error) => this.#failed(error),
    });
    this.#begin();
  }

  #checkFolder(): void {
    const { founding } = this.#log;
    const { id, peers, log } = this.#options;
    if (!founding) {
      if (!peers && id !== 1)
        throw new NodeError(`node ${id} belongs to no cluster yet; pass --peers with all members`);
      return;
    }
    if (peers && !samePeers(peers, founding.members) && Math.max(peers.length, founding.members.length) > 1)
      log('warn', `--peers is ignored: the data folder says ${describe(founding.members)}`);
    const own = founding.members.find((m) => m.id === id);
    if (founding.members.length > 1 && own && splitAddress(own.address).port !== this.#listener.port)
      throw new NodeError(
        `the cluster knows node ${id} at ${own.address}; start it with --port ${splitAddress(own.address).port}, not ${this.#listener.port}`,
      );
  }

  #begin(): void {
    const { founding } = this.#log;
    if (founding) {
      this.#node.begin();
      this.#transport.connect(founding.members.filter((m) => m.id !== this.#options.id));
      return;
    }
    const { peers } = this.#options;
    if (peers && peers.length > 1) {
      const others = peers.filter((p) => p.id !== this.#options.id);
      const { log } = this.#options;
      if (peers.length === 2) log('warn', 'a cluster of two stops when either node does; three go on without any one');
      log('info', `waits for all of ${describe(others)} before the cluster begins`);
      this.#transport.connect(others);
    } else this.#env.timers.after(foundAloneAfterMs, () => this.#stopping ?? this.#membership.foundAlone());
  }

  /** Links were judged by what each side knew then: all are made and judged anew. */
  #founded(founding: Founding): void {
    const { id, log } = this.#options;
    log('info', `member of cluster ${Buffer.from(founding.clusterId).toString('hex')}: ${describe(founding.members)}`);
    this.#env.timers.defer(() => {
      if (this.#stopping) return;
      this.#transport.close();
      this.#transport = this.#makeTransport();
      this.#transport.connect(founding.members.filter((m) => m.id !== id));
      this.#node.begin();
    });
  }

  #makeTransport(): Transport {
    const { id, peers, log } = this.#options;
    return createTransport({
      id,
      env: this.#env,
      crc32c: this.#crc32c,
      handlers: {
        hello: () => ({
          protocol: 1,
          id,
          address: this.address,
          identity: this.#log.folder.identity,
          starts: this.#log.vote.starts,
          nonce: this.#nonce,
          founding: this.#log.founding,
          peers: peers ?? [],
        }),
        judge: (hello) => this.#membership.judge(hello),
        refused: (peer, address, reason) =>
          log('warn', `refused by ${peer ? `node ${peer} at ` : ''}${address}: ${reason}`),
        link: (peer, up) => {
          log(up ? 'info' : 'warn', up ? `linked to node ${peer}` : `lost the link to node ${peer}`);
          if (!up) this.#membership.forget(peer);
          this.#node.link(peer, up);
        },
        message: (message) => this.#node.receive(message),
        log,
      },
    });
  }

  get connections(): number {
    return this.#node.sessions.size;
  }

  accept(socket: Socket): void {
    this.#node.sessions.accept(socket);
  }

  #failed(error: Error): void {
    this.#stopping ??= this.#close().catch(() => {});
    this.#fail(error);
  }

  async #close(): Promise<void> {
    this.#listener.close();
    this.#transport.close();
    await this.#log.close();
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#listener.close();
      await this.#node.stop(graceMs);
      await this.#close();
    })();
    return this.#stopping;
  }
}

/** Only the chosen store is loaded: a node on the twin runs no Wasm. */
async function makeStore(kind: NodeOptions['store'], options: StoreOptions): Promise<Store> {
  if (kind === 'js') return new (await import('../store/js-store.js')).JsStore(options);
  return new (await import('../store/wasm-store.js')).WasmStore(options);
}
