/** A folder whose log has rotted: its node repairs it from the other members, and counts again only when it has. */
import { describe, expect, it } from 'vitest';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';

const folder = '/data';

function cluster(seed: string, size: number): SimCluster {
  const made = new SimCluster(seed, (['wasm', 'js', 'wasm'] as const).slice(0, size), { segmentBytes: 65_536 });
  made.startAll();
  return made;
}

async function write(made: SimCluster, node: SimNode, count: number): Promise<void> {
  const client = made.client(node);
  for (let i = 0; i < count; i++) expect(await client.ask(`SET key${i} ${'v'.repeat(500)}`, 20_000)).toBe('OK');
  client.close();
}

/** Flips a bit of what stands in the log long ago; the node is down. */
function rot(node: SimNode, byte = 5_000): void {
  const name = node.disk
    .list(folder)
    .filter((each) => each.startsWith('wal-'))
    .sort()[0]!;
  node.disk.flipBit(`${folder}/${name}`, byte * 8);
}

async function agree(made: SimCluster): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const states = await Promise.all(made.nodes.map((node) => made.status(node)));
    if (new Set(states.map(({ applied, stateHash }) => `${applied} ${stateHash}`)).size === 1) return;
    await made.sleep(100);
  }
  throw new Error('the nodes do not agree');
}

describe('a log that has rotted', () => {
  it('is repaired from the other members, and its node votes again', async () => {
    const made = cluster('rot', 3);
    const leader = await made.leader();
    await write(made, leader, 50);
    const [one, two] = made.nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    made.kill(one);
    rot(one);
    made.restart(one);
    await made.until(() => one.lines.some((line) => line.includes('the data folder is repaired')));
    expect(one.lines.some((line) => line.includes('to be repaired from the other members'))).toBe(true);
    expect(one.disk.exists(`${folder}/damaged`)).toBe(false);
    expect(one.disk.list(folder)).toContain('damaged-1');
    await agree(made);
    // Now the cluster stands on it: another member dies for good.
    made.kill(two);
    await write(made, one, 5);
    made.assertHealthy();
  });

  it('does not let a cluster forget: with another member down too, nobody is elected until that is back', async () => {
    const made = cluster('rot of two', 3);
    const leader = await made.leader();
    await write(made, leader, 50);
    const [one, two] = made.nodes.filter((node) => node !== leader) as [SimNode, SimNode];
    made.kill(one);
    made.kill(leader);
    rot(one);
    made.restart(one);
    await made.sleep(10_000);
    expect(await made.ask(two, 'GET key49')).toMatch(/^ERR no-leader /);
    expect(one.disk.exists(`${folder}/damaged`)).toBe(true);
    made.restart(leader);
    await made.until(() => one.lines.some((line) => line.includes('the data folder is repaired')));
    await agree(made);
    expect(await made.ask(one, 'COUNT')).toBe('(integer) 50');
    made.assertHealthy();
  });

  it.each([
    [false],
    [true],
  ])('of the node that began alone is repaired from those that joined it, its founding record lost too: %s', async (lost) => {
    const made = new SimCluster(`rot of the first ${lost}`, ['wasm', 'js', 'wasm'], {
      ...{ segmentBytes: 65_536, peers: undefined },
    });
    const one = made.node(1);
    made.start(one);
    await write(made, one, 1);
    for (const id of [2, 3]) made.start(made.node(id), { join: ['node1:8080'] });
    const joined = (node: SimNode): boolean => node.lines.some((line) => line.includes('is a voter now'));
    await made.until(() => joined(made.node(2)) && joined(made.node(3)));
    await write(made, one, 50);
    made.kill(one);
    // Who has joined is lost with it.
    rot(one, 1_500);
    if (lost) one.disk.flipBit(`${folder}/founding`, 100);
    // Before it hears of anybody, it is started again.
    made.partition(one);
    made.restart(one);
    await made.until(() => one.running !== undefined || one.failure !== undefined);
    await made.sleep(3_000);
    made.kill(one);
    made.restart(one);
    await made.until(() => one.running !== undefined || one.failure !== undefined);
    made.assertHealthy();
    made.heal();
    await made.until(() => one.lines.some((line) => line.includes('the data folder is repaired')));
    await agree(made);
    expect(one.disk.exists(`${folder}/others`)).toBe(true);
    made.assertHealthy();
  });

  it('of a cluster that is one again stops it: nobody has what it lost', async () => {
    const made = new SimCluster('rot of who is left', ['wasm', 'js'], { segmentBytes: 65_536, peers: undefined });
    const [one, two] = [made.node(1), made.node(2)];
    made.start(one);
    await write(made, one, 50);
    made.start(two, { join: ['node1:8080'] });
    await made.until(() => two.lines.some((line) => line.includes('is a voter now')));
    expect(await made.ask(one, '@cluster {"request":"remove","id":2}')).toBe('{"done":true}');
    await made.until(() => !one.disk.exists(`${folder}/others`));
    made.kill(one);
    rot(one);
    made.restart(one);
    await made.until(() => one.failure !== undefined);
    expect(one.failure).toMatch(/wal-\S+ is corrupt at offset \d+/);
  });

  it('of a cluster of one stops it, with the file and the place', async () => {
    const made = cluster('rot alone', 1);
    const node = made.node(1);
    await write(made, node, 50);
    made.kill(node);
    rot(node);
    made.restart(node);
    await made.until(() => node.failure !== undefined);
    expect(node.failure).toMatch(/wal-\S+ is corrupt at offset \d+/);
    expect(node.disk.exists(`${folder}/damaged`)).toBe(false);
  });
});
