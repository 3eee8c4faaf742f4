/**
 * A whole cluster in a simulated world: the same `startNode` that production runs, over simulated clocks, network and disks, and
 * clients that speak the line protocol from a host of their own.
 */
import type { Env } from '../env/env.js';
import '../store/js-store.js';
import '../store/wasm-store.js';
import { type RunningNode, startNode } from '../node/main.js';
import type { NodeObserver } from '../node/observer.js';
import { defaultNodeOptions, type NodeOptions } from '../node/options.js';
import { SimClient } from './client.js';
import { type CrashMode, SimDisk } from './disk.js';
import { SeededRandom } from './random.js';
import { type SimHost, World } from './world.js';

export type StoreKind = NodeOptions['store'];

/** Milliseconds that a disk takes for a write. */
const diskDelayMs = [0.1, 0.5] as const;
const dataDir = '/data';
const port = 8080;

/** One member: a machine with its disk, and the process on it when there is one. */
export class SimNode {
  readonly id: number;
  readonly host: SimHost;
  readonly store: StoreKind;
  disk: SimDisk;
  /** The process, once it serves. */
  running: RunningNode | undefined;
  /** Why the node stopped by itself, in this life. */
  failure: string | undefined;
  /** Lines of its log, of all lives. */
  readonly lines: string[] = [];
  /** Milliseconds that its disk takes for a write, drawn anew for each. */
  diskDelayMs: readonly [number, number] = diskDelayMs;

  constructor(id: number, host: SimHost, store: StoreKind) {
    this.id = id;
    this.host = host;
    this.store = store;
    this.disk = new SimDisk(this.diskOptions);
  }

  /** How a disk in this machine takes its time. */
  get diskOptions(): { schedule: (callback: () => void) => void; random: () => number } {
    const { random } = this.host.world;
    return {
      schedule: (callback) => void this.host.timers.after(random.between(...this.diskDelayMs), callback),
      random: () => random.float(),
    };
  }
}

export class SimCluster {
  readonly world: World;
  readonly nodes: SimNode[] = [];
  /** The host that clients live on. */
  readonly clients: SimHost;
  /** Told of each line that a node logs. */
  onLine: (node: SimNode, level: string, text: string) => void = () => {};
  /** Told when a node stopped by itself. */
  onFailure: (node: SimNode) => void = () => {};
  /** Makes what watches a node, for each of its lives. */
  observe: ((node: SimNode) => NodeObserver) | undefined;
  readonly #random: SeededRandom;
  readonly #options: Partial<NodeOptions>;
  readonly #clientEnv: Env;
  /** What ends a start that is under way: a process that was killed never says that it serves. */
  readonly #endings = new Map<SimNode, () => void>();

  /** One member for each of `stores`. `options` are those of all nodes, where they differ from the defaults. */
  constructor(seed: number | string, stores: readonly StoreKind[], options: Partial<NodeOptions> = {}) {
    this.world = new World(seed);
    this.#random = new SeededRandom(`${seed}/program`);
    this.#options = options;
    this.clients = this.world.addHost('clients');
    this.#clientEnv = this.clients.env(new SimDisk({ schedule: () => {}, random: () => 0 }));
    stores.forEach((store, position) => {
      const id = position + 1;
      this.nodes.push(new SimNode(id, this.world.addHost(`node${id}`), store));
    });
  }

  get peers(): { id: number; address: string }[] {
    return this.nodes.map(({ id }) => ({ id, address: `node${id}:${port}` }));
  }

  /** Milliseconds since the world began. */
  get now(): number {
    return this.world.now;
  }

  /** Decides what a program chooses, by the seed. */
  get random(): SeededRandom {
    return this.#random;
  }

  /** Lets so much time pass. */
  async sleep(ms: number): Promise<void> {
    await this.world.play(() => false, ms);
  }

  /** Waits until something holds, looked at after each event. Throws when it does not within `deadlineMs`. */
  async until(condition: () => boolean, deadlineMs = 30_000): Promise<void> {
    if (!(await this.world.play(condition, deadlineMs))) throw new Error(`it did not come to be in ${deadlineMs} ms`);
  }

