/**
 * The CLI on a terminal: a prompt, a line, its reply. Readline edits and completes; this adds history that lasts, dim
 * hints behind the cursor, notes that do not tear the line being typed, Ctrl-C, which drops the line, or stops waiting, and
 * Ctrl-Z, which stops the whole job (npx and its shell too), to be continued by the shell's `fg`.
 *
 * One line is under way at a time; what is typed or pasted meanwhile waits its turn.
 */
import { createInterface, type Interface } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';
import { complete, hint } from './completion.js';
import { History } from './history.js';
import { Session, type SessionHandlers, type SessionOptions } from './session.js';

export interface TerminalOptions extends SessionOptions {
  readonly input: ReadStream;
  readonly output: WriteStream;
  readonly historyPath: string | undefined;
  /**
   * Leaving stops a cluster: Ctrl-C on an empty line does it, where it else gives a new prompt, and Ctrl-Z does nothing, for
   * the nodes would run on behind a program that is stopped.
   */
  readonly wholeCluster?: boolean;
}

const prompt = '> ';
/** What people type out of habit, and what they mean. */
const habits: Readonly<Record<string, string>> = { '?': 'HELP', exit: 'QUIT' };
const dim = '\x1b[2m';
const plain = '\x1b[0m';
const eraseBehind = '\x1b[K';

export class Terminal {
  /** Resolves when the user has left, with the exit code. */
  readonly left: Promise<number>;
  readonly #options: TerminalOptions;
  readonly #session: Session;
  readonly #history: History;
  readonly #waiting: string[] = [];
  #readline: Interface | undefined;
  /** The command under way is HELP, whose reply is a list of lines. */
  #forPeople = false;
  #busy = false;
  #ending = false;
  #hinted = false;
  #leave: (code: number) => void = () => {};

  constructor(options: TerminalOptions) {
    this.#options = options;
    this.#history = new History(options.historyPath);
    this.left = new Promise((resolve) => {
      this.#leave = resolve;
    });
    const handlers: SessionHandlers = {
      reply: (line) => this.#replied(line),
      note: (text) => this.note(text),
      room: () => {},
      quit: () => this.close(),
      unreachable: (reason) => this.note(`${reason}; the next command tries again`),
    };
    this.#session = new Session(options, handlers);
  }

  /** Connects and shows the prompt; rejects when no node answers. */
  async start(): Promise<void> {
    await this.#session.start();
    const { input, output } = this.#options;
    const readline = createInterface({
      input,
      output,
      prompt,
      terminal: true,
      history: this.#history.lines,
      historySize: 1_000,
      removeHistoryDuplicates: true,
      completer: complete,
    });
    this.#readline = readline;
    readline.on('line', (line) => this.#entered(line));
    readline.on('SIGINT', () => this.#interrupted());
    readline.on('SIGTSTP', () => this.#suspend());
    process.on('SIGCONT', this.#continued);
    readline.on('close', () => this.#ended());
    // Before readline handles a key the hint goes, and after it a new one is drawn.
    input.prependListener('keypress', this.#onKey);
    readline.prompt();
  }

  /** Shows a text above the line that is being typed. */
  note(text: string): void {
    const { output } = this.#options;
    output.write(`\r${eraseBehind}(${text})\n`);
    if (!this.#busy) this.#readline?.prompt(true);
  }

  /** Ends the session and gives the terminal back. */
  close(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#options.input.off('keypress', this.#onKey);
    process.off('SIGCONT', this.#continued);
    this.#session.close();
    this.#readline?.close();
    this.#options.input.pause();
    this.#leave(0);
  }

  #entered(line: string): void {
    this.#history.add(line);
    this.#waiting.push(line);
    this.#next();
  }

  /** Sends the next line that waits. An empty one is only a wish for a new prompt. */
  #next(): void {
    while (!this.#busy && !this.#ending) {
      const line = this.#waiting.shift();
      if (line === undefined) {
        this.#readline?.prompt();
        return;
      }
      if (line.trim() === '') continue;
      const command = habits[line.trim().toLowerCase()] ?? line;
      this.#busy = true;
      this.#forPeople = /^\s*help\b/i.test(command);
      this.#session.send(Buffer.from(command));
    }
  }

  #replied(line: Buffer): void {
    this.#options.output.write(this.#forPeople ? helpText(line) : line);
    this.#options.output.write('\n');
    this.#busy = false;
    // Not at once: the reply to QUIT is followed by the end, not by a prompt.
    queueMicrotask(() => this.#next());
  }

  #interrupted(): void {
    const readline = this.#readline!;
    this.#waiting.length = 0;
    if (this.#options.wholeCluster && !this.#busy && readline.line === '') {
      this.#options.output.write('^C\n');
      this.close();
      return;
    }
    readline.write(null, { ctrl: true, name: 'e' });
    readline.write(null, { ctrl: true, name: 'u' });
    this.#options.output.write('^C\n');
    if (this.#busy) this.#session.interrupt();
    else readline.prompt();
  }

  /** Ctrl-Z. */
  #suspend(): void {
    if (this.#options.wholeCluster) {
      this.note('Ctrl-Z would leave the nodes running unattended; Ctrl-C or Ctrl-D stops all');
      return;
    }
    this.#options.input.setRawMode(false);
    this.#options.output.write('^Z\n');
    // Stops here, until the shell continues the job; where there is no shell to do so, the system ignores it.
    process.kill(0, 'SIGTSTP');
    setImmediate(this.#continued);
  }

  /** Whoever had the terminal meanwhile may have left it in another mode: off and on again sets it for certain. */
  readonly #continued = (): void => {
    if (this.#ending) return;
    this.#options.input.setRawMode(false);
    this.#options.input.setRawMode(true);
    this.#session.resume();
    if (!this.#busy) this.#readline?.prompt(true);
  };

  /** Ctrl-D. */
  #ended(): void {
    if (this.#ending) return;
    this.#options.output.write('\n');
    this.close();
  }

  readonly #onKey = (): void => {
    if (this.#hinted) this.#options.output.write(eraseBehind);
    this.#hinted = false;
    setImmediate(() => this.#drawHint());
  };

  #drawHint(): void {
    const { output } = this.#options;
    const readline = this.#readline;
    if (!readline || this.#busy || this.#ending || readline.cursor < readline.line.length) return;
    const text = hint(readline.line);
    const column = readline.getCursorPos().cols;
    if (text === '' || column + text.length >= (output.columns || 80)) return;
    output.write(`${dim}${text}${plain}\x1b[${text.length}D`);
    this.#hinted = true;
  }
}

/** HELP's list of lines as lines; anything else as it is. */
function helpText(reply: Buffer): string {
  const text = reply.toString('utf8');
  return text.startsWith('[') ? (JSON.parse(text) as string[]).join('\n') : text;
}
