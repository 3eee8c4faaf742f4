import { describe, expect, it } from 'vitest';
import { SimCluster } from './sim-cluster.js';

describe('a cluster of three in a simulated world', () => {
  it('founds itself, elects a leader, and answers from every node', async () => {
    const cluster = new SimCluster(1, ['wasm', 'js', 'wasm']);
    cluster.startAll();
    const [one, two, three] = cluster.nodes as [never, never, never];
    expect(await cluster.ask(one, 'SET a 1')).toBe('OK');
    expect(await cluster.ask(two, 'GET a')).toBe('"1"');
    expect(await cluster.ask(three, 'INCR a 41')).toBe('(integer) 42');
    expect(await cluster.ask(one, 'GET a')).toBe('"42"');
    cluster.assertHealthy();
  });
});
