import { beforeAll, describe, expect, it } from 'vitest';
import { batchBytes, readBatchHeader, sealBatch } from '../../src/log/batch.js';
import { FOUNDING_FILE } from '../../src/log/founding.js';
import { META_FILE } from '../../src/log/meta.js';
import { fillPattern, SECTOR } from '../../src/log/sector.js';
import { encodeSegmentHeader } from '../../src/log/segment.js';
import { LogError } from '../../src/log/types.js';
import type { SimDisk } from '../../src/sim/disk.js';
import { crc32c } from '../../src/store/crc32c.js';
import { seeded } from '../sim/seeded.js';
import {
  contents,
  entry,
  FIRST_SEGMENT,
  FOLDER,
  folderOf,
  open,
  persist,
  SECOND_SEGMENT,
  settle,
  simDisk,
  simOptions,
  told,
} from './helper.js';

const SIZE = 5120;
const OPTIONS = { segmentBytes: SIZE };

interface Sample {
  readonly disk: SimDisk;
  /** The log after each batch, from the empty one on. */
  readonly states: string[][];
  /** Where the batches of the first segment begin, and the end of the last one. */
  readonly offsets: number[];
  readonly identity: Uint8Array;
}

/** A closed folder with a vote, a founding record, and a segment with 4 KiB of log (three batches, the second supersedes) and some room. */
async function sample(seed = 1): Promise<Sample> {
  const disk = simDisk(seed);
  const log = await open(disk, { ...OPTIONS });
  log.saveVote({ term: 2, vote: 1, starts: 1 });
  const { identity } = log.folder;
  log.found({ clusterId: new Uint8Array(16).fill(1), members: [{ id: 1, address: 'a:1', identity }] });
  const batches = [[entry(1), entry(2), entry(3)], [entry(3, 2, 300)], [entry(4, 2, 20), entry(5, 2, 400)]];
  const states: string[][] = [[]];
  for (const batch of batches) {
    await persist(log, batch);
    states.push([...states.at(-1)!.slice(0, batch[0]!.index - 1), ...batch.map(told)]);
  }
  await settle();
  await log.close();
  const offsets: number[] = [SECTOR];
  const file = disk.content(FIRST_SEGMENT);
  const place = { identity, generation: 1, segment: 1 };
  for (let at = SECTOR, header = readBatchHeader(file, place, at, crc32c); header; ) {
    at += batchBytes(header.length);
    offsets.push(at);
    header = readBatchHeader(file, place, at, crc32c);
  }
  return { disk, states, offsets, identity };
}

/** What a changed copy of the folder opens as: the number of whole batches, or corrupt (with the folder left as it was). */
async function opened(from: Sample, change: (disk: SimDisk) => void, thorough = true): Promise<number | 'corrupt'> {
  const disk = from.disk.fork(simOptions());
  change(disk);
  const before = thorough && folderOf(disk);
  try {
    const log = await open(disk, OPTIONS);
    const found = contents(log).join('\n');
    expect(log.vote).toEqual({ term: 2, vote: 1, starts: 1 });
    expect(log.founding).toBeDefined();
    const batches = from.states.findIndex((state) => state.join('\n') === found);
    expect(batches).toBeGreaterThanOrEqual(0);
    return batches;
  } catch (error) {
    if (!(error instanceof LogError) || error.code !== 'corrupt') throw error;
    if (before) {
      expect(error.message).toMatch(/^\/data\/node-1\/.* is corrupt at offset \d+: /);
      expect(folderOf(disk)).toEqual(before);
    }
    return 'corrupt';
  }
}

/** Sweeps take seconds on a quiet machine, and must not fail on a busy one. */
const SWEEP = { timeout: 180_000 };

