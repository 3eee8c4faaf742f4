/**
 * Start: makes the fixed state of the storage half, in memory that is all zeros.
 *
 *     ARGS at the call
 *      0  16 B  seed of the table's hash
 */
import { initApply } from './apply';
import { initCrc } from './crc';
import { initHash } from './hash';
import { ARGS_BASE } from './layout';
import { check, FAIL_MEMORY } from './memory';
import { initPages } from './pages';
import { initTable } from './table';

/** Once, by the owner of the memory. `mostPages`: pages of 64 KiB that memory may have (0: as many as there can be). */
export function init(mostPages: u32): void {
  initHash(ARGS_BASE);
  initCrc();
  initPages(mostPages);
  check(initTable(), FAIL_MEMORY);
  initApply();
}
