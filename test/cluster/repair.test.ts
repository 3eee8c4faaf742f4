/** Real processes whose disks let them down, and that come back by themselves. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { Cluster } from '../support/cluster.js';

let cluster: Cluster | undefined;
afterEach(() => cluster?.stop());

it('a log in which one bit has flipped is repaired from the other members, and its node counts again', async () => {
  cluster = await Cluster.start({ args: (id) => (id === 2 ? ['--store', 'js'] : []) });
  const leader = await cluster.leader();
  const client = await leader.connect(20_000);
  for (let i = 0; i < 200; i++) expect(await client.ask(`SET key${i} rot-me-${i}`)).toBe('OK');
  const [bad, other] = cluster.nodes.filter((node) => node !== leader);
  await bad!.kill();
  const name = readdirSync(bad!.directory).find((file) => file.endsWith('-0000000001.seg'))!;
  const path = join(bad!.directory, name);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('rot-me-100');
  expect(at).toBeGreaterThan(0);
  bytes[at] = bytes[at]! ^ 4;
  writeFileSync(path, bytes);
  await bad!.start();
  const statuses = await cluster.settled();
  expect(new Set(statuses.map(({ stateHash }) => stateHash)).size).toBe(1);
  expect(bad!.run!.stderr).toContain('to be repaired from the other members');
  await expect.poll(() => bad!.run!.stderr, { timeout: 10_000 }).toContain('the data folder is repaired');
  expect(readdirSync(bad!.directory)).toContain('damaged-1');
  // A majority that needs it: it votes and acknowledges.
  await other!.kill();
  expect(await client.ask('SET after 1')).toBe('OK');
  expect(await client.ask('GET key100')).toBe('"rot-me-100"');
  client.close();
});
