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
function rot(node: SimNode): void {
  const name = node.disk
    .list(folder)
    .filter((each) => each.startsWith('wal-'))
    .sort()[0]!;
  node.disk.flipBit(`${folder}/${name}`, 5_000 * 8);
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
