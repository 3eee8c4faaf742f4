/** The newest entries in memory: a run without gaps that ends with the last entry of the log. */
import type { Entry } from '../raft/types.js';

const EVICTED: Entry = { index: 0, term: 0, bytes: new Uint8Array(0) };

export class EntryCache {
  #entries: Entry[] = [];
  /** Place of the first entry in `#entries`: what lies before it was evicted. */
  #head = 0;
  /** Index of the entry at `#head`. */
  #first = 1;
  #bytes = 0;

  /** Index of the oldest entry that is held; one past the log's last when none is. */
  get first(): number {
    return this.#first;
  }

  /** An empty cache of a log whose last entry is `last`. */
  constructor(last: number) {
    this.#first = last + 1;
  }

  get(index: number): Entry | undefined {
    return index < this.#first ? undefined : this.#entries[this.#head + index - this.#first];
  }

  /** Takes an entry, forgetting all from its index on. */
  put(entry: Entry): void {
    const { index, bytes } = entry;
    if (index < this.#first) {
      this.#entries = [];
      this.#head = 0;
      this.#first = index;
      this.#bytes = 0;
    }
    const keep = this.#head + index - this.#first;
    while (this.#entries.length > keep) this.#bytes -= this.#entries.pop()!.bytes.length;
    this.#entries.push(entry);
    this.#bytes += bytes.length;
  }

  /** Forgets the entries up to `index`. */
  forget(index: number): void {
    while (this.#first <= index && this.#head < this.#entries.length) this.#dropFirst();
    this.#tidy();
  }

  /** Forgets the oldest entries until at most `bytes` are held, but none from `pinned` on. */
  evict(bytes: number, pinned: number): void {
    while (this.#bytes > bytes && this.#first < pinned && this.#head < this.#entries.length) this.#dropFirst();
    this.#tidy();
  }

  #dropFirst(): void {
    this.#bytes -= this.#entries[this.#head]!.bytes.length;
    this.#entries[this.#head] = EVICTED;
    this.#head++;
    this.#first++;
  }

  #tidy(): void {
    if (this.#head <= 1024 || this.#head * 2 <= this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}
