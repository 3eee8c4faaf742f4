import { describe, expect, it } from 'vitest';
import type { Log, LogOptions } from '../../src/log/types.js';
import { SimDisk } from '../../src/sim/disk.js';
import { seeded } from '../sim/seeded.js';
import {
  contents,
  entry,
  FOLDER,
  install,
  open,
  persist,
  randomBytes,
  SECOND_SEGMENT,
  settle,
  simDisk,
  snapshotOf,
  take,
  told,
} from './helper.js';

const SMALL: Partial<LogOptions> = { segmentBytes: 8192, tailBytes: 0 };

/** A log of one segment on a disk that has room for little more; what it says about room, and whether it failed. */
async function cramped(free = 4096): Promise<{ disk: SimDisk; log: Log; told: (boolean | string)[] }> {
  const disk = simDisk();
  disk.capacity = 8192 + 4096;
  const log = await open(disk, SMALL);
  const said: (boolean | string)[] = [];
  log.onRoom = (room) => said.push(room);
  log.onFailed = (error) => said.push(error.code);
  disk.capacity = disk.capacity - disk.free(FOLDER) + free;
  return { disk, log, told: said };
}

function isPersisted(log: Log, index: number): Promise<void> {
  return new Promise((resolve) => {
    log.onPersisted = (at) => {
      if (at === index) resolve();
    };
  });
}

