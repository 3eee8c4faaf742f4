/**
 * Readers on other threads: how they announce themselves, and how the writer sees them.
 *
 *     announcement, a cache line at READERS + 64 * slot
 *      0  u64  the revision that the reader reads at; 0: it reads nothing now
 *
 *     state, at READERS_STATE
 *      0  u32  slots ever used: the writer looks at these only
 *
 * A reader writes the revision it will read at (the published one, or one it has pinned and that is lower), then reads the
 * published revision again until both agree, and only then looks at slots; it clears its announcement when it holds no
 * address any more. Memory that was unlinked before revision P was published may be used again once no announcement is
 * below P: whoever announced P or later began to look after the unlinking was visible (epoch-based reclamation).
 */
import { READERS_BASE, READERS_STATE } from './layout';
import { check, FAIL_READER } from './memory';

export const READER_BYTES: u32 = 64;
export const READERS: u32 = 64;
export const RS_USED: u32 = 0;

// @ts-ignore: decorator
@inline
export function anyReaders(): bool {
  return load<u32>(READERS_STATE, RS_USED) != 0;
}

/** A reading thread takes a slot for good; slots are given out by the owner of the memory. */
export function addReader(): u32 {
  const slot = load<u32>(READERS_STATE, RS_USED);
  check(slot < READERS, FAIL_READER);
  store<u32>(READERS_STATE, slot + 1, RS_USED);
  return slot;
}

/** The address of a reader's announcement. */
export function readerAddress(slot: u32): u32 {
  return READERS_BASE + slot * READER_BYTES;
}

/** The lowest revision that a reader reads at; the largest number when none does. */
export function oldestReader(): u64 {
  let oldest = u64.MAX_VALUE;
  const end = READERS_BASE + load<u32>(READERS_STATE, RS_USED) * READER_BYTES;
  for (let at = READERS_BASE; at < end; at += READER_BYTES) {
    const revision = atomic.load<u64>(at);
    if (revision != 0 && revision < oldest) oldest = revision;
  }
  return oldest;
}
