/**
 * The twin's index of deadlines: all newest records that have one, sorted by (deadline, revision, key), in chunks of a
 * bounded length. A place is found by two binary searches; adding and removing move at most one chunk and the list of chunks.
 *
 * Deadlines that are given one after the other mostly grow, so a chunk that is full at its end is left full and a new one is begun.
 */

/** A record that falls due; `system` says in which of the two spaces its key is. */
export interface Due {
  readonly deadline: number;
  readonly revision: number;
  readonly key: string;
  readonly system: boolean;
}

const CHUNK = 512;

function before(a: Due, b: Due): boolean {
  if (a.deadline !== b.deadline) return a.deadline < b.deadline;
  if (a.revision !== b.revision) return a.revision < b.revision;
  return a.key === b.key ? !a.system && b.system : a.key < b.key;
}

/** How many of the sorted elements hold for `isBefore`. */
function countBefore<T>(sorted: readonly T[], isBefore: (element: T) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(sorted[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class ExpiryIndex {
  /** None is empty. */
  private readonly chunks: Due[][] = [];
  /** System records among them. */
  private systems = 0;

  /** The chunk that holds what is not before `due`, or the last one. */
  private chunkFor(due: Due): number {
    const at = countBefore(this.chunks, (chunk) => before(chunk[chunk.length - 1]!, due));
    return Math.min(at, this.chunks.length - 1);
  }

  add(due: Due): void {
    if (due.system) this.systems++;
    const at = this.chunkFor(due);
    const chunk = this.chunks[at];
    if (chunk === undefined) {
      this.chunks.push([due]);
      return;
    }
    const place = countBefore(chunk, (other) => before(other, due));
    if (chunk.length < CHUNK) chunk.splice(place, 0, due);
    else if (place === CHUNK) this.chunks.splice(at + 1, 0, [due]);
    else {
      const upper = chunk.splice(CHUNK / 2);
      if (place <= CHUNK / 2) chunk.splice(place, 0, due);
      else upper.splice(place - CHUNK / 2, 0, due);
      this.chunks.splice(at + 1, 0, upper);
    }
  }

  /** Takes out the element that equals `due`. */
  remove(due: Due): void {
    const at = this.chunkFor(due);
    const chunk = this.chunks[at];
    const place = chunk === undefined ? 0 : countBefore(chunk, (other) => before(other, due));
    const found = chunk?.[place];
    if (found === undefined || before(due, found))
      throw new Error('table: a record with a deadline is not in its index');
    if (due.system) this.systems--;
    chunk!.splice(place, 1);
    if (chunk!.length === 0) this.chunks.splice(at, 1);
  }

  clear(): void {
    this.chunks.length = 0;
    this.systems = 0;
  }

  get first(): Due | undefined {
    return this.chunks[0]?.[0];
  }

  /** How many users' records have expired by `time`. */
  expiredUsers(time: number): number {
    const whole = countBefore(this.chunks, (chunk) => chunk[chunk.length - 1]!.deadline <= time);
    const last = this.chunks[whole];
    let count = last === undefined ? 0 : countBefore(last, (due) => due.deadline <= time);
    for (let i = 0; i < whole; i++) count += this.chunks[i]!.length;
    return count - (this.systems === 0 ? 0 : this.expiredSystems(time));
  }

  private expiredSystems(time: number): number {
    let count = 0;
    for (const chunk of this.chunks) {
      if (chunk[0]!.deadline > time) break;
      for (const due of chunk) if (due.system && due.deadline <= time) count++;
    }
    return count;
  }
}
