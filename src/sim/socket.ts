/**
 * One end of a simulated connection: what its process sees of it (a `Socket`), and what its machine does on its own, which
 * goes on while the process is paused: taking bytes, acknowledging, answering for connections that are gone.
 *
 *     write → queue → (window) → pipe → inbox of the other end → data handler → acknowledgement → window opens
 */
import type { Socket, SocketHandlers } from '../env/env.js';
import type { Pipe, SimNetwork } from './network.js';
import type { SimHost } from './world.js';

/** As much is read at once at most. */
const MAX_CHUNK_BYTES = 65_536;
/** A reader that comes late comes within this. */
const LATE_MS = 1;

/** An error as the system gives it. */
export class NetworkError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

export class SimSocket implements Socket {
  readonly remote: string;
  readonly host: SimHost;
  readonly outgoing: Pipe;
  readonly #network: SimNetwork;
  readonly #life: number;
  /** The other end, once connected. */
  #peer: SimSocket | undefined;
  #connected: (() => void) | undefined;
  #handlers: SocketHandlers | undefined;

  #queue: Uint8Array[] = [];
  #queued = 0;
  /** `drain` is owed. */
  #waiting = false;
  /** Bytes sent that the other process has not read. */
  #unread = 0;
  /** The window is shut, and the other end has been asked about it. */
  #probing = false;
  #ended = false;
  #finSent = false;

  #inbox: Uint8Array[] = [];
  /** Bytes read that the other end has not been told of. */
  #unacknowledged = 0;
  /** The other end waits for its window to open. */
  #probedSince = false;
  #paused = false;
  #reading = false;
  #finArrived = false;
  #finSeen = false;

  /** For its process it is closed; for its machine, packets to it are answered by a reset. */
  #closed = false;
  /** The machine has lost its memory of it. */
  #vanished = false;

  constructor(network: SimNetwork, outgoing: Pipe, remote: string, connected: (() => void) | undefined) {
    this.#network = network;
    this.outgoing = outgoing;
    this.host = outgoing.from;
    this.#life = this.host.life;
    this.remote = remote;
    this.#connected = connected;
  }

  get peerHost(): SimHost {
    return this.outgoing.to;
  }

  get queued(): number {
    return this.#queued;
  }

  // What the process calls.

  on(handlers: SocketHandlers): void {
    this.#handlers = handlers;
    this.#read();
  }

