import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, NodePlace, removeFolder, runProgram, temporaryFolder, until } from '../support/cluster.js';
import { exchange, type LineClient } from '../support/line-client.js';

const places: NodePlace[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(places.splice(0).map((place) => place.kill()));
  for (const folder of folders.splice(0)) removeFolder(folder);
});

function folder(): string {
  folders.push(temporaryFolder());
  return folders.at(-1)!;
}

/** Places for nodes 1 … n, which are told nothing but id, port and folder; what they try as the first node is node 1. */
async function standBy(n: number): Promise<NodePlace[]> {
  const parent = folder();
  const ports = await Promise.all(Array.from({ length: n }, () => freePort()));
  const env = { DISTRIBUTED_FIRST_NODE: `127.0.0.1:${ports[0]}` };
  const made = ports.map(
    (port, i) => new NodePlace({ id: i + 1, port, directory: join(parent, `node-${i + 1}`), env }),
  );
  places.push(...made);
  return made;
}

async function reply(node: NodePlace, line: string): Promise<string> {
  return (await exchange(node.port, [`${line}\n`], { timeoutMs: 12_000 })).text;
}

/** `distributed cluster …`, asked at one node. */
function cluster(at: NodePlace, ...args: string[]) {
  return runProgram(['cluster', ...args, '--at', at.address], { deadlineMs: 30_000 });
}

/** Waits until these are all that take part, voters all of them, as each sees it. */
async function voters(nodes: readonly NodePlace[], deadlineMs: number): Promise<void> {
  const want = nodes.map(({ id, address }) => ({ id, address, voter: true }));
  await until(`nodes ${want.map(({ id }) => id)} are the voters`, deadlineMs, async () => {
    const seen = await Promise.all(nodes.map((node) => node.status(500)));
    return seen.every(({ members }) => JSON.stringify(members) === JSON.stringify(want));
  });
}

async function three(): Promise<[NodePlace, NodePlace, NodePlace, NodePlace]> {
  const nodes = (await standBy(4)) as [NodePlace, NodePlace, NodePlace, NodePlace];
  for (const node of nodes.slice(0, 3)) await node.start();
  await voters(nodes.slice(0, 3), 10_000);
  return nodes;
}

async function leaderOf(nodes: readonly NodePlace[]): Promise<NodePlace> {
  return await until('a leader', 10_000, async () => {
    const seen = await Promise.all(nodes.map((node) => node.status(500)));
    return nodes.find((node) => seen.every(({ leader }) => leader === node.id));
  });
}

/** Counts up a key of its own at each of some nodes, one command after the other. */
class Load {
  readonly counts = new Map<string, number>();
  readonly bad: string[] = [];
  longestMs = 0;
  #stopped = false;
  #loops: Promise<void>[] = [];

  async start(nodes: readonly NodePlace[]): Promise<void> {
    for (const node of nodes) this.#loops.push(this.#count(await node.connect(), `key${node.id}`));
  }

  async #count(client: LineClient, key: string): Promise<void> {
    while (!this.#stopped) {
      const began = performance.now();
      const line = await client.ask(`INCR ${key}`).catch((error: unknown) => String(error));
      this.longestMs = Math.max(this.longestMs, performance.now() - began);
      const count = Number(/^\(integer\) (\d+)$/.exec(line)?.[1]);
      if (count === (this.counts.get(key) ?? 0) + 1) this.counts.set(key, count);
      else {
        this.bad.push(line);
        return;
      }
    }
    client.close();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }
}

