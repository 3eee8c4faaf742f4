/** A folder of the log on a simulated disk, and entries to put in it. */

import { expect } from 'vitest';
import { openLog } from '../../src/log/log.js';
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import type { Done, Log, LogOptions, NewSnapshot, SnapshotInfo } from '../../src/log/types.js';
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

/** All entries that the log has, as one comparable text each. */
export function contents(log: Log): string[] {
  const all: Entry[] = [];
  const [first, last] = [log.firstIndex(), log.lastIndex()];
  while (first + all.length <= last) all.push(...log.entries(first + all.length, last, 100_000));
  return all.map(told);
}

export function told({ index, term, bytes }: Entry): string {
  return `${index} ${term} ${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')}`;
}

/** `length` bytes like no other's. */
export function randomBytes(length: number, seed = ++made): Uint8Array {
  const random = seeded(seed);
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

/** What a host would say of a snapshot that ends with entry `index`. */
export function snapshotOf(log: Log, index: number, more: Partial<NewSnapshot> = {}): NewSnapshot {
  const stateHash = index.toString(16).padStart(16, 'a');
  return { index, term: log.term(index), logTime: index * 10, stateHash, meta: new Uint8Array([1, 2, 3]), ...more };
}

/** A call with a `Done`, as a promise. */
export function done(call: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => call((error) => (error ? reject(error) : resolve())));
}

/** Takes a snapshot with this content. */
export async function take(log: Log, info: NewSnapshot, content: Uint8Array): Promise<void> {
  const writer = log.beginSnapshot(info);
  for (let at = 0; at < content.length; at += 1000) {
    await done((then) => writer.write(content.subarray(at, at + 1000), then));
  }
  await done((then) => writer.finish({ count: 7, stateHash: info.stateHash }, then));
}

/** Receives and installs a snapshot with this content. */
export async function install(log: Log, info: SnapshotInfo, content: Uint8Array): Promise<void> {
  const receiver = await log.receiveSnapshot(info);
  await done((then) => receiver.write(content.subarray(receiver.verified), then));
  await done((then) => receiver.install(then));
}

/** The content of the newest snapshot. */
export function snapshotContent(log: Log): Uint8Array | undefined {
  const reader = log.openSnapshot();
  if (!reader) return undefined;
  const bytes = new Uint8Array(reader.size);
  expect(reader.read(0, bytes)).toBe(bytes.length);
  reader.close();
  return bytes;
}

/** The contents of all files in the folder, for comparing a folder with itself. */
export function folderOf(disk: SimDisk): Record<string, string> {
  const files = disk
    .list(FOLDER)
    .map((name) => [name, Buffer.from(disk.content(`${FOLDER}/${name}`)).toString('latin1')]);
  return Object.fromEntries(files);
}

/** Lets everything that is scheduled happen. */
export async function settle(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
