/**
 * `distributed bench cluster`: what a cluster serves to closed-loop clients, beside what a bare Node server reaches on the
 * same machine with the same clients.
 *
 * ## Concept
 *
 * The clients live in a process of their own (load.ts), which reports its own CPU use: near 100 % of a core, it is the
 * clients that were measured. With `baseline`, cluster and bare server (bare-server.ts) are measured in turn, twice, so that a
 * disturbance of the machine falls on both; the ratio is that of their medians.
 *
 * ## The counters
 *
 * Each node's kernel counts the commands it has parsed, encoded, applied and read. After the load, these must be the
 * commands that were served, no more and no fewer: then the hot path is in the kernel and nowhere else. The check is off by
 * whatever other clients do meanwhile.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LoadOptions, LoadResult, Target } from './load.js';
import { LocalCluster, type NodeCounters, statusOf } from './local-cluster.js';
import { type Machine, machine, machineLine } from './machine.js';
import { median, short, table } from './statistics.js';

export interface BenchClusterOptions {
  /** `host:port` of the nodes; without any, three nodes are started here, and stopped afterwards. */
  readonly addresses?: readonly string[];
  /** Connections; default 100. */
  readonly clients?: number;
  /** Requests under way on each connection; default 1. */
  readonly pipeline?: number;
  /** Share of GETs, 0 … 1; default 0: all SETs. */
  readonly readRatio?: number;
  /** Seconds of each measurement; default 5. */
  readonly seconds?: number;
  /** Bytes of a value; default 100. */
  readonly valueSize?: number;
  /** Different keys; default 10,000. */
  readonly keys?: number;
  /** Measure a bare Node server in turn with the cluster. */
  readonly baseline?: boolean;
  /** Further flags for the nodes that are started here. */
  readonly nodeArgs?: readonly string[];
  /** Print the report as JSON. */
  readonly json?: boolean;
  /** Receives the report; standard output unless given. */
  readonly out?: (text: string) => void;
  /** Receives one line a step; standard error unless given. */
  readonly progress?: (text: string) => void;
}

export interface ClusterRun extends LoadResult {
  readonly target: 'cluster' | 'bare';
  readonly opsPerSecond: number;
}

/** Growth of the kernel counters, summed over the nodes (applied: of each node), and what the commands served ask for. */
export interface CountersCheck {
  readonly commands: { readonly sets: number; readonly gets: number };
  readonly counters: NodeCounters;
  readonly appliedByNode: readonly number[];
  readonly equal: boolean;
}

export interface ClusterReport {
  readonly machine: Machine;
  readonly clients: number;
  readonly pipeline: number;
  readonly readRatio: number;
  readonly valueSize: number;
  readonly keys: number;
  readonly runs: readonly ClusterRun[];
  /** Cluster's throughput over the bare server's; null without a baseline. */
  readonly ratio: number | null;
  readonly counters: CountersCheck;
}

const WARMUP_SECONDS = 1;
const SETTLE_MS = 10_000;

/** Measures, prints the report, and returns it. Rejects when no node can be reached or a flag is out of range. */
export async function benchCluster(options: BenchClusterOptions = {}): Promise<ClusterReport> {
  const load = loadOptions(options);
  const out = options.out ?? ((text: string) => void process.stdout.write(text));
  const progress = options.progress ?? ((text: string) => void process.stderr.write(`${text}\n`));
  const given = (options.addresses ?? []).map(parseAddress);
  if (given.length === 0) progress('starting three nodes here');
  const local = given.length === 0 ? await LocalCluster.start(3, options.nodeArgs) : undefined;
  const bare = options.baseline ? await BareServer.start() : undefined;
  try {
    const targets = local?.targets ?? given;
    const watch = await CounterWatch.start(targets);
    const runs: ClusterRun[] = [];
    for (let turn = 0; turn < (bare ? 2 : 1); turn++) {
      runs.push(await measure('cluster', { ...load, targets, preload: load.preload && turn === 0 }, progress));
      if (bare) runs.push(await measure('bare', { ...load, targets: [bare.target], preload: false }, progress));
    }
    const counters = await watch.finish(runs.filter((run) => run.target === 'cluster'));
    const { clients, pipeline, readRatio, valueSize, keys } = load;
    const settings = { clients, pipeline, readRatio, valueSize, keys };
    const report = { machine: machine(), ...settings, runs, ratio: ratioOf(runs), counters };
    out(options.json ? `${JSON.stringify(report)}\n` : formatClusterReport(report));
    return report;
  } finally {
    bare?.stop();
    await local?.stop();
  }
}

function loadOptions(options: BenchClusterOptions): LoadOptions {
  const { clients = 100, pipeline = 1, readRatio = 0, seconds = 5, valueSize = 100, keys = 10_000 } = options;
  const wholes = { clients, pipeline, keys, 'value-size': valueSize };
  for (const [name, value] of Object.entries(wholes)) {
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`bench cluster: --${name} must be a whole number from 1`);
  }
  if (!(readRatio >= 0 && readRatio <= 1)) throw new Error('bench cluster: --read-ratio must be from 0 to 1');
  if (!(seconds > 0)) throw new Error('bench cluster: --seconds must be above 0');
  const preload = readRatio > 0;
  return {
    targets: [],
    clients,
    pipeline,
    readRatio,
    seconds,
    valueSize,
    keys,
    warmupSeconds: WARMUP_SECONDS,
    preload,
  };
}

function parseAddress(text: string): Target {
  const colon = text.lastIndexOf(':');
  const port = Number(text.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error(`bench cluster: ${JSON.stringify(text)} is not an address; write host:port`);
  }
  return { host: text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port };
}

