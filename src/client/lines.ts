/**
 * Cuts a stream of chunks into lines. A line that lies within one chunk is a view of it; only one that spans chunks is
 * copied, once. A line above the limit is dropped as it comes, so what is held is bounded.
 */
const newline = 10;

export interface LineHandlers {
  /** A line without its newline. */
  line(bytes: Buffer): void;
  /** A line above the limit has ended (or the stream has, in the middle of it); its bytes are gone. */
  tooLong(): void;
}

export class LineSplitter {
  readonly #limit: number;
  readonly #handlers: LineHandlers;
  #pieces: Buffer[] = [];
  #held = 0;
  #dropping = false;

  /** `limit`: most bytes of a line, without its newline. */
  constructor(limit: number, handlers: LineHandlers) {
    this.#limit = limit;
    this.#handlers = handlers;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(newline, start);
      if (end < 0) break;
      this.#finish(chunk.subarray(start, end));
      start = end + 1;
    }
    if (start < chunk.length) this.#hold(chunk.subarray(start));
  }

  /** The stream has ended: what came after the last newline, if anything. */
  end(): Buffer | undefined {
    const dropped = this.#dropping;
    const rest = this.#held > 0 && !dropped ? Buffer.concat(this.#pieces, this.#held) : undefined;
    this.#clear();
    if (dropped) this.#handlers.tooLong();
    return rest;
  }

  #hold(piece: Buffer): void {
    this.#held += piece.length;
    if (this.#held > this.#limit) this.#dropping = true;
    if (this.#dropping) this.#pieces = [];
    else this.#pieces.push(piece);
  }

  #finish(last: Buffer): void {
    if (this.#held === 0 && last.length <= this.#limit) {
      this.#handlers.line(last);
      return;
    }
    this.#hold(last);
    const line = this.#dropping ? undefined : Buffer.concat(this.#pieces, this.#held);
    this.#clear();
    if (line) this.#handlers.line(line);
    else this.#handlers.tooLong();
  }

  #clear(): void {
    this.#pieces = [];
    this.#held = 0;
    this.#dropping = false;
  }
}
