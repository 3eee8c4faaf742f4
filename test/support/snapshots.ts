/** Clusters in the simulated world whose logs are shortened soon. */
import { expect } from 'vitest';
import type { NodeOptions } from '../../src/node/options.js';
import type { SimClient } from '../../src/sim/client.js';
import { SimCluster, type SimNode, type StoreKind } from '../../src/sim/cluster.js';

export const folder = '/data';

export async function started(
  seed: string,
  stores: readonly StoreKind[],
  options: Partial<NodeOptions> = {},
): Promise<SimCluster> {
  const cluster = new SimCluster(seed, stores, { snapshotLogBytes: 65_536, segmentBytes: 16_384, ...options });
  cluster.startAll();
  expect(await cluster.ask(cluster.nodes[0]!, 'SET ready 1')).toBe('OK');
  return cluster;
}

/** Sends all lines at once, and waits for their replies. */
export async function all(
  cluster: SimCluster,
  client: SimClient,
  lines: readonly string[],
): Promise<(string | undefined)[]> {
  const replies: (string | undefined)[] = [];
  for (const line of lines) client.send(line, (reply) => replies.push(reply));
  await cluster.until(() => replies.length === lines.length);
  return replies;
}

/** Overwrites a few keys with `count` values of 1,000 bytes, in many entries. */
export async function overwrite(cluster: SimCluster, node: SimNode, count: number, from = 0): Promise<void> {
  const client = cluster.client(node);
  for (let n = from; n < from + count; n += 10) {
    const lines = Array.from({ length: 10 }, (_, i) => `SET key${(n + i) % 37} ${String(n + i).padEnd(1_000, '.')}`);
    expect(new Set(await all(cluster, client, lines))).toEqual(new Set(['OK']));
  }
  client.close();
}

/** Names of files in a node's folder. */
export function files(node: SimNode, ending: string): string[] {
  return node.disk.list(folder).filter((name) => name.endsWith(ending));
}

export function folderBytes(node: SimNode): number {
  return files(node, '').reduce((sum, name) => sum + node.disk.content(`${folder}/${name}`).length, 0);
}

/** Lines of a node's log that hold `text`. */
export function told(node: SimNode, text: string): string[] {
  return node.lines.filter((line) => line.includes(text));
}

/** The state of all nodes, once all have applied the same. */
export async function agreed(cluster: SimCluster, deadlineMs = 30_000): Promise<string> {
  const end = cluster.now + deadlineMs;
  let states: string[] = [];
  while (cluster.now < end) {
    states = [];
    for (const node of cluster.nodes) {
      const { applied, stateHash } = await cluster.status(node);
      states.push(`${applied} ${stateHash}`);
    }
    if (states.every((state) => state === states[0])) return states[0]!;
    if (new Set(states.map((state) => state.split(' ')[0])).size === 1) break;
    await cluster.sleep(100);
  }
  throw new Error(`the nodes do not agree: ${states.join(', ')}`);
}
