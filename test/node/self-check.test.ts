/** Replicas compare their state; one that is not like a majority's is built anew, and nothing is read from it meanwhile. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { NodeObserver } from '../../src/node/observer.js';
import type { NodeOptions } from '../../src/node/options.js';
import { Rebuild, type RebuildHost } from '../../src/node/rebuild.js';
import { SelfCheck } from '../../src/node/self-check.js';
import type { Raft } from '../../src/raft/raft.js';
import { SimCluster, type SimNode, type StoreKind } from '../../src/sim/cluster.js';
import { SimDisk } from '../../src/sim/disk.js';
import type { Store } from '../../src/store/store.js';
import { set } from '../store/payloads.js';
import { overwrite } from '../support/snapshots.js';

afterEach(() => vi.restoreAllMocks());

interface Scene {
  readonly cluster: SimCluster;
  readonly stores: Map<SimNode, Store>;
  readonly rafts: Map<SimNode, Raft>;
}

/** Snapshots are taken soon. */
const short = { snapshotLogBytes: 65_536, segmentBytes: 16_384 };

const three = (seed: string, options: Partial<NodeOptions> = {}): Promise<Scene> =>
  started(seed, ['wasm', 'js', 'wasm'], options);
const five = (seed: string, options: Partial<NodeOptions> = {}): Promise<Scene> =>
  started(seed, ['js', 'wasm', 'js', 'js', 'js'], options);

/** A cluster, and the store and Raft of each of its nodes. */
async function started(seed: string, kinds: readonly StoreKind[], options: Partial<NodeOptions>): Promise<Scene> {
  const cluster = new SimCluster(seed, kinds, options);
  const stores = new Map<SimNode, Store>();
  const rafts = new Map<SimNode, Raft>();
  const nothing = (): void => {};
  cluster.observe = (node): NodeObserver => ({
    ...{ received: nothing, ready: nothing, saved: nothing, persisted: nothing, installed: nothing },
    began: (raft) => void rafts.set(node, raft),
    applied: (store) => void stores.set(node, store),
  });
  cluster.startAll();
  expect(await cluster.ask(cluster.node(1), 'SET a right')).toBe('OK');
  await cluster.leader();
  return { cluster, stores, rafts };
}

/** Writes until the next entry that is compared is applied everywhere. */
async function pass(cluster: SimCluster, node: SimNode): Promise<void> {
  const { applied } = await cluster.status(node);
  const client = cluster.client(node);
  const entries = 1_024 - (applied % 1_024) + 1;
  for (let i = 0; i < entries; i++) expect(await client.ask(`SET key${i % 20} ${i}`, 20_000)).toBe('OK');
  client.close();
  await cluster.sleep(100);
}

const said = (node: SimNode, text: string): boolean => node.lines.some((line) => line.includes(text));

async function agreed(cluster: SimCluster): Promise<boolean> {
  const hashes = await Promise.all(cluster.nodes.map((node) => cluster.status(node)));
  return new Set(hashes.map(({ stateHash, applied }) => `${applied} ${stateHash}`)).size === 1;
}

