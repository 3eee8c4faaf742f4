/** The newest entries' bytes in memory: a run without gaps that ends with the last entry of the log. */
const NONE = new Uint8Array(0);

export class EntryCache {
  #records: Uint8Array[] = [];
  /** Place of the first record in `#records`: what lies before it was evicted. */
  #head = 0;
  /** Index of the record at `#head`. */
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

  get(index: number): Uint8Array | undefined {
    return index < this.#first ? undefined : this.#records[this.#head + index - this.#first];
  }

  /** Takes the bytes of entry `index`, forgetting all from there on. */
  put(index: number, bytes: Uint8Array): void {
    if (index < this.#first) {
      this.#records = [];
      this.#head = 0;
      this.#first = index;
      this.#bytes = 0;
    }
    const keep = this.#head + index - this.#first;
    while (this.#records.length > keep) this.#bytes -= this.#records.pop()!.length;
    this.#records.push(bytes);
    this.#bytes += bytes.length;
  }

  /** Forgets the entries up to `index`. */
  forget(index: number): void {
    while (this.#first <= index && this.#head < this.#records.length) this.#dropFirst();
    this.#tidy();
  }

  /** Forgets the oldest entries until at most `bytes` are held, but none from `pinned` on. */
  evict(bytes: number, pinned: number): void {
    while (this.#bytes > bytes && this.#first < pinned && this.#head < this.#records.length) this.#dropFirst();
    this.#tidy();
  }

  #dropFirst(): void {
    this.#bytes -= this.#records[this.#head]!.length;
    this.#records[this.#head] = NONE;
    this.#head++;
    this.#first++;
  }

  #tidy(): void {
    if (this.#head <= 1024 || this.#head * 2 <= this.#records.length) return;
    this.#records = this.#records.slice(this.#head);
    this.#head = 0;
  }
}
