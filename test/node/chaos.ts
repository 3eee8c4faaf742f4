/**
 * One run of a cluster in a simulated world where machines lose power (and all or some of what was not synced), processes
 * die and stop, and links break, while clients read, write and transfer on every node; then what they saw is judged.
 */
import { SeededRandom } from '../../src/sim/random.js';
import { type Answer, type Call, checkLinearizable, type Operation } from '../support/linearizability.js';
import type { SimClient } from './sim-cluster.js';
import { SimCluster, type SimNode } from './sim-cluster.js';

const accounts = ['a0', 'a1', 'a2', 'a3'];
const initialBalance = 100;

export interface ChaosOptions {
  readonly seed: number | string;
  readonly stores: readonly ('js' | 'wasm')[];
  /** Simulated milliseconds of faults. */
  readonly ms: number;
  readonly clients: number;
}

export interface ChaosReport {
  readonly operations: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly refused: number;
  readonly commits: number;
  readonly conflicts: number;
  readonly audits: number;
  readonly faults: Record<string, number>;
  readonly traceHash: string;
}

/** Runs, judges, and throws an error that says what was wrong. */
export async function chaos(options: ChaosOptions): Promise<ChaosReport> {
  const run = new Chaos(options);
  try {
    return await run.run();
  } catch (error) {
    const story = run.cluster.nodes.map((n) => `node ${n.id}: ${n.failure ?? ''}\n  ${n.lines.slice(-8).join('\n  ')}`);
    throw new Error(`seed ${options.seed}: ${(error as Error).stack}\n${story.join('\n')}`);
  }
}

class Chaos {
  readonly cluster: SimCluster;
  readonly #options: ChaosOptions;
  readonly #random: SeededRandom;
  readonly #history: Operation[] = [];
  readonly #faults: Record<string, number> = {};
  readonly #counts = { acknowledged: 0, unknown: 0, refused: 0, commits: 0, conflicts: 0, audits: 0 };
  #values = 0;
  #running = true;
  #active = 0;

  constructor(options: ChaosOptions) {
    this.#options = options;
    this.#random = new SeededRandom(`${options.seed}/chaos`);
    this.cluster = new SimCluster(options.seed, options.stores, { requestTimeoutMs: 2_000 });
  }