describe('nodes that are started one by one', () => {
  it('with nothing but id and port are three voters in 5 s, and say each step', async () => {
    const [one, two, three] = (await standBy(3)) as [NodePlace, NodePlace, NodePlace];
    const began = performance.now();
    await one.start();
    await two.start();
    await three.start();
    await voters([one, two, three], 5_000 - (performance.now() - began));
    for (const node of [two, three]) {
      const steps = [/asks 127\.0\.0\.1:\d+ to join/, /member of cluster/, /is a learner/, /caught up, and is a voter/];
      for (const step of steps) expect(node.run!.stderr).toMatch(step);
    }
    expect(await reply(one, 'SET a 1')).toBe('OK\n');
    await one.kill();
    expect(await reply(three, 'GET a')).toBe('"1"\n');
    // A founder that is away: the others go on, and it comes back to them.
    expect(await reply(two, 'SET a 2')).toBe('OK\n');
    await one.start();
    await voters([one, two, three], 10_000);
    expect(await reply(one, 'GET a')).toBe('"2"\n');
    const table = await runProgram(['status', two.address]);
    expect(table.code).toBe(0);
    expect(table.stdout.trimEnd().split('\n')).toHaveLength(4);
  });

  it('a fourth joins under load, one leaves, the leader is handed over and stopped: nothing is lost, no request fails', async () => {
    const [one, two, three_, four] = await three();
    const all = [one, two, three_, four];
    const leaving = await leaderOf([one, two, three_]);
    const staying = [one, two, three_].filter((node) => node !== leaving);
    const load = new Load();
    await load.start(staying);
    await four.start();
    await voters(all, 10_000);
    await load.start([four]);
    const rest = [...staying, four];
    const removed = await cluster(four, 'remove', `${leaving.id}`);
    expect(removed).toMatchObject({ code: 0, stdout: `node ${leaving.id} is no member any more\n` });
    expect(await leaving.run!.finish(10_000)).toEqual({ code: 0, signal: null });
    expect(leaving.run!.stderr).toMatch(/^distributed: node \d stops: it was removed from the cluster$/m);
    await voters(rest, 10_000);
    const to = rest.find((node) => node !== four)!;
    expect(await cluster(four, 'transfer', `${to.id}`)).toMatchObject({ code: 0, stdout: `node ${to.id} leads\n` });
    await leaderOf(rest);
    const before = load.longestMs;
    await load.stop();
    expect(load.bad).toEqual([]);
    expect(before).toBeLessThan(2_000);
    expect(load.counts.size).toBe(3);
    // The leader is told to stop: another one leads by the time that it is gone.
    expect(await to.terminate()).toEqual({ code: 0, signal: null });
    const left = rest.filter((node) => node !== to);
    expect((await left[0]!.status()).leader).not.toBe(to.id);
    for (const node of left)
      for (const [key, count] of load.counts) expect(await reply(node, `GET ${key}`)).toBe(`"${count}"\n`);
  });
});

describe('a member whose folder was deleted', () => {
  it('comes back by itself, started as before, and counts again', async () => {
    const [one, two, three_] = await three();
    expect(await reply(one, 'SET a 1')).toBe('OK\n');
    for (const node of [three_, one]) {
      await node.kill();
      rmSync(node.directory, { recursive: true });
      await node.start();
      await until('it is a voter again', 15_000, () => /caught up, and is a voter now/.test(node.run!.stderr));
      await voters([one, two, three_], 10_000);
      expect(await reply(node, 'GET a')).toBe('"1"\n');
    }
    await two.kill();
    expect(await reply(one, 'SET a 2')).toBe('OK\n');
    expect(await reply(three_, 'GET a')).toBe('"2"\n');
  });
});

describe('a member whose folder was deleted, on a machine where the first node is another cluster’s', () => {
  it('comes back to its own', async () => {
    const [stranger, ...members] = (await standBy(4)) as [NodePlace, NodePlace, NodePlace, NodePlace];
    await stranger.start();
    expect(await reply(stranger, 'SET whose strange')).toBe('OK\n');
    const parent = folder();
    const own: NodePlace[] = [];
    for (const [at, { port }] of members.entries()) {
      const env = { DISTRIBUTED_FIRST_NODE: stranger.address };
      const args = at === 0 ? [] : ['--join', own[0]!.address];
      own.push(new NodePlace({ id: at + 1, port, directory: join(parent, `own-${at + 1}`), env, args }));
      places.push(own[at]!);
      await own[at]!.start();
    }
    await voters(own, 10_000);
    expect(await reply(own[0]!, 'SET whose own')).toBe('OK\n');
    const lost = own[2]!;
    await lost.kill();
    rmSync(lost.directory, { recursive: true });
    const untold = new NodePlace({
      id: 3,
      port: lost.port,
      directory: lost.directory,
      env: { DISTRIBUTED_FIRST_NODE: stranger.address },
    });
    places.push(untold);
    await untold.start();
    await until('it is a voter again', 15_000, () => /caught up, and is a voter now/.test(untold.run!.stderr));
    await voters([own[0]!, own[1]!, untold], 10_000);
    expect(await reply(untold, 'GET whose')).toBe('"own"\n');
    await voters([stranger], 1_000);
  });
});

