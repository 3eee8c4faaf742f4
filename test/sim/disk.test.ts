import { describe, expect, it } from 'vitest';
import { DiskError } from '../../src/env/env.js';
import { SimDisk } from '../../src/sim/disk.js';
import { diskContract, written } from '../env/disk-contract.js';
import { seeded } from './seeded.js';

const later = (callback: () => void): void => queueMicrotask(callback);
const make = (seed = 1): SimDisk => {
  const disk = new SimDisk({ schedule: later, random: seeded(seed) });
  disk.mkdir('d');
  return disk;
};

diskContract('The simulated disk', () => ({
  disk: new SimDisk({ schedule: later, random: seeded(1) }),
  folder: '/some/folder',
}));

/** A file with a durable name and `sectors` durable sectors of `fill`. */
function durableFile(disk: SimDisk, fill: number, sectors = 8, dsync = false) {
  const file = disk.open('d/f', { create: true, dsync });
  file.writeSync(new Uint8Array(512 * sectors).fill(fill), 0);
  file.syncSync();
  disk.syncDir('d');
  return file;
}

describe('After a power failure the simulated disk', () => {
  it('has lost bytes and names that were not synced, and kept those that were', async () => {
    const disk = make();
    const file = durableFile(disk, 1);
    file.writeSync(new Uint8Array(512).fill(2), 0);
    disk.open('d/new', { create: true }).close();
    disk.rename('d/f', 'd/g');
    disk.crash('drop');
    expect(disk.list('d')).toEqual(['f']);
    expect(new Set(disk.content('d/f'))).toEqual(new Set([1]));
  });

  it('has kept the writes of a file opened with dsync, once they were done', async () => {
    const disk = make();
    const file = durableFile(disk, 1, 8, true);
    await written(file, new Uint8Array(512).fill(2), 512);
    file.writeSync(new Uint8Array(512).fill(3), 1024);
    file.write(new Uint8Array(512).fill(4), 2048, () => {});
    disk.crash('drop');
    const firsts = [0, 1, 2, 3, 4].map((sector) => disk.content('d/f')[sector * 512]);
    expect(firsts).toEqual([1, 2, 3, 1, 1]);
  });

  it('has a renamed file with no bytes, when only the name was synced', () => {
    const disk = make();
    disk.open('d/tmp', { create: true }).writeSync(new Uint8Array(512).fill(9), 0);
    disk.rename('d/tmp', 'd/f');
    disk.syncDir('d');
    disk.crash('drop');
    expect(disk.content('d/f').length).toBe(0);
  });

  it('tears what was under way by sectors, another way for each seed', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 20; seed++) {
      const disk = make(seed);
      durableFile(disk, 1, 8, true).write(new Uint8Array(4096).fill(2), 0, () => {});
      disk.crash('tear');
      const content = disk.content('d/f');
      const sectors = [0, 1, 2, 3, 4, 5, 6, 7].map(
        (sector) => new Set(content.subarray(sector * 512, sector * 512 + 512)),
      );
      expect(sectors.every((values) => values.size === 1)).toBe(true);
      seen.add(sectors.map((values) => [...values][0]).join(''));
    }
    expect(seen.size).toBeGreaterThan(15);
  });

  it('leaves any of the unsynced names', () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 20; seed++) {
      const disk = make(seed);
      for (const name of ['a', 'b', 'c']) disk.open(`d/${name}`, { create: true }).close();
      disk.crash('tear');
      seen.add(disk.list('d').join(''));
    }
    expect(seen).toContain('ab');
    expect(seen).toContain('c');
  });

  it('knows no open file and no lock of the life before', async () => {
    const disk = make();
    const file = durableFile(disk, 1);
    const lock = await disk.lock('d');
    let called = false;
    file.write(new Uint8Array(512), 0, () => {
      called = true;
    });
    disk.crash('drop');
    expect(() => file.syncSync()).toThrow(DiskError);
    const next = await disk.lock('d');
    expect(next).toBeDefined();
    lock!.release();
    expect(await disk.lock('d')).toBeUndefined();
    expect(called).toBe(false);
  });
});

