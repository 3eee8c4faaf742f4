/**
 * Clients' sockets and the store's slots: sniffs what a new connection speaks, feeds the store, writes what it answers,
 * and holds back a client that sends without reading.
 *
 * Sockets are bounded, for each takes a descriptor, and a node without one left for its log must stop. Above the bound a few
 * more are heard for a moment, because one may be a peer, which is never refused; a client among them is told `ERR busy`.
 *
 * Invariants: a socket is read only while neither the store holds its slot nor its own output is clogged; replies leave in the
 * order in which the store gives them out; after `close` nothing is written to a slot's socket.
 */
import type { Socket, Timer } from '../env/env.js';
import { sniff } from '../protocol/sniff.js';
import { type Store, StoreEvent, type StoreSink } from '../store/store.js';

/** Output that waits in a socket beyond this stops the parsing of its input, until it has drained. */
const cloggedBytes = 1_048_576;
/** A client that has let so much of its replies pile up does not read: it is cut off, before it takes the node's memory. Far above what a client that reads ever lets wait. */
const abandonedBytes = 268_435_456;
/** Connections beyond the bound that may be heard at once; those beyond are closed unheard. */
const overtime = 16;
/** Beyond the bound, a connection that says nothing for so long is refused. */
const overtimeMs = 1_000;
const busy = 'ERR busy this node serves as many connections as it can; try another';
/** A client that has been sent FIN may take this long to close. */
const lingerMs = 10_000;
/** Replies up to this length go by way of one buffer for all. */
const shortReplyBytes = 4_096;
/** Replies up to this length are cheaper to hand over as a string. */
const stringBytes = 32;

interface Session {
  readonly socket: Socket;
  /** -1 until the first bytes told what the connection speaks, and after it has closed. */
  slot: number;
  head: Uint8Array | undefined;
  held: boolean;
  clogged: boolean;
  ended: boolean;
  /** Runs from the FIN on, and beyond the bound until the first bytes: a client that never closes is closed. */
  linger: Timer | undefined;
  /** It came when there were as many as may be. */
  readonly excess: boolean;
}

export interface SessionHost {
  /** Carries out what a socket or timer calls for: an error in it stops the node, not the process that it is part of. */
  guard<T>(action: (argument: T) => void, argument: T): void;
  after(ms: number, action: () => void): Timer;
  /** A turn is wanted: input has come. */
  wake(): void;
  /** The connection is a peer's. */
  peer(socket: Socket, first: Uint8Array): void;
  /** The line of a request of the cluster exchange, to be answered with one line, now or later. */
  cluster(line: string, answer: (line: string) => void): void;
  /** The reply, without its newline, to a control command. */
  control(code: number): { reply: string; quit: boolean };
  applied(sequence: number): void;
  gap(sequence: number): void;
}

export class Sessions implements StoreSink {
  readonly #store: Store;
  readonly #host: SessionHost;
  readonly #most: number;
  readonly #bySlot: (Session | undefined)[] = [];
  readonly #all = new Set<Session>();
  /** Events of the drain under way, three numbers each: acting on one may call the store, which is busy handing them out. */
  readonly #events: number[] = [];
  /** How many of those numbers are meant; the array keeps its memory. */
  #eventNumbers = 0;
  #stopping = false;
  /** Nothing is read from clients. */
  #holding = false;
  /** Where short replies are copied to on their way to a socket, and the view of it that was written last. */
  #copies = Buffer.alloc(shortReplyBytes);
  #copy = this.#copies.subarray(0, 0);

  /** `most`: clients that may be connected at once. */
  constructor(store: Store, host: SessionHost, most: number) {
    this.#store = store;
    this.#host = host;
    this.#most = most;
  }

  get size(): number {
    return this.#all.size;
  }