describe('distributed cluster', () => {
  it('remove, add and status: a removed id is refused, with its old folder and with a new one, until it is invited', async () => {
    const [one, two, three_] = await three();
    const leader = await leaderOf([one, two, three_]);
    const gone = three_ === leader ? two : three_;
    const rest = [one, two, three_].filter((node) => node !== gone);
    expect((await cluster(gone, 'remove', `${gone.id}`)).code).toBe(0);
    expect(await gone.run!.finish(10_000)).toEqual({ code: 0, signal: null });
    gone.spawn();
    expect(await gone.run!.finish(15_000)).toEqual({ code: 0, signal: null });
    expect(gone.run!.stderr).toMatch(/stops: it was removed from the cluster/);
    rmSync(gone.directory, { recursive: true });
    gone.spawn();
    expect(await gone.run!.finish(15_000)).toEqual({ code: 1, signal: null });
    expect(gone.run!.stderr).toMatch(new RegExp(`^distributed: .*cluster add ${gone.id} ${gone.address}`, 'm'));
    const listed = await cluster(rest[0]!, 'status');
    expect(listed).toMatchObject({ code: 0, stderr: '' });
    expect(listed.stdout).toMatch(new RegExp(`^ ${gone.id}  ${gone.address}  removed$`, 'm'));
    expect(listed.stdout).toMatch(new RegExp(`^ ${leader.id}  ${leader.address}  voter    yes$`, 'm'));
    const added = await cluster(rest[1]!, 'add', `${gone.id}`, gone.address);
    expect(added.code).toBe(0);
    expect(added.stdout).toContain(`distributed --id ${gone.id} --port ${gone.port} --join `);
    await gone.start();
    await voters([one, two, three_], 10_000);
    const json = JSON.parse((await cluster(gone, 'status', '--json')).stdout) as { members: unknown[] };
    expect(json.members).toHaveLength(3);
    const again = await cluster(rest[0]!, 'add', `${gone.id}`, gone.address);
    expect(again).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^node \d is a member at \S+ already; [^\n]+\n$/),
    });
  });

  it('says why not, in one line, with exit code 1', async () => {
    const [one, two, three_, four] = await three();
    const refused = async (pattern: RegExp, ...args: string[]) => {
      const { code, stdout, stderr } = await cluster(two, ...args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(/^distributed: [^\n]*\n$/);
      expect(stderr).toMatch(pattern);
    };
    await refused(/the cluster has no member 9/, 'remove', '9');
    await refused(/node 9 is no voter/, 'transfer', '9');
    await refused(new RegExp(`node 1 is a member at ${one.address}`), 'add', '1', four.address);
    await refused(/is the address of node 3, which is a member/, 'add', '4', three_.address);
    const invited = `127.0.0.1:${await freePort()}`;
    expect((await cluster(two, 'add', '4', invited)).code).toBe(0);
    const elsewhere = await freePort();
    const fifth = new NodePlace({
      id: 4,
      port: elsewhere,
      directory: join(folder(), 'elsewhere'),
      args: ['--join', one.address],
    });
    places.push(fifth);
    fifth.spawn();
    expect(await fifth.run!.finish(15_000)).toEqual({ code: 1, signal: null });
    expect(fifth.run!.stderr).toContain(
      `node 4 is invited at ${invited}; start it there, or invite it here: distributed cluster add 4 ${fifth.address}`,
    );
    const nobody = await runProgram(['cluster', 'status', '--at', four.address]);
    expect(nobody).toMatchObject({
      code: 1,
      stderr: `distributed: no node answers: ${four.address}: connection refused\n`,
    });
    // A node with a member's id, at another address.
    const twin = new NodePlace({
      id: 2,
      port: four.port,
      directory: join(folder(), 'twin'),
      args: ['--join', one.address],
    });
    places.push(twin);
    twin.spawn();
    expect(await twin.run!.finish(15_000)).toEqual({ code: 1, signal: null });
    expect(twin.run!.stderr).toMatch(new RegExp(`^distributed: .*node 2 is a member at ${two.address}`, 'm'));
    await Promise.all([one.kill(), three_.kill()]);
    await until('node 2 knows of no leader', 10_000, async () => (await two.status()).leader === null);
    expect((await cluster(two, 'status')).stdout).toMatch(/^no leader: these are the members as node 2 knows them$/m);
  });
});
