import { describe, expect, it } from 'vitest';
import { SimCluster, type SimNode } from './sim-cluster.js';

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

describe('a cluster of three in a simulated world', () => {
  it('founds itself, elects a leader, and answers from every node', async () => {
    const { cluster, nodes } = three(1);
    expect(await cluster.ask(nodes[0], 'SET a 1')).toBe('OK');
    expect(await cluster.ask(nodes[1], 'GET a')).toBe('"1"');
    expect(await cluster.ask(nodes[2], 'INCR a 41')).toBe('(integer) 42');
    expect(await cluster.ask(nodes[0], 'GET a')).toBe('"42"');
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

  it('drops a forwarded entry that no store could apply', async () => {
    const { cluster, nodes } = three('poison', { segmentBytes: 16 * 1024 * 1024 });
    expect(await cluster.ask(nodes[1], 'SET a 1')).toBe('OK');
    expect(await cluster.ask(nodes[1], `DEL ${'a '.repeat(2_500_000)}`, 30_000)).toMatch(/^ERR too-large/);
    expect(await cluster.ask(nodes[0], 'GET a')).toBe('"1"');
    cluster.assertHealthy();
  });
});
