import { afterEach, describe, expect, it, vi } from 'vitest';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';
import { JsStore } from '../../src/store/js-store.js';

afterEach(() => vi.restoreAllMocks());

function three(seed: number | string, options = {}): { cluster: SimCluster; nodes: [SimNode, SimNode, SimNode] } {
  const cluster = new SimCluster(seed, ['wasm', 'js', 'wasm'], options);
  cluster.startAll();
  return { cluster, nodes: cluster.nodes as [SimNode, SimNode, SimNode] };
}

async function leader(cluster: SimCluster): Promise<SimNode> {
  for (let attempt = 0; attempt < 100; attempt++) {
    for (const node of cluster.nodes) if ((await cluster.status(node)).role === 'leader') return node;
    await cluster.world.play(() => false, 50);
  }
  throw new Error('nobody leads');
}

/** Lines in which nodes say that they lead. */
const ledTerms = (cluster: SimCluster): string[] =>
  cluster.nodes.flatMap((node) => node.lines.filter((line) => line.includes('leader of term')));

describe('a cluster of three in a simulated world', () => {
  it('founds itself, elects a leader, and answers from every node', async () => {
    const { cluster, nodes } = three(1);
    expect(await cluster.ask(nodes[0], 'SET a 1')).toBe('OK');
    expect(await cluster.ask(nodes[1], 'GET a')).toBe('"1"');
    expect(await cluster.ask(nodes[2], 'INCR a 41')).toBe('(integer) 42');
    expect(await cluster.ask(nodes[0], 'GET a')).toBe('"42"');
    cluster.assertHealthy();
  });

  it('wakes up rarely when it idles: a leader for its heartbeats, their answers and the pings, and nobody for a turn', async () => {
    const { cluster } = three('idle');
    const first = await leader(cluster);
    expect(await cluster.ask(first, 'SET a 1')).toBe('OK');
    await cluster.world.play(() => false, 1_000);
    const seconds = 10;
    const counts = new Map<string, number>();
    cluster.world.observe = (_time, host, what) => {
      const key = `${host}: ${what}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    };
    await cluster.world.play(() => false, seconds * 1_000);
    cluster.world.observe = undefined;
    for (const { host } of cluster.nodes) expect(counts.get(`${host.name}: defer`)).toBeUndefined();
    // Ten heartbeats a second, two rounds of pings, one look for idle transactions.
    expect(counts.get(`${first.host.name}: interval`)).toBeLessThanOrEqual(seconds * 13 + 3);
    expect(await cluster.status(first)).toMatchObject({ role: 'leader' });
    cluster.assertHealthy();
  });

  it('does not flood a leader that comes back as a follower before anybody has noticed', async () => {
    const { cluster } = three('storm');
    const old = await leader(cluster);
    const follower = cluster.nodes.find((node) => node !== old)!;
    expect(await cluster.ask(follower, 'SET a 1')).toBe('OK');
    const clients = [cluster.client(follower), cluster.client(follower)];
    cluster.crash(old, 'kill');
    const replies: (string | undefined)[] = [];
    for (const client of clients) client.send('INCR a', (reply) => replies.push(reply));
    await cluster.world.play(() => false, 20);
    cluster.restart(old);
    let packets = 0;
    cluster.world.observe = (_time, _host, what) => {
      if (what.includes('packet')) packets++;
    };
    expect(await cluster.world.play(() => replies.length === 2, 5_000)).toBe(true);
    expect(replies.sort()).toEqual(['(integer) 2', '(integer) 3']);
    expect(packets).toBeLessThan(5_000);
  });

  it('stops a node whose founding record cannot be made durable, instead of leaving it half alive', async () => {
    const cluster = new SimCluster('founding', ['js', 'js', 'js']);
    const [one] = cluster.nodes as [SimNode, SimNode, SimNode];
    one.disk.fail('rename', 1, 'io', (path) => path.includes('founding'));
    cluster.startAll();
    expect(await cluster.world.play(() => one.failure !== undefined, 5_000)).toBe(true);
  });

  it('sends a large entry over a slow link once, and what is small is done as soon as that is through', async () => {
    const { cluster, nodes } = three('large', { requestTimeoutMs: 60_000 });
    const client = cluster.client(await leader(cluster));
    const bytes = 4_000_000;
    expect(await client.ask('BEGIN')).toBe('OK');
    for (let n = 0; n < 4; n++) expect(await client.ask(`SET large${n} ${'x'.repeat(bytes / 4)}`)).toBe('OK');
    const bytesPerMs = 1_000;
    for (const { host: from } of nodes)
      for (const { host: to } of nodes)
        if (from !== to) cluster.world.network.between(from, to, { ...cluster.world.network.conditions, bytesPerMs });
    const began = cluster.now;
    expect(await client.ask('COMMIT')).toBe('OK');
    expect(await client.ask('SET small 1')).toBe('OK');
    expect(cluster.now - began).toBeLessThan((1.2 * bytes) / bytesPerMs);
    cluster.assertHealthy();
  });

  it('stops a node with a reason when Raft cannot begin behind the founding', async () => {
    const cluster = new SimCluster('begin', ['wasm', 'js', 'wasm']);
    const unreadable = (): never => {
      throw new Error('the log cannot be read');
    };
    const nothing = (): void => {};
    const others = {
      received: nothing,
      ready: nothing,
      saved: nothing,
      persisted: nothing,
      installed: nothing,
      applied: nothing,
    };
    cluster.observe = ({ id }) => ({ ...others, began: id === 2 ? unreadable : nothing });
    cluster.startAll();
    const [first, second] = cluster.nodes as [SimNode, SimNode];
    expect(await cluster.world.play(() => second.failure !== undefined, 5_000)).toBe(true);
    expect(second.failure).toContain('the log cannot be read');
    expect(await cluster.ask(first, 'SET a 1')).toBe('OK');
  });

  it('answers GET STALE at once without a leader, with the revision', async () => {
    const { cluster, nodes } = three('stale');
    expect(await cluster.ask(nodes[0], 'SET a 1')).toBe('OK');
    expect(await cluster.ask(nodes[1], 'GET a')).toBe('"1"');
    cluster.crash(nodes[0], 'kill');
    cluster.crash(nodes[2], 'kill');
    await cluster.world.play(() => false, 3_000);
    const since = cluster.world.now;
    expect(await cluster.ask(nodes[1], 'GET a STALE')).toMatch(/^{"revision":\d+,"value":"1"}$/);
    expect(cluster.world.now - since).toBeLessThan(100);
    expect(await cluster.ask(nodes[1], 'GET a')).toMatch(/^ERR no-leader/);
  });

  it('holds back a client that asks for STATUS and does not read', async () => {
    const { cluster, nodes } = three('status');
    expect(await cluster.ask(nodes[0], 'SET a 1')).toBe('OK');
    const client = cluster.client(nodes[0]);
    let replies = 0;
    client.pause();
    for (let n = 0; n < 20_000; n++) client.send('STATUS', () => replies++);
    await cluster.world.play(() => false, 3_000);
    const before = Number(/"connections":(\d+)/.exec((await cluster.ask(nodes[0], 'STATUS'))!)![1]);
    expect(before).toBeGreaterThan(0);
    const parsed = Number(/"parsed":(\d+)/.exec((await cluster.ask(nodes[0], 'STATUS'))!)![1]);
    expect(parsed).toBeLessThan(10_000);
    client.resume();
    expect(await cluster.world.play(() => replies === 20_000, 20_000)).toBe(true);
  });

  it('cuts off a client that asks for far more than it reads, and goes on with the others', async () => {
    const cluster = new SimCluster('abandoned', ['wasm']);
    cluster.startAll();
    const [node] = cluster.nodes as [SimNode];
    expect(await cluster.ask(node, `SET big ${'v'.repeat(1_000_000)}`)).toBe('OK');
    const client = cluster.client(node);
    expect(await client.ask('GET small')).toBe('(nil)');
    client.pause();
    client.send(Array.from({ length: 600 }, () => 'GET big').join('\n'), () => {});
    expect(await cluster.world.play(() => node.running?.connections === 0, 6_000)).toBe(true);
    expect(await cluster.ask(node, 'PING')).toBe('PONG');
  });

  it('answers ERR busy beyond its connections, closes those that say nothing, and still lets its peers in', async () => {
    const { cluster, nodes } = three('full', { maxConnections: 2 });
    await leader(cluster);
    const node = nodes[0];
    await cluster.until(() => node.running?.connections === 0);
    const [first, silent] = [cluster.client(node), cluster.client(node)];
    expect(await first.ask('SET a 1')).toBe('OK');
    const crowd = Array.from({ length: 40 }, () => cluster.client(node));
    await cluster.sleep(10);
    expect(crowd.filter((client) => client.closed)).toHaveLength(40 - 16);
    const heard = crowd.filter((client) => !client.closed);
    expect(await heard[0]!.ask('SET a 2')).toMatch(/^ERR busy /);
    await cluster.until(() => crowd.every((client) => client.closed), 3_000);
    expect([first.closed, silent.closed]).toEqual([false, false]);
    cluster.crash(nodes[1], 'kill');
    cluster.restart(nodes[1]);
    cluster.crash(nodes[2], 'kill');
    expect(await first.ask('GET a')).toBe('"1"');
    silent.close();
    await cluster.sleep(10);
    expect(await cluster.ask(node, 'GET a')).toBe('"1"');
    cluster.assertHealthy();
  });

  it('drops a forwarded entry that no store could apply', async () => {
    const { cluster, nodes } = three('poison', { segmentBytes: 16 * 1024 * 1024 });
    expect(await cluster.ask(nodes[1], 'SET a 1')).toBe('OK');
    expect(await cluster.ask(nodes[1], `DEL ${'a '.repeat(2_500_000)}`, 30_000)).toMatch(/^ERR too-large/);
    expect(await cluster.ask(nodes[0], 'GET a')).toBe('"1"');
    cluster.assertHealthy();
  });

  it('lets no vote leave before it is on disk', async () => {
    // Each world twice: its first election comes out the same way, so one time the voter is the node whose disk fails.
    for (const [seed, failing] of [1, 2, 3].flatMap((n) => [0, 1].map((place) => [`vote ${n}`, place] as const))) {
      const { cluster } = three(seed);
      const old = await leader(cluster);
      const broken = cluster.nodes.filter((node) => node !== old)[failing]!;
      await cluster.world.play(() => false, 100);
      const ledBefore = ledTerms(cluster);
      broken.disk.fail('write', 1, 'io', (path) => path.includes('vote-'));
      cluster.crash(old, 'kill');
      expect(await cluster.world.play(() => broken.failure !== undefined, 5_000)).toBe(true);
      await cluster.world.play(() => false, 300);
      expect(ledTerms(cluster)).toEqual(ledBefore);
    }
  });

  it('tells within the request time-out that the quorum is gone: UNKNOWN of a write that had left, ERR of the rest', async () => {
    const { cluster } = three('quorum');
    const last = await leader(cluster);
    expect(await cluster.ask(last, 'SET a 1')).toBe('OK');
    for (const node of cluster.nodes) if (node !== last) cluster.crash(node, 'kill');
    const asked = cluster.world.now;
    const lines = ['SET a 2', 'GET a', 'BEGIN', 'COUNT'];
    const replies: (string | undefined)[] = [];
    const tookMs: number[] = [];
    for (const [i, line] of lines.entries())
      cluster.client(last).send(line, (reply) => {
        replies[i] = reply;
        tookMs.push(cluster.world.now - asked);
      });
    expect(await cluster.world.play(() => tookMs.length === lines.length, 6_000)).toBe(true);
    expect(replies[0]).toMatch(/^UNKNOWN timeout /);
    for (const reply of replies.slice(1)) expect(reply).toMatch(/^ERR (timeout|no-leader) /);
    // The node looks once a tick, and a reply is a packet under way.
    expect(Math.max(...tookMs)).toBeLessThan(5_000 + 200);
    expect(JSON.parse((await cluster.ask(last, 'STATUS'))!)).toMatchObject({ leader: null });
  });
});

describe('a single node in a simulated world', () => {
  function one(kind: 'wasm' | 'js' = 'wasm'): { cluster: SimCluster; node: SimNode } {
    const cluster = new SimCluster('single', [kind]);
    cluster.startAll();
    return { cluster, node: cluster.nodes[0]! };
  }
  const number = (status: string | undefined, name: string): number =>
    Number(new RegExp(`"${name}":(\\d+)`).exec(status!)![1]);

  it('rolls a transaction back that is idle for 30 s, and none that is used', async () => {
    const { cluster, node } = one();
    const [idle, used] = [cluster.client(node), cluster.client(node)];
    for (const client of [idle, used])
      for (const line of ['BEGIN', 'SET a 1']) expect(await client.ask(line)).toBe('OK');
    await cluster.world.play(() => false, 29_000);
    expect(await used.ask('GET a')).toBe('"1"');
    expect(number(await cluster.ask(node, 'STATUS'), 'transactions')).toBe(2);
    await cluster.world.play(() => false, 2_500);
    expect(number(await cluster.ask(node, 'STATUS'), 'transactions')).toBe(1);
    expect(await idle.ask('COMMIT')).toMatch(/^ERR aborted the transaction was idle for too long/);
    expect(await used.ask('COMMIT')).toBe('OK');
  });

  it('makes few entries of what many clients ask for at once', async () => {
    const { cluster, node } = one();
    expect(await cluster.ask(node, 'SET a 1')).toBe('OK');
    const before = number(await cluster.ask(node, 'STATUS'), 'commit');
    let replies = 0;
    for (let i = 0; i < 300; i++)
      cluster.client(node).send(`SET k${i} 1`, (reply) => (replies += Number(reply === 'OK')));
    expect(await cluster.world.play(() => replies === 300, 5_000)).toBe(true);
    expect(number(await cluster.ask(node, 'STATUS'), 'commit') - before).toBeLessThan(60);
  });

  it('stops with a clear reason, and answers nobody, when its store has no memory for an entry', async () => {
    const { cluster, node } = one('js');
    expect(await cluster.ask(node, 'SET a 1')).toBe('OK');
    const client = cluster.client(node);
    vi.spyOn(JsStore.prototype, 'apply').mockReturnValue('no-memory');
    const replies: (string | undefined)[] = [];
    client.send('SET a 2', (reply) => replies.push(reply));
    expect(await cluster.world.play(() => node.failure !== undefined && client.closed, 5_000)).toBe(true);
    expect(node.failure).toMatch(/out of memory: entry \d+ does not fit; give this node more and start it again/);
    expect(replies).toEqual([undefined]);
  });

  it('writes on by itself when a disk that was full has room again', async () => {
    const cluster = new SimCluster('full', ['js'], { requestTimeoutMs: 2_000, segmentBytes: 8_192 });
    cluster.startAll();
    const [node] = cluster.nodes as [SimNode];
    expect(await cluster.ask(node, 'SET a 1')).toBe('OK');
    node.disk.capacity = 1;
    const value = 'x'.repeat(3_000);
    let reply: string | undefined = 'OK';
    for (let n = 0; reply === 'OK' && n < 20; n++) reply = await cluster.ask(node, `SET a ${value}`);
    expect(reply).toMatch(/^ERR disk-full /);
    node.disk.capacity = Number.POSITIVE_INFINITY;
    await cluster.world.play(() => false, 2_000);
    expect(await cluster.ask(node, 'SET a 2')).toBe('OK');
    cluster.assertHealthy();
  });
});
