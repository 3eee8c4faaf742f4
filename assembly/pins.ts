/**
 * Pins: revisions that transactions and snapshots read at, each with the old versions that are kept for it.
 *
 *     pin, 32 bytes at PINS + 32 * i, revisions ascending
 *      0  u64  revision
 *      8  u32  how often it is pinned; 0: dead, its place is taken back later
 *     12  u32  first version kept for it
 *     16  u32  last version kept for it
 *     20  u32  of a dead one: 1 + the next lower place to look at, 0: none
 *
 *     state, at PINS_STATE
 *      0  u32  places in use
 *      4  u32  dead ones among them
 *
 * Only the published revision can be pinned, so pins are added at the end. A version is kept on the queue of the largest
 * pin that sees it. Dead places are skipped by paths that shorten as they are walked, and are squeezed out when they
 * are more than the living.
 */
import { PINS_BASE, PINS_SIZE, PINS_STATE } from './layout';
import { check, FAIL_PINS_FULL, FAIL_UNPIN } from './memory';

export const PIN_BYTES: u32 = 32;
export const PIN_REVISION: u32 = 0;
export const PIN_COUNT: u32 = 8;
export const PIN_FIRST: u32 = 12;
export const PIN_LAST: u32 = 16;
export const PIN_LOWER: u32 = 20;

export const PI_PLACES: u32 = 0;
export const PI_DEAD: u32 = 4;

const MOST_PLACES: u32 = PINS_SIZE / PIN_BYTES;
/** Dead places that are not worth a squeeze. */
const FEW: u32 = 64;

// @ts-ignore: decorator
@inline
function place(i: u32): u32 {
  return PINS_BASE + i * PIN_BYTES;
}

/** Behind the last place in use. Dead ones keep nothing. */
export function pinsEnd(): u32 {
  return place(load<u32>(PINS_STATE, PI_PLACES));
}

/** Distinct revisions that are pinned. */
export function pinCount(): u32 {
  return load<u32>(PINS_STATE, PI_PLACES) - load<u32>(PINS_STATE, PI_DEAD);
}

/** Pins `revision`, which is not lower than any that is pinned. */
export function addPin(revision: u64): void {
  const n = load<u32>(PINS_STATE, PI_PLACES);
  if (n > 0 && load<u64>(place(n - 1)) == revision && load<u32>(place(n - 1), PIN_COUNT) != 0) {
    store<u32>(place(n - 1), load<u32>(place(n - 1), PIN_COUNT) + 1, PIN_COUNT);
    return;
  }
  check(n < MOST_PLACES, FAIL_PINS_FULL);
  const pin = place(n);
  store<u64>(pin, revision);
  store<u32>(pin, 1, PIN_COUNT);
  store<u32>(pin, 0, PIN_FIRST);
  store<u32>(pin, 0, PIN_LAST);
  store<u32>(PINS_STATE, n + 1, PI_PLACES);
}

/** Takes one pin of `revision` away. Returns its place when that was the last one, else 0. Its queue must be taken before the next call. */
export function dropPin(revision: u64): u32 {
  const i = placesBelow(revision + 1);
  check(i > 0 && load<u64>(place(i - 1)) == revision, FAIL_UNPIN);
  const pin = place(i - 1);
  const count = load<u32>(pin, PIN_COUNT);
  check(count > 0, FAIL_UNPIN);
  store<u32>(pin, count - 1, PIN_COUNT);
  if (count > 1) return 0;
  store<u32>(pin, i - 1, PIN_LOWER);
  store<u32>(PINS_STATE, load<u32>(PINS_STATE, PI_DEAD) + 1, PI_DEAD);
  return pin;
}

/** Forgets all pins: they are let go of, or what they see is. */
export function resetPins(): void {
  store<u32>(PINS_STATE, 0, PI_PLACES);
  store<u32>(PINS_STATE, 0, PI_DEAD);
}

/** Takes dead places back; call it after the queue of a dropped pin has been taken. */
export function tidyPins(): void {
  let n = load<u32>(PINS_STATE, PI_PLACES);
  let dead = load<u32>(PINS_STATE, PI_DEAD);
  for (; n > 0 && load<u32>(place(n - 1), PIN_COUNT) == 0; n--) dead--;
  if (dead > n - dead + FEW) {
    let kept: u32 = 0;
    for (let i: u32 = 0; i < n; i++) {
      if (load<u32>(place(i), PIN_COUNT) == 0) continue;
      if (kept != i) memory.copy(place(kept), place(i), PIN_BYTES);
      kept++;
    }
    n = kept;
    dead = 0;
  }
  store<u32>(PINS_STATE, n, PI_PLACES);
  store<u32>(PINS_STATE, dead, PI_DEAD);
}

/** The largest pin below `revision`, or 0. */
export function pinBelow(revision: u64): u32 {
  const i = placesBelow(revision);
  if (i == 0) return 0;
  let pin = place(i - 1);
  while (load<u32>(pin, PIN_COUNT) == 0) {
    const lower = load<u32>(pin, PIN_LOWER);
    if (lower == 0) return 0;
    const next = place(lower - 1);
    if (load<u32>(next, PIN_COUNT) == 0) store<u32>(pin, load<u32>(next, PIN_LOWER), PIN_LOWER);
    pin = next;
  }
  return pin;
}

/** How many places have a revision below `revision`. */
function placesBelow(revision: u64): u32 {
  let low: u32 = 0;
  let high = load<u32>(PINS_STATE, PI_PLACES);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u64>(place(middle)) < revision) low = middle + 1;
    else high = middle;
  }
  return low;
}
