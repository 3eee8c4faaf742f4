/**
 * A scan over all users' records, in the order of their keys' hashes, that may pause while the table changes.
 *
 *     cursor, u64: the tag (36 bits) at which to go on; 0 at the start, SCAN_END behind the last
 *
 *     tags     |.........|=========|=========|=========|.........
 *              granule: all keys whose home is one slot of the coarser table
 *
 * A position in the table means nothing after it has grown, but tags do not change. A scan goes from granule to granule:
 * it takes all keys whose tag lies in one, wherever in which table they stand, or none of them. A key of home h is found
 * between slot h and the next empty one, because nothing is ever displaced.
 */
import { SCAN_BASE, SCAN_SIZE, TABLE_STATE } from './layout';
import { check, FAIL_SCAN } from './memory';
import { recSystem } from './record';
import {
  SLOT_ADDRESS_BITS,
  SLOT_ADDRESS_MASK,
  SLOT_TOMBSTONE,
  TS_LOG,
  TS_OLD,
  TS_OLD_LOG,
  TS_SLOTS,
  TS_WATERMARK,
} from './table';
import { visibleAt } from './version';

export const TAG_BITS: u64 = 36;
export const SCAN_END: u64 = (<u64>1) << TAG_BITS;
/** Most records of one call, and most granules. */
const MOST: u32 = SCAN_SIZE / 4;
const MOST_GRANULES: u32 = 4096;
/** No granule holds this many keys: a granule is one slot of a table that is at most three quarters full, and the hash is seeded. */
const LARGEST_GRANULE: u32 = 1024;

/**
 * Writes the addresses of users' records visible at `revision` (pinned or published) and log time `time` to SCAN_BASE, u32 each, and moves the cursor at address
 * `cursor` on. Returns how many there are; 0 does not mean the end: the cursor being SCAN_END does.
 */
export function scanSome(cursor: u32, revision: u64, time: u64): u32 {
  let tag = load<u64>(cursor);
  const log = load<u32>(TABLE_STATE, TS_LOG);
  const old = load<u32>(TABLE_STATE, TS_OLD);
  const oldLog = load<u32>(TABLE_STATE, TS_OLD_LOG);
  const coarse = old != 0 ? min(log, oldLog) : log;
  const step = (<u64>1) << (TAG_BITS - <u64>coarse);
  let n: u32 = 0;
  for (let granules: u32 = 0; granules < MOST_GRANULES && tag < SCAN_END && n + LARGEST_GRANULE <= MOST; granules++) {
    const end = (tag & ~(step - 1)) + step;
    n = scanTable(load<u32>(TABLE_STATE, TS_SLOTS), log, 0, tag, end, revision, time, n);
    if (old != 0) n = scanTable(old, oldLog, load<u32>(TABLE_STATE, TS_WATERMARK), tag, end, revision, time, n);
    tag = end;
  }
  store<u64>(cursor, tag);
  return n;
}

/** Adds the records of one table whose tags are in [from, end), standing at slot `watermark` or above. */
function scanTable(
  slots: u32,
  log: u32,
  watermark: u32,
  from: u64,
  end: u64,
  revision: u64,
  time: u64,
  count: u32,
): u32 {
  const mask = ((<u32>1) << log) - 1;
  const shift = TAG_BITS - <u64>log;
  const lastHome = <u32>((end - 1) >> shift);
  let n = count;
  let i = <u32>(from >> shift);
  let past = i;
  let slot = load<u64>(slots + (i << 3));
  // Every slot up to the last home, then on to the first empty one.
  while (slot != 0 || past < lastHome) {
    if ((slot & SLOT_ADDRESS_MASK) > SLOT_TOMBSTONE && i >= watermark) n = take(slot, from, end, revision, time, n);
    past++;
    i = (i + 1) & mask;
    slot = load<u64>(slots + (i << 3));
  }
  return n;
}

function take(slot: u64, from: u64, end: u64, revision: u64, time: u64, n: u32): u32 {
  const tag = slot >> SLOT_ADDRESS_BITS;
  if (tag < from || tag >= end) return n;
  const record = visibleAt(<u32>(slot << 4), revision, time);
  if (record == 0 || recSystem(record)) return n;
  check(n < MOST, FAIL_SCAN);
  store<u32>(SCAN_BASE + (n << 2), record);
  return n + 1;
}
