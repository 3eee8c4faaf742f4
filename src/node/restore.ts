/**
 * Loads the log's newest snapshot into the store, in slices that let other work in between: at the start of a node, and when one
 * from another member has been installed. The content in the file is the store's chunks, one behind the other; they are cut
 * anew on the way in.
 */
import type { Timers } from '../env/env.js';
import type { Log, SnapshotReader } from '../log/types.js';
import { type SnapshotState, wholeEntries } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import { NodeError } from './options.js';
import { decodeSnapshotMeta } from './snapshot-meta.js';
import { checkVersion } from './versions.js';

/** Bytes of content in one slice: loaded in about 2 ms. */
const sliceBytes = 131_072;

/** Loads the newest snapshot, if there is one. Rejects with a NodeError, or a LogError of the disk: the store must not be used then. */
export function restoreAll(store: Store, log: Log, timers: Timers): Promise<void> {
  if (!log.snapshot) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const restore = new Restore(store, log);
    const step = (): void => {
      try {
        if (restore.step()) resolve();
        else timers.defer(step);
      } catch (error) {
        restore.close();
        reject(error);
      }
    };
    step();
  });
}

/** The loading of one snapshot. Nothing may be staged for `apply` when it is made, and nothing applied or read until `step` has returned true. */
export class Restore {
  readonly index: number;
  readonly #store: Store;
  readonly #reader: SnapshotReader;
  readonly #state: SnapshotState;
  /** Content that has been read, of which `#filled` bytes are not loaded yet. */
  #bytes = new Uint8Array(2 * sliceBytes);
  #filled = 0;
  #offset = 0;

  /** Throws NodeError, LogError `corrupt`, `disk`. */
  constructor(store: Store, log: Log) {
    const reader = log.openSnapshot();
    if (!reader) throw new Error('there is no snapshot to load');
    const contents = decodeSnapshotMeta(reader.info);
    if (!contents) {
      reader.close();
      throw failed(reader.info.index, 'it does not say what state it is of');
    }
    try {
      checkVersion(contents.version, store.versions);
    } catch (error) {
      reader.close();
      throw error;
    }
    this.#store = store;
    this.#reader = reader;
    this.#state = contents.state;
    this.index = reader.info.index;
    store.loadBegin();
  }

  /** Loads a slice; true when the store has all of it. Throws NodeError, LogError `corrupt`, `disk`. */
  step(): boolean {
    this.#read();
    if (this.#filled > 0) this.#load();
    if (this.#offset < this.#reader.size) return false;
    this.close();
    const outcome = this.#store.loadEnd(this.#state);
    if (outcome !== 'ok') throw failed(this.index, outcome);
    return true;
  }

  close(): void {
    this.#reader.close();
  }

  #read(): void {
    const room = this.#bytes.subarray(this.#filled, this.#filled + sliceBytes);
    const read = this.#reader.read(this.#offset, room);
    this.#offset += read;
    this.#filled += read;
  }

  /** Loads the whole entries; what is left waits for its rest. */
  #load(): void {
    const last = this.#offset === this.#reader.size;
    const whole = last ? this.#filled : wholeEntries(this.#bytes, this.#filled);
    if (whole > 0 && !this.#store.loadChunk(this.#bytes.subarray(0, whole))) {
      // Its state tells why.
      throw failed(this.index, this.#store.loadEnd(this.#state));
    }
    const left = this.#filled - whole;
    const larger = left + sliceBytes > this.#bytes.length ? new Uint8Array(2 * (left + sliceBytes)) : this.#bytes;
    larger.set(this.#bytes.subarray(whole, this.#filled));
    this.#bytes = larger;
    this.#filled = left;
  }
}

function failed(index: number, why: string): NodeError {
  if (why === 'no-memory')
    return new NodeError(
      `out of memory: the snapshot of entry ${index} does not fit; give this node more and start it again`,
    );
  return new NodeError(`the snapshot of entry ${index} is not what it says it is (${why}), and cannot be loaded`);
}
