import { describe, expect, it } from 'vitest';
import type { SimCluster, SimNode } from '../../src/sim/cluster.js';
import { agreed, all, files, folder, overwrite, started, told } from '../support/snapshots.js';

const stores = ['wasm', 'js', 'wasm'] as const;
/** Slow enough for much to happen while a snapshot is on its way. */
const bytesPerMs = 3_000;

interface Scene {
  readonly cluster: SimCluster;
  readonly leader: SimNode;
  /** It is cut off, and the log of the others begins behind its own. */
  readonly far: SimNode;
  readonly third: SimNode;
}

/** A cluster with a follower that only a snapshot can help; of about 2.5 MB with `large`. */
async function scene(seed: string, { large = false, options = {} } = {}): Promise<Scene> {
  const log = large ? { snapshotLogBytes: 1_048_576, segmentBytes: 262_144 } : {};
  const cluster = await started(seed, stores, { ...log, ...options });
  const leader = await cluster.leader();
  const [far, third] = cluster.nodes.filter((node) => node !== leader) as [SimNode, SimNode];
  cluster.partition(far);
  await fill(cluster, leader, large);
  await cluster.sleep(2_500);
  expect([files(leader, '.snap').length, files(third, '.snap').length]).toEqual([1, 1]);
  return { cluster, leader, far, third };
}

async function fill(cluster: SimCluster, node: SimNode, large: boolean, from = 0): Promise<void> {
  if (!large) {
    await overwrite(cluster, node, 400, from);
    return;
  }
  const client = cluster.client(node);
  for (let n = from; n < from + 8; n++)
    expect(await all(cluster, client, [`SET large${n % 4} ${String(n).padEnd(600_000, '.')}`])).toEqual(['OK']);
  client.close();
}

/** Bytes of the snapshot that is on its way to a node. */
function arrived(node: SimNode): number {
  const [name] = files(node, '.part');
  return name === undefined ? 0 : node.disk.content(`${folder}/${name}`).length;
}

/** The nodes come to the same state, in which all is well. */
async function allIsWell(cluster: SimCluster): Promise<void> {
  const nodes = cluster.nodes.filter((node) => node.host.state === 'running');
  for (const [at, node] of nodes.entries()) {
    await cluster.until(() => node.running !== undefined);
    await cluster.leader();
    expect(await cluster.ask(node, `SET well${at} 1`)).toBe('OK');
  }
  await agreed(cluster);
  for (const node of cluster.nodes) expect(files(node, '.part')).toEqual([]);
  cluster.assertHealthy();
}

