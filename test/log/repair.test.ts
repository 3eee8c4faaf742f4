import { beforeAll, describe, expect, it } from 'vitest';
import { batchBytes } from '../../src/log/batch.js';
import { FOUNDING_FILE } from '../../src/log/founding.js';
import { META_FILE } from '../../src/log/meta.js';
import { DAMAGED_FILE } from '../../src/log/salvage.js';
import type { Log, LogOptions } from '../../src/log/types.js';
import type { SimDisk } from '../../src/sim/disk.js';
import { named } from './crash.js';
import {
  contents,
  entry,
  FIRST_SEGMENT,
  FOLDER,
  open,
  persist,
  randomBytes,
  SECOND_SEGMENT,
  settle,
  simDisk,
  simOptions,
  snapshotContent,
  snapshotOf,
  take,
  told,
} from './helper.js';

const SMALL: Partial<LogOptions> = { segmentBytes: 4096, tailBytes: 0 };
const REPAIR: Partial<LogOptions> = { ...SMALL, repair: true };
const VOTE = { term: 3, vote: 2, starts: 4 };

interface Sample {
  readonly disk: SimDisk;
  readonly all: string[];
  readonly snapshot: string;
  readonly content: Uint8Array;
}

/** A closed folder with 12 entries of two to a segment, a snapshot of 7, and all of the log or what compaction leaves. */
async function sample(compacted: boolean): Promise<Sample> {
  const disk = simDisk();
  const log = await open(disk, SMALL);
  log.saveVote(VOTE);
  const { identity } = log.folder;
  log.found({ clusterId: new Uint8Array(16).fill(1), members: [{ id: 1, address: 'a:1', identity }] });
  for (let index = 1; index <= 12; index++) await persist(log, [entry(index, index < 9 ? 1 : 3, 700)]);
  const all = contents(log);
  const content = randomBytes(900);
  await take(log, snapshotOf(log, 7), content);
  if (compacted) log.compact(7);
  await settle();
  await log.close();
  // Makes durable what was removed.
  await (await open(disk, SMALL)).close();
  const snapshot = disk.list(FOLDER).find((name) => name.endsWith('.snap'))!;
  return { disk, all, snapshot: `${FOLDER}/${snapshot}`, content };
}

function changed(from: Sample, change: (disk: SimDisk) => void): SimDisk {
  const disk = from.disk.fork(simOptions());
  change(disk);
  return disk;
}

const refused = { code: 'corrupt' };
const segmentsOf = (disk: SimDisk): string[] =>
  disk
    .list(FOLDER)
    .filter((name) => name.endsWith('.seg'))
    .map((name) => `${FOLDER}/${name}`);
const evidence = (disk: SimDisk): string[] => {
  const folders = disk.list(FOLDER).filter((name) => name.startsWith('damaged-'));
  return folders.flatMap((folder) => disk.list(`${FOLDER}/${folder}`).map((name) => `${FOLDER}/${folder}/${name}`));
};

/** The log goes on where it ends, and once it is repaired it opens like any other. */
async function goesOn(disk: SimDisk, log: Log, { all }: Sample): Promise<void> {
  const found = contents(log);
  expect(found).toEqual(all.slice(log.firstIndex() - 1, log.lastIndex()));
  const more = entry(log.lastIndex() + 1, 9, 700);
  await persist(log, [more]);
  await log.close();
  await expect(open(disk, SMALL)).rejects.toMatchObject(refused);
  const still = await open(disk, REPAIR);
  expect(still.damaged).toBe(true);
  still.repaired();
  expect(still.damaged).toBe(false);
  disk.crash('drop');
  const again = await open(disk, SMALL);
  expect(again.damaged).toBe(false);
  expect(contents(again)).toEqual([...found, told(more)]);
  await again.close();
}

