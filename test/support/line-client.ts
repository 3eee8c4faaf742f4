/**
 * A client of the line protocol for tests: a raw socket, one line of reply for each line sent, any number under way. It
 * shares nothing with the product's own client.
 */
import { connect, type Socket } from 'node:net';

/** The connection ended with requests unanswered: their outcome is unknown. */
export class ConnectionLost extends Error {}

interface Waiting {
  resolve(line: string): void;
  reject(error: Error): void;
}

export class LineClient {
  readonly socket: Socket;
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;
  /** Lines that nobody waited for. */
  readonly unexpected: string[] = [];
  #waiting: Waiting[] = [];
  #head = 0;
  #rest = '';
  #lost = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#fail();
        resolve();
      });
    });
  }

  /** Rejects when nobody listens there. */
  static connect(port: number, timeoutMs = 5000): Promise<LineClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1' });
      const fail = (error: Error) => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const timer = setTimeout(() => fail(new Error(`port ${port}: no connection in ${timeoutMs} ms`)), timeoutMs);
      socket.once('error', fail);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', fail);
        resolve(new LineClient(socket));
      });
    });
  }

  get alive(): boolean {
    return !this.#lost;
  }

  /** The reply to one line. Rejects with ConnectionLost when the connection ends first. */
  ask(line: string): Promise<string> {
    return this.#send(line, 1)[0]!;
  }

  /** The replies to several lines that leave in one write. */
  askAll(lines: readonly string[]): Promise<string[]> {
    if (lines.length === 0) return Promise.resolve([]);
    return Promise.all(this.#send(lines.join('\n'), lines.length));
  }

  #send(text: string, count: number): Promise<string>[] {
    const promises = Array.from({ length: count }, () => {
      if (this.#lost) return Promise.reject(new ConnectionLost('the connection is closed'));
      return new Promise<string>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    });
    if (!this.#lost) this.socket.write(`${text}\n`);
    return promises;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const waiting = this.#waiting[this.#head];
      if (!waiting) {
        this.unexpected.push(line);
        continue;
      }
      this.#head++;
      waiting.resolve(line);
    }
    if (this.#head > 1024) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
  }

  #fail(): void {
    this.#lost = true;
    const waiting = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    for (const one of waiting) one.reject(new ConnectionLost('the connection ended before the reply'));
  }

  /** Drops the connection. */
  close(): void {
    this.socket.destroy();
  }
}

/** Sends bytes, optionally FIN, and collects all that comes until the other side closes. */
export function exchange(
  port: number,
  pieces: readonly (string | Uint8Array)[],
  options: { fin?: boolean; timeoutMs?: number } = {},
): Promise<{ text: string; bytes: Buffer; endedByServer: boolean }> {
  const { fin = true, timeoutMs = 15_000 } = options;
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const chunks: Buffer[] = [];
    const finish = (endedByServer: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      const bytes = Buffer.concat(chunks);
      resolve({ text: bytes.toString('utf8'), bytes, endedByServer });
    };
    const timer = setTimeout(() => finish(false), timeoutMs);
    socket.setNoDelay(true);
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => finish(true));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A reset after the server's last line counts as its close: it dropped what we still had under way.
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') finish(true);
      else reject(error);
    });
    socket.on('connect', () => {
      void (async () => {
        for (const piece of pieces) {
          await new Promise<void>((done) => socket.write(piece, () => setImmediate(done)));
        }
        if (fin) socket.end();
      })();
    });
  });
}
