/**
 * A server that looks like a node to the CLI: a map behind the line protocol, with the faults that a test wants. Several
 * share one map, as the members of a cluster do.
 */
import { createServer, type Server, type Socket } from 'node:net';

export interface FakeState {
  readonly map: Map<string, string>;
}

export class FakeNode {
  port = 0;
  /** Lines that came, without the greeting. */
  readonly received: string[] = [];
  /** Asked for each line: a reply instead of its own, `silent` for none at all, `die` for a kill before the answer. */
  script: (line: string) => string | 'silent' | 'die' | undefined = () => undefined;
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
    const own = { transaction: undefined as Map<string, string> | undefined };
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
        if (scripted === 'die') {
          // What was answered before it died has left.
          silent = true;
          socket.end(() => this.kill());
        } else if (scripted === 'silent') silent = true;
        else socket.write(`${scripted ?? this.#carryOut(line, own)}\n`, 'latin1');
        if (line.toUpperCase() === 'QUIT') socket.end();
      }
    });
  }

  #carryOut(line: string, own: { transaction: Map<string, string> | undefined }): string {
    const [name = '', key = '', value = ''] = line.split(' ');
    const { map } = this.#state;
    switch (name.toUpperCase()) {
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
