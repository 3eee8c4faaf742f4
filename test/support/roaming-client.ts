/**
 * A client that lives on one node of a cluster, goes on at another when its own dies, and comes home when it is back.
 * What was under way when a connection ended has an unknown outcome.
 */
import type { Cluster, NodePlace } from './cluster.js';
import { until } from './cluster.js';
import { ConnectionLost, type LineClient } from './line-client.js';

/** A reply, or undefined: nobody knows what became of the command. */
export type Reply = string | undefined;

/** No reply may take longer: the nodes' request time-out is 5 s, and a stopped node is continued within that. */
const SILENCE_MS = 20_000;

export class RoamingClient {
  readonly #cluster: Cluster;
  readonly #home: NodePlace;
  #at: NodePlace | undefined;
  #connection: LineClient | undefined;

  constructor(cluster: Cluster, home: NodePlace) {
    this.#cluster = cluster;
    this.#home = home;
  }

  /** The replies to several lines. */
  async ask(lines: readonly string[]): Promise<Reply[]> {
    const session = await this.session();
    return await session(lines);
  }

  /** One connection, for steps that must not go on at another node: a function that sends lines and gives their replies. */
  async session(): Promise<(lines: readonly string[]) => Promise<Reply[]>> {
    const connection = await this.#reach();
    return (lines) => Promise.all(lines.map((line) => this.#known(connection.ask(line))));
  }

  close(): void {
    this.#connection?.close();
  }

  async #known(reply: Promise<string>): Promise<Reply> {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`node ${this.#at?.id}: no reply in ${SILENCE_MS} ms`)), SILENCE_MS);
    });
    try {
      const line = await Promise.race([reply, silence]);
      return line.startsWith('UNKNOWN ') ? undefined : line;
    } catch (error) {
      if (error instanceof ConnectionLost) return undefined;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #reach(): Promise<LineClient> {
    if (this.#connection?.alive && this.#at !== this.#home && this.#home.up) this.#connection.close();
    else if (this.#connection?.alive) return this.#connection;
    const first = this.#cluster.nodes.indexOf(this.#home);
    return await until('a node of the cluster takes connections', 60_000, async () => {
      for (let i = 0; i < this.#cluster.nodes.length; i++) {
        const node = this.#cluster.nodes[(first + i) % this.#cluster.nodes.length]!;
        if (!node.up) continue;
        try {
          this.#connection = await node.connect(1000);
          this.#at = node;
          return this.#connection;
        } catch {
          // the next one, then
        }
      }
      return undefined;
    });
  }
}

/** A gate that workers pass between two steps; while it is shut, all of them stand still. */
export class Gate {
  #open = true;
  #waiting: (() => void)[] = [];
  #inside = 0;
  stopped = false;

  /** Runs `step` again and again, as long as the gate lets it. */
  async loop(step: () => Promise<void>): Promise<void> {
    while (!this.stopped) {
      if (!this.#open) {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
        continue;
      }
      this.#inside++;
      try {
        await step();
      } finally {
        this.#inside--;
      }
    }
  }

  /** Resolves when nobody is between two passes any more. */
  async shut(): Promise<void> {
    this.#open = false;
    await until('all workers have finished their step', 60_000, () => this.#inside === 0);
  }

  open(): void {
    this.#open = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  stop(): void {
    this.stopped = true;
    this.open();
  }
}

/** Lets other work run for a moment: a client's think time. */
export function think(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
