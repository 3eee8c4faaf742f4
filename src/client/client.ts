/**
 * A client of the line protocol: promises over one connection.
 *
 * Concept: any number of requests may be under way; they leave in the order of the calls and are answered in that order.
 * Keys and values are bytes on the wire; where a string is given it stands for its UTF-8, and values come back as
 * Buffers.
 *
 * Invariants: a request is sent at most once. A request that is rejected with a ServerError whose `definite` is true had
 * no effect; with `definite` false, or with a ConnectionLost, its effect is unknown, and it is for the caller to find out.
 *
 * Caveats: no reconnecting and no retry. A transaction belongs to the connection: begin … commit of two callers must not
 * share one client.
 */
import { type Address, parseAddress } from './address.js';
import { Connection } from './connection.js';
import { encodeLine, parseReply, type Reply, type Word } from './words.js';

export { type Address, AddressError, defaultAddress, formatAddress, parseAddress } from './address.js';
export { type Reply, ServerError, type Word } from './words.js';

/** The connection ended before the reply came: what became of the request is unknown. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

interface Waiting {
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

export class Client {
  readonly address: Address;
  readonly #connection: Connection;
  readonly #waiting: Waiting[] = [];
  #lost: ConnectionLost | undefined;

  /** Connects to `host:port`; rejects with an Error that says why not. */
  static async connect(address: string | Address, timeoutMs = 5_000): Promise<Client> {
    const parsed = typeof address === 'string' ? parseAddress(address) : address;
    return new Client(await Connection.open(parsed, timeoutMs));
  }

  private constructor(connection: Connection) {
    this.address = connection.address;
    this.#connection = connection;
    connection.on({
      reply: (line) => this.#waiting.shift()?.resolve(line.toString()),
      closed: (reason) => this.#fail(reason),
    });
  }

  /** Sends a line as it stands (without its newline) and resolves with the line of reply, whatever it is. One line: TypeError for more. */
  async line(text: string): Promise<string> {
    if (typeof text !== 'string' || text.includes('\n'))
      throw new TypeError('line takes a string without a newline; send several lines one by one');
    return await this.#send(Buffer.from(`${text}\n`));
  }

  /** Sends a command and resolves with its result. Rejects with ServerError or ConnectionLost. */
  async command(...words: Word[]): Promise<Reply> {
    return parseReply(await this.#send(encodeLine(words)));
  }

  /** False when the condition (`NX`: absent, `XX`: exists) did not hold. */
  async set(key: Word, value: Word, condition?: 'NX' | 'XX'): Promise<boolean> {
    return (await this.command('SET', key, value, ...(condition ? [condition] : []))).kind !== 'nil';
  }

  /** Undefined when there is no such key. */
  async get(key: Word): Promise<Buffer | undefined> {
    const reply = await this.command('GET', key);
    return reply.kind === 'nil' ? undefined : expect(reply, 'value').value;
  }

  /** How many of the keys there were. */
  async del(...keys: Word[]): Promise<number> {
    return Number(expect(await this.command('DEL', ...keys), 'integer').integer);
  }

  async exists(...keys: Word[]): Promise<number> {
    return Number(expect(await this.command('EXISTS', ...keys), 'integer').integer);
  }

  /** The values at one moment, null for no such key. */
  async mget(...keys: Word[]): Promise<readonly (Buffer | null)[]> {
    return expect(await this.command('MGET', ...keys), 'list').list;
  }

  /** The new value, a 64-bit integer. */
  async incr(key: Word, by: bigint | number = 1): Promise<bigint> {
    return expect(await this.command('INCR', key, String(by)), 'integer').integer;
  }

  /** Sets `key` if it exists and has the value `expected`; whether it did. */
  async cas(key: Word, expected: Word, value: Word): Promise<boolean> {
    return (await this.command('CAS', key, expected, value)).kind !== 'nil';
  }

  /** Keys with the prefix, sorted by byte; at most `limit`, 1,000 by default. */
  async keys(prefix: Word = '', limit = 1_000): Promise<readonly Buffer[]> {
    const { list } = expect(await this.command('KEYS', prefix, 'LIMIT', String(limit)), 'list');
    return list.filter((key) => key !== null);
  }

  async count(): Promise<number> {
    return Number(expect(await this.command('COUNT'), 'integer').integer);
  }

  async begin(): Promise<void> {
    await this.command('BEGIN');
  }

  /** Rejects with a ServerError of code `conflict` when a key that the transaction depended on has changed. */
  async commit(): Promise<void> {
    await this.command('COMMIT');
  }

  async rollback(): Promise<void> {
    await this.command('ROLLBACK');
  }

  /**
   * Registers a session, or goes on on this connection with the one of that number, which may have been registered on any other;
   * its number. Rejects with a ServerError of code `session` when there is none of that number (any more).
   */
  async session(number?: number): Promise<number> {
    if (number === undefined) return Number(expect(await this.command('SESSION'), 'integer').integer);
    await this.command('SESSION', String(number));
    return number;
  }

  /**
   * Sends a write or COMMIT with a sequence of the connection's session: however often it is sent, on whichever connection, it
   * happens once, and has its first result. After ConnectionLost or an indefinite ServerError, send it again under the same
   * number. `lowest`: the lowest sequence that is still unanswered, if that is not this one.
   */
  async once(sequence: number, words: readonly Word[], lowest = sequence): Promise<Reply> {
    return await this.command('SEQ', String(sequence), 'FROM', String(lowest), ...words);
  }

  /** What STATUS and MEMBERS answer, parsed. */
  async status(): Promise<unknown> {
    return expect(await this.command('STATUS'), 'json').json;
  }

  async members(): Promise<unknown> {
    return expect(await this.command('MEMBERS'), 'json').json;
  }

  /** Drops the connection; requests under way are rejected with ConnectionLost. */
  close(): void {
    this.#connection.close();
    this.#fail('the client was closed');
  }

  #send(line: Buffer): Promise<string> {
    if (this.#lost) return Promise.reject(this.#lost);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#connection.send(line);
    });
  }

  #fail(reason: string): void {
    this.#lost ??= new ConnectionLost(reason);
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#lost);
  }
}

/** A reply of another form than the command's is a server that is not this protocol's. */
function expect<K extends Reply['kind']>(reply: Reply, kind: K): Extract<Reply, { kind: K }> {
  if (reply.kind !== kind) throw new Error(`expected a reply of kind ${kind}, not ${reply.kind}`);
  return reply as Extract<Reply, { kind: K }>;
}
