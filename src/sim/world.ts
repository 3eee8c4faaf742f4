/**
 * A simulated world: one queue of events, and hosts with clocks of their own.
 *
 * ## Concept
 *
 * Whatever happens later is an event: a timer, a chunk that arrives, a disk write that completes. `run` takes the event with
 * the lowest (time, sequence), moves the time there and calls it back, until there is nothing left to do by then. Nothing
 * else calls back, and every random choice comes from streams seeded by the world's seed; so a seed decides everything, and
 * what a test saw once it sees again. Time costs nothing: an hour of idling is as long as its events take.
 *
 * A host is one machine with one process. It can be killed (the process is gone, its machine closes its sockets), cut off
 * from power (nobody is told), paused and resumed (as by SIGSTOP: the machine goes on taking bytes for it), and restarted.
 * Each start is a new *life*; events of an earlier life are never called.
 *
 * ## Invariants
 *
 * - Events with the same time are called in the order in which they were scheduled.
 * - What a host does later, also what its disk does, is scheduled through the host (`host.timers`), so it dies with it.
 * - Two worlds with the same seed and the same calls from outside have the same `traceHash`.
 *
 * ## Caveats
 *
 * Callbacks take no time, so a host is infinitely fast. A callback that throws ends `run` with that error. `run` and
 * `runUntil` do not let promises proceed, `play` does.
 */
import type { Clock, Disk, Env, Network, Random, Timer, Timers } from '../env/env.js';
import { EventQueue, type SimEvent } from './event-queue.js';
import { HostDisk } from './host-disk.js';
import { SimNetwork } from './network.js';
import { SeededRandom } from './random.js';
import { Trace } from './trace.js';

/** The wall clock's time when the world begins: 2025-01-01. */
const EPOCH_MS = 1_735_689_600_000;
/** `go` lets promises proceed at least this often, ms. */
const SLICE_MS = 20;
/** More events than this at one moment mean that time stands still. */
const MAX_EVENTS_AT_ONCE = 1_000_000;

interface Wait {
  readonly condition: () => boolean;
  readonly until: number;
  readonly resolve: (holds: boolean) => void;
  readonly reject: (error: unknown) => void;
}

export class World {
  readonly seed: number | string;
  /** For the world's own decisions (delays, losses) and the test's. */
  readonly random: SeededRandom;
  readonly network: SimNetwork;
  readonly #events = new EventQueue();
  readonly #hosts = new Map<string, SimHost>();
  readonly #trace = new Trace();
  #now = 0;
  #atOnce = 0;
  #playing = false;
  /** Programs that wait in `play`. */
  #waits: Wait[] = [];
  /** Events that have happened (each KiB that was read counts as one), and how many may: one more is an error. */
  events = 0;
  mostEvents = Number.POSITIVE_INFINITY;
  /** How many programs wait for promises now: `go` lets them proceed after each event. */
  unsettled = 0;
  /** Called with each event before it happens, to print a run. */
  observe: ((time: number, host: string, what: string) => void) | undefined;

  constructor(seed: number | string) {
    this.seed = seed;
    this.random = new SeededRandom(`${seed}/world`);
    this.network = new SimNetwork(this);
  }

  /** Milliseconds since the world began. */
  get now(): number {
    return this.#now;
  }

  /** Hash of all events so far: time, host, kind, and the bytes that went over the network. */
  get traceHash(): string {
    return this.#trace.hash;
  }

