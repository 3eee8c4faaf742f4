/** Rolling upgrades: replicas of different programs hold the same at every index (src/node/versions.ts). */
import { describe, expect, it } from 'vitest';
import type { NodeOptions } from '../../src/node/options.js';
import { foundingVersion, Versions } from '../../src/node/versions.js';
import type { Raft } from '../../src/raft/raft.js';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';
import type { Store } from '../../src/store/store.js';
import { NextStore } from '../support/next-store.js';

const next: Partial<NodeOptions> = { makeStore: (options) => new NextStore(options) };
/** A later one, which has forgotten the first version. */
const later: Partial<NodeOptions> = { makeStore: (options) => new NextStore(options, { oldest: 2, newest: 2 }) };
const small = { snapshotLogBytes: 65_536, segmentBytes: 16_384 };

interface Found {
  readonly applied: number;
  readonly stateHash: string;
  readonly version: { readonly active: number; readonly oldest: number; readonly newest: number };
}

async function three(seed: string, options: Partial<NodeOptions> = {}): Promise<SimCluster> {
  const cluster = new SimCluster(seed, ['wasm', 'js', 'wasm', 'js'], options);
  const peers = cluster.peers.slice(0, 3);
  for (const id of [1, 2, 3]) cluster.start(cluster.node(id), { peers });
  expect(await cluster.ask(cluster.node(1), 'SET begun 1')).toBe('OK');
  return cluster;
}

/** The node is started again, by another program. */
async function exchange(cluster: SimCluster, node: SimNode, program: Partial<NodeOptions>): Promise<void> {
  cluster.kill(node);
  node.host.restart();
  cluster.start(node, { peers: cluster.peers.slice(0, 3), ...program });
  await cluster.until(() => node.host.state === 'running' || node.failure !== undefined);
}

/** How all are, once they have applied the same: then they hold the same. */
async function settled(cluster: SimCluster, ids = [1, 2, 3]): Promise<Found> {
  for (const end = cluster.now + 10_000; cluster.now < end; await cluster.sleep(50)) {
    const all: Found[] = [];
    for (const id of ids) all.push(JSON.parse((await cluster.ask(cluster.node(id), 'STATUS')) ?? '{}') as Found);
    const [first] = all as [Found];
    if (!all.every(({ applied }) => applied === first.applied)) continue;
    expect(new Set(all.map(({ stateHash }) => stateHash)).size, `at ${first.applied}`).toBe(1);
    expect(new Set(all.map(({ version }) => version.active)).size).toBe(1);
    return first;
  }
  throw new Error('they do not come to the same index');
}

/** Clients of all nodes write all the time, until told to stop. */
function writing(cluster: SimCluster): () => Promise<number> {
  let over = false;
  let written = 0;
  const loops = [1, 2, 3].map(async (id) => {
    for (let n = 0; !over; n++) {
      const node = cluster.node(id);
      if (node.host.state !== 'running') await cluster.sleep(20);
      else if ((await cluster.ask(node, `SET key${(n % 50) * 3 + id} old-${n}-${'x'.repeat(200)}`, 20_000)) === 'OK')
        written++;
    }
  });
  return async () => {
    over = true;
    await Promise.all(loops);
    return written;
  };
}

