import { describe, expect, it } from 'vitest';
import { RetryChecker } from '../../../src/sim/check/retries.js';

function found(act: () => void): string {
  try {
    act();
  } catch (error) {
    return (error as { checker: string }).checker;
  }
  return 'nothing';
}

describe('commands that are sent until they are answered', () => {
  it('may count once, whether they are answered or not', () => {
    const retries = new RetryChecker();
    retries.begun('a');
    expect(retries.answered('one', '(integer) 1')).toBe(true);
    retries.decided('a', true, 1);
    expect(retries.answered('one', '(integer) 1')).toBe(false);
    retries.begun('a');
    retries.answered('two', 'ERR aborted');
    retries.decided('a', false);
    expect(found(() => retries.final('a', 1))).toBe('nothing');
    retries.begun('a');
    expect(found(() => retries.final('a', 1))).toBe('nothing');
    expect(found(() => retries.final('a', 2))).toBe('nothing');
    retries.dropped('a');
    expect(found(() => retries.final('a', 2))).toBe('exactly once');
  });

  it('must not be answered otherwise when they are sent again, count twice, or be forgotten', () => {
    const retries = new RetryChecker();
    retries.begun('a');
    retries.answered('one', '(integer) 1');
    retries.decided('a', true, 1);
    expect(found(() => retries.answered('one', '(integer) 2'))).toBe('exactly once');
    retries.begun('a');
    expect(found(() => retries.decided('a', true, 3))).toBe('exactly once');
    expect(found(() => retries.final('a', 0))).toBe('durability');
    expect(found(() => retries.final('a', 3))).toBe('exactly once');
  });

  it('must not count after a COMMIT was told that it did not happen', () => {
    const retries = new RetryChecker();
    retries.begun('a');
    retries.answered('one', 'ERR aborted');
    retries.decided('a', false);
    expect(found(() => retries.final('a', 1))).toBe('exactly once');
    expect(found(() => retries.answered('one', 'OK'))).toBe('exactly once');
  });
});