describe('Rot', () => {
  let made: Sample;
  beforeAll(async () => {
    made = await sample();
    expect(made.offsets.length).toBe(4);
    expect(made.offsets.at(-1)).toBeLessThan(SIZE - SECTOR);
  });

  it('of any one bit of a log of 4 KiB never gives a wrong entry and never loses one in silence', SWEEP, async () => {
    const end = made.offsets.at(-1)!;
    for (let bit = 0; bit < SIZE * 8; bit++) {
      const came = await opened(made, (disk) => disk.flipBit(FIRST_SEGMENT, bit), bit % 64 === 0);
      // What lies behind the place of the next header was never written, and is written anew.
      const expected = bit < (end + SECTOR) * 8 ? 'corrupt' : 3;
      if (came !== expected) throw new Error(`bit ${bit} (byte ${bit >> 3}): ${came}, not ${expected}`);
    }
  });

  it('of any one bit of meta or the founding record stops the node', async () => {
    for (const name of [META_FILE, FOUNDING_FILE]) {
      const bits = made.disk.content(`${FOLDER}/${name}`).length * 8;
      for (let bit = 0; bit < bits; bit++) {
        const came = await opened(made, (disk) => disk.flipBit(`${FOLDER}/${name}`, bit));
        if (came !== 'corrupt') throw new Error(`bit ${bit} of ${name}: ${came}`);
      }
    }
  });

  it('of any one bit of a copy of the vote is mended from the other; of both it stops the node', SWEEP, async () => {
    const random = seeded(3);
    for (let bit = 0; bit < 512 * 8; bit++) {
      const [one, other] = bit % 2 === 0 ? ['vote-1', 'vote-2'] : ['vote-2', 'vote-1'];
      const flip = (disk: SimDisk, name = one): void => disk.flipBit(`${FOLDER}/${name}`, bit);
      expect(await opened(made, flip)).toBe(3);
      if (bit % 8 !== 0) continue;
      const both = (disk: SimDisk): void => {
        flip(disk);
        disk.flipBit(`${FOLDER}/${other}`, Math.floor(random() * 4096));
      };
      expect(await opened(made, both)).toBe('corrupt');
    }
  });

  it('that takes a whole sector of a batch that has a successor, or its header, is no torn tail', async () => {
    const [first, second] = made.offsets;
    const place = { identity: made.identity, generation: 1, segment: 1 };
    const unwritten = (from: number, to: number) => (disk: SimDisk) => {
      const file = disk.content(FIRST_SEGMENT);
      fillPattern(place, from, file.subarray(from, to));
      disk.plant(FIRST_SEGMENT, file);
    };
    for (let at = first!; at < made.offsets[2]!; at += SECTOR) {
      expect(await opened(made, unwritten(at, at + SECTOR))).toBe('corrupt');
    }
    expect(await opened(made, unwritten(first!, second!))).toBe('corrupt');
    // All of the last batch: a disk that never wrote it looks just so.
    expect(await opened(made, unwritten(made.offsets[2]!, made.offsets[3]!))).toBe(2);
    expect(await opened(made, unwritten(SECTOR, SIZE))).toBe(0);
  });

  it('that takes all of the last batch of a segment is found by the number of the next', async () => {
    const disk = simDisk();
    const log = await open(disk, OPTIONS);
    await persist(log, [entry(1, 1, 100)]);
    const end = SECTOR + batchBytes(164);
    await persist(log, [entry(2, 1, 2000)]);
    await persist(log, [entry(2, 2, 2000)]);
    const { identity } = log.folder;
    await log.close();
    const file = disk.content(FIRST_SEGMENT);
    fillPattern({ identity, generation: 1, segment: 1 }, end, file.subarray(end));
    disk.plant(FIRST_SEGMENT, file);
    const message = expect.stringContaining('batch 3 stands where batch 2 belongs');
    await expect(open(disk, OPTIONS)).rejects.toMatchObject({ code: 'corrupt', message });
  });

  it('that removes a file stops the node', async () => {
    for (const name of [META_FILE, FOUNDING_FILE, 'wal-0000000001-0000000001.seg']) {
      expect(await opened(made, (disk) => disk.unlink(`${FOLDER}/${name}`))).toBe('corrupt');
    }
    const votes = (disk: SimDisk): void => {
      disk.unlink(`${FOLDER}/vote-1`);
      disk.unlink(`${FOLDER}/vote-2`);
    };
    expect(await opened(made, votes)).toBe('corrupt');
    expect(await opened(made, (disk) => disk.unlink(`${FOLDER}/vote-2`))).toBe(3);
    expect(await opened(made, (disk) => disk.unlink(SECOND_SEGMENT))).toBe(3);
    const all = (disk: SimDisk): void => {
      for (const name of disk.list(FOLDER)) if (name.endsWith('.seg')) disk.unlink(`${FOLDER}/${name}`);
    };
    expect(await opened(made, all)).toBe('corrupt');
  });

  it('cuts a file short at any byte and stops the node', SWEEP, async () => {
    for (const path of [FIRST_SEGMENT, SECOND_SEGMENT, `${FOLDER}/${META_FILE}`, `${FOLDER}/${FOUNDING_FILE}`]) {
      const whole = made.disk.content(path);
      for (let length = 0; length < whole.length; length++) {
        const came = await opened(made, (disk) => disk.plant(path, whole.slice(0, length)), length % 64 === 0);
        if (came !== 'corrupt') throw new Error(`${path} cut to ${length}: ${came}`);
      }
    }
  });

  it('mends a copy of the vote that was cut or has grown', async () => {
    const whole = made.disk.content(`${FOLDER}/vote-1`);
    for (const bytes of [whole.slice(0, 0), whole.slice(0, 100), new Uint8Array([...whole, 0])]) {
      const disk = made.disk.fork(simOptions());
      disk.plant(`${FOLDER}/vote-1`, bytes);
      await (await open(disk, OPTIONS)).close();
      expect(disk.content(`${FOLDER}/vote-1`)).toEqual(disk.content(`${FOLDER}/vote-2`));
    }
  });
});

