import { describe, expect, it } from 'vitest';
import { fillPattern } from '../../src/log/sector.js';
import { BLOCK_BYTES, BLOCK_CONTENT } from '../../src/log/snapshot-file.js';
import { type Log, LogError, type NewSnapshot, type SnapshotInfo } from '../../src/log/types.js';
import type { SimDisk } from '../../src/sim/disk.js';
import {
  contents,
  done,
  entry,
  FIRST_SEGMENT,
  FOLDER,
  install,
  open,
  persist,
  randomBytes,
  settle,
  simDisk,
  snapshotContent,
  snapshotOf,
  take,
  told,
} from './helper.js';

const NO_TAIL = { tailBytes: 0, segmentBytes: 4096 };
const segments = (disk: SimDisk): string[] => disk.list(FOLDER).filter((name) => name.endsWith('.seg'));
const snapshots = (disk: SimDisk): string[] => disk.list(FOLDER).filter((name) => name.includes('.snap'));
const partials = (disk: SimDisk): string[] => disk.list(FOLDER).filter((name) => name.endsWith('.part'));

/** A log with entries 1 … `count`, each a batch of its own. */
async function filled(disk: SimDisk, count: number, options = {}): Promise<Log> {
  const log = await open(disk, { ...NO_TAIL, ...options });
  log.saveVote({ term: 1, vote: 1, starts: 1 });
  for (let index = 1; index <= count; index++) await persist(log, [entry(index, 1, 700)]);
  await settle();
  return log;
}

/** What a leader would send: a snapshot that ends with `index`. */
function remote(index: number, content: Uint8Array, term = 5): SnapshotInfo {
  const stateHash = index.toString(16).padStart(16, 'c');
  return { index, term, logTime: 7, stateHash, meta: randomBytes(600, 1), size: content.length, count: 3 };
}

async function code(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
  } catch (error) {
    if (error instanceof LogError) return error.code;
    throw error;
  }
  return 'none';
}