  accept(socket: Socket): void {
    if (this.#stopping || this.#all.size >= this.#most + overtime) {
      socket.destroy();
      return;
    }
    const session: Session = {
      socket,
      slot: -1,
      head: undefined,
      held: false,
      clogged: false,
      ended: false,
      linger: undefined,
      excess: this.#all.size >= this.#most,
    };
    this.#all.add(session);
    if (session.excess) session.linger = this.#host.after(overtimeMs, () => this.#refuse(session, busy));
    const { guard } = this.#host;
    // Made once: there is no closure a chunk.
    const data = (bytes: Uint8Array): void =>
      session.slot >= 0 ? this.#feed(session, bytes) : this.#first(session, bytes);
    const end = (of: Session): void => this.#finish(of);
    const drain = (of: Session): void => this.#drained(of);
    const close = (of: Session): void => this.#closed(of);
    socket.on({
      data: (bytes) => guard(data, bytes),
      end: () => guard(end, session),
      drain: () => guard(drain, session),
      close: () => {
        this.#all.delete(session);
        session.linger?.cancel();
        guard(close, session);
      },
    });
  }

  #first(session: Session, bytes: Uint8Array): void {
    if (session.ended) return;
    const head = session.head ? Buffer.concat([session.head, bytes]) : bytes;
    const what = sniff(head);
    session.head = undefined;
    switch (what.kind) {
      case 'more':
        session.head = head;
        return;
      case 'peer':
        session.linger?.cancel();
        this.#all.delete(session);
        this.#host.peer(session.socket, head);
        return;
      case 'cluster':
        this.#exchange(session, what.line);
        return;
      case 'reject':
        this.#refuse(session, what.reply);
        return;
      case 'line':
        this.#begin(session, head);
    }
  }

  #begin(session: Session, head: Uint8Array): void {
    const refused = session.excess && this.#all.size > this.#most;
    if (!refused) session.slot = this.#store.open();
    if (session.slot < 0) {
      this.#refuse(session, busy);
      return;
    }
    session.linger?.cancel();
    this.#bySlot[session.slot] = session;
    if (this.#holding) session.socket.pause();
    this.#feed(session, head);
  }

  /** What else comes on this connection is not looked at. */
  #exchange(session: Session, line: string): void {
    session.ended = true;
    session.linger?.cancel();
    session.socket.pause();
    this.#host.cluster(line, (answer) => {
      if (!this.#all.has(session)) return;
      session.socket.write(Buffer.from(`${answer}\n`, 'utf8'));
      this.#sendFin(session);
    });
  }

  #refuse(session: Session, reply: string): void {
    session.socket.writeLatin1(`${reply}\n`);
    this.#sendFin(session);
  }

  #sendFin(session: Session): void {
    session.ended = true;
    session.linger?.cancel();
    session.socket.resume();
    session.socket.end();
    session.linger = this.#host.after(session.excess ? overtimeMs : lingerMs, () => session.socket.destroy());
  }

  #feed(session: Session, bytes: Uint8Array): void {
    if (session.ended) return;
    this.#store.feed(session.slot, bytes);
    this.#host.wake();
  }

  #finish(session: Session): void {
    if (session.ended) return;
    // A first line that never became whole is still a client's line, cut short.
    if (session.slot < 0 && session.head) this.#begin(session, session.head);
    if (session.slot < 0) {
      if (!session.ended) this.#sendFin(session);
      return;
    }
    this.#store.finish(session.slot);
    this.#host.wake();
  }

  #drained(session: Session): void {
    if (!session.clogged) return;
    session.clogged = false;
    if (session.slot < 0) return;
    this.#store.pause(session.slot, false);
    this.#read(session);
    this.#host.wake();
  }

  /** Reads on, unless something stands against it. */
  #read(session: Session): void {
    if (!session.held && !session.clogged && !this.#stopping && !this.#holding) session.socket.resume();
  }

  /** While on, nothing is read from clients, but for the first bytes of new ones. Peers are heard. */
  hold(on: boolean): void {
    this.#holding = on;
    for (const session of this.#bySlot) {
      if (!session || session.ended) continue;
      if (on) session.socket.pause();
      else this.#read(session);
    }
  }

  #closed(session: Session): void {
    session.ended = true;
    if (session.slot < 0) return;
    this.#bySlot[session.slot] = undefined;
    this.#store.close(session.slot);
    session.slot = -1;
    this.#host.wake();
  }

  output(slot: number, bytes: Uint8Array, start: number, end: number): void {
    const session = this.#bySlot[slot];
    if (!session || session.ended) return;
    const { socket } = session;
    // The store's memory is used again after this call: the socket gets a copy.
    if (end - start > shortReplyBytes) socket.write(Buffer.from(bytes.subarray(start, end)));
    else this.#writeCopy(socket, bytes, start, end);
    this.#holdBack(session);
  }

  /** By way of a buffer that serves again as soon as the socket has passed everything on, as it most often does at once. */
  #writeCopy(socket: Socket, bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    for (let i = 0; i < length; i++) this.#copies[i] = bytes[start + i]!;
    if (length <= stringBytes) {
      socket.writeLatin1(this.#copies.toString('latin1', 0, length));
      return;
    }
    if (this.#copy.length !== length) this.#copy = this.#copies.subarray(0, length);
    socket.write(this.#copy);
    if (socket.queued === 0) return;
    this.#copies = Buffer.alloc(shortReplyBytes);
    this.#copy = this.#copies.subarray(0, 0);
  }

  /** A client that does not read what it is sent gets no more of its commands carried out. */
  #holdBack(session: Session): void {
    if (session.socket.queued > abandonedBytes) {
      session.ended = true;
      session.socket.destroy();
      return;
    }
    if (session.clogged || session.socket.queued <= cloggedBytes) return;
    session.clogged = true;
    this.#store.pause(session.slot, true);
    session.socket.pause();
  }

  event(kind: StoreEvent, slot: number, arg: number): void {
    this.#events[this.#eventNumbers++] = kind;
    this.#events[this.#eventNumbers++] = slot;
    this.#events[this.#eventNumbers++] = arg;
  }

  /** Writes what the store has produced, then acts on its events, in their order. */
  flush(): void {
    this.#store.drain(this);
    const events = this.#events;
    for (let i = 0; i < this.#eventNumbers; i += 3) this.#act(events[i] as StoreEvent, events[i + 1]!, events[i + 2]!);
    this.#eventNumbers = 0;
  }

  #act(kind: StoreEvent, slot: number, arg: number): void {
    if (kind === StoreEvent.applied) this.#host.applied(arg);
    else if (kind === StoreEvent.gap) this.#host.gap(arg);
    else {
      const session = this.#bySlot[slot];
      if (session && !session.ended) this.#actOn(session, kind, arg);
    }
  }

  #actOn(session: Session, kind: StoreEvent, arg: number): void {
    switch (kind) {
      case StoreEvent.control:
        this.#control(session, arg);
        break;
      case StoreEvent.close:
        this.#end(session);
        break;
      case StoreEvent.hold:
        session.held = true;
        session.socket.pause();
        break;
      case StoreEvent.unhold:
        session.held = false;
        this.#read(session);
        break;
    }
  }

  #control(session: Session, code: number): void {
    const { reply, quit } = this.#host.control(code);
    session.socket.write(Buffer.from(`${reply}\n`, 'utf8'));
    if (quit) {
      this.#end(session);
      return;
    }
    this.#holdBack(session);
    this.#store.release(session.slot);
  }

  /** No more input is taken; what was written is sent, then FIN. */
  #end(session: Session): void {
    this.#bySlot[session.slot] = undefined;
    this.#store.close(session.slot);
    session.slot = -1;
    this.#sendFin(session);
  }

  /** Takes no new input or connection; what is under way goes on. */
  stop(): void {
    this.#stopping = true;
    for (const session of this.#all) session.socket.pause();
  }

  /** Sends what is written, then FIN, to all. */
  end(): void {
    for (const session of this.#all) if (!session.ended) this.#sendFin(session);
  }

  destroy(): void {
    this.#stopping = true;
    for (const session of this.#all) session.socket.destroy();
  }
}
