/**
 * A small disk of its own for one node: a tmpfs that only a mount namespace sees, so that nothing is left of it when its
 * holder has ended. Needs no privilege where the system lets users make namespaces, and else the right to mount.
 *
 * The holder is a process that sleeps: the disk lives as long as it, whatever becomes of the nodes that are started in it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { until, watchOver } from './cluster.js';

const FILLER = 'filler';
const namespaces = [
  ['--user', '--map-root-user', '--mount'],
  ['--mount', '--propagation', 'private'],
] as const;

/** Flags of unshare by which this process may mount; undefined: it may not. */
function permitted(): readonly string[] | undefined {
  return namespaces.find((flags) => {
    const script = 'mount -t tmpfs -o size=64k small "$0" && echo ok';
    return spawnSync('unshare', [...flags, 'sh', '-c', script, '/mnt'], { encoding: 'utf8' }).stdout === 'ok\n';
  });
}

export class SmallDisk {
  readonly #holder: ChildProcess;
  /** The folder as this process sees it. */
  readonly directory: string;
  /** Goes in front of a command that is to run with the disk. */
  readonly within: readonly string[];

  private constructor(holder: ChildProcess, directory: string, within: readonly string[]) {
    this.#holder = holder;
    this.directory = directory;
    this.within = within;
  }

  /** One of `kib` KiB in the place of `directory`, a folder that is there. Rejects where nothing can be mounted. */
  static async mount(directory: string, kib: number): Promise<SmallDisk> {
    const flags = permitted();
    if (!flags) throw new Error('small disks need user namespaces (unshare --user --mount) or the right to mount');
    const script = `mount -t tmpfs -o size=${kib}k small "$0" && echo mounted && exec sleep 1000000`;
    const holder = spawn('unshare', [...flags, 'sh', '-c', script, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    watchOver(holder);
    let told = '';
    holder.stdout!.setEncoding('utf8').on('data', (text: string) => (told += text));
    await until('the small disk is mounted', 10_000, () => told === 'mounted\n');
    const enter = ['nsenter', '--target', `${holder.pid}`, '--mount'];
    if (flags.includes('--user')) enter.push('--user', '--preserve-credentials');
    return new SmallDisk(holder, `/proc/${holder.pid}/root${directory}`, enter);
  }

  /** Takes all that is free. */
  fill(): void {
    const block = Buffer.alloc(65_536, 1);
    const file = openSync(join(this.directory, FILLER), 'a');
    try {
      for (;;) writeSync(file, block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
  }

  /** Gives back what `fill` took. */
  free(): void {
    rmSync(join(this.directory, FILLER), { force: true });
  }

  /** The disk, and all that is on it, goes with the last process that runs with it. */
  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.#holder.once('close', resolve));
    this.#holder.kill('SIGKILL');
    await gone;
  }
}
