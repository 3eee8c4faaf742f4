/**
 * Is an acknowledged write ever lost, or a write carried out twice, while nodes are killed?
 *
 * Each client writes to keys of its own, so it knows what they must hold: after an answer exactly what it wrote, after an
 * unknown outcome what it wrote or what was there before. A key with an unknown outcome is written to no more, because
 * the write may still take effect. Counters find what keys do not: an INCR that was carried out twice.
 */
import { type Cluster, type NodePlace, until } from './cluster.js';
import { Gate, RoamingClient, think } from './roaming-client.js';

interface Expected {
  /** What the key must hold; undefined: nothing. */
  sure: string | undefined;
  /** What it may hold instead: a write of unknown outcome. The key is written to no more. */
  perhaps: string | undefined;
}

/** One client and all it knows of its keys. */
export class Writer {
  readonly #name: string;
  readonly #client: RoamingClient;
  readonly #expected = new Map<string, Expected>();
  #sequence = 0;
  /** The keys in use: plain ones, and one counter at the end. A key of unknown outcome is replaced by a new one. */
  readonly #keys: string[] = [];
  acknowledged = 0;
  unknown = 0;
  refused = 0;

  constructor(name: string, cluster: Cluster, home: NodePlace, keys = 6) {
    this.#name = name;
    this.#client = new RoamingClient(cluster, home);
    for (let i = 0; i <= keys; i++) this.#keys.push(this.#newKey(i));
  }

  /** A few writes in one go, each to another key. */
  async step(): Promise<void> {
    const slots = this.#keys.map((_, i) => i).filter(() => Math.random() < 0.6);
    const values = slots.map((slot) => this.#nextValue(slot));
    const lines = slots.map((slot, i) =>
      this.#isCounter(slot) ? `INCR ${this.#keys[slot]!}` : `SET ${this.#keys[slot]!} ${values[i]!}`,
    );
    const replies = await this.#client.ask(lines);
    for (const [i, reply] of replies.entries()) this.#learn(slots[i]!, values[i]!, reply);
    await think(4);
  }

  #isCounter(slot: number): boolean {
    return slot === this.#keys.length - 1;
  }

