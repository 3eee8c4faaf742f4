/** The events of a world, by time and then by the order in which they were scheduled: a binary heap. */
import type { Timer } from '../env/env.js';
import type { SimHost } from './world.js';

export class SimEvent implements Timer {
  time: number;
  sequence: number;
  readonly host: SimHost | undefined;
  /** The host's life that it belongs to. */
  readonly life: number;
  readonly what: string;
  readonly callback: () => void;
  cancelled = false;

  constructor(time: number, sequence: number, host: SimHost | undefined, what: string, callback: () => void) {
    this.time = time;
    this.sequence = sequence;
    this.host = host;
    this.life = host?.life ?? 0;
    this.what = what;
    this.callback = callback;
  }

  cancel(): void {
    this.cancelled = true;
  }

  before(other: SimEvent): boolean {
    return this.time < other.time || (this.time === other.time && this.sequence < other.sequence);
  }
}

export class EventQueue {
  readonly #heap: SimEvent[] = [];
  #sequence = 0;

  push(time: number, host: SimHost | undefined, what: string, callback: () => void): SimEvent {
    const event = new SimEvent(time, this.#sequence++, host, what, callback);
    this.#insert(event);
    return event;
  }

  /** Puts an event that was taken out in again, behind all of that time. */
  again(event: SimEvent, time: number): void {
    event.time = time;
    event.sequence = this.#sequence++;
    this.#insert(event);
  }

  /** Takes the first event that is due by `until` and not cancelled. */
  pop(until: number): SimEvent | undefined {
    for (let first = this.#heap[0]; first !== undefined && first.time <= until; first = this.#heap[0]) {
      this.#removeFirst();
      if (!first.cancelled) return first;
    }
    return undefined;
  }

  #insert(event: SimEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!event.before(heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const { length } = heap;
    if (length === 0) return;
    let at = 0;
    for (let child = 1; child < length; child = 2 * at + 1) {
      if (child + 1 < length && heap[child + 1]!.before(heap[child]!)) child++;
      if (!heap[child]!.before(last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}
