/**
 * One run: a cluster, clients that work on all of its nodes, faults as planned, and then judgement.
 *
 *     found → work, with faults → faults end → every node answers → all agree → what clients saw is judged
 *
 * Raft's properties are held at every step; what clients saw is judged at the end, together with what every key holds then.
 */
import { RaftChecker } from '../check/raft.js';
import { Violation } from '../check/violation.js';
import { SimCluster, type SimNode } from '../cluster.js';
import { SeededRandom } from '../random.js';
import { Deadlines } from './deadlines.js';
import { faultKind } from './faults.js';
import { Freshness } from './freshness.js';
import { Lists } from './lists.js';
import { observerFor } from './observe.js';
import type { Plan, PlannedFault } from './plan.js';
import { Registers } from './registers.js';
import { Retries } from './retries.js';
import { Singles } from './singles.js';
import { folderNumbers, Stage } from './stage.js';
import { textOf, type Works } from './worker.js';

/** After the faults every request must be answered, and all replicas agree, within this. */
const calmMs = 30_000;
const sliceMs = 20;
/** More events than this in a slice are a storm: nodes keep each other busy with nothing. */
const stormEvents = 20_000;
/** Clients that send each command under a sequence until it is answered. */
const retriers = 2;
/** Keys asked for at once. */
const readsAtOnce = 100;

export interface RunReport {
  readonly plan: Plan;
  readonly simulatedMs: number;
  readonly traceHash: string;
  /** Faults that took effect, by kind. */
  readonly faults: Readonly<Record<string, number>>;
  /** What clients were answered, and what happened to the cluster. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface RunOptions {
  /** Gets the story, line by line. */
  readonly tell?: (timeMs: number, who: string, what: string) => void;
}

/** Runs a plan. Throws a Violation that says what was wrong. */
export function runPlan(plan: Plan, options: RunOptions = {}): Promise<RunReport> {
  return new Run(plan, options).run();
}

class Run {
  readonly #plan: Plan;
  readonly #cluster: SimCluster;
  readonly #stage: Stage;
  readonly #raft: RaftChecker;
  readonly #works: Works;
  readonly #registers: Registers;
  readonly #lists: Lists;
  readonly #singles: Singles;
  readonly #deadlines: Deadlines;
  readonly #retries: Retries;
  readonly #freshness: Freshness;
  readonly #tell: (who: string, what: string) => void;
  readonly #heals = new Set<() => void>();
  #failure: Error | undefined;

