/** `--read`: what a read waits for. */
import { describe, expect, it } from 'vitest';
import type { ReadMode } from '../../src/node/options.js';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';

async function three(
  seed: string,
  read: ReadMode,
): Promise<{ cluster: SimCluster; leader: SimNode; others: SimNode[] }> {
  const cluster = new SimCluster(seed, ['wasm', 'js', 'wasm'], { read });
  cluster.startAll();
  expect(await cluster.ask(cluster.node(1), 'SET a 1')).toBe('OK');
  const leader = await cluster.leader();
  await cluster.sleep(1_000);
  return { cluster, leader, others: cluster.nodes.filter((node) => node !== leader) };
}

/** Packets between members while one read is answered by the leader. */
async function packetsOfARead({ cluster, leader }: { cluster: SimCluster; leader: SimNode }): Promise<number> {
  const client = cluster.client(leader);
  expect(await client.ask('GET a', 1_000)).toBe('"1"');
  let packets = 0;
  let reply: string | undefined;
  cluster.world.observe = (_time, host, what) => {
    if (what.includes('packet') && host !== 'clients') packets++;
  };
  client.send('GET a', (text) => {
    reply = text;
  });
  await cluster.until(() => reply !== undefined);
  cluster.world.observe = undefined;
  expect(reply).toBe('"1"');
  return packets;
}

describe('--read', () => {
  it('quorum: a leader asks the others at each read; lease: it does not', async () => {
    const asked = await packetsOfARead(await three('packets', 'quorum'));
    const leased = await packetsOfARead(await three('packets', 'lease'));
    expect(asked).toBeGreaterThan(leased + 2);
  });

  it('lease: a leader that is cut off answers no read when others may have written', async () => {
    const { cluster, leader, others } = await three('cut off', 'lease');
    cluster.partition(leader);
    const client = cluster.client(leader);
    let newer = false;
    const seen: (string | undefined)[] = [];
    const write = cluster.client(others[0]!);
    write.send('SET a 2', (reply) => {
      newer = reply === 'OK';
    });
    for (let i = 0; i < 300; i++) {
      const began = newer;
      client.send('GET a', (reply) => {
        if (began) seen.push(reply);
      });
      await cluster.sleep(20);
    }
    await cluster.until(() => seen.length > 100);
    expect(newer).toBe(true);
    expect(seen).not.toContain('"1"');
    cluster.heal();
    await cluster.sleep(2_000);
    expect(await cluster.ask(leader, 'GET a')).toBe('"2"');
    cluster.assertHealthy();
  });

  it('stale: any node answers by itself, also without the others, and a connection sees what it wrote', async () => {
    const { cluster, leader, others } = await three('stale', 'stale');
    const client = cluster.client(others[0]!);
    expect(await client.ask('SET b 5', 5_000)).toBe('OK');
    expect(await client.ask('GET b', 5_000)).toBe('"5"');
    cluster.kill(leader);
    cluster.kill(others[1]!);
    await cluster.sleep(3_000);
    expect(await client.ask('MGET a b', 100)).toBe('["1","5"]');
    expect(await cluster.ask(others[0]!, 'COUNT', 100)).toBe('(integer) 2');
  });
});

describe('a loop that stalls', () => {
  it('for 100 ms, again and again, brings about no election', async () => {
    const { cluster, leader, others } = await three('stalls', 'quorum');
    const { term } = JSON.parse((await cluster.ask(leader, 'STATUS'))!) as { term: number };
    for (let i = 0; i < 100; i++) {
      const node = [leader, ...others][i % 3]!;
      node.host.pause();
      await cluster.sleep(100);
      node.host.resume();
      await cluster.sleep(30);
    }
    expect(JSON.parse((await cluster.ask(leader, 'STATUS'))!)).toMatchObject({ term, role: 'leader' });
  });
});
