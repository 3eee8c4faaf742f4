import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, Program, program, removeFolder, temporaryFolder, until } from '../support/cluster.js';
import { exchange } from '../support/line-client.js';
import { transcript } from '../support/transcript.js';
import { PseudoTerminal } from './pseudo-terminal.js';

const folders: string[] = [];
const ended: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0)) await end();
  for (const folder of folders.splice(0)) removeFolder(folder);
});

interface Place {
  readonly ports: readonly number[];
  readonly dataDir: string;
  readonly args: readonly string[];
}

async function place(): Promise<Place> {
  const ports = [await freePort(), await freePort(), await freePort()];
  folders.push(temporaryFolder());
  const dataDir = join(folders.at(-1)!, 'data');
  return { ports, dataDir, args: ['up', '--ports', ports.join(','), '--data-dir', dataDir] };
}

function start(args: readonly string[]): Program {
  const up = new Program(args);
  ended.push(async () => {
    up.signal('SIGKILL');
    await up.exited;
  });
  return up;
}

async function ready(up: Program, ports: readonly number[]): Promise<void> {
  const all = () => ports.every((port) => up.stdout.includes(`:${port}\n`));
  await until('three ready lines', 30_000, () => up.exit !== undefined || all());
  expect(up.stdout.split('\n').sort()).toEqual([
    '',
    ...ports.map((port, i) => `node ${i + 1} ready on 127.0.0.1:${port}`),
  ]);
}

/** Pids of the nodes that keep their state under the folder; of one of them with an id. */
function nodesIn(dataDir: string, id?: number): number[] {
  const out = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' });
  return out
    .split('\n')
    .filter((line) => line.includes(` ${dataDir}/node-${id ?? ''}`) && line.includes(' --id '))
    .map((line) => Number(line.trim().split(' ')[0]));
}

const ask = async (port: number, lines: string): Promise<string> => (await exchange(port, [lines])).text;

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(true));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(false)));
  });
}

async function expectNothingLeft({ ports, dataDir }: Place): Promise<void> {
  await until('no process is left', 15_000, () => nodesIn(dataDir).length === 0);
  for (const port of ports) expect(await listens(port)).toBe(false);
}

