/**
 * KEYS, in slices: goes through all keys at a revision that it pins and keeps the LIMIT smallest ones with the prefix in a
 * heap whose root is the largest; then takes them out one by one, from the largest on; then writes the reply.
 */
import type { Table } from './js-table.js';
import { quote } from './js-text.js';

/** A heap of at most `limit` keys, in the order of their bytes. */
class SmallestKeys {
  private readonly heap: string[] = [];
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  get size(): number {
    return this.heap.length;
  }

  /** Keeps the key if it belongs to the smallest so far. */
  offer(key: string): void {
    const { heap } = this;
    if (heap.length === this.limit) {
      if (key < heap[0]!) this.sink(key);
      return;
    }
    let hole = heap.push(key) - 1;
    while (hole > 0) {
      const parent = (hole - 1) >>> 1;
      if (heap[parent]! >= key) break;
      heap[hole] = heap[parent]!;
      hole = parent;
    }
    heap[hole] = key;
  }

  /** Takes the largest out; there is one. */
  takeLargest(): string {
    const largest = this.heap[0]!;
    const last = this.heap.pop()!;
    if (this.heap.length > 0) this.sink(last);
    return largest;
  }

  /** Puts the key in the place of the root and lets it sink to its own. */
  private sink(key: string): void {
    const { heap } = this;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! > heap[child]!) child++;
      if (heap[child]! <= key) break;
      heap[hole] = heap[child]!;
      hole = child;
    }
    heap[hole] = key;
  }
}

export class KeysScan {
  /** The reply as far as it is written; longer than the limit when it was cut off. */
  text = '';
  private readonly table: Table;
  private readonly keys: IterableIterator<string>;
  private readonly revision: number;
  private readonly time: number;
  private readonly prefix: string;
  private readonly maxReply: number;
  private readonly smallest: SmallestKeys;
  private scanned = false;
  /** From the largest to the smallest. */
  private readonly sorted: string[] = [];

  /** Pins the published revision until `end`. */
  constructor(table: Table, prefix: string, limit: number, maxReply: number) {
    this.table = table;
    this.keys = table.allKeys();
    this.revision = table.pin();
    this.time = table.publishedTime;
    this.prefix = prefix;
    this.maxReply = maxReply;
    this.smallest = new SmallestKeys(limit);
  }

  end(): void {
    this.table.unpin(this.revision);
  }

  /** Deals with up to `most` keys; true when `text` is the reply. */
  step(most: number): boolean {
    if (!this.scanned) this.scanned = this.scan(most);
    else if (this.smallest.size > 0) for (let i = 0; i < most && this.smallest.size > 0; i++) this.sort();
    else return this.write(most);
    return false;
  }

  private scan(most: number): boolean {
    for (let passed = 0; passed < most; passed++) {
      const next = this.keys.next();
      if (next.done) return true;
      const key = next.value;
      if (key.startsWith(this.prefix) && this.table.at(key, this.revision, this.time) !== undefined)
        this.smallest.offer(key);
    }
    return false;
  }

  private sort(): void {
    this.sorted.push(this.smallest.takeLargest());
  }

  private write(most: number): boolean {
    for (let i = 0; i < most && this.sorted.length > 0 && this.text.length <= this.maxReply; i++) {
      this.text += (this.text === '' ? '[' : ',') + quote(this.sorted.pop()!);
    }
    if (this.text.length > this.maxReply) return true;
    if (this.sorted.length > 0) return false;
    this.text += this.text === '' ? '[]' : ']';
    return true;
  }
}
