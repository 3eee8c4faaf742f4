import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  BatchOffset,
  batchBytes,
  readBatchHeader,
  sealBatch,
} from '../../src/log/batch.js';
import { encodeFounding, FOUNDING_MAGIC, FoundingOffset } from '../../src/log/founding.js';
import { META_BYTES, META_FILE, META_MAGIC, MetaOffset } from '../../src/log/meta.js';
import {
  fillPattern,
  isPattern,
  PATTERN_BLOCK_BYTES,
  PATTERN_MAGIC,
  PatternOffset,
  SECTOR,
} from '../../src/log/sector.js';
import {
  encodeSegmentHeader,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  SEGMENT_MAGIC,
  SegmentOffset,
  segmentFault,
  segmentName,
} from '../../src/log/segment.js';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_MAGIC,
  BlockOffset,
  blockBytes,
  decodeSnapshotHeader,
  decodeTrailer,
  encodeSnapshotHeader,
  encodeTrailer,
  headerBytes,
  parseSnapshotName,
  SNAPSHOT_MAGIC,
  SnapshotOffset,
  sealBlock,
  snapshotName,
  snapshotSeed,
  TRAILER_BYTES,
  TRAILER_MAGIC,
  TrailerOffset,
  verifyBlock,
} from '../../src/log/snapshot-file.js';
import { encodeVote, VOTE_BYTES, VOTE_MAGIC, VoteOffset } from '../../src/log/vote.js';
import { crc32c } from '../../src/store/crc32c.js';
import { type DrawnRow, drawing } from './drawing.js';
import { FOLDER, open, simDisk } from './helper.js';

const identity = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const place = { identity, generation: 5, segment: 9 };

/** The rows of the drawing in `src/log/<file>` whose first row is `magic … ("name")`: no gaps between its fields. */
function rows(file: string, name: string): DrawnRow[] {
  const all = drawing(readFileSync(`src/log/${file}`, 'utf8'), `("${name}")`);
  for (const [i, row] of all.slice(0, -1).entries()) {
    if (row.bytes > 0) expect([name, row.text, row.offset + row.bytes]).toEqual([name, row.text, all[i + 1]!.offset]);
  }
  return all;
}

function offsets(all: readonly DrawnRow[]): number[] {
  return all.map((row) => row.offset);
}

function magicOf(row: DrawnRow): number {
  return Number(/0x[0-9a-f]{8}/.exec(row.text)![0]);
}

function spelled(magic: number): string {
  return String.fromCharCode(...[0, 8, 16, 24].map((shift) => (magic >>> shift) & 255));
}

