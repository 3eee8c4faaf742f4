/**
 * The load generator: a process of its own, so that its cost is seen and does not fall on what it measures.
 *
 * Closed loop: each connection writes `pipeline` requests at once, waits for as many replies, and starts over. It is lean
 * because it shares the machine with the nodes: requests are made before the clock starts, all connections read into one
 * buffer, replies are counted by their newlines, and no string is made but for errors. Latency is from the write of a
 * round to the chunk that brought the reply.
 */
import { connect, type Socket } from 'node:net';
import { Histogram, Sequence } from './statistics.js';

export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface LoadOptions {
  readonly targets: readonly Target[];
  /** Connections, spread over the targets in turn. */
  readonly clients: number;
  /** Requests under way on each connection. */
  readonly pipeline: number;
  /** Share of GETs, 0 … 1; the rest are SETs. */
  readonly readRatio: number;
  readonly seconds: number;
  readonly valueSize: number;
  readonly keys: number;
  /** Seconds of the same load before the clock starts. */
  readonly warmupSeconds: number;
  /** SET every key first, so that reads find something. */
  readonly preload: boolean;
}

export interface LoadResult {
  /** Good replies within the measured time. */
  readonly operations: number;
  readonly seconds: number;
  /** Replies that were ERR or UNKNOWN, or that a broken connection swallowed, at any time. */
  readonly errors: number;
  /** Up to three different ones. */
  readonly firstErrors: readonly string[];
  readonly micros: {
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
    readonly mean: number;
  };
  /** CPU time of this process during the measured time, as a share of one core. */
  readonly cpu: number;
  /** All requests that were answered, warm-up and preload included. */
  readonly sent: { readonly sets: number; readonly gets: number };
}

const NEWLINE = 10;
const READ_BUFFER_BYTES = 256 * 1024;
const REQUEST_BYTES = 32 * 1024 * 1024;
const MAX_ROUNDS = 16_384;
const PRELOAD_PIPELINE = 64;

/** A request buffer of one round, and how many of its commands are GETs. */
interface Round {
  readonly bytes: Buffer;
  readonly count: number;
  readonly gets: number;
}

class Load {
  readonly histogram = new Histogram();
  readonly firstErrors = new Set<string>();
  operations = 0;
  errors = 0;
  sets = 0;
  gets = 0;
  measuring = false;

  reply(count: number, micros: number): void {
    if (!this.measuring) return;
    this.operations += count;
    this.histogram.add(micros, count);
  }

  error(text: string): void {
    this.errors++;
    if (this.firstErrors.size < 3) this.firstErrors.add(text.slice(0, 200));
  }
}

/** One connection. `next` gives the next round, or undefined to stop after the present one. */
class Connection {
  readonly #load: Load;
  #socket: Socket | undefined;
  #next: () => Round | undefined = () => undefined;
  #done: () => void = () => {};
  #round: Round | undefined;
  #missing = 0;
  #bad = 0;
  #sentAt = 0;
  #atLineStart = true;
  #closed = false;

  constructor(load: Load) {
    this.#load = load;
  }

  open(target: Target, buffer: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({
        ...target,
        noDelay: true,
        onread: {
          buffer,
          callback: (length) => {
            this.#receive(buffer, length);
            return true;
          },
        },
      });
      this.#socket = socket;
      socket.once('connect', resolve);
      socket.on('error', (error) => {
        reject(new Error(`${target.host}:${target.port}: ${error.message}`));
      });
      socket.on('close', () => this.#lost());
    });
  }

  /** Sends rounds until `next` gives none; resolves when all replies are in, or the connection is gone. */
  run(next: () => Round | undefined): Promise<void> {
    this.#next = next;
    return new Promise((resolve) => {
      this.#done = resolve;
      if (this.#closed) resolve();
      else this.#send();
    });
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }

  #send(): void {
    const round = this.#next();
    this.#round = round;
    if (!round) {
      this.#done();
      return;
    }
    this.#missing = round.count;
    this.#sentAt = performance.now();
    this.#socket!.write(round.bytes);
  }

  #receive(buffer: Buffer, length: number): void {
    let lines = 0;
    let bad = 0;
    let atLineStart = this.#atLineStart;
    for (let i = 0; i < length; i++) {
      const byte = buffer[i]!;
      if (atLineStart) {
        // E of ERR, U of UNKNOWN: no other reply begins so.
        if (byte === 69 || byte === 85) {
          bad++;
          this.#load.error(lineAt(buffer, i, length));
        }
        atLineStart = false;
      }
      if (byte === NEWLINE) {
        lines++;
        atLineStart = true;
      }
    }
    this.#atLineStart = atLineStart;
    this.#bad += bad;
    if (lines > 0) this.#replies(lines);
  }

  #replies(lines: number): void {
    const good = Math.max(0, lines - this.#bad);
    this.#bad = Math.max(0, this.#bad - lines);
    this.#load.reply(good, (performance.now() - this.#sentAt) * 1000);
    this.#missing -= lines;
    if (this.#missing > 0) return;
    const round = this.#round!;
    this.#load.gets += round.gets;
    this.#load.sets += round.count - round.gets;
    this.#send();
  }

  #lost(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#round) {
      for (let i = 0; i < this.#missing; i++) this.#load.error('the connection ended before the reply');
    }
    this.#done();
  }
}

