/**
 * The newest incarnation of each folder that this node has let in: how often it had been started, and the number that this life drew. An old
 * copy of a disk, which has forgotten what its node had promised since, says fewer starts, or as many with another number.
 *
 * It is kept in a file, for all others may have been started anew by the time that an old disk comes. A hint all the same: what is
 * unreadable is begun anew, and a disk without room does without. A copy that is started often enough passes the count.
 *
 *     seen-incarnations    CRC32C of the rest, 8 hexadecimal digits; then a line each: identity, starts, nonce
 */
import { type Disk, DiskError } from '../env/env.js';
import { readWhole, writeWhole } from '../log/files.js';
import type { Crc32c } from '../log/types.js';
import { originKey, type Store } from '../store/store.js';

const FILE = 'seen-incarnations';
/** Those that were seen first go first. */
const most = 1_024;

export interface Incarnation {
  readonly starts: number;
  readonly nonce: number;
}

/** The newest one of a folder's of which an entry is applied. */
export function originIn(store: Store, identity: Uint8Array): Incarnation | undefined {
  const record = store.system(originKey(identity));
  if (record === undefined) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  return { starts: view.getUint32(0, true), nonce: view.getUint32(4, true) };
}

export interface IncarnationsHost {
  readonly disk: Disk;
  readonly directory: string;
  readonly crc32c: Crc32c;
  warn(text: string): void;
}

export class Incarnations {
  readonly #host: IncarnationsHost;
  readonly #seen = new Map<string, Incarnation>();

  constructor(host: IncarnationsHost) {
    this.#host = host;
    this.#try(() => this.#read());
  }

  /** `identity`: hexadecimal. */
  get(identity: string): Incarnation | undefined {
    return this.#seen.get(identity);
  }

  /** Durable when it returns. */
  set(identity: string, incarnation: Incarnation): void {
    this.#seen.set(identity, incarnation);
    for (const first of this.#seen.keys()) {
      if (this.#seen.size <= most) break;
      this.#seen.delete(first);
    }
    this.#try(() => this.#write());
  }

  #read(): void {
    const { disk, directory, crc32c, warn } = this.#host;
    const bytes = readWhole(disk, `${directory}/${FILE}`);
    if (bytes === undefined) return;
    const [sum, ...lines] = new TextDecoder().decode(bytes).split('\n');
    if (sum !== sumOf(lines, crc32c)) {
      warn(`${directory}/${FILE} is damaged, and begun anew: an old copy of a disk may not be known for one`);
      return;
    }
    for (const line of lines) {
      const [identity, starts, nonce] = line.split(' ');
      if (identity) this.#seen.set(identity, { starts: Number(starts), nonce: Number(nonce) });
    }
  }

  #write(): void {
    const { disk, directory, crc32c } = this.#host;
    const lines = [...this.#seen].map(([identity, { starts, nonce }]) => `${identity} ${starts} ${nonce >>> 0}`);
    const text = [sumOf(lines, crc32c), ...lines].join('\n');
    writeWhole(disk, directory, FILE, new TextEncoder().encode(text));
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#host.warn(`cannot keep in mind who was here: ${error.message}`);
    }
  }
}

function sumOf(lines: readonly string[], crc32c: Crc32c): string {
  const sum = crc32c(new TextEncoder().encode(lines.join('\n'))) >>> 0;
  return sum.toString(16).padStart(8, '0');
}