describe('A log on a disk that is full', () => {
  it('says so as soon as there is no room for a spare, and that there is when there is', async () => {
    const { disk, log, told: said } = await cramped();
    expect(log.hasRoom).toBe(false);
    expect(log.checkRoom()).toBe(false);
    await persist(log, [entry(1, 1, 100)]);
    disk.capacity += 8192;
    expect(log.hasRoom).toBe(false);
    expect(log.checkRoom()).toBe(true);
    await settle();
    expect([log.hasRoom, disk.exists(SECOND_SEGMENT)]).toEqual([true, true]);
    log.onFailed = () => expect.fail('it failed');
    disk.capacity = 0;
    expect(log.checkRoom()).toBe(true);
    log.reserve(1);
    expect(said).toEqual([true, false]);
  });

  it('has room from the start where there is room, before any segment is made', async () => {
    expect((await open(simDisk(), SMALL)).hasRoom).toBe(true);
  });

  it('keeps the last segment for what is appended all the same', async () => {
    const { log, told: said } = await cramped();
    expect(log.checkRoom()).toBe(false);
    for (let index = 1; index <= 7; index++) await persist(log, [entry(index, 1, 40)]);
    expect([log.lastIndex(), said]).toEqual([7, []]);
  });

  it('lets a batch wait that has no segment, reads on, and writes it when there is room', async () => {
    const { disk, log, told: said } = await cramped();
    const entries = [entry(1, 1, 6000), entry(2, 1, 6000), entry(3, 1, 100)];
    await persist(log, [entries[0]!]);
    const persisted: number[] = [];
    log.onPersisted = (index) => persisted.push(index);
    log.append([entries[1]!]);
    log.flush();
    log.append([entries[2]!]);
    log.flush();
    await settle();
    for (let i = 0; i < 3; i++) expect(log.checkRoom()).toBe(false);
    await settle();
    expect([persisted, said]).toEqual([[], []]);
    expect(contents(log)).toEqual(entries.map(told));
    log.saveVote({ term: 5, vote: 1, starts: 1 });
    disk.capacity += 100_000;
    const written = isPersisted(log, 3);
    expect(log.checkRoom()).toBe(true);
    await written;
    disk.crash('drop');
    expect(contents(await open(disk, SMALL))).toEqual(entries.map(told));
  });

  it('never acknowledges what waits, and closes and opens without it', async () => {
    const { disk, log } = await cramped();
    await persist(log, [entry(1, 1, 6000)]);
    log.onPersisted = () => expect.fail('acknowledged');
    log.append([entry(2, 1, 6000)]);
    log.flush();
    await settle();
    await log.close();
    expect((await open(disk, SMALL)).lastIndex()).toBe(1);
  });

  it('closes when the disk fills up only then', async () => {
    const { disk, log } = await cramped(9000);
    await persist(log, [entry(1, 1, 6000)]);
    disk.fail('complete', 1, 'full', (path) => path.includes('.tmp'));
    log.append([entry(2, 1, 9000)]);
    log.flush();
    await log.close();
    expect((await open(disk, SMALL)).lastIndex()).toBe(1);
  });

  it('keeps room for a snapshot: as much as it is told, or as the newest one takes', async () => {
    const { disk, log } = await cramped(8192 + 5000);
    expect(log.checkRoom()).toBe(true);
    log.reserve(5001);
    expect(log.hasRoom).toBe(false);
    log.reserve(5000);
    expect(log.hasRoom).toBe(true);
    await persist(log, [entry(1)]);
    await settle();
    expect(disk.exists(SECOND_SEGMENT)).toBe(true);
    log.reserve(0);
    await take(log, snapshotOf(log, 1), randomBytes(1500));
    expect([log.checkRoom(), disk.free(FOLDER)]).toEqual([true, 5000 - 512 - 1536 - 512]);
    disk.capacity -= 1000;
    expect(log.checkRoom()).toBe(false);
  });

  it('makes no spare of the room that is kept for a snapshot', async () => {
    const { disk, log } = await cramped(8192 + 5000);
    log.reserve(6000);
    await persist(log, [entry(1)]);
    await settle();
    expect([log.checkRoom(), disk.exists(SECOND_SEGMENT)]).toEqual([false, false]);
    // A batch that needs it gets it.
    await persist(log, [entry(2, 1, 6500)]);
    await settle();
    expect(disk.exists(SECOND_SEGMENT)).toBe(true);
  });

  it('goes on by itself when a snapshot has made room', async () => {
    const disk = simDisk();
    const log = await open(disk, SMALL);
    for (let index = 1; index <= 4; index++) await persist(log, [entry(index, 1, 6000)]);
    await settle();
    disk.capacity -= disk.free(FOLDER);
    disk.capacity = 5 * 8192 + 8000;
    await persist(log, [entry(5, 1, 6000)]);
    log.append([entry(6, 1, 6000)]);
    log.flush();
    await settle();
    expect(log.hasRoom).toBe(false);
    const written = isPersisted(log, 6);
    await take(log, snapshotOf(log, 5), randomBytes(100));
    log.compact(5);
    await written;
    await settle();
    expect([log.checkRoom(), log.lastIndex()]).toEqual([true, 6]);
  });

  it('says by itself that there is room again, where a snapshot has made it', async () => {
    const disk = simDisk();
    disk.capacity = 1_000_000;
    const log = await open(disk, SMALL);
    for (let index = 1; index <= 4; index++) await persist(log, [entry(index, 1, 6000)]);
    await settle();
    await take(log, snapshotOf(log, 4), randomBytes(100));
    log.reserve(disk.free(FOLDER) + 8192);
    expect(log.hasRoom).toBe(false);
    const said: boolean[] = [];
    log.onRoom = (room) => said.push(room);
    log.compact(4);
    await settle();
    expect(said).toEqual([true]);
  });

  it('is emptied by an install although a batch waits for room', async () => {
    const { disk, log } = await cramped(8192);
    await persist(log, [entry(1, 1, 6000)]);
    await settle();
    await persist(log, [entry(2, 1, 6000)]);
    log.append([entry(3, 1, 6000)]);
    log.flush();
    await settle();
    const content = randomBytes(100);
    const info = { ...snapshotOf(log, 1), index: 50, term: 5, stateHash: 'b'.repeat(16), size: 100, count: 1 };
    const receiver = await log.receiveSnapshot(info);
    const fails = new Promise((resolve) => receiver.write(content, () => receiver.install(resolve)));
    expect(await fails).toMatchObject({ code: 'full' });
    expect([log.lastIndex(), log.snapshot]).toEqual([3, undefined]);
    disk.capacity += 8192 + 2048;
    await install(log, info, content);
    await settle();
    expect([log.firstIndex(), log.lastIndex()]).toEqual([51, 50]);
    await persist(log, [entry(51, 5)]);
    disk.crash('drop');
    const again = await open(disk, SMALL);
    expect([again.firstIndex(), again.lastIndex()]).toEqual([51, 51]);
  });

  it('fails all the same when a write of its own fails, for whatever reason', async () => {
    for (const code of ['io', 'full'] as const) {
      const { disk, log, told: said } = await cramped();
      disk.fail('write', 1, code, (path) => path.endsWith('.seg'));
      log.append([entry(1)]);
      log.flush();
      await settle();
      expect(said).toContain('disk');
    }
  });
});

describe('The latency of writes', () => {
  it('is that of the durable writes of the last seconds, and of the one under way', async () => {
    let now = 0;
    const pending: { at: number; callback: () => void }[] = [];
    const after = (ms: number, callback: () => void): void => void pending.push({ at: now + ms, callback });
    const disk = new SimDisk({ schedule: queueMicrotask, random: seeded(1), after });
    const log = await open(disk, { clock: { monotonic: () => now, wall: () => 0 } });
    const none = { writes: 0, medianMs: 0, slowestMs: 0, inFlightMs: 0 };
    expect(log.writeLatency()).toEqual(none);
    await persist(log, [entry(1)]);
    await settle();
    disk.latency = (path) => (path.endsWith('.seg') ? 30 : 0);
    for (const index of [2, 3]) {
      const written = persist(log, [entry(index)]);
      now += 20;
      expect(log.writeLatency().inFlightMs).toBe(20);
      now += index * 10;
      for (const { callback } of pending.splice(0)) callback();
      await written;
    }
    expect(log.writeLatency()).toEqual({ writes: 3, medianMs: 40, slowestMs: 50, inFlightMs: 0 });
    now += 10_001;
    expect(log.writeLatency()).toEqual(none);
  });
});