describe('A snapshot', () => {
  it('is given back after a restart, content, meta and all, of any length', async () => {
    for (const length of [0, 1, 5000, BLOCK_CONTENT - 1, BLOCK_CONTENT, BLOCK_CONTENT + 1, 2 * BLOCK_CONTENT + 777]) {
      const disk = simDisk();
      const log = await filled(disk, 3);
      const content = randomBytes(length);
      const info = snapshotOf(log, 2, { meta: randomBytes(length % 1500) });
      await take(log, info, content);
      const whole = { ...info, size: length, count: 7 };
      expect(log.snapshot).toEqual(whole);
      expect(Buffer.compare(snapshotContent(log)!, content)).toBe(0);
      disk.crash('drop');
      const again = await open(disk, NO_TAIL);
      expect(again.snapshot).toEqual(whole);
      expect(Buffer.compare(snapshotContent(again)!, content)).toBe(0);
      expect([again.firstIndex(), again.lastIndex()]).toEqual([1, 3]);
    }
  });

  it('is read from any offset, in pieces of any length', async () => {
    const log = await filled(simDisk(), 2);
    const content = randomBytes(2 * BLOCK_CONTENT + 100);
    await take(log, snapshotOf(log, 2), content);
    const reader = log.openSnapshot()!;
    for (const [offset, length] of [
      [0, 10],
      [BLOCK_CONTENT - 5, 10],
      [content.length - 3, 10],
      [7, 2 * BLOCK_CONTENT],
      [content.length, 5],
      [content.length + 9, 5],
    ] as const) {
      const into = new Uint8Array(length);
      const read = reader.read(offset, into);
      expect(Buffer.compare(into.subarray(0, read), content.subarray(offset, offset + length))).toBe(0);
    }
    reader.close();
  });

  it('takes the place of an older one, which who reads it still can', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    const older = randomBytes(3000);
    await take(log, snapshotOf(log, 2), older);
    const reader = log.openSnapshot()!;
    await take(log, snapshotOf(log, 4), randomBytes(10));
    await settle();
    expect(snapshots(disk)).toEqual(['snapshot-0000000001-0000000000000004.snap']);
    const bytes = new Uint8Array(3000);
    reader.read(0, bytes);
    expect(Buffer.compare(bytes, older)).toBe(0);
    expect(() => log.beginSnapshot(snapshotOf(log, 3))).toThrow('a newer snapshot than 3');
    // The same index once more: for when the file has rotted.
    await take(log, snapshotOf(log, 4), older);
    expect(snapshotContent(log)).toEqual(older);
  });

  it('is refused of what the log does not hold', async () => {
    const log = await filled(simDisk(), 2);
    const info = snapshotOf(log, 2);
    expect(() => log.beginSnapshot({ ...info, index: 3 })).toThrow('entry 3 of term 1, which is not in the log');
    expect(() => log.beginSnapshot({ ...info, term: 2 })).toThrow('not in the log');
    expect(() => log.beginSnapshot({ ...info, index: 0, term: 0 })).toThrow('not in the log');
    log.beginSnapshot(info);
    expect(() => log.beginSnapshot(info)).toThrow('two snapshots at once');
  });

  it('gets its name only when the log is durable up to its last entry', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    log.append([entry(3), entry(4)]);
    const writer = log.beginSnapshot(snapshotOf(log, 3));
    let named = false;
    writer.finish({ count: 0, stateHash: snapshotOf(log, 3).stateHash }, () => {
      named = true;
    });
    await settle();
    expect([named, log.snapshot]).toEqual([false, undefined]);
    log.flush();
    await settle();
    expect([named, log.snapshot?.index]).toEqual([true, 3]);
  });

  it('is written in the background: the log goes on between its blocks', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    const writer = log.beginSnapshot(snapshotOf(log, 2));
    const writes: number[] = [];
    disk.onStep = (step, path) => {
      if (step === 'write' && path.endsWith('.snap.tmp')) writes.push(1);
      if (step === 'sync') throw new Error(`a sync of ${path}`);
    };
    let over = false;
    writer.write(randomBytes(3 * BLOCK_CONTENT), () => {
      over = true;
    });
    expect([over, writes.length]).toEqual([false, 1]);
    await persist(log, [entry(3)]);
    await settle();
    expect([over, writes.length]).toEqual([true, 3]);
  });

  it('leaves nothing behind when it is given up, or the disk is full', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    const info = snapshotOf(log, 2);
    const given = log.beginSnapshot(info);
    given.write(randomBytes(BLOCK_BYTES), () => expect.fail('called back'));
    given.abort();
    await settle();
    expect(snapshots(disk)).toEqual([]);
    disk.capacity = 100_000;
    expect(await code(() => take(log, info, randomBytes(BLOCK_BYTES)))).toBe('full');
    expect([snapshots(disk), log.snapshot]).toEqual([[], undefined]);
    disk.capacity = Number.POSITIVE_INFINITY;
    await persist(log, [entry(3)]);
    await take(log, info, randomBytes(10));
    expect(log.snapshot?.index).toBe(2);
  });

  it('that cannot be written for another reason fails the log', async () => {
    for (const step of ['write', 'rename', 'syncDir'] as const) {
      const disk = simDisk();
      const log = await filled(disk, 2);
      const failures: string[] = [];
      log.onFailed = (error) => failures.push(error.code);
      disk.fail(step, 1, 'io');
      expect(await code(() => take(log, snapshotOf(log, 2), randomBytes(10)))).toBe('disk');
      expect(failures).toEqual(['disk']);
    }
  });

  it('whose writing was interrupted is gone after a restart', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    await done((then) => log.beginSnapshot(snapshotOf(log, 2)).write(randomBytes(BLOCK_BYTES), then));
    disk.crash('kill');
    expect(snapshots(disk).length).toBe(1);
    const again = await open(disk, NO_TAIL);
    expect([snapshots(disk), again.snapshot, again.lastIndex()]).toEqual([[], undefined, 2]);
  });

  it('is checked against what was announced', async () => {
    const log = await filled(simDisk(), 2);
    const writer = log.beginSnapshot(snapshotOf(log, 2));
    let rejected: unknown;
    const listener = (error: unknown): void => {
      rejected = error;
    };
    process.once('unhandledRejection', listener);
    writer.finish({ count: 1, stateHash: 'f'.repeat(16) }, () => {});
    await settle();
    await settle();
    process.removeListener('unhandledRejection', listener);
    expect(String(rejected)).toContain('announced with state hash');
  });
});

