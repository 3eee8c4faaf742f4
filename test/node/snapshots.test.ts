import { describe, expect, it } from 'vitest';
import type { SnapshotInfo } from '../../src/log/types.js';
import { LogTime } from '../../src/node/log-time.js';
import type { SimNode } from '../../src/sim/cluster.js';
import { agreed, files, folderBytes, overwrite, started } from '../support/snapshots.js';

describe('a node alone', () => {
  it.each([
    'wasm',
    'js',
  ] as const)('on %s: takes snapshots, and starts again from one with the same state', async (kind) => {
    const cluster = await started(`alone ${kind}`, [kind]);
    const [node] = cluster.nodes as [SimNode];
    expect(await cluster.ask(node, 'SET short lived PX 100000000')).toBe('OK');
    // Larger than a slice of what is loaded.
    expect(await cluster.ask(node, `SET long ${'x'.repeat(900_000)}`)).toBe('OK');
    await overwrite(cluster, node, 1_500);
    await cluster.sleep(3_000);
    expect(node.lines.filter((line) => line.includes('took a snapshot')).length).toBeGreaterThan(2);
    expect(files(node, '.snap').length).toBe(1);
    expect(files(node, '.tmp')).toEqual([]);
    const before = await cluster.status(node);
    const ttl = JSON.parse((await cluster.ask(node, 'PTTL short'))!.replace('(integer) ', ''));
    for (const mode of ['kill', 'tear', 'drop'] as const) {
      cluster.crash(node, mode);
      cluster.restart(node);
      await cluster.until(() => node.running !== undefined);
      await cluster.sleep(2_000);
      const after = await cluster.status(node);
      expect(after.stateHash).toBe(before.stateHash);
      expect(after.applied).toBeGreaterThanOrEqual(before.applied);
    }
    expect(await cluster.ask(node, 'GET key5')).toBe(`"${'1485'.padEnd(1_000, '.')}"`);
    const later = JSON.parse((await cluster.ask(node, 'PTTL short'))!.replace('(integer) ', ''));
    expect(later).toBeLessThanOrEqual(ttl);
    expect(later).toBeGreaterThan(ttl - 20_000);
    cluster.assertHealthy();
  });

  it('keeps its folder small under endless overwrites', async () => {
    const cluster = await started('endless', ['wasm']);
    const [node] = cluster.nodes as [SimNode];
    const sizes: number[] = [];
    for (let round = 0; round < 10; round++) {
      await overwrite(cluster, node, 300, round * 300);
      await cluster.sleep(1_500);
      sizes.push(folderBytes(node));
    }
    // What the log may have grown to until it is looked at, its tail, the snapshot, and what is made ahead.
    expect(Math.max(...sizes)).toBeLessThan(700_000);
    expect(sizes.at(-1)).toBeLessThan(1.5 * sizes[2]!);
    cluster.assertHealthy();
  });

  it('goes on with log time where its snapshot ends when nothing follows it', () => {
    let now = 70_000;
    const clock = { monotonic: () => now, wall: () => 0 };
    const snapshot = { logTime: 5_000 } as SnapshotInfo;
    const log = { firstIndex: () => 8, lastIndex: () => 7, entries: () => expect.fail('it has none'), snapshot };
    const time = new LogTime(clock, log);
    expect(time.stamp(3)).toBe(5_000);
    now += 25;
    expect(time.stamp(3)).toBe(5_025);
    expect(new LogTime(clock, { ...log, snapshot: undefined }).stamp(1)).toBe(0);
  });

  it('tries again when there was no room, and refuses nobody for it', async () => {
    const cluster = await started('no room', ['wasm']);
    const [node] = cluster.nodes as [SimNode];
    node.disk.fail('write', 1, 'full', (path) => path.includes('.snap'));
    void overwrite(cluster, node, 200);
    await cluster.until(() => node.lines.some((line) => line.includes('no room for a snapshot')));
    await cluster.sleep(500);
    expect([files(node, '.snap'), files(node, '.tmp')]).toEqual([[], []]);
    await cluster.sleep(2_000);
    expect(files(node, '.snap').length).toBe(1);
    cluster.assertHealthy();
  });

  it('does not start from a snapshot that is not of the state it says, with one line', async () => {
    const cluster = await started('wrong', ['js']);
    const [node] = cluster.nodes as [SimNode];
    await overwrite(cluster, node, 200);
    await cluster.sleep(2_000);
    cluster.kill(node);
    // As a store of another mind would have it.
    const { JsStore } = await import('../../src/store/js-store.js');
    const { loadEnd } = JsStore.prototype;
    JsStore.prototype.loadEnd = function (state) {
      return loadEnd.call(this, { ...state, keys: state.keys + 1 });
    };
    try {
      cluster.restart(node);
      await cluster.until(() => node.failure !== undefined);
    } finally {
      JsStore.prototype.loadEnd = loadEnd;
    }
    expect(node.failure).toMatch(
      /the snapshot of entry \d+ is not what it says it is \(keys\), and cannot be loaded\n/,
    );
  });
});

describe('a cluster of three', () => {
  it('shortens the log of every member, each by snapshots of its own, and agrees', async () => {
    const cluster = await started('three', ['wasm', 'js', 'wasm']);
    await overwrite(cluster, cluster.nodes[1]!, 600);
    await cluster.sleep(3_000);
    for (const node of cluster.nodes) expect(files(node, '.snap').length).toBe(1);
    for (const node of cluster.nodes) {
      cluster.powerOff(node);
    }
    for (const node of cluster.nodes) cluster.restart(node);
    await cluster.until(() => cluster.nodes.every(({ running }) => running !== undefined));
    expect(await cluster.ask(cluster.nodes[2]!, 'SET after all')).toBe('OK');
    await agreed(cluster);
    cluster.assertHealthy();
  });
});