describe('a replica whose state is another one', () => {
  it.each([
    1, 2,
  ])('on node %i, a follower: stops serving, keeps the evidence, and gets the state of the others', async (id) => {
    const { cluster, stores } = await three(`follower ${id}`);
    const leader = await cluster.leader();
    const bad = cluster.nodes.filter((node) => node !== leader)[id - 1]!;
    stores.get(bad)!.run(set('a', 'wrong'));
    const reader = cluster.client(bad);
    expect(await reader.ask('GET a', 5_000)).toBe('"wrong"');
    await pass(cluster, leader);
    expect(said(bad, 'is not that of nodes')).toBe(true);
    // Whatever is answered from now on is right.
    expect(await reader.ask('GET a', 20_000)).toBe('"right"');
    expect(await reader.ask('SET b 1', 20_000)).toBe('OK');
    expect(said(bad, 'loaded the snapshot')).toBe(true);
    const evidence = bad.disk.list('/data').filter((name) => name.startsWith('diverged-'));
    expect(evidence).toHaveLength(1);
    expect(Buffer.from(bad.disk.content(`/data/${evidence[0]}`)).includes('wrong')).toBe(true);
    await cluster.sleep(1_000);
    expect(await agreed(cluster)).toBe(true);
    cluster.assertHealthy();
  });

  it('on the leader: it hands over, for it is no better than the others', async () => {
    const { cluster, stores } = await three('leader');
    const bad = await cluster.leader();
    const other = cluster.nodes.find((node) => node !== bad)!;
    stores.get(bad)!.run(set('a', 'wrong'));
    await pass(cluster, other);
    await cluster.until(() => said(bad, 'loaded the snapshot'));
    expect(await cluster.ask(bad, 'GET a')).toBe('"right"');
    expect((await cluster.status(bad)).role).toBe('follower');
    await cluster.sleep(1_000);
    expect(await agreed(cluster)).toBe(true);
    cluster.assertHealthy();
  });

  it('with no majority that agrees: nobody gives its state up, and all say so', async () => {
    const { cluster, stores } = await three('no majority');
    const leader = await cluster.leader();
    const [one, two] = cluster.nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    stores.get(one)!.run(set('a', 'wrong'));
    stores.get(two)!.run(set('a', 'worse'));
    await pass(cluster, leader);
    await cluster.sleep(5_000);
    for (const node of cluster.nodes) {
      expect(said(node, 'there is no majority')).toBe(true);
      expect(said(node, 'loaded the snapshot')).toBe(false);
    }
    cluster.assertHealthy();
  });

  it('goes on acknowledging: a majority of two with it commits', async () => {
    const { cluster, stores } = await three('goes on');
    const leader = await cluster.leader();
    const [bad, third] = cluster.nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    stores.get(bad)!.run(set('a', 'wrong'));
    await pass(cluster, leader);
    cluster.kill(third);
    expect(await cluster.ask(leader, 'SET c 1', 5_000)).toBe('OK');
    expect(await cluster.ask(bad, 'GET c', 20_000)).toBe('"1"');
    expect(await cluster.ask(bad, 'GET a')).toBe('"right"');
    cluster.assertHealthy();
  });

  it('as the leader gives its state to nobody, while it cannot hand over', async () => {
    const { cluster, stores, rafts } = await five('gives', short);
    const bad = await cluster.leader();
    const rest = cluster.nodes.filter((node) => node !== bad);
    const [good, far] = [rest[0]!, rest[3]!];
    cluster.partition(far);
    stores.get(bad)!.run(set('a', 'wrong'));
    await overwrite(cluster, good, 400);
    await cluster.sleep(2_500);
    vi.spyOn(rafts.get(bad)!, 'transfer').mockReturnValue('not-eligible');
    await pass(cluster, good);
    expect(said(bad, 'is not that of nodes')).toBe(true);
    // What it needs is in no log any more.
    cluster.heal();
    await cluster.sleep(5_000);
    expect(await cluster.ask(far, 'GET a STALE')).toContain('"right"');
    vi.restoreAllMocks();
    await cluster.until(() => said(far, 'loaded the snapshot') && said(bad, 'loaded the snapshot'));
    expect([await cluster.ask(far, 'GET a'), await cluster.ask(bad, 'GET a')]).toEqual(['"right"', '"right"']);
    await cluster.sleep(1_000);
    expect(await agreed(cluster)).toBe(true);
    cluster.assertHealthy();
  });

  it('as the leader hands over to another of the majority when one of them is gone', async () => {
    const { cluster, stores } = await five('dead successor');
    const bad = await cluster.leader();
    stores.get(bad)!.run(set('a', 'wrong'));
    cluster.onLine = (node, _level, text) => {
      const first = / is not that of nodes (\d+)/.exec(text);
      if (node === bad && first) cluster.kill(cluster.node(Number(first[1])));
    };
    await pass(cluster, cluster.nodes.filter((node) => node !== bad).at(-1)!);
    await cluster.until(() => said(bad, 'loaded the snapshot'), 20_000);
    expect(await cluster.ask(bad, 'GET a')).toBe('"right"');
    cluster.assertHealthy();
  });

  it('learns who else is right by now, when none of the majority that it knew leads', async () => {
    const { cluster, stores } = await five('new leader');
    const leader = await cluster.leader();
    const [bad, far] = cluster.nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    cluster.partition(far);
    stores.get(bad)!.run(set('a', 'wrong'));
    cluster.onLine = (node, _level, text) => {
      if (node !== bad || !text.includes('is not that of nodes')) return;
      cluster.heal();
      cluster.partition(bad);
    };
    await pass(cluster, leader);
    cluster.onLine = () => {};
    await cluster.sleep(2_000);
    await cluster.ask(leader, `@cluster {"request":"transfer","to":${far.id}}`);
    expect(await cluster.leader()).toBe(far);
    cluster.heal();
    await cluster.until(() => said(bad, 'loaded the snapshot'), 10_000);
    expect(await cluster.ask(bad, 'GET a')).toBe('"right"');
    expect((await cluster.status(far)).role).toBe('leader');
    cluster.assertHealthy();
  });

  it('is not trusted again after a restart: its own snapshot may be wrong', async () => {
    const { cluster, stores } = await three('restart', short);
    const leader = await cluster.leader();
    const bad = cluster.nodes.find((node) => node !== leader)!;
    stores.get(bad)!.run(set('a', 'wrong'));
    await overwrite(cluster, leader, 400);
    await cluster.sleep(2_500);
    cluster.onLine = (node, _level, text) => {
      if (node === bad && text.includes('is not that of nodes')) cluster.kill(bad);
    };
    await pass(cluster, leader);
    cluster.onLine = () => {};
    expect(bad.disk.list('/data')).toContain('diverged');
    expect(bad.disk.list('/data').some((name) => name.endsWith('.snap'))).toBe(true);
    cluster.restart(bad);
    expect(await cluster.ask(bad, 'GET a')).toBe('"right"');
    expect(bad.disk.list('/data')).not.toContain('diverged');
    await cluster.sleep(1_000);
    expect(await agreed(cluster)).toBe(true);
    cluster.assertHealthy();
  });

  it('is not emptied for a snapshot that arrives while the evidence is being kept', async () => {
    const { cluster, stores } = await three('evidence', short);
    const leader = await cluster.leader();
    const bad = cluster.nodes.find((node) => node !== leader)!;
    stores.get(bad)!.run(set('a', 'wrong'));
    const held: (() => void)[] = [];
    let holds = true;
    const open = bad.disk.open.bind(bad.disk);
    vi.spyOn(bad.disk, 'open').mockImplementation((path, options) => {
      const file = open(path, options);
      const write = file.write.bind(file);
      if (path.includes('diverged-'))
        file.write = (...all) => void (holds ? held.push(() => write(...all)) : write(...all));
      return file;
    });
    await pass(cluster, leader);
    await cluster.until(() => held.length > 0);
    cluster.partition(bad);
    await overwrite(cluster, leader, 400);
    await cluster.sleep(2_500);
    cluster.heal();
    await cluster.until(() => said(bad, 'in place of its log'));
    await cluster.sleep(1_000);
    cluster.assertHealthy();
    holds = false;
    for (const write of held) write();
    await cluster.until(() => said(bad, 'loaded the snapshot'));
    expect(said(bad, 'as evidence')).toBe(true);
    expect(await cluster.ask(bad, 'GET a')).toBe('"right"');
    cluster.assertHealthy();
  });
});