describe('Compaction', () => {
  it('drops the segments that hold nothing behind the snapshot, from memory too', async () => {
    const disk = simDisk();
    const log = await filled(disk, 30);
    const all = contents(log);
    log.compact(30);
    expect(log.firstIndex()).toBe(1);
    const before = log.logBytes;
    await take(log, snapshotOf(log, 20), randomBytes(100));
    expect(log.logBytes).toBeLessThan(before / 2);
    const files = segments(disk).length;
    log.compact(20);
    await settle();
    const first = log.firstIndex();
    expect(first).toBeGreaterThan(15);
    expect(first).toBeLessThanOrEqual(21);
    expect(log.term(first - 1)).toBe(1);
    expect(() => log.term(first - 2)).toThrow(`no entry ${first - 2}`);
    expect(() => log.entries(first - 1, 30, 1)).toThrow('no entry');
    expect(contents(log)).toEqual(all.slice(first - 1));
    expect(segments(disk).length).toBeLessThan(files - 5);
    await log.close();
    const again = await open(disk, NO_TAIL);
    // The first entry gives up its place: the term before the first must be known.
    expect(again.firstIndex()).toBeLessThanOrEqual(first + 1);
    expect(again.term(again.firstIndex() - 1)).toBe(1);
    expect(contents(again)).toEqual(all.slice(again.firstIndex() - 1));
    await persist(again, [entry(31, 2)]);
    await take(again, snapshotOf(again, 31), randomBytes(100));
    again.compact(31);
    expect(again.lastIndex()).toBe(31);
  });

  it('keeps what is asked to be kept, and the tail', async () => {
    const disk = simDisk();
    const log = await filled(disk, 30, { tailBytes: 12_000 });
    await take(log, snapshotOf(log, 30), randomBytes(100));
    log.compact(12);
    const kept = log.firstIndex();
    expect(kept).toBeLessThanOrEqual(13);
    expect(kept).toBeGreaterThan(6);
    log.compact(30);
    // 12,000 bytes are six to eight batches of one entry each.
    expect(log.firstIndex()).toBeGreaterThan(16);
    expect(log.firstIndex()).toBeLessThanOrEqual(25);
  });

  it('reads old entries behind it from disk, whatever was open', async () => {
    const disk = simDisk();
    const log = await filled(disk, 20, { cacheBytes: 0 });
    const all = contents(log);
    await take(log, snapshotOf(log, 10), randomBytes(100));
    log.compact(10);
    await settle();
    expect(contents(log)).toEqual(all.slice(log.firstIndex() - 1));
  });

  it('keeps files and memory bounded under endless writes, over restarts', async () => {
    const disk = simDisk();
    let log = await filled(disk, 1);
    for (let round = 0; round < 30; round++) {
      for (let i = 0; i < 10; i++) await persist(log, [entry(log.lastIndex() + 1, 1, 700)]);
      await take(log, snapshotOf(log, log.lastIndex() - 1), randomBytes(100));
      log.compact(log.lastIndex());
      await settle();
      if (round % 10 === 9) {
        await log.close();
        log = await open(disk, NO_TAIL);
      }
      expect(segments(disk).length).toBeLessThan(5);
      expect(log.lastIndex() - log.firstIndex()).toBeLessThan(8);
      expect(log.logBytes).toBeLessThan(4096);
    }
    expect(log.lastIndex()).toBe(301);
  });

  it('that a crash interrupted leaves any of the files, and the log opens', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const disk = simDisk(seed);
      const log = await filled(disk, 30);
      const all = contents(log);
      await take(log, snapshotOf(log, 27), randomBytes(100));
      log.compact(27);
      await settle();
      disk.crash('tear');
      const again = await open(disk, NO_TAIL);
      expect(again.firstIndex()).toBeLessThanOrEqual(28);
      expect(contents(again)).toEqual(all.slice(again.firstIndex() - 1));
    }
  });

  it('never drops the segment of the last durable batch while the next one is on its way elsewhere', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    await take(log, snapshotOf(log, 2), randomBytes(10));
    await settle();
    disk.hold();
    log.append([entry(3, 1, 700)]);
    log.flush();
    log.compact(2);
    disk.letGo();
    disk.crash('drop');
    expect(segments(disk)).toHaveLength(2);
    const again = await open(disk, NO_TAIL);
    expect([again.lastIndex(), again.snapshot?.index]).toEqual([2, 2]);
  });

  it('of more than the snapshot has leads to a folder that does not open', async () => {
    const disk = simDisk();
    const log = await filled(disk, 30);
    await take(log, snapshotOf(log, 3), randomBytes(100));
    await log.close();
    for (const name of segments(disk).slice(0, 8)) disk.unlink(`${FOLDER}/${name}`);
    const message = expect.stringMatching(/the log has \d+ to 30, the snapshot ends with 3/);
    await expect(open(disk, NO_TAIL)).rejects.toMatchObject({ code: 'corrupt', message });
  });
});

