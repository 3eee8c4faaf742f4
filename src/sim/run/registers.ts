/** Reads and writes of single keys by many clients: judged for linearizability. */
import { type Answer, type Call, checkLinearizable, type Operation } from '../check/linearizability.js';
import { Violation } from '../check/violation.js';
import type { SimClient } from '../client.js';
import { tally, type Works, work } from './worker.js';

const keysAtOnce = 4;
/** A key is used so often; then another takes its place, so that no history grows beyond what can be judged. */
const usesOfKey = 150;

export class Registers {
  readonly history: Operation[] = [];
  readonly #works: Works;
  readonly #slots = Array.from({ length: keysAtOnce }, () => ({ generation: 0, uses: 0 }));
  #values = 0;

  constructor(works: Works) {
    this.#works = works;
  }

  start(clients: number): void {
    for (let id = 0; id < clients; id++) work(this.#works, (client, done) => this.#burst(id, client, done));
  }

  /** One to four operations at once. */
  #burst(id: number, client: SimClient, done: () => void): void {
    let open = this.#works.random.integer(1, 4);
    const one = (): void => {
      if (--open === 0) done();
    };
    for (let n = open; n > 0; n--) {
      this.#operation(id, client, one);
      if (this.#works.random.chance(0.1)) this.#constant(client);
    }
  }

  /** What a node answers without looking anything up has its place among the replies all the same. */
  #constant(client: SimClient): void {
    const [line, wanted] = this.#works.random.chance(0.5) ? ['PING', 'PONG'] : ['GET', 'ERR syntax'];
    client.send(line!, (reply) => {
      if (reply !== undefined && !reply.startsWith(wanted!))
        throw new Violation('replies', `${line} was answered ${reply}`);
    });
  }

  #key(): string {
    const { random } = this.#works;
    const number = random.integer(0, keysAtOnce - 1);
    const slot = this.#slots[number]!;
    if (++slot.uses > usesOfKey) {
      slot.uses = 0;
      slot.generation++;
    }
    return `register-${number}-${slot.generation}`;
  }

  #operation(id: number, client: SimClient, done: () => void): void {
    const key = this.#key();
    const call = this.#call();
    const invoked = this.#works.stage.world.now;
    const record = (reply: string | undefined, outcome: 'acknowledged' | 'refused' | 'unknown'): void => {
      if (outcome === 'unknown') {
        if (call.kind !== 'get')
          this.history.push({ client: id, key, call, invoked, returned: undefined, answer: null });
      } else if (outcome === 'acknowledged') {
        const returned = this.#works.stage.world.now;
        this.history.push({ client: id, key, call, invoked, returned, answer: answerOf(call, reply!) });
      }
      done();
    };
    if (this.#works.random.chance(0.15)) this.#inTransaction(lineOf(key, call), record);
    else client.send(lineOf(key, call), (reply) => record(reply, this.#outcome(reply)));
  }

  /** An INCR over text is refused, and yet tells something. */
  #outcome(reply: string | undefined): 'acknowledged' | 'refused' | 'unknown' {
    return reply?.startsWith('ERR not-an-integer') ? 'acknowledged' : tally(this.#works.counts, reply);
  }

  /** The command alone in a transaction, on a connection of its own: it happens with its COMMIT, and must be the same as without. */
  #inTransaction(
    line: string,
    record: (reply: string | undefined, outcome: 'acknowledged' | 'refused' | 'unknown') => void,
  ): void {
    const { stage, random, counts } = this.#works;
    const client = stage.cluster.client(stage.nodes[random.integer(0, stage.nodes.length - 1)]!);
    client.send('BEGIN', (began) => {
      if (began !== 'OK') {
        client.close();
        tally(counts, began);
        record(began, 'refused');
        return;
      }
      stage.cluster.clients.timers.after(random.between(0, 200), () => {
        let answer: string | undefined;
        client.send(line, (reply) => {
          answer = reply;
        });
        client.send('COMMIT', (reply) => {
          client.close();
          if (reply === 'OK') record(answer, this.#outcome(answer));
          else record(answer, reply?.startsWith('ERR conflict') ? 'refused' : tally(counts, reply));
        });
      });
    });
  }

  #call(): Call {
    const { random } = this.#works;
    const value = String(++this.#values);
    const r = random.float();
    if (r < 0.4) return { kind: 'get' };
    if (r < 0.55) return { kind: 'set', value };
    if (r < 0.7) return { kind: 'incr', by: 1 };
    if (r < 0.83) return { kind: 'del' };
    if (r < 0.92) return { kind: 'setnx', value };
    return { kind: 'cas', expected: String(Math.max(1, this.#values - random.integer(0, 12))), value };
  }

  get keys(): string[] {
    return this.#slots.flatMap(({ generation }, number) =>
      Array.from({ length: generation + 1 }, (_, each) => `register-${number}-${each}`),
    );
  }

  /** A read after all is over belongs to the history too. */
  final(key: string, value: string | null, now: number): void {
    this.history.push({ client: -1, key, call: { kind: 'get' }, invoked: now, returned: now, answer: value });
  }

  judge(): void {
    const verdict = checkLinearizable(this.history);
    if (!verdict.linearizable) throw new Violation('linearizability', verdict.story);
  }
}

function lineOf(key: string, call: Call): string {
  switch (call.kind) {
    case 'get':
      return `GET ${key}`;
    case 'set':
      return `SET ${key} ${call.value}`;
    case 'setnx':
      return `SET ${key} ${call.value} NX`;
    case 'del':
      return `DEL ${key}`;
    case 'incr':
      return `INCR ${key} ${call.by}`;
    case 'cas':
      return `CAS ${key} ${call.expected} ${call.value}`;
  }
}

/** A reply as the checker's model says it. */
function answerOf(call: Call, reply: string): Answer {
  const integer = /^\(integer\) (-?\d+)$/.exec(reply);
  if (call.kind === 'get') {
    if (reply === '(nil)') return null;
    if (reply.startsWith('"')) return JSON.parse(reply) as string;
  } else if (call.kind === 'del' || call.kind === 'incr') {
    if (integer) return Number(integer[1]);
    if (call.kind === 'incr' && reply.startsWith('ERR not-an-integer ')) return 'error';
  } else {
    if (reply === 'OK') return true;
    if (reply === '(nil)' && call.kind !== 'set') return false;
  }
  throw new Violation('replies', `${call.kind} was answered ${reply}`);
}
