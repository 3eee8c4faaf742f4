/**
 * Which segments the log has, and what each holds: so that it is known which ones a snapshot makes superfluous, and how
 * much has been written since.
 *
 * A segment may go when every record ever written to it (superseded ones too) has an index in the snapshot, and never
 * the one with the last durable batch. So what is left begins with a record at most one behind the snapshot, ends at or
 * behind it, and any suffix of the segments that recovery finds after a crash in the middle of the removal is a log.
 */
import { SEGMENT_HEADER_BYTES } from './segment.js';

/** A place in the log. */
export interface Position {
  readonly segment: number;
  readonly offset: number;
}

export interface LedgerRow {
  readonly segment: number;
  readonly path: string;
  /** The highest index of a record that was ever written there; 0: none. */
  highest: number;
  /** Where the last record ends. */
  end: number;
}

export class SegmentLedger {
  #rows: LedgerRow[];

  constructor(rows: readonly LedgerRow[]) {
    this.#rows = [...rows];
  }

  get rows(): readonly LedgerRow[] {
    return this.#rows;
  }

  /** Where the log begins. */
  get start(): Position {
    return { segment: this.#rows[0]!.segment, offset: SEGMENT_HEADER_BYTES };
  }

  /** A segment begins. */
  open(segment: number, path: string): void {
    this.#rows.push({ segment, path, highest: 0, end: SEGMENT_HEADER_BYTES });
  }

  /** A record was written to the newest segment, and ends at `end`. */
  note(index: number, end: number): void {
    const row = this.#rows.at(-1)!;
    row.highest = Math.max(row.highest, index);
    row.end = end;
  }

  /** Bytes between a place and the end of the log. */
  bytesFrom({ segment, offset }: Position): number {
    let bytes = 0;
    for (const row of this.#rows) {
      if (row.segment > segment) bytes += row.end - SEGMENT_HEADER_BYTES;
      else if (row.segment === segment) bytes += Math.max(0, row.end - offset);
    }
    return bytes;
  }

  /**
   * Takes out the segments that nobody needs when all up to `index` is in a snapshot, whose last entry stands at `mark`, and
   * `tail` bytes before that are to be kept; none from `durable` on. Returns them, oldest first.
   */
  drop(index: number, mark: Position, tail: number, durable: number): LedgerRow[] {
    const whole = this.bytesFrom(this.start) - this.bytesFrom(mark);
    let before = 0;
    let count = 0;
    for (const [i, row] of this.#rows.entries()) {
      before += row.end - SEGMENT_HEADER_BYTES;
      if (row.segment >= durable || row.highest > index || whole - before < tail) break;
      // An empty segment goes only with a full one behind it: the numbers of batches begin anew with the first.
      if (row.highest > 0) count = i + 1;
    }
    return this.#rows.splice(0, count);
  }
}
