/**
 * A server that looks like a node to the CLI: a map behind the line protocol, with the faults that a test wants. Several
 * share one map, as the members of a cluster do.
 */
import { createServer, type Server, type Socket } from 'node:net';

export interface FakeState {
  readonly map: Map<string, string>;
  /** The answers of each session, by sequence; without it the nodes know no sessions. */
  readonly sessions?: Map<string, Map<string, string>>;
}

/** What a connection has. */
interface Own {
  transaction: Map<string, string> | undefined;
  answers: Map<string, string> | undefined;
}

export class FakeNode {
  port = 0;
  /** Lines that came, without the greeting. */
  readonly received: string[] = [];
  /** Asked for each line: a reply instead of its own, `silent` for none at all, `die` for a kill before it is carried out, `late` for one before it is answered. */
  script: (line: string) => string | 'silent' | 'die' | 'late' | undefined = () => undefined;
  /** What MEMBERS answers; itself unless set. */
  members: readonly FakeNode[] = [this];
  readonly #state: FakeState;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(state: FakeState = { map: new Map() }) {
    this.#state = state;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Listens, on the same port as before if there was one. */
  start(): Promise<this> {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    return new Promise((resolve, reject) => {
      this.#server!.once('error', reject);
      this.#server!.listen(this.port, '127.0.0.1', () => {
        this.port = (this.#server!.address() as { port: number }).port;
        resolve(this);
      });
    });
  }

  /** As kill -9: connections are reset, nobody listens. */
  kill(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const own: Own = { transaction: undefined, answers: undefined };
    let rest = '';
    let silent = false;
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('end', () => socket.end());
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (silent || socket.destroyed) return;
        if (line !== 'MEMBERS') this.received.push(line);
        const scripted = this.script(line);
        if (scripted === 'late') this.#carryOut(line, own);
        if (scripted === 'die' || scripted === 'late') {
          // What was answered before it died has left.
          silent = true;
          socket.end(() => this.kill());
        } else if (scripted === 'silent') silent = true;
        else socket.write(`${scripted ?? this.#carryOut(line, own)}\n`, 'latin1');
        if (line.toUpperCase() === 'QUIT') socket.end();
      }
    });
  }

  #sequenced(line: string, own: Own): string {
    const [, sequence = '', command = ''] = /^SEQ (\d+) FROM \d+ (.*)$/.exec(line)!;
    if (own.answers === undefined) return 'ERR session SEQ needs a session';
    const fenced = command.toUpperCase() === 'COMMIT' && own.transaction === undefined;
    const reply =
      own.answers.get(sequence) ?? (fenced ? 'ERR aborted the transaction was gone' : this.#carryOut(command, own));
    own.answers.set(sequence, reply);
    return reply;
  }

  #session(number: string, own: Own): string {
    const sessions = this.#state.sessions!;
    if (own.transaction) return 'ERR in-transaction SESSION';
    own.answers = undefined;
    if (number === '') {
      const fresh = String(100 + sessions.size);
      sessions.set(fresh, new Map());
      own.answers = sessions.get(fresh);
      return `(integer) ${fresh}`;
    }
    own.answers = sessions.get(number);
    return own.answers ? 'OK' : `ERR session number ${number} is unknown or has expired`;
  }

  #carryOut(line: string, own: Own): string {
    const [name = '', key = '', value = ''] = line.split(' ');
    const { map, sessions } = this.#state;
    if (sessions && name === 'SEQ') return this.#sequenced(line, own);
    if (sessions && name === 'SESSION') return this.#session(key, own);
    switch (name.toUpperCase()) {
      case 'INCR': {
        const sum = String(Number(map.get(key) ?? 0) + 1);
        map.set(key, sum);
        return `(integer) ${sum}`;
      }
      case '':
        return 'ERR syntax empty line';
      case 'PING':
        return 'PONG';
      case 'QUIT':
        return 'OK';
      case 'MEMBERS':
        return JSON.stringify(this.members.map((m, i) => ({ id: i + 1, address: m.address, voter: true })));
      case 'SET':
        (own.transaction ?? map).set(key, value);
        return 'OK';
      case 'GET': {
        const found = own.transaction?.get(key) ?? map.get(key);
        return found === undefined ? '(nil)' : JSON.stringify(found);
      }
      case 'BEGIN':
        if (own.transaction) return 'ERR in-transaction';
        own.transaction = new Map();
        return 'OK';
      case 'COMMIT':
      case 'ROLLBACK': {
        if (!own.transaction) return `ERR no-transaction ${name} without BEGIN`;
        if (name === 'COMMIT') for (const [k, v] of own.transaction) map.set(k, v);
        own.transaction = undefined;
        return 'OK';
      }
      default:
        return 'ERR syntax unknown command';
    }
  }
}
