/**
 * A disk that rots or fails in one place: every bit of a log of 64 KiB, of a snapshot and of the votes flipped, one at a time;
 * reads that fail; renames that are lost. Nothing is lost in silence. LOG_FLIP_EVERY says how many bits are passed over
 * for one that is flipped: 16 unless given, 1 for all.
 */
import { describe, expect, it } from 'vitest';
import { batchBytes } from '../../src/log/batch.js';
import { DAMAGED_FILE } from '../../src/log/salvage.js';
import { LogError, type LogOptions } from '../../src/log/types.js';
import type { SimDisk } from '../../src/sim/disk.js';
import { seeded } from '../sim/seeded.js';
import {
  contents,
  entry,
  FIRST_SEGMENT,
  FOLDER,
  install,
  open,
  persist,
  randomBytes,
  settle,
  simDisk,
  simOptions,
  snapshotContent,
  snapshotOf,
  take,
} from './helper.js';

const every = Number(process.env.LOG_FLIP_EVERY ?? '16');
const SIZE = 65_536;
const OPTIONS: Partial<LogOptions> = { segmentBytes: SIZE };
const SMALL: Partial<LogOptions> = { segmentBytes: 4096, tailBytes: 0 };
const SWEEP = { timeout: 60_000 + Math.ceil(7_200_000 / every) };

/** A closed folder whose first segment is full: nothing of it is unwritten but what no batch fits in. */
async function fullSegment(): Promise<{ disk: SimDisk; all: string; end: number }> {
  const disk = simDisk();
  const log = await open(disk, OPTIONS);
  log.saveVote({ term: 2, vote: 1, starts: 1 });
  let end = 512;
  for (let index = 1; end + batchBytes(64 + 3000) <= SIZE - 512; index++) {
    await persist(log, [entry(index, 1, 3000)]);
    end += batchBytes(64 + 3000);
  }
  await settle();
  const all = contents(log).join('\n');
  await log.close();
  return { disk, all, end };
}

/** A closed folder of 20 entries with a snapshot of 15, compacted, so that the snapshot is all there is of the first ones. */
async function compacted(): Promise<{ disk: SimDisk; path: string; all: string[]; content: Uint8Array }> {
  const disk = simDisk();
  const log = await open(disk, SMALL);
  log.saveVote({ term: 2, vote: 1, starts: 1 });
  for (let index = 1; index <= 20; index++) await persist(log, [entry(index, 1, 700)]);
  const all = contents(log);
  const content = randomBytes(3000);
  await take(log, snapshotOf(log, 15), content);
  log.compact(15);
  await settle();
  await log.close();
  await (await open(disk, SMALL)).close();
  const path = `${FOLDER}/${disk.list(FOLDER).find((name) => name.endsWith('.snap'))}`;
  return { disk, path, all, content };
}

/** Whether the folder opens as it was, with `same` true of it, or is told as corrupt. Throws when it is anything else. */
async function opens(disk: SimDisk, options: Partial<LogOptions>, same: (text: string) => boolean): Promise<boolean> {
  try {
    const log = await open(disk, options);
    const text = contents(log).join('\n');
    await log.close();
    if (!same(text)) throw new Error('it opened with other entries');
    return true;
  } catch (error) {
    if (error instanceof LogError && error.code === 'corrupt') return false;
    throw error;
  }
}

