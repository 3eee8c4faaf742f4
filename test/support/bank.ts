/**
 * Transfers between accounts in transactions on all nodes, and audits that add the accounts up in read-only transactions,
 * while leaders are killed. Every audit must find the sum that was there at the start: an audit that does not has seen half
 * a commit, or a commit that should have conflicted.
 */
import { type Cluster, type NodePlace, until } from './cluster.js';
import type { LineClient } from './line-client.js';
import { Gate, RoamingClient, think } from './roaming-client.js';

export const ACCOUNTS = 8;
const START = 100;
export const TOTAL = ACCOUNTS * START;
const names = Array.from({ length: ACCOUNTS }, (_, i) => `account-${i}`);

export interface BankReport {
  commits: number;
  conflicts: number;
  audits: number;
  unknown: number;
  readonly kills: number;
  /** Transactions that stood idle until the end, and then were told of a conflict. */
  readonly idleConflicts: number;
}

export interface BankOptions {
  readonly commits: number;
  readonly kills: number;
  readonly deadlineMs: number;
}

class Bank {
  readonly report = { commits: 0, conflicts: 0, audits: 0, unknown: 0 };

  /** One transfer; an aborted one changes nothing. */
  async transfer(client: RoamingClient): Promise<void> {
    const [from, to] = twoAccounts();
    const ask = await client.session();
    const [begin, have, had] = await ask(['BEGIN', `GET ${from}`, `GET ${to}`]);
    if (begin !== 'OK' || !have?.startsWith('"') || !had?.startsWith('"')) {
      await ask(['ROLLBACK']);
      return;
    }
    const amount = 1 + Math.floor(Math.random() * 5);
    await think(1 + Math.random() * 4);
    const [, , outcome] = await ask([
      `SET ${from} ${Number(JSON.parse(have)) - amount}`,
      `SET ${to} ${Number(JSON.parse(had)) + amount}`,
      'COMMIT',
    ]);
    if (outcome === undefined) this.report.unknown++;
    else if (outcome === 'OK') this.report.commits++;
    else if (outcome.startsWith('ERR conflict ')) this.report.conflicts++;
  }

  async audit(client: RoamingClient): Promise<void> {
    const replies = await client.ask(['BEGIN', `MGET ${names.join(' ')}`, 'COMMIT']);
    const [begin, list, end] = replies;
    if (begin !== 'OK' || !list?.startsWith('[') || end !== 'OK') return;
    const sum = (JSON.parse(list) as (string | null)[]).reduce((total, value) => total + Number(value), 0);
    if (sum !== TOTAL) throw new Error(`an audit found ${sum}, not ${TOTAL}: ${list}`);
    this.report.audits++;
    await think(5);
  }
}

function twoAccounts(): [string, string] {
  const from = Math.floor(Math.random() * ACCOUNTS);
  const to = (from + 1 + Math.floor(Math.random() * (ACCOUNTS - 1))) % ACCOUNTS;
  return [names[from]!, names[to]!];
}

/** Runs until there are enough commits and kills. Throws when an audit is wrong, or the deadline passes. */
export async function runBank(cluster: Cluster, options: BankOptions): Promise<BankReport> {
  const bank = new Bank();
  const setup = await cluster.nodes[0]!.connect();
  const set = await setup.askAll(names.map((name) => `SET ${name} ${START}`));
  if (set.some((reply) => reply !== 'OK')) throw new Error(`the accounts could not be opened: ${set.join(', ')}`);
  const idle = new Map<NodePlace, LineClient[]>();
  for (const node of cluster.nodes) idle.set(node, await openIdle(node));
  const clients = Array.from({ length: 9 }, (_, i) => new RoamingClient(cluster, cluster.nodes[i % 3]!));
  const auditors = Array.from({ length: 3 }, (_, i) => new RoamingClient(cluster, cluster.nodes[i]!));
  const gate = new Gate();
  const work = Promise.all([
    ...clients.map((client) => gate.loop(() => bank.transfer(client))),
    ...auditors.map((client) => gate.loop(() => bank.audit(client))),
  ]);
  work.catch(() => gate.stop());
  const deadline = performance.now() + options.deadlineMs;
  let kills = 0;
  try {
    while (!gate.stopped && (kills < options.kills || bank.report.commits < options.commits)) {
      if (performance.now() > deadline) throw new Error(`too slow: ${JSON.stringify(bank.report)}, ${kills} kills`);
      if (kills < options.kills) {
        const node = await killLeader(cluster, bank);
        idle.set(node, await openIdle(node));
        kills++;
        await someCommits(bank, 60);
      } else await think(50);
    }
  } finally {
    gate.stop();
    await work;
    for (const client of [...clients, ...auditors]) client.close();
  }
  await finalAudits(cluster);
  const idleConflicts = await endIdle(idle);
  setup.close();
  return { ...bank.report, kills, idleConflicts };
}

/** Waits for as many commits: every account has changed by then. */
async function someCommits(bank: Bank, count: number): Promise<void> {
  const before = bank.report.commits;
  await until('transfers go on', 20_000, () => bank.report.commits >= before + count);
}

async function killLeader(cluster: Cluster, bank: Bank): Promise<NodePlace> {
  const leader = await cluster.leader();
  await leader.kill();
  await someCommits(bank, 20);
  await leader.start();
  return leader;
}

/** Transactions on a node that have read and written and then stand still. */
async function openIdle(node: NodePlace): Promise<LineClient[]> {
  const clients: LineClient[] = [];
  for (let i = 0; i < 4; i++) {
    const client = await node.connect();
    const ask = (line: string) => until(`${line} on node ${node.id}`, 15_000, async () => await accepted(client, line));
    await ask('BEGIN');
    await ask(`GET ${names[i]!}`);
    await ask(`SET ${names[i]!} 1000000`);
    clients.push(client);
  }
  return clients;
}

/** The reply, unless it is an error: a node that has just started may not know its leader yet. */
async function accepted(client: LineClient, line: string): Promise<string | undefined> {
  const reply = await client.ask(line);
  return reply.startsWith('ERR ') ? undefined : reply;
}

/** COMMITs all of them: each must be told of the conflict, or that it was idle for too long. */
async function endIdle(idle: ReadonlyMap<NodePlace, readonly LineClient[]>): Promise<number> {
  let conflicts = 0;
  for (const client of [...idle.values()].flat()) {
    const reply = await client.ask('COMMIT');
    if (reply.startsWith('ERR conflict ')) conflicts++;
    else if (!reply.startsWith('ERR aborted ')) throw new Error(`an idle transaction's COMMIT was answered ${reply}`);
    client.close();
  }
  return conflicts;
}

async function finalAudits(cluster: Cluster): Promise<void> {
  for (const node of cluster.nodes) {
    const client = await node.connect();
    const reply = await client.ask(`MGET ${names.join(' ')}`);
    const sum = (JSON.parse(reply) as (string | null)[]).reduce((total, value) => total + Number(value), 0);
    if (sum !== TOTAL) throw new Error(`at the end node ${node.id} has ${sum}, not ${TOTAL}: ${reply}`);
    client.close();
  }
}