describe('A log that was written up to any byte of its last three batches', () => {
  it('is cut to whole batches, or told as corrupt where a sector is half written', SWEEP, async () => {
    const made = await sample();
    const place = { identity: made.identity, generation: 1, segment: 1 };
    const whole = made.disk.content(FIRST_SEGMENT);
    const pattern = new Uint8Array(SIZE);
    fillPattern(place, 0, pattern);
    for (let cut = made.offsets[0]!; cut <= made.offsets.at(-1)!; cut++) {
      const file = pattern.slice();
      file.set(whole.subarray(0, cut));
      const came = await opened(made, (disk) => disk.plant(FIRST_SEGMENT, file));
      const batches = made.offsets.filter((offset) => offset > SECTOR && offset <= cut).length;
      if (cut % SECTOR === 0 && came !== batches) throw new Error(`cut at ${cut}: ${came}, not ${batches}`);
      if (came !== 'corrupt' && came !== batches) throw new Error(`cut at ${cut}: ${came}, not ${batches} or corrupt`);
    }
  });

  it('is corrupt when there are zeros behind', async () => {
    const made = await sample();
    const whole = made.disk.content(FIRST_SEGMENT);
    for (let cut = made.offsets[0]!; cut <= made.offsets.at(-1)!; cut += 7) {
      const file = whole.slice();
      file.fill(0, cut);
      expect(await opened(made, (disk) => disk.plant(FIRST_SEGMENT, file))).toBe('corrupt');
    }
  });
});

