import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Cluster,
  freePort,
  NodePlace,
  removeFolder,
  runProgram,
  type Status,
  temporaryFolder,
  until,
} from '../support/cluster.js';
import { exchange } from '../support/line-client.js';

const clusters: Cluster[] = [];
const places: NodePlace[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(clusters.splice(0).map((cluster) => cluster.stop()));
  await Promise.all(places.splice(0).map((place) => place.kill()));
  for (const folder of folders.splice(0)) removeFolder(folder);
});

async function idleCluster(): Promise<Cluster> {
  const cluster = await Cluster.start({ idle: true });
  clusters.push(cluster);
  return cluster;
}
async function startedCluster(env: Record<string, string> = {}): Promise<Cluster> {
  const cluster = await Cluster.start({ env });
  clusters.push(cluster);
  return cluster;
}
function folder(): string {
  const made = temporaryFolder();
  folders.push(made);
  return made;
}
async function single(directory = join(folder(), 'node'), id = 1, args: readonly string[] = []): Promise<NodePlace> {
  const place = new NodePlace({ id, port: await freePort(), directory, args });
  places.push(place);
  return place;
}
function reply(node: NodePlace, line: string): Promise<string> {
  return exchange(node.port, [`${line}\n`], { timeoutMs: 12_000 }).then(({ text }) => text);
}
/** One line for the user, the last one on standard error, naming what was wrong; what came before is the log. */
function expectOneLine(stderr: string, ...names: readonly (string | RegExp)[]): void {
  const lines = stderr.trimEnd().split('\n');
  expect(lines.filter((line) => line.startsWith('distributed: '))).toEqual([lines.at(-1)]);
  for (const name of names) expect(lines.at(-1)).toMatch(name);
}

describe('a cluster started with --peers', () => {
  it('waits for a late member, prints its ready line meanwhile, and then serves on all', async () => {
    const cluster = await idleCluster();
    const [one, two, three] = cluster.nodes as [NodePlace, NodePlace, NodePlace];
    await Promise.all([one.start(), two.start()]);
    expect(await one.status()).toMatchObject({ leader: null, role: 'follower' });
    expect(await reply(one, 'SET early 1')).toMatch(/^(ERR no-leader|UNKNOWN timeout) /);
    await three.start();
    await cluster.leader();
    for (const node of cluster.nodes) expect(await reply(node, `SET from-${node.id} 1`)).toBe('OK\n');
    expect(await reply(three, 'GET early')).toMatch(/^(\(nil\)|"1")\n$/);
  });

  it('is founded although a member dies and comes back in the middle of it', async () => {
    const cluster = await idleCluster();
    const [one, two, three] = cluster.nodes as [NodePlace, NodePlace, NodePlace];
    await Promise.all([two.start(), three.start()]);
    await two.kill();
    await one.start();
    await one.kill();
    await Promise.all([one.start(), two.start()]);
    await cluster.leader();
    expect(await reply(three, 'SET a 1')).toBe('OK\n');
    for (const node of cluster.nodes) expect(await reply(node, 'GET a')).toBe('"1"\n');
  });

  it('lets a member that missed the founding adopt it later, from any other', async () => {
    const cluster = await idleCluster();
    const [one, two, three] = cluster.nodes as [NodePlace, NodePlace, NodePlace];
    await Promise.all(cluster.nodes.map((node) => node.start()));
    await cluster.leader();
    await one.kill();
    await three.kill();
    await three.start();
    await until('the two have a leader', 15_000, async () => (await two.status()).leader !== null);
    expect(await reply(three, 'SET b 2')).toBe('OK\n');
    await one.start();
    await cluster.leader();
    expect(await reply(one, 'GET b')).toBe('"2"\n');
  });

  it('goes on where it was after all have stopped in order, and after all were killed', async () => {
    const cluster = await startedCluster();
    expect(await reply(cluster.nodes[1]!, 'SET kept 1')).toBe('OK\n');
    const exits = await Promise.all(cluster.nodes.map((node) => node.terminate()));
    expect(exits.map((exit) => exit.code)).toEqual([0, 0, 0]);
    await Promise.all(cluster.nodes.map((node) => node.start()));
    await cluster.leader();
    expect(await reply(cluster.nodes[2]!, 'GET kept')).toBe('"1"\n');
    const before = await cluster.settled();
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await Promise.all(cluster.nodes.map((node) => node.start()));
    await cluster.leader();
    const after = await cluster.settled();
    expect(after.map((s) => [s.stateHash, s.keys])).toEqual(before.map((s) => [s.stateHash, s.keys]));
  });

  it('replaces a member whose folder was lost by the new one, and says so', async () => {
    const cluster = await startedCluster();
    const three = cluster.nodes[2]!;
    expect(await reply(three, 'SET a 1')).toBe('OK\n');
    await three.kill();
    rmSync(three.directory, { recursive: true });
    await three.start();
    await until('it is a voter again', 20_000, () => /has caught up, and is a voter now/.test(three.run!.stderr));
    expect(three.run!.stderr).toMatch(/folder.*lost or replaced; this one asks to take its place/);
    expect(await reply(three, 'GET a')).toBe('"1"\n');
    await cluster.nodes[0]!.kill();
    expect(await reply(three, 'SET a 2')).toBe('OK\n');
  });

  it('refuses a node of another cluster at a member’s address', async () => {
    const cluster = await startedCluster();
    const three = cluster.nodes[2]!;
    // While a member of the first cluster is up, an empty node at this address is a member that lost its folder.
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    const other = await Cluster.start({ ports: [undefined, undefined, three.port] });
    clusters.push(other);
    await Promise.all(other.nodes.map((node) => node.kill()));
    const foreign = other.nodes[2]!;
    await Promise.all(cluster.nodes.slice(0, 2).map((node) => node.start()));
    await foreign.start();
    await until('both sides say that it is of another cluster', 15_000, () => {
      const said = [foreign, ...cluster.nodes.slice(0, 2)].map((node) => node.run!.stderr);
      return said.every((text) => /another cluster/.test(text));
    });
    expect(await reply(cluster.nodes[0]!, 'SET still 1')).toBe('OK\n');
    const members = (await cluster.nodes[0]!.status()).members;
    expect(members.map((m) => m.id)).toEqual([1, 2, 3]);
  });
});