function lineAt(buffer: Buffer, start: number, length: number): string {
  const end = buffer.indexOf(NEWLINE, start);
  return buffer.toString('latin1', start, end < 0 || end > length ? length : end);
}

/** Rounds in random order over all keys; every connection goes round the same list from a place of its own. */
function makeRounds(options: LoadOptions): Round[] {
  const { pipeline, valueSize, keys, readRatio } = options;
  const each = requestOf(0, 'x'.repeat(valueSize)).length;
  const count = Math.max(64, Math.min(MAX_ROUNDS, Math.floor(REQUEST_BYTES / (each * pipeline))));
  const sequence = new Sequence(11);
  const values = valueTexts(valueSize);
  return Array.from({ length: count }, () => {
    let gets = 0;
    let text = '';
    for (let i = 0; i < pipeline; i++) {
      const key = sequence.below(keys);
      const isGet = sequence.below(1_000_000) < readRatio * 1_000_000;
      if (isGet) gets++;
      text += requestOf(key, isGet ? undefined : values[sequence.below(values.length)]);
    }
    return { bytes: Buffer.from(text, 'latin1'), count: pipeline, gets };
  });
}

function requestOf(key: number, value: string | undefined): string {
  const name = `bench:${String(key).padStart(8, '0')}`;
  return value === undefined ? `GET ${name}\n` : `SET ${name} ${value}\n`;
}

function valueTexts(size: number): string[] {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  const sequence = new Sequence(12);
  const letter = () => alphabet[sequence.below(alphabet.length)]!;
  return Array.from({ length: 64 }, () => Array.from({ length: size }, letter).join(''));
}

async function preload(connection: Connection, options: LoadOptions): Promise<void> {
  const values = valueTexts(options.valueSize);
  let key = 0;
  await connection.run(() => {
    if (key >= options.keys) return undefined;
    let text = '';
    let count = 0;
    for (; count < PRELOAD_PIPELINE && key < options.keys; count++, key++) {
      text += requestOf(key, values[key % values.length]);
    }
    return { bytes: Buffer.from(text, 'latin1'), count, gets: 0 };
  });
}

/** Runs the load and resolves with what was measured. Rejects when a connection cannot be opened. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const load = new Load();
  const buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
  const connections = Array.from({ length: options.clients }, () => new Connection(load));
  await Promise.all(connections.map((c, i) => c.open(options.targets[i % options.targets.length]!, buffer)));
  if (options.preload) await preload(connections[0]!, options);
  const rounds = makeRounds(options);
  let stopping = false;
  const running = connections.map((connection, i) => {
    let at = Math.floor((i * rounds.length) / connections.length);
    return connection.run(() => (stopping ? undefined : rounds[at++ % rounds.length]));
  });
  await pass(options.warmupSeconds);
  const [cpu, started] = [process.cpuUsage(), performance.now()];
  load.measuring = true;
  await pass(options.seconds);
  load.measuring = false;
  const seconds = (performance.now() - started) / 1000;
  const used = process.cpuUsage(cpu);
  stopping = true;
  await Promise.all(running);
  for (const connection of connections) connection.close();
  return result(load, seconds, (used.user + used.system) / 1e6 / seconds);
}

function pass(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

function result(load: Load, seconds: number, cpu: number): LoadResult {
  const { histogram } = load;
  return {
    operations: load.operations,
    seconds,
    errors: load.errors,
    firstErrors: [...load.firstErrors],
    micros: {
      p50: histogram.quantile(0.5),
      p90: histogram.quantile(0.9),
      p99: histogram.quantile(0.99),
      p999: histogram.quantile(0.999),
      max: histogram.max,
      mean: histogram.mean,
    },
    cpu,
    sent: { sets: load.sets, gets: load.gets },
  };
}
