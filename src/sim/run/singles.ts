/** Keys that one client alone writes: counters, and keys written once. Judged for exactly-once and durability. */
import { CounterChecker, WriteOnceChecker } from '../check/counters.js';
import { Violation } from '../check/violation.js';
import { tally, type Works, work } from './worker.js';

/** A counter is used so often; then another takes its place. */
const usesOfCounter = 60;

export class Singles {
  readonly #works: Works;
  readonly #counters = new CounterChecker();
  readonly #once = new WriteOnceChecker();
  #written = 0;

  constructor(works: Works) {
    this.#works = works;
  }

  start(clients: number): void {
    for (let id = 0; id < clients; id++) this.#client(id);
  }

  #client(id: number): void {
    const { random, counts } = this.#works;
    let uses = 0;
    work(this.#works, (client, done) => {
      const key = `counter-${id}-${Math.floor(uses++ / usesOfCounter)}`;
      let open = random.integer(1, 3);
      const one = (): void => {
        if (--open === 0) done();
      };
      for (let n = open; n > 1; n--) {
        client.send(`INCR ${key}`, (reply) => {
          const outcome = tally(counts, reply);
          const value = /^\(integer\) (\d+)$/.exec(reply ?? '')?.[1];
          if (outcome === 'unknown') this.#counters.unknown(key);
          else if (value !== undefined) this.#counters.answered(key, Number(value));
          else if (outcome === 'acknowledged') throw new Violation('replies', `INCR was answered ${reply}`);
          one();
        });
      }
      const once = `once-${++this.#written}`;
      const value = `v${this.#written}`;
      client.send(`SET ${once} ${value}`, (reply) => {
        const outcome = tally(counts, reply);
        if (outcome === 'acknowledged' && reply !== 'OK') throw new Violation('replies', `SET was answered ${reply}`);
        this.#once.written(once, value, outcome);
        one();
      });
    });
  }

  get keys(): string[] {
    return [...this.#counters.keys, ...this.#once.keys];
  }

  final(key: string, value: string | null): void {
    if (key.startsWith('counter-')) this.#counters.final(key, Number(value ?? 0));
    else this.#once.final(key, value);
  }
}