describe('a single node', () => {
  it('is a cluster of one, and keeps what it acknowledged over kill -9 and SIGTERM', async () => {
    const node = await single();
    await node.start();
    expect(await reply(node, 'SET a 1')).toBe('OK\n');
    expect(await node.status()).toMatchObject({ id: 1, role: 'leader', leader: 1, keys: 1 });
    await node.kill();
    await node.start();
    expect(await reply(node, 'GET a')).toBe('"1"\n');
    const { stateHash } = await node.status();
    expect((await node.terminate()).code).toBe(0);
    await node.start();
    expect(await reply(node, 'GET a')).toBe('"1"\n');
    expect((await node.status()).stateHash).toBe(stateHash);
  });

  it('is where it is started, also when that is elsewhere than before', async () => {
    const first = await single();
    await first.start();
    expect(await reply(first, 'SET a 1')).toBe('OK\n');
    await first.terminate();
    const moved = await single(first.directory);
    await moved.start();
    expect(await reply(moved, 'GET a')).toBe('"1"\n');
    const members = [{ id: 1, address: `127.0.0.1:${moved.port}`, voter: true }];
    expect(JSON.parse(await reply(moved, 'MEMBERS'))).toEqual(members);
    expect((await moved.status()).members).toEqual(members);
  });

  it('that listens on every address says so, and is known by the name of its machine', async () => {
    const node = await single(undefined, 1, ['--insecure', '--host', '0.0.0.0']);
    const run = node.spawn();
    await until('it is ready', 15_000, () => run.stdout !== '');
    expect(run.stdout).toBe(`node 1 ready on 0.0.0.0:${node.port}\n`);
    const [{ address }] = JSON.parse(await reply(node, 'MEMBERS'));
    expect(address).toBe(`${hostname()}:${node.port}`);
  });
});

describe('--store js', () => {
  it('runs that node on the twin, and a cluster of both kinds agrees on its state', async () => {
    const cluster = await Cluster.start({ args: (id) => (id === 2 ? ['--store', 'js'] : []) });
    clusters.push(cluster);
    for (const node of cluster.nodes)
      expect(await reply(node, `SET a ${node.id}\nINCR a\nSET b 2\nDEL b`)).toBe(
        `OK\n(integer) ${node.id + 1}\nOK\n(integer) 1\n`,
      );
    const statuses = (await cluster.settled()) as (Status & { readonly store: string })[];
    expect(statuses.map((status) => status.store)).toEqual(['wasm', 'js', 'wasm']);
    expect(new Set(statuses.map((status) => status.stateHash)).size).toBe(1);
  });
});

