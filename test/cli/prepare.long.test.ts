/** scripts/prepare.mjs on a small project of its own: real lock, stamps, npm and tsc; a kernel build that only writes files. */
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { removeFolder, temporaryFolder, until } from '../support/cluster.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) removeFolder(folder);
});

/** Notes each of its runs, and makes what asconfig.json promises. */
const kernelBuild = `
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
appendFileSync('runs', 'x');
mkdirSync('build', { recursive: true });
for (const name of ['release.wasm', 'release.wat']) writeFileSync('build/' + name, 'made');
`;

function project(): string {
  const folder = temporaryFolder();
  folders.push(folder);
  for (const path of ['scripts', 'src/cli', 'assembly']) mkdirSync(join(folder, path), { recursive: true });
  for (const path of ['scripts/prepare.mjs', 'scripts/build.mjs', 'scripts/lock.mjs', 'scripts/stamp.mjs'])
    copyFileSync(join(root, path), join(folder, path));
  for (const path of ['package.json', 'package-lock.json', 'tsconfig.json'])
    copyFileSync(join(root, path), join(folder, path));
  const target = { outFile: 'build/release.wasm', textFile: 'build/release.wat' };
  writeFileSync(join(folder, 'asconfig.json'), JSON.stringify({ targets: { release: target } }));
  writeFileSync(join(folder, 'scripts/build-kernel.mjs'), kernelBuild);
  writeFileSync(join(folder, 'src/cli/main.ts'), '#!/usr/bin/env node\nexport const answer: number = 42;\n');
  writeFileSync(join(folder, 'assembly/index.ts'), '// nothing\n');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

interface Run {
  readonly code: number | null;
  readonly text: string;
  readonly ms: number;
}

function prepare(folder: string, env: NodeJS.ProcessEnv = {}): Promise<Run> {
  const started = performance.now();
  const child = spawn(process.execPath, [join(folder, 'scripts/prepare.mjs')], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let text = '';
  child.stdout.on('data', (data) => {
    text += `stdout: ${String(data)}`;
  });
  child.stderr.on('data', (data) => {
    text += String(data);
  });
  return new Promise((resolve) =>
    child.once('close', (code) => resolve({ code, text, ms: performance.now() - started })),
  );
}

const builds = (folder: string): number =>
  existsSync(join(folder, 'runs')) ? readFileSync(join(folder, 'runs'), 'utf8').length : 0;

describe('prepare', () => {
  it('builds what is missing, then does nothing in less than half a second', async () => {
    const folder = project();
    const first = await prepare(folder);
    expect(first.text).toBe('prepare: building\n');
    expect(first.code).toBe(0);
    expect(statSync(join(folder, 'dist/cli/main.js')).mode & 0o111).toBe(0o111);
    // The quickest of a few: the machine may be busy with something else.
    const again: Run[] = [];
    for (let i = 0; i < 5; i++) again.push(await prepare(folder));
    expect(again.map(({ code, text }) => `${code}${text}`)).toEqual(['0', '0', '0', '0', '0']);
    expect(Math.min(...again.map(({ ms }) => ms))).toBeLessThan(500);
    expect(builds(folder)).toBe(1);
  });

  it('builds again when a source or an output has changed, and not when only its time has', async () => {
    const folder = project();
    await prepare(folder);
    utimesSync(join(folder, 'src/cli/main.ts'), new Date(), new Date());
    await prepare(folder);
    expect(builds(folder)).toBe(1);
    appendFileSync(join(folder, 'assembly/index.ts'), '// something\n');
    await prepare(folder);
    expect(builds(folder)).toBe(2);
    rmSync(join(folder, 'dist/cli/main.js'));
    await prepare(folder);
    expect(builds(folder)).toBe(3);
    writeFileSync(join(folder, 'build/release.wasm'), 'half of it');
    await prepare(folder);
    expect(builds(folder)).toBe(4);
    writeFileSync(join(folder, 'src/more.ts'), 'export const more = 1;\n');
    await prepare(folder);
    expect(existsSync(join(folder, 'dist/more.js'))).toBe(true);
    rmSync(join(folder, 'src/more.ts'));
    await prepare(folder);
    expect(existsSync(join(folder, 'dist/more.js'))).toBe(false);
    expect(builds(folder)).toBe(6);
  });

  it('fails loudly when the build does, and tries again the next time', async () => {
    const folder = project();
    writeFileSync(join(folder, 'src/cli/main.ts'), '#!/usr/bin/env node\nexport const answer: number = "42";\n');
    for (const _ of [1, 2]) {
      const { code, text } = await prepare(folder);
      expect(code).toBe(1);
      expect(text).toContain('error TS2322');
      expect(text).toContain('build: tsc failed (exit code 2)\nprepare: failed: building (exit code 1)\n');
    }
  });

  it('fails loudly when an output is missing although the compiler said nothing', async () => {
    const folder = project();
    writeFileSync(join(folder, 'scripts/build-kernel.mjs'), '');
    const { code, text } = await prepare(folder);
    expect(code).toBe(1);
    expect(text).toContain('build: build/release.wasm was not made\n');
  });

  it('lets a second one wait for the first, which leaves it nothing to do', async () => {
    const folder = project();
    const runs = await Promise.all([prepare(folder), prepare(folder), prepare(folder)]);
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(builds(folder)).toBe(1);
    expect(runs.map(({ text }) => text).join('')).toMatch(
      /prepare: waiting for process \d+, which is doing the same\n/,
    );
    expect(existsSync(join(folder, '.cache/prepare.lock'))).toBe(false);
  });

  it('breaks the lock of one that was killed, also when its pid lives on in another process', async () => {
    const folder = project();
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => child.once('exit', resolve));
    for (const owner of [`${child.pid} 1`, `${process.pid} 1`]) {
      mkdirSync(join(folder, '.cache'), { recursive: true });
      writeFileSync(join(folder, '.cache/prepare.lock'), owner);
      appendFileSync(join(folder, 'assembly/index.ts'), '// once more\n');
      const { code, text } = await prepare(folder);
      expect({ code, text }).toEqual({ code: 0, text: 'prepare: building\n' });
    }
    expect(builds(folder)).toBe(2);
  });

  it('leaves the lock to its owner as long as that lives', async () => {
    const folder = project();
    const lock = join(folder, '.cache/prepare.lock');
    const stat = readFileSync(`/proc/${process.pid}/stat`, 'utf8');
    mkdirSync(join(folder, '.cache'), { recursive: true });
    writeFileSync(lock, `${process.pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`);
    const child = spawn(process.execPath, [join(folder, 'scripts/prepare.mjs')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.on('data', (data) => {
      text += String(data);
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    await until('it waits', 10_000, () => text.includes(`waiting for process ${process.pid},`));
    expect(builds(folder)).toBe(0);
    rmSync(lock);
    expect(await exited).toBe(0);
    expect(builds(folder)).toBe(1);
  });

  it('installs what package-lock.json asks for when node_modules is missing or another', async () => {
    const folder = project();
    rmSync(join(folder, 'node_modules'));
    // The build needs what npm leaves out for production.
    const { code, text } = await prepare(folder, { NODE_ENV: 'production' });
    expect(code).toBe(0);
    expect(text).toMatch(/^prepare: installing dependencies\n[\s\S]*prepare: building\n$/);
    expect(text).not.toContain('stdout: ');
    expect(await prepare(folder)).toMatchObject({ code: 0, text: '' });
    rmSync(join(folder, 'node_modules/commander'), { recursive: true });
    expect((await prepare(folder)).text).toMatch(/^prepare: installing dependencies\n/);
    expect(existsSync(join(folder, 'node_modules/commander/package.json'))).toBe(true);
  });
});