describe('a cluster under the supervisor', () => {
  it('serves from three processes, and SIGTERM ends it with 0 and nothing left', async () => {
    const here = await place();
    const up = start(here.args);
    await ready(up, here.ports);
    expect(nodesIn(here.dataDir)).toHaveLength(3);
    await until('it serves', 15_000, async () => (await ask(here.ports[2]!, 'SET a b\nGET a\n')) === 'OK\n"b"\n');
    for (const port of here.ports) expect(await ask(port, 'GET a\n')).toBe('"b"\n');
    up.signal('SIGTERM');
    expect(await up.finish(30_000)).toEqual({ code: 0, signal: null });
    await expectNothingLeft(here);
  });

  it('goes on when a node is killed, starts it again, and says so', async () => {
    const here = await place();
    const up = start(here.args);
    await ready(up, here.ports);
    await until('it serves', 15_000, async () => (await ask(here.ports[0]!, 'SET a 1\n')) === 'OK\n');
    const victim = nodesIn(here.dataDir, 2)[0]!;
    process.kill(victim, 'SIGKILL');
    await until('it says so', 10_000, () => /node 2 died \(SIGKILL\); starting it again/.test(up.stderr));
    for (const port of [here.ports[0]!, here.ports[2]!])
      await until(`port ${port} serves`, 10_000, async () => (await ask(port, 'GET a\n')) === '"1"\n');
    await until('it is back', 15_000, () => up.stderr.includes('node 2 is back'));
    await until('it serves again', 10_000, async () => (await ask(here.ports[1]!, 'GET a\n')) === '"1"\n');
    expect(nodesIn(here.dataDir, 2)[0]).not.toBe(victim);
  });

  it('leaves no node behind when the supervisor is killed with -9', async () => {
    const here = await place();
    const up = start(here.args);
    await ready(up, here.ports);
    up.signal('SIGKILL');
    await up.exited;
    await expectNothingLeft(here);
  });

  it('stops when the shell by which npm started it is told to, which npm alone was meant to be', async () => {
    const here = await place();
    const command = [process.execPath, program, ...here.args].map((word) => `'${word}'`).join(' ');
    // Not the last command: the shell stays, as the parent.
    const shell = spawn('sh', ['-c', `${command}; exit 0`], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, npm_lifecycle_event: 'start' },
    });
    ended.push(async () => shell.kill('SIGKILL'));
    let stdout = '';
    shell.stdout!.on('data', (text) => {
      stdout += String(text);
    });
    await until('three are ready', 30_000, () => stdout.match(/ready/g)?.length === 3);
    shell.kill('SIGTERM');
    await expectNothingLeft(here);
  });

  it('stops on a Ctrl-C that reaches the whole process group twice, as in a terminal under npm', async () => {
    const here = await place();
    const up = start(here.args);
    await ready(up, here.ports);
    up.signal('SIGINT');
    up.signal('SIGINT');
    expect(await up.finish(30_000)).toEqual({ code: 0, signal: null });
    await expectNothingLeft(here);
  });

  it('kills what does not stop on a second Ctrl-C', async () => {
    const here = await place();
    const up = start(here.args);
    await ready(up, here.ports);
    for (const pid of nodesIn(here.dataDir)) process.kill(pid, 'SIGSTOP');
    up.signal('SIGINT');
    // The second one counts once it cannot be the echo of the first; until then it is ignored.
    await until('the second one counts', 10_000, () => {
      up.signal('SIGINT');
      return up.exit !== undefined;
    });
    expect(up.exit).toEqual({ code: 1, signal: null });
    await expectNothingLeft(here);
  });

  it('says in one line that ports are in use, and ends with 1', async () => {
    const here = await place();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(here.ports[1], '127.0.0.1', resolve));
    ended.push(() => new Promise((resolve) => server.close(resolve)));
    const up = start(here.args);
    expect(await up.finish()).toEqual({ code: 1, signal: null });
    expect(up.stdout).toBe('');
    expect(up.stderr).toBe(
      `distributed: port ${here.ports[1]} is in use on 127.0.0.1; stop what listens there, or choose others with --ports\n`,
    );
  });

  it('says in one line why a node cannot start, and ends with 1', async () => {
    const here = await place();
    const first = start(here.args);
    await ready(first, here.ports);
    const other = await place();
    const up = start(['up', '--ports', other.ports.join(','), '--data-dir', here.dataDir]);
    expect(await up.finish(30_000)).toEqual({ code: 1, signal: null });
    expect(up.stderr.split('\n').filter((line) => line.startsWith('distributed: '))).toEqual([
      expect.stringMatching(/^distributed: node \d cannot start: /),
    ]);
    for (const port of other.ports) expect(await listens(port)).toBe(false);
    await until('the first is untouched', 10_000, async () => (await ask(here.ports[0]!, 'PING\n')) === 'PONG\n');
  });

  it('puts the CLI on a terminal, and leaving it stops all', async () => {
    const here = await place();
    const terminal = new PseudoTerminal(here.args, { DISTRIBUTED_HISTORY: '' });
    ended.push(() => terminal.kill());
    await terminal.shows('leaves and stops the nodes.\n>', 30_000);
    let shown = '';
    for (const [line, reply] of transcript) {
      terminal.type(`${line}\r`);
      shown += `> ${line}\n${reply}\n`;
      await terminal.shows(`${shown}>`);
    }
    expect(terminal.screen).toContain(`nodes.\n${shown}>`);
    terminal.type('\x1a');
    await terminal.shows('(Ctrl-Z would leave the nodes running unattended; Ctrl-C or Ctrl-D stops all)\n>');
    terminal.type('SET dropped');
    await until('it is typed', 5_000, () => terminal.screen.includes('> SET dropped'));
    terminal.type('\x03');
    await terminal.shows('^C\n>');
    terminal.type('\x04');
    expect(await terminal.exited).toBe(0);
    await expectNothingLeft(here);
  });

  it('ends with the terminal that it was started in', async () => {
    const here = await place();
    const terminal = new PseudoTerminal(here.args, { DISTRIBUTED_HISTORY: '' });
    ended.push(() => terminal.kill());
    await terminal.shows('leaves and stops the nodes.\n>', 30_000);
    await terminal.kill();
    await expectNothingLeft(here);
  });
});

