/**
 * What the log knows of each entry without its bytes: term, length, and where it lies on disk. 20 bytes an entry, in
 * typed arrays. Row i holds entry base + 1 + i; of the base, the entry before the first, only the term is known.
 */

/** Where a record lies; segment 0 means: not on disk yet. */
export interface Location {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
}

const FIRST_CAPACITY = 64;

function moved<T extends Float64Array | Uint32Array>(rows: T, made: T): T {
  made.set(rows);
  return made;
}

export class EntryTable {
  #terms = new Float64Array(FIRST_CAPACITY);
  #segments = new Uint32Array(FIRST_CAPACITY);
  #offsets = new Uint32Array(FIRST_CAPACITY);
  #lengths = new Uint32Array(FIRST_CAPACITY);
  #count = 0;
  #base = 0;
  #baseTerm = 0;

  /** Index of the entry before the first. */
  get base(): number {
    return this.#base;
  }

  /** Index of the last entry; the base when there is none. */
  get last(): number {
    return this.#base + this.#count;
  }

  /** Term of entry `index`, or of the base. */
  term(index: number): number {
    return index === this.#base ? this.#baseTerm : this.#terms[this.#row(index)]!;
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
    const row = index - this.#base - 1;
    if (row >= this.#terms.length) this.#resize(0, this.#terms.length * 2);
    this.#terms[row] = term;
    this.#segments[row] = 0;
    this.#offsets[row] = 0;
    this.#lengths[row] = length;
    this.#count = row + 1;
  }

  /** Why entry `index` of `term` may not be put; undefined when it may. */
  fault(index: number, term: number): string | undefined {
    if (index <= this.#base || index > this.last + 1) return `entry ${index} does not follow entry ${this.last}`;
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

  /** Forgets everything: the next entry is `base` + 1, and the one before it had `term`. */
  reset(base: number, term: number): void {
    this.#count = 0;
    this.#base = base;
    this.#baseTerm = term;
    this.#resize(0, FIRST_CAPACITY);
  }

  /** Makes known the term of the base. */
  rebase(term: number): void {
    this.#baseTerm = term;
  }

  /** Forgets the entries up to `base`, which is one of them, and gives back their memory. */
  dropTo(base: number): void {
    const term = this.term(base);
    const from = base - this.#base;
    this.#count -= from;
    this.#base = base;
    this.#baseTerm = term;
    let capacity = FIRST_CAPACITY;
    while (capacity < this.#count) capacity *= 2;
    this.#resize(from, capacity);
  }

  /** Last entry that lies in a segment up to `segment`; the base when none does. Places never go back along the log. */
  lastIn(segment: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#segments[middle]!;
      if (at !== 0 && at <= segment) low = middle + 1;
      else high = middle;
    }
    return this.#base + low;
  }

  #row(index: number): number {
    if (!(index > this.#base && index <= this.last))
      throw new Error(`log: no entry ${index}; it has ${this.#base + 1} to ${this.last}`);
    return index - this.#base - 1;
  }

  /** Moves the rows from `from` on into arrays of `capacity`. */
  #resize(from: number, capacity: number): void {
    const to = from + this.#count;
    this.#terms = moved(this.#terms.subarray(from, to), new Float64Array(capacity));
    this.#segments = moved(this.#segments.subarray(from, to), new Uint32Array(capacity));
    this.#offsets = moved(this.#offsets.subarray(from, to), new Uint32Array(capacity));
    this.#lengths = moved(this.#lengths.subarray(from, to), new Uint32Array(capacity));
  }
}