  #newKey(slot: number): string {
    const key = `${this.#name}-${slot}-${this.#sequence++}`;
    this.#expected.set(key, { sure: undefined, perhaps: undefined });
    return key;
  }

  #nextValue(slot: number): string {
    if (!this.#isCounter(slot)) return `${this.#name}:${this.#sequence++}`;
    return String(Number(this.#expected.get(this.#keys[slot]!)!.sure ?? 0) + 1);
  }

  #learn(slot: number, value: string, reply: string | undefined): void {
    const key = this.#keys[slot]!;
    const expected = this.#expected.get(key)!;
    if (reply === undefined) {
      this.unknown++;
      expected.perhaps = value;
      this.#keys[slot] = this.#newKey(slot);
    } else if (reply.startsWith('ERR ')) {
      this.refused++;
    } else {
      const right = this.#isCounter(slot) ? `(integer) ${value}` : 'OK';
      if (reply !== right) throw new Error(`${key}: the write of ${value} was answered ${reply}, not ${right}`);
      this.acknowledged++;
      expected.sure = value;
    }
  }

  /** Reads all keys ever written on `node`, and says what is wrong. */
  async verify(node: NodePlace): Promise<string[]> {
    const keys = [...this.#expected.keys()];
    const connection = await node.connect();
    const wrong: string[] = [];
    for (let i = 0; i < keys.length; i += 200) {
      const part = keys.slice(i, i + 200);
      const reply = await connection.ask(`MGET ${part.join(' ')}`);
      if (!reply.startsWith('[')) throw new Error(`node ${node.id}: MGET was answered ${reply}`);
      const values = JSON.parse(reply) as (string | null)[];
      part.forEach((key, j) => {
        const { sure, perhaps } = this.#expected.get(key)!;
        const value = values[j] ?? undefined;
        if (value === sure || (perhaps !== undefined && value === perhaps)) return;
        const also = perhaps === undefined ? '' : ` or ${perhaps}`;
        wrong.push(`node ${node.id}: ${key} holds ${value}, not ${sure}${also}`);
      });
    }
    connection.close();
    return wrong;
  }

  close(): void {
    this.#client.close();
  }
}

export interface DurabilityReport {
  readonly rounds: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly refused: number;
  /** Milliseconds from the kill of a leader until both other nodes had acknowledged a write sent after it. */
  readonly recoveries: readonly number[];
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

type Victims = 'leader' | 'any' | 'all';

export interface DurabilityOptions {
  readonly rounds: number;
  /** Whom the rounds kill, in turn. */
  readonly victims?: readonly Victims[];
  readonly clients?: number;
  readonly log?: (text: string) => void;
  /** No new round begins when it says so. */
  readonly enough?: () => boolean;
}

/** Runs the rounds; throws with what was wrong. The cluster has three nodes. */
export async function runDurability(cluster: Cluster, options: DurabilityOptions): Promise<DurabilityReport> {
  const { rounds, victims = ['leader', 'any', 'all'], clients = 24, log = () => {}, enough = () => false } = options;
  const writers = Array.from({ length: clients }, (_, i) => new Writer(`c${i}`, cluster, cluster.nodes[i % 3]!));
  const gate = new Gate();
  const work = Promise.all(writers.map((writer) => gate.loop(() => writer.step())));
  work.catch(() => gate.stop());
  const recoveries: number[] = [];
  let round = 0;
  try {
    for (; round < rounds && !gate.stopped && !enough(); round++) {
      const kind = victims[round % victims.length]!;
      const took = await killRound(cluster, kind, round);
      if (kind === 'leader') recoveries.push(took);
      await gate.shut();
      await verifyAll(cluster, writers);
      gate.open();
      log(`round ${round + 1}: killed ${kind}; writes again after ${Math.round(took)} ms`);
    }
  } finally {
    gate.stop();
    await work;
    for (const writer of writers) writer.close();
  }
  await verifyAll(cluster, writers);
  const sum = (of: (writer: Writer) => number) => writers.reduce((total, writer) => total + of(writer), 0);
  const sorted = [...recoveries].sort((a, b) => a - b);
  return {
    rounds: round,
    acknowledged: sum((w) => w.acknowledged),
    unknown: sum((w) => w.unknown),
    refused: sum((w) => w.refused),
    recoveries,
    medianMs: sorted[sorted.length >> 1] ?? 0,
    // The least that 99 of 100 do not exceed: of fewer than 100 the worst.
    p99Ms: sorted[Math.ceil(0.99 * sorted.length) - 1] ?? 0,
    worstMs: sorted.at(-1) ?? 0,
  };
}

/** Kills, waits until writes are served by all that live, starts the dead again. Returns the wait, in ms. */
async function killRound(cluster: Cluster, kind: Victims, round: number): Promise<number> {
  const leader = await cluster.leader();
  const any = cluster.nodes[Math.floor(Math.random() * cluster.nodes.length)]!;
  const victims = kind === 'all' ? cluster.nodes : [kind === 'leader' ? leader : any];
  const others = cluster.nodes.filter((node) => !victims.includes(node));
  const probes = await Promise.all(others.map((node) => node.connect()));
  const killed = performance.now();
  await Promise.all(victims.map((node) => node.kill()));
  const served = await Promise.all(
    probes.map((probe, i) => writeUntilOk(probe.ask.bind(probe), `probe-${round}-${i}`)),
  );
  for (const probe of probes) probe.close();
  await Promise.all(victims.map((node) => node.start()));
  if (kind === 'all') await cluster.leader();
  const took = kind === 'all' ? performance.now() : Math.max(...served);
  return took - killed;
}

/** When the first OK to a write came, on the clock of `performance.now`. */
async function writeUntilOk(ask: (line: string) => Promise<string>, key: string): Promise<number> {
  return await until(`a write to ${key} is acknowledged`, 15_000, async () => {
    const reply = await ask(`SET ${key} x`);
    return reply === 'OK' ? performance.now() : undefined;
  });
}

/** All that was acknowledged is there, on every node; and at the same index all nodes have the same state. */
async function verifyAll(cluster: Cluster, writers: readonly Writer[]): Promise<void> {
  const wrong: string[] = [];
  for (const node of cluster.nodes) {
    for (const writer of writers) wrong.push(...(await writer.verify(node)));
  }
  if (wrong.length > 0) throw new Error(`${wrong.length} keys are wrong:\n${wrong.slice(0, 20).join('\n')}`);
  const statuses = await cluster.settled();
  const hashes = new Set(statuses.map((s) => s.stateHash));
  if (hashes.size !== 1) {
    const list = statuses.map((s) => `node ${s.id}: ${s.stateHash} at ${s.applied}`).join(', ');
    throw new Error(`the states differ at the same index: ${list}`);
  }
}
