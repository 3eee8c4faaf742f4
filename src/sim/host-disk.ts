/** A disk as one process sees it: when the process is gone, whatever is left of its program reaches the disk no more. */
import { type Disk, DiskError, type DiskFile, type OpenOptions } from '../env/env.js';

export class HostDisk implements Disk {
  readonly #disk: Disk;
  readonly #alive: () => boolean;

  constructor(disk: Disk, alive: () => boolean) {
    this.#disk = disk;
    this.#alive = alive;
  }

  get #live(): Disk {
    if (!this.#alive()) throw new DiskError('io', 'the process is gone');
    return this.#disk;
  }

  mkdir(path: string): void {
    this.#live.mkdir(path);
  }
  list(path: string): string[] {
    return this.#live.list(path);
  }
  exists(path: string): boolean {
    return this.#live.exists(path);
  }
  open(path: string, options?: OpenOptions): DiskFile {
    return this.#live.open(path, options);
  }
  rename(from: string, to: string): void {
    this.#live.rename(from, to);
  }
  unlink(path: string): void {
    this.#live.unlink(path);
  }
  remove(path: string, done: (error?: DiskError) => void): void {
    this.#live.remove(path, (error) => {
      if (this.#alive()) done(error);
    });
  }
  syncDir(path: string): void {
    this.#live.syncDir(path);
  }
  rmdir(path: string): void {
    this.#live.rmdir(path);
  }
  free(path: string): number {
    return this.#live.free(path);
  }
  async lock(path: string): Promise<{ release(): void } | undefined> {
    return this.#live.lock(path);
  }
}
