import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LogError } from '../../src/log/types.js';
import type { Entry } from '../../src/raft/types.js';
import {
  contents,
  entry,
  FIRST_SEGMENT,
  FOLDER,
  open,
  persist,
  SECOND_SEGMENT,
  settle,
  simDisk,
  told,
} from './helper.js';

describe('A log', () => {
  it('starts empty, with an identity that stays', async () => {
    const disk = simDisk();
    const log = await open(disk);
    expect([log.lastIndex(), log.term(0)]).toEqual([0, 0]);
    expect(log.folder).toMatchObject({ format: 1, nodeId: 1 });
    expect(log.folder.identity.length).toBe(16);
    expect(log.vote).toEqual({ term: 0, vote: 0, starts: 0 });
    expect(log.founding).toBeUndefined();
    await log.close();
    const again = await open(disk, { random: { float: () => 0, bytes: () => new Uint8Array(16) } });
    expect(again.folder).toEqual(log.folder);
  });

  it('gives back after a restart what was persisted', async () => {
    const disk = simDisk();
    const log = await open(disk);
    const entries = [entry(1), entry(2), entry(3, 2, 0), entry(4, 2, 1000)];
    await persist(log, entries);
    expect(contents(log)).toEqual(entries.map(told));
    await log.close();
    const again = await open(disk);
    expect(contents(again)).toEqual(entries.map(told));
    expect([1, 2, 3, 4].map((index) => again.term(index))).toEqual([1, 1, 2, 2]);
  });

  it('forgets what was appended and never flushed', async () => {
    const disk = simDisk();
    const log = await open(disk);
    await persist(log, [entry(1)]);
    log.append([entry(2)]);
    expect(log.lastIndex()).toBe(2);
    await log.close();
    expect((await open(disk)).lastIndex()).toBe(1);
  });

  it('persists what was flushed before it closes', async () => {
    const disk = simDisk();
    const log = await open(disk);
    log.append([entry(1)]);
    log.flush();
    log.append([entry(2)]);
    log.flush();
    await log.close();
    expect((await open(disk)).lastIndex()).toBe(2);
  });

  it('has one write in flight, and makes all that came meanwhile the next', async () => {
    const disk = simDisk();
    const log = await open(disk);
    await persist(log, [entry(1)]);
    await settle();
    const persisted: number[][] = [];
    log.onPersisted = (index, term) => persisted.push([index, term]);
    disk.hold();
    const before = disk.writes;
    for (let index = 2; index <= 6; index++) {
      log.append([entry(index)]);
      log.flush();
    }
    expect(disk.writes - before).toBe(1);
    expect(persisted).toEqual([]);
    disk.letGo();
    await settle();
    expect(disk.writes - before).toBe(2);
    expect(persisted).toEqual([
      [2, 1],
      [6, 1],
    ]);
  });

  it('writes at most batchBytes at a time, and a larger record alone', async () => {
    const disk = simDisk();
    const log = await open(disk, { batchBytes: 1000, segmentBytes: 16_384 });
    const persisted: number[] = [];
    log.onPersisted = (index) => persisted.push(index);
    log.append([entry(1, 1, 400), entry(2, 1, 400), entry(3, 1, 400), entry(4, 1, 3000), entry(5, 1, 10)]);
    log.flush();
    await settle();
    expect(persisted).toEqual([2, 3, 4, 5]);
  });

  it('vouches for a write with the term that its last entry had then', async () => {
    const disk = simDisk();
    const log = await open(disk);
    const persisted: number[][] = [];
    log.onPersisted = (index, term) => persisted.push([index, term]);
    disk.hold();
    log.append([entry(1), entry(2), entry(3)]);
    log.flush();
    log.append([entry(2, 2)]);
    log.flush();
    disk.letGo();
    await settle();
    expect(persisted).toEqual([
      [3, 1],
      [2, 2],
    ]);
  });

  it('may be superseded and shortened while a write waits for its segment', async () => {
    const disk = simDisk();
    disk.capacity = 8000;
    const log = await open(disk, { segmentBytes: 4096 });
    await persist(log, [entry(1, 1, 2500)]);
    await settle();
    expect(disk.exists(SECOND_SEGMENT)).toBe(false);
    disk.capacity = 100_000;
    disk.hold();
    log.append([entry(2, 1, 900), entry(3, 1, 900), entry(4, 1, 900)]);
    log.flush();
    const newer = entry(2, 2, 10);
    log.append([newer]);
    log.flush();
    disk.letGo();
    await settle();
    await log.close();
    const again = await open(disk, { segmentBytes: 4096 });
    expect(contents(again)[1]).toEqual(told(newer));
    expect(again.lastIndex()).toBe(2);
  });

  it('is superseded from an index on, in memory and over restarts', async () => {
    const disk = simDisk();
    let log = await open(disk, { segmentBytes: 2048 });
    const first = [1, 2, 3, 4, 5].map((index) => entry(index, 1, 300));
    await persist(log, first);
    const second = [entry(3, 2, 300), entry(4, 2, 300)];
    await persist(log, second);
    const expected = [...first.slice(0, 2), ...second].map(told);
    expect(contents(log)).toEqual(expected);
    await log.close();
    log = await open(disk, { segmentBytes: 2048 });
    expect(contents(log)).toEqual(expected);
    const third = [entry(1, 3, 300)];
    await persist(log, third);
    await log.close();
    expect(contents(await open(disk, { segmentBytes: 2048 }))).toEqual(third.map(told));
  });

  it('rolls over to segments made ahead, and reads across them', async () => {
    const disk = simDisk();
    const log = await open(disk, { segmentBytes: 4096 });
    const entries: Entry[] = [];
    for (let index = 1; index <= 40; index++) {
      entries.push(entry(index, 1, 700));
      await persist(log, [entries.at(-1)!]);
    }
    const segments = disk.list(FOLDER).filter((name) => name.endsWith('.seg'));
    expect(segments.length).toBeGreaterThan(10);
    await log.close();
    expect(contents(await open(disk, { segmentBytes: 4096, cacheBytes: 0 }))).toEqual(entries.map(told));
  });

  it('gives a record that no segment has room for one of its own, with the spare made or in the making', async () => {
    for (const wait of [true, false]) {
      const disk = simDisk();
      const log = await open(disk, { segmentBytes: 4096 });
      const entries = [entry(1, 1, 10), entry(2, 1, 20_000), entry(3, 1, 10), entry(4, 1, 9000)];
      for (const each of entries) {
        await persist(log, [each]);
        if (wait) await settle();
      }
      expect(disk.content(SECOND_SEGMENT).length).toBeGreaterThan(20_000);
      await log.close();
      expect(contents(await open(disk, { segmentBytes: 4096 }))).toEqual(entries.map(told));
    }
  });

  it('reads old entries back from disk and keeps in memory what is not written yet', async () => {
    const disk = simDisk();
    const log = await open(disk, { cacheBytes: 500 });
    const entries = [1, 2, 3, 4, 5, 6, 7, 8].map((index) => entry(index, 1, 200));
    await persist(log, entries.slice(0, 3));
    await persist(log, entries.slice(3, 6));
    log.append(entries.slice(6));
    expect(contents(log)).toEqual(entries.map(told));
    expect(log.entries(2, 8, 0).map(told)).toEqual([told(entries[1]!)]);
    expect(log.entries(2, 8, 264 * 3).map((each) => each.index)).toEqual([2, 3, 4]);
    expect(log.entries(5, 5, 1_000_000).map((each) => each.index)).toEqual([5]);
    expect(() => log.entries(1, 9, 1_000_000)).toThrow('no entry 9');
    expect(() => log.entries(0, 2, 1)).toThrow('no entry 0');
    expect(() => log.term(9)).toThrow('no entry 9');
  });

  it('does not hand out an entry that rotted on disk since', async () => {
    const disk = simDisk();
    const log = await open(disk, { cacheBytes: 0 });
    await persist(log, [entry(1), entry(2)]);
    disk.flipBit(FIRST_SEGMENT, (512 + 512 + 104 + 70) * 8);
    expect(log.entries(1, 1, 1).length).toBe(1);
    expect(() => log.entries(1, 2, 10_000)).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  it('refuses gaps, terms that go back, and records that say something else', async () => {
    const log = await open(simDisk());
    log.append([entry(1, 2)]);
    expect(() => log.append([entry(3, 2)])).toThrow('entry 3 does not follow entry 1');
    expect(() => log.append([entry(2, 1)])).toThrow('term 1');
    expect(() => log.append([entry(0, 2)])).toThrow('entry 0');
    expect(() => log.append([{ ...entry(2, 2), term: 3 }])).toThrow('says 2 of 2');
    expect(log.lastIndex()).toBe(1);
  });

  it('is the same as a plain list, whatever is appended, superseded, flushed, read and reopened', async () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constant('append' as const),
        back: fc.nat(3),
        count: fc.integer({ min: 1, max: 4 }),
        size: fc.nat(900),
      }),
      fc.constant({ do: 'flush' as const }),
      fc.constant({ do: 'settle' as const }),
      fc.constant({ do: 'reopen' as const }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.nat(3000), async (steps, cacheBytes) => {
        const disk = simDisk();
        const options = { segmentBytes: 4096, batchBytes: 1500, cacheBytes };
        let log = await open(disk, options);
        let list: Entry[] = [];
        let term = 1;
        for (const each of steps) {
          if (each.do === 'append') {
            const from = Math.max(1, list.length + 1 - each.back);
            if (from <= list.length) term++;
            list = list.slice(0, from - 1);
            for (let i = 0; i < each.count; i++) list.push(entry(from + i, term, each.size));
            log.append(list.slice(from - 1));
          } else if (each.do === 'flush') log.flush();
          else if (each.do === 'settle') await settle();
          else {
            log.flush();
            await log.close();
            log = await open(disk, options);
          }
          expect(contents(log)).toEqual(list.map(told));
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe('Term, vote and founding record', () => {
  const founding = {
    clusterId: new Uint8Array(16).fill(7),
    members: [
      { id: 1, address: '127.0.0.1:8080', identity: new Uint8Array(16).fill(1) },
      { id: 2, address: 'höst:1', identity: new Uint8Array(16).fill(2) },
    ],
  };

  it('are durable when their call returns', async () => {
    const disk = simDisk();
    const log = await open(disk);
    log.saveVote({ term: 3, vote: 2, starts: 1 });
    log.found(founding);
    expect(log.vote).toEqual({ term: 3, vote: 2, starts: 1 });
    disk.crash('drop');
    const again = await open(disk);
    expect(again.vote).toEqual({ term: 3, vote: 2, starts: 1 });
    expect(again.founding).toEqual(founding);
    expect(() => again.found(founding)).toThrow('already');
  });

  it('never go back, nor does a vote change within its term', async () => {
    const log = await open(simDisk());
    log.saveVote({ term: 3, vote: 0, starts: 1 });
    log.saveVote({ term: 3, vote: 2, starts: 1 });
    log.saveVote({ term: 3, vote: 2, starts: 2 });
    expect(() => log.saveVote({ term: 3, vote: 1, starts: 2 })).toThrow('cannot go to 1');
    expect(() => log.saveVote({ term: 2, vote: 2, starts: 2 })).toThrow('never go back');
    expect(() => log.saveVote({ term: 4, vote: 2, starts: 1 })).toThrow('never go back');
  });

  it('are taken from the newer copy, whichever that is', async () => {
    for (const stale of ['vote-1', 'vote-2']) {
      const disk = simDisk();
      const log = await open(disk);
      log.saveVote({ term: 3, vote: 2, starts: 1 });
      const old = disk.content(`${FOLDER}/${stale}`);
      log.saveVote({ term: 4, vote: 1, starts: 1 });
      await log.close();
      disk.plant(`${FOLDER}/${stale}`, old);
      const again = await open(disk);
      expect(again.vote).toEqual({ term: 4, vote: 1, starts: 1 });
      await again.close();
      expect(disk.content(`${FOLDER}/vote-1`)).toEqual(disk.content(`${FOLDER}/vote-2`));
    }
  });

  it('of which one copy is bad are taken from the other, and the operator is told', async () => {
    for (const bad of ['vote-1', 'vote-2']) {
      const disk = simDisk();
      const log = await open(disk);
      log.saveVote({ term: 3, vote: 2, starts: 1 });
      await log.close();
      disk.flipBit(`${FOLDER}/${bad}`, 130);
      const warnings: string[] = [];
      const again = await open(disk, { onWarning: (message) => warnings.push(message) });
      expect(again.vote).toEqual({ term: 3, vote: 2, starts: 1 });
      expect(warnings).toEqual([expect.stringContaining(bad)]);
      await again.close();
      const third = await open(disk, { onWarning: (message) => warnings.push(message) });
      expect(third.vote).toEqual({ term: 3, vote: 2, starts: 1 });
      expect(warnings.length).toBe(1);
    }
  });
});

describe('A log whose disk fails', () => {
  it('tells it once and never acknowledges again', async () => {
    const disk = simDisk();
    const log = await open(disk);
    await persist(log, [entry(1)]);
    await settle();
    const told: string[] = [];
    log.onPersisted = (index) => told.push(`persisted ${index}`);
    log.onFailed = (error) =>
      told.push(`${error instanceof LogError && error.code}: ${error.message.includes(FIRST_SEGMENT)}`);
    disk.fail('write', 1, 'io');
    log.append([entry(2)]);
    log.flush();
    log.append([entry(3)]);
    log.flush();
    await settle();
    log.append([entry(4)]);
    log.flush();
    await settle();
    expect(told).toEqual(['disk: true']);
    expect(() => log.saveVote({ term: 9, vote: 1, starts: 1 })).toThrow(LogError);
    await log.close();
  });

  it('throws from saveVote, and acknowledges nothing after that', async () => {
    const disk = simDisk();
    const log = await open(disk);
    await settle();
    let persisted = false;
    log.onPersisted = () => {
      persisted = true;
    };
    disk.hold();
    log.append([entry(1)]);
    log.flush();
    disk.fail('write', 2, 'io');
    expect(() => log.saveVote({ term: 1, vote: 1, starts: 1 })).toThrow(expect.objectContaining({ code: 'disk' }));
    disk.letGo();
    await settle();
    expect(persisted).toBe(false);
  });

  it('warns when there is no room for a spare, and makes it when there is', async () => {
    const disk = simDisk();
    disk.capacity = 8192 + 4096;
    const warnings: string[] = [];
    const log = await open(disk, { segmentBytes: 8192, onWarning: (message) => warnings.push(message) });
    await persist(log, [entry(1, 1, 6000)]);
    await settle();
    expect(warnings).toEqual([expect.stringContaining('no room for a spare segment')]);
    expect(disk.list(FOLDER).filter((name) => name.includes('wal'))).toEqual(['wal-0000000001-0000000001.seg']);
    disk.capacity = 100_000;
    await persist(log, [entry(2, 1, 6000)]);
    await settle();
    expect(warnings.length).toBe(1);
  });

  it('fails when the spare cannot be made for another reason', async () => {
    const disk = simDisk();
    disk.fail('complete', 2, 'io', (path) => path.startsWith(SECOND_SEGMENT));
    const log = await open(disk, { segmentBytes: 1 << 20 });
    const failures: string[] = [];
    log.onFailed = (error) => failures.push(error.code);
    log.append([entry(1)]);
    log.flush();
    await settle();
    expect(failures).toEqual(['disk']);
  });

  it('does not open when the disk fails under it, and leaves no lock', async () => {
    for (const step of ['create', 'write', 'sync', 'rename', 'syncDir'] as const) {
      const disk = simDisk();
      disk.fail(step, 1, 'io');
      await expect(open(disk)).rejects.toMatchObject({ code: 'disk' });
      expect((await open(disk)).lastIndex()).toBe(0);
    }
  });
});

describe('A folder', () => {
  it('is opened once at a time', async () => {
    const disk = simDisk();
    const log = await open(disk);
    await expect(open(disk)).rejects.toMatchObject({ code: 'locked', message: expect.stringContaining(FOLDER) });
    await log.close();
    await (await open(disk)).close();
  });

  it('is refused to another node, which is told whose it is', async () => {
    const disk = simDisk();
    await (await open(disk)).close();
    const message = expect.stringMatching(/node 1;.*node 2/);
    await expect(open(disk, { nodeId: 2 })).rejects.toMatchObject({ code: 'other-node', message });
    await (await open(disk)).close();
  });

  it('loses the segment whose making was interrupted', async () => {
    const disk = simDisk();
    await (await open(disk)).close();
    disk.plant(`${SECOND_SEGMENT}.tmp`, new Uint8Array(1000));
    const log = await open(disk);
    await persist(log, [entry(1)]);
    await settle();
    await log.close();
    expect(disk.list(FOLDER)).toEqual([
      'meta',
      'vote-1',
      'vote-2',
      ...[1, 2].map((n) => `wal-0000000001-000000000${n}.seg`),
    ]);
  });

  it('has a spare again after a restart', async () => {
    const disk = simDisk();
    for (let start = 0; start < 3; start++) {
      const log = await open(disk);
      await persist(log, [entry(start + 1)]);
      await settle();
      expect(disk.exists(SECOND_SEGMENT)).toBe(true);
      await log.close();
    }
  });
});
