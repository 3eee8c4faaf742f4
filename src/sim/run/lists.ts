/** Transactions that read and append to lists, and single commands on the same lists: judged for strict serializability. */
import { checkSerializable, type Step, type Transaction } from '../check/serializability.js';
import { Violation } from '../check/violation.js';
import type { SimClient } from '../client.js';
import { outcomeOf, tally, textOf, type Works, work } from './worker.js';

const keysAtOnce = 4;
/** A list grows to about so many values; then another takes its place. */
const valuesOfKey = 40;

/** A list is kept as its values between commas. */
const parse = (text: string | null): number[] => (text === null || text === '' ? [] : text.split(',').map(Number));
const format = (list: readonly number[]): string => list.join(',');

interface Under {
  readonly id: number;
  readonly client: SimClient;
  readonly steps: Step[];
  readonly invoked: number;
  began: number;
  /** Keys that it will use, the same one perhaps twice. */
  readonly keys: readonly string[];
  /** What it sees of each list, own appends among it. */
  readonly lists: Map<string, number[]>;
  readonly done: () => void;
}

export class Lists {
  readonly history: Transaction[] = [];
  readonly outcomes = { commits: 0, conflicts: 0, snapshots: 0 };
  readonly #works: Works;
  readonly #slots = Array.from({ length: keysAtOnce }, () => ({ generation: 0, values: 0 }));
  #values = 0;

  constructor(works: Works) {
    this.#works = works;
  }

