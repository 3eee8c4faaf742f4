import { describe, expect, it } from 'vitest';
import type { NodeOptions } from '../../src/node/options.js';
import type { ClusterStatus } from '../../src/protocol/cluster.js';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';
import { SimDisk } from '../../src/sim/disk.js';

const kinds = ['wasm', 'js', 'wasm', 'js', 'wasm'] as const;
const aloneOptions = { peers: undefined } as const;

/** Node 1 is a cluster of one; the others are machines that stand by. */
async function alone(seed: string, options: Partial<NodeOptions> = {}): Promise<SimCluster> {
  const cluster = new SimCluster(seed, kinds, options);
  cluster.start(cluster.node(1), aloneOptions);
  expect(await cluster.ask(cluster.node(1), 'SET begun 1')).toBe('OK');
  return cluster;
}

/** Three founders; nodes 4 and 5 stand by. */
async function three(seed: string, options: Partial<NodeOptions> = {}): Promise<SimCluster> {
  const cluster = new SimCluster(seed, kinds, options);
  for (const id of [1, 2, 3]) cluster.start(cluster.node(id), founders(cluster));
  expect(await cluster.ask(cluster.node(1), 'SET begun 1')).toBe('OK');
  return cluster;
}

const founders = (cluster: SimCluster) => ({ peers: cluster.peers.slice(0, 3) });
const joining = (...ids: number[]) => ({ peers: undefined, join: ids.map((id) => `node${id}:8080`) });

/** Its data folder is deleted: another disk in the same machine. */
function wipe(node: SimNode): void {
  node.disk = new SimDisk(node.diskOptions);
}

/** One request of the cluster exchange to a node, as the line that it answers. */
async function exchange(cluster: SimCluster, node: SimNode, request: object): Promise<Record<string, unknown>> {
  const line = await cluster.ask(node, `@cluster ${JSON.stringify(request)}`, 20_000);
  return JSON.parse(line ?? '{"error":"no answer"}') as Record<string, unknown>;
}

/** The same to whoever leads, as the CLI does. */
async function change(cluster: SimCluster, request: object): Promise<Record<string, unknown>> {
  return exchange(cluster, await cluster.leader(), request);
}

async function statusOf(cluster: SimCluster, node: SimNode): Promise<ClusterStatus> {
  return (await exchange(cluster, node, { request: 'status' })) as unknown as ClusterStatus;
}

/** Waits until these are the voters, as each of them sees it, and nobody is anything else that takes part. */
async function voters(cluster: SimCluster, ids: readonly number[], deadlineMs = 10_000): Promise<void> {
  const end = cluster.now + deadlineMs;
  const want = ids.map((id) => `${id} voter`).join();
  let seen: string[] = [];
  do {
    seen = [];
    for (const id of ids) {
      const { committed, members = [] } = await statusOf(cluster, cluster.node(id));
      const here = members.filter(({ kind }) => kind !== 'removed' && kind !== 'invited');
      seen.push(committed ? here.map((member) => `${member.id} ${member.kind}`).join() : 'not committed');
    }
    if (seen.every((list) => list === want)) return;
    await cluster.sleep(50);
  } while (cluster.now < end);
  throw new Error(`the voters are not ${ids} after ${deadlineMs} ms: ${seen.join(' | ')}`);
}

/** Clients that count up keys of their own, and note what was acknowledged. */
class Load {
  readonly acknowledged = new Map<string, number>();
  /** Longest time that a write took, ms. */
  longestMs = 0;
  failed = 0;
  #stopped = false;
  #running = 0;
  readonly #cluster: SimCluster;

  constructor(cluster: SimCluster, ids: readonly number[]) {
    this.#cluster = cluster;
    for (const id of ids) this.#run(cluster.node(id), `key${id}`);
  }

