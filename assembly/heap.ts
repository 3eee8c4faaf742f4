/**
 * Memory for clients: held input, items and transactions. What they may take together is bounded, so that clients cannot
 * take away what committed entries need: `apply` cannot refuse an entry, but a command can be refused and input held back.
 */
import { alloc, free, usable } from './alloc';
import { F_TAKEN } from './front';
import { leavesOwed, SPARE_PAGES } from './pages';

/** Most bytes for clients, of the 4 GiB that there are. Output is not counted: it is bounded by slices and windows. */
const MOST: u64 = 1 << 30;

/** A block of at least `bytes`, or 0 when clients have taken too much, or all memory is taken or promised to the entry under way. */
export function take(bytes: u32): u32 {
  if (load<u64>(F_TAKEN) + bytes > MOST || !leavesOwed((bytes >> 16) + 2, SPARE_PAGES / 2)) return 0;
  const block = alloc(bytes);
  if (block != 0) store<u64>(F_TAKEN, load<u64>(F_TAKEN) + usable(block));
  return block;
}

/** Gives a block back. */
export function give(block: u32): void {
  store<u64>(F_TAKEN, load<u64>(F_TAKEN) - usable(block));
  free(block);
}