describe('a start that cannot be says why in one line and exits', () => {
  it('a folder of another id: 1, naming both', async () => {
    const node = await single();
    await node.start();
    await node.terminate();
    const args = ['--id', '2', '--port', String(node.port), '--data-dir', node.directory];
    const run = await runProgram(args);
    expect(run.code).toBe(1);
    expectOneLine(run.stderr, /node 1/, /node 2|--id 2/);
  });

  it('a folder in use: 1, and the first process goes on', async () => {
    const node = await single();
    await node.start();
    const args = ['--id', '1', '--port', String(await freePort()), '--data-dir', node.directory];
    const run = await runProgram(args);
    expect(run.code).toBe(1);
    expectOneLine(run.stderr, /another process|in use|locked/);
    expect(await reply(node, 'SET a 1')).toBe('OK\n');
  });

  it('a log that has rotted: 1, naming the file', async () => {
    const node = await single();
    await node.start();
    expect(await reply(node, 'SET a rot-me')).toBe('OK\n');
    await node.terminate();
    const name = readdirSync(node.directory).find((file) => file.endsWith('-0000000001.seg'))!;
    const path = join(node.directory, name);
    const bytes = readFileSync(path);
    const at = bytes.indexOf('rot-me');
    expect(at).toBeGreaterThan(0);
    bytes[at] = bytes[at]! ^ 1;
    writeFileSync(path, bytes);
    const run = node.spawn();
    expect((await run.finish()).code).toBe(1);
    expectOneLine(run.stderr, name, /corrupt/);
  });

  it('a port that is taken: 1, naming it', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const run = await runProgram(['--id', '1', '--port', String(port), '--data-dir', join(folder(), 'node-1')]);
    server.close();
    expect(run.code).toBe(1);
    expectOneLine(run.stderr, new RegExp(String(port)));
  });

  it.each([
    ['an unknown flag', ['--nope'], /--nope/],
    ['a port that is none', ['--port', 'x'], /--port/],
    ['a port out of range', ['--port', '70000'], /--port|70000/],
    ['an id that is none', ['--id', '0'], /--id/],
    ['a store that is none', ['--store', 'paper'], /--store|paper/],
    ['peers that are none', ['--peers', '1=x'], /--peers|1=x/],
    ['peers without this node', ['--id', '1', '--peers', '2=127.0.0.1:1,3=127.0.0.1:2'], /--peers|--id/],
  ])('%s: 2, and nothing written', async (_name, args, named) => {
    const cwd = folder();
    const run = await runProgram([...args, ...(args.includes('--port') ? [] : ['--port', String(await freePort())])], {
      cwd,
    });
    expect(run.code).toBe(2);
    expectOneLine(run.stderr, named);
    expect(run.stdout).toBe('');
    expect(existsSync(join(cwd, 'data'))).toBe(false);
  });

  it('--host that is not loopback, without --insecure: refused', async () => {
    const run = await runProgram(['--host', '0.0.0.0', '--port', String(await freePort())], { cwd: folder() });
    expect(run.code).toBe(2);
    expectOneLine(run.stderr, /--insecure/);
  });
});

describe('a quorum that is gone', () => {
  it('is told within the request time-out, here from the environment, for reads, writes and BEGIN; STATUS answers; service resumes', async () => {
    const cluster = await startedCluster({ DISTRIBUTED_REQUEST_TIMEOUT: '1500ms' });
    const [one, two, three] = cluster.nodes as [NodePlace, NodePlace, NodePlace];
    expect(await reply(one, 'SET a 1')).toBe('OK\n');
    const client = await one.connect();
    await Promise.all([two.kill(), three.kill()]);
    const started = performance.now();
    const others = await Promise.all([one.connect(), one.connect()]);
    const replies = await Promise.all([client.ask('SET a 2'), others[0]!.ask('GET a'), others[1]!.ask('BEGIN')]);
    expect(performance.now() - started).toBeLessThan(3000);
    expect(replies[0]).toMatch(/^(ERR no-leader|UNKNOWN timeout) /);
    expect(replies[1]).toMatch(/^ERR (no-leader|timeout) /);
    expect(replies[2]).toMatch(/^ERR (no-leader|timeout) /);
    const status = JSON.parse(await client.ask('STATUS')) as { leader: number | null };
    expect(status.leader).toBe(null);
    await Promise.all([two.start(), three.start()]);
    await cluster.leader();
    expect(await until('writes are served', 10_000, async () => (await client.ask('SET a 3')) === 'OK')).toBe(true);
    expect(await reply(three, 'GET a')).toBe('"3"\n');
    for (const other of [client, ...others]) other.close();
  });

  it('lets two of three serve when any one is dead', async () => {
    const cluster = await startedCluster();
    for (const victim of cluster.nodes) {
      await victim.kill();
      const rest = cluster.nodes.filter((node) => node !== victim);
      for (const node of rest) {
        await until(
          `node ${node.id} serves`,
          5000,
          async () => (await reply(node, `SET without-${victim.id} 1`)) === 'OK\n',
        );
      }
      await victim.start();
      await cluster.leader();
    }
    expect(await reply(cluster.nodes[0]!, 'COUNT')).toBe('(integer) 3\n');
  });
});
