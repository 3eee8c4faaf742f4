import { describe, expect, it } from 'vitest';
import type { NodeOptions } from '../../src/node/options.js';
import type { SimClient } from '../../src/sim/client.js';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';
import { agreed, told } from '../support/snapshots.js';

/** Replies that leave it open, or mean that nothing was done because nobody could: the same line is sent again. */
const undecided = /^(UNKNOWN |ERR (no-leader|timeout|stopping|busy|lost) )/;

/** A client that sends each of its lines with a sequence until it is answered, on whichever node it reaches. */
class Retrying {
  /** The answer of each line, in their order. */
  readonly answers: (string | undefined)[];
  /** Lines that were sent, those sent again counted each time. */
  sent = 0;
  /** What should not have been replied. */
  wrong: string | undefined;
  private readonly cluster: SimCluster;
  private readonly lines: readonly string[];
  private readonly window: number;
  private session: string | undefined;
  private connection: SimClient | undefined;
  /** Lines that are on their way on this connection. */
  private readonly underWay = new Set<number>();

  constructor(cluster: SimCluster, lines: readonly string[], window: number) {
    this.cluster = cluster;
    this.lines = lines;
    this.window = window;
    this.answers = lines.map(() => undefined);
    this.connect();
  }

  get done(): boolean {
    return this.wrong !== undefined || this.answers.every((answer) => answer !== undefined);
  }

  private get lowest(): number {
    return this.answers.indexOf(undefined);
  }

  private connect(): void {
    const { cluster } = this;
    const running = cluster.nodes.filter(({ host }) => host.state === 'running');
    const node = running[cluster.random.integer(0, Math.max(0, running.length - 1))];
    if (node === undefined) {
      this.later();
      return;
    }
    const connection = cluster.client(node);
    this.connection = connection;
    this.underWay.clear();
    connection.send(this.session === undefined ? 'SESSION' : `SESSION ${this.session}`, (reply) => {
      const registered = /^\(integer\) (\d+)$/.exec(reply ?? '')?.[1];
      if (registered !== undefined) this.session = registered;
      if (registered !== undefined || reply === 'OK') this.fill(connection);
      else if (reply === undefined || undecided.test(reply)) this.lost(connection);
      else this.wrong = reply;
    });
  }

  private later(): void {
    this.cluster.clients.timers.after(20 + this.cluster.random.integer(0, 99), () => this.connect());
  }

  private lost(connection: SimClient): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
    connection.close();
    this.later();
  }

  private fill(connection: SimClient): void {
    for (let i = this.lowest; i >= 0 && i < this.lines.length && this.underWay.size < this.window; i++) {
      if (this.answers[i] !== undefined || this.underWay.has(i)) continue;
      this.underWay.add(i);
      this.sent++;
      connection.send(`SEQ ${i + 1} FROM ${this.lowest + 1} ${this.lines[i]}`, (reply) => {
        if (this.connection !== connection) return;
        if (reply === undefined || undecided.test(reply)) {
          this.lost(connection);
          return;
        }
        this.underWay.delete(i);
        if (/^ERR session /.test(reply)) this.wrong = reply;
        this.answers[i] = reply;
        this.fill(connection);
      });
    }
  }
}

function three(seed: string, options: Partial<NodeOptions> = {}): SimCluster {
  const cluster = new SimCluster(seed, ['wasm', 'js', 'wasm'], { requestTimeoutMs: 2_000, ...options });
  cluster.startAll();
  return cluster;
}

/** Something goes wrong, and a while later it is mended. */
async function fault(cluster: SimCluster): Promise<void> {
  const { random } = cluster;
  const node = random.integer(0, 1) === 0 ? await cluster.leader() : cluster.nodes[random.integer(0, 2)]!;
  const kind = random.integer(0, 3);
  if (kind === 0) cluster.kill(node);
  else if (kind === 1) cluster.powerOff(node);
  else if (kind === 2) cluster.partition(node);
  else for (const one of cluster.nodes) cluster.kill(one);
  await cluster.sleep(100 + random.integer(0, 1499));
  cluster.heal();
  for (const one of cluster.nodes) if (one.host.state !== 'running') cluster.restart(one);
  await cluster.sleep(300 + random.integer(0, 999));
}