  async run(): Promise<ChaosReport> {
    const { cluster } = this;
    const { world } = cluster;
    cluster.startAll();
    await cluster.ask(cluster.nodes[0]!, 'PING');
    await this.#eventually('SET ready 1', 'OK');
    for (const account of accounts) await this.#eventually(`SET ${account} ${initialBalance}`, 'OK');
    for (let id = 0; id < this.#options.clients; id++) this.#client(id);
    for (let id = 0; id < 2; id++) this.#teller();
    const end = world.now + this.#options.ms;
    while (world.now < end) {
      this.#fault();
      await world.play(() => false, 150 + this.#random.float() * 900);
      cluster.assertHealthy();
    }
    this.#running = false;
    this.#mend();
    if (!(await world.play(() => this.#active === 0, 30_000))) throw new Error('clients are still waiting after 30 s');
    await this.#settle();
    this.#judge();
    return {
      operations: this.#history.length,
      ...this.#counts,
      faults: this.#faults,
      traceHash: world.traceHash,
    };
  }

  async #eventually(line: string, wanted: string): Promise<void> {
    for (let attempt = 0; attempt < 20; attempt++) {
      if ((await this.cluster.ask(this.#anyNode(), line)) === wanted) return;
    }
    throw new Error(`${line} was never answered ${wanted}`);
  }

  #anyNode(): SimNode {
    return this.#pick(this.cluster.nodes);
  }

  #pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random.float() * list.length)]!;
  }

  // Clients

  /** Sends bursts of one to four operations on one connection, and goes to another node when it breaks. */
  #client(id: number): void {
    this.#active++;
    let client: SimClient | undefined;
    const burst = (): void => {
      if (!this.#running) {
        client?.close();
        this.#active--;
        return;
      }
      if (!client || client.closed || this.#random.float() < 0.02) {
        client?.close();
        client = this.cluster.client(this.#anyNode());
      }
      let open = 1 + Math.floor(this.#random.float() * 4);
      const one = (): void => {
        if (--open === 0) this.cluster.clients.timers.after(this.#random.float() * 20, burst);
      };
      for (let n = open; n > 0; n--) this.#operation(id, client, one);
    };
    burst();
  }

  #operation(id: number, client: SimClient, done: () => void): void {
    const key = `k${Math.floor(this.#random.float() * 6)}`;
    const { call, line } = this.#call(key);
    const invoked = this.cluster.world.now;
    client.send(line, (reply) => {
      const returned = this.cluster.world.now;
      if (reply?.startsWith('ERR') && !reply.startsWith('ERR not-an-integer')) this.#counts.refused++;
      else if (reply === undefined || reply.startsWith('UNKNOWN')) {
        this.#counts.unknown++;
        if (call.kind !== 'get')
          this.#history.push({ client: id, key, call, invoked, returned: undefined, answer: null });
      } else {
        this.#counts.acknowledged++;
        this.#history.push({ client: id, key, call, invoked, returned, answer: answerOf(call, reply) });
      }
      done();
    });
  }

  #call(key: string): { call: Call; line: string } {
    const value = String(++this.#values);
    const r = this.#random.float();
    if (r < 0.45) return { call: { kind: 'get' }, line: `GET ${key}` };
    if (r < 0.65) return { call: { kind: 'set', value }, line: `SET ${key} ${value}` };
    if (r < 0.75) return { call: { kind: 'incr', by: 1 }, line: `INCR ${key}` };
    if (r < 0.83) return { call: { kind: 'del' }, line: `DEL ${key}` };
    if (r < 0.92) return { call: { kind: 'setnx', value }, line: `SET ${key} ${value} NX` };
    const expected = String(Math.max(1, this.#values - Math.floor(this.#random.float() * 20)));
    return { call: { kind: 'cas', expected, value }, line: `CAS ${key} ${expected} ${value}` };
  }

  /** Transfers between accounts, and audits of all of them, in transactions. */
  #teller(): void {
    this.#active++;
    const next = (): void => {
      if (!this.#running) {
        this.#active--;
        return;
      }
      const client = this.cluster.client(this.#anyNode());
      const again = (): void => {
        client.close();
        this.cluster.clients.timers.after(5 + this.#random.float() * 30, next);
      };
      if (this.#random.float() < 0.4) this.#audit(client, again);
      else this.#transfer(client, again);
    };
    next();
  }

  #audit(client: SimClient, done: () => void): void {
    client.send('BEGIN', () => {});
    client.send(`MGET ${accounts.join(' ')}`, (reply) => {
      if (!reply?.startsWith('[')) return;
      const sum = (JSON.parse(reply) as string[]).reduce((total, balance) => total + Number(balance), 0);
      if (sum !== accounts.length * initialBalance) throw new Error(`an audit found ${sum}: ${reply}`);
      this.#counts.audits++;
    });
    client.send('COMMIT', done);
  }

  #transfer(client: SimClient, done: () => void): void {
    const from = this.#pick(accounts);
    const to = this.#pick(accounts.filter((account) => account !== from));
    const amount = 1 + Math.floor(this.#random.float() * 5);
    const balances: number[] = [];
    client.send('BEGIN', () => {});
    client.send(`GET ${from}`, (reply) => balances.push(Number(reply?.replaceAll('"', ''))));
    client.send(`GET ${to}`, (reply) => {
      balances.push(Number(reply?.replaceAll('"', '')));
      if (balances.some(Number.isNaN)) {
        done();
        return;
      }
      client.send(`SET ${from} ${balances[0]! - amount}`, () => {});
      client.send(`SET ${to} ${balances[1]! + amount}`, () => {});
      client.send('COMMIT', (outcome) => {
        if (outcome === 'OK') this.#counts.commits++;
        if (outcome?.startsWith('ERR conflict')) this.#counts.conflicts++;
        done();
      });
    });
  }

  // Faults

  #fault(): void {
    const { nodes, world } = this.cluster;
    const node = this.#anyNode();
    const kinds = ['drop', 'tear', 'kill', 'all', 'pause', 'cut', 'break', 'heal', 'none'] as const;
    const kind = this.#pick(kinds);
    this.#faults[kind] = (this.#faults[kind] ?? 0) + 1;
    const other = this.#pick(nodes.filter((n) => n !== node));
    switch (kind) {
      case 'drop':
      case 'tear':
      case 'kill':
        this.#crash(node, kind);
        break;
      case 'all':
        for (const each of nodes) this.#crash(each, this.#random.float() < 0.5 ? 'drop' : 'tear');
        break;
      case 'pause':
        node.host.pause();
        this.#later(() => node.host.resume());
        break;
      case 'cut':
        if (this.#random.float() < 0.5) world.network.cut(node.host, other.host);
        else {
          const rest = nodes.filter((n) => n !== node).map((n) => n.host);
          world.network.partition([node.host], rest);
        }
        this.#later(() => world.network.heal());
        break;
      case 'break':
        world.network.breakConnections(node.host, other.host);
        break;
      case 'heal':
        world.network.heal();
        break;
    }
  }

  #crash(node: SimNode, mode: 'drop' | 'tear' | 'kill'): void {
    if (!node.host.up) return;
    this.cluster.crash(node, mode);
    const { life } = node.host;
    this.#later(() => {
      if (!node.host.up && node.host.life === life) this.cluster.restart(node);
    });
  }

  #later(action: () => void): void {
    this.cluster.world.schedule(100 + this.#random.float() * 1_500, undefined, 'fault ends', action);
  }

  #mend(): void {
    this.cluster.world.network.heal();
    for (const node of this.cluster.nodes) {
      node.host.resume();
      if (!node.host.up) this.cluster.restart(node);
    }
  }

  /** After the faults end all replicas agree, within a bounded time. */
  async #settle(): Promise<void> {
    const { cluster } = this;
    await this.#eventually('SET settled 1', 'OK');
    for (let attempt = 0; attempt < 100; attempt++) {
      const all: Awaited<ReturnType<SimCluster['status']>>[] = [];
      for (const node of cluster.nodes) all.push(await cluster.status(node));
      const same = all.every((s) => s.applied === all[0]!.applied);
      if (same && all.every((s) => s.stateHash === all[0]!.stateHash)) return;
      if (same) throw new Error(`the replicas differ: ${JSON.stringify(all)}`);
      await cluster.world.play(() => false, 100);
    }
    throw new Error('the replicas did not catch up with each other');
  }

  #judge(): void {
    const verdict = checkLinearizable(this.#history);
    if (!verdict.linearizable) throw new Error(`not linearizable: ${verdict.story}`);
  }
}

function answerOf(call: Call, reply: string): Answer {
  switch (call.kind) {
    case 'get':
      return reply === '(nil)' ? null : (JSON.parse(reply) as string);
    case 'set':
      return true;
    case 'incr':
      return reply.startsWith('ERR') ? 'error' : Number(reply.slice('(integer) '.length));
    case 'del':
      return Number(reply.slice('(integer) '.length));
    default:
      return reply === 'OK';
  }
}
