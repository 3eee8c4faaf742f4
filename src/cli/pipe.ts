/**
 * The CLI on a pipe: lines in, replies out, nothing else on stdout. Lines are pipelined. What is held is bounded: input
 * stops while the session is full, replies stop while the reader of stdout is slow.
 */
import type { Readable, Writable } from 'node:stream';
import { LineSplitter } from '../client/lines.js';
import { messages } from '../protocol/commands.js';
import { tell } from './report.js';
import { Session, type SessionOptions } from './session.js';

/** The server's default; a longer line would cost the connection, and with it the lines behind. */
const maxLine = 8_388_608;
const newline = Buffer.from('\n');

/** Runs until the input ends, QUIT, or nobody can be reached; resolves with the exit code. Rejects when no node answers at first. */
export async function runPiped(options: SessionOptions, input: Readable, output: Writable): Promise<number> {
  const piped = new Piped(options, input, output);
  return await piped.run();
}

class Piped {
  readonly #input: Readable;
  readonly #output: Writable;
  readonly #session: Session;
  readonly #done: Promise<number>;
  #finish: (code: number) => void = () => {};
  #replies: Buffer[] = [];
  #failed = false;
  #ended = false;

  constructor(options: SessionOptions, input: Readable, output: Writable) {
    this.#input = input;
    this.#output = output;
    this.#done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#session = new Session(options, {
      reply: (line) => this.#replied(line),
      note: tell,
      room: () => this.#input.resume(),
      quit: () => this.#end(),
      unreachable: (reason) => {
        tell(reason);
        this.#failed = true;
        this.#end();
      },
    });
  }

  async run(): Promise<number> {
    await this.#session.start();
    const lines = new LineSplitter(maxLine, {
      line: (bytes) => this.#session.send(bytes),
      tooLong: () => this.#session.refuse(`ERR too-large line of more than ${maxLine} bytes; it was not sent`),
    });
    this.#input.on('data', (chunk: Buffer) => {
      lines.push(chunk);
      if (this.#session.full) this.#input.pause();
    });
    this.#input.once('error', (error) => {
      tell(`cannot read the input: ${error.message}`);
      this.#failed = true;
      this.#end();
    });
    // Its reader has gone: what is under way is left to itself.
    this.#output.once('error', () => this.#end());
    this.#input.once('end', () => {
      // Like a node, which does not run a line that may have been cut.
      if (lines.end() !== undefined) this.#session.refuse(messages.cutLine);
      this.#ended = true;
      this.#endIfAnswered();
    });
    return await this.#done;
  }

  #replied(line: Buffer): void {
    if (isFailure(line)) this.#failed = true;
    if (this.#replies.length === 0) setImmediate(() => this.#write());
    this.#replies.push(line, newline);
    this.#endIfAnswered();
  }

  /** Replies of one turn leave in one write. */
  #write(): void {
    const replies = Buffer.concat(this.#replies);
    this.#replies = [];
    if (replies.length === 0 || this.#output.write(replies)) return;
    this.#session.pause();
    this.#output.once('drain', () => this.#session.resume());
  }

  #endIfAnswered(): void {
    if (this.#ended && this.#session.unanswered === 0) this.#end();
  }

  #end(): void {
    this.#session.close();
    this.#input.removeAllListeners('data');
    this.#input.destroy();
    this.#write();
    // Called when all that was written before has left.
    this.#output.write('', () => this.#finish(this.#failed ? 1 : 0));
  }
}

const failures = [Buffer.from('ERR '), Buffer.from('UNKNOWN ')];

function isFailure(line: Buffer): boolean {
  return failures.some((start) => line.length >= start.length && line.subarray(0, start.length).equals(start));
}