  write(bytes: Uint8Array): void {
    if (this.#closed || this.#ended || bytes.length === 0) return;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#transmit();
    if (this.#queued > 0) this.#waiting = true;
  }

  writeLatin1(text: string): void {
    this.write(Buffer.from(text, 'latin1'));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#read();
  }

  end(): void {
    if (this.#closed || this.#ended) return;
    this.#ended = true;
    this.#transmit();
  }

  destroy(): void {
    if (this.#closed) return;
    this.#hangUp();
    this.#close(undefined);
  }

  // What its machine does.

  /** The connection stands. */
  join(peer: SimSocket): void {
    if (this.#peer !== undefined || this.#vanished) return;
    this.#peer = peer;
    if (this.#closed) {
      this.#sendReset();
      return;
    }
    const connected = this.#connected;
    if (connected !== undefined) this.#later(0, 'connected', () => this.#closed || connected());
    this.#transmit();
    this.#owedDrain();
  }

  /** It never came to stand. */
  fail(error: NetworkError): void {
    if (this.#peer === undefined && !this.#closed) this.#close(error);
  }

  giveUpConnecting(): void {
    this.fail(new NetworkError('ETIMEDOUT', `${this.remote} does not answer`));
  }

  /** Both ends learn that the connection is broken. */
  break(): void {
    const peer = this.#peer;
    this.#reset('the connection was broken');
    if (peer !== undefined) peer.#reset('the connection was broken');
  }

  /** Its process was killed: the machine closes it. */
  abandon(): void {
    if (this.#closed) return;
    this.#hangUp();
    this.#closed = true;
    this.#network.forget(this);
  }

  /** Its machine forgets it, and tells its process alone. */
  lose(): void {
    this.#vanished = true;
    this.#reset('the connection was lost');
  }

  /** Its machine lost power. */
  vanish(): void {
    this.#closed = true;
    this.#vanished = true;
    this.#network.forget(this);
  }

  /** FIN, or a reset if there is something unread: as the system does for a socket that is closed. */
  #hangUp(): void {
    this.#queue = [];
    this.#queued = 0;
    this.#ended = true;
    if (this.#peer === undefined) return;
    if (this.#inbox.length > 0) this.#sendReset();
    else this.#sendFin();
  }

  #send(packet: (peer: SimSocket) => void, bytes = 0): void {
    const peer = this.#peer;
    if (peer !== undefined) this.outgoing.send(() => packet(peer), bytes);
  }

  #sendFin(): void {
    if (this.#finSent) return;
    this.#finSent = true;
    this.#send((peer) => peer.#fin());
  }

  #sendReset(): void {
    this.#send((peer) => peer.#reset('the other end has closed the connection'));
  }

  /** Hands over to the network what the window lets through. */
  #transmit(): void {
    if (this.#peer === undefined) return;
    const { windowBytes, splitChance, resetChance } = this.#network.conditionsOf(this.host, this.peerHost);
    const { random } = this.#network.world;
    while (this.#queued > 0 && this.#unread < windowBytes) {
      let length = Math.min(this.#queued, windowBytes - this.#unread, MAX_CHUNK_BYTES);
      if (length > 1 && random.chance(splitChance)) length = random.integer(1, length - 1);
      const bytes = takeFrom(this.#queue, length);
      this.#queued -= length;
      this.#unread += length;
      this.#send((peer) => peer.#arrive(bytes), length);
      if (random.chance(resetChance)) {
        this.#network.world.schedule(0, undefined, 'break', () => this.break());
      }
    }
    if (this.#queued > 0 && !this.#probing) {
      // The window is shut: the other end says what it has read without saying so.
      this.#probing = true;
      this.#send((peer) => peer.#probed());
    }
    if (this.#ended && this.#queued === 0) {
      this.#sendFin();
      this.#closeIfDone();
    }
  }

  #arrive(bytes: Uint8Array): void {
    if (this.#closed) {
      this.#sendReset();
      return;
    }
    this.#inbox.push(bytes);
    this.#read(true);
  }

  #fin(): void {
    if (this.#closed) {
      // A machine that was without power does not know the connection.
      if (this.#vanished) this.#sendReset();
      return;
    }
    this.#finArrived = true;
    this.#read();
  }

  #reset(why: string): void {
    if (this.#closed) return;
    this.#inbox = [];
    this.#close(new NetworkError('ECONNRESET', why));
  }

  #acknowledged(bytes: number): void {
    this.#unread -= bytes;
    this.#probing = false;
    if (this.#closed) return;
    this.#transmit();
    this.#owedDrain();
  }

  #owedDrain(): void {
    if (!this.#waiting || this.#queued > 0) return;
    this.#waiting = false;
    this.#later(0, 'drain', () => this.#closed || this.#handlers?.drain());
  }

  /** Wakes the process up to read, unless it has been, or does not want to; at once when a packet wakes it. */
  #read(byPacket = false): void {
    if (this.#reading || this.#paused || this.#closed || this.#handlers === undefined) return;
    if (this.#inbox.length === 0 && (!this.#finArrived || this.#finSeen)) return;
    const { random } = this.#network.world;
    const late = random.chance(this.#network.conditionsOf(this.peerHost, this.host).joinChance);
    if (byPacket && !late && this.host.state === 'running' && this.host.life === this.#life) {
      this.#deliver();
      return;
    }
    this.#reading = true;
    this.#later(late ? random.between(0, LATE_MS) : 0, 'read', () => {
      this.#reading = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    if (this.#closed || this.#paused) return;
    if (this.#inbox.length > 0) {
      const bytes = this.#takeChunk();
      this.#network.world.note(`read ${this.host.name}`, bytes);
      this.#acknowledge(bytes.length);
      this.#read();
      this.#handlers?.data(bytes);
    } else if (this.#finArrived && !this.#finSeen) {
      this.#finSeen = true;
      this.#handlers?.end();
      this.#closeIfDone();
    }
  }

  /** Opens the other end's window again: not for each chunk, unless the other end waits for it. */
  #acknowledge(bytes: number): void {
    this.#unacknowledged += bytes;
    const { windowBytes } = this.#network.conditionsOf(this.peerHost, this.host);
    if (this.#probedSince || this.#unacknowledged * 4 >= windowBytes) this.#sendAcknowledgement();
  }

  #sendAcknowledgement(): void {
    const opened = this.#unacknowledged;
    this.#unacknowledged = 0;
    this.#probedSince = false;
    this.#send((peer) => peer.#acknowledged(opened));
  }

  #probed(): void {
    if (this.#closed) return;
    if (this.#unacknowledged > 0) this.#sendAcknowledgement();
    else this.#probedSince = true;
  }

  #takeChunk(): Uint8Array {
    const { random } = this.#network.world;
    const available = this.#inbox.reduce((sum, bytes) => sum + bytes.length, 0);
    let length = Math.min(available, MAX_CHUNK_BYTES);
    const { splitChance } = this.#network.conditionsOf(this.peerHost, this.host);
    if (length > 1 && random.chance(splitChance)) length = random.integer(1, length - 1);
    return takeFrom(this.#inbox, length);
  }

  /** Both directions have ended in good order. */
  #closeIfDone(): void {
    if (this.#finSent && this.#finSeen && !this.#closed) this.#close(undefined);
  }

  #close(error: Error | undefined): void {
    this.#closed = true;
    this.#queue = [];
    this.#queued = 0;
    this.#network.forget(this);
    this.#later(0, 'close', () => this.#handlers?.close(error));
  }

  /** An event of the process that the socket belongs to; none if that one is gone. */
  #later(ms: number, what: string, callback: () => void): void {
    if (this.host.life === this.#life) this.#network.world.schedule(ms, this.host, what, callback);
  }
}

/** Takes the first `length` bytes out of `pieces`, copied: the sender may use its own again, and the receiver's are its to keep. */
function takeFrom(pieces: Uint8Array[], length: number): Uint8Array {
  // Not `slice`: of a Buffer that is a view.
  if (pieces[0]!.length === length) return new Uint8Array(pieces.shift()!);
  const taken = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const piece = pieces[0]!;
    const part = piece.subarray(0, length - at);
    taken.set(part, at);
    at += part.length;
    if (part.length === piece.length) pieces.shift();
    else pieces[0] = piece.subarray(part.length);
  }
  return taken;
}