  /** A new host, running. Other hosts dial it by its name. */
  addHost(name: string): SimHost {
    if (this.#hosts.has(name)) throw new Error(`there is a host ${name} already`);
    const host = new SimHost(this, name);
    this.#hosts.set(name, host);
    return host;
  }

  host(name: string): SimHost | undefined {
    return this.#hosts.get(name);
  }

  /** Calls `callback` in `ms` milliseconds, as an event of `host`, or of the world itself. */
  schedule(ms: number, host: SimHost | undefined, what: string, callback: () => void): SimEvent {
    return this.#events.push(this.#now + Math.max(0, ms), host, what, callback);
  }

  /** Schedules an event that was held back, for now; it is cancelled by the same handle as before. */
  again(event: SimEvent): void {
    this.#events.again(event, this.#now);
  }

  /** Lets `ms` milliseconds pass. */
  run(ms: number): void {
    this.#run(this.#now + ms, () => false);
  }

  /** Runs until `condition` holds, looked at after each event; false if it did not within `deadlineMs`. */
  runUntil(condition: () => boolean, deadlineMs: number): boolean {
    return condition() || this.#run(this.#now + deadlineMs, condition);
  }

  /**
   * Like `runUntil`, for programs that wait for promises: all that are settled are acted on after each event, before the
   * next one. Whatever the program waits for must itself come from this world. Several may wait at once.
   */
  play(condition: () => boolean, deadlineMs: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waits.push({ condition, until: this.#now + deadlineMs, resolve, reject });
      if (!this.#playing) void this.#drive();
    });
  }

  /** Lets one event happen after the other while anybody waits. */
  async #drive(): Promise<void> {
    this.#playing = true;
    try {
      await settled();
      while (this.#waits.length > 0) {
        if (this.#lookAtWaits()) {
          await settled();
          continue;
        }
        const until = this.#waits.reduce((least, wait) => Math.min(least, wait.until), Number.POSITIVE_INFINITY);
        if (!this.#step(until)) this.#now = until;
        await settled();
      }
    } catch (error) {
      for (const { reject } of this.#waits.splice(0)) reject(error);
    } finally {
      this.#playing = false;
    }
  }

  /** Lets those go on whose condition holds, or whose time is up; true if there were any. */
  #lookAtWaits(): boolean {
    const over: { readonly wait: Wait; readonly holds: boolean }[] = [];
    const rest: Wait[] = [];
    for (const wait of this.#waits) {
      const holds = wait.condition();
      if (holds || this.#now >= wait.until) over.push({ wait, holds });
      else rest.push(wait);
    }
    this.#waits = rest;
    for (const { wait, holds } of over) wait.resolve(holds);
    return over.length > 0;
  }

  /**
   * Lets `ms` milliseconds pass, for a program of callbacks: promises proceed at the end of each slice of time, and after each
   * event only while something is `unsettled`. A multiple faster than `play`, and as deterministic.
   */
  async go(ms: number): Promise<void> {
    const until = this.#now + ms;
    while (this.#now < until) {
      const end = Math.min(until, this.#now + SLICE_MS);
      while (this.#step(end)) if (this.unsettled > 0) await settled();
      this.#now = end;
      await settled();
    }
  }

  /** Notes in the trace what happened beside events. */
  note(what: string, bytes?: Uint8Array): void {
    this.#trace.name(what);
    if (bytes === undefined) return;
    this.#trace.bytes(bytes);
    this.events += bytes.length >> 10;
  }

  #run(until: number, done: () => boolean): boolean {
    while (this.#step(until)) {
      if (done()) return true;
    }
    this.#now = until;
    return false;
  }

  /** The next event that is due by `until`; false if there is none. */
  #step(until: number): boolean {
    const event = this.#events.pop(until);
    if (event === undefined) return false;
    this.#atOnce = event.time > this.#now ? 0 : this.#atOnce + 1;
    if (this.#atOnce > MAX_EVENTS_AT_ONCE) throw new Error(`time stands still at ${this.#now} ms: ${event.what}`);
    this.#now = Math.max(this.#now, event.time);
    this.#happen(event);
    return true;
  }

  #happen(event: SimEvent): void {
    const { host } = event;
    if (host !== undefined && !host.takes(event)) return;
    if (++this.events > this.mostEvents) throw new Error(`a storm of events at ${this.#now} ms: ${event.what}`);
    this.observe?.(this.#now, host?.name ?? '', event.what);
    this.#trace.number(this.#now);
    this.#trace.name(host?.name ?? '');
    this.#trace.name(event.what);
    event.callback();
  }
}

/** Resolves when all reactions to settled promises have run, however long their chains: they all come before the next immediate. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

const noTimer: Timer = { cancel: () => {} };

/** One machine with one process. */
export class SimHost {
  readonly name: string;
  readonly world: World;
  /** Starts of the process so far; 0: it never ran. Events remember theirs. */
  life = 1;
  #state: 'running' | 'paused' | 'killed' | 'off' = 'running';
  /** Events that fell due while it was paused, in order. */
  #backlog: SimEvent[] = [];
  #rate = 1;
  #wallOffset = 0;
  /** Host time at world time `#since`; it goes on from there at `#rate`. */
  #base = 0;
  #since = 0;
  readonly clock: Clock = {
    monotonic: () => this.#hostTime(),
    wall: () => Math.floor(EPOCH_MS + this.#hostTime() + this.#wallOffset),
  };
  /** Timers of whatever life the host is in: for what outlives a crash, such as its disk. */
  readonly timers: Timers = this.#timersOf(() => true);

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
  }

  get state(): 'running' | 'paused' | 'killed' | 'off' {
    return this.#state;
  }

  /** The process exists, running or paused. */
  get up(): boolean {
    return this.#state === 'running' || this.#state === 'paused';
  }

  /** What a node on this host stands on, for this life of the host. */
  env(disk: Disk): Env {
    const { life } = this;
    const random: Random = new SeededRandom(`${this.world.seed}/${this.name}/${life}`);
    const network: Network = this.world.network.on(this);
    const alive = (): boolean => this.life === life;
    return { clock: this.clock, timers: this.#timersOf(alive), random, network, disk: new HostDisk(disk, alive) };
  }

  /** From now on its clock gains `drift` milliseconds each millisecond (0.01: one per cent fast). Timers that run are kept. */
  drift(drift: number): void {
    this.#base = this.#hostTime();
    this.#since = this.world.now;
    this.#rate = 1 + drift;
  }

  /** Its wall clock jumps by `ms`, forward or back. */
  jump(ms: number): void {
    this.#wallOffset += ms;
  }

  /** kill -9: the process is gone, and its machine closes its sockets. */
  kill(): void {
    this.#stop('killed');
    this.world.network.processDied(this);
  }

  /** Power loss: process and machine are gone, and nobody is told. */
  powerOff(): void {
    this.#stop('off');
    this.world.network.machineDied(this);
  }

  /** A new life, after `kill` or `powerOff`; the caller starts the program anew. */
  restart(): void {
    if (this.up) throw new Error(`${this.name} is running`);
    this.#state = 'running';
    this.world.note(`${this.name} starts`);
    this.world.network.retry();
  }

  /** SIGSTOP: nothing of the process happens, while its machine still takes connections and bytes. */
  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  /** SIGCONT: what fell due meanwhile happens now, in its order. */
  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const event of backlog) this.world.again(event);
  }

  /** Whether the event is to be called now; one that finds the host paused is kept for later. */
  takes(event: SimEvent): boolean {
    if (event.life !== this.life) return false;
    if (this.#state === 'paused') this.#backlog.push(event);
    return this.#state === 'running';
  }

  #stop(state: 'killed' | 'off'): void {
    this.#state = state;
    this.#backlog = [];
    this.life++;
    this.world.note(`${this.name} ${state}`);
  }

  #hostTime(): number {
    return this.#base + (this.world.now - this.#since) * this.#rate;
  }

  /** A killed process may still be on the stack, or in a promise: whatever it asks for then is not done. */
  #timersOf(alive: () => boolean): Timers {
    const after = (ms: number, what: string, callback: () => void): Timer =>
      alive() && this.up ? this.world.schedule(ms / this.#rate, this, what, callback) : noTimer;
    return {
      after: (ms, callback) => after(ms, 'timer', callback),
      every: (ms, callback) => {
        let timer: Timer;
        const again = (): void => {
          timer = after(ms, 'interval', () => {
            again();
            callback();
          });
        };
        again();
        return { cancel: () => timer.cancel() };
      },
      defer: (callback) => void after(0, 'defer', callback),
    };
  }
}
