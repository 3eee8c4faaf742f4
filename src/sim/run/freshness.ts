/**
 * Reads that must not be stale, asked for while they are most likely to be. When a fault sounds the alarm, each node is written to and
 * read from many times a second for a while: a writer on each node counts up a key of its own, and a reader on each node reads them
 * all. No read may see less than what had been acknowledged when it was asked for. The keys are other ones each time: a write that a
 * writer of before left unanswered may still take effect, after all of a later one's.
 */
import { Violation } from '../check/violation.js';
import type { SimClient } from '../client.js';
import type { SimNode } from '../cluster.js';
import type { Works } from './worker.js';

const everyMs = 40;
/** Commands of one client that may be unanswered. */
const mostOpen = 3;
/** After the last alarm it goes on for so long. */
const lingerMs = 600;

export class Freshness {
  readonly #works: Works;
  /** What was acknowledged of each node's key, this time. */
  #acknowledged: number[] = [];
  #written: number[] = [];
  #times = 0;
  #until = 0;
  #on = false;
  reads = 0;

  constructor(works: Works) {
    this.#works = works;
    works.stage.onAlarm = (ms) => this.#alarm(ms);
  }

  #alarm(ms: number): void {
    const { stage } = this.#works;
    this.#until = Math.max(this.#until, stage.world.now + ms + lingerMs);
    if (this.#on || this.#works.over) return;
    this.#on = true;
    this.#works.active++;
    this.#times++;
    this.#acknowledged = stage.nodes.map(() => 0);
    this.#written = stage.nodes.map(() => 0);
    const clients = stage.nodes.map((node) => this.#begin(node));
    const look = (): void => {
      if (stage.world.now < this.#until && !this.#works.over) {
        stage.cluster.clients.timers.after(everyMs, look);
        return;
      }
      for (const client of clients.flat()) client.close();
      this.#on = false;
      this.#works.active--;
    };
    look();
  }

  #begin(node: SimNode): SimClient[] {
    const { stage } = this.#works;
    const writer = stage.cluster.client(node);
    const reader = stage.cluster.client(node);
    this.#repeat(writer, () => this.#write(node, writer));
    this.#repeat(reader, () => this.#read(node, reader));
    return [writer, reader];
  }

  #repeat(client: SimClient, act: () => void): void {
    const again = (): void => {
      if (client.closed) return;
      if (client.waiting < mostOpen) act();
      this.#works.stage.cluster.clients.timers.after(everyMs, again);
    };
    again();
  }

  #key(id: number): string {
    return `fresh-${this.#times}-${id}`;
  }

  #write({ id }: SimNode, client: SimClient): void {
    const value = ++this.#written[id - 1]!;
    const acknowledged = this.#acknowledged;
    client.send(`SET ${this.#key(id)} ${value}`, (reply) => {
      if (reply === 'OK') acknowledged[id - 1] = Math.max(acknowledged[id - 1]!, value);
    });
  }

  #read({ id }: SimNode, client: SimClient): void {
    const { stage } = this.#works;
    const least = [...this.#acknowledged];
    const keys = stage.nodes.map((node) => this.#key(node.id));
    const invoked = stage.world.now;
    client.send(`MGET ${keys.join(' ')}`, (reply) => {
      if (!reply?.startsWith('[')) return;
      this.reads++;
      const found = (JSON.parse(reply) as (string | null)[]).map(Number);
      const at = found.findIndex((value, key) => value < least[key]!);
      if (at >= 0)
        throw new Violation(
          'stale read',
          `node ${id}, asked at ${invoked.toFixed(1)}, read ${keys[at]} as ${found[at]}; ${least[at]} had been acknowledged`,
        );
    });
  }
}
