/**
 * Keeps a store's state in a file, for whoever looks into why it is not what it should be.
 *
 * `diverged-<index>.state` in the data folder: a line of JSON, the snapshot's state, then the entries of a snapshot, one behind the
 * other (ARCHITECTURE.md, "Snapshot"). The newest two are kept. Nothing depends on it: it is not synced, and a disk without room does without.
 */
import { type Disk, DiskError, type DiskFile, type Timers } from '../env/env.js';
import type { Store } from '../store/store.js';

const chunkBytes = 65_536;
const keptFiles = 2;
const NAME = /^diverged-(\d+)\.state$/;

export interface EvidenceHost {
  readonly disk: Disk;
  readonly timers: Timers;
  readonly store: Store;
  readonly directory: string;
  guard(action: () => void): void;
  /** It is kept, under this path, or could not be, for this reason. */
  done(path: string, error: string | undefined): void;
}

/** Writes what the store holds now, between turns. Nothing may be applied or loaded until `done`. */
export class Evidence {
  readonly #host: EvidenceHost;
  readonly #path: string;
  #file: DiskFile | undefined;
  #position = 0;
  #stopped = false;

  constructor(host: EvidenceHost) {
    this.#host = host;
    const { disk, store, directory } = host;
    const state = store.snapshotBegin();
    this.#path = `${directory}/diverged-${state.applied}.state`;
    this.#try(() => {
      this.#removeOlder();
      if (disk.exists(this.#path)) disk.unlink(this.#path);
      this.#file = disk.open(this.#path, { create: true });
      this.#write(new TextEncoder().encode(`${JSON.stringify(state)}\n`));
    });
  }

  /** Gives up what is not written yet. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#host.store.snapshotEnd();
    this.#file?.close();
  }

  #removeOlder(): void {
    const { disk, directory } = this.#host;
    const older = disk
      .list(directory)
      .flatMap((name) => {
        const index = NAME.exec(name)?.[1];
        return index === undefined ? [] : [{ name, index: Number(index) }];
      })
      .sort((a, b) => b.index - a.index);
    for (const { name } of older.slice(keptFiles - 1)) disk.unlink(`${directory}/${name}`);
  }

  #next(): void {
    this.#host.timers.defer(() => {
      if (!this.#stopped) this.#host.guard(() => this.#step());
    });
  }

  #step(): void {
    const chunk = this.#host.store.snapshotNext(chunkBytes);
    if (chunk === undefined) this.#end(undefined);
    else if (chunk.length === 0) this.#next();
    else this.#try(() => this.#write(chunk));
  }

  #write(bytes: Uint8Array): void {
    this.#file!.write(bytes, this.#position, (error) => {
      if (this.#stopped) return;
      this.#host.guard(() => {
        this.#position += bytes.length;
        if (error) this.#end(error.message);
        else this.#next();
      });
    });
  }

  #end(error: string | undefined): void {
    this.stop();
    this.#host.done(this.#path, error);
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      const { message } = error;
      this.#host.timers.defer(() => {
        if (!this.#stopped) this.#host.guard(() => this.#end(message));
      });
    }
  }
}
