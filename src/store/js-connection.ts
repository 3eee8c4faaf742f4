/** A client's connection: what it has sent and not yet seen answered. Its rules are in store.ts, "Connections". */
import type { Transaction } from './js-transaction.js';

/** Unanswered commands of a connection until the size of its replies is known, and the bounds from then on. */
const FIRST_WINDOW = 128;
const SMALLEST_WINDOW = 16;
const LARGEST_WINDOW = 4_096;
/** Bytes of replies that a window may come to. */
const WINDOW_BYTES = 8_388_608;

/** Where the unanswered commands of a connection are. */
export const Mode = { idle: 0, reading: 1, writing: 2 } as const;
export type Mode = (typeof Mode)[keyof typeof Mode];

/** What the next command waits for, beyond window and pause. */
export const Wait = { nothing: 0, idle: 1, entry: 2 } as const;
export type Wait = (typeof Wait)[keyof typeof Wait];

export class Connection {
  readonly slot: number;
  mode: Mode = Mode.idle;
  wait: Wait = Wait.nothing;
  /** Commands that are not answered yet. */
  unanswered = 0;
  /** A BEGIN, KEYS or SESSION, or a control command, is under way: nothing else is parsed. */
  barrier = false;
  paused = false;
  /** `hold` was emitted last. */
  held = false;
  /** In the list of connections that `ingest` looks at. */
  queued = false;
  /** FIN has come. */
  finished = false;
  /** Nothing more will be parsed: a line was too long. */
  ended = false;
  closeEmitted = false;
  /** The client is gone. */
  closed = false;
  transaction: Transaction | undefined = undefined;
  /** Number of its session; 0: none. */
  session = 0;
  window = FIRST_WINDOW;
  /** Longest reply since the connection was idle. */
  private longest = 0;
  /** Bytes to parse: `input` from `at`, then `parts`, of which only the last one may hold a newline. */
  private input = '';
  private at = 0;
  private parts: string[] = [];
  private partsLength = 0;
  private partsHaveLine = false;

  constructor(slot: number) {
    this.slot = slot;
  }

  feed(text: string): void {
    if (this.at === this.input.length && this.partsLength === 0) {
      this.input = text;
      this.at = 0;
      return;
    }
    this.parts.push(text);
    this.partsLength += text.length;
    this.partsHaveLine ||= text.includes('\n');
  }

  /** Bytes that are not parsed. */
  get pending(): number {
    return this.input.length - this.at + this.partsLength;
  }

  /** Where the next line ends in `input` (its newline); -1 when no whole line is there. */
  private lineEnd(): number {
    const end = this.input.indexOf('\n', this.at);
    if (end >= 0 || !this.partsHaveLine) return end;
    this.input = this.input.slice(this.at) + this.parts.join('');
    this.at = 0;
    this.parts = [];
    this.partsLength = 0;
    this.partsHaveLine = false;
    return this.input.indexOf('\n');
  }

  /** The next whole line without its end; it stays until `consume`. */
  peekLine(): string | undefined {
    const end = this.lineEnd();
    if (end < 0) return undefined;
    const stop = end > this.at && this.input.charCodeAt(end - 1) === 0x0d ? end - 1 : end;
    return this.input.slice(this.at, stop);
  }

  /** Takes the line away that `peekLine` gave. */
  consume(): void {
    this.at = this.input.indexOf('\n', this.at) + 1;
    if (this.at === this.input.length) {
      this.input = '';
      this.at = 0;
    }
  }

  dropInput(): void {
    this.input = '';
    this.at = 0;
    this.parts = [];
    this.partsLength = 0;
    this.partsHaveLine = false;
  }

  /** One of the unanswered commands has got a reply of that many bytes. */
  answered(length: number): void {
    this.unanswered--;
    if (length > this.longest) this.longest = length;
    if (this.unanswered > 0) return;
    this.window = Math.max(SMALLEST_WINDOW, Math.min(LARGEST_WINDOW, Math.floor(WINDOW_BYTES / this.longest)));
    this.longest = 0;
    this.mode = Mode.idle;
    this.barrier = false;
    if (this.wait === Wait.idle) this.wait = Wait.nothing;
  }

  /** Whether the next line must not be parsed now. */
  get blocked(): boolean {
    return this.paused || this.barrier || this.wait !== Wait.nothing || this.unanswered > this.window;
  }
}
