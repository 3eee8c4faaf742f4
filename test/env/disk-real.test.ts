import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, describe, expect, it } from 'vitest';
import { LOCK_FILE, lockByFile, realDisk } from '../../src/env/real-disk.js';
import { diskContract, written } from './disk-contract.js';
import { openFlags } from './fdinfo.js';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'disk-')));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(root, { recursive: true, force: true });
});
let folders = 0;
const newFolder = (): string => join(root, `folder-${++folders}`);

diskContract('The real disk', () => ({ disk: realDisk(), folder: newFolder() }));

/** A process that locks `folder`, prints what came of it, and lives until it is killed (or ends at once). */
async function locker(folder: string, stay: boolean): Promise<{ child: ChildProcess; said: string }> {
  const build = join(root, 'build');
  mkdirSync(build, { recursive: true });
  for (const name of ['env', 'real-disk']) {
    const { outputText } = ts.transpileModule(readFileSync(`src/env/${name}.ts`, 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    writeFileSync(join(build, `${name}.js`), outputText);
  }
  writeFileSync(join(build, 'package.json'), '{"type":"module"}');
  writeFileSync(
    join(build, 'main.js'),
    `import { realDisk } from './real-disk.js';
    const lock = await realDisk().lock(process.argv[2]);
    process.stdout.write(lock ? 'held' : 'refused');
    if (${stay}) setInterval(() => {}, 1000);`,
  );
  const child = spawn(process.execPath, [join(build, 'main.js'), folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [said] = await once(child.stdout!, 'data');
  return { child, said: String(said) };
}

describe('The real disk', () => {
  it.runIf(process.platform === 'linux')('opens with O_DSYNC what is to be durable by itself', async () => {
    const disk = realDisk();
    const folder = newFolder();
    disk.mkdir(folder);
    const durable = disk.open(join(folder, 'd'), { create: true, dsync: true });
    const plain = disk.open(join(folder, 'p'), { create: true });
    expect(openFlags(join(folder, 'd')).map((flags) => flags & constants.O_DSYNC)).toEqual([constants.O_DSYNC]);
    expect(openFlags(join(folder, 'p')).map((flags) => flags & constants.O_DSYNC)).toEqual([0]);
    durable.close();
    plain.close();
    expect(openFlags(join(folder, 'd'))).toEqual([]);
  });

  it('closes the descriptor of a write under way after the write', async () => {
    const disk = realDisk();
    const folder = newFolder();
    disk.mkdir(folder);
    const file = disk.open(join(folder, 'f'), { create: true });
    const other = disk.open(join(folder, 'g'), { create: true });
    file.write(new Uint8Array(4 << 20).fill(7), 0, () => {});
    file.close();
    for (let i = 0; i < 100 && openFlags(join(folder, 'f')).length > 0; i++) {
      await written(other, new Uint8Array(4096), 0);
    }
    expect(openFlags(join(folder, 'f'))).toEqual([]);
    expect(readFileSync(join(folder, 'f')).every((byte) => byte === 7)).toBe(true);
    other.close();
  });

  it('refuses a folder that another process holds, and gives it out once that one was killed', async () => {
    const disk = realDisk();
    const folder = newFolder();
    disk.mkdir(folder);
    const { child, said } = await locker(folder, true);
    expect(said).toBe('held');
    expect(await disk.lock(folder)).toBeUndefined();
    child.kill('SIGKILL');
    await once(child, 'exit');
    const lock = await disk.lock(folder);
    expect(lock).toBeDefined();
    expect((await locker(folder, false)).said).toBe('refused');
    lock!.release();
  });

  it('does not keep a process alive by a lock', async () => {
    const folder = newFolder();
    realDisk().mkdir(folder);
    const { child, said } = await locker(folder, false);
    if (child.exitCode === null) await once(child, 'exit');
    expect([said, child.exitCode]).toEqual(['held', 0]);
  });
});

describe('The lock file of systems without abstract sockets', () => {
  it('holds while its process lives, and is taken over when it does not', async () => {
    const folder = newFolder();
    realDisk().mkdir(folder);
    const lock = lockByFile(folder);
    expect(lock).toBeDefined();
    expect(lockByFile(folder)).toBeUndefined();
    lock!.release();
    const dead = spawn(process.execPath, ['-e', '0']);
    await once(dead, 'exit');
    for (const left of [String(dead.pid), 'nonsense', String(process.pid)]) {
      writeFileSync(join(folder, LOCK_FILE), left);
      const taken = lockByFile(folder);
      expect(taken).toBeDefined();
      expect(readFileSync(join(folder, LOCK_FILE), 'utf8')).toBe(String(process.pid));
      taken!.release();
    }
    writeFileSync(join(folder, LOCK_FILE), String(process.ppid));
    expect(lockByFile(folder)).toBeUndefined();
    expect(realDisk().list(folder)).toEqual([LOCK_FILE]);
  });
});