describe('one node', () => {
  const nodes: ChildProcess[] = [];
  afterEach(() => {
    for (const node of nodes.splice(0)) node.kill('SIGKILL');
  });

  it('ends with 0 on SIGTERM and on SIGINT, and prints only its ready line on stdout', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const port = await freePort();
      folders.push(temporaryFolder());
      const node = start(['--port', `${port}`, '--data-dir', folders.at(-1)!]);
      await until('it is ready', 20_000, () => node.exit !== undefined || node.stdout !== '');
      node.signal(signal);
      expect(await node.finish()).toEqual({ code: 0, signal: null });
      expect(node.stdout).toBe(`node 1 ready on 127.0.0.1:${port}\n`);
    }
  });

  it('logs plain lines with time and level to stderr, and no others', async () => {
    const port = await freePort();
    folders.push(temporaryFolder());
    const node = start(['--port', `${port}`, '--data-dir', folders.at(-1)!, '--log-level', 'debug']);
    await until('it has logged', 20_000, () => node.stderr.includes('\n'));
    node.signal('SIGTERM');
    await node.finish();
    for (const line of node.stderr.trimEnd().split('\n'))
      expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info |warn |error) \S/);
  });

  it('says in one line that its port is taken, and ends with 1', async () => {
    const port = await freePort();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    ended.push(() => new Promise((resolve) => server.close(resolve)));
    folders.push(temporaryFolder());
    const node = start(['--port', `${port}`, '--data-dir', folders.at(-1)!]);
    expect(await node.finish()).toEqual({ code: 1, signal: null });
    expect(node.stderr).toMatch(new RegExp(`^distributed: port ${port} on 127\\.0\\.0\\.1 is in use.*\\n$`));
  });

  it('with another id than 1 and an empty folder asks the first node for 10 s, ends with 1 and names --join', async () => {
    folders.push(temporaryFolder());
    const place = ['--id', '2', '--port', `${await freePort()}`, '--data-dir', join(folders.at(-1)!, 'none')];
    const node = start([...place, '--first-node', `127.0.0.1:${await freePort()}`]);
    const began = performance.now();
    expect(await node.finish(30_000)).toEqual({ code: 1, signal: null });
    expect(performance.now() - began).toBeGreaterThan(9_500);
    expect(node.stderr).toMatch(/node 2 was not told where it belongs: it asks 127\.0\.0\.1:/);
    expect(node.stderr).toMatch(/^distributed: .*connection refused|ECONNREFUSED.*; pass --join .*--peers.*\n$/m);
  });

  it('stops when the process that holds its channel is gone', async () => {
    // A parent of its own, which is killed with -9 as soon as its child is ready.
    const script = `
      const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, process.argv.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true });
      child.once('exit', () => process.exit());
    `;
    const port = await freePort();
    folders.push(temporaryFolder());
    const args = [program, '--port', `${port}`, '--data-dir', folders.at(-1)!];
    const parent = spawn(process.execPath, ['-e', script, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
    nodes.push(parent);
    let stdout = '';
    parent.stdout!.on('data', (text) => {
      stdout += String(text);
    });
    await until('its child is ready', 20_000, () => stdout.includes('ready'));
    parent.kill('SIGKILL');
    await until('the port is free', 15_000, async () => !(await listens(port)));
  });
});
