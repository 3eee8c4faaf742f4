/**
 * The link on which this node sends to one peer: dialled, greeted, kept alive, and dialled again whenever it is lost.
 *
 *     waiting ──timer──▶ dialling ──connected, hello sent──▶ greeting ──hello let in──▶ up
 *        ▲                  │                                   │                        │
 *        └──────────────────┴─────── lost, refused, timed out ──┴────────────────────────┘
 *
 * *Refusing*, in place of up: this node did not let the peer in, and waits for it to have read why.
 */
import type { Timer } from '../env/env.js';
import type { NodeId } from '../raft/types.js';
import { parseAddress } from './address.js';
import { FrameError, FrameKind, PROTOCOL_VERSION } from './frame.js';
import type { Hello, PeerMessage } from './types.js';
import { attempt, describe, GREETING_TIMEOUT_MS, type Shared, Wire } from './wire.js';

const FIRST_REDIAL_MS = 50;
const MAX_REDIAL_MS = 300;

export class Outbound {
  readonly peer: NodeId;
  readonly address: string;
  readonly #shared: Shared;
  readonly #host: string;
  readonly #port: number;
  #state: 'waiting' | 'dialling' | 'greeting' | 'up' | 'refusing' = 'waiting';
  #wire: Wire | undefined;
  /** The next redial, or the end of patience with the greeting. */
  #timer: Timer | undefined;
  #failures = 0;
  /** Messages were queued since the last flush. */
  #dirty = false;
  /** What the peer said of itself, while it is let in. */
  #hello: Hello | undefined;
  /** Why the peer refused this node last time: the node is not told the same again. */
  #lastRefusal: string | undefined;

  constructor(shared: Shared, peer: NodeId, address: string) {
    this.#shared = shared;
    this.peer = peer;
    this.address = address;
    const { host, port } = parseAddress(address);
    this.#host = host;
    this.#port = port;
  }

  get up(): boolean {
    return this.#state === 'up';
  }

  dial(): void {
    this.#state = 'dialling';
    this.#timer = this.#shared.env.timers.after(GREETING_TIMEOUT_MS, () => this.#lost('no answer in time'));
    const socket = this.#shared.env.network.dial(this.#host, this.#port, () => this.#connected());
    this.#wire = new Wire(this.#shared, socket, {
      accepts: (kind) => this.#accepts(kind),
      hello: (hello) => this.#greeted(hello),
      refusal: (reason) => this.#refused(reason),
      ping: () => {},
      pong: () => {},
      message: () => {},
      fault: (error) => this.#fault(error),
      gone: (why) => this.#lost(why),
    });
  }

  send(message: PeerMessage): void {
    if (this.#state !== 'up') return;
    this.#wire!.queue.push(message);
    this.#dirty = true;
  }

  flush(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#wire?.queue.pump();
  }

  /** The time between two pings has passed. */
  tick(): void {
    if (this.#state !== 'up') return;
    // Up for this long: the next loss is a new one, and not part of a series.
    this.#failures = 0;
    this.#lastRefusal = undefined;
    if (this.#wire!.silent()) this.#lost('nothing was heard from it');
    else this.#wire!.ping();
  }

  /** Ends it for good, without another call of a handler. */
  close(): void {
    this.#timer?.cancel();
    this.#wire?.destroy();
    this.#wire = undefined;
    this.#state = 'waiting';
  }

  #connected(): void {
    if (this.#state !== 'dialling') return;
    this.#state = 'greeting';
    const hello = attempt(this.#shared, 'hello', () => this.#shared.handlers.hello());
    if (hello === undefined) this.#lost('this node has no hello');
    else this.#wire?.sendHello(hello);
  }

  #accepts(kind: number): boolean {
    if (kind === FrameKind.refusal) return this.#state === 'greeting' || this.#state === 'up';
    return kind === (this.#state === 'up' ? FrameKind.pong : this.#state === 'greeting' ? FrameKind.hello : -1);
  }

  /** Judges the peer anew: it may not belong to those any more that this node lets in. */
  review(): void {
    if (this.#state !== 'up') return;
    const reason = this.#judge(this.#hello!);
    if (reason === undefined) return;
    this.#refuse(reason);
    attempt(this.#shared, 'link', () => this.#shared.handlers.link(this.peer, false));
  }

  #refuse(reason: string): void {
    const who = `node ${this.peer} at ${this.address}`;
    this.#shared.complaints.about(who, `refused ${who}: ${reason}`);
    this.#state = 'refusing';
    this.#dirty = false;
    this.#wire!.refuse(reason, false);
  }

  #greeted(hello: Hello): void {
    const reason = this.#judge(hello);
    if (this.#state !== 'greeting') return;
    this.#timer?.cancel();
    if (reason !== undefined) {
      this.#refuse(reason);
      return;
    }
    this.#hello = hello;
    this.#state = 'up';
    this.#shared.complaints.settled(`node ${this.peer} at ${this.address}`);
    this.#shared.handlers.log('debug', `link to node ${this.peer} at ${this.address} is up`);
    attempt(this.#shared, 'link', () => this.#shared.handlers.link(this.peer, true));
  }

  #judge(hello: Hello): string | undefined {
    if (hello.protocol !== PROTOCOL_VERSION) return `it speaks version ${hello.protocol} of the peer protocol`;
    if (hello.id !== this.peer)
      return `it is node ${hello.id}, not node ${this.peer}; check the addresses of the peers`;
    return this.#shared.handlers.judge(hello);
  }

  #refused(reason: string): void {
    const again = this.#lastRefusal === reason;
    this.#lastRefusal = reason;
    if (!again) attempt(this.#shared, 'refused', () => this.#shared.handlers.refused(this.peer, this.address, reason));
    this.#lost(`it refused this node: ${reason}`);
  }

  #fault(error: Error): void {
    // A peer of another version says so in its greeting, ahead of a refusal that need not be read.
    if (error instanceof FrameError && error.code === 'version') {
      this.#refused(error.message);
      return;
    }
    const who = `node ${this.peer} at ${this.address}`;
    this.#shared.complaints.about(who, `closed the link to ${who}: ${describe(error)}`);
    this.#lost('fault');
  }

  #lost(why: string): void {
    if (this.#state === 'waiting') return;
    const wasUp = this.#state === 'up';
    this.#state = 'waiting';
    this.#timer?.cancel();
    this.#timer = this.#shared.env.timers.after(this.#pause(), () => this.dial());
    this.#wire?.destroy();
    this.#wire = undefined;
    this.#dirty = false;
    this.#shared.handlers.log('debug', `link to node ${this.peer} at ${this.address} is down: ${why}`);
    if (wasUp) attempt(this.#shared, 'link', () => this.#shared.handlers.link(this.peer, false));
  }

  /** 50 ms at first, then doubled up to 300 ms; but for the first, drawn from the upper half so that nodes do not dial in step. */
  #pause(): number {
    const ms = Math.min(FIRST_REDIAL_MS * 2 ** Math.min(this.#failures, 8), MAX_REDIAL_MS);
    this.#failures++;
    return this.#failures === 1 ? ms : ms * (0.5 + 0.5 * this.#shared.env.random.float());
  }
}
