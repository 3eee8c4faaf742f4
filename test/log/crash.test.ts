import { describe, expect, it } from 'vitest';
import { fillPattern } from '../../src/log/sector.js';
import type { DiskStep, SimDisk } from '../../src/sim/disk.js';
import { type CrashPoint, crashed, crashPoints, named } from './crash.js';
import { contents, entry, FOLDER, open, persist, SECOND_SEGMENT, settle, simDisk, simOptions, told } from './helper.js';
import { SMALL, Workload } from './workload.js';

/** Sweeps take seconds on a quiet machine, and must not fail on a busy one. */
const SWEEP = { timeout: 180_000 };

describe('A crash', () => {
  it(
    'at any step loses nothing that was acknowledged and makes nothing up, whatever unsynced sectors it leaves',
    SWEEP,
    async () => {
      for (const seed of [1, 2]) {
        const { workload, points } = await crashPoints(seed, 40);
        expect(points.length).toBeGreaterThan(150);
        expect(points.at(-1)!.promised.acknowledged).toBeGreaterThan(20);
        for (const [number, point] of points.entries()) {
          for (const mode of ['drop', 'tear', 'kill'] as const) {
            const dice = seed * 100_000 + number;
            await named(`seed ${seed}, step ${number} (${point.at}), ${mode}`, async () => {
              await workload.check(crashed(point, mode, dice), point.promised);
            });
          }
        }
      }
    },
  );

  it(
    'loses nothing either while snapshots are taken, received and installed, and segments dropped',
    SWEEP,
    async () => {
      for (const seed of [1, 2, 3]) {
        const { workload, points } = await crashPoints(seed, 40, true);
        expect(points.at(-1)!.promised.finished).toBeGreaterThan(1);
        for (const [number, point] of points.entries()) {
          if (number % 3 !== seed % 3) continue;
          for (const mode of ['drop', 'tear', 'kill'] as const) {
            await named(`seed ${seed}, step ${number} (${point.at}), ${mode}`, async () => {
              await workload.check(crashed(point, mode, seed * 100_000 + number), point.promised);
            });
          }
        }
      }
    },
  );

  it('at any step of recovery from a crash is recovered from as well (every 7th crash point)', SWEEP, async () => {
    const { workload, points } = await crashPoints(4, 40, true);
    let checked = 0;
    for (let number = 0; number < points.length; number += 7) {
      const point = points[number]!;
      const first = crashed(point, 'tear', number);
      const inner: CrashPoint[] = [];
      first.onStep = (step, path) => {
        inner.push({ disk: first.fork(simOptions(number)), promised: point.promised, at: `${step} ${path}` });
      };
      await open(first, SMALL);
      first.onStep = () => {};
      for (const [i, again] of inner.entries()) {
        const mode = i % 3 === 0 ? 'kill' : 'tear';
        await named(`step ${number} (${point.at}), then ${i} (${again.at}), ${mode}`, async () => {
          await workload.check(crashed(again, mode, number * 1000 + i), again.promised);
        });
        checked++;
      }
    }
    expect(checked).toBeGreaterThan(300);
  });
});

describe('A batch that was torn as the first of its segment', () => {
  /** Two entries in the first segment, a torn batch in the second, a spare behind, and room in the first. */
  async function torn(): Promise<{ disk: SimDisk; whole: string[] }> {
    const disk = simDisk();
    const log = await open(disk, SMALL);
    const entries = [entry(1, 1, 900), entry(2, 1, 100)];
    for (const each of entries) await persist(log, [each]);
    await persist(log, [entry(3, 1, 1600)]);
    await settle();
    const { identity } = log.folder;
    await log.close();
    expect(disk.list(FOLDER).filter((name) => name.endsWith('.seg')).length).toBe(3);
    const file = disk.content(SECOND_SEGMENT);
    fillPattern({ identity, generation: 1, segment: 2 }, 1536, file.subarray(1536, 2048));
    disk.plant(SECOND_SEGMENT, file);
    return { disk, whole: entries.map(told) };
  }

  it('is cut off for good, although the next batch goes to the segment before', async () => {
    const { disk, whole } = await torn();
    const log = await open(disk, SMALL);
    expect(contents(log)).toEqual(whole);
    const more = entry(3, 2, 100);
    log.append([more]);
    log.onPersisted = () => disk.crash('drop');
    log.flush();
    await settle();
    expect(contents(await open(disk, SMALL))).toEqual([...whole, told(more)]);
  });

  it('is cut off as well when a crash interrupts that at any step, whatever it leaves', async () => {
    const { disk, whole } = await torn();
    const inner: SimDisk[] = [];
    disk.onStep = () => inner.push(disk.fork(simOptions()));
    await open(disk, SMALL);
    disk.onStep = () => {};
    expect(inner.length).toBeGreaterThan(8);
    for (const [step, point] of inner.entries()) {
      for (let seed = 1; seed <= 8; seed++) {
        const fork = point.fork(simOptions(seed));
        fork.crash('tear');
        await named(`step ${step}, seed ${seed}`, async () => {
          expect(contents(await open(fork, SMALL))).toEqual(whole);
        });
      }
    }
  });
});

describe('A failed step', () => {
  /** Lets the `nth` step of a kind fail, restarts the process, and checks what it finds. False when there is no such step. */
  async function fails(step: DiskStep, nth: number, evict: boolean, snapshots = false): Promise<boolean> {
    const disk = simDisk(nth);
    const workload = new Workload(disk, 5, snapshots);
    let count = 0;
    disk.onStep = (kind) => {
      if (kind === step) count++;
    };
    disk.fail(step, nth, 'io');
    await workload.run(40);
    if (count < nth) return false;
    disk.crash('kill');
    if (evict) disk.evict();
    await named(`${step} ${nth}, evict ${evict}`, () => workload.check(disk, workload.promised));
    return true;
  }

  for (const step of ['write', 'complete', 'sync', 'rename', 'syncDir', 'create', 'unlink'] as const) {
    it(
      `(${step}) is final, and the next start trusts no page cache, whether it still holds what the disk does not or no longer`,
      SWEEP,
      async () => {
        let nth = 1;
        for (; await fails(step, nth, nth % 2 === 0); nth++) await fails(step, nth, nth % 2 === 1);
        expect(nth).toBeGreaterThan(1);
      },
    );

    it(`(${step}) is final also while snapshots are taken and installed (every 5th)`, SWEEP, async () => {
      let nth = 1;
      while (await fails(step, nth, nth % 2 === 0, true)) nth += 5;
      expect(nth).toBeGreaterThan(1);
    });
  }
});