describe('A snapshot that was received', () => {
  it('takes the place of a log that ends before it, and the log goes on behind it', async () => {
    const disk = simDisk();
    const log = await filled(disk, 10);
    const content = randomBytes(BLOCK_CONTENT + 5);
    await install(log, remote(50, content), content);
    expect([log.firstIndex(), log.lastIndex(), log.term(50), log.logBytes]).toEqual([51, 50, 5, 0]);
    expect(log.snapshot).toEqual(remote(50, content));
    const more = [51, 52, 53, 54, 55].map((index) => entry(index, 5, 900));
    for (const each of more) await persist(log, [each]);
    await settle();
    expect(segments(disk).every((name) => name.startsWith('wal-0000000002-'))).toBe(true);
    await log.close();
    const again = await open(disk, NO_TAIL);
    expect(again.snapshot).toEqual(remote(50, content));
    expect(contents(again)).toEqual(more.map(told));
    expect(again.term(50)).toBe(5);
    expect(again.vote).toEqual({ term: 1, vote: 1, starts: 1 });
    await take(again, snapshotOf(again, 53), randomBytes(9));
    again.compact(53);
    await settle();
    await again.close();
    const third = await open(disk, NO_TAIL);
    expect(contents(third)).toEqual(more.slice(third.firstIndex() - 51).map(told));
    expect(third.snapshot?.index).toBe(53);
  });

  it('goes on in an empty log, written to or not, over restarts', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    await install(log, remote(9, randomBytes(5, 1)), randomBytes(5, 1));
    await settle();
    disk.crash('drop');
    const again = await open(disk, NO_TAIL);
    expect([again.firstIndex(), again.lastIndex(), again.term(9)]).toEqual([10, 9, 5]);
    await install(again, remote(90, randomBytes(5, 2), 6), randomBytes(5, 2));
    await persist(again, [entry(91, 6)]);
    await settle();
    disk.crash('drop');
    const third = await open(disk, NO_TAIL);
    expect([third.firstIndex(), third.lastIndex(), third.term(90)]).toEqual([91, 91, 6]);
    expect(segments(disk).every((name) => name.startsWith('wal-0000000003-'))).toBe(true);
  });

  it('keeps what follows in a log that has its last entry (§7)', async () => {
    const disk = simDisk();
    const log = await filled(disk, 10);
    const all = contents(log);
    const content = randomBytes(500);
    await install(log, remote(6, content, 1), content);
    expect([log.firstIndex(), log.lastIndex(), log.snapshot?.index]).toEqual([1, 10, 6]);
    log.compact(6);
    await settle();
    expect(contents(log)).toEqual(all.slice(log.firstIndex() - 1));
    disk.crash('drop');
    const again = await open(disk, NO_TAIL);
    expect(contents(again)).toEqual(all.slice(again.firstIndex() - 1));
    expect(again.snapshot).toEqual(remote(6, content, 1));
  });

  it('drops a log that has another entry in its place', async () => {
    const disk = simDisk();
    const log = await filled(disk, 10);
    await install(log, remote(6, randomBytes(5, 1), 3), randomBytes(5, 1));
    expect([log.firstIndex(), log.lastIndex(), log.term(6)]).toEqual([7, 6, 3]);
    await settle();
    disk.crash('drop');
    const again = await open(disk, NO_TAIL);
    expect([again.firstIndex(), again.lastIndex(), again.term(6)]).toEqual([7, 6, 3]);
  });

  it('is gone on with by a new connection and after a crash, from where it was durable', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    const content = randomBytes(3 * BLOCK_CONTENT + 100);
    const info = remote(50, content);
    const first = await log.receiveSnapshot(info);
    expect(first.verified).toBe(0);
    await done((then) => first.write(content.subarray(0, BLOCK_CONTENT + 10), then));
    first.close();
    const second = await log.receiveSnapshot(info);
    expect(second.verified).toBe(BLOCK_CONTENT);
    await done((then) => second.write(content.subarray(BLOCK_CONTENT, 2 * BLOCK_CONTENT + 7), then));
    disk.crash('drop');
    const again = await open(disk, NO_TAIL);
    const third = await again.receiveSnapshot(info);
    expect(third.verified).toBe(2 * BLOCK_CONTENT);
    await done((then) => third.write(content.subarray(2 * BLOCK_CONTENT), then));
    await done((then) => third.install(then));
    expect(Buffer.compare(snapshotContent(again)!, content)).toBe(0);
    expect(partials(disk)).toEqual([]);
  });

  it('is written again before it is gone on with by a new process: only the page cache may hold it', async () => {
    const content = randomBytes(2 * BLOCK_CONTENT);
    const info = remote(50, content);
    const disk = simDisk();
    const log = await filled(disk, 2);
    const first = await log.receiveSnapshot(info);
    disk.fail('complete', 1, 'io', (path) => path.includes('incoming'));
    await expect(done((then) => first.write(content, then))).rejects.toThrow(LogError);
    await log.close();
    const again = await open(disk, NO_TAIL);
    const second = await again.receiveSnapshot(info);
    await done((then) => second.write(content.subarray(second.verified), then));
    await done((then) => second.install(then));
    disk.crash('drop');
    const last = await open(disk, NO_TAIL);
    expect(last.snapshot?.index).toBe(50);
    expect(Buffer.compare(snapshotContent(last)!, content)).toBe(0);
  });

  it('is verified before it is gone on with, and forgotten for another one', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    const content = randomBytes(3 * BLOCK_CONTENT);
    const info = remote(50, content);
    const first = await log.receiveSnapshot(info);
    await done((then) => first.write(content, then));
    first.close();
    disk.flipBit(`${FOLDER}/${partials(disk)[0]}`, (BLOCK_BYTES + 5000) * 8);
    const second = await log.receiveSnapshot(info);
    expect(second.verified).toBe(BLOCK_CONTENT);
    const other = await log.receiveSnapshot(remote(60, content));
    expect(other.verified).toBe(0);
    expect(partials(disk).length).toBe(1);
    second.write(content.subarray(0, 10), () => expect.fail('called back'));
    await settle();
  });

  it('is not mixed with another of the same entry, state and size, written in another order', async () => {
    const disk = simDisk();
    const log = await filled(disk, 2);
    const [one, two] = [randomBytes(2 * BLOCK_CONTENT), randomBytes(2 * BLOCK_CONTENT)];
    const ofOne = remote(50, one);
    const ofTwo = { ...ofOne, meta: ofOne.meta.slice().reverse() };
    const first = await log.receiveSnapshot(ofOne);
    await done((then) => first.write(one.subarray(0, BLOCK_CONTENT), then));
    first.close();
    const [partial] = partials(disk);
    const second = await log.receiveSnapshot(ofTwo);
    expect(second.verified).toBe(0);
    await done((then) => second.write(two.subarray(0, BLOCK_CONTENT), then));
    second.close();
    // Nor if the file of the one gets the name of the other.
    disk.rename(`${FOLDER}/${partials(disk)[0]}`, `${FOLDER}/${partial}`);
    const third = await log.receiveSnapshot(ofOne);
    expect(third.verified).toBe(0);
    await done((then) => third.write(one, then));
    await done((then) => third.install(then));
    expect(Buffer.compare(snapshotContent(log)!, one)).toBe(0);
  });

  it('is complete or not installed', async () => {
    const log = await filled(simDisk(), 2);
    const content = randomBytes(100);
    const receiver = await log.receiveSnapshot(remote(50, content));
    expect(() => receiver.write(randomBytes(101), () => {})).toThrow('more content');
    await done((then) => receiver.write(content.subarray(1), then));
    expect(() => receiver.install(() => {})).toThrow('99 bytes of a snapshot of 100');
  });

  it('waits for the write in flight, drops what was not written, and takes no entries meanwhile', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    const persisted: number[] = [];
    log.onPersisted = (index) => persisted.push(index);
    const content = randomBytes(100);
    const receiver = await log.receiveSnapshot(remote(50, content));
    await done((then) => receiver.write(content, then));
    log.append([entry(5)]);
    log.flush();
    log.append([entry(6)]);
    let installed = false;
    receiver.install(() => {
      installed = true;
    });
    for (let i = 0; i < 4; i++) await Promise.resolve();
    expect(() => log.append([entry(7)])).toThrow('while a snapshot takes the place of the log');
    await settle();
    expect([installed, log.lastIndex(), persisted]).toEqual([true, 50, [5]]);
    log.append([entry(51, 5)]);
    log.flush();
    await settle();
    expect(persisted).toEqual([5, 51]);
  });

  it('stays when there is no room to install it, and so does the log', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    const before = contents(log);
    const content = randomBytes(100);
    const receiver = await log.receiveSnapshot(remote(50, content));
    await done((then) => receiver.write(content, then));
    disk.fail('write', 1, 'full', (path) => path.includes('wal-0000000002'));
    expect(await code(() => done((then) => receiver.install(then)))).toBe('full');
    await persist(log, [entry(5)]);
    expect(contents(log).slice(0, 4)).toEqual(before);
    const again = await log.receiveSnapshot(remote(50, content));
    expect(again.verified).toBe(100);
    await done((then) => again.install(then));
    expect(log.lastIndex()).toBe(50);
  });

  it('may be taken anew, or come again, before anything follows it', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    const content = randomBytes(50);
    await install(log, remote(50, content), content);
    await take(log, snapshotOf(log, 50), content);
    await settle();
    disk.crash('drop');
    const again = await open(disk, NO_TAIL);
    expect([again.firstIndex(), again.lastIndex(), again.snapshot?.count]).toEqual([51, 50, 7]);
    await install(again, remote(50, content), content);
    await settle();
    disk.crash('drop');
    const third = await open(disk, NO_TAIL);
    expect([third.firstIndex(), third.lastIndex(), third.snapshot?.count]).toEqual([51, 50, 3]);
    await persist(third, [entry(51, 5)]);
    await take(third, snapshotOf(third, 51), content);
    await settle();
    disk.crash('drop');
    expect((await open(disk, NO_TAIL)).lastIndex()).toBe(51);
  });

  it('makes a snapshot that was being taken superfluous', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    const info: NewSnapshot = snapshotOf(log, 4);
    const writer = log.beginSnapshot(info);
    await done((then) => writer.write(randomBytes(10), then));
    await install(log, remote(50, randomBytes(5, 1)), randomBytes(5, 1));
    expect(await code(() => done((then) => writer.finish({ count: 1, stateHash: info.stateHash }, then)))).toBe(
      'superseded',
    );
    await settle();
    expect(snapshots(disk)).toEqual(['snapshot-0000000002-0000000000000050.snap']);
    await install(log, remote(60, randomBytes(5, 1)), randomBytes(5, 1));
    expect(await code(() => install(log, remote(55, randomBytes(5, 1)), randomBytes(5, 1)))).toBe('superseded');
  });

  it('does not hold up the closing of the log', async () => {
    const disk = simDisk();
    const log = await filled(disk, 4);
    const receiver = await log.receiveSnapshot(remote(50, new Uint8Array(0)));
    receiver.install(() => expect.fail('called back'));
    await log.close();
    const again = await open(disk, NO_TAIL);
    expect([4, 50]).toContain(again.lastIndex());
    await again.close();
  });
});

