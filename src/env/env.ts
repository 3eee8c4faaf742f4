/**
 * The world behind interfaces: clock, timers, randomness, network, disk.
 *
 * Raft, log, store, protocol, transport and node reach the outside only through an `Env`, so that the same code runs on
 * real sockets and files (`src/env/real-*.ts`) and on simulated ones (`src/sim/`), where one seed decides everything.
 *
 * Invariants: callbacks are never called from inside the call that registers them; a cancelled timer never fires; a
 * closed socket or file calls nothing back.
 */

/** A timer's handle. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds of a monotonic clock; the origin is arbitrary. */
  monotonic(): number;
  /** Milliseconds since the Unix epoch by the wall clock: may jump, and decides nothing. */
  wall(): number;
}

export interface Timers {
  /** Calls `callback` once, `ms` or more milliseconds from now. */
  after(ms: number, callback: () => void): Timer;
  /** Calls `callback` every `ms`; a stall of the loop is one call, not many (no catching up). */
  every(ms: number, callback: () => void): Timer;
  /** Calls `callback` after the input that is ready now has been delivered (setImmediate): the end of a turn. */
  defer(callback: () => void): void;
}

export interface Random {
  /** A number in [0, 1). */
  float(): number;
  /** `length` random bytes. */
  bytes(length: number): Uint8Array;
}

/** One end of a byte stream. Handlers are set right after the socket is handed out; whoever it is handed on to sets its own, which replace them. */
export interface Socket {
  /** `host:port` of the other end, for messages only. */
  readonly remote: string;
  /** Bytes given to `write` and not yet taken by the system. */
  readonly queued: number;
  /** Queues bytes. They must not be changed before `queued` is zero again: by then the system has taken a copy of all. */
  write(bytes: Uint8Array): void;
  /** Queues a string of bytes (each char code is one byte): cheap for short replies. */
  writeLatin1(text: string): void;
  /** Stops and starts delivery of data (TCP back-pressure). */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then FIN. */
  end(): void;
  /** Drops the connection at once. */
  destroy(): void;
  on(handlers: SocketHandlers): void;
}

export interface SocketHandlers {
  /** The bytes are the receiver's to keep. */
  data(bytes: Uint8Array): void;
  /** The other end has sent FIN; writing is still possible. */
  end(): void;
  /** `queued` fell to zero after a `write` that found it above zero. */
  drain(): void;
  /** Gone, for whatever reason; called exactly once, last. */
  close(error?: Error): void;
}

export interface Listener {
  readonly port: number;
  /** Stops listening; open sockets live on. */
  close(): void;
}

/** Thrown (as a rejection) by `listen`; `code` is `taken` for a port in use, else `other`. */
export class ListenError extends Error {
  readonly code: 'taken' | 'other';
  constructor(code: 'taken' | 'other', message: string) {
    super(message);
    this.code = code;
  }
}

export interface Network {
  /** Port 0 chooses a free one. Half-open: a FIN from the client does not close the socket by itself. TCP_NODELAY. */
  listen(host: string, port: number, accept: (socket: Socket) => void): Promise<Listener>;
  /** The socket connects in the background: `connected` is called once, or `close` is. */
  dial(host: string, port: number, connected: () => void): Socket;
}

/** An open file. One writer at a time per file: a second `write` before the first one's callback is a bug of the caller. */
export interface DiskFile {
  readonly path: string;
  /** Asynchronous positioned write of all of `bytes` (short writes are continued). With `dsync` the callback means durable. */
  write(bytes: Uint8Array, position: number, done: (error?: DiskError) => void): void;
  /** The same, synchronous. */
  writeSync(bytes: Uint8Array, position: number): void;
  /** Reads up to `bytes.length` at `position`; the number read, fewer only at the end of the file. */
  readSync(bytes: Uint8Array, position: number): number;
  /** fdatasync, synchronous. */
  syncSync(): void;
  /** Size in bytes. */
  size(): number;
  close(): void;
}

export interface OpenOptions {
  /** Create it; an existing one is an error with `exclusive`. */
  create?: boolean;
  exclusive?: boolean;
  /** O_DSYNC: every write is durable when it completes. */
  dsync?: boolean;
}

/** `code`: `missing` (no such file), `exists`, `full` (ENOSPC, EDQUOT), `io` (all else). Its message names the path. */
export class DiskError extends Error {
  readonly code: 'missing' | 'exists' | 'full' | 'io';
  constructor(code: 'missing' | 'exists' | 'full' | 'io', message: string) {
    super(message);
    this.code = code;
  }
}

/** Files of one machine. All paths are absolute or relative to the process; all calls but `DiskFile.write` and `remove` are synchronous. Every error is a `DiskError`. */
export interface Disk {
  /** Makes the folder and its parents, durably (each parent is fsynced). */
  mkdir(path: string): void;
  /** Names in the folder, sorted. */
  list(path: string): string[];
  exists(path: string): boolean;
  open(path: string, options?: OpenOptions): DiskFile;
  rename(from: string, to: string): void;
  unlink(path: string): void;
  /** The same, asynchronous: to free a large file takes the system its time. */
  remove(path: string, done: (error?: DiskError) => void): void;
  /** Removes an empty folder. */
  rmdir(path: string): void;
  /** Bytes that are free for files in this folder. */
  free(path: string): number;
  /** fsync of the folder: creations, renames and removals in it are durable. */
  syncDir(path: string): void;
  /** An exclusive lock on the folder, held until `release` or the end of the process however it ends; undefined when another process holds it. */
  lock(path: string): Promise<{ release(): void } | undefined>;
}

export interface Env {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly network: Network;
  readonly disk: Disk;
}
