/**
 * Linearizable reads without log entries (ReadIndex, dissertation §6.4).
 *
 * The leader's side, `ReadRounds`: a request takes the leader's commit index at its arrival, and is answered with it
 * once a majority has confirmed, by answering a heartbeat that was sent after the arrival, that the leader still led.
 * One round of heartbeats is in flight; what arrives meanwhile shares the next. Before an entry of the leader's own
 * term is committed its commit index may lag behind what an earlier leader committed: requests wait for that.
 *
 * With a lease (dissertation §6.4.1; its assumption is stated at `Lease`), the confirmations of every heartbeat interval count as
 * a round, whether anybody reads or not: whoever answered will vote for nobody else for the shortest election time-out, so
 * for a little less than that after the round was *sent*, requests are answered at once. Voters keep to that also after a
 * restart, when they remember no leader. It does not hold once the leader has told another to campaign: transfer.ts.
 *
 * The asking side, `ReadAsks`: a follower's requests to its leader.
 */
import type { Quorum } from './quorum.js';
import type { Lease, NodeId } from './types.js';

export interface ReadRequestor {
  readonly from: NodeId;
  readonly id: number;
}
export interface ReadAnswer extends ReadRequestor {
  readonly index: number;
}

const noAnswers: readonly ReadAnswer[] = [];

export class ReadRounds {
  /** Arrived before an entry of the term was committed. */
  #early: ReadRequestor[] = [];
  /** Arrived since the newest round was sent: that round proves nothing for them. */
  #waiting: ReadAnswer[] = [];
  /** Joined the round in flight. */
  #flying: ReadAnswer[] = [];
  readonly #confirmed = new Set<NodeId>();
  #round = 0;
  #inFlight = false;
  #lease: Lease | undefined;
  /** When, by the lease's clock, the round in flight was sent, and the last one that a majority confirmed. */
  #sentAt = Number.NEGATIVE_INFINITY;
  #heldAt = Number.NEGATIVE_INFINITY;

  constructor(lease: Lease | undefined) {
    this.#lease = lease;
  }

  /** Number of the round in flight; 0: none. */
  get current(): number {
    return this.#inFlight ? this.#round : 0;
  }

  /** Nobody else can have been elected yet: a read needs no round. */
  get leased(): boolean {
    return this.#lease !== undefined && this.#lease.now() - this.#heldAt < this.#lease.length;
  }

  /** Somebody may be elected at any time from now on. */
  endLease(): void {
    this.#lease = undefined;
  }

  /** `commit` is undefined as long as no entry of the term is committed. */
  add(request: ReadRequestor, commit: number | undefined): void {
    if (commit === undefined) this.#early.push(request);
    else this.#waiting.push({ from: request.from, id: request.id, index: commit });
  }

  /** The first entry of the term is committed. */
  open(commit: number): void {
    for (const request of this.#early) this.add(request, commit);
    this.#early = [];
  }

  /**
   * Begins a round if none is in flight and requests wait, or heartbeats go anyway (`beat`) and would prolong the lease; true if
   * its heartbeats have to go. `self` confirms at once.
   */
  start(self: NodeId, beat: boolean): boolean {
    const wanted = this.#waiting.length > 0 || (beat && this.#lease !== undefined);
    if (this.#inFlight || !wanted) return false;
    this.#flying = this.#waiting;
    this.#waiting = [];
    this.#inFlight = true;
    this.#round++;
    if (this.#lease !== undefined) this.#sentAt = this.#lease.now();
    this.#confirmed.clear();
    this.#confirmed.add(self);
    return true;
  }

  /** `from` answered a heartbeat that carried `round`. */
  confirm(from: NodeId, round: number): void {
    if (round !== 0 && round === this.current) this.#confirmed.add(from);
  }

  /** Those who can be answered: all of the round in flight, when a majority has confirmed it. */
  take(quorum: Quorum): readonly ReadAnswer[] {
    if (!this.#inFlight || !quorum.majority((id) => this.#confirmed.has(id))) return noAnswers;
    this.#inFlight = false;
    this.#heldAt = this.#sentAt;
    const answers = this.#flying;
    this.#flying = [];
    return answers;
  }

  /** All that will not be answered: leadership is lost. */
  drain(): readonly ReadRequestor[] {
    const all = [...this.#flying, ...this.#waiting, ...this.#early];
    this.#inFlight = false;
    this.#flying = [];
    this.#waiting = [];
    this.#early = [];
    return all;
  }
}

interface Ask {
  readonly id: number;
  /** Ticks since it was sent; sent again after a heartbeat interval, for messages are lost. */
  age: number;
}

const none: readonly number[] = [];

export class ReadAsks {
  /**
   * By the number on the wire, which is drawn anew in each life of the node: an answer to a question of an earlier life
   * may be older than what was written before the question of this one.
   */
  readonly #asks = new Map<number, Ask>();
  #next: number;

  /** `start`: a random integer below 2^52. */
  constructor(start: number) {
    this.#next = start;
  }

  /** Notes a question; it is sent by the next `due`. */
  add(id: number): void {
    this.#asks.set(this.#next++, { id, age: Number.POSITIVE_INFINITY });
  }

  tick(): void {
    if (this.#asks.size === 0) return;
    for (const ask of this.#asks.values()) ask.age++;
  }

  /** Sends all again: the link to the leader is back. */
  hurry(): void {
    for (const ask of this.#asks.values()) ask.age = Number.POSITIVE_INFINITY;
  }

  /** Numbers of the questions that have to be sent now: new ones, and those unanswered for `ticks`. */
  due(ticks: number): readonly number[] {
    if (this.#asks.size === 0) return none;
    const numbers: number[] = [];
    for (const [number, ask] of this.#asks) {
      if (ask.age < ticks) continue;
      ask.age = 0;
      numbers.push(number);
    }
    return numbers;
  }

  /** The asker's own id of an answered question; undefined if it has been answered or given up before. */
  answered(number: number): number | undefined {
    const ask = this.#asks.get(number);
    this.#asks.delete(number);
    return ask?.id;
  }

  /** Gives all up: their leader is gone. Returns the askers' own ids. */
  drain(): number[] {
    const ids = Array.from(this.#asks.values(), (ask) => ask.id);
    this.#asks.clear();
    return ids;
  }
}
