/**
 * One connection of the line protocol, in lines: whatever is sent leaves in order, and each line sent gets one line of
 * reply, in the same order. Knows nothing of commands, and does not reconnect.
 */
import { connect, type Socket } from 'node:net';
import { type Address, formatAddress } from './address.js';
import { LineSplitter } from './lines.js';

/** Longer replies break the connection: a server of this protocol sends none above 8 MiB unless configured to. */
const maxReplyBytes = 64 * 1024 * 1024;

export interface ConnectionHandlers {
  /** A line of reply, without its newline; the bytes are the receiver's to keep. */
  reply(line: Buffer): void;
  /** The connection is gone, and why; called exactly once, last, unless `close` was called. */
  closed(reason: string): void;
}

export class Connection {
  readonly address: Address;
  readonly #socket: Socket;
  #handlers: ConnectionHandlers | undefined;
  /** When the last bytes came, by `performance.now()`. */
  heardMs = performance.now();

  /** Resolves when connected; rejects with an Error that says why not. */
  static open(address: Address, timeoutMs: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: address.host, port: address.port, noDelay: true });
      const fail = (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        socket.destroy();
        reject(new Error(`${formatAddress(address)}: ${explain(error)}`));
      };
      const timer = setTimeout(() => fail(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs);
      socket.once('error', fail);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', fail);
        resolve(new Connection(address, socket));
      });
    });
  }

  private constructor(address: Address, socket: Socket) {
    this.address = address;
    this.#socket = socket;
    let reason = 'the server closed the connection';
    const lines = new LineSplitter(maxReplyBytes, {
      line: (line) => this.#handlers?.reply(line),
      tooLong: () => socket.destroy(new Error(`a reply of more than ${maxReplyBytes} bytes`)),
    });
    socket.on('data', (chunk: Buffer) => {
      this.heardMs = performance.now();
      lines.push(chunk);
    });
    socket.on('error', (error) => {
      reason = explain(error);
    });
    socket.once('close', () => this.#handlers?.closed(reason));
  }

  /** Set right after `open`. */
  on(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
  }

  /** Sends whole lines, each with its newline. */
  send(lines: Uint8Array): void {
    this.#socket.write(lines);
  }

  /** Stops and starts the delivery of replies. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Drops the connection; nothing more is called. */
  close(): void {
    this.#handlers = undefined;
    this.#socket.destroy();
  }
}

/** What a socket's error means to a person. */
export function explain(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'connection reset';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'no such host';
    case 'ETIMEDOUT':
      return 'connection timed out';
    default:
      return error.message;
  }
}
