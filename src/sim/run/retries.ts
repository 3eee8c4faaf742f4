/**
 * Clients that send each write and COMMIT with a sequence, again and again until it is answered, on whichever node they reach.
 * Judged for exactly-once.
 */
import { RetryChecker } from '../check/retries.js';
import { Violation } from '../check/violation.js';
import type { SimClient } from '../client.js';
import { tally, type Works, work } from './worker.js';

/** Nothing was done by this sending, or nobody knows: it is sent again. */
const undecided = /^(UNKNOWN |ERR (no-leader|timeout|stopping|busy|lost|disk-full) )/;
/** How often something that was answered is asked for again. */
const againChance = 0.2;

interface Command {
  readonly kind: 'INCR' | 'COMMIT';
  readonly key: string;
  readonly sequence: number;
  answered: boolean;
}
/** So many INCRs, each of a key of its own, are under way at once at most. */
const mostAtOnce = 4;

/** What came of them. */
interface Outcomes {
  'sequences answered': number;
  'sequences sent again': number;
  'COMMITs fenced': number;
}

class Retrier {
  readonly #works: Works;
  readonly #checker: RetryChecker;
  readonly #name: string;
  readonly #outcomes: Outcomes;
  #session: string | undefined;
  /** The connection that has the session. */
  #holder: SimClient | undefined;
  #sequence = 1;
  /** Sent together, until all are answered. */
  #commands: readonly Command[] = [];

  constructor(works: Works, checker: RetryChecker, name: string, outcomes: Outcomes) {
    this.#works = works;
    this.#checker = checker;
    this.#name = name;
    this.#outcomes = outcomes;
  }

  /** One thing with a connection. */
  burst(client: SimClient, done: () => void): void {
    if (this.#holder !== client) this.#connect(client, done);
    else if (this.#commands.length > 0) this.#send(client, done);
    else this.#begin(client, done);
  }

  #connect(client: SimClient, done: () => void): void {
    client.send(this.#session === undefined ? 'SESSION' : `SESSION ${this.#session}`, (reply) => {
      const registered = /^\(integer\) (\d+)$/.exec(reply ?? '')?.[1];
      this.#session ??= registered;
      if (registered !== undefined || reply === 'OK') this.#holder = client;
      else if (reply !== undefined && !undecided.test(reply))
        throw new Violation('exactly once', `SESSION ${this.#session} was answered ${reply}`);
      done();
    });
  }

  #begin(client: SimClient, done: () => void): void {
    const { random } = this.#works;
    const kind = random.chance(0.3) ? 'COMMIT' : 'INCR';
    const count = kind === 'INCR' && random.chance(0.5) ? random.integer(2, mostAtOnce) : 1;
    const commands = Array.from({ length: count }, (_, at): Command => {
      const key = `${this.#name}-${kind.toLowerCase()}${at === 0 ? '' : `-${at}`}`;
      return { kind, key, sequence: this.#sequence + at, answered: false };
    });
    for (const { key } of commands) this.#checker.begun(key);
    if (kind === 'INCR') {
      this.#commands = commands;
      this.#send(client, done);
      return;
    }
    const command = commands[0]!;
    const inTransaction = (line: string, good: RegExp, then: () => void): void => {
      client.send(line, (reply) => {
        if (good.test(reply ?? '')) {
          then();
          return;
        }
        // With its connection the transaction goes: nothing was sent under the sequence yet.
        this.#checker.dropped(command.key);
        this.#holder = undefined;
        client.close();
        done();
      });
    };
    inTransaction('BEGIN', /^OK$/, () =>
      inTransaction(`INCR ${command.key}`, /^\(integer\) /, () => {
        this.#commands = commands;
        this.#send(client, done);
      }),
    );
  }

  /** Sends all of them, those that were answered too: they are answered the same. */
  #send(client: SimClient, done: () => void): void {
    const commands = this.#commands;
    let waiting = commands.length;
    for (const command of commands) {
      const line = command.kind === 'COMMIT' ? 'COMMIT' : `INCR ${command.key}`;
      client.send(`SEQ ${command.sequence} FROM ${this.#sequence} ${line}`, (reply) => {
        tally(this.#works.counts, reply);
        if (reply === undefined || undecided.test(reply)) this.#outcomes['sequences sent again']++;
        else {
          command.answered = true;
          if (this.#checker.answered(`${this.#name}: SEQ ${command.sequence} ${line}`, reply))
            this.#decided(command, reply);
        }
        if (--waiting > 0) return;
        if (commands.every(({ answered }) => answered) && !this.#works.random.chance(againChance)) {
          this.#sequence += commands.length;
          this.#commands = [];
        }
        done();
      });
    }
  }

  #decided({ kind, key }: Command, reply: string): void {
    this.#outcomes['sequences answered']++;
    if (kind === 'INCR') {
      const value = /^\(integer\) (\d+)$/.exec(reply)?.[1];
      if (value === undefined) throw new Violation('replies', `INCR ${key} was answered ${reply}`);
      this.#checker.decided(key, true, Number(value));
    } else if (reply === 'OK' || reply.startsWith('ERR aborted ')) {
      this.#checker.decided(key, reply === 'OK');
      if (reply !== 'OK') this.#outcomes['COMMITs fenced']++;
    } else throw new Violation('replies', `the COMMIT that counts ${key} was answered ${reply}`);
  }
}

export class Retries {
  readonly #works: Works;
  readonly #checker = new RetryChecker();
  readonly outcomes: Outcomes = { 'sequences answered': 0, 'sequences sent again': 0, 'COMMITs fenced': 0 };

  constructor(works: Works) {
    this.#works = works;
  }

  start(clients: number): void {
    for (let id = 0; id < clients; id++) {
      const retrier = new Retrier(this.#works, this.#checker, `retried-${id}`, this.outcomes);
      work(this.#works, (client, done) => retrier.burst(client, done));
    }
  }

  get keys(): string[] {
    return this.#checker.keys;
  }

  final(key: string, value: string | null): void {
    this.#checker.final(key, Number(value ?? 0));
  }
}
