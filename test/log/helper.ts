/** A folder of the log on a simulated disk, and entries to put in it. */

import { openLog } from '../../src/log/log.js';
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import type { Log, LogOptions } from '../../src/log/types.js';
import type { Entry } from '../../src/raft/types.js';
import { SimDisk, type SimDiskOptions } from '../../src/sim/disk.js';
import { crc32c } from '../../src/store/crc32c.js';
import { seeded } from '../sim/seeded.js';

export const FOLDER = '/data/node-1';
export const FIRST_SEGMENT = `${FOLDER}/wal-0000000001-0000000001.seg`;
export const SECOND_SEGMENT = `${FOLDER}/wal-0000000001-0000000002.seg`;

export function simOptions(seed = 1): SimDiskOptions {
  return { schedule: (callback) => queueMicrotask(callback), random: seeded(seed) };
}

export function simDisk(seed = 1): SimDisk {
  return new SimDisk(simOptions(seed));
}

/** Bytes drawn from a seed, as `Random.bytes` does. */
export function seededRandom(seed: number): LogOptions['random'] {
  const float = seeded(seed);
  return { float, bytes: (length) => Uint8Array.from({ length }, () => Math.floor(float() * 256)) };
}

export function logOptions(disk: LogOptions['disk'], more: Partial<LogOptions> = {}): LogOptions {
  const common = { random: seededRandom(99), crc32c, directory: FOLDER, nodeId: 1, segmentBytes: 8192 };
  return { disk, ...common, ...more };
}

export function open(disk: LogOptions['disk'], more: Partial<LogOptions> = {}): Promise<Log> {
  return openLog(logOptions(disk, more));
}

let made = 0;

/** A sealed entry whose payload of `bytes` bytes is unlike that of any other. */
export function entry(index: number, term = 1, bytes = 40): Entry {
  const record = new Uint8Array(RECORD_HEADER_BYTES + bytes);
  const random = seeded(++made);
  for (let at = RECORD_HEADER_BYTES; at < record.length; at++) record[at] = Math.floor(random() * 256);
  const fields = { index, term, logTime: index, wall: 1_700_000_000_000 + index, type: 1 };
  sealRecord(record, fields, crc32c(record.subarray(RECORD_HEADER_BYTES)), crc32c);
  return { index, term, bytes: record };
}

/** Appends, flushes, and waits until all of it is durable. */
export async function persist(log: Log, entries: readonly Entry[]): Promise<void> {
  const { index, term } = entries.at(-1)!;
  log.append(entries);
  await new Promise<void>((resolve, reject) => {
    log.onFailed = reject;
    log.onPersisted = (at, of) => {
      if (at === index && of === term) resolve();
    };
    log.flush();
  });
}

/** All entries of the log, as one comparable text each. */
export function contents(log: Log): string[] {
  const all: Entry[] = [];
  while (all.length < log.lastIndex()) all.push(...log.entries(all.length + 1, log.lastIndex(), 100_000));
  return all.map(told);
}

export function told({ index, term, bytes }: Entry): string {
  return `${index} ${term} ${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')}`;
}

/** The contents of all files in the folder, for comparing a folder with itself. */
export function snapshot(disk: SimDisk): Record<string, string> {
  const files = disk
    .list(FOLDER)
    .map((name) => [name, Buffer.from(disk.content(`${FOLDER}/${name}`)).toString('latin1')]);
  return Object.fromEntries(files);
}

/** Lets everything that is scheduled happen. */
export async function settle(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
