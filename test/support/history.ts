/**
 * Records what clients on all nodes saw, for the linearizability checker, while leaders are killed and stopped.
 *
 * All clients live in this process, so one clock orders calls and returns. Half of the keys hold text (get, set with values
 * never used twice, set-if-absent, compare-and-set, del), the others numbers (get, incr, del).
 */

import type { Answer, Call, Operation } from '../../src/sim/check/linearizability.js';
import { type Cluster, until } from './cluster.js';
import { Gate, RoamingClient, think } from './roaming-client.js';

const TEXT_KEYS = 8;
const NUMBER_KEYS = 4;
const STOP_MS = 1200;

export interface HistoryOptions {
  readonly operations: number;
  readonly faults: number;
  readonly clients?: number;
  readonly log?: (text: string) => void;
}

export interface HistoryReport {
  readonly history: readonly Operation[];
  readonly kills: number;
  readonly stops: number;
  /** Operations by the node that their clients live on. */
  readonly byNode: readonly number[];
  readonly unknown: number;
  readonly refused: number;
}

class Recorder {
  readonly history: Operation[] = [];
  readonly byNode: number[] = [0, 0, 0];
  unknown = 0;
  refused = 0;
  #unique = 0;
  /** Values lately written to each key: what compare-and-sets expect. */
  readonly #recent = new Map<string, string>();

  async step(client: number, roaming: RoamingClient): Promise<void> {
    const { key, call } = this.#choose();
    const ask = await roaming.session();
    const invoked = performance.now();
    const [reply] = await ask([lineOf(key, call)]);
    const now = performance.now();
    this.byNode[client % this.byNode.length]!++;
    if (reply === undefined) {
      this.unknown++;
      this.history.push({ client, key, call, invoked, returned: undefined, answer: null });
    } else if (reply.startsWith('ERR ') && !reply.startsWith('ERR not-an-integer ')) {
      this.refused++; // nothing happened: if something did, a later read shows it
    } else {
      this.history.push({ client, key, call, invoked, returned: now, answer: answerOf(call, reply) });
      if (call.kind === 'set' || call.kind === 'cas') this.#recent.set(key, call.value);
    }
    await think(Math.random() * 3);
  }

  #choose(): { key: string; call: Call } {
    const dice = Math.random();
    if (Math.random() < NUMBER_KEYS / (TEXT_KEYS + NUMBER_KEYS)) {
      const key = `number-${Math.floor(Math.random() * NUMBER_KEYS)}`;
      if (dice < 0.5) return { key, call: { kind: 'get' } };
      return { key, call: dice < 0.98 ? { kind: 'incr', by: 1 } : { kind: 'del' } };
    }
    const key = `text-${Math.floor(Math.random() * TEXT_KEYS)}`;
    const value = `v${this.#unique++}`;
    if (dice < 0.5) return { key, call: { kind: 'get' } };
    if (dice < 0.8) return { key, call: { kind: 'set', value } };
    if (dice < 0.92) return { key, call: { kind: 'cas', expected: this.#recent.get(key) ?? 'none', value } };
    if (dice < 0.96) return { key, call: { kind: 'setnx', value } };
    return { key, call: { kind: 'del' } };
  }
}

function lineOf(key: string, call: Call): string {
  switch (call.kind) {
    case 'get':
      return `GET ${key}`;
    case 'set':
      return `SET ${key} ${call.value}`;
    case 'setnx':
      return `SET ${key} ${call.value} NX`;
    case 'del':
      return `DEL ${key}`;
    case 'incr':
      return `INCR ${key} ${call.by}`;
    case 'cas':
      return `CAS ${key} ${call.expected} ${call.value}`;
  }
}

/** A reply as the checker's model would say it. Throws on one that the command cannot have. */
function answerOf(call: Call, reply: string): Answer {
  const integer = /^\(integer\) (-?\d+)$/.exec(reply);
  if (call.kind === 'get') {
    if (reply === '(nil)') return null;
    if (reply.startsWith('"')) return JSON.parse(reply) as string;
  } else if (call.kind === 'del' || call.kind === 'incr') {
    if (integer) return Number(integer[1]);
    if (call.kind === 'incr' && reply.startsWith('ERR not-an-integer ')) return 'error';
  } else {
    if (reply === 'OK') return true;
    if (reply === '(nil)' && call.kind !== 'set') return false;
  }
  throw new Error(`${call.kind} was answered ${reply}`);
}

/** Runs until there are enough operations and faults; leaders are killed and stopped in turn. */
export async function recordHistory(cluster: Cluster, options: HistoryOptions): Promise<HistoryReport> {
  const { operations, faults, clients = 15, log = () => {} } = options;
  const recorder = new Recorder();
  const roaming = Array.from({ length: clients }, (_, i) => new RoamingClient(cluster, cluster.nodes[i % 3]!));
  const gate = new Gate();
  const work = Promise.all(roaming.map((client, i) => gate.loop(() => recorder.step(i, client))));
  work.catch(() => gate.stop());
  let [kills, stops] = [0, 0];
  try {
    while (!gate.stopped && kills + stops < faults) {
      if ((kills + stops) % 2 === 0) {
        await killLeader(cluster);
        kills++;
      } else {
        await stopLeader(cluster);
        stops++;
      }
      log(`${kills} kills, ${stops} stops, ${recorder.history.length} operations`);
    }
    await until('enough operations', 120_000, () => gate.stopped || recorder.history.length >= operations);
  } finally {
    gate.stop();
    await work;
    for (const client of roaming) client.close();
  }
  const { history, byNode, unknown, refused } = recorder;
  return { history, kills, stops, byNode, unknown, refused };
}

async function killLeader(cluster: Cluster): Promise<void> {
  const leader = await cluster.leader();
  await leader.kill();
  await cluster.leader();
  await leader.start();
}

/** The old leader wakes up after the others have gone on without it: what it then answers must not be stale. */
async function stopLeader(cluster: Cluster): Promise<void> {
  const leader = await cluster.leader();
  leader.pause();
  try {
    await until('the others have another leader', 15_000, async () => {
      const rest = cluster.nodes.filter((node) => node !== leader);
      const statuses = await Promise.all(rest.map((node) => node.status(500)));
      return statuses.some((s) => s.role === 'leader');
    });
    await think(Math.random() * STOP_MS);
  } finally {
    leader.resume();
  }
}
