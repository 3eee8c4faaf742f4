/**
 * A seeded workload on a log, and the model of what it was promised: whatever a crash leaves must be a state that the log
 * went through, not older than its last acknowledgement. With `snapshots` it takes some, installs others, and compacts;
 * then the log may lack its beginning, but only where the newest snapshot (one that the model knows, whole) has it.
 */
import { expect } from 'vitest';
import { type Founding, type Log, LogError, type LogOptions, type VoteState } from '../../src/log/types.js';
import type { Entry } from '../../src/raft/types.js';
import type { SimDisk } from '../../src/sim/disk.js';
import { seeded } from '../sim/seeded.js';
import {
  contents,
  done,
  entry,
  install,
  open,
  randomBytes,
  settle,
  snapshotContent,
  snapshotOf,
  take,
  told,
} from './helper.js';

export const SMALL: Partial<LogOptions> = { segmentBytes: 4096, batchBytes: 1800, cacheBytes: 2000, tailBytes: 3000 };

const founding: Founding = {
  clusterId: new Uint8Array(16).fill(3),
  members: [{ id: 1, address: '127.0.0.1:8080', identity: new Uint8Array(16).fill(1) }],
};

/** What was promised at one moment. */
export interface Promised {
  /** Appends so far, and how many of them were acknowledged (with all before). */
  readonly appended: number;
  readonly acknowledged: number;
  /** Vote states begun so far, and how many of these saves returned. */
  readonly begun: number;
  readonly saved: number;
  readonly founding: 'none' | 'begun' | 'done';
  /** Snapshots begun so far (0: none), and how many of them were finished or superseded by one that was. */
  readonly snapshots: number;
  readonly finished: number;
}

interface ModelSnapshot {
  readonly index: number;
  readonly content: Uint8Array;
  /** The state that its install makes; 0 when it is of the log itself. */
  readonly state: number;
}

/** In place of an entry that is known to nobody but the snapshot that was installed. */
const UNKNOWN = 'in a snapshot';

