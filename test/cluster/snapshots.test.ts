import { afterEach, expect, it } from 'vitest';
import { Cluster, folderBytes, until } from '../support/cluster.js';

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

const MiB = 1024 ** 2;

it('a member that was away while the others shortened their logs comes back by a snapshot, and no folder grows', async () => {
  cluster = await Cluster.start({
    args: (id) => ['--snapshot-log-bytes', '1MiB', ...(id === 2 ? ['--store', 'js'] : [])],
  });
  const leader = await cluster.leader();
  const away = cluster.nodes.find((node) => node !== leader)!;
  const running = cluster.nodes.filter((node) => node !== away);
  await away.kill();
  const client = await leader.connect(20_000);
  const value = 'v'.repeat(1_000);
  const sizes: number[] = [];
  for (let round = 0; round < 40; round++) {
    const lines = Array.from({ length: 500 }, (_, i) => `SET key${(round * 500 + i) % 300} ${round}-${i}-${value}`);
    const replies = await Promise.all(lines.map((line) => client.ask(line)));
    expect(new Set(replies)).toEqual(new Set(['OK']));
    sizes.push(...running.map(folderBytes));
  }
  console.log(
    `folders, MB, over ${sizes.length / 2} rounds: ${sizes.map((size) => (size / 1e6).toFixed(1)).join(' ')}`,
  );
  // 20 MB were written: there are the log, its tail, what is made ahead of it, and two snapshots of 0.3 MB.
  expect(Math.max(...sizes)).toBeLessThan(6 * MiB);
  await away.start();
  const statuses = await cluster.settled();
  expect(away.run!.stderr).toMatch(/has the snapshot of entry \d+ in place of its log/);
  expect(away.run!.stderr).toMatch(/loaded the snapshot of entry \d+/);
  expect(new Set(statuses.map(({ stateHash }) => stateHash)).size).toBe(1);
  expect(await client.ask('GET key299')).toBe(`"39-299-${value}"`);
  client.close();
  // What it has got is what it starts from.
  for (const node of cluster.nodes) await node.kill();
  await Promise.all(cluster.nodes.map((node) => node.start()));
  // At first they know of what is in their snapshots alone, which may be the same in all.
  const again = await until('all have what they had', 20_000, async () => {
    const now = await cluster!.settled();
    return now[0]!.applied > statuses[0]!.applied && now;
  });
  expect(new Set(again.map(({ stateHash }) => stateHash))).toEqual(new Set(statuses.map(({ stateHash }) => stateHash)));
  expect(Math.max(...cluster.nodes.map(folderBytes))).toBeLessThan(6 * MiB);
}, 120_000);
