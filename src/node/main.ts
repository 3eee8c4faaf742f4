/** Starts and stops a node: folder, port, first start, and the parts in between. */
import type { Env, Listener, Socket } from '../env/env.js';
import { ListenError } from '../env/env.js';
import { openLog } from '../log/log.js';
import { type Crc32c, type Founding, type Log, LogError } from '../log/types.js';
import { tryStatus } from '../protocol/cluster.js';
import { crc32c } from '../store/crc32c.js';
import type { Store, StoreOptions } from '../store/store.js';
import { createTransport } from '../transport/transport.js';
import type { Transport } from '../transport/types.js';
import { askNode } from './ask.js';
import { describe, FirstStart, samePeers } from './founding.js';
import { Incarnations, originIn } from './incarnations.js';
import { Joining } from './joining.js';
import { takesPart } from './members.js';
import { Node } from './node.js';
import { isLoopback, joinAddress, NodeError, type NodeOptions, RemovedError, splitAddress } from './options.js';
import { noteOthers, othersNoted } from './others.js';
import { restoreAll } from './restore.js';
import { Roster, scanMembers } from './roster.js';

export type { NodeOptions } from './options.js';
export { defaultNodeOptions, NodeError, RemovedError } from './options.js';

/** A cluster of one listens this long for members that know its address before it founds itself. */
const foundAloneAfterMs = 1_000;
/** So does a node that was told nothing before it asks the first node: that may be another cluster's. */
const implicitJoinAfterMs = 700;
/** It gives up when the first node has not answered for so long. */
const implicitJoinMs = 10_000;
/** A member that has refused this node has so long to say why. */
const askMs = 5_000;
/** Pause before somebody who could not tell is asked again. */
const askAgainMs = 1_000;
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
    const store = await makeStore(options, {
      identity,
      starts: log.vote.starts,
      nonce,
      seed: env.random.bytes(16),
    });
    checksum = store.crc32c;
    await restoreAll(store, log, env.timers);
    const settings = await scanMembers(log, env.timers);
    const run = new Run({ env, options, log, store, nonce, listener, settings });
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

/** Whom an empty node asks to be let into a cluster; undefined: nobody, for it founds one. */
function whomToJoin({ id, host, peers, join, firstNode }: NodeOptions): readonly string[] | undefined {
  if (join || peers || id === 1) return join;
  return isLoopback(host) ? [firstNode] : undefined;
}

/** An empty node has to know where it belongs. */
function checkFirstStart(options: NodeOptions): void {
  const { id, dataDir, peers } = options;
  if (peers || id === 1 || whomToJoin(options)) return;
  throw new NodeError(
    `node ${id} has no data folder yet (${dataDir}), and only node 1 begins a cluster of one; pass --join with the address of a member, or --peers with all members`,
  );
}