describe('a program that differs on purpose', () => {
  it.each([
    ['and their logs', {}],
    ['and snapshots on the way', small],
  ])('takes over member by member, under writes: at no index do two hold different things; so do they from their disks %s', async (_, options) => {
    const cluster = await three(`rolling ${Object.keys(options).length}`, options);
    const stop = writing(cluster);
    await cluster.sleep(2_000);
    for (const id of [1, 2, 3]) {
      expect(await cluster.ask(cluster.node(id === 3 ? 2 : 3), `SET before${id} old`)).toBe('OK');
      await exchange(cluster, cluster.node(id), { ...next, ...options });
      await cluster.sleep(3_000);
    }
    await cluster.sleep(3_000);
    expect(await cluster.ask(cluster.node(1), 'SET after old')).toBe('OK');
    expect(await stop()).toBeGreaterThan(500);
    expect((await settled(cluster)).version).toEqual({ active: 2, oldest: 1, newest: 2 });
    const { stateHash } = await settled(cluster);
    for (const id of [1, 2, 3]) {
      expect(await cluster.ask(cluster.node(id), 'MGET before1 before2 before3 after')).toBe(
        '["old","old","old","new"]',
      );
      expect(cluster.node(id).lines.filter((line) => line.includes('version 2 is in force')).length).toBeGreaterThan(0);
    }
    for (const id of [1, 2, 3]) cluster.kill(cluster.node(id));
    for (const id of [1, 2, 3]) {
      cluster.node(id).host.restart();
      cluster.start(cluster.node(id), { peers: cluster.peers.slice(0, 3), ...next, ...options });
    }
    await cluster.leader();
    expect(await settled(cluster)).toMatchObject({ stateHash, version: { active: 2 } });
    cluster.assertHealthy();
  });

  it('can be taken back until all have it; while one is away nothing is raised', async () => {
    const cluster = await three('back');
    for (const id of [1, 2]) await exchange(cluster, cluster.node(id), next);
    await cluster.sleep(5_000);
    cluster.kill(cluster.node(3));
    await cluster.sleep(5_000);
    expect(await cluster.ask(cluster.node(1), 'SET a old')).toBe('OK');
    expect((await settled(cluster, [1, 2])).version.active).toBe(1);
    await exchange(cluster, cluster.node(2), {});
    await exchange(cluster, cluster.node(3), next);
    await cluster.sleep(5_000);
    expect((await settled(cluster)).version.active).toBe(1);
    expect(await cluster.ask(cluster.node(2), 'GET a')).toBe('"old"');
    await exchange(cluster, cluster.node(2), next);
    await cluster.sleep(5_000);
    expect((await settled(cluster)).version.active).toBe(2);
    cluster.assertHealthy();
  });

  it.each([
    ['its log', {}, false],
    ['a snapshot of its own', small, false],
    ['what it is sent', {}, true],
    ['a snapshot that it is sent', small, true],
  ])('is needed once its version is in force: an older one stops, and says why, before it applies %s', async (what, options, away) => {
    const cluster = await three(`older, ${what}`, options);
    const program = { ...next, ...options };
    for (const id of [1, 2, 3]) await exchange(cluster, cluster.node(id), program);
    const leader = await cluster.leader();
    const laggard = cluster.node(leader.id === 3 ? 2 : 3);
    const here = [1, 2, 3].filter((id) => !away || id !== laggard.id);
    if (away) {
      // It says that it knows the version, and is cut off before it hears that this is in force.
      await exchange(cluster, laggard, program);
      const links = leader.lines.length;
      await cluster.until(() =>
        leader.lines.slice(links).some((line) => line.includes(`linked to node ${laggard.id}`)),
      );
      cluster.partition(laggard);
    }
    await cluster.sleep(4_000);
    for (let n = 0; n < 400; n++)
      expect(await cluster.ask(cluster.node(1), `SET key${n % 40} old-${'x'.repeat(400)}`)).toBe('OK');
    expect((await settled(cluster, here)).version.active).toBe(2);
    cluster.heal();
    await exchange(cluster, laggard, options);
    await cluster.until(() => laggard.failure !== undefined);
    expect(laggard.failure).toMatch(
      /^Error: the cluster is at version 2, and this program knows 1: start this node with a newer program, nothing is lost\n/,
    );
    expect(laggard.lines.some((line) => line.includes('in place of its log'))).toBe(away && options === small);
    await exchange(cluster, laggard, program);
    await settled(cluster);
    cluster.assertHealthy();
  });

  it('stops, and says why, where a cluster is still at a version that it does not know any more', async () => {
    const cluster = await three('forgotten');
    const second = cluster.node(2);
    await exchange(cluster, second, later);
    await cluster.until(() => second.failure !== undefined);
    expect(second.failure).toMatch(
      /^Error: the cluster is at version 1, and this program knows 2: start this node with an older program, nothing is lost\n/,
    );
    await exchange(cluster, second, next);
    await settled(cluster);
    cluster.assertHealthy();
  });

  it('refuses whoever would join with an older one', async () => {
    const cluster = await three('joiner');
    for (const id of [1, 2, 3]) await exchange(cluster, cluster.node(id), next);
    await cluster.sleep(5_000);
    const joiner = cluster.node(4);
    cluster.start(joiner, { peers: undefined, join: ['node1:8080'] });
    await cluster.until(() => joiner.failure !== undefined);
    expect(joiner.failure).toContain('the cluster is at version 2, which the program of node 4 does not know');
  });
});

describe('a leader', () => {
  it('goes by what is applied only when all that is committed of it is: the version never goes down', () => {
    const members = { voters: [1, 2, 3], outgoing: [], learners: [] };
    const store = { versions: { oldest: 1, newest: 3 }, system: () => undefined, applied: 9 };
    const proposed: number[] = [];
    const versions = new Versions({
      id: 1,
      store: store as unknown as Store,
      raft: () =>
        ({ role: 'leader', membership: { index: 10, membership: members, committed: true } }) as unknown as Raft,
      propose: (version) => proposed.push(version),
      tell: () => {},
    });
    for (const [peer, newest] of [
      [2, 3],
      [3, 2],
    ] as const) {
      versions.greeted(peer, { oldest: 1, newest });
      versions.link(peer, true);
    }
    versions.look();
    expect(proposed).toEqual([]);
    store.applied = 10;
    versions.look();
    expect(proposed).toEqual([2]);
  });
});

describe('a new cluster', () => {
  it('begins with the first version, or the oldest that its program knows', () => {
    expect([foundingVersion({ oldest: 1, newest: 4 }), foundingVersion({ oldest: 3, newest: 4 })]).toEqual([
      undefined,
      3,
    ]);
  });
});
