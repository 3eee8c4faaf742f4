import { describe, expect, it } from 'vitest';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';

const stores = ['wasm', 'js', 'wasm'] as const;

async function start(seed: string): Promise<SimCluster> {
  const cluster = new SimCluster(seed, stores);
  cluster.startAll();
  expect(await cluster.ask(cluster.nodes[0]!, 'SET ready 1')).toBe('OK');
  return cluster;
}

async function leaderOf(cluster: SimCluster): Promise<SimNode> {
  for (let attempt = 0; attempt < 200; attempt++) {
    for (const node of cluster.nodes.filter((one) => one.host.state === 'running')) {
      if ((await cluster.status(node)).role === 'leader') return node;
    }
    await cluster.world.play(() => false, 50);
  }
  throw new Error('nobody leads');
}

const pause = (cluster: SimCluster, ms: number) => cluster.world.play(() => false, ms);

/** The nodes' state once all have applied the same. */
async function agreed(cluster: SimCluster): Promise<{ applied: number; stateHash: string }> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const states: { applied: number; stateHash: string }[] = [];
    for (const node of cluster.nodes) {
      const { applied, stateHash } = await cluster.status(node);
      states.push({ applied, stateHash });
    }
    if (states.every(({ applied }) => applied === states[0]!.applied)) {
      expect(new Set(states.map(({ stateHash }) => stateHash)).size).toBe(1);
      return states[0]!;
    }
    await pause(cluster, 20);
  }
  throw new Error('the nodes do not come to the same index');
}

describe('keys with a deadline', () => {
  it('vanish on every node when nobody writes, within milliseconds, and not before', async () => {
    const cluster = await start('idle');
    expect(await cluster.ask(cluster.nodes[1]!, 'SET a 1 PX 3000')).toBe('OK');
    const since = cluster.world.now;
    await pause(cluster, since + 2_900 - cluster.world.now);
    for (const node of cluster.nodes) expect(await cluster.ask(node, 'GET a')).toBe('"1"');
    await pause(cluster, since + 3_060 - cluster.world.now);
    for (const node of cluster.nodes) expect(await cluster.ask(node, 'GET a')).toBe('(nil)');
    const { applied } = await agreed(cluster);
    await pause(cluster, 60_000);
    // One empty entry for one deadline, and none afterwards.
    expect((await agreed(cluster)).applied).toBe(applied);
    cluster.assertHealthy();
  });

  it('all vanish when thousands fall due at once, by entries one after the other', async () => {
    const cluster = await start('many');
    const client = cluster.client(cluster.nodes[2]!);
    let replies = 0;
    for (let n = 0; n < 5_000; n++) client.send(`SET k${n} v PX 2000`, () => replies++);
    expect(await cluster.world.play(() => replies === 5_000, 10_000)).toBe(true);
    const { applied } = await agreed(cluster);
    await pause(cluster, 3_000);
    const after = await agreed(cluster);
    expect(await cluster.ask(cluster.nodes[0]!, 'COUNT')).toBe('(integer) 1');
    expect(after.applied - applied).toBeGreaterThanOrEqual(5);
    expect(after.applied - applied).toBeLessThan(60);
    const keys = await cluster.ask(cluster.nodes[1]!, 'STATUS');
    expect(JSON.parse(keys!)).toMatchObject({ keys: 1 });
    expect(JSON.parse(keys!).memory.logical).toBeLessThan(1_000);
  });

  it('do not expire while there is no leader, and do under the next leader', async () => {
    const cluster = await start('leader');
    expect(await cluster.ask(cluster.nodes[0]!, 'SET a 1 PX 20000')).toBe('OK');
    const old = await leaderOf(cluster);
    const others = cluster.nodes.filter((node) => node !== old);
    for (const node of cluster.nodes) cluster.crash(node, 'kill');
    await pause(cluster, 60_000);
    for (const node of cluster.nodes) cluster.restart(node);
    expect(await cluster.ask(others[0]!, 'GET a')).toBe('"1"');
    const left = Number(/-?\d+/.exec((await cluster.ask(others[0]!, 'PTTL a'))!)![0]);
    expect(left).toBeGreaterThan(10_000);
    cluster.crash(await leaderOf(cluster), 'kill');
    await pause(cluster, left + 5_000);
    const alive = cluster.nodes.filter((node) => node.host.state === 'running');
    expect(alive).toHaveLength(2);
    for (const node of alive) expect(await cluster.ask(node, 'GET a')).toBe('(nil)');
  });
});