async function measure(
  target: ClusterRun['target'],
  options: LoadOptions,
  progress: (text: string) => void,
): Promise<ClusterRun> {
  const result = await runLoadProcess(options);
  const run = { target, opsPerSecond: Math.round(result.operations / result.seconds), ...result };
  progress(`${target}: ${short(run.opsPerSecond)}/s`);
  return run;
}

/** Runs the load generator in a process of its own. */
function runLoadProcess(options: LoadOptions): Promise<LoadResult> {
  const child = fork(fileURLToPath(new URL('./load-child.js', import.meta.url)), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return new Promise((resolve, reject) => {
    child.once('message', (answer: { result?: LoadResult; error?: string }) => {
      if (answer.result) resolve(answer.result);
      else reject(new Error(`bench cluster: ${answer.error}`));
    });
    child.once('exit', (code) => reject(new Error(`bench cluster: the load generator ended (${code})`)));
    child.send(options);
  });
}

class BareServer {
  readonly target: Target;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.target = { host: '127.0.0.1', port };
  }

  static start(): Promise<BareServer> {
    const child = fork(fileURLToPath(new URL('./bare-server.js', import.meta.url)), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    return new Promise((resolve, reject) => {
      child.once('message', ({ port }: { port: number }) => resolve(new BareServer(child, port)));
      child.once('exit', (code) => reject(new Error(`bench cluster: the bare server ended (${code})`)));
    });
  }

  stop(): void {
    this.#child.kill();
  }
}

/** Compares the growth of the kernel counters with the commands served. */
class CounterWatch {
  readonly #targets: readonly Target[];
  readonly #before: readonly NodeCounters[];

  private constructor(targets: readonly Target[], before: readonly NodeCounters[]) {
    this.#targets = targets;
    this.#before = before;
  }

  static async start(targets: readonly Target[]): Promise<CounterWatch> {
    const { statuses } = await settled(targets);
    return new CounterWatch(
      targets,
      statuses.map((s) => s.counters),
    );
  }

  async finish(runs: readonly ClusterRun[]): Promise<CountersCheck> {
    const { statuses, asked } = await settled(this.#targets);
    const grown = (name: keyof NodeCounters) => statuses.map((s, i) => s.counters[name] - this.#before[i]![name]);
    const total = (name: keyof NodeCounters) => grown(name).reduce((a, b) => a + b, 0);
    const sets = runs.reduce((sum, run) => sum + run.sent.sets, 0);
    const gets = runs.reduce((sum, run) => sum + run.sent.gets, 0);
    const counters = {
      // Each STATUS line of this check was parsed, too.
      parsed: total('parsed') - asked,
      encoded: total('encoded'),
      checked: total('checked'),
      applied: total('applied'),
      reads: total('reads'),
    };
    const appliedByNode = grown('applied');
    const equal =
      counters.parsed === sets + gets &&
      counters.encoded === sets &&
      counters.reads === gets &&
      appliedByNode.every((applied) => applied === sets);
    return { commands: { sets, gets }, counters, appliedByNode, equal };
  }
}

/** Statuses once all nodes have applied the same index, or whatever they are in the end; `asked`: STATUS lines it took. */
async function settled(targets: readonly Target[]) {
  const deadline = performance.now() + SETTLE_MS;
  for (let asked = targets.length; ; asked += targets.length) {
    const statuses = await Promise.all(targets.map(statusOf));
    const same = statuses.every((s) => s.applied === statuses[0]!.applied && s.applied === s.commit);
    if (same || performance.now() > deadline) return { statuses, asked };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function ratioOf(runs: readonly ClusterRun[]): number | null {
  const rate = (target: ClusterRun['target']) =>
    median(runs.filter((run) => run.target === target).map((run) => run.opsPerSecond));
  const bare = rate('bare');
  return bare === 0 ? null : Number((rate('cluster') / bare).toFixed(3));
}

/** The report as people read it. */
export function formatClusterReport(report: ClusterReport): string {
  const { clients, pipeline, readRatio, valueSize, counters } = report;
  const rows = [['', 'ops/s', 'p50 ms', 'p90', 'p99', 'p99.9', 'max', 'errors', 'clients use of a core']];
  for (const run of report.runs) {
    const { p50, p90, p99, p999, max } = run.micros;
    const latencies = [p50, p90, p99, p999, max].map((micros) => (micros / 1000).toFixed(2));
    const cpu = `${Math.round(run.cpu * 100)} %`;
    rows.push([run.target, String(run.opsPerSecond), ...latencies, String(run.errors), cpu]);
  }
  const errors = [...new Set(report.runs.flatMap((run) => run.firstErrors))].map((text) => `error: ${text}\n`);
  const reads = readRatio > 0 ? `, ${Math.round(readRatio * 100)} % reads` : '';
  return [
    `${machineLine(report.machine)}\n`,
    `${clients} clients, ${pipeline} under way on each, values of ${valueSize} bytes${reads}\n\n`,
    table(rows, 1),
    ...errors,
    report.ratio === null ? '' : `cluster : bare server = ${report.ratio}\n`,
    countersLine(counters),
  ].join('');
}

function countersLine({ commands, counters, appliedByNode, equal }: CountersCheck): string {
  const served = `${commands.sets} writes, ${commands.gets} reads`;
  if (equal) return `kernel counters: exactly the commands served (${served}; warm-up included)\n`;
  const { parsed, encoded, reads } = counters;
  const found = `parsed ${parsed}, encoded ${encoded}, read ${reads}, applied ${appliedByNode.join(' and ')}`;
  return `kernel counters: ${found}, but the commands served were ${served} (other clients, or lost replies?)\n`;
}
