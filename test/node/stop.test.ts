import { expect, it } from 'vitest';
import { SimCluster, type SimNode } from '../../src/sim/cluster.js';

it('a node that is told to stop does not wait for clients that stay connected', async () => {
  const cluster = new SimCluster('stop', ['js']);
  cluster.startAll();
  const [node] = cluster.nodes as [SimNode];
  expect(await cluster.ask(node, 'SET a 1')).toBe('OK');
  const clients = [cluster.client(node), cluster.client(node)];
  for (const client of clients) expect(await client.ask('GET a')).toBe('"1"');
  const began = cluster.world.now;
  let stopped = false;
  void node.running!.stop().then(() => {
    stopped = true;
  });
  expect(await cluster.world.play(() => stopped, 10_000)).toBe(true);
  expect(cluster.world.now - began).toBeLessThan(500);
  expect(clients.every((client) => client.closed)).toBe(true);
});
