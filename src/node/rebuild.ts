/**
 * A node whose state is not that of a majority (self-check.ts) gets it anew from one of them.
 *
 * From the moment it knows, it neither applies, parses nor reads: clients wait. It goes on persisting, acknowledging and voting, for its log is
 * good. What it holds is kept as evidence. Then it asks the leader for a snapshot of what is applied there, again and again, and
 * loads it like any other; one that leads itself hands over first, for its state is no better than the others'.
 *
 *     diverged ─▶ evidence ─▶ ask the leader, if it is one of the majority ─▶ snapshot ─▶ loaded
 */
import type { NodeId } from '../raft/types.js';
import { Evidence, type EvidenceHost } from './evidence.js';
import type { LogLevel } from './options.js';

/** Pause between two questions. */
const askAgainMs = 1_000;
/** A node that diverges so often within an hour is broken: it stops. */
const mostRebuilds = 3;
const hourMs = 3_600_000;

export interface RebuildHost extends Omit<EvidenceHost, 'done'> {
  readonly id: NodeId;
  /** The store is in the middle of what was staged. */
  applying(): boolean;
  /** 0: nobody. */
  leader(): NodeId;
  /** Asks a member of the majority to lead. */
  handOver(to: NodeId): void;
  /** Asks the leader for a snapshot that holds at least what is applied here. */
  ask(leader: NodeId): void;
  /** A turn is wanted. */
  wake(): void;
  tell(level: LogLevel, text: string): void;
}

export class Rebuild {
  readonly #host: RebuildHost;
  #majority: readonly NodeId[] | undefined;
  #evidence: Evidence | undefined;
  /** The evidence is kept, or cannot be. */
  #kept = false;
  #askAt = 0;
  #asked = 0;
  readonly #times: number[] = [];

  constructor(host: RebuildHost) {
    this.#host = host;
  }

  /** The state is known to be wrong. */
  get underWay(): boolean {
    return this.#majority !== undefined;
  }

  /** What it holds is still to be kept: nothing may take its place. */
  get keeps(): boolean {
    return this.underWay && !this.#kept;
  }

  /** True if this is news. Throws when it has happened too often. */
  begin(index: number, majority: readonly NodeId[], now: number): boolean {
    const news = this.#majority === undefined;
    this.#majority = majority;
    if (!news) return false;
    while (this.#times[0] !== undefined && now - this.#times[0] > hourMs) this.#times.shift();
    this.#times.push(now);
    const what = `the state after entry ${index} is not that of nodes ${majority.join(', ')}`;
    if (this.#times.length > mostRebuilds)
      throw new Error(`${what}, for the ${this.#times.length}th time in an hour: memory or processor may be broken`);
    this.#host.tell('error', `${what}, a majority: this node stops serving, and gets it anew from one of them`);
    this.#kept = false;
    this.#askAt = 0;
    return true;
  }

  /** In a turn, and with each tick. */
  proceed(now: number): void {
    if (this.#majority === undefined || this.#host.applying()) return;
    if (!this.#kept) this.#keep();
    else if (now >= this.#askAt) this.#ask(this.#majority, now);
  }

  #keep(): void {
    this.#evidence ??= new Evidence({
      ...this.#host,
      done: (path, error) => {
        this.#evidence = undefined;
        this.#kept = true;
        if (error === undefined) this.#host.tell('warn', `keeps its state as evidence in ${path}`);
        else this.#host.tell('warn', `cannot keep its state as evidence: ${error}`);
        this.#host.wake();
      },
    });
  }

  #ask(majority: readonly NodeId[], now: number): void {
    this.#askAt = now + askAgainMs;
    const { id, leader, handOver, ask } = this.#host;
    // One of them after the other, for some may be gone by now.
    if (leader() === id) handOver(majority[this.#asked++ % majority.length]!);
    else if (majority.includes(leader())) ask(leader());
  }

  /** The state is that of the others again. */
  over(): void {
    this.#majority = undefined;
  }

  stop(): void {
    this.#evidence?.stop();
    this.#evidence = undefined;
  }
}
