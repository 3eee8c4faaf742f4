/** A link on which a peer sends to this node: accepted, greeted, and closed when it falls silent. */
import type { Socket, Timer } from '../env/env.js';
import type { NodeId } from '../raft/types.js';
import { FrameKind, PROTOCOL_VERSION } from './frame.js';
import type { Hello } from './types.js';
import { attempt, describe, GREETING_TIMEOUT_MS, refusalFor, type Shared, Wire } from './wire.js';

export interface InboundEvents {
  /** The peer was let in: the transport drops an older link of the same peer. */
  up(link: Inbound): void;
  /** The link is gone. */
  down(link: Inbound): void;
}

export class Inbound {
  /** 0 until its hello has been let in. */
  peer: NodeId = 0;
  readonly #shared: Shared;
  readonly #events: InboundEvents;
  readonly #wire: Wire;
  readonly #timer: Timer;
  #address = '';
  /** What the peer said of itself, once it has been let in. */
  #hello: Hello | undefined;
  #over = false;

  constructor(shared: Shared, socket: Socket, events: InboundEvents) {
    this.#shared = shared;
    this.#events = events;
    this.#wire = new Wire(shared, socket, {
      accepts: (kind) => this.#accepts(kind),
      hello: (hello) => this.#greeted(hello),
      refusal: (reason) => this.#refused(reason),
      ping: () => this.#wire.pong(),
      pong: () => {},
      message: (message) => shared.handlers.message(message),
      fault: (error) => this.#fault(error),
      gone: (why) => this.#gone(why),
    });
    this.#timer = shared.env.timers.after(GREETING_TIMEOUT_MS, () => this.drop('no hello in time'));
  }

  receive(bytes: Uint8Array): void {
    this.#wire.receive(bytes);
  }

  /** The time between two pings has passed. */
  tick(): void {
    if (this.peer !== 0 && this.#wire.silent()) this.drop('nothing was heard from it');
  }

  drop(why: string): void {
    this.#wire.destroy();
    this.#gone(why);
  }

  /** Ends it for good, without another call of a handler. */
  close(): void {
    this.#over = true;
    this.#timer.cancel();
    this.#wire.destroy();
  }

  #accepts(kind: number): boolean {
    if (this.peer === 0) return kind === FrameKind.hello;
    return kind >= FrameKind.vote ? kind <= FrameKind.rebuild : kind === FrameKind.ping || kind === FrameKind.refusal;
  }

  /** Judges the peer anew: it may not belong to those any more that this node lets in. */
  review(): void {
    if (this.#over || this.#hello === undefined) return;
    const reason = this.#shared.handlers.judge(this.#hello);
    if (reason === undefined) return;
    this.#shared.complaints.about(`node ${this.peer} at ${this.#address}`, `refused node ${this.peer}: ${reason}`);
    this.#hello = undefined;
    this.#wire.refuse(reason, false);
  }

  #greeted(hello: Hello): void {
    const { handlers, complaints } = this.#shared;
    const who = `node ${hello.id} at ${hello.address}`;
    const reason = this.#judge(hello);
    // The node may have closed everything while it judged: it founds its cluster there.
    if (this.#over) return;
    this.#timer.cancel();
    if (reason !== undefined) {
      complaints.about(who, `refused ${who}: ${reason}`);
      this.#wire.refuse(reason, true);
      return;
    }
    complaints.settled(who);
    this.#address = hello.address;
    this.#hello = hello;
    this.peer = hello.id;
    this.#wire.peer = hello.id;
    this.#wire.sendHello(handlers.hello());
    if (!this.#over) this.#events.up(this);
  }

  #judge(hello: Hello): string | undefined {
    if (hello.protocol !== PROTOCOL_VERSION) return `it speaks version ${hello.protocol} of the peer protocol`;
    if (hello.id === this.#shared.id) return `it has the id of the node that it dialled, ${hello.id}; ids must differ`;
    return this.#shared.handlers.judge(hello);
  }

  #refused(reason: string): void {
    attempt(this.#shared, 'refused', () => this.#shared.handlers.refused(this.peer, this.#address, reason));
    this.drop(`it refused this node: ${reason}`);
  }

  #fault(error: Error): void {
    const who = this.peer === 0 ? host(this.#wire.remote) : `node ${this.peer} at ${this.#address}`;
    this.#shared.complaints.about(who, `closed the link from ${who}: ${describe(error)}`);
    const reason = refusalFor(error);
    if (reason === undefined) {
      this.drop('fault');
      return;
    }
    this.#timer.cancel();
    this.#wire.refuse(reason, true);
  }

  #gone(why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer.cancel();
    const who = this.peer === 0 ? this.#wire.remote : `node ${this.peer}`;
    this.#shared.handlers.log('debug', `link from ${who} is down: ${why}`);
    this.#events.down(this);
  }
}

/** Without the port, which differs each time. */
function host(remote: string): string {
  return remote.replace(/:\d+$/, '');
}
