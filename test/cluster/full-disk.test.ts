/**
 * Full disks of real processes: each node has a small file system of its own (test/support/small-disk.ts), which the test fills
 * and empties under load. The simulated disks of test/node/room.test.ts do the same at every moment; here it is seen that what
 * the system says of a full one is what they say.
 */
import { mkdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { Cluster, type NodePlace, until } from '../support/cluster.js';
import type { LineClient } from '../support/line-client.js';
import { SmallDisk } from '../support/small-disk.js';

const disks = new Map<number, SmallDisk>();
let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  for (const disk of disks.values()) await disk.close();
  disks.clear();
});

/** Three nodes with 24 MiB each, which take snapshots every 4 MiB. */
async function three(): Promise<Cluster> {
  return await Cluster.start({
    args: ['--snapshot-log-bytes', '4MiB'],
    each: async (id, directory) => {
      mkdirSync(directory, { recursive: true });
      const disk = await SmallDisk.mount(directory, 24 * 1024);
      disks.set(id, disk);
      return { within: disk.within };
    },
  });
}

const diskOf = (node: NodePlace): SmallDisk => disks.get(node.id)!;
const keys = 500;
const padding = 'v'.repeat(1_000);

/** A client that writes to keys of its own, and knows what they must hold. */
class Writer {
  readonly #client: LineClient;
  readonly #name: string;
  #next = 0;
  readonly #sure = new Map<string, string>();

  constructor(client: LineClient, name: string) {
    this.#client = client;
    this.#name = name;
  }

  /** So many writes in one go: their replies. What was not acknowledged may have happened: its key is not written again. */
  async write(count: number): Promise<string[]> {
    const writes = Array.from({ length: count }, () => {
      const n = this.#next++;
      return { key: `${this.#name}-${n % keys}`, value: `${n}-${padding}` };
    });
    const replies = await Promise.all(writes.map(({ key, value }) => this.#client.ask(`SET ${key} ${value}`)));
    for (const [at, reply] of replies.entries()) {
      const { key, value } = writes[at]!;
      if (reply === 'OK') this.#sure.set(key, value);
      else if (!reply.startsWith('ERR ')) throw new Error(`${key}: ${reply}`);
    }
    return replies;
  }

  async verify(node: NodePlace): Promise<void> {
    const client = await node.connect();
    const names = [...this.#sure.keys()];
    for (let at = 0; at < names.length; at += 100) {
      const some = names.slice(at, at + 100);
      const values = JSON.parse(await client.ask(`MGET ${some.join(' ')}`)) as string[];
      expect(values).toEqual(some.map((name) => this.#sure.get(name)));
    }
    client.close();
  }
}

async function reads(node: NodePlace, key: string): Promise<string> {
  const client = await node.connect();
  const reply = await client.ask(`GET ${key}`);
  client.close();
  return reply;
}

describe('a full disk', () => {
  it('of one node, the leader: another leads, writes go on, and it comes back by itself once there is room', async () => {
    cluster = await three();
    const full = await cluster.leader();
    const [other, third] = cluster.nodes.filter((node) => node !== full) as [NodePlace, NodePlace];
    const writer = new Writer(await other.connect(20_000), 'w');
    expect(new Set(await writer.write(1_000))).toEqual(new Set(['OK']));
    diskOf(full).fill();
    await until('another leads', 20_000, async () => {
      await writer.write(20);
      return (await other.status()).leader !== full.id || undefined;
    });
    // More than all that the others keep of their logs: it is brought a snapshot.
    for (let i = 0; i < 60; i++) expect(new Set(await writer.write(500))).toEqual(new Set(['OK']));
    for (const node of [other, third]) expect(await reads(node, 'w-1')).toMatch(/^"/);
    diskOf(full).free();
    const freed = performance.now();
    await until('it has caught up', 10_000, async () => {
      const [one, two] = [await full.status(), await other.status()];
      return (one.applied === two.applied && one.stateHash === two.stateHash) || undefined;
    });
    console.log(`a full node has caught up ${Math.round(performance.now() - freed)} ms after there was room`);
    expect(full.run!.exit).toBeUndefined();
    for (const node of cluster.nodes) await writer.verify(node);
  }, 120_000);

  it('of all nodes: writes are refused and reads answered everywhere, and writes are taken within 2 s of there being room', async () => {
    cluster = await three();
    const writers = await Promise.all(
      cluster.nodes.map(async (node) => new Writer(await node.connect(20_000), `w${node.id}`)),
    );
    for (const writer of writers) expect(new Set(await writer.write(1_000))).toEqual(new Set(['OK']));
    for (const round of [1, 2, 3]) {
      for (const node of cluster.nodes) diskOf(node).fill();
      await until('writes are refused at every node', 30_000, async () => {
        const replies = (await Promise.all(writers.map((writer) => writer.write(20)))).map((some) => some.at(-1)!);
        return replies.every((reply) => reply.startsWith('ERR disk-full ')) || undefined;
      });
      for (const node of cluster.nodes) {
        expect(await reads(node, 'w1-499')).toMatch(/^"/);
        expect(await reads(node, 'absent')).toBe('(nil)');
      }
      for (const node of cluster.nodes) diskOf(node).free();
      const freed = performance.now();
      await until('writes are taken again at every node', 10_000, async () => {
        const replies = (await Promise.all(writers.map((writer) => writer.write(1)))).flat();
        return replies.every((reply) => reply === 'OK') || undefined;
      });
      const ms = Math.round(performance.now() - freed);
      console.log(`round ${round}: writes again ${ms} ms after there was room`);
      expect(ms).toBeLessThan(2_000);
      for (const writer of writers) expect(new Set(await writer.write(1_000))).toEqual(new Set(['OK']));
      for (const node of cluster.nodes) for (const writer of writers) await writer.verify(node);
    }
    const statuses = await cluster.settled();
    expect(new Set(statuses.map(({ stateHash }) => stateHash)).size).toBe(1);
  }, 120_000);
});
