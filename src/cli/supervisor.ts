/**
 * Several nodes on this machine, each a process of its own, under one supervisor.
 *
 * ## What it promises
 *
 * - A node that dies is started again, after a pause that grows with each time, and the user is told.
 * - When the supervisor stops, so do all; one that does not stop in time is killed.
 * - No node outlives it, however it ends: each holds one end of a channel, and stops when the other end is gone.
 * - A node that cannot even start the first time is no reason to try again: the reason is told once, and all stop.
 *
 * The nodes are in process groups of their own, so that a Ctrl-C in the terminal reaches the supervisor alone, which
 * then stops them: no death that was meant is taken for an accident.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LogLevel } from '../node/options.js';
import { CliError } from './report.js';

export interface SupervisorOptions {
  /** One node for each, with ids from 1. */
  readonly ports: readonly number[];
  /** Node i keeps its state in `node-<i>` under it. */
  readonly dataDir: string;
  readonly store: 'wasm' | 'js';
  readonly logLevel: LogLevel;
  /** The first ready line of each node. */
  readonly ready: (line: string) => void;
  /** Lines of the nodes' logs, and what the supervisor has to say. */
  readonly log: (line: string) => void;
}

const host = '127.0.0.1';
/** The first pause before a restart; it doubles with each one, up to the longest. */
const firstPauseMs = 100;
const longestPauseMs = 10_000;
/** A node that has run for this long begins with the first pause again. */
const stableMs = 30_000;
/** A node that does not stop within this time is killed. */
const stopWithinMs = 20_000;
const program = fileURLToPath(new URL('./main.js', import.meta.url));

interface Member {
  readonly id: number;
  readonly port: number;
  child: ChildProcess | undefined;
  wasReady: boolean;
  startedMs: number;
  pauseMs: number;
  timer: NodeJS.Timeout | undefined;
  /** The last line that it told its user. */
  lastWord: string;
}

export class Supervisor {
  readonly addresses: readonly string[];
  readonly #options: SupervisorOptions;
  readonly #members: readonly Member[];
  #stopping = false;
  #started: () => void = () => {};
  #failed: (error: Error) => void = () => {};

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#members = options.ports.map((port, i) => ({
      id: i + 1,
      port,
      child: undefined,
      wasReady: false,
      startedMs: 0,
      pauseMs: firstPauseMs,
      timer: undefined,
      lastWord: '',
    }));
    this.addresses = options.ports.map((port) => `${host}:${port}`);
  }

  /** Resolves when all nodes are ready; rejects with a CliError when a port is taken or a node cannot start. */
  async start(): Promise<void> {
    await this.#checkPorts();
    const all = new Promise<void>((resolve, reject) => {
      this.#started = resolve;
      this.#failed = reject;
    });
    for (const member of this.#members) this.#spawn(member);
    await all;
  }

  /** Stops all; resolves when all are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const member of this.#members) clearTimeout(member.timer);
    const late = setTimeout(() => {
      for (const { id, child } of this.#running()) {
        this.#options.log(`node ${id} did not stop within ${stopWithinMs / 1000} s; killed`);
        child.kill('SIGKILL');
      }
    }, stopWithinMs);
    const gone = this.#running().map(({ child }) => new Promise((resolve) => child.once('close', resolve)));
    for (const { child } of this.#running()) child.kill('SIGTERM');
    await Promise.all(gone);
    clearTimeout(late);
  }

  /** Kills all that still run. */
  kill(): void {
    this.#stopping = true;
    for (const member of this.#members) clearTimeout(member.timer);
    for (const { child } of this.#running()) child.kill('SIGKILL');
  }

  #running(): { id: number; child: ChildProcess }[] {
    return this.#members.flatMap(({ id, child }) => (child ? [{ id, child }] : []));
  }

  /** All taken ports in one line, instead of one line from each node. */
  async #checkPorts(): Promise<void> {
    const free = await Promise.all(this.#options.ports.map(isFree));
    const taken = this.#options.ports.filter((_, i) => !free[i]);
    if (taken.length === 0) return;
    const which = taken.length === 1 ? `port ${taken[0]} is` : `ports ${taken.join(', ')} are`;
    throw new CliError(`${which} in use on ${host}; stop what listens there, or choose others with --ports`);
  }

  #spawn(member: Member): void {
    const { ports, dataDir, store, logLevel } = this.#options;
    const { id, port } = member;
    const peers = ports.map((p, i) => `${i + 1}=${host}:${p}`).join(',');
    const place = ['--id', `${id}`, '--host', host, '--port', `${port}`, '--data-dir', join(dataDir, `node-${id}`)];
    const rest = ['--peers', peers, '--store', store, '--log-level', logLevel];
    const child = spawn(process.execPath, [...process.execArgv, program, ...place, ...rest], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    member.child = child;
    member.startedMs = performance.now();
    createInterface({ input: child.stdout! }).on('line', (line) => this.#heard(member, line));
    createInterface({ input: child.stderr! }).on('line', (line) => this.#logged(member, line));
    // Not `exit`: what it said last is to be read first.
    child.once('close', (code, signal) => this.#died(member, signal ?? `exit code ${code}`, signal !== null));
    child.once('error', (error) => this.#failed(new CliError(`cannot run node ${id}: ${error.message}`)));
  }

  /** The only line that a node prints is that it is ready. */
  #heard(member: Member, line: string): void {
    if (member.wasReady) {
      this.#options.log(`node ${member.id} is back`);
      return;
    }
    member.wasReady = true;
    this.#options.ready(line);
    if (this.#members.every((m) => m.wasReady)) this.#started();
  }

  #logged(member: Member, line: string): void {
    const word = /^distributed: (.*)$/.exec(line)?.[1];
    if (word !== undefined) member.lastWord = word;
    // What a node says when it cannot start is told once, by whoever gives up.
    if (word === undefined || member.wasReady) this.#options.log(`node ${member.id}: ${word ?? line}`);
  }

  #died(member: Member, how: string, bySignal: boolean): void {
    member.child = undefined;
    if (this.#stopping) return;
    if (!member.wasReady && !bySignal) {
      this.#failed(new CliError(`node ${member.id} cannot start: ${member.lastWord || how}`));
      return;
    }
    if (/^node \d+ stops: /.test(member.lastWord)) {
      this.#options.log(`node ${member.id} is not started again`);
      return;
    }
    if (performance.now() - member.startedMs > stableMs) member.pauseMs = firstPauseMs;
    this.#options.log(`node ${member.id} died (${how}); starting it again in ${member.pauseMs / 1000} s`);
    member.timer = setTimeout(() => this.#spawn(member), member.pauseMs);
    member.pauseMs = Math.min(longestPauseMs, member.pauseMs * 2);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
