/**
 * The network between simulated hosts: connections as TCP gives them, with what goes wrong with them.
 *
 * Each connection has a *pipe* in each direction that carries packets (data, acknowledgements, FIN, RST) in order, each with a
 * delay of its own. Where the way from one host to another is cut, packets wait, as they do while TCP repeats them, and
 * arrive when it is healed; cutting one direction only makes connections that can send and never hear. To a machine without
 * power packets wait too; once it is back it answers those of connections it knows nothing of with a reset.
 *
 * Chunks arrive split at random places and joined with their neighbours. A receiver that does not read fills the window, and
 * then the sender's `queued`. Connections may break at random (`resetChance`).
 */
import { ListenError, type Listener, type Network, type Socket } from '../env/env.js';
import { NetworkError, SimSocket } from './socket.js';
import type { SimHost, World } from './world.js';

export interface Conditions {
  /** Milliseconds that a packet takes, drawn anew for each. */
  readonly delayMs: readonly [number, number];
  /** Chance that a chunk is cut in two, at a random place, when it is sent and when it is read. */
  readonly splitChance: number;
  /** Chance that a reader comes late (up to 1 ms), so that chunks join. */
  readonly joinChance: number;
  /** Chance that a packet is lost: TCP sends it again, and all behind it wait. */
  readonly lossChance: number;
  /** Bytes that get through in a millisecond. */
  readonly bytesPerMs: number;
  /** Chance for each data packet that its connection breaks. */
  readonly resetChance: number;
  /** Bytes that the system takes for a receiver that does not read. */
  readonly windowBytes: number;
}

export const calm: Conditions = {
  delayMs: [0.1, 1],
  splitChance: 0.1,
  joinChance: 0.1,
  lossChance: 0,
  bytesPerMs: Number.POSITIVE_INFINITY,
  resetChance: 0,
  windowBytes: 262_144,
};

/** TCP waits this long before it sends a packet again. */
const RETRANSMIT_MS = [200, 400] as const;
/** A dial that gets no answer gives up after this. */
const CONNECT_TIMEOUT_MS = 30_000;
const FIRST_EPHEMERAL_PORT = 40_000;

interface Bound extends Listener {
  readonly accept: (socket: Socket) => void;
}

/** One direction of a connection. */
export class Pipe {
  readonly from: SimHost;
  readonly to: SimHost;
  readonly #network: SimNetwork;
  readonly #packets: (() => void)[] = [];
  readonly #what: string;
  readonly #arriveNow = (): void => this.#arrive();
  #lastArrival = 0;
  /** Packets that are due but cannot get through. */
  #waiting = 0;

  constructor(network: SimNetwork, from: SimHost, to: SimHost) {
    this.#network = network;
    this.from = from;
    this.to = to;
    this.#what = `packet ${from.name} ${to.name}`;
  }

  send(packet: () => void, bytes = 0): void {
    this.#packets.push(packet);
    this.#schedule(bytes);
  }

  /** Gives what waits another chance. */
  retry(): void {
    const waiting = this.#waiting;
    this.#waiting = 0;
    for (let i = 0; i < waiting; i++) this.#schedule();
  }

  #schedule(bytes = 0): void {
    const { world } = this.#network;
    const { transfer, delay } = this.#network.time(this.from, this.to, bytes);
    const arrival = Math.max(this.#lastArrival, world.now + delay) + transfer;
    this.#lastArrival = arrival;
    world.schedule(arrival - world.now, undefined, this.#what, this.#arriveNow);
  }

  #arrive(): void {
    // Each event lets the first packet through, whichever packet it was made for: that keeps their order.
    if (this.#network.isCut(this.from, this.to) || this.to.state === 'off') {
      this.#waiting++;
      this.#network.held.add(this);
    } else this.#packets.shift()!();
  }
}

export class SimNetwork {
  readonly world: World;
  /** For all pairs of hosts without conditions of their own. May be changed at any time. */
  conditions: Conditions = calm;
  readonly #pairs = new Map<string, Conditions>();
  readonly #cuts = new Set<string>();
  readonly #sockets = new Set<SimSocket>();
  /** Pipes in which packets wait. */
  readonly held = new Set<Pipe>();
  readonly #listeners = new Map<SimHost, Map<number, Bound>>();
  #nextPort = FIRST_EPHEMERAL_PORT;

  constructor(world: World) {
    this.world = world;
  }

  /** Conditions of their own for packets from `from` to `to`; undefined: those of all. */
  between(from: SimHost, to: SimHost, conditions: Conditions | undefined): void {
    if (conditions === undefined) this.#pairs.delete(way(from, to));
    else this.#pairs.set(way(from, to), conditions);
  }

  /** Nothing gets from `from` to `to` any more (the other direction is not touched). */
  cut(from: SimHost, to: SimHost): void {
    this.#cuts.add(way(from, to));
  }

  /** Cuts both ways between each host of the one group and each of the other. */
  partition(group: readonly SimHost[], others: readonly SimHost[]): void {
    for (const a of group) {
      for (const b of others) {
        this.cut(a, b);
        this.cut(b, a);
      }
    }
  }