describe('a write with a sequence', () => {
  it.each([
    'once',
    'twice',
    'thrice',
  ])('happens once while leaders die, links break, nodes restart and snapshots take the place of logs: %s', async (seed) => {
    const cluster = three(seed, { snapshotLogBytes: 32_768, segmentBytes: 8_192 });
    await cluster.leader();
    // So slow that most faults meet something on its way.
    for (const node of cluster.nodes) node.diskDelayMs = [4, 20];
    const [each, many] = [250, 4_000];
    const incr = (key: string, times: number) => Array.from({ length: times }, () => `INCR ${key}`);
    const clients = [
      // One line at a time: its answers are 1, 2, 3 …
      ...[0, 1, 2].map((n) => new Retrying(cluster, incr(`own${n}`, each), 1)),
      // Many at a time, all to one key.
      ...[3, 4, 5].map(() => new Retrying(cluster, incr('shared', many), 16)),
    ];
    for (let faults = 0; faults < 200 && !clients.every(({ done }) => done); faults++) await fault(cluster);
    expect(clients.map(({ wrong }) => wrong)).toEqual(clients.map(() => undefined));
    expect(clients.every(({ done }) => done)).toBe(true);
    const counted = Array.from({ length: each }, (_, i) => `(integer) ${i + 1}`);
    for (const client of clients.slice(0, 3)) expect(client.answers).toEqual(counted);
    const shared = clients.slice(3).flatMap(({ answers }) => answers);
    expect(new Set(shared).size).toBe(3 * many);
    const node = await cluster.leader();
    expect(await cluster.ask(node, 'MGET own0 own1 own2 shared')).toBe(`["${each}","${each}","${each}","${3 * many}"]`);
    // It was sent again often enough to be a test, and snapshots were loaded.
    expect(cluster.nodes.flatMap((node) => told(node, 'loaded the snapshot')).length).toBeGreaterThan(2);
    expect(clients.reduce((sum, { sent }) => sum + sent, 0)).toBeGreaterThan(3 * (each + many) + 100);
    await agreed(cluster);
    cluster.assertHealthy();
  });
});

describe('a COMMIT with a sequence', () => {
  it('whose node died is done or fenced, and stays what the retry was told', async () => {
    const cluster = three('fence');
    await cluster.leader();
    const outcomes: boolean[] = [];
    let session: string | undefined;
    for (let round = 0; round < 40; round++) {
      const node = cluster.nodes[cluster.random.integer(0, 2)]!;
      session ??= /\d+/.exec((await cluster.ask(node, 'SESSION'))!)![0];
      const client = cluster.client(node);
      const replies: (string | undefined)[] = [];
      for (const line of [`SESSION ${session}`, 'BEGIN', `SET done${round} 1`, 'INCR all']) {
        client.send(line, (reply) => replies.push(reply));
      }
      await cluster.until(() => replies.length === 4);
      expect(replies.slice(0, 3)).toEqual(['OK', 'OK', 'OK']);
      let direct: string | undefined;
      client.send(`SEQ ${round + 1} COMMIT`, (reply) => {
        direct = reply;
      });
      // In half of the rounds most likely before the COMMIT has left the node.
      await cluster.sleep(cluster.random.float() * (round % 2 === 0 ? 0.4 : 4));
      cluster.kill(node);
      const told = await retried(cluster, session, `SEQ ${round + 1} FROM ${round + 1} COMMIT`, node);
      expect(told).toMatch(/^(OK$|ERR aborted the transaction was gone before its COMMIT)/);
      if (direct !== undefined) expect(told).toBe(direct);
      outcomes.push(told === 'OK');
      cluster.restart(node);
      await cluster.sleep(cluster.random.integer(0, 999));
    }
    const leader = await cluster.leader();
    for (const [round, done] of outcomes.entries()) {
      expect(await cluster.ask(leader, `EXISTS done${round}`), `round ${round}`).toBe(`(integer) ${done ? 1 : 0}`);
    }
    const done = outcomes.filter(Boolean).length;
    expect(await cluster.ask(leader, 'GET all')).toBe(`"${done}"`);
    expect(done).toBeGreaterThan(3);
    expect(outcomes.length - done).toBeGreaterThan(3);
    await agreed(cluster);
    cluster.assertHealthy();
  });
});

/** Sends a line of a session's to one of the others until it is answered. */
async function retried(cluster: SimCluster, session: string, line: string, dead: SimNode): Promise<string> {
  const others = cluster.nodes.filter((node) => node !== dead);
  for (let attempt = 0; attempt < 100; attempt++) {
    const client = cluster.client(others[attempt % 2]!);
    const resumed = await client.ask(`SESSION ${session}`);
    const reply = resumed === 'OK' ? await client.ask(line) : resumed;
    client.close();
    if (reply !== undefined && !undecided.test(reply)) return reply;
    await cluster.sleep(100);
  }
  throw new Error(`${line} was never answered`);
}

describe('a session', () => {
  it('goes on after all nodes were killed, and ends an hour of log time after its last use, on every node', async () => {
    // Hours of few heartbeats.
    const cluster = three('hour', { heartbeatMs: 1_000, electionMs: [4_000, 6_000] });
    const [first, second] = cluster.nodes as [SimNode, SimNode, SimNode];
    await cluster.leader();
    const session = /\d+/.exec((await cluster.ask(first, 'SESSION'))!)![0];
    expect(await retried(cluster, session, 'SEQ 1 INCR a', first)).toBe('(integer) 1');
    for (const node of cluster.nodes) cluster.kill(node);
    for (const node of cluster.nodes) cluster.restart(node);
    await cluster.leader();
    expect(await retried(cluster, session, 'SEQ 1 INCR a', second)).toBe('(integer) 1');
    await cluster.sleep(3_590_000);
    expect(await retried(cluster, session, 'SEQ 1 INCR a', second)).toBe('(integer) 1');
    await cluster.sleep(3_601_000);
    expect(await retried(cluster, session, 'SEQ 1 INCR a', second)).toMatch(/^ERR session number \d+ is unknown/);
    await agreed(cluster);
    cluster.assertHealthy();
  });
});
