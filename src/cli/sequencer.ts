/**
 * The CLI's own session with the cluster: which of its lines get a sequence, so that they can be sent again when a connection
 * is lost, and are done once all the same.
 *
 * A session is registered when the first write or BEGIN is to be sent, and gone on with on every later connection when a line needs it.
 * Writes outside transactions get a sequence, and the COMMIT of a transaction that is known to be open: without its sequence
 * it could not be asked again what came of it. As soon as the user speaks of sessions himself, all this ends.
 */
import { messages } from '../protocol/commands.js';
import { isOfSessions, takesSequence } from './command-kind.js';

/** What the connection knows of the session: nothing yet; asked, and all waits for the answer; it has it; it cannot have one. */
type State = 'none' | 'asked' | 'has' | 'cannot';

/** What came of asking for the session. */
export type Answered =
  /** The connection has it. */
  | 'has'
  /** It is gone: whatever was sent under it cannot be asked about any more. A new one can be registered. */
  | 'gone'
  /** Nobody decides anything at the moment. */
  | 'unavailable'
  /** This node knows no sessions, or has no room for one: lines are sent as they are. */
  | 'cannot';

/** The server keeps the answers of so many sequences from the lowest unanswered one on. */
const window = 256;
/** Once that is full, so many must be answered before more are sent: they then leave together. */
const batch = 128;
/** A session that was not used for so long is asked about before it is used again: on the server it lives for an hour. */
const idleMs = 600_000;
/** A longer line would exceed the server's limit with a sequence before it. */
const longestLine = 8_388_608 - 64;

/** Refusals that are the same for every sending of a line: what the server notes as its outcome, or what the line itself is refused for. */
const forEachSending = /^ERR (syntax|not-an-integer|overflow|conflict|aborted) /;

/**
 * Whether the reply to a line that had been sent before tells nothing of the earlier sending. A node that has no leader or no room, say, refuses
 * the line as it comes, whatever became of it elsewhere.
 */
export function saysNothingOfEarlier(reply: string): boolean {
  return reply.startsWith('ERR ') && !forEachSending.test(reply);
}

/** What it must know of a line. */
export interface Line {
  readonly line: Buffer;
  readonly kind: string;
  readonly plain?: true;
  sequence?: number;
}

export class Sequencer {
  readonly #now: () => number;
  #usedMs = 0;
  #state: State = 'none';
  #manual = false;
  #number: string | undefined;
  #next = 1;
  #lowest = 1;
  #full = false;
  /** The BEGIN whose transaction the next line to be sent stands in; whether it was answered with OK. */
  #begin: Line | undefined;
  #open = false;

  /** `now`: the monotonic clock, ms. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** A line of SESSION's is on its way, and decides how the rest is sent. */
  get asked(): boolean {
    return this.#state === 'asked';
  }

  /** What was sent with a sequence can be sent again. */
  get repeats(): boolean {
    return !this.#manual;
  }

  /** Another connection: it knows nothing yet, and no transaction is open on it. */
  connected(): void {
    this.#state = 'none';
    this.#begin = undefined;
    this.#open = false;
    this.#full = false;
  }

  /**
   * The user speaks of sessions himself: SESSION ends this one. What a SEQ gets that he has begun none for, so that it does not come into
   * this one.
   */
  refuses(line: Buffer): string | undefined {
    const name = this.#manual ? undefined : isOfSessions(line);
    if (name === 'SESSION') this.#manual = true;
    return name === 'SEQ' && this.#state === 'has' ? messages.noSession : undefined;
  }

  /** What a line needs before it is sent: nothing (it has its sequence now, if it takes one), the session, or that replies come. */
  needs(item: Line): 'nothing' | 'session' | 'replies' {
    if (this.#state === 'cannot' || (item.sequence === undefined && !this.#takes(item))) return 'nothing';
    if (item.kind === 'commit' && item.sequence === undefined) {
      // In a transaction SESSION is refused: it has been asked for before BEGIN, or the COMMIT goes as it is.
      if (this.#state !== 'has') return 'nothing';
      if (!this.#open) return 'replies';
    } else if (this.#state !== 'has' || this.#idle) return 'session';
    return item.sequence !== undefined || item.kind === 'begin' || this.#numbered(item) ? 'nothing' : 'replies';
  }

  /** Whether it may have expired unnoticed. */
  get #idle(): boolean {
    return this.#next === this.#lowest && this.#now() - this.#usedMs > idleMs;
  }

  /** Gives the line the next number; false when too many are under way. */
  #numbered(item: Line): boolean {
    this.#full = this.#next - this.#lowest >= (this.#full ? batch : window);
    if (!this.#full) item.sequence = this.#next++;
    return !this.#full;
  }

  #takes({ line, kind, plain }: Line): boolean {
    if (plain || this.#manual || line.length > longestLine) return false;
    if (kind === 'commit') return this.#begin !== undefined;
    return this.#begin === undefined && (kind === 'begin' || takesSequence(line));
  }

  /** What is sent in front of a line. */
  prefix({ sequence }: Line): Buffer | undefined {
    return sequence === undefined ? undefined : Buffer.from(`SEQ ${sequence} FROM ${this.#lowest} `);
  }

  /** The line that registers the session, or goes on with it. */
  ask(): string {
    this.#state = 'asked';
    return this.#number === undefined ? 'SESSION' : `SESSION ${this.#number}`;
  }

  /** The reply to that line. */
  answered(reply: string): Answered {
    const number = /^\(integer\) (\d+)$/.exec(reply)?.[1];
    if (number !== undefined) {
      this.#number = number;
      this.#next = 1;
      this.#lowest = 1;
    }
    if (number !== undefined || reply === 'OK') {
      this.#state = 'has';
      this.#usedMs = this.#now();
      return 'has';
    }
    this.#state = 'none';
    this.abandoned();
    if (/^(UNKNOWN|ERR (no-leader|timeout|stopping|lost|disk-full)) /.test(reply)) return 'unavailable';
    if (reply.startsWith('ERR session ') && this.#number !== undefined) {
      this.#number = undefined;
      return 'gone';
    }
    this.#state = 'cannot';
    return 'cannot';
  }

  /** Whatever is under way has been given up, and is not asked about again: its numbers hold up no others. */
  abandoned(): void {
    this.#lowest = this.#next;
  }

  /** A line has been sent. */
  sent(item: Line): void {
    if (item.kind === 'begin') {
      this.#begin ??= item;
    } else if (item.kind === 'commit' || item.kind === 'rollback') {
      this.#begin = undefined;
      this.#open = false;
    }
  }

  /** A line has got its reply; lines are answered in their order. */
  replied(item: Line, reply: string): void {
    if (item.sequence !== undefined) {
      this.#lowest = item.sequence + 1;
      this.#usedMs = this.#now();
      if (this.#state === 'has' && reply.startsWith('ERR session ')) this.#state = 'none';
    }
    if (item !== this.#begin) return;
    this.#open = reply === 'OK';
    if (!this.#open) this.#begin = undefined;
  }
}