describe('Bytes from elsewhere', () => {
  it('— a segment of another folder, of another generation or number — never pass for valid', async () => {
    const [made, other] = [await sample(1), await sampleOfAnotherFolder()];
    const foreign = other.disk.content(FIRST_SEGMENT);
    expect(await opened(made, (disk) => disk.plant(FIRST_SEGMENT, foreign))).toBe('corrupt');
    expect(await opened(made, (disk) => disk.plant(SECOND_SEGMENT, foreign))).toBe('corrupt');
    expect(await opened(made, (disk) => disk.plant(SECOND_SEGMENT, disk.content(FIRST_SEGMENT)))).toBe('corrupt');
    // The header of the segment is right, the batches are not its own.
    const place = { identity: made.identity, generation: 1, segment: 1 };
    const mixed = foreign.slice();
    mixed.set(encodeSegmentHeader(place, SIZE, crc32c));
    expect(await opened(made, (disk) => disk.plant(FIRST_SEGMENT, mixed))).toBe('corrupt');
    const second = { ...place, segment: 2 };
    const shifted = made.disk.content(FIRST_SEGMENT);
    shifted.set(encodeSegmentHeader(second, SIZE, crc32c));
    expect(await opened(made, (disk) => disk.plant(SECOND_SEGMENT, shifted))).toBe('corrupt');
  });

  it('— a vote of another folder — never pass for valid', async () => {
    const [made, other] = [await sample(1), await sampleOfAnotherFolder()];
    const foreign = other.disk.content(`${FOLDER}/vote-1`);
    expect(await opened(made, (disk) => disk.plant(`${FOLDER}/vote-1`, foreign))).toBe(3);
    const both = (disk: SimDisk): void => {
      for (const name of ['vote-1', 'vote-2']) disk.plant(`${FOLDER}/${name}`, foreign);
    };
    expect(await opened(made, both)).toBe('corrupt');
    const founding = other.disk.content(`${FOLDER}/${FOUNDING_FILE}`);
    expect(await opened(made, (disk) => disk.plant(`${FOLDER}/${FOUNDING_FILE}`, founding))).toBe('corrupt');
  });

  it('behind the end of the log are overwritten before anything is appended', async () => {
    const made = await sample();
    const disk = made.disk.fork(simOptions());
    const file = disk.content(FIRST_SEGMENT);
    file.set(file.slice(SECTOR, 2 * SECTOR), SIZE - SECTOR);
    disk.plant(FIRST_SEGMENT, file);
    await open(disk, OPTIONS);
    disk.crash('drop');
    const pattern = new Uint8Array(SECTOR);
    fillPattern({ identity: made.identity, generation: 1, segment: 1 }, SIZE - SECTOR, pattern);
    expect(disk.content(FIRST_SEGMENT).subarray(SIZE - SECTOR)).toEqual(pattern);
  });

  it('— an empty segment of a later generation — are removed; one with a batch lacks its snapshot', async () => {
    const { disk, identity, states } = await sample();
    const later = `${FOLDER}/wal-0000000002-0000000001.seg`;
    const place = { identity, generation: 2, segment: 1 };
    const file = new Uint8Array(SIZE);
    file.set(encodeSegmentHeader(place, SIZE, crc32c));
    fillPattern(place, SECTOR, file.subarray(SECTOR));
    disk.plant(later, file);
    const log = await open(disk, OPTIONS);
    expect(contents(log)).toEqual(states.at(-1));
    await log.close();
    expect(disk.exists(later)).toBe(false);
    const batch = file.subarray(SECTOR, 2 * SECTOR);
    sealBatch(batch, { number: 1, length: 0, count: 0, firstIndex: 9 }, place, SECTOR, crc32c);
    disk.plant(later, file);
    const message = expect.stringContaining('the snapshot that begins generation 2 of the log is missing');
    await expect(open(disk, OPTIONS)).rejects.toMatchObject({ code: 'corrupt', message });
  });

  it('— a folder of a later format — are refused by its number', async () => {
    const { disk } = await sample();
    const meta = disk.content(`${FOLDER}/${META_FILE}`);
    const view = new DataView(meta.buffer, meta.byteOffset);
    view.setUint32(8, 2, true);
    view.setUint32(4, crc32c(meta.subarray(8)), true);
    disk.plant(`${FOLDER}/${META_FILE}`, meta);
    await expect(open(disk, OPTIONS)).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining('format 2'),
    });
  });
});

/** The same, made on another disk with another identity. */
async function sampleOfAnotherFolder(): Promise<Sample> {
  const disk = simDisk(7);
  const identity = new Uint8Array(16).fill(9);
  const log = await open(disk, { ...OPTIONS, random: { float: () => 0, bytes: () => identity } });
  log.saveVote({ term: 2, vote: 1, starts: 1 });
  log.found({ clusterId: new Uint8Array(16).fill(1), members: [{ id: 1, address: 'a:1', identity }] });
  await persist(log, [entry(1), entry(2), entry(3)]);
  await log.close();
  return { disk, states: [], offsets: [], identity };
}
