/** One socket between two nodes, dialled or accepted: frames in, frames out, and an end that comes exactly once. */
import type { Env, Socket, Timer } from '../env/env.js';
import type { Crc32c } from '../log/types.js';
import type { NodeId } from '../raft/types.js';
import { type Deliver, encodeHello, encodeRefusal, MessageReader } from './codec.js';
import { ControlError } from './control.js';
import { FrameError, FrameKind, FrameReader, greeting, PROTOCOL_VERSION } from './frame.js';
import { SendQueue } from './queue.js';
import type { Hello, TransportHandlers } from './types.js';

/** What all links of a transport share. */
export interface Shared {
  readonly id: NodeId;
  readonly env: Pick<Env, 'timers' | 'network' | 'random'>;
  readonly crc32c: Crc32c;
  readonly maxMessageBytes: number;
  readonly handlers: TransportHandlers;
  readonly complaints: Complaints;
}

/** Milliseconds in which a connection must have come up, and in which a refused one must have closed. */
export const GREETING_TIMEOUT_MS = 2000;
/** Milliseconds between pings. */
export const PING_MS = 500;
/** A link from which nothing came for as many pings is dead. Counted, not timed: a stall of this process is one ping. */
const SILENT_PINGS = 4;
/** Answers to pings wait for a reader only as far as this: who does not read gets none. */
const MAX_UNREAD_BYTES = 65_536;

const NO_CONTROL = new Uint8Array(0);

export interface WireEvents extends Deliver {
  /** Whether a frame of this kind may come in the state that the link is in. */
  accepts(kind: number): boolean;
  /** What came in made no sense, or a handler failed: the link is to be closed. */
  fault(error: Error): void;
  /** The socket is gone. Not called after `destroy`. */
  gone(why: string): void;
}

export class Wire {
  readonly remote: string;
  readonly queue: SendQueue;
  readonly #shared: Shared;
  readonly #socket: Socket;
  readonly #events: WireEvents;
  readonly #messages: MessageReader;
  readonly #reader: FrameReader;
  #silentPings = 0;
  /** At the last ping: whether the socket was clogged, and what it had drained until then. */
  #clogged = false;
  #drainedBefore = 0;
  /** Nothing more is read. */
  #closed = false;
  #destroyed = false;
  /** Ends the wait for the other end to close after a refusal. */
  #patience: Timer | undefined;

  constructor(shared: Shared, socket: Socket, events: WireEvents) {
    this.remote = socket.remote;
    this.queue = new SendQueue(socket, shared.crc32c, (pump) => shared.env.timers.defer(() => this.#closed || pump()));
    this.#shared = shared;
    this.#socket = socket;
    this.#events = events;
    const messages = new MessageReader(shared.crc32c, shared.id, events);
    this.#messages = messages;
    const receiver = {
      accepts: (kind: number) => !this.#closed && events.accepts(kind),
      begin: messages.begin.bind(messages),
    };
    this.#reader = new FrameReader(shared.crc32c, receiver, shared.maxMessageBytes);
    socket.on({
      data: (bytes) => this.receive(bytes),
      end: () => this.#gone('the other end closed it'),
      drain: () => this.#closed || this.queue.pump(),
      close: (error) => this.#gone(error ? error.message : 'it was closed'),
    });
  }

  /** Who the messages come from, once its hello has been let in. */
  set peer(id: NodeId) {
    this.#messages.from = id;
  }

  /** Takes bytes that came in. */
  receive(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#silentPings = 0;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      if (!this.#closed) this.#events.fault(error instanceof Error ? error : new Error(String(error)));
    }
  }

  sendHello(hello: Hello): void {
    this.queue.greet(greeting());
    this.queue.control(FrameKind.hello, encodeHello(hello));
    this.queue.pump();
  }

  /** Sends the reason, reads no more, and is gone when the other end has closed; `greet` unless this end has greeted already. */
  refuse(reason: string, greet: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    if (greet) this.queue.greet(greeting());
    this.queue.control(FrameKind.refusal, encodeRefusal(reason));
    this.queue.pump();
    // Closing at once could reset the connection before the reason has been read.
    this.#socket.end();
    this.#patience = this.#shared.env.timers.after(GREETING_TIMEOUT_MS, () => this.#gone('refused'));
  }

  ping(): void {
    this.queue.control(FrameKind.ping, NO_CONTROL);
    this.queue.pump();
  }

  pong(): void {
    if (this.#socket.queued > MAX_UNREAD_BYTES) return;
    this.queue.control(FrameKind.pong, NO_CONTROL);
    this.queue.pump();
  }

  /** Counts one more ping's time; true when nothing came for too many of them. */
  silent(): boolean {
    const { drained, undrained } = this.queue;
    // A clogged socket that still drains shows that the other end reads; its answers wait behind what it reads.
    if (this.#clogged && drained > this.#drainedBefore) this.#silentPings = 0;
    else this.#silentPings++;
    this.#clogged = undrained > 0;
    this.#drainedBefore = drained;
    return this.#silentPings > SILENT_PINGS;
  }

  destroy(): void {
    this.#closed = true;
    this.#destroyed = true;
    this.#patience?.cancel();
    this.#socket.destroy();
  }

  #gone(why: string): void {
    if (this.#destroyed) return;
    this.destroy();
    this.#events.gone(why);
  }
}

/** What to tell the other end of a fault, if it should be told: only what any version understands. */
export function refusalFor(error: Error): string | undefined {
  if (!(error instanceof FrameError) || error.code !== 'version') return undefined;
  return `this node speaks version ${PROTOCOL_VERSION} of the peer protocol; run the same version on all members`;
}

/** A fault in one line for the log: a handler's failure with the place where it was thrown. */
export function describe(error: Error): string {
  if (error instanceof FrameError || error instanceof ControlError) return error.message;
  return `a handler failed: ${error.stack ?? error.message}`;
}

/** Complaints about one node or address: the first of its kind is a warning, the same again is for debugging. */
export class Complaints {
  static readonly MAX_KEYS = 256;
  readonly #log: TransportHandlers['log'];
  readonly #last = new Map<string, string>();

  constructor(log: TransportHandlers['log']) {
    this.#log = log;
  }

  about(key: string, text: string): void {
    const again = this.#last.get(key) === text;
    if (!again && this.#last.size >= Complaints.MAX_KEYS) this.#last.clear();
    this.#last.set(key, text);
    this.#log(again ? 'debug' : 'warn', text);
  }

  /** All is well with it: the next complaint is a warning again. */
  settled(key: string): void {
    this.#last.delete(key);
  }
}

/** Calls a handler of the node; what it throws is logged and goes no further. */
export function attempt<T>(shared: Shared, name: string, call: () => T): T | undefined {
  try {
    return call();
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    shared.handlers.log('warn', `the handler ${name} failed: ${what}`);
    return undefined;
  }
}