describe('The simulated disk', () => {
  it('keeps its page cache when only the process dies, with the first sectors of a write under way', () => {
    const lengths = new Set<number>();
    for (let seed = 1; seed <= 20; seed++) {
      const disk = make(seed);
      const file = durableFile(disk, 1);
      file.writeSync(new Uint8Array(512).fill(2), 3584);
      file.write(new Uint8Array(2048).fill(3), 0, () => {});
      disk.crash('kill');
      const content = disk.content('d/f');
      expect(content[3584]).toBe(2);
      const arrived = content.indexOf(1);
      expect(content.subarray(0, arrived).every((byte) => byte === 3)).toBe(true);
      lengths.add(arrived);
      disk.crash('drop');
      expect(disk.content('d/f').every((byte) => byte === 1)).toBe(true);
    }
    expect([...lengths].sort((a, b) => a - b)).toEqual([0, 512, 1024, 1536, 2048]);
  });

  it('shows the bytes of a failed write although the platter does not hold them, until they are evicted', async () => {
    const disk = make();
    const file = durableFile(disk, 1, 64, true);
    disk.fail('write', 1, 'io');
    await expect(written(file, new Uint8Array(512 * 64).fill(2), 0)).rejects.toMatchObject({ code: 'io' });
    expect(disk.content('d/f').every((byte) => byte === 2)).toBe(true);
    file.syncSync();
    disk.evict();
    expect(new Set(disk.content('d/f'))).toEqual(new Set([1, 2]));
  });

  it('fails just the step that was ordered to fail', () => {
    const disk = make();
    const file = durableFile(disk, 1);
    disk.fail('sync', 2, 'io');
    disk.fail('write', 1, 'full', (path) => path === 'd/g');
    file.writeSync(new Uint8Array(1), 0);
    file.syncSync();
    expect(() => file.syncSync()).toThrow(DiskError);
    file.syncSync();
    const other = disk.open('d/g', { create: true });
    expect(() => other.writeSync(new Uint8Array(1), 0)).toThrow('full');
    expect(other.size()).toBe(0);
    other.writeSync(new Uint8Array(1), 0);
  });

  it('is full at its capacity, where overwriting still works', () => {
    const disk = make();
    disk.capacity = 4096;
    const file = durableFile(disk, 1, 8);
    file.writeSync(new Uint8Array(512), 1024);
    expect(() => file.writeSync(new Uint8Array(1), 4096)).toThrow('no space left');
    disk.unlink('d/f');
    disk.open('d/g', { create: true }).writeSync(new Uint8Array(4096), 0);
  });

  it('has free what its capacity leaves, which may change', () => {
    const disk = make();
    durableFile(disk, 1, 8);
    disk.capacity = 5000;
    expect(disk.free('d')).toBe(5000 - 4096);
    disk.capacity = 100;
    expect(disk.free('d')).toBe(0);
  });

  it('fails reads that were ordered to fail, and tells onStep of none', () => {
    const disk = make();
    const file = durableFile(disk, 1);
    const steps: string[] = [];
    disk.onStep = (step) => steps.push(step);
    disk.fail('read', 2, 'io', (path) => path === 'd/f');
    const bytes = new Uint8Array(4);
    expect(file.readSync(bytes, 0)).toBe(4);
    expect(() => file.readSync(bytes, 0)).toThrow('cannot read d/f');
    expect(file.readSync(bytes, 0)).toBe(4);
    expect(steps).toEqual([]);
  });

  it('loses just the rename that was ordered to be lost, whatever is synced', () => {
    for (const mode of ['drop', 'tear'] as const) {
      const disk = make();
      durableFile(disk, 1);
      disk.loseRename(2, (path) => path === 'd/f' || path === 'd/g');
      disk.rename('d/f', 'd/g');
      disk.rename('d/g', 'd/h');
      disk.syncDir('d');
      expect(disk.list('d')).toEqual(['h']);
      disk.crash(mode);
      expect(disk.list('d')).toEqual(['g']);
    }
  });

  it('lies about syncs, of files and of folders, until the crash', async () => {
    const disk = make();
    const file = durableFile(disk, 1, 8, true);
    disk.lying = (path) => path === 'd/f';
    await written(file, new Uint8Array(512).fill(2), 0);
    file.writeSync(new Uint8Array(512).fill(2), 512);
    file.syncSync();
    expect(disk.content('d/f')[0]).toBe(2);
    const [torn, dropped] = [1, 2].map((seed) => disk.fork({ schedule: later, random: seeded(seed) }));
    torn!.crash('tear');
    dropped!.crash('drop');
    expect(new Set(dropped!.content('d/f'))).toEqual(new Set([1]));
    expect(torn!.content('d/f')[1024]).toBe(1);
    disk.lying = (path) => path === 'd';
    file.syncSync();
    disk.open('d/new', { create: true }).close();
    disk.syncDir('d');
    disk.crash('drop');
    expect(disk.list('d')).toEqual(['f']);
    expect(disk.content('d/f')[0]).toBe(2);
  });

  it('takes its time for writes to what is slow', async () => {
    const waits: { ms: number; callback: () => void }[] = [];
    const after = (ms: number, callback: () => void): void => void waits.push({ ms, callback });
    const disk = new SimDisk({ schedule: later, random: seeded(1), after });
    disk.latency = (path) => (path === 'slow' ? 70 : 0);
    await written(disk.open('fast', { create: true }), new Uint8Array(1), 0);
    const slow = written(disk.open('slow', { create: true }), new Uint8Array(1), 0);
    await Promise.resolve();
    expect(waits.map(({ ms }) => ms)).toEqual([70]);
    expect(disk.content('slow').length).toBe(0);
    waits[0]!.callback();
    await slow;
    expect(disk.content('slow').length).toBe(1);
  });

  it('flips a bit for good', () => {
    const disk = make();
    durableFile(disk, 1);
    disk.flipBit('d/f', 512 * 8 + 1);
    expect(disk.content('d/f')[512]).toBe(3);
    disk.crash('drop');
    expect(disk.content('d/f')[512]).toBe(3);
    expect(disk.content('d/f')[511]).toBe(1);
  });

  it('holds completions until they are let go', async () => {
    const disk = make();
    const file = durableFile(disk, 1);
    disk.hold();
    const write = written(file, new Uint8Array(512).fill(2), 0);
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect(disk.content('d/f')[0]).toBe(1);
    disk.letGo();
    await write;
    expect(disk.content('d/f')[0]).toBe(2);
  });

  it('finds out who changes bytes under way', () => {
    const completions: (() => void)[] = [];
    const disk = new SimDisk({ schedule: (callback) => completions.push(callback), random: seeded(1) });
    const bytes = new Uint8Array(512);
    disk.open('f', { create: true }).write(bytes, 0, () => {});
    bytes[5] = 1;
    expect(completions[0]).toThrow('changed under way');
  });

  it('forks: the copy crashes without the original', async () => {
    const disk = make();
    const file = durableFile(disk, 1, 8, true);
    const write = written(file, new Uint8Array(512).fill(2), 0);
    const fork = disk.fork({ schedule: later, random: seeded(2) });
    fork.crash('drop');
    await write;
    expect([fork.content('d/f')[0], disk.content('d/f')[0]]).toEqual([1, 2]);
    fork.unlink('d/f');
    expect(disk.exists('d/f')).toBe(true);
  });
});
