/**
 * A whole cluster in a simulated world: the same `startNode` that production runs, over simulated clocks, network and disks, and
 * clients that speak the line protocol from a host of their own.
 */
import type { Socket } from '../../src/env/env.js';
import '../../src/store/js-store.js';
import '../../src/store/wasm-store.js';
import { type RunningNode, startNode } from '../../src/node/main.js';
import { defaultNodeOptions, type NodeOptions } from '../../src/node/options.js';
import { type CrashMode, SimDisk } from '../../src/sim/disk.js';
import { type SimHost, World } from '../../src/sim/world.js';

/** Longer than a node's request time-out: only a dead connection keeps a client waiting so long. */
const clientPatienceMs = 7_000;

export interface SimNode {
  readonly id: number;
  readonly host: SimHost;
  readonly disk: SimDisk;
  /** Why the node stopped by itself, in this life. */
  failure: string | undefined;
  /** In this life, once it serves. */
  running: RunningNode | undefined;
  /** Lines of its log, of all lives. */
  readonly lines: string[];
}

export class SimCluster {
  readonly world: World;
  readonly nodes: SimNode[] = [];
  readonly clients: SimHost;
  readonly #stores: readonly ('js' | 'wasm')[];
  readonly #options: Partial<NodeOptions>;

  constructor(seed: number | string, stores: readonly ('js' | 'wasm')[], options: Partial<NodeOptions> = {}) {
    this.world = new World(seed);
    this.#stores = stores;
    this.#options = options;
    this.clients = this.world.addHost('clients');
    for (let id = 1; id <= stores.length; id++) {
      const host = this.world.addHost(`node${id}`);
      const disk = new SimDisk({
        schedule: (callback) => host.timers.after(0.1 + this.world.random.float() * 0.4, callback),
        random: () => this.world.random.float(),
      });
      this.nodes.push({ id, host, disk, failure: undefined, running: undefined, lines: [] });
    }
  }

  get peers(): { id: number; address: string }[] {
    return this.nodes.map(({ id }) => ({ id, address: `node${id}:8080` }));
  }

  start(node: SimNode, options: Partial<NodeOptions> = {}): void {
    const { life } = node.host;
    node.failure = undefined;
    node.running = undefined;
    const failed = (error: unknown): void => {
      if (node.host.life === life) node.failure = error instanceof Error ? (error.stack ?? '') : String(error);
    };
    startNode(node.host.env(node.disk), {
      ...defaultNodeOptions,
      id: node.id,
      host: node.host.name,
      dataDir: '/data',
      peers: this.nodes.length > 1 ? this.peers : undefined,
      store: this.#stores[node.id - 1]!,
      segmentBytes: 1_048_576,
      log: (level, text) => node.lines.push(`${this.world.now.toFixed(1)} ${level} ${text}`),
      ...this.#options,
      ...options,
    }).then((running) => {
      if (node.host.life === life) node.running = running;
      return running.failed.then(failed);
    }, failed);
  }

  startAll(): void {
    for (const node of this.nodes) this.start(node);
  }

  /** The process is gone; with `drop` or `tear` the machine lost its power too, and all or some of what was not synced. */
  crash(node: SimNode, mode: CrashMode): void {
    if (mode === 'kill') node.host.kill();
    else node.host.powerOff();
    node.disk.crash(mode);
  }

  restart(node: SimNode): void {
    node.host.restart();
    this.start(node);
  }

  /** Nothing that should run has failed. */
  assertHealthy(): void {
    for (const node of this.nodes) if (node.failure) throw new Error(`node ${node.id} failed: ${node.failure}`);
  }

  client(node: SimNode): SimClient {
    return new SimClient(this, node);
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

/** A connection; its replies come in order, and `undefined` stands for those that a broken connection kept back. */
export class SimClient {
  readonly #cluster: SimCluster;
  readonly #socket: Socket;
  readonly #waiting: ((reply: string | undefined) => void)[] = [];
  #rest = '';
  closed = false;

  constructor(cluster: SimCluster, node: SimNode) {
    this.#cluster = cluster;
    const { network } = cluster.clients.env(node.disk);
    this.#socket = network.dial(node.host.name, 8080, () => {});
    this.#socket.on({
      data: (bytes) => this.#data(Buffer.from(bytes).toString('utf8')),
      end: () => this.close(),
      drain: () => {},
      close: () => this.#lost(),
    });
  }

  #data(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) this.#waiting.shift()?.(line);
  }

  #lost(): void {
    this.closed = true;
    for (const reply of this.#waiting.splice(0)) reply(undefined);
  }

  /** Sends a line; `reply` is called once. */
  send(line: string, reply: (text: string | undefined) => void): void {
    if (this.closed) {
      reply(undefined);
      return;
    }
    // A machine without power tells nobody: a client gives up by itself.
    const timer = this.#cluster.clients.timers.after(clientPatienceMs, () => this.close());
    this.#waiting.push((text) => {
      timer.cancel();
      reply(text);
    });
    this.#socket.write(Buffer.from(`${line}\n`));
  }

  /** Sends a line and lets the world go on until it is answered. */
  async ask(line: string, deadlineMs = 20_000): Promise<string | undefined> {
    let done = false;
    let answer: string | undefined;
    this.send(line, (text) => {
      done = true;
      answer = text;
    });
    if (!(await this.#cluster.world.play(() => done, deadlineMs))) throw new Error(`no reply to ${line}`);
    return answer;
  }

  /** Stops and starts reading. */
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
    this.#lost();
  }
}
