/**
 * The log on disk: what a node promised, in files.
 *
 * ## Concept
 *
 *     meta                              who the folder is                                 meta.ts
 *     founding                          which cluster it belongs to                       founding.ts
 *     vote-1, vote-2                    term, vote and start counter, in two copies       vote.ts
 *     wal-<generation>-<n>.seg          segments: made ahead, filled with a pattern       segment.ts, sector.ts
 *     snapshot-<generation>-<index>.snap  the state after an entry                        snapshots.ts, snapshot-file.ts
 *
 * Entries are appended in memory, and one write at a time makes all of them durable that came while the one before was
 * under way (group commit). Such a write is a *batch* (batch.ts): header, records, padding, in whole sectors, in one
 * segment, through an O_DSYNC descriptor into space that was allocated before, so that no metadata has to follow it.
 * A snapshot replaces the log up to an entry: segments with nothing behind that entry are dropped (ledger.ts). One that comes
 * from another node begins a new *generation* of the log, unless the log has its last entry. recovery.ts says what a crash
 * may leave and how it is told from rot. `DiskLog` (disk-log.ts) is the open log; this file opens it.
 *
 * ## Invariants
 *
 * - *Append-only.* Nothing is overwritten. A record with index i supersedes all earlier ones from i on; `EntryTable` knows
 *   which record of an index is the newest.
 * - *One write in flight*, so batches become durable in their order, and only the last can be torn.
 * - *Acknowledged means durable.* `onPersisted` follows the callback of an O_DSYNC write, and names the last entry of that
 *   write with the term that it had then: what was superseded meanwhile is not vouched for (dissertation §10.2.1).
 * - *Term and vote first.* `saveVote` returns when both copies are durable; its caller sends afterwards (Raft figure 2).
 *   Terms and start counters never go back, and a vote never changes within its term.
 * - *No gap.* Snapshot and log overlap or touch: the log is durable up to the snapshot's last entry before the snapshot gets
 *   its name, and only segments that hold nothing behind it are removed, after that name is durable.
 * - *A failure is final.* After a failed write nobody knows what the disk holds (the page cache may hold more). Nothing
 *   is written or acknowledged any more; recovery decides after a restart.
 * - *Rot is never cut off.* A folder that is damaged where it was once written does not open, and stays as it is; or it is
 *   marked, made sound and opened as `damaged`, for a host that repairs it from the other members (salvage.ts).
 *
 * ## Caveats
 *
 * - A sector of 512 bytes is assumed to be written all or nothing.
 * - A disk that acknowledges the very last batch and never writes one of its sectors cannot be told from a crash.
 * - A batch that cannot be placed because the disk is full waits, unacknowledged, and all behind it. The host refuses what has
 *   client data long before, while `hasRoom` is false: so what is left of the last segment is for the others.
 */
import type { Disk } from '../env/env.js';
import { DiskLog, type Found, type Settings } from './disk-log.js';
import { EntryTable } from './entry-table.js';
import { asLogError, corrupt, join, TEMPORARY } from './files.js';
import { readFounding } from './founding.js';
import { createMeta, META_FILE, readMeta } from './meta.js';
import { type LogEnd, scan, settle } from './recovery.js';
import { DAMAGED_FILE, Evidence, isMarked, markDamaged, Salvage } from './salvage.js';
import { SECTOR } from './sector.js';
import {
  FIRST_GENERATION,
  FIRST_SEGMENT_BYTES,
  makeSegment,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  segmentName,
} from './segment.js';
import { parseSnapshotName } from './snapshot-file.js';
import { type FoundSnapshots, readSnapshots } from './snapshots.js';
import { type FolderIdentity, type Log, LogError, type LogOptions } from './types.js';
import { readVotes, VoteFiles } from './vote.js';

const MIB = 1024 * 1024;
const DEFAULT_SEGMENT_BYTES = 16 * MIB;
const DEFAULT_CACHE_BYTES = 32 * MIB;
const DEFAULT_BATCH_BYTES = 4 * MIB;
const DEFAULT_TAIL_BYTES = 16 * MIB;

function settings(options: LogOptions): Settings {
  const segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
  if (segmentBytes % SECTOR !== 0 || segmentBytes < SEGMENT_HEADER_BYTES + 2 * SECTOR) {
    throw new Error(`log: segmentBytes must be a multiple of ${SECTOR} from ${4 * SECTOR} on, not ${segmentBytes}`);
  }
  return {
    cacheBytes: DEFAULT_CACHE_BYTES,
    batchBytes: DEFAULT_BATCH_BYTES,
    tailBytes: DEFAULT_TAIL_BYTES,
    defer: (callback) => void Promise.resolve().then(callback),
    clock: { monotonic: () => 0, wall: () => 0 },
    repair: false,
    reserveBytes: 0,
    onWarning: () => {},
    ...options,
    segmentBytes,
  };
}

/** Reads the identity of the folder; an empty folder gets one, durably, before anything else is in it. */
function identify({ disk, directory, nodeId, random, crc32c }: Settings): FolderIdentity {
  const folder = readMeta(disk, directory, crc32c);
  if (!folder) {
    const others = disk.list(directory).filter((name) => !name.endsWith(TEMPORARY));
    const ours = others.find(
      (name) => parseSegmentName(name) || parseSnapshotName(name) || /^(vote-|founding$)/.test(name),
    );
    if (ours) throw corrupt(join(directory, META_FILE), 0, `it is missing, but there is ${ours}`);
    return createMeta(disk, directory, nodeId, random, crc32c);
  }
  if (folder.nodeId !== nodeId) {
    throw new LogError(
      'other-node',
      `${directory} is the data folder of node ${folder.nodeId}; this is node ${nodeId}: pass --id ${folder.nodeId}, or another folder`,
    );
  }
  return folder;
}