describe('a follower that needs what the log has no more', () => {
  it('comes back by a snapshot, without an election, while it answers heartbeats', async () => {
    const { cluster, leader, far } = await scene('far', { large: true });
    cluster.world.network.conditions = { ...cluster.world.network.conditions, bytesPerMs };
    const { term } = JSON.parse((await cluster.ask(leader, 'STATUS'))!);
    cluster.heal();
    await cluster.until(() => told(far, 'loaded the snapshot').length === 1);
    expect(told(leader, `node ${far.id} gets the snapshot`).length).toBe(1);
    expect(await cluster.ask(far, 'GET large3')).toBe(`"${'7'.padEnd(600_000, '.')}"`);
    await allIsWell(cluster);
    expect(JSON.parse((await cluster.ask(leader, 'STATUS'))!)).toMatchObject({ term, role: 'leader' });
    // It goes on from there: its next start too.
    cluster.kill(far);
    cluster.restart(far);
    await allIsWell(cluster);
  });

  it('has its clients answered: what the snapshot holds is UNKNOWN, what it does not is done, reads wait', async () => {
    const cluster = await started('clients', stores, { requestTimeoutMs: 60_000 });
    const leader = await cluster.leader();
    const far = cluster.nodes.find((node) => node !== leader)!;
    const { network } = cluster.world;
    const replies: Record<string, string | undefined> = {};
    const clients = ['first', 'second', 'reader', 'stale'].map((name) => {
      const client = cluster.client(far);
      return (line: string) => client.send(line, (reply) => (replies[name] = reply));
    });
    const [first, second, reader, stale] = clients as [(line: string) => void, ...((line: string) => void)[]];
    // Its write gets through to the leader, and it does not hear of it.
    for (const { host } of cluster.nodes) if (host !== far.host) network.cut(host, far.host);
    first('INCR counter');
    await cluster.sleep(300);
    for (const { host } of cluster.nodes) if (host !== far.host) network.cut(far.host, host);
    await overwrite(cluster, leader, 400);
    await cluster.sleep(2_500);
    expect(await cluster.ask(leader, 'GET counter')).toBe('"1"');
    second!('INCR counter');
    reader!('GET key5');
    const before = await cluster.ask(far, 'GET ready STALE');
    expect(before).toContain('"1"');
    cluster.heal();
    await cluster.until(() => told(far, 'in place of its log').length > 0);
    stale!('GET ready STALE');
    await cluster.until(() => Object.keys(replies).length === 4);
    expect(replies.first).toMatch(/^UNKNOWN lost /);
    expect(replies.second).toBe('(integer) 2');
    expect(replies.reader).toBe(`"${'375'.padEnd(1_000, '.')}"`);
    // Never of a store that is only half full.
    expect(JSON.parse(replies.stale!).value).toBe('1');
    await allIsWell(cluster);
  });

  it('reads nothing while it loads, not even for who is content with what is old', async () => {
    const { cluster, leader, far } = await scene('stale', { large: true });
    const keys = Array.from({ length: 40 }, (_, n) => `small${n}`);
    await all(
      cluster,
      cluster.client(leader),
      keys.map((key) => `SET ${key} ${key}`),
    );
    await fill(cluster, leader, true, 8);
    await cluster.sleep(2_500);
    const client = cluster.client(far);
    expect(await client.ask('GET ready STALE')).toContain('"value":"1"');
    // What is sent arrives at once, in the middle of what the node does at that moment.
    const { network } = cluster.world;
    const atOnce = { ...network.conditions, delayMs: [0, 0] as const, splitChance: 0, joinChance: 0 };
    network.between(cluster.clients, far.host, atOnce);
    const replies: (string | undefined)[] = [];
    let sent = 0;
    cluster.world.observe = () => {
      const loading = told(far, 'in place of its log').length > 0 && told(far, 'loaded the snapshot').length === 0;
      if (!loading || ++sent > 2) return;
      const some = sent === 1 ? client : cluster.client(far);
      for (const key of keys) some.send(`GET ${key} STALE`, (reply) => replies.push(reply));
    };
    cluster.heal();
    await cluster.until(() => replies.length === 2 * keys.length);
    cluster.world.observe = undefined;
    for (const key of keys) expect(replies.filter((reply) => reply?.includes(`"value":"${key}"`)).length).toBe(2);
    await allIsWell(cluster);
  });

  it('is sent on from where it was when the link breaks', async () => {
    const { cluster, leader, far } = await scene('link', { large: true });
    cluster.world.network.conditions = { ...cluster.world.network.conditions, bytesPerMs };
    cluster.heal();
    await cluster.until(() => arrived(far) > 1_000_000);
    cluster.partition(far);
    await cluster.sleep(6_000);
    expect(told(far, 'in place of its log')).toEqual([]);
    cluster.heal();
    await allIsWell(cluster);
    const [line] = told(far, 'goes on with byte') as [string];
    expect(Number(/goes on with byte (\d+)/.exec(line)![1])).toBeGreaterThan(700_000);
    expect(told(leader, `node ${far.id} gets the snapshot`).length).toBeGreaterThan(1);
  });

  it('goes on with what it has after a loss of power', async () => {
    const { cluster, far } = await scene('power', { large: true });
    cluster.world.network.conditions = { ...cluster.world.network.conditions, bytesPerMs };
    cluster.heal();
    await cluster.until(() => arrived(far) > 1_000_000);
    cluster.powerOff(far);
    await cluster.sleep(1_000);
    cluster.restart(far);
    await allIsWell(cluster);
    expect(told(far, 'goes on with byte').length).toBe(1);
  });

  it('is brought there by the next leader when the first one dies', async () => {
    const { cluster, leader, far, third } = await scene('leader', { large: true });
    cluster.world.network.conditions = { ...cluster.world.network.conditions, bytesPerMs };
    cluster.heal();
    await cluster.until(() => arrived(far) > 500_000);
    cluster.kill(leader);
    await cluster.until(() => told(far, 'loaded the snapshot').length === 1);
    expect(told(third, `node ${far.id} gets the snapshot`).length).toBeGreaterThan(0);
    cluster.restart(leader);
    await allIsWell(cluster);
  });

  it('votes for another leader while a snapshot takes the place of its log', async () => {
    const { cluster, leader, far, third } = await scene('frozen');
    cluster.heal();
    await cluster.until(() => files(far, '.part').length > 0);
    far.diskDelayMs = [900, 1_000];
    const begun = () => files(far, '.seg').some((name) => name.startsWith('wal-0000000002'));
    await cluster.until(() => begun() || files(far, '.tmp').some((name) => name.startsWith('wal-0000000002')));
    cluster.kill(leader);
    // Nobody leads without its vote, and who does sends it entries at once.
    await cluster.until(() => told(third, 'leader of term').length > 0);
    expect(told(far, 'in place of its log')).toEqual([]);
    await cluster.until(() => told(far, 'loaded the snapshot').length > 0);
    far.diskDelayMs = [0.1, 0.5];
    cluster.restart(leader);
    await allIsWell(cluster);
  });

  it('is sent a new snapshot when the leader’s own has rotted', async () => {
    const { cluster, leader } = await scene('rot');
    const [name] = files(leader, '.snap');
    const { length } = leader.disk.content(`${folder}/${name}`);
    leader.disk.flipBit(`${folder}/${name}`, 4 * length);
    cluster.heal();
    await cluster.until(() => told(leader, 'takes another snapshot').length > 0);
    await allIsWell(cluster);
  });

  it('is tried again when its disk was full', async () => {
    const { cluster, far } = await scene('full');
    far.disk.fail('write', 1, 'full', (path) => path.endsWith('.part'));
    cluster.heal();
    await cluster.until(() => told(far, 'cannot take the snapshot').length > 0);
    await allIsWell(cluster);
  });

  it('comes back by snapshots however often it is cut off, and by entries when it was not for long', async () => {
    const { cluster, leader, far } = await scene('often');
    const back = async (): Promise<number> => {
      cluster.heal();
      await allIsWell(cluster);
      return told(far, 'loaded the snapshot').length;
    };
    expect(await back()).toBe(1);
    // The log behind what it has got is kept for a while.
    cluster.partition(far);
    await overwrite(cluster, leader, 400, 400);
    await cluster.sleep(2_000);
    expect(await back()).toBe(1);
    for (let round = 2; round <= 4; round++) {
      await cluster.sleep(12_000);
      cluster.partition(far);
      await overwrite(cluster, leader, 400, 400 * round);
      // Until then the link was not found dead, and what was sent on it waits in the network.
      await cluster.sleep(4_000);
      expect(await back()).toBe(round);
    }
  });
});

describe('a crash of who gets a snapshot', () => {
  it('at any point from the first chunk to the end of the load leaves a node that starts, and comes back', async () => {
    const order = ['on its way', 'begun', 'installed', 'loaded'];
    for (const [number, phase] of order.entries()) {
      for (const later of [0, 2, 7]) {
        const { cluster, far } = await scene(`crash ${phase} ${later}`);
        cluster.heal();
        const now = (): number => {
          if (told(far, 'loaded the snapshot').length > 0) return 3;
          if (files(far, '.snap').some((name) => name.startsWith('snapshot-0000000002'))) return 2;
          if (files(far, '.seg').some((name) => name.startsWith('wal-0000000002'))) return 1;
          return files(far, '.part').length > 0 ? 0 : -1;
        };
        let events = 0;
        await cluster.until(() => now() >= number && events++ >= later);
        if (later === 0) expect(order[now()]).toBe(phase);
        cluster.crash(far, (['kill', 'tear', 'drop'] as const)[(number + later) % 3]!);
        cluster.restart(far);
        await allIsWell(cluster);
        expect(files(far, '.snap').length).toBe(1);
      }
    }
  });
});