  /** The node that leads, once one does. */
  async leader(deadlineMs = 30_000): Promise<SimNode> {
    const end = this.now + deadlineMs;
    while (this.now < end) {
      for (const node of this.nodes) {
        if (node.host.state !== 'running') continue;
        const reply = await this.ask(node, 'STATUS', deadlineMs);
        if (reply?.includes('"role":"leader"')) return node;
      }
      await this.sleep(50);
    }
    throw new Error(`nobody leads after ${deadlineMs} ms`);
  }

  /** A member by its id. */
  node(id: number): SimNode {
    const node = this.nodes[id - 1];
    if (node === undefined) throw new Error(`there is no node ${id}`);
    return node;
  }

  /** Starts the process of a member whose machine runs. `options` differ for this life only. */
  start(node: SimNode, options: Partial<NodeOptions> = {}): void {
    const { life } = node.host;
    node.failure = undefined;
    node.running = undefined;
    const failed = (error: unknown): void => {
      started();
      if (node.host.life !== life) return;
      node.failure = error instanceof Error ? (error.stack ?? '') : String(error);
      this.onFailure(node);
    };
    const observer = this.observe?.(node);
    let starting = true;
    const started = (): void => {
      if (starting) this.world.unsettled--;
      starting = false;
    };
    this.world.unsettled++;
    this.#endings.set(node, started);
    startNode(node.host.env(node.disk), {
      ...defaultNodeOptions,
      id: node.id,
      host: node.host.name,
      dataDir,
      peers: this.nodes.length > 1 ? this.peers : undefined,
      store: node.store,
      segmentBytes: 1_048_576,
      log: (level, text) => this.#line(node, life, level, text),
      ...(observer ? { observer } : {}),
      ...this.#options,
      ...options,
    }).then((running) => {
      started();
      if (node.host.life === life) node.running = running;
      return running.failed.then(failed);
    }, failed);
  }

  #line(node: SimNode, life: number, level: string, text: string): void {
    if (node.host.life !== life) return;
    node.lines.push(`${this.world.now.toFixed(1)} ${level} ${text}`);
    this.onLine(node, level, text);
  }

  startAll(): void {
    for (const node of this.nodes) this.start(node);
  }

  /** The process is gone; with `drop` or `tear` the machine lost its power too, and all or some of what was not synced. */
  crash(node: SimNode, mode: CrashMode): void {
    this.forget(node);
    node.running = undefined;
    if (mode === 'kill') node.host.kill();
    else node.host.powerOff();
    node.disk.crash(mode);
  }

  /** Whoever was starting there is gone, and nobody waits for it. */
  forget(node: SimNode): void {
    this.#endings.get(node)?.();
    this.#endings.delete(node);
  }

  /** kill -9: what the process had written without syncing is in the page cache, and survives. */
  kill(node: SimNode): void {
    this.crash(node, 'kill');
  }

  /** The machine loses power, and with it some of what was not synced. */
  powerOff(node: SimNode): void {
    this.crash(node, 'tear');
  }

  /** Nothing gets through between these nodes and all others, until `heal`. */
  partition(...nodes: readonly SimNode[]): void {
    const others = this.nodes.filter((node) => !nodes.includes(node));
    this.world.network.partition(
      nodes.map(({ host }) => host),
      others.map(({ host }) => host),
    );
  }

  /** Opens all ways again. */
  heal(): void {
    this.world.network.heal();
  }

  /** Starts a node again after `kill` or `powerOff`. */
  restart(node: SimNode): void {
    node.host.restart();
    this.start(node);
  }

  /** Nothing that should run has failed. */
  assertHealthy(): void {
    for (const node of this.nodes) if (node.failure) throw new Error(`node ${node.id} failed: ${node.failure}`);
  }

  /** A connection to a node, from the clients' host. */
  client(node: SimNode): SimClient {
    return this.connect(node.host.name);
  }

  /** A connection to whoever listens on the clients' port of a host. */
  connect(host: string): SimClient {
    return new SimClient(
      this.#clientEnv,
      (condition, deadlineMs) => this.world.play(condition, deadlineMs),
      host,
      port,
    );
  }

  /** One command on a connection of its own; undefined if the connection broke first. */
  async ask(node: SimNode, line: string, deadlineMs = 20_000): Promise<string | undefined> {
    const client = this.client(node);
    try {
      return await client.ask(line, deadlineMs);
    } finally {
      client.close();
    }
  }

  async status(node: SimNode): Promise<{ role: string; applied: number; stateHash: string; commit: number }> {
    return JSON.parse((await this.ask(node, 'STATUS')) ?? '{}');
  }
}