describe('getting the state anew', () => {
  it('is given up when it was needed too often in an hour; the next start goes on with it', () => {
    const disk = new SimDisk({ schedule: () => {}, random: () => 0 });
    disk.mkdir('/data');
    const made = (): Rebuild =>
      new Rebuild({
        ...{ id: 3, disk, directory: '/data' },
        ...({} as Pick<RebuildHost, 'timers' | 'store'>),
        applying: () => true,
        leader: () => 0,
        handOver: () => {},
        ask: () => {},
        inquire: () => {},
        wake: () => {},
        guard: (action) => action(),
        tell: () => {},
      });
    const rebuild = made();
    expect(rebuild.resume(0)).toBe(false);
    for (const n of [1, 2, 3]) {
      expect(rebuild.begin(n * 1_024, [1, 2], n)).toBe(true);
      rebuild.over();
      expect(made().resume(0)).toBe(false);
    }
    expect(() => rebuild.begin(4_096, [1, 2], 4)).toThrow('for the 4th time in an hour');
    const next = made();
    expect([next.resume(5), next.underWay, next.keeps]).toEqual([true, true, true]);
  });
});

describe('the comparison', () => {
  it('believes a majority of the voters, not learners, nor whoever speaks first', () => {
    const diverged: (readonly number[])[] = [];
    let wrong = false;
    const check = new SelfCheck({
      id: 1,
      membership: () => ({ voters: [1, 2, 3], outgoing: [], learners: [4, 5] }),
      tell: () => {},
      wrong: () => wrong,
      diverged: (_index, majority) => diverged.push(majority),
      log: () => {},
    });
    expect(check.passed(1_023)).toBe(false);
    expect(check.passed(1_024)).toBe(true);
    for (const id of [4, 5, 2]) check.heard(id, 1_024, 'b'.repeat(16));
    check.own({ index: 1_024, stateHash: 'a'.repeat(16) });
    expect(check.passed(1_100)).toBe(false);
    expect(diverged).toEqual([]);
    check.heard(3, 1_024, 'b'.repeat(16));
    expect(diverged).toEqual([[2, 3]]);
    check.reset(2_000);
    check.heard(3, 1_024, 'b'.repeat(16));
    expect(diverged).toHaveLength(1);
    wrong = true;
    check.heard(2, 2_048, 'c'.repeat(16));
    expect(diverged).toHaveLength(1);
    check.heard(3, 2_048, 'c'.repeat(16));
    expect(diverged[1]).toEqual([2, 3]);
  });
});
