/** What every `Disk` promises, run on the real and on the simulated one. */
import { describe, expect, it } from 'vitest';
import { type Disk, DiskError, type DiskFile } from '../../src/env/env.js';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

function whole(file: DiskFile): string {
  const content = new Uint8Array(file.size());
  expect(file.readSync(content, 0)).toBe(content.length);
  return text(content);
}

function code(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof DiskError) return error.code;
    throw error;
  }
  return 'none';
}

export function written(file: DiskFile, content: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write(content, position, (error) => (error ? reject(error) : resolve()));
  });
}

/** `make` gives a disk and a folder in it that does not exist yet. */
export function diskContract(name: string, make: () => { disk: Disk; folder: string }): void {
  describe(`${name}, as every disk,`, () => {
    const made = (): { disk: Disk; folder: string } => {
      const both = make();
      both.disk.mkdir(both.folder);
      return both;
    };

    it('makes a folder with its parents, and again without harm', () => {
      const { disk, folder } = made();
      disk.mkdir(`${folder}/a/b`);
      disk.mkdir(`${folder}/a/b`);
      expect(disk.exists(`${folder}/a/b`)).toBe(true);
      expect(disk.list(folder)).toEqual(['a']);
    });

    it('keeps what is written, wherever it is written, asynchronously or not', async () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true, dsync: true });
      await written(file, bytes('world'), 6);
      file.writeSync(bytes('hello '), 0);
      file.writeSync(bytes('W'), 6);
      file.syncSync();
      expect(whole(file)).toBe('hello World');
      expect(file.path).toBe(`${folder}/f`);
      file.close();
      const again = disk.open(`${folder}/f`);
      expect(whole(again)).toBe('hello World');
      again.close();
    });

    it('leaves zeros where nothing was written', () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true });
      file.writeSync(bytes('x'), 1500);
      const content = new Uint8Array(1501);
      file.readSync(content, 0);
      expect(content.findIndex((byte) => byte !== 0)).toBe(1500);
      file.close();
    });

    it('reads less only at the end of the file', () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true });
      file.writeSync(bytes('abcdef'), 0);
      const content = new Uint8Array(4);
      expect(file.readSync(content, 4)).toBe(2);
      expect(text(content.subarray(0, 2))).toBe('ef');
      expect(file.readSync(content, 6)).toBe(0);
      expect(file.readSync(content, 9)).toBe(0);
      file.close();
    });

    it('calls back after the call that writes, never from inside it', async () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true });
      let inside = true;
      await new Promise<void>((resolve) => {
        file.write(bytes('a'), 0, () => {
          expect(inside).toBe(false);
          resolve();
        });
        inside = false;
      });
      file.close();
    });

    it('refuses a second write before the first one is done', async () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true });
      const first = written(file, bytes('a'), 0);
      expect(() => file.write(bytes('b'), 1, () => {})).toThrow('two writes at once');
      await first;
      file.close();
    });

    it('calls nothing back once a file is closed', async () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true });
      let called = false;
      file.write(bytes('a'), 0, () => {
        called = true;
      });
      file.close();
      expect(() => file.size()).toThrow('closed');
      const other = disk.open(`${folder}/g`, { create: true });
      for (let i = 0; i < 20; i++) await written(other, bytes('b'), i);
      other.close();
      expect(called).toBe(false);
    });

    it('lists, renames over and removes files', () => {
      const { disk, folder } = made();
      for (const name of ['b', 'a', 'c']) {
        const file = disk.open(`${folder}/${name}`, { create: true });
        file.writeSync(bytes(name), 0);
        file.close();
      }
      expect(disk.list(folder)).toEqual(['a', 'b', 'c']);
      disk.rename(`${folder}/a`, `${folder}/b`);
      disk.unlink(`${folder}/c`);
      disk.syncDir(folder);
      expect(disk.list(folder)).toEqual(['b']);
      const file = disk.open(`${folder}/b`);
      expect(whole(file)).toBe('a');
      file.close();
      expect([disk.exists(`${folder}/a`), disk.exists(`${folder}/b`)]).toEqual([false, true]);
    });

    it('says by code and path what went wrong', () => {
      const { disk, folder } = made();
      disk.open(`${folder}/f`, { create: true, exclusive: true }).close();
      expect(code(() => disk.open(`${folder}/f`, { create: true, exclusive: true }))).toBe('exists');
      expect(code(() => disk.open(`${folder}/none`))).toBe('missing');
      expect(code(() => disk.open(`${folder}/none/f`, { create: true }))).toBe('missing');
      expect(code(() => disk.list(`${folder}/none`))).toBe('missing');
      expect(code(() => disk.unlink(`${folder}/none`))).toBe('missing');
      expect(code(() => disk.rename(`${folder}/none`, `${folder}/g`))).toBe('missing');
      expect(code(() => disk.mkdir(`${folder}/f`))).toBe('io');
      expect(() => disk.open(`${folder}/none`)).toThrow(`${folder}/none`);
    });

    it('removes a file in the background, which who has it open can still read', async () => {
      const { disk, folder } = made();
      const file = disk.open(`${folder}/f`, { create: true });
      file.writeSync(bytes('left'), 0);
      let told = false;
      const removed = new Promise((resolve) => {
        disk.remove(`${folder}/f`, (error) => {
          told = true;
          resolve(error);
        });
      });
      expect(told).toBe(false);
      expect(await removed).toBeUndefined();
      expect([disk.exists(`${folder}/f`), whole(file)]).toEqual([false, 'left']);
      file.close();
      const again = await new Promise<DiskError | undefined>((resolve) => disk.remove(`${folder}/f`, resolve));
      expect([again?.code, again?.message.includes(`${folder}/f`)]).toEqual(['missing', true]);
    });

    it('removes an empty folder, and no other', () => {
      const { disk, folder } = made();
      disk.mkdir(`${folder}/a`);
      disk.open(`${folder}/a/f`, { create: true }).close();
      expect(code(() => disk.rmdir(`${folder}/a`))).toBe('io');
      disk.unlink(`${folder}/a/f`);
      disk.rmdir(`${folder}/a`);
      expect(disk.list(folder)).toEqual([]);
      expect(code(() => disk.rmdir(`${folder}/a`))).toBe('missing');
    });

    it('knows how much is free', () => {
      const { disk, folder } = made();
      expect(disk.free(folder)).toBeGreaterThan(0);
      expect(code(() => disk.free(`${folder}/none`))).toBe('missing');
    });

    it('locks a folder once, until it is released', async () => {
      const { disk, folder } = made();
      const lock = await disk.lock(folder);
      expect(lock).toBeDefined();
      expect(await disk.lock(folder)).toBeUndefined();
      disk.mkdir(`${folder}/other`);
      const other = await disk.lock(`${folder}/other`);
      expect(other).toBeDefined();
      lock!.release();
      const again = await disk.lock(folder);
      expect(again).toBeDefined();
      again!.release();
      other!.release();
    });
  });
}
