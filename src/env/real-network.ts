/**
 * Sockets of node:net behind the interfaces of env.ts.
 *
 * This stands on the path of every chunk a client sends, so the wrapper is thin: one set of closures a socket, none a
 * chunk, and the buffers that node:net allocates are handed on as they are.
 *
 * What a stream makes for its own good costs more than the chunk: a queued tick for each chunk that is read and for each
 * write with a callback, and behind each round of ticks a new table of promises. So
 *
 * - a chunk that would go straight through to the `data` event (the stream flows and holds nothing back) is taken where the
 *   socket pushes it into the stream; any other goes the stream's way;
 * - a write has no callback. Nearly all are taken by the system at once; behind one that is not, an empty write with a
 *   callback tells when all before it are through.
 */
import { connect, createServer, type Socket as NetSocket } from 'node:net';
import { ListenError, type Listener, type Network, type Socket, type SocketHandlers } from './env.js';

/** Connections that the system completes before the node has accepted them. */
const BACKLOG = 1024;
const NOTHING = Buffer.alloc(0);

class RealSocket implements Socket {
  readonly remote: string;
  readonly #socket: NetSocket;
  #handlers: SocketHandlers | undefined;
  #error: Error | undefined;
  /** A write left bytes queued: `drain` is owed for it, and an empty write will tell when. */
  #waiting = false;
  /** After `end` or `destroy` nothing more is written. */
  #ended = false;
  #destroyed = false;
  readonly #written = (): void => {
    if (this.#destroyed || !this.#waiting) return;
    const drained = this.#socket.writableLength === 0;
    // After `end` its own callback comes when all is through.
    if (!drained && this.#ended) return;
    this.#waiting = false;
    if (drained) this.#handlers?.drain();
    else this.#owe();
  };

  constructor(socket: NetSocket, remote: string) {
    this.#socket = socket;
    this.remote = remote;
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('close', () => {
      this.#destroyed = true;
      this.#handlers?.close(this.#error);
    });
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#socket.write(bytes);
    this.#owe();
  }

  writeLatin1(text: string): void {
    if (this.#ended) return;
    this.#socket.write(text, 'latin1');
    this.#owe();
  }

  /** Asks to be told when what is queued has been taken, if that is not so by now. */
  #owe(): void {
    if (this.#waiting || this.#ended || this.#socket.writableLength === 0) return;
    this.#waiting = true;
    this.#socket.write(NOTHING, this.#written);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#waiting) this.#socket.end(this.#written);
    else this.#socket.end();
  }

  destroy(): void {
    this.#ended = true;
    this.#destroyed = true;
    this.#socket.destroy();
  }

  on(handlers: SocketHandlers): void {
    const first = this.#handlers === undefined;
    this.#handlers = handlers;
    if (!first) return;
    this.#socket.on('end', () => {
      if (!this.#destroyed) this.#handlers?.end();
    });
    this.#takePushes();
    // Last: this starts the flow.
    this.#socket.on('data', (bytes: Buffer) => {
      if (!this.#destroyed) this.#handlers?.data(bytes);
    });
  }

  #takePushes(): void {
    const socket = this.#socket;
    const push = socket.push.bind(socket);
    socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      const through = socket.readableFlowing === true && socket.readableLength === 0 && chunk instanceof Uint8Array;
      if (!through) return push(chunk, encoding);
      if (!this.#destroyed) this.#handlers?.data(chunk);
      return true;
    };
  }
}

function listen(host: string, port: number, accept: (socket: Socket) => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 },
      (socket) => {
        accept(new RealSocket(socket, hostPort(socket.remoteAddress ?? 'closed', socket.remotePort ?? 0)));
      },
    );
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(host, port, error)));
    server.listen({ host, port, backlog: BACKLOG }, () => {
      // A failed accept (no descriptors left) concerns that one connection; the client sees it closed and comes again.
      server.on('error', () => {});
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      resolve({ port: bound, close: () => void server.close() });
    });
  });
}

function dial(host: string, port: number, connected: () => void): Socket {
  const socket = connect({
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  });
  socket.once('connect', connected);
  return new RealSocket(socket, hostPort(host, port));
}

function listenError(host: string, port: number, error: NodeJS.ErrnoException): ListenError {
  const where = hostPort(host, port);
  if (error.code === 'EADDRINUSE') return new ListenError('taken', `${where} is in use already; choose another port`);
  return new ListenError('other', `cannot listen on ${where}: ${error.message}`);
}

/** `host:port`; an IPv6 address in brackets, an IPv4 address inside IPv6 as itself. */
function hostPort(host: string, port: number): string {
  const plain = host.startsWith('::ffff:') ? host.slice(7) : host;
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`;
}

/** The network of this machine. */
export function realNetwork(): Network {
  return { listen, dial };
}
