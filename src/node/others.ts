/**
 * A note in the data folder that the cluster has other members: the empty file `others`. When the log has rotted, the record of the
 * members may be gone with it, and the founding tells only who began; yet whether a folder can be repaired from others has
 * to be known before it is opened. It decides nothing else. At worst it is behind by a change that a crash cut off.
 */
import { type Disk, DiskError } from '../env/env.js';
import { writeWhole } from '../log/files.js';

const NAME = 'others';

export function othersNoted(disk: Disk, directory: string): boolean {
  return disk.exists(`${directory}/${NAME}`);
}

/** Makes the note, or takes it away. A disk that does not do it is left as it is. */
export function noteOthers(disk: Disk, directory: string, others: boolean): void {
  if (othersNoted(disk, directory) === others) return;
  try {
    if (others) writeWhole(disk, directory, NAME, new Uint8Array(0));
    else disk.unlink(`${directory}/${NAME}`);
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
  }
}
