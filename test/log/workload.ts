/**
 * A seeded workload on a log, and the model of what it was promised: whatever a crash leaves must be a state that the log
 * went through, not older than its last acknowledgement.
 */
import { expect } from 'vitest';
import type { Founding, Log, LogOptions, VoteState } from '../../src/log/types.js';
import type { Entry } from '../../src/raft/types.js';
import type { SimDisk } from '../../src/sim/disk.js';
import { seeded } from '../sim/seeded.js';
import { contents, entry, open, settle, told } from './helper.js';

export const SMALL: Partial<LogOptions> = { segmentBytes: 4096, batchBytes: 1800, cacheBytes: 2000 };

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
}

export class Workload {
  /** The log after each append, from the empty one on. */
  readonly #states: string[][] = [[]];
  readonly #votes: VoteState[] = [{ term: 0, vote: 0, starts: 0 }];
  /** Number of the append that made the newest record of (index, term). */
  readonly #appends = new Map<string, number>();
  readonly #disk: SimDisk;
  readonly #random: () => number;
  #log: Log | undefined;
  #promised: Promised = { appended: 0, acknowledged: 0, begun: 0, saved: 0, founding: 'none' };
  #failed = false;

  constructor(disk: SimDisk, seed: number) {
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
    const possible = this.#states.slice(promised.acknowledged, promised.appended + 1);
    // Compared as text, because it is done thousands of times.
    const known = possible.some((state) => state.join('\n') === found.join('\n'));
    if (!known)
      throw new Error(`${found.length} entries, in no state between ${promised.acknowledged} and ${promised.appended}`);
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
    if (this.#failed) return;
    if (this.#random() < 0.7) this.#log!.flush();
    if (this.#random() < 0.4) await settle();
    else if (this.#random() < 0.5) for (let i = 0; i < 3; i++) await Promise.resolve();
  }

  #append(count: number, size: number): void {
    const log = this.#log!;
    const last = log.lastIndex();
    const back = this.#random() < 0.25 ? Math.floor(this.#random() * Math.min(4, last + 1)) : 0;
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
