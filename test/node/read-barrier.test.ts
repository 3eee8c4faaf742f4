import { describe, expect, it } from 'vitest';
import { ReadBarrier } from '../../src/node/read-barrier.js';
import type { Store } from '../../src/store/store.js';

function setUp() {
  const store = {
    gathered: 0,
    applied: 0,
    slices: 1,
    log: [] as string[],
    sealReads(): boolean {
      if (this.gathered === 0) return false;
      this.log.push(`sealed ${this.gathered}`);
      this.gathered = 0;
      return true;
    },
    evalReads(): boolean {
      this.log.push('evaluated');
      return --this.slices <= 0;
    },
    failReads(why: string): void {
      this.log.push(`failed ${why}`);
    },
  };
  const asked: number[] = [];
  const barrier = new ReadBarrier(store as unknown as Store, (id) => asked.push(id), 100);
  return { store, barrier, asked };
}

describe('the read barrier', () => {
  it('asks after the batch is sealed, and gathers the next while one is in flight (dissertation §6.4)', () => {
    const { store, barrier, asked } = setUp();
    store.gathered = 3;
    barrier.start(0);
    store.gathered = 2;
    barrier.start(1);
    expect(store.log).toEqual(['sealed 3']);
    expect(asked).toEqual([1]);
  });

  it('evaluates only once the read index is applied', () => {
    const { store, barrier } = setUp();
    store.gathered = 1;
    store.applied = 6;
    barrier.start(0);
    expect(barrier.evaluate()).toBe(false);
    barrier.answer(1, 7);
    barrier.evaluate();
    expect(store.log).not.toContain('evaluated');
    store.applied = 7;
    barrier.evaluate();
    expect(store.log).toContain('evaluated');
    expect(barrier.idle).toBe(true);
  });

  it('ignores an answer to an earlier question', () => {
    const { store, barrier } = setUp();
    store.gathered = 1;
    barrier.start(0);
    barrier.giveUp(0, false);
    store.gathered = 1;
    barrier.start(1);
    barrier.answer(1, 0);
    barrier.evaluate();
    expect(store.log).not.toContain('evaluated');
  });

  it('asks again when nobody could answer: when it is due, or at once when there is a new leader', () => {
    const { store, barrier, asked } = setUp();
    store.gathered = 1;
    barrier.start(0);
    barrier.answer(1, -1);
    barrier.repeat(50, false);
    expect(asked).toEqual([1]);
    barrier.repeat(100, false);
    expect(asked).toEqual([1, 1]);
    // A question that is open is Raft's to repeat, and would pile up there.
    barrier.repeat(300, true);
    expect(asked).toEqual([1, 1]);
    barrier.answer(1, -1);
    barrier.repeat(301, true);
    expect(asked).toEqual([1, 1, 1]);
    barrier.answer(1, 0);
    barrier.repeat(900, true);
    expect(asked).toHaveLength(3);
  });

  it('wants another turn while the evaluation is not finished', () => {
    const { store, barrier } = setUp();
    store.gathered = 1;
    store.slices = 3;
    barrier.start(0);
    barrier.answer(1, 0);
    expect([barrier.evaluate(), barrier.evaluate(), barrier.evaluate()]).toEqual([true, true, false]);
  });

  it('counts the time-out of a batch from when its first read came in, also behind a stuck one', () => {
    const { store, barrier } = setUp();
    store.gathered = 1;
    barrier.start(0);
    store.gathered = 1;
    barrier.start(10);
    barrier.giveUp(5, false);
    expect(store.log.pop()).toBe('failed no-leader');
    barrier.start(500);
    barrier.giveUp(9, true);
    expect(store.log.pop()).toBe('sealed 1');
    barrier.giveUp(10, true);
    expect(store.log.pop()).toBe('failed timeout');
  });
});