describe('A damaged folder that is to be repaired', () => {
  let whole: Sample;
  let compacted: Sample;
  beforeAll(async () => {
    whole = await sample(false);
    compacted = await sample(true);
  });

  it('is a sound one, as long as nothing is damaged', async () => {
    const log = await open(whole.disk.fork(simOptions()), REPAIR);
    expect([log.damaged, contents(log).length]).toEqual([false, 12]);
  });

  it('keeps the log before the first bad batch, and the bad segments aside', async () => {
    const segment = segmentsOf(whole.disk)[4]!;
    const second = 512 + batchBytes(764);
    for (const [bit, kept] of [
      [8 * (second + 700), 9],
      [8 * (512 + 600), 8],
      [8 * 600, 8],
      [8 * 20, 8],
    ] as const) {
      const disk = changed(whole, (fork) => fork.flipBit(segment, bit));
      await expect(open(disk, SMALL)).rejects.toMatchObject(refused);
      const bad = disk.content(segment);
      const warnings: string[] = [];
      const log = await open(disk, { ...REPAIR, onWarning: (message) => warnings.push(message) });
      expect([log.damaged, log.firstIndex(), log.lastIndex()]).toEqual([true, 1, kept]);
      expect(log.snapshot?.index).toBe(7);
      expect(log.vote).toEqual(VOTE);
      expect(log.founding).toBeDefined();
      expect(warnings[0]).toContain(segment);
      const aside = evidence(disk);
      const name = segment.slice(FOLDER.length + 1);
      expect(disk.content(aside.find((path) => path.endsWith(name))!)).toEqual(bad);
      expect(aside.length).toBeGreaterThanOrEqual(2);
      await goesOn(disk, log, whole);
    }
  });

  it('keeps a snapshot alone, in front of an empty log, when the log does not reach it any more', async () => {
    for (const from of [whole, compacted]) {
      const segment = segmentsOf(from.disk).find((path) => from === compacted || path === SECOND_SEGMENT)!;
      const disk = changed(from, (fork) => fork.flipBit(segment, 8 * 700));
      const log = await open(disk, REPAIR);
      expect([log.damaged, log.firstIndex(), log.lastIndex(), log.term(7)]).toEqual([true, 8, 7, 1]);
      expect(snapshotContent(log)).toEqual(from.content);
      // Nothing is appended: what there is must be sound by itself.
      log.repaired();
      disk.crash('drop');
      const again = await open(disk, SMALL);
      expect([again.firstIndex(), again.lastIndex(), again.snapshot?.index]).toEqual([8, 7, 7]);
      await persist(again, [entry(8, 3)]);
      disk.crash('drop');
      expect((await open(disk, SMALL)).lastIndex()).toBe(8);
    }
  });

  it('begins anew when the snapshot is bad and the log before it is gone, but for its vote', async () => {
    const disk = changed(compacted, (fork) => fork.flipBit(compacted.snapshot, 8 * 700));
    const log = await open(disk, REPAIR);
    expect([log.damaged, log.firstIndex(), log.lastIndex(), log.snapshot]).toEqual([true, 1, 0, undefined]);
    expect([log.vote, log.votesLost]).toEqual([VOTE, false]);
    expect(evidence(disk).some((path) => path.endsWith('.snap'))).toBe(true);
    expect(evidence(disk).some((path) => path.endsWith('.seg'))).toBe(true);
    log.repaired();
    disk.crash('drop');
    expect((await open(disk, SMALL)).lastIndex()).toBe(0);
  });

  it('is not damaged by a bad snapshot of which the log has all, which goes aside', async () => {
    for (const options of [SMALL, REPAIR]) {
      const disk = changed(whole, (fork) => fork.flipBit(whole.snapshot, 8 * 700));
      const log = await open(disk, options);
      expect([log.damaged, contents(log)]).toEqual([false, whole.all]);
      expect(evidence(disk).length).toBe(1);
    }
  });

  it('takes the newest term it knows, no vote and another start counter when both copies of them are bad', async () => {
    const lost = (fork: SimDisk): void => {
      fork.flipBit(`${FOLDER}/vote-1`, 200);
      fork.flipBit(`${FOLDER}/vote-2`, 300);
    };
    const gone = (fork: SimDisk): void => {
      fork.unlink(`${FOLDER}/vote-1`);
      fork.unlink(`${FOLDER}/vote-2`);
    };
    for (const change of [lost, gone]) {
      const disk = changed(whole, change);
      const log = await open(disk, REPAIR);
      expect(log.vote).toMatchObject({ term: 3, vote: 0 });
      expect(log.vote.starts).toBeGreaterThan(2 ** 30);
      expect(log.votesLost).toBe(true);
      expect([log.damaged, contents(log)]).toEqual([true, whole.all]);
      expect(log.founding).toBeDefined();
      log.repaired();
      await log.close();
      const again = await open(disk, SMALL);
      expect(again.vote).toEqual(log.vote);
      expect(again.founding).toBeDefined();
    }
  });

  it('belongs to no cluster when its founding record is bad or gone, until it is given one', async () => {
    for (const change of [
      (fork: SimDisk) => fork.flipBit(`${FOLDER}/${FOUNDING_FILE}`, 300),
      (fork: SimDisk) => fork.unlink(`${FOLDER}/${FOUNDING_FILE}`),
    ]) {
      const disk = changed(whole, change);
      const log = await open(disk, REPAIR);
      expect([log.damaged, log.founding, log.vote]).toEqual([true, undefined, VOTE]);
      const { identity } = log.folder;
      log.found({ clusterId: new Uint8Array(16).fill(1), members: [{ id: 1, address: 'a:1', identity }] });
      log.repaired();
      disk.crash('drop');
      const again = await open(disk, SMALL);
      expect([again.founding !== undefined, contents(again)]).toEqual([true, whole.all]);
    }
  });

  it('is not this node’s any more when its identity is bad', async () => {
    const disk = changed(whole, (fork) => fork.flipBit(`${FOLDER}/${META_FILE}`, 200));
    await expect(open(disk, REPAIR)).rejects.toMatchObject(refused);
    expect(disk.exists(`${FOLDER}/${DAMAGED_FILE}`)).toBe(false);
  });

  it('that lacks a segment keeps what comes before', async () => {
    const disk = changed(whole, (fork) => fork.unlink(segmentsOf(fork)[4]!));
    // The newest segments do not join the snapshot, so the log is of no use; the snapshot is.
    const log = await open(disk, REPAIR);
    expect([log.damaged, log.firstIndex(), log.lastIndex()]).toEqual([true, 8, 7]);
    const first = simDisk();
    const plain = await open(first, SMALL);
    plain.saveVote(VOTE);
    for (let index = 1; index <= 8; index++) await persist(plain, [entry(index, 1, 700)]);
    const all = contents(plain);
    await plain.close();
    first.unlink(segmentsOf(first)[2]!);
    const again = await open(first, REPAIR);
    expect([again.damaged, contents(again)]).toEqual([true, all.slice(0, 4)]);
  });

  it('keeps three folders of evidence', async () => {
    const disk = whole.disk.fork(simOptions());
    for (let round = 1; round <= 6; round++) {
      const segment = segmentsOf(disk)[0]!;
      disk.flipBit(segment, 8 * 700);
      const log = await open(disk, REPAIR);
      expect(log.damaged).toBe(true);
      await persist(log, [entry(log.lastIndex() + 1, 9, 700)]);
      await log.close();
    }
    const folders = disk.list(FOLDER).filter((name) => name.startsWith('damaged-'));
    expect(folders).toEqual(['damaged-4', 'damaged-5', 'damaged-6']);
  });

  it('may crash at any step of that, and still knows', { timeout: 120_000 }, async () => {
    const changes: [string, Sample, (fork: SimDisk) => void][] = [
      ['batch', whole, (fork) => fork.flipBit(segmentsOf(fork)[4]!, 8 * 1700)],
      ['first', whole, (fork) => fork.flipBit(FIRST_SEGMENT, 8 * 700)],
      ['compacted', compacted, (fork) => fork.flipBit(segmentsOf(fork)[0]!, 8 * 700)],
      ['snapshot', compacted, (fork) => fork.flipBit(compacted.snapshot, 8 * 700)],
      ['votes', whole, (fork) => [1, 2].map((n) => fork.flipBit(`${FOLDER}/vote-${n}`, 200))],
      ['founding', whole, (fork) => fork.flipBit(`${FOLDER}/${FOUNDING_FILE}`, 300)],
    ];
    for (const [what, from, change] of changes) {
      const disk = changed(from, change);
      const points: SimDisk[] = [];
      disk.onStep = () => points.push(disk.fork(simOptions()));
      await open(disk, REPAIR);
      disk.onStep = () => {};
      for (const [step, point] of points.entries()) {
        for (const mode of ['drop', 'tear', 'tear', 'kill'] as const) {
          const fork = point.fork(simOptions(step * 7 + mode.length));
          fork.crash(mode);
          await named(`${what}, step ${step}, ${mode}`, async () => {
            const log = await open(fork, REPAIR);
            expect(log.damaged).toBe(true);
            expect(log.vote.term).toBe(3);
            if (what !== 'votes') expect(log.vote).toEqual(VOTE);
            await goesOn(fork, log, from);
          });
        }
      }
      expect(points.length).toBeGreaterThan(10);
    }
  });
});
