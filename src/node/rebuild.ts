/**
 * A node whose state is not that of a majority (self-check.ts) gets it anew from one of them.
 *
 * From the moment it knows, it neither applies, parses nor reads: clients wait. It goes on persisting, acknowledging and voting, for its log is
 * good. What it holds is kept as evidence. Then it asks the leader for a snapshot of what is applied there, again and again, and
 * loads it like any other; one that leads itself hands over first, for its state is no better than the others'.
 *
 *     diverged, marked ─▶ evidence ─▶ ask the leader, if it is one of the majority ─▶ snapshot ─▶ loaded, unmarked
 *                                     └▶ else ask all what they hold: a majority may agree with it by now
 *
 * A restart makes nothing better, for the state may come from a snapshot of the node's own: the file `diverged` keeps in mind that it is
 * wrong, and whose is right.
 */
import { DiskError } from '../env/env.js';
import { readWhole, writeWhole } from '../log/files.js';
import type { NodeId } from '../raft/types.js';
import { Evidence, type EvidenceHost } from './evidence.js';
import type { LogLevel } from './options.js';

/** Pause between two questions. */
const askAgainMs = 1_000;
/** A node that diverges so often within an hour is broken: it stops. */
const mostRebuilds = 3;
const hourMs = 3_600_000;
/** The mark: a line of JSON, the entry after which the state was wrong, and the members whose state is right. */
const MARK = 'diverged';

interface Mark {
  readonly index: number;
  readonly majority: readonly NodeId[];
}

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
  /** Asks all members for the state hash that they noted last. */
  inquire(): void;
  /** A turn is wanted. */
  wake(): void;
  tell(level: LogLevel, text: string): void;
}

export class Rebuild {
  readonly #host: RebuildHost;
  #majority: readonly NodeId[] | undefined;
  /** The last entry after which they agreed. */
  #agreedAt = 0;
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

  /** What was known to be wrong when the node stopped still is: true if there is such. */
  resume(now: number): boolean {
    const mark = this.#readMark();
    return mark !== undefined && this.begin(mark.index, mark.majority, now);
  }

  /** True if this is news; else it tells who is right by now. Throws when it has happened too often. */
  begin(index: number, majority: readonly NodeId[], now: number): boolean {
    const news = this.#majority === undefined;
    if (!news && index < this.#agreedAt) return false;
    this.#majority = majority;
    this.#agreedAt = index;
    if (!news) return false;
    this.#mark({ index, majority });
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

  #readMark(): Mark | undefined {
    const { disk, directory } = this.#host;
    const bytes = readWhole(disk, `${directory}/${MARK}`);
    if (bytes === undefined) return undefined;
    try {
      const { index, majority } = JSON.parse(new TextDecoder().decode(bytes)) as Partial<Mark>;
      const ids = Array.isArray(majority) ? majority.filter((id) => Number.isSafeInteger(id)) : [];
      return { index: Number.isSafeInteger(index) ? index! : 0, majority: ids };
    } catch {
      // That it is there says enough.
      return { index: 0, majority: [] };
    }
  }

  /** Makes the mark, or takes it away. A disk without room does without. */
  #mark(mark: Mark | undefined): void {
    const { disk, directory } = this.#host;
    const path = `${directory}/${MARK}`;
    try {
      if (mark) writeWhole(disk, directory, MARK, new TextEncoder().encode(`${JSON.stringify(mark)}\n`));
      else if (disk.exists(path)) {
        disk.unlink(path);
        disk.syncDir(directory);
      }
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#host.tell('warn', `cannot note whether its state is wrong: ${error.message}`);
    }
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
    const { id, leader, handOver, ask, inquire } = this.#host;
    const to = leader();
    if (to !== 0 && to !== id && (majority.length === 0 || majority.includes(to))) {
      ask(to);
      return;
    }
    // One of them after the other, for some may be gone by now.
    if (to === id && majority.length > 0) handOver(majority[this.#asked++ % majority.length]!);
    inquire();
  }

  /** The state is that of the others again. */
  over(): void {
    if (this.#majority !== undefined) this.#mark(undefined);
    this.#majority = undefined;
  }

  stop(): void {
    this.#evidence?.stop();
    this.#evidence = undefined;
  }
}