function read(options: Settings, folder: FolderIdentity): Found {
  const { disk, directory, crc32c } = options;
  const { identity } = folder;
  const votes = readVotes(disk, directory, identity, crc32c);
  const founding = readFounding(disk, directory, identity, crc32c);
  const snapshots = readSnapshots(disk, directory, identity, crc32c);
  const { table, scan: scanned } = readLog(options, identity, snapshots);
  if (!votes && scanned.end) throw corrupt(join(directory, 'vote-1'), 0, 'it is missing, but there is a log');
  if (!founding && votes?.newest.founded) throw corrupt(join(directory, 'founding'), 0, 'it is missing');
  if (!scanned.end && votes && votes.newest.starts > 0) {
    throw corrupt(join(directory, segmentName(FIRST_GENERATION, 1)), 0, 'it is missing');
  }
  return { folder, founding, votes, snapshots, scan: scanned, table, damaged: isMarked(disk, directory) };
}

/** The same for a folder that may be damaged: with `repair` it is made sound first, and marked. */
async function readOrRepair(options: Settings, folder: FolderIdentity): Promise<Found> {
  const { disk, directory, onWarning } = options;
  if (isMarked(disk, directory) && !mayRepair(options, folder))
    throw corrupt(join(directory, DAMAGED_FILE), 0, 'the folder is being repaired from the other members');
  try {
    return read(options, folder);
  } catch (error) {
    if (!(error instanceof LogError) || error.code !== 'corrupt' || !mayRepair(options, folder)) throw error;
    onWarning(`${error.message}; keeping what is good, to be repaired from the other members`);
    markDamaged(disk, directory, error.message);
    await new Salvage({ ...options, identity: folder.identity }).run();
    return read(options, folder);
  }
}

function mayRepair({ repair, disk, directory, crc32c }: Settings, { identity }: FolderIdentity): boolean {
  if (typeof repair === 'boolean') return repair;
  try {
    return repair(readFounding(disk, directory, identity, crc32c));
  } catch (error) {
    if (!(error instanceof LogError)) throw error;
    return repair(undefined);
  }
}

/** Reads the segments. A bad snapshot does no harm if the log reaches from before it to behind it. */
function readLog(
  { disk, directory, crc32c }: Settings,
  identity: Uint8Array,
  { newest, bad }: FoundSnapshots,
): Pick<Found, 'table' | 'scan'> {
  const generation = newest?.generation ?? FIRST_GENERATION;
  const lost = bad.find((each) => each.generation > generation);
  if (lost) throw lost.error;
  const table = new EntryTable();
  const snapshot = newest && { index: newest.info.index, term: newest.info.term, begins: newest.begins };
  try {
    const scanned = scan({ disk, directory, identity, crc32c, generation, snapshot, table });
    const needed = bad.find((each) => each.index > table.last);
    if (needed) throw needed.error;
    return { table, scan: scanned };
  } catch (error) {
    throw bad[0] && error instanceof LogError ? bad[0].error : error;
  }
}

/** Says what was lost or mended, for the operator. */
function warn({ onWarning }: Settings, found: Found): void {
  for (const path of found.votes?.bad ?? []) onWarning(`${path} was damaged; its other copy was taken`);
  for (const { error } of found.snapshots.bad) onWarning(`${error.message}; the log behind it is whole`);
  if (found.scan.torn)
    onWarning(`cut off a write that a crash left unfinished (never acknowledged): ${found.scan.torn}`);
}

function removeTemporary(disk: Disk, directory: string): void {
  for (const name of disk.list(directory)) {
    if (name.endsWith(TEMPORARY)) disk.unlink(join(directory, name));
  }
}

async function recover(options: Settings, release: () => void): Promise<DiskLog> {
  const { disk, directory, crc32c } = options;
  const folder = identify(options);
  const found = await readOrRepair(options, folder);
  warn(options, found);
  const evidence = new Evidence(options);
  for (const { path } of found.snapshots.bad) evidence.move(path.slice(directory.length + 1));
  removeTemporary(disk, directory);
  for (const path of found.snapshots.older) disk.unlink(path);
  await settle(disk, directory, found.scan);
  const votes = VoteFiles.open(disk, directory, folder.identity, crc32c, found.votes);
  try {
    const end = found.scan.end ?? (await firstSegment(options, folder));
    disk.syncDir(directory);
    return new DiskLog(options, found, end, votes, release);
  } catch (error) {
    votes.close();
    throw error;
  }
}

async function firstSegment(options: Settings, folder: FolderIdentity): Promise<LogEnd> {
  const { disk, directory, crc32c, segmentBytes } = options;
  const size = Math.min(segmentBytes, FIRST_SEGMENT_BYTES);
  const place = { identity: folder.identity, generation: FIRST_GENERATION, segment: 1 };
  await makeSegment({ disk, directory, place, size, crc32c, background: false });
  const path = join(directory, segmentName(place.generation, place.segment));
  return { place, path, size, offset: SEGMENT_HEADER_BYTES, lastBatch: undefined };
}

/**
 * Opens the folder, making it if there is none, and recovers what it holds. Rejects with LogError `locked` (another
 * process has it), `other-node`, `format`, `corrupt` (nothing has been changed), `disk`.
 */
export async function openLog(options: LogOptions): Promise<Log> {
  const all = settings(options);
  try {
    all.disk.mkdir(all.directory);
    const lock = await all.disk.lock(all.directory);
    if (!lock) throw new LogError('locked', `${all.directory} is in use by another process`);
    try {
      return await recover(all, () => lock.release());
    } catch (error) {
      lock.release();
      throw error;
    }
  } catch (error) {
    throw asLogError(error);
  }
}