  /** Opens the way from `from` to `to` again. */
  open(from: SimHost, to: SimHost): void {
    this.#cuts.delete(way(from, to));
    this.retry();
  }

  /** Opens all ways again; what waited arrives. */
  heal(): void {
    this.#cuts.clear();
    this.retry();
  }

  /** Breaks all connections between two hosts, as a router does that has forgotten them. */
  breakConnections(a: SimHost, b: SimHost): void {
    for (const socket of [...this.#sockets]) {
      if (socket.host === a && socket.peerHost === b) socket.break();
    }
  }

  /** Half-open: `a` loses all connections with `b`, and `b` is told nothing until it sends something. */
  forgetConnections(a: SimHost, b: SimHost): void {
    for (const socket of [...this.#sockets]) {
      if (socket.host === a && socket.peerHost === b) socket.lose();
    }
  }

  isCut(from: SimHost, to: SimHost): boolean {
    return this.#cuts.size > 0 && this.#cuts.has(way(from, to));
  }

  conditionsOf(from: SimHost, to: SimHost): Conditions {
    if (this.#pairs.size === 0) return this.conditions;
    return this.#pairs.get(way(from, to)) ?? this.conditions;
  }

  /** Milliseconds that a packet takes on its way, and to pass through the narrowest place on it. */
  time(from: SimHost, to: SimHost, bytes: number): { delay: number; transfer: number } {
    const { delayMs, lossChance, bytesPerMs } = this.conditionsOf(from, to);
    const { random } = this.world;
    const again = lossChance > 0 && random.chance(lossChance) ? random.between(...RETRANSMIT_MS) : 0;
    return { delay: random.between(...delayMs) + again, transfer: bytes / bytesPerMs };
  }

  /** What was held up may get through now. */
  retry(): void {
    const held = [...this.held];
    this.held.clear();
    for (const pipe of held) pipe.retry();
  }

  /** A socket whose process has done with it. */
  forget(socket: SimSocket): void {
    this.#sockets.delete(socket);
  }

  /** The machine of a killed process closes its sockets and ports. */
  processDied(host: SimHost): void {
    this.#listeners.delete(host);
    for (const socket of [...this.#sockets]) {
      if (socket.host === host) socket.abandon();
    }
  }

  machineDied(host: SimHost): void {
    this.#listeners.delete(host);
    for (const socket of [...this.#sockets]) {
      if (socket.host === host) socket.vanish();
    }
  }

  /** The network as a process on `host` sees it, in the life that it is in. */
  on(host: SimHost): Network {
    const { life } = host;
    const alive = (): boolean => host.life === life && host.up;
    return {
      listen: (_address, port, accept) =>
        alive() ? this.#listen(host, port, accept) : new Promise<never>(() => undefined),
      dial: (address, port, connected) => this.#dial(host, address, port, connected, alive()),
    };
  }

  #listen(host: SimHost, wanted: number, accept: (socket: Socket) => void): Promise<Listener> {
    const bound = this.#listeners.get(host) ?? new Map<number, Bound>();
    this.#listeners.set(host, bound);
    const port = wanted === 0 ? this.#nextPort++ : wanted;
    if (bound.has(port)) {
      return Promise.reject(new ListenError('taken', `${host.name}:${port} is in use already; choose another port`));
    }
    const listener: Bound = {
      port,
      accept,
      close: () => {
        if (bound.get(port) === listener) bound.delete(port);
      },
    };
    bound.set(port, listener);
    return Promise.resolve(listener);
  }

  #dial(host: SimHost, address: string, port: number, connected: () => void, alive: boolean): Socket {
    const local = address === 'localhost' || address.startsWith('127.');
    const target = local ? host : this.world.host(address);
    const there = new Pipe(this, host, target ?? host);
    const back = new Pipe(this, target ?? host, host);
    const socket = new SimSocket(this, there, `${address}:${port}`, connected);
    if (!alive) return socket;
    this.#sockets.add(socket);
    if (target === undefined) {
      socket.fail(new NetworkError('ENOTFOUND', `no host ${address}`));
      return socket;
    }
    const ownPort = this.#nextPort++;
    there.send(() => this.#arrived(socket, back, `${host.name}:${ownPort}`, port));
    this.world.schedule(CONNECT_TIMEOUT_MS, undefined, 'connect timeout', () => socket.giveUpConnecting());
    return socket;
  }

  /** A SYN has reached the machine of the dialled host: its system accepts or refuses, whatever the process is doing. */
  #arrived(client: SimSocket, back: Pipe, remote: string, port: number): void {
    const host = back.from;
    const listener = host.up ? this.#listeners.get(host)?.get(port) : undefined;
    if (listener === undefined) {
      const { remote: address } = client;
      back.send(() => client.fail(new NetworkError('ECONNREFUSED', `nobody listens on ${address}`)));
      return;
    }
    const server = new SimSocket(this, back, remote, undefined);
    this.#sockets.add(server);
    server.join(client);
    this.world.schedule(0, host, 'accept', () => listener.accept(server));
    back.send(() => client.join(server));
  }
}

function way(from: SimHost, to: SimHost): string {
  return `${from.name} ${to.name}`;
}
