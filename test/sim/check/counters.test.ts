import { describe, expect, it } from 'vitest';
import { CounterChecker, WriteOnceChecker } from '../../../src/sim/check/counters.js';

function found(act: () => void): string {
  try {
    act();
  } catch (error) {
    return (error as { checker: string }).checker;
  }
  return 'nothing';
}

describe('a counter that one client increments', () => {
  it('may take an increment of unknown outcome once, now or later', () => {
    const counters = new CounterChecker();
    counters.answered('a', 1);
    counters.unknown('a');
    counters.unknown('a');
    expect(found(() => counters.answered('a', 2))).toBe('nothing');
    expect(found(() => counters.answered('a', 4))).toBe('nothing');
    expect(found(() => counters.final('a', 5))).toBe('nothing');
    expect(found(() => counters.final('a', 4))).toBe('nothing');
  });

  it('must not take one twice, nor forget one', () => {
    const counters = new CounterChecker();
    counters.answered('a', 1);
    expect(found(() => counters.answered('a', 3))).toBe('exactly once');
    expect(found(() => counters.answered('a', 1))).toBe('exactly once');
    expect(found(() => counters.final('a', 2))).toBe('exactly once');
    expect(found(() => counters.final('a', 0))).toBe('durability');
    counters.unknown('a');
    expect(found(() => counters.answered('a', 4))).toBe('exactly once');
  });
});

describe('a key that is written once', () => {
  it('holds what was acknowledged, never what was refused, and what is unknown or not', () => {
    const once = new WriteOnceChecker();
    once.written('a', '1', 'acknowledged');
    once.written('b', '2', 'refused');
    once.written('c', '3', 'unknown');
    for (const [key, value] of [
      ['a', '1'],
      ['b', null],
      ['c', '3'],
      ['c', null],
    ] as const)
      expect(found(() => once.final(key, value))).toBe('nothing');
    expect(found(() => once.final('a', null))).toBe('durability');
    expect(found(() => once.final('a', '2'))).toBe('durability');
    expect(found(() => once.final('b', '2'))).toBe('refused writes');
    expect(found(() => once.final('c', '4'))).toBe('refused writes');
  });
});