  start(clients: number): void {
    for (let id = 0; id < clients; id++) {
      work(this.#works, (client, done) => {
        const dice = this.#works.random.float();
        if (dice < 0.6) this.#transaction(id, client, done);
        else if (dice < 0.8) this.#snapshot(id, client, done);
        else if (dice < 0.9) this.#read(id, client, done);
        else this.#append(id, client, done);
      });
    }
  }

  #key(): string {
    const number = this.#works.random.integer(0, keysAtOnce - 1);
    return `list-${number}-${this.#slots[number]!.generation}`;
  }

  /** A new value for a list. */
  #value(key: string): number {
    const slot = this.#slots[Number(key.split('-')[1])]!;
    if (++slot.values > valuesOfKey) {
      slot.values = 0;
      slot.generation++;
    }
    return ++this.#values;
  }

  get keys(): string[] {
    return this.#slots.flatMap(({ generation }, number) =>
      Array.from({ length: generation + 1 }, (_, each) => `list-${number}-${each}`),
    );
  }

  get #now(): number {
    return this.#works.stage.world.now;
  }

  #record(id: number, invoked: number, began: number, steps: readonly Step[], outcome: Transaction['outcome']): void {
    const returned = outcome === 'unknown' ? undefined : this.#now;
    this.history.push({ client: id, steps: [...steps], invoked, began, returned, outcome });
  }

  // Transactions of several commands

  #transaction(id: number, client: SimClient, done: () => void): void {
    const { random, stage } = this.#works;
    const keys = Array.from({ length: random.integer(1, 4) }, () => this.#key());
    const under: Under = {
      id,
      client,
      steps: [],
      invoked: this.#now,
      began: Number.POSITIVE_INFINITY,
      keys,
      lists: new Map(),
      done,
    };
    client.send('BEGIN', (reply) => {
      if (reply !== 'OK') {
        tally(this.#works.counts, reply);
        this.#leave(under);
        return;
      }
      under.began = this.#now;
      if (random.chance(stage.rude.idleInTransaction)) {
        stage.count('idle transactions');
        stage.cluster.clients.timers.after(random.between(1_000, 4_000), () => this.#step(under, 0));
      } else this.#step(under, 0);
    });
  }

  /** Looks at the list of one key, then perhaps appends to it, then goes on with the next. */
  #step(under: Under, position: number): void {
    const { random } = this.#works;
    const key = under.keys[position];
    if (key === undefined) {
      this.#commit(under);
      return;
    }
    under.client.send(`GET ${key}`, (reply) => {
      const text = textOf(reply);
      if (text === undefined) {
        this.#abandon(under, reply);
        return;
      }
      const list = parse(text);
      under.steps.push({ kind: 'read', key, list });
      if (random.chance(0.4)) {
        this.#step(under, position + 1);
        return;
      }
      const value = this.#value(key);
      under.client.send(`SET ${key} ${format([...list, value])}`, (set) => {
        if (set !== 'OK') {
          this.#abandon(under, set);
          return;
        }
        under.steps.push({ kind: 'append', key, value });
        this.#step(under, position + 1);
      });
    });
  }

  /** It was refused, or the connection is gone, before COMMIT: it did not happen, and still must have seen one state. */
  #abandon(under: Under, reply: string | undefined): void {
    if (outcomeOf(reply) === 'acknowledged') throw new Violation('replies', `in a transaction: ${reply}`);
    tally(this.#works.counts, reply);
    this.#record(under.id, under.invoked, under.began, under.steps, 'aborted');
    this.#leave(under);
  }

  #leave({ client, done }: Under): void {
    // Whatever state the connection is in, it is not used again.
    client.close();
    done();
  }

  #commit(under: Under): void {
    const { random, stage, counts } = this.#works;
    const vanishes = random.chance(stage.rude.vanishInCommit);
    under.client.send('COMMIT', (reply) => {
      if (reply?.startsWith('ERR conflict')) {
        this.outcomes.conflicts++;
        this.#record(under.id, under.invoked, under.began, under.steps, 'aborted');
        under.done();
        return;
      }
      const outcome = tally(counts, reply);
      if (outcome === 'acknowledged') this.outcomes.commits++;
      const known = outcome === 'acknowledged' ? 'committed' : outcome === 'refused' ? 'aborted' : 'unknown';
      this.#record(under.id, under.invoked, under.began, under.steps, known);
      under.done();
    });
    if (!vanishes) return;
    stage.count('client vanishes in COMMIT');
    stage.cluster.clients.timers.after(random.between(0, 5), () => under.client.close());
  }

  /** All lists at once, in a transaction that only reads. */
  #snapshot(id: number, client: SimClient, done: () => void): void {
    const keys = [...new Set(Array.from({ length: 4 }, () => this.#key()))];
    const invoked = this.#now;
    let began = Number.POSITIVE_INFINITY;
    const steps: Step[] = [];
    client.send('BEGIN', (reply) => {
      if (reply === 'OK') began = this.#now;
    });
    for (const key of keys) {
      client.send(`GET ${key}`, (reply) => {
        const text = textOf(reply);
        if (text !== undefined && began !== Number.POSITIVE_INFINITY)
          steps.push({ kind: 'read', key, list: parse(text) });
      });
    }
    client.send('COMMIT', (reply) => {
      const outcome = tally(this.#works.counts, reply);
      if (outcome === 'acknowledged' && steps.length < keys.length)
        throw new Violation('replies', `COMMIT was answered ${reply}, and not all reads before it`);
      if (steps.length > 0) {
        this.outcomes.snapshots++;
        this.#record(id, invoked, began, steps, outcome === 'acknowledged' ? 'committed' : 'aborted');
      }
      done();
    });
  }

  // Single commands

  #read(id: number, client: SimClient, done: () => void): void {
    const key = this.#key();
    const invoked = this.#now;
    client.send(`GET ${key}`, (reply) => {
      tally(this.#works.counts, reply);
      const text = textOf(reply);
      if (text !== undefined)
        this.#record(id, invoked, this.#now, [{ kind: 'read', key, list: parse(text) }], 'committed');
      done();
    });
  }

  /** CAS appends too: it takes effect only on the list that it names. */
  #append(id: number, client: SimClient, done: () => void): void {
    const key = this.#key();
    client.send(`GET ${key}`, (reply) => {
      const text = textOf(reply);
      if (text === undefined) {
        tally(this.#works.counts, reply);
        done();
        return;
      }
      const list = parse(text);
      const value = this.#value(key);
      const next = format([...list, value]);
      const invoked = this.#now;
      const steps: Step[] = [
        { kind: 'read', key, list },
        { kind: 'append', key, value },
      ];
      client.send(text === null ? `SET ${key} ${next} NX` : `CAS ${key} ${text} ${next}`, (answer) => {
        const outcome = tally(this.#works.counts, answer);
        if (answer === 'OK') this.#record(id, invoked, Number.POSITIVE_INFINITY, steps, 'committed');
        else if (outcome === 'unknown') this.#record(id, invoked, Number.POSITIVE_INFINITY, steps, 'unknown');
        else this.#record(id, invoked, Number.POSITIVE_INFINITY, [{ kind: 'append', key, value }], 'aborted');
        done();
      });
    });
  }

  judge(final: ReadonlyMap<string, string | null>): void {
    checkSerializable(this.history, new Map([...final].map(([key, text]) => [key, parse(text)])));
  }
}
