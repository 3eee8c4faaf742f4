/**
 * Keys with a time to live, each written once by one client. Judged: none goes before its time, and none that was gone comes back. That all
 * replicas remove the same at the same entry is seen by the state hashes.
 */
import { Violation } from '../check/violation.js';
import { tally, type Works, work } from './worker.js';

/** A leader's clock may run so much faster than the world's: as far as the fault "clock drifts" goes. */
const fastest = 1.2;
/** Times to live, ms. */
const lives = [30, 5_000] as const;

interface Key {
  readonly name: string;
  /** When it was sent, by the world's clock, and how long it lives from when it is applied on. */
  readonly sentAt: number;
  readonly livesMs: number;
  gone: boolean;
}

export class Deadlines {
  readonly #works: Works;
  #written = 0;
  readonly counts = { 'deadlines passed': 0 };

  constructor(works: Works) {
    this.#works = works;
  }

  start(): void {
    const keys: Key[] = [];
    work(this.#works, (client, done) => {
      const { random, stage, counts } = this.#works;
      const { world } = stage;
      let open = 2;
      const one = (): void => {
        if (--open === 0) done();
      };
      const livesMs = Math.round(random.between(...lives));
      const name = `short-${++this.#written}`;
      const sentAt = world.now;
      client.send(`SET ${name} ${livesMs} PX ${livesMs}`, (reply) => {
        if (tally(counts, reply) === 'acknowledged') keys.push({ name, sentAt, livesMs, gone: false });
        if (keys.length > 20) keys.shift();
        one();
      });
      const key = keys[random.integer(0, Math.max(0, keys.length - 1))];
      client.send(key === undefined ? 'PING' : `GET ${key.name}`, (reply) => {
        if (tally(counts, reply) === 'acknowledged' && key !== undefined) this.#judge(key, reply!, world.now);
        one();
      });
    });
  }

  #judge(key: Key, reply: string, now: number): void {
    const age = (now - key.sentAt) * fastest;
    if (reply !== '(nil)') {
      if (key.gone) throw new Violation('expiry', `${key.name} was gone, and reads ${reply} now`);
      return;
    }
    if (age < key.livesMs)
      throw new Violation('expiry', `${key.name}, which lives ${key.livesMs} ms, is gone after ${now - key.sentAt} ms`);
    if (!key.gone) this.counts['deadlines passed']++;
    key.gone = true;
  }
}