describe('The layouts of the files are as they are drawn:', () => {
  const drawn: [string, string, number, Record<string, number>, number][] = [
    ['meta.ts', 'DLM1', META_MAGIC, MetaOffset, META_BYTES],
    ['founding.ts', 'DLF1', FOUNDING_MAGIC, FoundingOffset, -1],
    ['vote.ts', 'DLV1', VOTE_MAGIC, VoteOffset, VOTE_BYTES],
    ['segment.ts', 'DLS1', SEGMENT_MAGIC, SegmentOffset, SEGMENT_HEADER_BYTES],
    ['sector.ts', 'DLFP', PATTERN_MAGIC, PatternOffset, PATTERN_BLOCK_BYTES],
    ['batch.ts', 'DLB1', BATCH_MAGIC, BatchOffset, BATCH_HEADER_BYTES],
    ['snapshot-file.ts', 'DLN1', SNAPSHOT_MAGIC, SnapshotOffset, -1],
    ['snapshot-file.ts', 'DLK1', BLOCK_MAGIC, BlockOffset, -1],
    ['snapshot-file.ts', 'DLT1', TRAILER_MAGIC, TrailerOffset, TRAILER_BYTES],
  ];
  for (const [file, name, magic, fields, end] of drawn) {
    it(`${file}, ${name}`, () => {
      const all = rows(file, name);
      expect(offsets(all)).toEqual([...Object.values(fields), ...(end < 0 ? [] : [end])]);
      expect(magicOf(all[0]!)).toBe(magic);
      expect(spelled(magic)).toBe(name);
    });
  }

  it('a snapshot, in ARCHITECTURE.md as in the source', () => {
    const page = readFileSync('ARCHITECTURE.md', 'utf8');
    for (const name of ['DLN1', 'DLK1', 'DLT1']) {
      expect(drawing(page, `("${name}")`)).toEqual(rows('snapshot-file.ts', name));
    }
  });

  it('a snapshot, byte for byte', () => {
    const meta = new Uint8Array(600).fill(9);
    const info = { index: 2 ** 40, term: 7, logTime: 2 ** 41, stateHash: '0123456789abcdef', meta };
    const bytes = encodeSnapshotHeader({ info, generation: 3, begins: true }, identity, crc32c);
    const view = new DataView(bytes.buffer);
    expect([bytes.length, headerBytes(meta)]).toEqual([1024, 1024]);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([SNAPSHOT_MAGIC, crc32c(bytes.subarray(8))]);
    expect([view.getUint32(8, true), view.getUint32(12, true)]).toEqual([1, 3]);
    expect([16, 24, 32, 40].map((at) => view.getBigUint64(at, true))).toEqual([
      2n ** 40n,
      7n,
      2n ** 41n,
      0x0123456789abcdefn,
    ]);
    expect([view.getUint32(48, true), view.getUint32(52, true)]).toEqual([1, 600]);
    expect([bytes.subarray(56, 72), bytes.subarray(72, 672)]).toEqual([identity, meta]);
    expect(bytes.subarray(672).every((byte) => byte === 0)).toBe(true);
    expect(decodeSnapshotHeader(bytes, identity, crc32c)).toEqual({ info, generation: 3, begins: true });
    expect(decodeSnapshotHeader(bytes, new Uint8Array(16), crc32c)).toContain('another folder');
  });

  it('a block and the trailer of a snapshot, which are that snapshot’s only', () => {
    const key = { index: 5, term: 2, stateHash: '0123456789abcdef', meta: Uint8Array.of(1, 2, 3) };
    const keyBytes = new Uint8Array(44);
    keyBytes.set(identity);
    const keyView = new DataView(keyBytes.buffer);
    for (const [at, value] of [
      [16, 5n],
      [24, 2n],
      [32, 0x0123456789abcdefn],
    ] as const)
      keyView.setBigUint64(at, value, true);
    keyView.setUint32(40, crc32c(key.meta), true);
    const seed = snapshotSeed(identity, key, crc32c);
    expect(seed).toBe(crc32c(keyBytes));
    const block = new Uint8Array(blockBytes(700)).fill(255);
    sealBlock(block, 4, 700, seed, crc32c);
    const view = new DataView(block.buffer);
    expect([block.length, BLOCK_HEADER_BYTES]).toEqual([1024, 16]);
    expect([0, 4, 8, 12].map((at) => view.getUint32(at, true))).toEqual([
      BLOCK_MAGIC,
      crc32c(block.subarray(8), seed),
      4,
      700,
    ]);
    expect(block.subarray(16, 716).every((byte) => byte === 255)).toBe(true);
    expect(block.subarray(716).every((byte) => byte === 0)).toBe(true);
    const valid = (number: number, length: number, of = seed): boolean =>
      verifyBlock(block, number, length, of, crc32c);
    expect([valid(4, 700), valid(3, 700), valid(4, 699), valid(4, 700, seed ^ 1)]).toEqual([true, false, false, false]);
    const trailer = { size: 2 ** 35, count: 2 ** 34, stateHash: key.stateHash };
    const end = encodeTrailer(trailer, seed, crc32c);
    const ends = new DataView(end.buffer);
    expect([ends.getUint32(0, true), ends.getUint32(4, true)]).toEqual([TRAILER_MAGIC, crc32c(end.subarray(8), seed)]);
    expect([8, 16, 24].map((at) => ends.getBigUint64(at, true))).toEqual([2n ** 35n, 2n ** 34n, 0x0123456789abcdefn]);
    expect(ends.getUint32(32, true)).toBe(Math.ceil(2 ** 35 / 262_128));
    expect(decodeTrailer(end, seed, crc32c)).toEqual(trailer);
    expect(decodeTrailer(end, seed ^ 1, crc32c)).toBeUndefined();
  });

  it('a copy of the vote, byte for byte', () => {
    const copy = { generation: 2 ** 33 + 1, term: 2 ** 40, vote: 3, starts: 4, founded: true };
    const bytes = encodeVote(copy, identity, crc32c);
    const view = new DataView(bytes.buffer);
    expect(bytes.length).toBe(512);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([VOTE_MAGIC, crc32c(bytes.subarray(8))]);
    expect([view.getBigUint64(8, true), view.getBigUint64(16, true)]).toEqual([2n ** 33n + 1n, 2n ** 40n]);
    expect([view.getUint32(24, true), view.getUint32(28, true), view.getUint32(48, true)]).toEqual([3, 4, 1]);
    expect(bytes.subarray(32, 48)).toEqual(identity);
    expect(bytes.subarray(52).every((byte) => byte === 0)).toBe(true);
  });

  it('the founding record, byte for byte', () => {
    const clusterId = new Uint8Array(16).fill(7);
    const members = [{ id: 258, address: 'ab:1', identity: new Uint8Array(16).fill(8) }];
    const bytes = encodeFounding({ clusterId, members }, identity, crc32c);
    const view = new DataView(bytes.buffer);
    expect([view.getUint32(8, true), view.getUint32(12, true)]).toEqual([1, 1]);
    expect([bytes.subarray(16, 32), bytes.subarray(32, 48)]).toEqual([clusterId, identity]);
    expect([view.getUint32(48, true), view.getUint32(52, true), bytes[56], bytes[71]]).toEqual([258, 4, 8, 8]);
    expect(new TextDecoder().decode(bytes.subarray(72))).toBe('ab:1');
    expect(() => encodeFounding({ clusterId: new Uint8Array(3), members }, identity, crc32c)).toThrow('16 bytes');
  });

  it('the identity of the folder, byte for byte', async () => {
    const disk = simDisk();
    const log = await open(disk, { nodeId: 513 });
    const bytes = disk.content(`${FOLDER}/${META_FILE}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    expect([bytes.length, view.getUint32(0, true), view.getUint32(4, true)]).toEqual([
      32,
      META_MAGIC,
      crc32c(bytes.subarray(8)),
    ]);
    expect([view.getUint32(8, true), view.getUint32(12, true)]).toEqual([1, 513]);
    expect(bytes.subarray(16)).toEqual(log.folder.identity);
  });

  it('a batch, byte for byte', () => {
    const bytes = new Uint8Array(batchBytes(700)).fill(255);
    sealBatch(bytes, { number: 3, length: 700, count: 2, firstIndex: 11 }, place, 1024, crc32c);
    const view = new DataView(bytes.buffer);
    const where = new Uint8Array(28);
    where.set(identity);
    new DataView(where.buffer).setUint32(16, 5, true);
    new DataView(where.buffer).setUint32(20, 9, true);
    new DataView(where.buffer).setUint32(24, 1024, true);
    const seed = crc32c(where);
    expect(bytes.length).toBe(512 + 1024);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([
      BATCH_MAGIC,
      crc32c(bytes.subarray(8, 512), seed),
    ]);
    expect([view.getBigUint64(8, true), view.getUint32(16, true), view.getUint32(20, true)]).toEqual([3n, 700, 2]);
    expect([view.getUint32(24, true), view.getBigUint64(32, true)]).toEqual([crc32c(bytes.subarray(512), seed), 11n]);
    expect(bytes.subarray(40, 512).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(512, 1212).every((byte) => byte === 255)).toBe(true);
    expect(bytes.subarray(1212).every((byte) => byte === 0)).toBe(true);
  });

  it('a sector of the pattern, which is that of its own place only', () => {
    const file = new Uint8Array(4 * SECTOR);
    fillPattern(place, 0, file);
    const view = new DataView(file.buffer);
    for (let at = 0; at < file.length; at += 32) {
      expect([0, 4, 8, 12].map((field) => view.getUint32(at + field, true))).toEqual([PATTERN_MAGIC, 5, 9, at >> 9]);
      expect(file.subarray(at + 16, at + 32)).toEqual(identity);
    }
    expect(isPattern(place, file, SECTOR)).toBe(true);
    expect(isPattern({ ...place, segment: 8 }, file, SECTOR)).toBe(false);
    expect(isPattern({ ...place, generation: 4 }, file, SECTOR)).toBe(false);
    expect(isPattern({ ...place, identity: new Uint8Array(16) }, file, SECTOR)).toBe(false);
    expect(isPattern(place, file.slice(SECTOR), SECTOR)).toBe(false);
    file[SECTOR + 511]! ^= 1;
    expect(isPattern(place, file, SECTOR)).toBe(false);
  });
});

describe('A batch header', () => {
  it('is valid at its own place only', () => {
    const file = new Uint8Array(4096);
    const batch = new Uint8Array(batchBytes(100));
    sealBatch(batch, { number: 1, length: 100, count: 1, firstIndex: 1 }, place, 1024, crc32c);
    file.set(batch, 1024);
    file.set(batch, 2048);
    expect(readBatchHeader(file, place, 1024, crc32c)).toMatchObject({
      number: 1,
      length: 100,
      count: 1,
      firstIndex: 1,
    });
    expect(readBatchHeader(file, place, 2048, crc32c)).toBeUndefined();
    expect(readBatchHeader(file, { ...place, generation: 6 }, 1024, crc32c)).toBeUndefined();
    expect(readBatchHeader(file, { ...place, segment: 1 }, 1024, crc32c)).toBeUndefined();
    expect(readBatchHeader(file, { ...place, identity: new Uint8Array(16) }, 1024, crc32c)).toBeUndefined();
  });
});

describe('A segment', () => {
  it('is named by generation and number, so that names sort as numbers do', () => {
    expect(segmentName(1, 23)).toBe('wal-0000000001-0000000023.seg');
    expect(parseSegmentName(segmentName(4, 5))).toEqual({ generation: 4, segment: 5 });
    for (const name of ['meta', 'wal-1-1.seg', 'wal-0000000001-0000000023.seg.tmp']) {
      expect(parseSegmentName(name)).toBeUndefined();
    }
  });

  it('is known by its header: folder, generation, number and size', () => {
    const file = new Uint8Array(2048);
    file.set(encodeSegmentHeader(place, 2048, crc32c));
    expect(segmentFault(file, place, crc32c)).toBeUndefined();
    expect(segmentFault(file.subarray(0, 1536), place, crc32c)).toContain('has 1536 bytes');
    expect(segmentFault(file.subarray(0, 100), place, crc32c)).toContain('cut short');
    expect(segmentFault(file, { ...place, identity: new Uint8Array(16) }, crc32c)).toContain('another folder');
    expect(segmentFault(file, { ...place, segment: 8 }, crc32c)).toContain('number 9 of generation 5');
    expect(segmentFault(file, { ...place, generation: 4 }, crc32c)).toContain('number 9 of generation 5');
  });
});

describe('A snapshot', () => {
  it('is named by generation and index, so that names sort as numbers do', () => {
    expect(snapshotName(1, 23)).toBe('snapshot-0000000001-0000000000000023.snap');
    expect(parseSnapshotName(snapshotName(4, 2 ** 52))).toEqual({ generation: 4, index: 2 ** 52 });
    for (const name of ['meta', 'snapshot-1-1.snap', `${snapshotName(1, 1)}.tmp`]) {
      expect(parseSnapshotName(name)).toBeUndefined();
    }
  });
});
