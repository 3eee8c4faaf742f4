/**
 * What the log knows of each entry without its bytes: term, length, and where it lies on disk. 20 bytes an entry, in
 * typed arrays. Row i holds entry i + 1.
 */

/** Where a record lies; segment 0 means: not on disk yet. */
export interface Location {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

const FIRST_CAPACITY = 64;

function grown<T extends Float64Array | Uint32Array>(old: T, made: T): T {
  made.set(old);
  return made;
}

export class EntryTable {
  #terms = new Float64Array(FIRST_CAPACITY);
  #segments = new Uint32Array(FIRST_CAPACITY);
  #offsets = new Uint32Array(FIRST_CAPACITY);
  #lengths = new Uint32Array(FIRST_CAPACITY);
  #count = 0;

  /** Index of the last entry; 0 when there is none. */
  get last(): number {
    return this.#count;
  }

  /** Term of entry `index`; 0 for index 0. */
  term(index: number): number {
    return index === 0 ? 0 : this.#terms[this.#row(index)]!;
  }

  length(index: number): number {
    return this.#lengths[this.#row(index)]!;
  }

  location(index: number): Location {
    const row = this.#row(index);
    return { segment: this.#segments[row]!, offset: this.#offsets[row]!, length: this.#lengths[row]! };
  }

  /**
   * Takes entry `index`, which replaces all entries from there on; it has no place on disk yet. Throws when it would
   * leave a gap, or when its term is lower than that of the entry before it: the log's terms never go back (§5.4).
   */
  put(index: number, term: number, length: number): void {
    const fault = this.fault(index, term);
    if (fault) throw new Error(`log: ${fault}`);
    if (index > this.#terms.length) this.#grow();
    const row = index - 1;
    this.#terms[row] = term;
    this.#segments[row] = 0;
    this.#offsets[row] = 0;
    this.#lengths[row] = length;
    this.#count = index;
  }

  /** Why entry `index` of `term` may not be put; undefined when it may. */
  fault(index: number, term: number): string | undefined {
    if (index < 1 || index > this.#count + 1) return `entry ${index} does not follow entry ${this.#count}`;
    const before = this.term(index - 1);
    if (term < before) return `entry ${index} has term ${term}, the one before it ${before}`;
    return undefined;
  }

  /** Notes where the entry was written. */
  place(index: number, segment: number, offset: number): void {
    const row = this.#row(index);
    this.#segments[row] = segment;
    this.#offsets[row] = offset;
  }

  #row(index: number): number {
    if (!(index >= 1 && index <= this.#count))
      throw new Error(`log: no entry ${index}; the last one is ${this.#count}`);
    return index - 1;
  }

  #grow(): void {
    const capacity = this.#terms.length * 2;
    this.#terms = grown(this.#terms, new Float64Array(capacity));
    this.#segments = grown(this.#segments, new Uint32Array(capacity));
    this.#offsets = grown(this.#offsets, new Uint32Array(capacity));
    this.#lengths = grown(this.#lengths, new Uint32Array(capacity));
  }
}
