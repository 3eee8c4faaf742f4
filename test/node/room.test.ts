/** Full disks: writes are refused, definitely, while a majority has no room; reads go on; all comes back by itself. */
import { describe, expect, it } from 'vitest';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';

const value = 'v'.repeat(900);

function three(seed: string, options = {}): { cluster: SimCluster; nodes: [SimNode, SimNode, SimNode] } {
  const cluster = new SimCluster(seed, ['wasm', 'js', 'wasm'], { segmentBytes: 65_536, ...options });
  cluster.startAll();
  return { cluster, nodes: cluster.nodes as [SimNode, SimNode, SimNode] };
}

function fill(node: SimNode): void {
  node.disk.capacity = 0;
}

function free(node: SimNode): void {
  node.disk.capacity = Number.POSITIVE_INFINITY;
}

/** Leaves so many bytes free. */
function leave(node: SimNode, bytes: number): void {
  const much = 2 ** 40;
  node.disk.capacity = much;
  node.disk.capacity = much - node.disk.free('/data') + bytes;
}

/** Writes until it is refused; how many writes were taken. */
async function writeUntilFull(cluster: SimCluster, node: SimNode): Promise<number> {
  const client = cluster.client(node);
  for (let taken = 0; taken < 1_000; taken++) {
    const reply = await client.ask(`SET key${taken} ${value}`, 20_000);
    if (reply === 'OK') continue;
    expect(reply).toMatch(/^ERR disk-full /);
    client.close();
    return taken;
  }
  throw new Error('no write was refused');
}

describe('a full disk', () => {
  it('of a majority: writes are refused at every node, reads go on, and writes are taken again when there is room', async () => {
    const { cluster, nodes } = three('all full');
    expect(await cluster.ask(nodes[0], 'SET a 1')).toBe('OK');
    const leader = await cluster.leader();
    nodes.forEach(fill);
    const taken = await writeUntilFull(cluster, nodes.find((node) => node !== leader)!);
    for (const node of nodes) {
      expect(await cluster.ask(node, 'SET b 1')).toMatch(/^ERR disk-full /);
      expect(await cluster.ask(node, `GET key${taken - 1}`)).toBe(`"${value}"`);
      expect(await cluster.ask(node, 'GET b')).toBe('(nil)');
    }
    // Far longer than the time-out of a request: the cluster stays as it is.
    await cluster.sleep(30_000);
    expect(await cluster.ask(nodes[1], 'SET b 1')).toMatch(/^ERR disk-full /);
    nodes.forEach(free);
    await cluster.sleep(3_000);
    for (const node of nodes) expect(await cluster.ask(node, `SET b ${node.id}`)).toBe('OK');
    expect(await cluster.ask(nodes[0], 'COUNT')).toBe(`(integer) ${taken + 2}`);
    cluster.assertHealthy();
  });

  it('of one follower holds up nobody, and it catches up when it has room', async () => {
    const { cluster, nodes } = three('one full');
    const leader = await cluster.leader();
    const full = nodes.find((node) => node !== leader)!;
    fill(full);
    const client = cluster.client(full);
    for (let i = 0; i < 300; i++) expect(await client.ask(`SET key${i} ${value}`, 20_000)).toBe('OK');
    free(full);
    await cluster.sleep(5_000);
    const [one, other] = [await cluster.status(full), await cluster.status(leader)];
    expect(one.stateHash).toBe(other.stateHash);
    cluster.assertHealthy();
  });

  it('of the leader makes it hand over to a member that has room', async () => {
    const { cluster, nodes } = three('leader full');
    const leader = await cluster.leader();
    fill(leader);
    const client = cluster.client(nodes.find((node) => node !== leader)!);
    const replies = new Set<string | undefined>();
    for (let i = 0; i < 300; i++) replies.add(await client.ask(`SET key${i} ${value}`, 20_000));
    await cluster.sleep(5_000);
    expect((await cluster.status(leader)).role).toBe('follower');
    expect([...replies]).toEqual(['OK']);
    free(leader);
    await cluster.sleep(5_000);
    const hashes = new Set(await Promise.all(nodes.map(async (node) => (await cluster.status(node)).stateHash)));
    expect(hashes.size).toBe(1);
    cluster.assertHealthy();
  });

  it('of two, with the third down, is told as what it is; what had been taken is not lost', async () => {
    const { cluster, nodes } = three('two full');
    const leader = await cluster.leader();
    const [follower, down] = nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    expect(await cluster.ask(leader, 'SET a 1')).toBe('OK');
    cluster.kill(down);
    await cluster.sleep(3_000);
    fill(follower);
    const taken = await writeUntilFull(cluster, leader);
    cluster.restart(down);
    await cluster.sleep(5_000);
    expect(await cluster.ask(leader, 'SET b 1')).toBe('OK');
    expect(await cluster.ask(down, 'COUNT')).toBe(`(integer) ${taken + 2}`);
    cluster.assertHealthy();
  });

  it('on which a snapshot found no room has one as soon as there is, before the log takes what was freed', async () => {
    const cluster = new SimCluster('room for a snapshot', ['wasm'], { segmentBytes: 65_536, snapshotLogBytes: 65_536 });
    cluster.startAll();
    const [node] = cluster.nodes as [SimNode];
    const client = cluster.client(await cluster.leader());
    let written = 0;
    const write = (): Promise<string | undefined> => client.ask(`SET key${written++ % 400} ${value}`, 20_000);
    while (written < 1_000) expect(await write()).toBe('OK');
    const busy = cluster.until(() => node.disk.list('/data').some((name) => /snap.*tmp$/.test(name)));
    let taking = false;
    void busy.then(() => {
      taking = true;
      fill(node);
    });
    while (!taking) await write();
    await cluster.until(() => node.lines.some((text) => text.includes('no room for a snapshot')));
    await cluster.sleep(1_000);
    expect(await write()).toMatch(/^ERR disk-full /);
    leave(node, 1_000_000);
    const freed = cluster.now;
    await cluster.sleep(1_200);
    while (cluster.now < freed + 12_000) {
      expect(await write()).toBe('OK');
      await cluster.sleep(10);
    }
    cluster.assertHealthy();
  });

  it('is no place to keep log for a member that was brought a snapshot: the leader drops it, and goes on', async () => {
    const { cluster, nodes } = three('kept log', { snapshotLogBytes: 65_536 });
    const leader = await cluster.leader();
    const [away, other] = nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    const client = cluster.client(other);
    const line = (i: number): string => `SET key${i % 100} ${value}`;
    cluster.kill(away);
    for (let i = 0; i < 1_000; i++) expect(await client.ask(line(i), 20_000)).toBe('OK');
    cluster.restart(away);
    const brought = (node: SimNode): boolean => node.lines.some((text) => text.includes('loaded the snapshot'));
    for (let i = 0; !brought(away); i++) expect(await client.ask(line(i), 20_000)).toBe('OK');
    leave(leader, 700_000);
    const end = cluster.now + 9_000;
    for (let i = 0; cluster.now < end; i++) expect(await client.ask(line(i), 20_000)).toBe('OK');
    expect((await cluster.status(leader)).role).toBe('leader');
    cluster.assertHealthy();
  });
});
