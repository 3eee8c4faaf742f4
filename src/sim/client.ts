/** A client of a simulated cluster: one connection that speaks the line protocol, from a host of its own or from the clients' one. */
import type { Env, Socket } from '../env/env.js';

/** Longer than a node's request time-out: only a dead connection keeps a client waiting so long. */
export const clientPatienceMs = 7_000;

type Answered = (reply: string | undefined) => void;

/** Lets the world go on until a condition holds: `World.play`. */
export type Play = (condition: () => boolean, deadlineMs: number) => Promise<boolean>;

/** Replies come in order, and `undefined` stands for those that a broken connection kept back. */
export class SimClient {
  readonly #env: Env;
  readonly #play: Play;
  readonly #socket: Socket;
  readonly #waiting: { readonly answered: Answered; readonly deadline: number }[] = [];
  #rest = '';
  #watching = false;
  #closed = false;

  constructor(env: Env, play: Play, host: string, port = 8080) {
    this.#env = env;
    this.#play = play;
    this.#socket = env.network.dial(host, port, () => {});
    this.#socket.on({
      data: (bytes) => this.#data(Buffer.from(bytes).toString('utf8')),
      end: () => this.close(),
      drain: () => {},
      close: () => this.#lost(),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Commands that have not been answered. */
  get waiting(): number {
    return this.#waiting.length;
  }

  #data(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) this.#waiting.shift()?.answered(line);
  }

  #lost(): void {
    this.#closed = true;
    for (const { answered } of this.#waiting.splice(0)) answered(undefined);
  }

  /** A machine without power tells nobody: a client gives up by itself. One timer watches over all that wait. */
  #watch(): void {
    if (this.#watching || this.#closed) return;
    const first = this.#waiting[0];
    if (first === undefined) return;
    this.#watching = true;
    const { clock, timers } = this.#env;
    timers.after(Math.max(0, first.deadline - clock.monotonic()), () => {
      this.#watching = false;
      const oldest = this.#waiting[0];
      if (oldest !== undefined && oldest.deadline <= clock.monotonic()) this.close();
      else this.#watch();
    });
  }

  /** Sends a line; `answered` is called once. */
  send(line: string, answered: Answered): void {
    if (this.#closed) {
      answered(undefined);
      return;
    }
    this.#waiting.push({ answered, deadline: this.#env.clock.monotonic() + clientPatienceMs });
    this.#watch();
    this.#socket.write(Buffer.from(`${line}\n`));
  }

  /** Sends bytes as they are; what is answered to them is answered to nobody, so use it on a connection of its own. */
  sendRaw(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Sends a line and lets the world go on until it is answered. Throws when it is not, within `deadlineMs`. */
  async ask(line: string, deadlineMs = 20_000): Promise<string | undefined> {
    let done = false;
    let answer: string | undefined;
    this.send(line, (text) => {
      done = true;
      answer = text;
    });
    if (!(await this.#play(() => done, deadlineMs))) throw new Error(`no reply to ${line}`);
    return answer;
  }

  /** Stops and starts reading. */
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }

  /** Sends FIN: no more commands come. */
  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
    this.#lost();
  }
}
