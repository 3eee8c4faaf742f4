import { describe, expect, it } from 'vitest';
import { type Line, Sequencer } from '../../src/cli/sequencer.js';

const write = (line = 'SET a 1'): Line => ({ line: Buffer.from(line), kind: 'write' });

/** A sequencer with a session, and its clock. */
function withSession(): { sequencer: Sequencer; clock: { ms: number } } {
  const clock = { ms: 5 };
  const sequencer = new Sequencer(() => clock.ms);
  expect(sequencer.needs(write())).toBe('session');
  expect(sequencer.ask()).toBe('SESSION');
  expect(sequencer.answered('(integer) 7')).toBe('has');
  return { sequencer, clock };
}

/** Sends a write and has it answered. */
function once(sequencer: Sequencer, reply = 'OK'): string | undefined {
  const item = write();
  if (sequencer.needs(item) !== 'nothing') return undefined;
  const prefix = sequencer.prefix(item)?.toString();
  sequencer.sent(item);
  sequencer.replied(item, reply);
  return prefix;
}

describe('the CLI’s own session', () => {
  it('numbers its writes, and says from where on they are unanswered', () => {
    const { sequencer } = withSession();
    const items = [write(), write(), write('GET a'), write()];
    expect(items.map((item) => sequencer.needs(item))).toEqual(['nothing', 'nothing', 'nothing', 'nothing']);
    expect(items.map((item) => sequencer.prefix(item)?.toString())).toEqual([
      'SEQ 1 FROM 1 ',
      'SEQ 2 FROM 1 ',
      undefined,
      'SEQ 3 FROM 1 ',
    ]);
    for (const item of items) sequencer.replied(item, 'OK');
    expect(once(sequencer)).toBe('SEQ 4 FROM 4 ');
  });

  it('is asked about after ten minutes without use, before it could have expired unnoticed', () => {
    const { sequencer, clock } = withSession();
    clock.ms += 600_000;
    expect(once(sequencer)).toBe('SEQ 1 FROM 1 ');
    clock.ms += 600_000;
    expect(once(sequencer)).toBe('SEQ 2 FROM 2 ');
    clock.ms += 600_001;
    expect(once(sequencer)).toBeUndefined();
    expect(sequencer.ask()).toBe('SESSION 7');
    expect(sequencer.answered('ERR session number 7 is unknown or has expired')).toBe('gone');
    expect(once(sequencer)).toBeUndefined();
    expect(sequencer.ask()).toBe('SESSION');
    sequencer.answered('(integer) 90');
    expect(once(sequencer)).toBe('SEQ 1 FROM 1 ');
  });

  it('is asked about when a write is told that there is none', () => {
    const { sequencer } = withSession();
    expect(once(sequencer, 'ERR session number 7')).toBe('SEQ 1 FROM 1 ');
    expect(once(sequencer)).toBeUndefined();
    expect(sequencer.ask()).toBe('SESSION 7');
  });

  it('gives a line no number that would be too long for the server with it', () => {
    const { sequencer } = withSession();
    const long = write(`SET a ${'x'.repeat(8_388_608 - 6)}`);
    expect(sequencer.needs(long)).toBe('nothing');
    expect(sequencer.prefix(long)).toBeUndefined();
  });
});
