import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { type LoadResult, runLoad } from '../../src/bench/load.js';
import { Cluster, cpuMillis, type NodePlace, residentBytes, runProgram, until } from '../support/cluster.js';
import { soak } from '../support/soak.js';

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

describe('distributed bench cluster', () => {
  it('starts three nodes, measures beside a bare server, and finds the counters equal to the commands served', async () => {
    const args = ['bench', 'cluster', '--clients', '20', '--pipeline', '8', '--read-ratio', '0.5', '--seconds', '1'];
    const run = await runProgram([...args, '--baseline', '--json'], { deadlineMs: 60_000 });
    expect(run.stderr).not.toMatch(/ERR|UNKNOWN/);
    expect(run.code).toBe(0);
    const report = JSON.parse(run.stdout) as {
      runs: (LoadResult & { target: string })[];
      ratio: number;
      counters: { equal: boolean; commands: { sets: number; gets: number }; appliedByNode: number[] };
    };
    expect(report.runs.map((r) => r.target)).toEqual(['cluster', 'bare', 'cluster', 'bare']);
    for (const one of report.runs) expect([one.errors, one.operations > 0]).toEqual([0, true]);
    expect(report.ratio).toBeGreaterThan(0);
    expect(report.counters).toMatchObject({ equal: true });
    expect(report.counters.commands.sets).toBeGreaterThan(1000);
    expect(report.counters.commands.gets).toBeGreaterThan(1000);
  });

  it('measures a cluster that it is given, and prints a table with percentiles, errors and the use of its own process', async () => {
    cluster = await Cluster.start();
    const args = ['--clients', '4', '--seconds', '0.2', '--value-size', '10', '--keys', '50', '--read-ratio', '0.5'];
    const run = await runProgram(['bench', 'cluster', ...cluster.nodes.map((node) => node.address), ...args]);
    expect(run.code, run.stderr).toBe(0);
    expect(run.stdout).toMatch(/^4 clients, 1 under way on each, values of 10 bytes, 50 % reads$/m);
    expect(run.stdout).toMatch(
      /ops\/s +p50 ms +p90 +p99 +p99\.9 +max +errors +clients use of a core\ncluster +\d+ +[\d. ]+ %$/m,
    );
    expect(run.stdout).toMatch(/^kernel counters: exactly the commands served/m);
    expect((await cluster.settled()).map((status) => status.keys)).toEqual([50, 50, 50]);
  });
});

describe('the JavaScript heap', () => {
  // No object is made for a command: what is left are a command's shares of its batch's entry, messages, writes and turns.
  const limit = 64;
  it.each([
    ['SET', 0],
    ['GET', 1],
  ])(`grows for each pipelined %s by less than ${limit} bytes`, async (_name, readRatio) => {
    const probe = fileURLToPath(new URL('../support/heap-probe.mjs', import.meta.url));
    cluster = await Cluster.start({ nodeArgs: ['--import', probe], ipc: true });
    const targets = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
    const load = (seconds: number) => {
      const fixed = { clients: 48, pipeline: 128, readRatio, valueSize: 100, keys: 10_000, warmupSeconds: 0 };
      return runLoad({ targets, seconds, preload: false, ...fixed });
    };
    await load(0.5);
    await Promise.all(cluster.nodes.map((node) => probed(node, 'start')));
    const result = await load(1.5);
    const allocated = await Promise.all(cluster.nodes.map((node) => probed(node, 'stop')));
    expect(result.errors).toBe(0);
    const served = (result.sent.sets + result.sent.gets) / cluster.nodes.length;
    for (const { bytes, most } of allocated) {
      const each = (n: number) => (n / served).toFixed(1);
      const story = most.map(([place, n]) => `  ${each(n)} in ${place}`).join('\n');
      const text = `${each(bytes)} bytes for each of ${Math.round(served)} commands, of which\n${story}`;
      expect(bytes / served, text).toBeLessThan(limit);
    }
  });
});

interface Allocated {
  readonly bytes: number;
  /** Places in the code, and how many bytes each allocated. */
  readonly most: readonly (readonly [string, number])[];
}

function probed(node: NodePlace, request: 'start' | 'stop'): Promise<Allocated> {
  return new Promise((resolve) => {
    node.run!.child.once('message', (answer) => resolve(answer as Allocated));
    node.run!.child.send(request);
  });
}

describe('a node', () => {
  it('has its open log segment under O_DSYNC, by the kernel’s own file flags', async () => {
    cluster = await Cluster.start();
    for (const node of cluster.nodes) {
      const flags = openFiles(node).filter((file) => file.path.startsWith(node.directory) && file.writable);
      const segments = flags.filter((file) => file.dsync);
      expect(segments.length, JSON.stringify(flags)).toBeGreaterThan(0);
      expect(
        segments.some((file) => /log|wal|segment/.test(file.path)),
        JSON.stringify(segments),
      ).toBe(true);
    }
  });

  it('that idles uses less than 2 % of a core, and less than 120 MB, leader and follower', async () => {
    cluster = await Cluster.start();
    const leader = await cluster.leader();
    // Other work on the machine makes the same work cost more: a quiet one of some windows counts.
    let shares: number[] = [];
    await until('an idle window', 60_000, async () => {
      shares = await cpuShares(cluster!, soak.idleSeconds * 1000);
      return shares.every((share) => share < 0.02);
    }).catch(() => {});
    for (const [i, node] of cluster.nodes.entries()) {
      const memory = residentBytes(node.pid) / 1e6;
      const role = node === leader ? 'leader' : 'follower';
      console.log(`idle ${role}: ${(shares[i]! * 100).toFixed(2)} % of a core, ${memory.toFixed(0)} MB`);
      expect(shares[i]).toBeLessThan(0.02);
      expect(memory).toBeLessThan(120);
    }
  });
});

/** What share of a core each node uses, over a window. */
async function cpuShares(of: Cluster, windowMs: number): Promise<number[]> {
  const before = of.nodes.map((node) => cpuMillis(node.pid));
  const started = performance.now();
  await new Promise((resolve) => setTimeout(resolve, windowMs));
  const elapsed = performance.now() - started;
  return of.nodes.map((node, i) => (cpuMillis(node.pid) - before[i]!) / elapsed);
}

/** The regular files that a process has open, with what /proc says of their flags. */
function openFiles(node: NodePlace): { path: string; dsync: boolean; writable: boolean }[] {
  const folder = `/proc/${node.pid}`;
  const files: { path: string; dsync: boolean; writable: boolean }[] = [];
  for (const fd of readdirSync(`${folder}/fd`)) {
    try {
      const path = readlinkSync(`${folder}/fd/${fd}`);
      const flags = Number.parseInt(
        /^flags:\s+([0-7]+)$/m.exec(readFileSync(`${folder}/fdinfo/${fd}`, 'utf8'))![1]!,
        8,
      );
      if (path.startsWith('/')) files.push({ path, dsync: (flags & 0o10000) !== 0, writable: (flags & 3) !== 0 });
    } catch {
      // closed between the two looks
    }
  }
  return files;
}