  #run(node: SimNode, key: string): void {
    const client = this.#cluster.client(node);
    this.#running++;
    const next = (): void => {
      if (this.#stopped) {
        this.#running--;
        return;
      }
      const since = this.#cluster.now;
      client.send(`INCR ${key}`, (reply) => {
        this.longestMs = Math.max(this.longestMs, this.#cluster.now - since);
        const count = Number(/^\(integer\) (\d+)$/.exec(reply ?? '')?.[1]);
        if (count > 0) this.acknowledged.set(key, count);
        else this.failed++;
        next();
      });
    };
    next();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#cluster.until(() => this.#running === 0);
  }

  /** All that was acknowledged is there, on each of these nodes. */
  async check(ids: readonly number[]): Promise<void> {
    expect(this.acknowledged.size).toBeGreaterThan(0);
    for (const id of ids) {
      for (const [key, count] of this.acknowledged) {
        const value = Number(JSON.parse((await this.#cluster.ask(this.#cluster.node(id), `GET ${key}`))!));
        expect(value, `${key} at node ${id}`).toBeGreaterThanOrEqual(count);
      }
    }
  }
}

describe('joining', () => {
  it('under load, two at once: learners first, voters by themselves within 5 s, and no request fails', async () => {
    const cluster = await alone('join');
    const load = new Load(cluster, [1]);
    await cluster.sleep(500);
    const began = cluster.now;
    cluster.start(cluster.node(2), joining(1));
    cluster.start(cluster.node(3), joining(2, 1));
    await voters(cluster, [1, 2, 3], 5_000);
    expect(cluster.now - began).toBeLessThan(5_000);
    await cluster.sleep(200);
    await load.stop();
    expect(load.failed).toBe(0);
    expect(load.longestMs).toBeLessThan(500);
    await load.check([1, 2, 3]);
    for (const id of [2, 3]) {
      const lines = cluster.node(id).lines.join('\n');
      expect(lines).toMatch(
        /asks node[12]:8080.* to join(?:.|\n)*is a learner(?:.|\n)*has caught up, and is a voter now/,
      );
    }
    // Any one of them may be dead.
    cluster.kill(cluster.node(1));
    expect(await cluster.ask(cluster.node(2), 'INCR key1')).toMatch(/^\(integer\)/);
  });

  it('lets the node that began alone be repaired by those who came, although its log forgets them', async () => {
    const cluster = await alone('rot of the founder');
    cluster.start(cluster.node(2), joining(1));
    cluster.start(cluster.node(3), joining(1));
    await voters(cluster, [1, 2, 3]);
    const client = cluster.client(cluster.node(2));
    for (let i = 0; i < 30; i++) expect(await client.ask(`SET key${i} 1`, 20_000)).toBe('OK');
    const one = cluster.node(1);
    cluster.kill(one);
    const first = one.disk
      .list('/data')
      .filter((name) => name.startsWith('wal-'))
      .sort()[0]!;
    one.disk.flipBit(`/data/${first}`, (512 + 600) * 8);
    one.host.restart();
    cluster.start(one, aloneOptions);
    await cluster.until(() => one.lines.some((line) => line.includes('the data folder is repaired')));
    await voters(cluster, [1, 2, 3]);
    expect(await cluster.ask(one, 'COUNT')).toBe('(integer) 31');
    cluster.assertHealthy();
  });

  it('goes on where it was when the joiner dies at any time, and when all are killed', async () => {
    for (const afterMs of [5, 20, 50, 90, 150, 400]) {
      const cluster = await alone(`joiner dies ${afterMs}`);
      const two = cluster.node(2);
      cluster.start(two, joining(1));
      await cluster.sleep(afterMs);
      cluster.powerOff(two);
      two.host.restart();
      cluster.start(two, joining(1));
      await voters(cluster, [1, 2], 10_000);
      for (const node of [cluster.node(1), two]) cluster.powerOff(node);
      for (const node of [cluster.node(1), two]) {
        node.host.restart();
        cluster.start(node, aloneOptions);
      }
      expect(await cluster.ask(two, 'GET begun')).toBe('"1"');
      await voters(cluster, [1, 2]);
    }
  });

  it('goes on under another leader when the one that was asked dies', async () => {
    for (const afterMs of [10, 30, 60, 100, 200]) {
      const cluster = await three(`leader dies ${afterMs}`);
      const leader = await cluster.leader();
      cluster.start(cluster.node(4), joining(1, 2, 3));
      await cluster.sleep(afterMs);
      cluster.powerOff(leader);
      leader.host.restart();
      cluster.start(leader, founders(cluster));
      await voters(cluster, [1, 2, 3, 4], 20_000);
      cluster.assertHealthy();
    }
  });

  it('refuses the id of a member at another address, the address of another, and the id of a removed one', async () => {
    const cluster = await three('refusals');
    const identity = '00112233445566778899aabbccddeeff';
    const ask = (id: number, address: string) => change(cluster, { request: 'join', id, address, identity });
    expect(await ask(2, 'node5:8080')).toMatchObject({
      error: expect.stringContaining('node 2 is a member at node2:8080'),
    });
    expect(await ask(5, 'node2:8080')).toMatchObject({ error: expect.stringContaining('is the address of node 2') });
    expect(await change(cluster, { request: 'remove', id: 3 })).toEqual({ done: true });
    await voters(cluster, [1, 2]);
    expect(await ask(3, 'node3:8080')).toMatchObject({
      error: expect.stringContaining('node 3 was removed from the cluster'),
      again: false,
    });
    cluster.start(cluster.node(4), joining(1));
    await voters(cluster, [1, 2, 4]);
    expect(await ask(5, 'node4:8080')).toMatchObject({ error: expect.stringContaining('is the address of node 4') });
  });

  it('lets nobody in that the leader does not find at its address: a twin does not take the place of who is there', async () => {
    const cluster = await three('twin');
    const leader = await cluster.leader();
    const cut = cluster.nodes.find(({ id }) => id !== leader.id && id < 4)!;
    // Says that it is the member that is cut off, from another machine and with a folder of its own.
    cluster.partition(cut);
    const twin = cluster.node(5);
    cluster.start(twin, { ...joining(leader.id), id: cut.id, publicHost: `node${cut.id}` });
    await cluster.sleep(8_000);
    expect(twin.lines.join('\n')).toContain(`node ${cut.id} is not found at its address by the leader`);
    expect((await statusOf(cluster, leader)).members.map(({ kind }) => kind)).toEqual(['voter', 'voter', 'voter']);
    cluster.kill(twin);
    cluster.heal();
    await voters(cluster, [1, 2, 3]);
    expect(cut.failure).toBeUndefined();
  });

  it('looks for few at once of all who ask to join, each once: the others are told to ask again', async () => {
    const cluster = await three('many ask');
    cluster.partition(cluster.node(5));
    const identity = '00112233445566778899aabbccddeeff';
    const ask = (i: number) =>
      change(cluster, { request: 'join', id: 10 + i, address: `node5:${9_000 + i}`, identity });
    const answers = await Promise.all([0, ...Array.from({ length: 20 }, (_, i) => i)].map(ask));
    const told = (text: string) => answers.filter(({ error }) => String(error).includes(text)).length;
    expect([told('is not found at its address'), told('already, ask again'), told('for others, ask again')]).toEqual([
      16, 1, 4,
    ]);
    expect(answers.every(({ again }) => again)).toBe(true);
    expect(await ask(30)).toMatchObject({ error: expect.stringContaining('is not found at its address') });
  });

  it('a follower names the leader, and a node that is refused stops with the reason', async () => {
    const cluster = await three('follower');
    const leader = await cluster.leader();
    const follower = cluster.nodes.find(({ id }) => id !== leader.id && id < 4)!;
    expect(await exchange(cluster, follower, { request: 'remove', id: 9 })).toEqual({
      error: expect.stringContaining('does not lead'),
      leader: `node${leader.id}:8080`,
      again: true,
    });
    expect(await change(cluster, { request: 'remove', id: 9 })).toMatchObject({ error: 'the cluster has no member 9' });
    const stranger = cluster.node(5);
    cluster.start(stranger, { ...joining(follower.id), id: 2 });
    await cluster.until(() => stranger.failure !== undefined, 5_000);
    expect(stranger.failure).toContain('node 2 is a member at node2:8080');
  });
});

describe('an old copy of a disk', () => {
  it('is refused also when all others have been started anew since, and nothing acknowledged is forgotten', async () => {
    const cluster = await three('old disk');
    const [one, two, third] = [cluster.node(1), cluster.node(2), cluster.node(3)];
    const old = third.disk.fork(third.diskOptions);
    old.crash('drop');
    cluster.kill(third);
    third.host.restart();
    cluster.start(third, founders(cluster));
    expect(await cluster.ask(third, 'SET seen 1')).toBe('OK');
    await cluster.sleep(500);
    cluster.partition(two);
    expect(await cluster.ask(third, 'SET precious 1')).toBe('OK');
    for (const node of [one, two, third]) cluster.powerOff(node);
    cluster.heal();
    third.disk = old;
    for (const node of [two, third]) {
      node.host.restart();
      cluster.start(node, founders(cluster));
    }
    expect(await cluster.ask(two, 'GET precious')).toMatch(/^ERR no-leader /);
    expect(third.lines.join('\n')).toMatch(/refused by node 2 .*an old copy of its folder/);
    one.host.restart();
    cluster.start(one, founders(cluster));
    expect(await cluster.ask(two, 'GET precious')).toBe('"1"');
    cluster.assertHealthy();
  });
});

describe('leaving', () => {
  it('of a follower: it stops by itself and says why, and may come back only when it is invited', async () => {
    const cluster = await three('leave');
    const leader = await cluster.leader();
    const gone = cluster.nodes.find(({ id }) => id !== leader.id && id < 4)!;
    const rest = [1, 2, 3].filter((id) => id !== gone.id);
    expect(await change(cluster, { request: 'remove', id: gone.id })).toEqual({ done: true });
    await cluster.until(() => gone.failure !== undefined, 5_000);
    expect(gone.failure).toContain(`node ${gone.id} stops: it was removed from the cluster`);
    await voters(cluster, rest);
    // Started again, with its old folder: it is refused, asks why, and stops.
    gone.host.kill();
    gone.host.restart();
    cluster.start(gone, founders(cluster));
    await cluster.until(() => gone.failure !== undefined, 10_000);
    expect(gone.failure).toContain('it was removed from the cluster');
    const add = { request: 'add', id: gone.id, address: `node${gone.id}:8080` } as const;
    for (let time = 1; time <= 2; time++) expect(await change(cluster, add)).toEqual({ done: true, kind: 'invited' });
    gone.host.kill();
    gone.host.restart();
    wipe(gone);
    cluster.start(gone, joining(leader.id));
    await voters(cluster, [1, 2, 3]);
    expect(await change(cluster, add)).toEqual({ done: true, kind: 'voter' });
  });

  it('of the leader, under load: another one leads, no request fails, nothing acknowledged is lost', async () => {
    const cluster = await three('leader leaves');
    const leader = await cluster.leader();
    const rest = [1, 2, 3].filter((id) => id !== leader.id);
    const load = new Load(cluster, rest);
    await cluster.sleep(300);
    expect(await change(cluster, { request: 'remove', id: leader.id })).toEqual({ done: true });
    await cluster.until(() => leader.failure !== undefined, 5_000);
    expect(leader.failure).toContain('it was removed');
    await voters(cluster, rest);
    await cluster.sleep(300);
    await load.stop();
    expect(load.failed).toBe(0);
    expect(load.longestMs).toBeLessThan(1_500);
    await load.check(rest);
  });

  it('of one that is down: it is told when it comes back', async () => {
    const cluster = await three('down');
    const leader = await cluster.leader();
    const gone = cluster.nodes.find(({ id }) => id !== leader.id && id < 4)!;
    cluster.kill(gone);
    expect(await change(cluster, { request: 'remove', id: gone.id })).toEqual({ done: true });
    await cluster.sleep(5_000);
    gone.host.restart();
    cluster.start(gone, founders(cluster));
    await cluster.until(() => gone.failure !== undefined, 10_000);
    expect(gone.failure).toContain('it was removed from the cluster');
  });

  it('the last voter stays, and so does one without whom there would be no majority', async () => {
    const cluster = await three('majority');
    const leader = await cluster.leader();
    const [second, third] = cluster.nodes.filter(({ id }) => id !== leader.id && id < 4) as [SimNode, SimNode];
    cluster.kill(third);
    await cluster.sleep(1_000);
    expect(await change(cluster, { request: 'remove', id: second.id })).toMatchObject({
      error: expect.stringContaining('no majority'),
      again: true,
    });
    expect(await change(cluster, { request: 'remove', id: third.id })).toEqual({ done: true });
    expect(await change(cluster, { request: 'remove', id: second.id })).toEqual({ done: true });
    expect(await change(cluster, { request: 'remove', id: leader.id })).toMatchObject({
      error: expect.stringContaining('the last voter'),
    });
    expect(await cluster.ask(leader, 'GET begun')).toBe('"1"');
  });
});

describe('a folder that was lost', () => {
  it('is replaced by the new one, under load, and nothing acknowledged is lost', async () => {
    const cluster = await three('lost');
    const leader = await cluster.leader();
    const [other, lost] = cluster.nodes.filter(({ id }) => id !== leader.id && id < 4) as [SimNode, SimNode];
    const load = new Load(cluster, [leader.id, other.id]);
    await cluster.sleep(300);
    cluster.kill(lost);
    wipe(lost);
    lost.host.restart();
    cluster.start(lost, founders(cluster));
    await cluster.until(() => lost.lines.some((line) => line.includes('is a voter now')), 10_000);
    await voters(cluster, [1, 2, 3]);
    await cluster.sleep(300);
    await load.stop();
    expect(load.failed).toBe(0);
    await load.check([1, 2, 3]);
    // It counts again: with it, one other is enough.
    cluster.kill(other);
    expect(await cluster.ask(lost, 'INCR key1')).toMatch(/^\(integer\)/);
    cluster.restart(other);
    await voters(cluster, [1, 2, 3]);
  });

  it('is not replaced when the rest are no majority, and is once they are', async () => {
    const cluster = await three('lost two');
    const leader = await cluster.leader();
    const [other, lost] = cluster.nodes.filter(({ id }) => id !== leader.id && id < 4) as [SimNode, SimNode];
    for (const node of [other, lost]) cluster.kill(node);
    wipe(lost);
    lost.host.restart();
    cluster.start(lost, founders(cluster));
    await cluster.sleep(5_000);
    expect(lost.failure).toBeUndefined();
    expect(await cluster.ask(leader, 'GET begun')).toMatch(/^ERR (no-leader|timeout)/);
    other.host.restart();
    cluster.start(other, founders(cluster));
    await voters(cluster, [1, 2, 3], 20_000);
    expect(await cluster.ask(lost, 'GET begun')).toBe('"1"');
  });

  it('whose new folder dies when the old one is out, and the new one not yet in, comes in all the same', async () => {
    const cluster = await three('dies between');
    const leader = await cluster.leader();
    const lost = cluster.nodes.slice(0, 3).find((node) => node !== leader)!;
    cluster.kill(lost);
    wipe(lost);
    lost.host.restart();
    cluster.start(lost, founders(cluster));
    const isOut = (line: string) => line.includes('members: ') && !line.includes(`${lost.id}=`);
    await cluster.until(() => leader.lines.some(isOut), 10_000);
    cluster.kill(lost);
    wipe(lost);
    // With its leader the cluster forgets that somebody has asked; and nobody dials it any more.
    cluster.kill(leader);
    leader.host.restart();
    cluster.start(leader, founders(cluster));
    await cluster.sleep(10_000);
    lost.host.restart();
    cluster.start(lost, founders(cluster));
    await voters(cluster, [1, 2, 3], 20_000);
    expect(await cluster.ask(lost, 'GET begun')).toBe('"1"');
  });

  it('of a node that has joined, too: it asks again, and is another folder to all', async () => {
    const cluster = await alone('lost joiner');
    for (const id of [2, 3]) cluster.start(cluster.node(id), joining(1));
    await voters(cluster, [1, 2, 3]);
    const one = cluster.node(1);
    // The founder itself: the members know its address.
    cluster.kill(one);
    wipe(one);
    one.host.restart();
    cluster.start(one, aloneOptions);
    await voters(cluster, [1, 2, 3], 20_000);
    expect(await cluster.ask(one, 'GET begun')).toBe('"1"');
    const two = cluster.node(2);
    cluster.kill(two);
    wipe(two);
    two.host.restart();
    cluster.start(two, joining(3));
    await voters(cluster, [1, 2, 3], 20_000);
    expect(await cluster.ask(two, 'GET begun')).toBe('"1"');
  });
});

describe('a node that was away', () => {
  it('is sent the log by members that it does not know, the one that has taken the place of one it knew among them', async () => {
    const cluster = await three('away');
    const [one, two, away] = [cluster.node(1), cluster.node(2), cluster.node(3)];
    cluster.kill(away);
    await cluster.sleep(1_000);
    // 2 is replaced, 1 is removed, 4 joins: of those that node 3 knows nobody is left but an id.
    cluster.kill(two);
    wipe(two);
    two.host.restart();
    away.host.restart();
    cluster.start(away, founders(cluster));
    cluster.start(two, founders(cluster));
    await voters(cluster, [1, 2, 3], 20_000);
    cluster.kill(away);
    cluster.start(cluster.node(4), joining(1, 2));
    await voters(
      cluster,
      [1, 2, 3, 4].filter((id) => id !== 3),
      20_000,
    ).catch(() => undefined);
    expect(await change(cluster, { request: 'remove', id: 1 })).toEqual({ done: true });
    await cluster.until(() => one.failure !== undefined, 10_000);
    expect(await cluster.ask(two, 'SET while away')).toBe('OK');
    away.host.restart();
    cluster.start(away, founders(cluster));
    await voters(cluster, [2, 3, 4], 20_000);
    expect(await cluster.ask(away, 'GET while')).toBe('"away"');
  });
});

describe('when the log has been shortened', () => {
  const options = { snapshotLogBytes: 65_536, segmentBytes: 65_536 };
  /** So much that snapshots are taken, and nobody needs the log's beginning. */
  async function fill(cluster: SimCluster, node: SimNode): Promise<void> {
    for (let i = 0; i < 40; i++) expect(await cluster.ask(node, `SET fill${i % 3} ${'v'.repeat(10_000)}`)).toBe('OK');
    await cluster.until(() => node.lines.length > 0 && node.disk.list('/data').some((name) => /\.snap$/.test(name)));
  }

  it('a joiner, and the new folder of a member, come in through a snapshot, and know who belongs to the cluster', async () => {
    const cluster = await alone('joins by snapshot', options);
    const [one, two, three_, four] = [1, 2, 3, 4].map((id) => cluster.node(id)) as [SimNode, SimNode, SimNode, SimNode];
    for (const node of [two, three_]) cluster.start(node, joining(1));
    await voters(cluster, [1, 2, 3]);
    await fill(cluster, one);
    cluster.start(four, joining(2));
    await voters(cluster, [1, 2, 3, 4], 20_000);
    expect(four.lines.some((line) => line.includes('loaded the snapshot'))).toBe(true);
    expect(await cluster.ask(four, 'GET begun')).toBe('"1"');
    cluster.kill(one);
    wipe(one);
    one.host.restart();
    cluster.start(one, aloneOptions);
    await voters(cluster, [1, 2, 3, 4], 20_000);
    expect(one.lines.some((line) => line.includes('loaded the snapshot'))).toBe(true);
    // From their snapshots alone they know each other again.
    await fill(cluster, two);
    for (const node of [one, two, three_, four]) cluster.powerOff(node);
    for (const node of [one, two, three_, four]) {
      node.host.restart();
      cluster.start(node, aloneOptions);
    }
    await voters(cluster, [1, 2, 3, 4], 20_000);
    expect(await cluster.ask(one, 'GET begun')).toBe('"1"');
    cluster.assertHealthy();
  });

  it('a node that was away learns from the snapshot that it was removed, or who else there is', async () => {
    const cluster = await three('away by snapshot', options);
    const leader = await cluster.leader();
    const [away, other] = cluster.nodes.filter(({ id }) => id !== leader.id && id < 4) as [SimNode, SimNode];
    cluster.kill(away);
    cluster.start(cluster.node(4), joining(leader.id));
    await cluster.until(() => cluster.node(4).lines.some((line) => line.includes('is a voter now')), 20_000);
    await fill(cluster, leader);
    await fill(cluster, other);
    away.host.restart();
    cluster.start(away, founders(cluster));
    await voters(cluster, [1, 2, 3, 4], 20_000);
    cluster.kill(away);
    expect(await change(cluster, { request: 'remove', id: away.id })).toEqual({ done: true });
    await fill(cluster, leader);
    await cluster.sleep(5_000);
    away.host.restart();
    cluster.start(away, founders(cluster));
    await cluster.until(() => away.failure !== undefined, 10_000);
    expect(away.failure).toContain('it was removed from the cluster');
  });
});

describe('handing over', () => {
  it('to a named voter, or to the best one; not to who is none', async () => {
    const cluster = await three('transfer');
    const first = await cluster.leader();
    const to = first.id === 2 ? 3 : 2;
    expect(await change(cluster, { request: 'transfer', to })).toEqual({ leader: to });
    expect((await cluster.leader()).id).toBe(to);
    expect(await change(cluster, { request: 'transfer', to })).toEqual({ leader: to });
    const answer = await change(cluster, { request: 'transfer' });
    expect(answer.leader).not.toBe(to);
    expect(await change(cluster, { request: 'transfer', to: 5 })).toMatchObject({
      error: expect.stringContaining('node 5 is no voter'),
    });
  });

  it('when the leader is told to stop: another leads at once, and no request fails', async () => {
    const cluster = await three('stop');
    const leader = await cluster.leader();
    const rest = [1, 2, 3].filter((id) => id !== leader.id);
    const load = new Load(cluster, rest);
    await cluster.sleep(300);
    const began = cluster.now;
    let stopped = false;
    void leader.running!.stop().then(() => {
      stopped = true;
    });
    await cluster.until(() => stopped, 3_000);
    expect(cluster.now - began).toBeLessThan(1_500);
    await cluster.sleep(500);
    await load.stop();
    expect(load.failed).toBe(0);
    // Shorter than any election time-out.
    expect(load.longestMs).toBeLessThan(400);
    await load.check(rest);
  });

  it('when the leader’s disk has become slow', async () => {
    const cluster = await three('slow');
    const leader = await cluster.leader();
    const load = new Load(cluster, [1, 2, 3]);
    leader.diskDelayMs = [280, 320];
    await cluster.until(() => leader.lines.some((line) => line.includes('hands leadership over')), 15_000);
    await cluster.sleep(1_000);
    expect((await cluster.leader()).id).not.toBe(leader.id);
    await load.stop();
    expect(load.failed).toBe(0);
  });
});

describe('the members', () => {
  it('are told by STATUS and MEMBERS of every node, learners among them', async () => {
    const cluster = await alone('told');
    const [one, two] = [cluster.node(1), cluster.node(2)];
    expect(JSON.parse((await cluster.ask(one, 'MEMBERS'))!)).toEqual([{ id: 1, address: 'node1:8080', voter: true }]);
    two.diskDelayMs = [400, 500];
    cluster.start(two, joining(1));
    await cluster.until(() => two.lines.some((line) => line.includes('is a learner')), 20_000);
    expect(JSON.parse((await cluster.ask(one, 'MEMBERS'))!)).toEqual([
      { id: 1, address: 'node1:8080', voter: true },
      { id: 2, address: 'node2:8080', voter: false },
    ]);
    expect(JSON.parse((await cluster.ask(two, 'STATUS'))!)).toMatchObject({ role: 'learner' });
    two.diskDelayMs = [0.1, 0.5];
    await voters(cluster, [1, 2]);
    expect(await cluster.ask(two, 'MEMBERS')).toBe(await cluster.ask(one, 'MEMBERS'));
  });
});