export class Workload {
  /** The log after each append and each install, from the empty one on: one text for each entry from 1 on. */
  readonly #states: string[][] = [[]];
  /** In the order in which they were begun; the first stands for none. */
  readonly #snapshots: ModelSnapshot[] = [{ index: 0, content: new Uint8Array(0), state: 0 }];
  readonly #withSnapshots: boolean;
  readonly #votes: VoteState[] = [{ term: 0, vote: 0, starts: 0 }];
  /** Number of the append that made the newest record of (index, term). */
  readonly #appends = new Map<string, number>();
  readonly #disk: SimDisk;
  readonly #random: () => number;
  #log: Log | undefined;
  #promised: Promised = {
    appended: 0,
    acknowledged: 0,
    begun: 0,
    saved: 0,
    founding: 'none',
    snapshots: 0,
    finished: 0,
  };
  #failed = false;

  constructor(disk: SimDisk, seed: number, withSnapshots = false) {
    this.#withSnapshots = withSnapshots;
    this.#disk = disk;
    this.#random = seeded(seed);
  }

  get promised(): Promised {
    return this.#promised;
  }

  /** Runs `steps` steps, or until the log has failed. */
  async run(steps: number): Promise<void> {
    try {
      await this.#open();
      for (let step = 0; step < steps && !this.#failed; step++) await this.#step(step, steps);
      await settle();
      if (!this.#failed) await this.#log!.close();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'disk')) throw error;
      this.#failed = true;
    }
  }

  /** Opens what a crash has left on `disk`, and holds it against what was promised then. */
  async check(disk: SimDisk, promised: Promised): Promise<void> {
    const log = await open(disk, SMALL);
    const found = contents(log);
    const state = this.#stateOf(log, found, promised);
    this.#checkSnapshot(log, state, promised);
    expect(this.#votes.slice(promised.saved, promised.begun + 1)).toContainEqual(log.vote);
    if (promised.founding !== 'begun') expect(log.founding !== undefined).toBe(promised.founding === 'done');
    // What recovery took for good, and what is acknowledged on top of it, survives the next crash.
    const vote = { ...log.vote, term: log.vote.term + 1, vote: 3 };
    log.saveVote(vote);
    const more = entry(log.lastIndex() + 1, 1_000_000, 100);
    await new Promise<void>((resolve) => {
      // At once: nothing that the log does later may help.
      log.onPersisted = () => {
        disk.crash('drop');
        resolve();
      };
      log.append([more]);
      log.flush();
    });
    const again = await open(disk, SMALL);
    expect(contents(again).join('\n') === [...found, told(more)].join('\n')).toBe(true);
    expect(again.vote).toEqual(vote);
    await again.close();
  }

  /** Number of the newest state between those promised that the log is in. */
  #stateOf(log: Log, found: readonly string[], { acknowledged, appended }: Promised): number {
    const first = log.firstIndex();
    // Compared as text, because it is done thousands of times.
    const text = found.join('\n');
    for (let number = appended; number >= acknowledged; number--) {
      const state = this.#states[number]!;
      if (state.length !== log.lastIndex()) continue;
      if (state.slice(first - 1).join('\n') === text) return number;
    }
    throw new Error(`entries ${first} to ${log.lastIndex()}, in no state between ${acknowledged} and ${appended}`);
  }

  /** The newest snapshot is whole, not older than promised, joins the log without a gap, and belongs to its state. */
  #checkSnapshot(log: Log, state: number, { snapshots, finished }: Promised): void {
    const index = log.snapshot?.index ?? 0;
    const content = snapshotContent(log) ?? new Uint8Array(0);
    const same = (each: ModelSnapshot): boolean => each.index === index && Buffer.compare(each.content, content) === 0;
    const known = this.#snapshots.slice(finished, snapshots + 1).find(same);
    if (!known) throw new Error(`a snapshot of ${index}, none of those from ${finished} to ${snapshots}`);
    if (state < known.state) throw new Error(`state ${state}, older than snapshot ${index} of state ${known.state}`);
    if (log.firstIndex() > index + 1) throw new Error(`entries from ${log.firstIndex()}, a snapshot of ${index}`);
    if (log.firstIndex() > 1) expect(log.term(log.firstIndex() - 1)).toBeGreaterThan(0);
  }

  async #open(): Promise<void> {
    this.#log = await open(this.#disk, SMALL);
    this.#log.onPersisted = (index, term) => {
      expect(this.#failed).toBe(false);
      const acknowledged = Math.max(this.#promised.acknowledged, this.#appends.get(`${index} ${term}`)!);
      this.#promised = { ...this.#promised, acknowledged };
    };
    this.#log.onFailed = () => {
      expect(this.#failed).toBe(false);
      this.#failed = true;
    };
    this.#save({ ...this.#log.vote, starts: this.#log.vote.starts + 1 });
  }

  async #step(step: number, steps: number): Promise<void> {
    const log = this.#log!;
    const dice = this.#random();
    if (step === Math.floor(steps / 3)) this.#found();
    if (step === Math.floor(steps / 2)) this.#append(1, 6000);
    else if (dice < 0.6) this.#append(1 + Math.floor(this.#random() * 3), 1200);
    else if (dice < 0.72)
      this.#save({ ...log.vote, term: log.vote.term + 1, vote: 1 + Math.floor(this.#random() * 3) });
    else if (dice < 0.77) await this.#reopen();
    else if (this.#withSnapshots) await this.#snapshotStep(dice);
    if (this.#failed) return;
    if (this.#random() < 0.7) this.#log!.flush();
    if (this.#random() < 0.4) await settle();
    else if (this.#random() < 0.5) for (let i = 0; i < 3; i++) await Promise.resolve();
  }

  #append(count: number, size: number): void {
    const log = this.#log!;
    const last = log.lastIndex();
    // What is in a snapshot is committed, and never superseded.
    const free = last - this.#snapshots.at(-1)!.index;
    const back = this.#random() < 0.25 ? Math.floor(this.#random() * Math.min(4, free + 1)) : 0;
    const term = log.term(last) + (back > 0 || this.#random() < 0.1 ? 1 : 0) || 1;
    const entries: Entry[] = [];
    for (let i = 0; i < count; i++) {
      entries.push(entry(last + 1 - back + i, term, Math.floor(this.#random() * size)));
    }
    for (const each of entries) {
      this.#states.push([...this.#states.at(-1)!.slice(0, each.index - 1), told(each)]);
      this.#appends.set(`${each.index} ${each.term}`, this.#states.length - 1);
    }
    this.#promised = { ...this.#promised, appended: this.#states.length - 1 };
    log.append(entries);
  }

  #save(state: VoteState): void {
    this.#votes.push(state);
    this.#promised = { ...this.#promised, begun: this.#votes.length - 1 };
    this.#log!.saveVote(state);
    this.#promised = { ...this.#promised, saved: this.#promised.begun };
  }

  async #snapshotStep(dice: number): Promise<void> {
    try {
      if (dice < 0.84) await this.#take();
      else if (dice < 0.9) await this.#install();
      else this.#log!.compact(this.#log!.lastIndex());
    } catch (error) {
      if (!(error instanceof LogError)) throw error;
      this.#failed = true;
    }
  }

  /** A snapshot begins, which is finished when the log is durable up to its last entry. */
  #begin(index: number, content: Uint8Array, state: number): () => void {
    const number = this.#snapshots.push({ index, content, state }) - 1;
    this.#promised = { ...this.#promised, snapshots: number };
    return () => {
      this.#promised = { ...this.#promised, finished: number };
    };
  }

  async #take(): Promise<void> {
    const log = this.#log!;
    const last = log.lastIndex();
    const index = Math.max(this.#snapshots.at(-1)!.index, last - Math.floor(this.#random() * 4));
    if (index < 1) return;
    log.flush();
    const content = randomBytes(Math.floor(this.#random() * 3000));
    const finish = this.#begin(index, content, 0);
    await take(log, snapshotOf(log, index), content);
    finish();
    if (this.#random() < 0.5) log.compact(index);
  }

  /** One that is ahead of the log, or of an entry that the log has. */
  async #install(): Promise<void> {
    const log = this.#log!;
    const ahead = this.#random() < 0.6;
    const newest = this.#snapshots.at(-1)!.index;
    const last = log.lastIndex();
    const index = ahead ? last + 1 + Math.floor(this.#random() * 5) : Math.max(newest, last - 2);
    if (index < 1) return;
    const content = randomBytes(Math.floor(this.#random() * 3000));
    const term = ahead ? log.term(last) + 1 : log.term(index);
    const stateHash = index.toString(16).padStart(16, 'b');
    const info = { index, term, logTime: 1, stateHash, meta: new Uint8Array(9), size: content.length, count: 1 };
    const part = content.subarray(0, content.length >> 1);
    const first = await log.receiveSnapshot(info);
    await done((then) => first.write(part, then));
    first.close();
    log.flush();
    if (ahead) this.#states.push(Array.from({ length: index }, () => UNKNOWN));
    const state = this.#states.length - 1;
    const finish = this.#begin(index, content, ahead ? state : 0);
    this.#promised = { ...this.#promised, appended: state };
    await install(log, info, content);
    finish();
    if (ahead) this.#promised = { ...this.#promised, acknowledged: state };
  }

  #found(): void {
    this.#promised = { ...this.#promised, founding: 'begun' };
    this.#log!.found(founding);
    this.#promised = { ...this.#promised, founding: 'done' };
  }

  /** Restarts the process in order: what was not flushed is gone, and the model goes back to what is on disk. */
  async #reopen(): Promise<void> {
    this.#log!.flush();
    await this.#log!.close();
    if (!this.#failed) await this.#open();
  }
}
