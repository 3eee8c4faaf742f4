/** What a user gets: the tarball, installed without the development dependencies; and `npm start` on a clone with nothing run before. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort, removeFolder, temporaryFolder, until } from '../support/cluster.js';
import { exchange } from '../support/line-client.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folders: string[] = [];
const ended: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0)) await end();
  for (const folder of folders.splice(0)) removeFolder(folder);
});

function folder(): string {
  folders.push(temporaryFolder());
  return folders.at(-1)!;
}

/** npm passes its settings on to what it runs: another npm, for another folder, is to begin anew. */
const cleanEnv = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD$|NODE_ENV$|DISTRIBUTED_)/.test(name)),
  );

async function npm(cwd: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('npm', args, { cwd, env: cleanEnv(), maxBuffer: 1 << 26 });
  return stdout;
}

interface Running {
  stdout: string;
  stderr: string;
  exitCode: number | null | undefined;
  signal(name: NodeJS.Signals): void;
  readonly exited: Promise<number | null>;
}

/** Runs a command in a process group of its own, which is killed at the end of the test. */
function run(command: string, args: readonly string[], cwd: string): Running {
  const child = spawn(command, args, { cwd, env: cleanEnv(), stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  const running: Running = {
    stdout: '',
    stderr: '',
    exitCode: undefined,
    signal: (name) => {
      if (running.exitCode === undefined) process.kill(-child.pid!, name);
    },
    exited,
  };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (data) => {
      running[name] += String(data);
    });
  void exited.then((code) => {
    running.exitCode = code;
  });
  ended.push(async () => {
    running.signal('SIGKILL');
    await exited;
  });
  return running;
}

describe('the tarball', () => {
  it('holds what is needed to run, and runs elsewhere without development dependencies', {
    timeout: 240_000,
  }, async () => {
    const there = folder();
    const packed = JSON.parse(await npm(root, 'pack', '--json', '--pack-destination', there)) as {
      filename: string;
      files: { path: string }[];
    }[];
    const paths = packed[0]!.files.map((file) => file.path);
    for (const path of ['dist/cli/main.js', 'dist/client/client.d.ts', 'build/release.wasm', 'README.md', 'LICENSE'])
      expect(paths).toContain(path);
    expect(
      paths.filter((path) => !/^(dist\/|build\/release\.wasm$|README\.md$|LICENSE$|package\.json$)/.test(path)),
    ).toEqual([]);

    writeFileSync(join(there, 'package.json'), '{ "private": true, "type": "module" }');
    await npm(
      there,
      'install',
      '--omit=dev',
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
      `./${packed[0]!.filename}`,
    );
    expect(existsSync(join(there, 'node_modules/typescript'))).toBe(false);

    const port = await freePort();
    const node = run(join(there, 'node_modules/.bin/distributed'), ['--port', `${port}`], there);
    await until('it is ready', 30_000, () => node.exitCode !== undefined || node.stdout.includes('\n'));
    expect(node.stdout).toBe(`node 1 ready on 127.0.0.1:${port}\n`);
    await until('it serves', 15_000, async () => {
      const { text } = await exchange(port, ['SET a b\nGET a\n']);
      return text === 'OK\n"b"\n';
    });
    const program = `
      import { Client } from 'distributed/client';
      const client = await Client.connect('127.0.0.1:${port}');
      console.log(String(await client.get('a')));
      client.close();
    `;
    expect(
      execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: there, encoding: 'utf8' }),
    ).toBe('b\n');
    node.signal('SIGTERM');
    expect(await node.exited).toBe(0);
  });
});

describe('a fresh clone', () => {
  it('serves from three nodes with npm start alone, Ctrl-C ends it all, and the next start has nothing to prepare', {
    timeout: 300_000,
  }, async () => {
    const clone = folder();
    // What a clone would hold: the files that git knows, as they are now.
    const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0');
    for (const path of files.filter((file) => file !== '' && existsSync(join(root, file)))) {
      mkdirSync(dirname(join(clone, path)), { recursive: true });
      cpSync(join(root, path), join(clone, path));
    }
    const ports = [await freePort(), await freePort(), await freePort()];
    const start = run('npm', ['start', '--', '--ports', ports.join(',')], clone);
    const isReady = () => ports.every((port) => start.stdout.includes(`ready on 127.0.0.1:${port}\n`));
    await until('three nodes are ready', 240_000, () => start.exitCode !== undefined || isReady()).catch(() => {});
    expect(isReady(), start.stderr).toBe(true);
    await until('it serves', 15_000, async () => {
      const { text } = await exchange(ports[2]!, ['SET a b\nGET a\n']);
      return text === 'OK\n"b"\n';
    });
    // As a terminal does it: the whole group gets it, npm passes it on once more.
    start.signal('SIGINT');
    await start.exited;
    expect(execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8' })).not.toContain(
      `--data-dir ${join('data', 'node-1')} --peers 1=127.0.0.1:${ports[0]}`,
    );
    expect(start.stderr).not.toContain('died');
    // The quickest of a few: the machine may be busy with something else.
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const started = performance.now();
      const { stdout, stderr } = await promisify(execFile)(process.execPath, ['scripts/prepare.mjs'], { cwd: clone });
      times.push(performance.now() - started);
      expect(stdout + stderr).toBe('');
    }
    expect(Math.min(...times)).toBeLessThan(500);
  });
});