describe(`A flip of one bit (of each ${every})`, () => {
  it('of a log of 64 KiB is told, or hits what was never written', SWEEP, async () => {
    const { disk, all, end } = await fullSegment();
    const first = Math.floor(seeded(every)() * every);
    for (let bit = first; bit < SIZE * 8; bit += every) {
      disk.flipBit(FIRST_SEGMENT, bit);
      const sound = await opens(disk, OPTIONS, (text) => text === all);
      // Where the next header would stand, a changed pattern may be one that was lost.
      if (sound !== bit >= (end + 512) * 8) throw new Error(`bit ${bit} (byte ${bit >> 3}): ${sound}`);
      if (!sound) disk.flipBit(FIRST_SEGMENT, bit);
    }
    expect(await opens(disk, OPTIONS, (text) => text === all)).toBe(true);
  });

  it('of a snapshot is told, when the log before it is gone', SWEEP, async () => {
    const { disk, path } = await compacted();
    const bits = disk.content(path).length * 8;
    for (let bit = Math.floor(seeded(every)() * every); bit < bits; bit += every) {
      disk.flipBit(path, bit);
      if (await opens(disk, SMALL, () => true)) throw new Error(`bit ${bit} (byte ${bit >> 3}) of the snapshot`);
      disk.flipBit(path, bit);
    }
    expect(await opens(disk, SMALL, () => true)).toBe(true);
  });

  it('of a vote is mended from its other copy', SWEEP, async () => {
    const { disk, all } = await fullSegment();
    for (const name of ['vote-1', 'vote-2']) {
      for (let bit = Math.floor(seeded(every)() * every); bit < 512 * 8; bit += every) {
        disk.flipBit(`${FOLDER}/${name}`, bit);
        const log = await open(disk, OPTIONS);
        if (contents(log).join('\n') !== all) throw new Error(`bit ${bit} of ${name}`);
        expect(log.vote).toEqual({ term: 2, vote: 1, starts: 1 });
        await log.close();
        expect(disk.content(`${FOLDER}/vote-1`)).toEqual(disk.content(`${FOLDER}/vote-2`));
      }
    }
  });

  it(
    'of anything in the folder leaves a beginning of the log to be repaired, and says so (100 of them)',
    SWEEP,
    async () => {
      const from = await compacted();
      const random = seeded(7);
      const names = from.disk.list(FOLDER).filter((name) => name !== 'meta');
      for (let i = 0; i < 100; i++) {
        const path = `${FOLDER}/${names[Math.floor(random() * names.length)]}`;
        const bit = Math.floor(random() * from.disk.content(path).length * 8);
        const [plain, repaired] = [from.disk.fork(simOptions()), from.disk.fork(simOptions())];
        for (const disk of [plain, repaired]) disk.flipBit(path, bit);
        const sound = await opens(plain, SMALL, () => true);
        const log = await open(repaired, { ...SMALL, repair: true });
        if (log.damaged === sound) throw new Error(`bit ${bit} of ${path}: sound ${sound}, damaged ${log.damaged}`);
        expect(contents(log)).toEqual(from.all.slice(log.firstIndex() - 1, log.lastIndex()));
        if (sound) expect(log.lastIndex()).toBe(20);
        if (log.snapshot) expect(snapshotContent(log)).toEqual(from.content);
        else expect(log.firstIndex()).toBe(1);
      }
    },
  );
});

describe('A read that fails', () => {
  it('stops the opening of a folder, which is not taken for damaged and opens again', async () => {
    const { disk, all } = await compacted();
    let failures = 0;
    for (const repair of [false, true]) {
      for (let nth = 1, failed = true; failed; nth++) {
        const fork = disk.fork(simOptions());
        fork.fail('read', nth, 'io');
        try {
          await (await open(fork, { ...SMALL, repair })).close();
          failed = false;
        } catch (error) {
          expect(error).toMatchObject({ code: 'disk' });
          failures++;
        }
        expect(fork.exists(`${FOLDER}/${DAMAGED_FILE}`)).toBe(false);
        fork.crash('kill');
        const log = await open(fork, SMALL);
        expect(contents(log)).toEqual(all.slice(log.firstIndex() - 1));
      }
    }
    expect(failures).toBeGreaterThan(20);
  });

  it('of an old entry or a snapshot is told to who asked', async () => {
    const { disk } = await compacted();
    const log = await open(disk, { ...SMALL, cacheBytes: 0 });
    disk.fail('read', 1, 'io');
    expect(() => contents(log)).toThrow(expect.objectContaining({ code: 'disk' }));
    expect(contents(log).length).toBeGreaterThan(3);
    const reader = log.openSnapshot()!;
    disk.fail('read', 1, 'io');
    expect(() => reader.read(0, new Uint8Array(10))).toThrow(expect.objectContaining({ code: 'disk' }));
    expect(reader.read(0, new Uint8Array(10))).toBe(10);
  });
});

describe('A rename that is lost', () => {
  it('of a snapshot, whose log was dropped since, is told', async () => {
    const disk = simDisk();
    const log = await open(disk, SMALL);
    log.saveVote({ term: 2, vote: 1, starts: 1 });
    for (let index = 1; index <= 20; index++) await persist(log, [entry(index, 1, 700)]);
    await settle();
    disk.loseRename(1, (path) => path.includes('.snap'));
    await take(log, snapshotOf(log, 15), randomBytes(3000));
    const whole = disk.fork(simOptions());
    whole.crash('drop');
    expect((await open(whole, SMALL)).lastIndex()).toBe(20);
    log.compact(15);
    await settle();
    disk.syncDir(FOLDER);
    disk.crash('drop');
    await expect(open(disk, SMALL)).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('of one that was installed is told as soon as anything follows it', async () => {
    const disk = simDisk();
    const log = await open(disk, SMALL);
    log.saveVote({ term: 2, vote: 1, starts: 1 });
    for (let index = 1; index <= 4; index++) await persist(log, [entry(index, 1, 700)]);
    disk.loseRename(1, (path) => path.includes('.part'));
    const content = randomBytes(100);
    await install(log, { ...snapshotOf(log, 4), index: 50, term: 3, size: 100, count: 1 }, content);
    await persist(log, [entry(51, 3)]);
    await settle();
    disk.crash('drop');
    await expect(open(disk, SMALL)).rejects.toMatchObject({ code: 'corrupt' });
  });
});
