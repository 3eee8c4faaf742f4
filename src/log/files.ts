/** What the files of the folder have in common: names, errors, and the small ones that appear whole or not at all. */
import { type Disk, DiskError, type DiskFile } from '../env/env.js';
import { LogError } from './types.js';

/** The ending of a file whose making was interrupted; removed by the next start. */
export const TEMPORARY = '.tmp';

export function join(directory: string, name: string): string {
  return `${directory}/${name}`;
}

/** What rot in a file is told as. `offset` is where it begins, in bytes. */
export function corrupt(path: string, offset: number, what: string): LogError {
  return new LogError('corrupt', `${path} is corrupt at offset ${offset}: ${what}`);
}

/** Turns the disk's error into the log's; leaves everything else as it is. */
export function asLogError(error: unknown): unknown {
  return error instanceof DiskError ? new LogError('disk', error.message) : error;
}

/** The whole content of a file; undefined when there is none. */
export function readWhole(disk: Disk, path: string): Uint8Array | undefined {
  if (!disk.exists(path)) return undefined;
  const file = disk.open(path);
  try {
    const bytes = new Uint8Array(file.size());
    const read = file.readSync(bytes, 0);
    return bytes.subarray(0, read);
  } finally {
    file.close();
  }
}

/** Makes a file durable under its name: temporary name, content synced, rename, folder synced. A crash leaves all of it or nothing. */
export function writeWhole(disk: Disk, directory: string, name: string, bytes: Uint8Array): void {
  const path = join(directory, name);
  const temporary = path + TEMPORARY;
  if (disk.exists(temporary)) disk.unlink(temporary);
  const file = disk.open(temporary, { create: true, exclusive: true });
  try {
    file.writeSync(bytes, 0);
    file.syncSync();
  } finally {
    file.close();
  }
  disk.rename(temporary, path);
  disk.syncDir(directory);
}

/** `DiskFile.write` as a promise. */
export function write(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write(bytes, position, (error) => (error ? reject(error) : resolve()));
  });
}