  constructor(plan: Plan, { tell }: RunOptions) {
    this.#plan = plan;
    this.#cluster = new SimCluster(plan.seed, plan.stores, plan.options);
    const { world } = this.#cluster;
    this.#tell = tell ? (who, what) => tell(world.now, who, what) : () => {};
    world.network.conditions = plan.conditions;
    this.#stage = new Stage({
      cluster: this.#cluster,
      random: new SeededRandom(`${plan.seed}/stage`),
      tell: this.#tell,
      fail: (error) => {
        this.#failure ??= error instanceof Violation ? error : new Violation('node', error.message);
      },
    });
    this.#raft = new RaftChecker(plan.stores.length, (node) => node % folderNumbers);
    this.#stage.onLost = (node) => this.#raft.forget(node.id);
    this.#cluster.observe = (node) => this.#stage.observerOf(node) ?? observerFor(node, this.#raft, this.#stage);
    this.#works = {
      stage: this.#stage,
      random: new SeededRandom(`${plan.seed}/work`),
      restMs: plan.restMs,
      counts: { acknowledged: 0, refused: 0, unknown: 0 },
      over: false,
      active: 0,
    };
    this.#registers = new Registers(this.#works);
    this.#lists = new Lists(this.#works);
    this.#singles = new Singles(this.#works);
    this.#deadlines = new Deadlines(this.#works);
    this.#retries = new Retries(this.#works);
    this.#freshness = new Freshness(this.#works);
  }

  async run(): Promise<RunReport> {
    const { clients, ms, faults } = this.#plan;
    this.#cluster.startAll();
    await this.#everyNodeAnswers('SET ready 1', 'the cluster has not begun');
    this.#registers.start(clients + 1);
    this.#lists.start(clients + 1);
    this.#singles.start(clients);
    // Each deadline makes the leader write an entry of its own: not everywhere.
    if (this.#works.random.chance(0.4)) this.#deadlines.start();
    this.#retries.start(retriers);
    for (const fault of faults) this.#schedule(fault);
    await this.#go(ms);
    this.#endFaults();
    await this.#finish();
    return this.#report();
  }

  /** Lets time pass, and stops at the first thing that is wrong. */
  async #go(ms: number): Promise<void> {
    const until = this.#cluster.world.now + ms;
    while (this.#cluster.world.now < until) {
      const { world } = this.#cluster;
      world.mostEvents = world.events + stormEvents;
      await world.go(Math.min(sliceMs, until - world.now));
      if (this.#failure) throw this.#failure;
    }
  }

  /** Lets time pass until something holds. */
  async #goUntil(condition: () => boolean, deadline: number, what: () => string): Promise<void> {
    while (!condition()) {
      if (this.#cluster.world.now >= deadline) throw new Violation('liveness', what());
      await this.#go(sliceMs);
    }
  }

  // Faults

  #schedule(fault: PlannedFault): void {
    const { world } = this.#cluster;
    world.schedule(fault.at, undefined, 'fault', () => {
      const kind = faultKind(fault.kind);
      this.#tell('fault', `${fault.number} ${fault.kind}`);
      const heal = kind.inject(this.#stage, new SeededRandom(`fault ${fault.seed}`));
      if (heal === undefined) {
        this.#tell('fault', `${fault.number} ${fault.kind} cannot be now`);
        return;
      }
      if (!kind.countsItself) this.#stage.count(fault.kind);
      if (kind.alarms) this.#stage.onAlarm(fault.lasts);
      const end = (): void => {
        if (!this.#heals.delete(end)) return;
        this.#tell('fault', `${fault.number} ${fault.kind} ends`);
        heal();
      };
      this.#heals.add(end);
      world.schedule(fault.lasts, undefined, 'fault ends', end);
    });
  }

  #endFaults(): void {
    this.#tell('run', 'all faults end');
    this.#stage.end();
    for (const heal of [...this.#heals]) heal();
    this.#cluster.world.network.heal();
    for (const node of this.#stage.members) {
      node.host.resume();
      this.#stage.revive(node);
    }
  }

  // The end

  async #finish(): Promise<void> {
    const { world } = this.#cluster;
    const stage = this.#stage;
    this.#works.over = true;
    await this.#goUntil(
      () => stage.awaited.length === 0,
      world.now + calmMs,
      () => `not over ${calmMs} ms after the faults ended: ${stage.awaited.join(', ')}`,
    );
    const deadline = world.now + calmMs;
    await this.#goUntil(
      () => this.#works.active === 0,
      deadline,
      () => `${this.#works.active} clients still wait ${calmMs} ms after the faults ended`,
    );
    await this.#everyNodeAnswers('SET settled 1', 'after the faults');
    await this.#agree(deadline);
    await this.#judge();
  }

  /** Each member does what it is asked, from some time on. */
  async #everyNodeAnswers(line: string, what: string): Promise<void> {
    const deadline = this.#cluster.world.now + calmMs;
    for (const node of this.#stage.members) {
      let reply: string | undefined;
      let open = false;
      await this.#goUntil(
        () => {
          if (reply === 'OK') return true;
          if (open) return false;
          open = true;
          const client = this.#cluster.client(node);
          client.send(line, (answer) => {
            open = false;
            reply = answer;
            client.close();
          });
          return false;
        },
        deadline,
        () => `${what}: node ${node.id} answers ${line} with ${reply ?? 'nothing'}`,
      );
    }
  }

  async #agree(deadline: number): Promise<void> {
    let states: string[] = [];
    const applied = new Map<SimNode, number>();
    for (;;) {
      states = [];
      for (const node of this.#stage.members) {
        const status = JSON.parse((await this.#ask(node, ['STATUS']))[0] ?? '{}');
        applied.set(node, status.applied);
        states.push(`${status.applied} ${status.stateHash}`);
      }
      if (states.every((state) => state === states[0])) return;
      if (this.#cluster.world.now >= deadline)
        throw new Violation('liveness', `the replicas do not catch up with each other: ${states.join(', ')}`);
      if (new Set(applied.values()).size === 1)
        throw new Violation('state hash', `the replicas differ: ${states.join(', ')}`);
      await this.#go(100);
    }
  }

  /** Asks one node, which must answer. */
  async #ask(node: SimNode, lines: readonly string[]): Promise<(string | undefined)[]> {
    const client = this.#cluster.client(node);
    const replies: (string | undefined)[] = [];
    for (const line of lines) client.send(line, (reply) => replies.push(reply));
    await this.#goUntil(
      () => replies.length === lines.length,
      this.#cluster.world.now + calmMs,
      () => `node ${node.id} does not answer ${lines[replies.length]}`,
    );
    client.close();
    return replies;
  }

  async #judge(): Promise<void> {
    const registers = await this.#read(this.#registers.keys);
    const { now } = this.#cluster.world;
    for (const [key, value] of registers) this.#registers.final(key, value, now);
    const singles = await this.#read(this.#singles.keys);
    for (const [key, value] of singles) this.#singles.final(key, value);
    const retries = await this.#read(this.#retries.keys);
    for (const [key, value] of retries) this.#retries.final(key, value);
    this.#registers.judge();
    this.#lists.judge(await this.#read(this.#lists.keys));
  }

  /** What keys hold, read from some node. */
  async #read(keys: readonly string[]): Promise<Map<string, string | null>> {
    const { members } = this.#stage;
    const found = new Map<string, string | null>();
    for (let at = 0; at < keys.length; at += readsAtOnce) {
      const some = keys.slice(at, at + readsAtOnce);
      const node = members[Math.floor(at / readsAtOnce) % members.length]!;
      const replies = await this.#ask(
        node,
        some.map((key) => `GET ${key}`),
      );
      replies.forEach((reply, i) => {
        const text = textOf(reply);
        if (text === undefined) throw new Violation('liveness', `GET ${some[i]} was answered ${reply}`);
        found.set(some[i]!, text);
      });
    }
    return found;
  }

  #report(): RunReport {
    const { world } = this.#cluster;
    return {
      plan: this.#plan,
      simulatedMs: world.now,
      traceHash: world.traceHash,
      faults: this.#stage.counts,
      counts: {
        ...this.#works.counts,
        ...this.#deadlines.counts,
        ...this.#lists.outcomes,
        ...this.#retries.outcomes,
        ...this.#raft.counts,
        'fresh reads': this.#freshness.reads,
      },
    };
  }
}
