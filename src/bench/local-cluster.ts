/**
 * Three nodes of this program on this machine, for a benchmark that was given no addresses: processes of the CLI on free
 * ports, with folders that go when it ends. A channel ties them to this process: however it ends, they end too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Target } from './load.js';

const START_MS = 20_000;
const STOP_MS = 10_000;

export interface NodeCounters {
  readonly parsed: number;
  readonly encoded: number;
  readonly checked: number;
  readonly applied: number;
  readonly reads: number;
}
export interface NodeStatus {
  readonly role: string;
  readonly leader: number | null;
  readonly applied: number;
  readonly commit: number;
  readonly counters: NodeCounters;
}

/** Sends one line on a connection of its own and resolves with the reply. */
export function askOnce(target: Target, line: string, timeoutMs = 5000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(target);
    let text = '';
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer in ${timeoutMs} ms`)));
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${line}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0) return;
      resolve(text.slice(0, end));
      socket.destroy();
    });
    socket.on('error', (error) => reject(new Error(`${target.host}:${target.port}: ${error.message}`)));
    socket.on('close', () => reject(new Error(`${target.host}:${target.port}: closed without an answer`)));
  });
}

export async function statusOf(target: Target): Promise<NodeStatus> {
  return JSON.parse(await askOnce(target, 'STATUS')) as NodeStatus;
}

/** A cluster that lives as long as the benchmark. */
export class LocalCluster {
  readonly targets: readonly Target[];
  readonly #children: ChildProcess[];
  readonly #folder: string;
  readonly #onExit = () => this.#end();
  readonly #onSignal = () => process.exit(130);

  private constructor(targets: readonly Target[], children: ChildProcess[], folder: string) {
    this.targets = targets;
    this.#children = children;
    this.#folder = folder;
    process.once('exit', this.#onExit);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, this.#onSignal);
  }

  /** Starts `size` nodes and waits until all of them know a leader. */
  static async start(size = 3, args: readonly string[] = []): Promise<LocalCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'distributed-bench-'));
    const ports = await freePorts(size);
    const peers = ports.map((port, i) => `${i + 1}=127.0.0.1:${port}`).join(',');
    const program = fileURLToPath(new URL('../cli/main.js', import.meta.url));
    const children = ports.map((port, i) => {
      const own = ['--id', `${i + 1}`, '--port', `${port}`, '--data-dir', join(folder, `node-${i + 1}`)];
      return spawn(process.execPath, [program, ...own, '--peers', peers, ...args], {
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
    });
    const targets = ports.map((port) => ({ host: '127.0.0.1', port }));
    const cluster = new LocalCluster(targets, children, folder);
    try {
      await cluster.#ready();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #ready(): Promise<void> {
    let complaint = '';
    for (const child of this.#children) {
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        complaint = (complaint + text).slice(-2000);
      });
    }
    const deadline = performance.now() + START_MS;
    while (performance.now() < deadline) {
      if (this.#children.some((child) => child.exitCode !== null)) break;
      const statuses = await Promise.allSettled(this.targets.map(statusOf));
      if (statuses.every((s) => s.status === 'fulfilled' && s.value.leader !== null)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`bench cluster: three nodes did not come up here: ${complaint.trim() || 'no leader in time'}`);
  }

  /** Asks the nodes to stop, ends those that do not, and removes their folders. */
  async stop(): Promise<void> {
    process.off('exit', this.#onExit);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, this.#onSignal);
    const ended = this.#children.map((child) =>
      child.exitCode !== null || child.signalCode !== null
        ? Promise.resolve()
        : new Promise<void>((resolve) => child.once('exit', () => resolve())),
    );
    for (const child of this.#children) child.kill('SIGTERM');
    const timer = setTimeout(() => this.#kill(), STOP_MS);
    await Promise.all(ended);
    clearTimeout(timer);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #kill(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  #end(): void {
    this.#kill();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((s) => new Promise<void>((resolve) => s.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((s) => {
    const address = s.address();
    return typeof address === 'object' && address ? address.port : 0;
  });
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))));
  return ports;
}
