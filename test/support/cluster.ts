/**
 * Real clusters for tests: processes of the built program on free ports and temporary folders, that can be killed,
 * stopped, continued and started again.
 *
 * Whatever happens to a test, or to the process that runs it, a small reaper process ends every node and removes every
 * folder (see reaper.mjs).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { LineClient } from './line-client.js';

/** The built program. */
export const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** What STATUS answers, as far as tests look at it. */
export interface Status {
  readonly id: number;
  readonly role: 'leader' | 'follower' | 'candidate' | 'learner';
  readonly term: number;
  readonly leader: number | null;
  readonly commit: number;
  readonly applied: number;
  readonly revision: number;
  readonly keys: number;
  readonly stateHash: string;
  readonly members: readonly { readonly id: number; readonly address: string; readonly voter: boolean }[];
  readonly counters: {
    readonly parsed: number;
    readonly encoded: number;
    readonly checked: number;
    readonly applied: number;
    readonly reads: number;
  };
}

let reaper: { child: ChildProcess; input: Writable } | undefined;

function tellReaper(line: string): void {
  if (!reaper) {
    const child = spawn(process.execPath, [fileURLToPath(new URL('./reaper.mjs', import.meta.url))], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    child.unref();
    const input = child.stdin!;
    (input as Writable & { unref?(): void }).unref?.();
    input.on('error', () => {});
    reaper = { child, input };
  }
  reaper.input.write(`${line}\n`);
}

/** Sees to it that a process ends when the tests do, at the latest. */
export function watchOver(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  tellReaper(`+${pid}`);
  child.once('close', () => tellReaper(`-${pid}`));
}

/** A temporary folder that goes when the tests end, at the latest. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'distributed-test-'));
  tellReaper(`folder ${folder}`);
  return folder;
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  tellReaper(`gone ${folder}`);
}

const handedOut = new Set<number>();

/** A port that nobody listens on, below the range that the system gives to outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    if (handedOut.has(port) || !(await isFree(port))) continue;
    handedOut.add(port);
    return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Tries `attempt` again and again until it gives something other than undefined or false; errors count as not yet. */
export async function until<T>(
  what: string,
  deadlineMs: number,
  attempt: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const started = performance.now();
  let last: unknown;
  for (;;) {
    try {
      const result = await attempt();
      if (result !== undefined && result !== false) return result;
    } catch (error) {
      last = error;
    }
    if (performance.now() - started > deadlineMs) {
      throw new Error(`not within ${deadlineMs} ms: ${what}${last === undefined ? '' : ` (last: ${String(last)})`}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface SpawnOptions {
  /** Arguments for node itself, before the program. */
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Text for standard input; without it the input is empty. */
  readonly input?: string;
  /** Opens a channel for messages to a module that nodeArgs import. */
  readonly ipc?: boolean;
  /** A command that the program is started by, in front of it, and that becomes it. */
  readonly within?: readonly string[];
}

/** One run of the program. */
export class Program {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  stdout = '';
  stderr = '';
  exit: Exit | undefined;

  constructor(args: readonly string[], options: SpawnOptions = {}) {
    const [command, ...rest] = [...(options.within ?? []), process.execPath];
    this.child = spawn(command!, [...rest, ...(options.nodeArgs ?? []), program, ...args], {
      stdio: ['pipe', 'pipe', 'pipe', ...(options.ipc ? (['ipc'] as const) : [])],
      cwd: options.cwd ?? tmpdir(),
      env: { ...process.env, ...options.env },
    });
    watchOver(this.child);
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-1_000_000);
    });
    this.child.stdin!.on('error', () => {});
    this.child.stdin!.end(options.input ?? '');
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  signal(name: NodeJS.Signals): void {
    if (!this.exit) this.child.kill(name);
  }

  /** Waits for the end, and kills the process when it takes longer. */
  async finish(deadlineMs = 15_000): Promise<Exit> {
    const timer = setTimeout(() => this.signal('SIGKILL'), deadlineMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }
}

/** Runs the program to its end. */
export async function runProgram(
  args: readonly string[],
  options: SpawnOptions & { deadlineMs?: number } = {},
): Promise<{ code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }> {
  const run = new Program(args, options);
  const exit = await run.finish(options.deadlineMs);
  return { ...exit, stdout: run.stdout, stderr: run.stderr };
}

export interface NodeOptions extends SpawnOptions {
  readonly id: number;
  readonly port: number;
  readonly directory: string;
  /** Further flags of the program. */
  readonly args?: readonly string[];
}

/** A member: a place (id, port, folder) that a process of the program runs in, or not. */
export class NodePlace {
  readonly id: number;
  readonly port: number;
  readonly directory: string;
  readonly #options: NodeOptions;
  run: Program | undefined;
  /** The node said that it is ready and was not killed since. */
  up = false;
  #control: LineClient | undefined;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.id = options.id;
    this.port = options.port;
    this.directory = options.directory;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.run!.pid;
  }

  /** Starts the process, and does not wait. */
  spawn(): Program {
    const { args = [], ...options } = this.#options;
    const own = ['--id', `${this.id}`, '--port', `${this.port}`, '--data-dir', this.directory];
    this.run = new Program([...own, ...args], options);
    return this.run;
  }

  /** Starts the process and waits for its line. */
  async start(deadlineMs = 20_000): Promise<void> {
    this.spawn();
    await this.ready(deadlineMs);
  }

  async ready(deadlineMs = 20_000): Promise<void> {
    const run = this.run!;
    const line = `node ${this.id} ready on ${this.address}\n`;
    await until(`node ${this.id} is ready`, deadlineMs, () => {
      if (run.stdout.includes(line)) return true;
      if (run.exit) return 'exited' as const;
      return undefined;
    });
    if (run.exit) throw new Error(`node ${this.id} ended (${JSON.stringify(run.exit)}): ${run.stderr.slice(-2000)}`);
    this.up = true;
    void run.exited.then(() => {
      if (this.run === run) this.up = false;
    });
  }

  /** kill -9, and waits until it is gone. */
  async kill(): Promise<void> {
    this.up = false;
    this.#control?.close();
    this.#control = undefined;
    this.run?.signal('SIGKILL');
    await this.run?.exited;
  }

  /** SIGTERM; the exit that followed. */
  async terminate(deadlineMs = 15_000): Promise<Exit> {
    this.run!.signal('SIGTERM');
    return await this.run!.finish(deadlineMs);
  }

  pause(): void {
    this.run!.signal('SIGSTOP');
  }

  resume(): void {
    this.run!.signal('SIGCONT');
  }

  connect(timeoutMs = 5000): Promise<LineClient> {
    return LineClient.connect(this.port, timeoutMs);
  }

  /** STATUS over a connection kept for it; rejects when the node does not answer within `timeoutMs`. */
  async status(timeoutMs = 2000): Promise<Status> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`node ${this.id}: no STATUS in ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([this.#askStatus(timeoutMs), late]);
    } catch (error) {
      this.#control?.close();
      this.#control = undefined;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #askStatus(timeoutMs: number): Promise<Status> {
    if (!this.#control?.alive) this.#control = await this.connect(timeoutMs);
    return JSON.parse(await this.#control.ask('STATUS')) as Status;
  }
}

export interface ClusterOptions extends SpawnOptions {
  readonly size?: number;
  /** Further flags for all nodes, or for each by its id. */
  readonly args?: readonly string[] | ((id: number) => readonly string[]);
  /** What is special about the process of one node, when its folder's name is known: the folder itself is not there yet. */
  readonly each?: (id: number, directory: string) => Promise<SpawnOptions>;
  /** Do not start the processes. */
  readonly idle?: boolean;
  /** Ports to use, by place in the list; free ones where none is given. */
  readonly ports?: readonly (number | undefined)[];
}

/** A cluster founded with --peers. */
export class Cluster {
  readonly nodes: readonly NodePlace[];
  readonly folder: string;
  readonly peers: string;

  private constructor(nodes: readonly NodePlace[], folder: string, peers: string) {
    this.nodes = nodes;
    this.folder = folder;
    this.peers = peers;
  }

  /** Starts all nodes and waits until there is a leader that all know (unless `idle`). */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const { size = 3, args = [], idle = false, ports: given = [], each, ...spawnOptions } = options;
    const folder = temporaryFolder();
    const ports: number[] = [];
    for (let i = 0; i < size; i++) ports.push(given[i] ?? (await freePort()));
    const peers = ports.map((port, i) => `${i + 1}=127.0.0.1:${port}`).join(',');
    const nodes: NodePlace[] = [];
    for (const [i, port] of ports.entries()) {
      const place = { id: i + 1, port, directory: join(folder, `node-${i + 1}`) };
      const own = typeof args === 'function' ? args(place.id) : args;
      const special = await each?.(place.id, place.directory);
      nodes.push(new NodePlace({ ...spawnOptions, ...special, ...place, args: ['--peers', peers, ...own] }));
    }
    const cluster = new Cluster(nodes, folder, peers);
    if (idle) return cluster;
    try {
      await Promise.all(nodes.map((node) => node.start()));
      await cluster.leader();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  node(id: number): NodePlace {
    return this.nodes[id - 1]!;
  }

  /** The node that says it leads, with the highest term, once a majority agrees. */
  async leader(deadlineMs = 15_000): Promise<NodePlace> {
    return await until('a leader that a majority follows', deadlineMs, async () => {
      const answers = await this.statuses(500);
      const leaders = answers.filter((s) => s.role === 'leader').sort((a, b) => b.term - a.term);
      const leader = leaders[0];
      if (!leader) return undefined;
      const followers = answers.filter((s) => s.leader === leader.id && s.term === leader.term);
      return followers.length * 2 > this.nodes.length ? this.node(leader.id) : undefined;
    });
  }

  /** STATUS of those that answer. */
  async statuses(timeoutMs = 2000): Promise<Status[]> {
    const running = this.nodes.filter((node) => node.run && !node.run.exit);
    const answers = await Promise.allSettled(running.map((node) => node.status(timeoutMs)));
    return answers.flatMap((a) => (a.status === 'fulfilled' ? [a.value] : []));
  }

  /** Waits until all nodes have applied the same index, of what they recovered too, and returns their statuses. */
  async settled(deadlineMs = 20_000): Promise<Status[]> {
    return await until('all nodes have applied the same index', deadlineMs, async () => {
      const answers = await this.statuses();
      if (answers.length < this.nodes.length) return undefined;
      const [first] = answers;
      // A leader that was just elected has committed nothing yet.
      const same = answers.every((s) => s.applied > 0 && s.applied === first!.applied && s.commit === s.applied);
      return same ? answers : undefined;
    });
  }

  /** Ends all processes and removes the folders. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    removeFolder(this.folder);
  }
}

/** CPU time that all threads of a process have used, in ms: the scheduler's own account, to the nanosecond. */
export function cpuMillis(pid: number): number {
  let nanos = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanos += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  }
  return nanos / 1e6;
}

/** Resident memory of a process, in bytes. */
export function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line![1]) * 1024;
}

/** Bytes of all files in a node's data folder. */
export function folderBytes({ directory }: NodePlace): number {
  const sizes = readdirSync(directory).map((name) => {
    try {
      return statSync(join(directory, name)).size;
    } catch {
      // Removed since.
      return 0;
    }
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}