describe('A snapshot that rotted', () => {
  /** A folder with a snapshot at 20 of 30 entries, `compacted` or with all of its log. */
  async function sample(compacted: boolean): Promise<{ disk: SimDisk; path: string; all: string[] }> {
    const disk = simDisk();
    const log = await filled(disk, 30);
    const all = contents(log);
    await take(log, snapshotOf(log, 20), randomBytes(3000));
    if (compacted) log.compact(20);
    await settle();
    await log.close();
    return { disk, path: `${FOLDER}/${snapshots(disk)[0]}`, all };
  }

  it('does no harm while all of the log is there, and the operator is told', async () => {
    const { disk, path, all } = await sample(false);
    disk.flipBit(path, 8 * 700);
    const warnings: string[] = [];
    const log = await open(disk, { ...NO_TAIL, onWarning: (message) => warnings.push(message) });
    expect([contents(log), log.snapshot]).toEqual([all, undefined]);
    expect(warnings[0]).toContain(path);
    await take(log, snapshotOf(log, 25), randomBytes(10));
    expect(log.snapshot?.index).toBe(25);
  });

  it('is a corrupt folder when the log before it is gone', async () => {
    const { disk, path } = await sample(true);
    disk.flipBit(path, 8 * 700);
    const message = expect.stringContaining(path);
    await expect(open(disk, NO_TAIL)).rejects.toMatchObject({ code: 'corrupt', message });
  });

  it('or is gone is a corrupt folder when the log before it is gone, too', async () => {
    const { disk, path } = await sample(true);
    disk.unlink(path);
    await expect(open(disk, NO_TAIL)).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('is a corrupt folder when it was installed, although an older one and its log are there', async () => {
    const { disk } = await sample(false);
    const log = await open(disk, NO_TAIL);
    const older = disk.fork({ schedule: queueMicrotask, random: Math.random });
    await install(log, remote(50, randomBytes(100, 1)), randomBytes(100, 1));
    await settle();
    const [name] = snapshots(disk);
    older.plant(`${FOLDER}/${name}`, disk.content(`${FOLDER}/${name}`));
    const [segment] = segments(disk);
    older.plant(`${FOLDER}/${segment}`, disk.content(`${FOLDER}/${segment}`));
    older.crash('kill');
    const whole = await open(older.fork({ schedule: queueMicrotask, random: Math.random }), NO_TAIL);
    expect([whole.firstIndex(), whole.lastIndex()]).toEqual([51, 50]);
    older.flipBit(`${FOLDER}/${name}`, 8 * 700);
    await expect(open(older, NO_TAIL)).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('is found when it is read', async () => {
    const { disk, path } = await sample(true);
    const log = await open(disk, NO_TAIL);
    const reader = log.openSnapshot()!;
    disk.flipBit(path, 8 * 700);
    expect(() => reader.read(0, new Uint8Array(10))).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  it('or not tells of a log that has lost all of its last batch', async () => {
    const disk = simDisk();
    const log = await open(disk, { tailBytes: 0 });
    log.saveVote({ term: 1, vote: 1, starts: 1 });
    for (const index of [1, 2]) await persist(log, [entry(index, 1, 100)]);
    await take(log, snapshotOf(log, 2), randomBytes(10));
    const { identity } = log.folder;
    await log.close();
    const file = disk.content(FIRST_SEGMENT);
    fillPattern({ identity, generation: 1, segment: 1 }, 1536, file.subarray(1536));
    disk.plant(FIRST_SEGMENT, file);
    const message = expect.stringContaining('the log has 1 to 1, the snapshot ends with 2');
    await expect(open(disk)).rejects.toMatchObject({ code: 'corrupt', message });
  });
});