async function open(env: Env, options: NodeOptions, checksum: Crc32c): Promise<Log> {
  const { dataDir, id } = options;
  if (!env.disk.exists(dataDir)) checkFirstStart(options);
  try {
    const log = await openLog({
      disk: env.disk,
      random: env.random,
      clock: env.clock,
      defer: (callback) => env.timers.defer(callback),
      crc32c: checksum,
      directory: dataDir,
      repair: (founding) => othersNoted(env.disk, dataDir) || hasOthers(options, founding),
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
function hasOthers({ id, peers, join }: NodeOptions, founding: Founding | undefined): boolean {
  if (join) return true;
  const members = founding?.members ?? peers ?? [];
  return members.some((member) => member.id !== id);
}

/** The log is shortened by whole segments: a few of them make what is kept. */
function segmentBytes(snapshotLogBytes: number): number {
  const wanted = Math.ceil(snapshotLogBytes / segmentsKept / 512) * 512;
  return Math.min(Math.max(wanted, segmentSizes[0]), segmentSizes[1]);
}

interface RunParts {
  readonly env: Env;
  readonly options: NodeOptions;
  readonly log: Log;
  readonly store: Store;
  readonly nonce: number;
  readonly listener: Listener;
  /** What the log holds of the members. */
  readonly settings: Awaited<ReturnType<typeof scanMembers>>;
}

class Run implements RunningNode {
  readonly address: string;
  readonly listens: string;
  readonly failed: Promise<Error>;
  readonly #parts: RunParts;
  readonly #env: Env;
  readonly #options: NodeOptions;
  readonly #log: Log;
  readonly #roster: Roster;
  readonly #firstStart: FirstStart;
  readonly #node: Node;
  #transport: Transport;
  #joining: Joining | undefined;
  /** Where the members are, as the cluster said when it let this node in: until its log says so. */
  #introduced: readonly { readonly id: number; readonly address: string }[] = [];
  #connecting = false;
  /** Addresses of those who are being asked where this node belongs. */
  readonly #asked = new Set<string>();
  #stopping: Promise<void> | undefined;
  #fail: (error: Error) => void = () => {};

  constructor(parts: RunParts) {
    const { env, options, log, store, listener } = parts;
    this.#parts = parts;
    this.#env = env;
    this.#options = options;
    this.#log = log;
    this.#roster = new Roster(
      {
        id: options.id,
        log,
        store,
        timers: env.timers,
        changed: () => this.#connectSoon(),
        review: () => this.#transport.review(),
      },
      parts.settings,
    );
    this.address = this.#ownAddress(listener.port);
    this.listens = joinAddress(options.host, listener.port);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    this.#checkFolder();
    this.#firstStart = this.#makeFirstStart();
    this.#transport = this.#makeTransport();
    this.#node = new Node({
      env,
      options,
      address: this.address,
      store,
      log,
      roster: this.#roster,
      transport: () => this.#transport,
      fail: (error) => this.#failed(error),
    });
    this.#begin();
  }

  #makeFirstStart(): FirstStart {
    const { options } = this.#parts;
    return new FirstStart({
      id: options.id,
      address: this.address,
      peers: options.peers,
      log: this.#log,
      random: this.#env.random,
      roster: this.#roster,
      origin: (identity) => originIn(this.#parts.store, identity),
      incarnations: new Incarnations({
        disk: this.#env.disk,
        directory: options.dataDir,
        crc32c,
        warn: (text) => options.log('warn', text),
      }),
      joining: () => this.#joining !== undefined,
      heardOf: (address) => {
        if (!this.#joining) this.#askWhere(address);
        else if (!options.join) this.#joining.also(address);
      },
      founded: (founding) => this.#founded(founding),
      lost: (reason, members) => this.#lost(reason, members),
      failed: (error) => this.#node.fail(error),
    });
  }

  /** What the members call this node, which may listen on more than that. A cluster of one goes where it is started. */
  #ownAddress(port: number): string {
    const { id, peers, host, publicHost } = this.#options;
    const here = this.#roster.members.filter(takesPart);
    const alone = here.length === 1 && this.#roster.own !== undefined;
    const known = alone ? undefined : this.#roster.own;
    const told = !this.#log.founding || peers?.length === 1 ? peers?.find((m) => m.id === id) : undefined;
    return known?.address ?? told?.address ?? joinAddress(publicHost ?? host, port);
  }

  #checkFolder(): void {
    const { id, peers, join, log } = this.#options;
    if (!this.#log.founding) {
      checkFirstStart(this.#options);
      return;
    }
    const here = this.#roster.members.filter(takesPart);
    if (peers && !samePeers(peers, here) && Math.max(peers.length, here.length) > 1)
      log('warn', `--peers is ignored: the data folder says ${describe(here)}`);
    if (join) log('warn', '--join is ignored: the data folder belongs to a cluster already');
    const { own } = this.#roster;
    const { port } = this.#parts.listener;
    if (here.length > 1 && own && splitAddress(own.address).port !== port)
      throw new NodeError(
        `the cluster knows node ${id} at ${own.address}; start it with --port ${splitAddress(own.address).port}, not ${port}`,
      );
  }

  #begin(): void {
    if (this.#log.founding) {
      this.#node.begin();
      return;
    }
    const { peers, join, id, log } = this.#options;
    const whom = whomToJoin(this.#options);
    if (whom) {
      if (join) this.#join(join, undefined);
      else this.#env.timers.after(implicitJoinAfterMs, () => this.#joinUntold(whom));
    } else if (peers && peers.length > 1) {
      const others = peers.filter((p) => p.id !== id);
      if (peers.length === 2) log('warn', 'a cluster of two stops when either node does; three go on without any one');
      log('info', `waits for all of ${describe(others)} before the cluster begins`);
      this.#transport.connect(others);
    } else this.#env.timers.after(foundAloneAfterMs, () => this.#stopping ?? this.#firstStart.foundAlone());
  }

  /** Nobody has claimed this node as a member of theirs. */
  #joinUntold(whom: readonly string[]): void {
    if (this.#joining || this.#stopping || this.#log.founding) return;
    const { id, log } = this.#options;
    log('info', `node ${id} was not told where it belongs: it asks ${whom.join(', ')}, as with --join`);
    this.#join(whom, implicitJoinMs);
  }

  /** Asks to be let into a cluster. `giveUpMs`: as of Joining. */
  #join(addresses: readonly string[], giveUpMs: number | undefined): void {
    const { id, log } = this.#options;
    this.#joining ??= new Joining(
      {
        env: this.#env,
        id,
        address: this.address,
        identity: this.#log.folder.identity,
        giveUpMs,
        log,
        joined: (founding, members) => {
          this.#joining = undefined;
          this.#introduced = members;
          this.#firstStart.joined(founding);
        },
        refused: (reason) => {
          const hint = giveUpMs === undefined ? '' : '; pass --join with the address of a member, or --peers with all';
          this.#node.fail(new NodeError(`${reason}${hint}`));
        },
      },
      addresses,
    );
  }

  /** The members know this node with another folder: this one has to take its place. */
  #lost(reason: string, members: readonly string[]): void {
    if (this.#joining || this.#stopping) return;
    this.#options.log('warn', `${reason}: it was lost or replaced; this one asks to take its place`);
    this.#join(members, undefined);
  }

  /** Links were judged by what each side knew then: all are made and judged anew. */
  #founded(founding: Founding): void {
    const { log } = this.#options;
    log('info', `member of cluster ${Buffer.from(founding.clusterId).toString('hex')}: ${describe(founding.members)}`);
    this.#env.timers.defer(() => {
      if (this.#stopping) return;
      this.#transport.close();
      this.#transport = this.#makeTransport();
      // Nobody else is here to catch it: it would end the process without a reason a user can read.
      try {
        this.#node.begin();
      } catch (error) {
        this.#node.fail(error as Error);
      }
    });
  }

  /** Connects to those that there are by now, once this round of the event loop is over. */
  #connectSoon(): void {
    if (this.#connecting) return;
    this.#connecting = true;
    this.#env.timers.defer(() => {
      this.#connecting = false;
      if (this.#stopping || !this.#log.founding) return;
      this.#transport.connect(this.#peers());
      const others = this.#roster.members.some((member) => member.id !== this.#options.id && takesPart(member));
      // A folder that is being repaired may know of fewer than there are.
      if (others || !this.#log.damaged) noteOthers(this.#env.disk, this.#options.dataDir, others);
    });
  }

  #peers(): { id: number; address: string }[] {
    const known = this.#roster.peers;
    if (this.#roster.own) return known;
    const { id } = this.#options;
    return [...known, ...this.#introduced.filter((one) => one.id !== id && known.every((peer) => peer.id !== one.id))];
  }

  /**
   * Somebody dials this node, which belongs to no cluster, or refuses it: his may list it, with a folder that was lost, or invited to come back since.
   * Nobody dials an invited one, so it would never hear of that. It asks, until it has a cluster or asks to join one.
   */
  #askWhere(address: string): void {
    if (this.#log.founding || this.#joining || this.#stopping || this.#asked.has(address)) return;
    this.#asked.add(address);
    askNode(this.#env, address, { request: 'status' }, askMs, (answer) => {
      this.#asked.delete(address);
      if (this.#log.founding || this.#joining || this.#stopping) return;
      const status = answer.kind === 'answer' ? tryStatus(answer.fields) : undefined;
      const { id } = this.#options;
      const listed = status?.members.find((member) => member.id === id && member.address === this.address);
      // With this folder: it will be sent the founding record.
      const own = listed?.identity === Buffer.from(this.#log.folder.identity).toString('hex');
      if (status?.cluster && listed && listed.kind !== 'removed' && !own) {
        const others = status.members.filter((member) => member.id !== id && member.kind !== 'removed');
        const reason = `the data folder is new, but the cluster of the node at ${address} knows node ${id} at ${this.address}`;
        this.#lost(reason, [address, ...others.map((member) => member.address)]);
      } else this.#env.timers.after(askAgainMs, () => this.#askWhere(address));
    });
  }

  /** A member refuses this node, which may have been removed without having been told so: it asks. */
  #askWhy(address: string): void {
    if (!this.#log.founding) this.#askWhere(address);
    if (!this.#log.founding || this.#stopping) return;
    askNode(this.#env, address, { request: 'status' }, askMs, (answer) => {
      if (answer.kind !== 'answer' || this.#stopping) return;
      const status = tryStatus(answer.fields);
      const { own, isOut, asOf } = this.#roster;
      const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex');
      // What is of another cluster, or older than this node's own log, tells nothing of it.
      if (!status?.committed || status.cluster !== hex(this.#log.founding?.clusterId)) return;
      if (status.asOf < asOf || (!own && !isOut)) return;
      const { id } = this.#options;
      const identity = hex(this.#log.folder.identity);
      const listed = status.members.find((member) => member.id === id);
      const takesPart = listed && listed.kind !== 'removed' && listed.kind !== 'invited';
      if (takesPart && listed.identity === identity) return;
      const what = takesPart ? 'another data folder has taken its place' : 'it was removed from the cluster';
      const back = listed?.kind === 'invited' ? '; it is invited to come back with an empty data folder' : '';
      this.#node.fail(new RemovedError(`node ${id} stops: ${what}, as the node at ${address} says${back}`));
    });
  }

  #makeTransport(): Transport {
    const { id, peers, log } = this.#options;
    return createTransport({
      id,
      env: this.#env,
      crc32c: this.#parts.store.crc32c,
      handlers: {
        hello: () => ({
          protocol: 1,
          id,
          address: this.address,
          identity: this.#log.folder.identity,
          starts: this.#log.vote.starts,
          nonce: this.#parts.nonce,
          founding: this.#log.founding,
          peers: peers ?? [],
          members: this.#roster.asOf,
          versions: this.#parts.store.versions,
        }),
        judge: (hello) => {
          const refusal = this.#firstStart.judge(hello);
          if (refusal === undefined) this.#node.versions.greeted(hello.id, hello.versions);
          return refusal;
        },
        refused: (peer, address, reason) => {
          log('warn', `refused by ${peer ? `node ${peer} at ` : ''}${address}: ${reason}`);
          this.#askWhy(address);
        },
        link: (peer, up) => {
          log(up ? 'info' : 'warn', up ? `linked to node ${peer}` : `lost the link to node ${peer}`);
          if (!up) this.#firstStart.forget(peer);
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
    this.#parts.listener.close();
    this.#joining?.stop();
    this.#roster.stop();
    this.#transport.close();
    await this.#log.close();
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#parts.listener.close();
      await this.#node.stop(graceMs);
      await this.#close();
    })();
    return this.#stopping;
  }
}

/** Only the chosen store is loaded: a node on the twin runs no Wasm. */
async function makeStore({ store, makeStore: make }: NodeOptions, options: StoreOptions): Promise<Store> {
  if (make) return make(options);
  if (store === 'js') return new (await import('../store/js-store.js')).JsStore(options);
  return new (await import('../store/wasm-store.js')).WasmStore(options);
}
