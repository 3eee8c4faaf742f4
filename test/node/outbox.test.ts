import { describe, expect, it } from 'vitest';
import { Outbox } from '../../src/node/outbox.js';
import { HEADER_BYTES, type SealedEntry, type Store } from '../../src/store/store.js';

/** The part of a store that an outbox uses. */
class Sealer {
  openCommands = 0;
  sequence = 0;
  readonly givenUp: string[] = [];

  seal(): SealedEntry {
    this.openCommands = 0;
    return this.#entry(++this.sequence, 8);
  }
  giveUp(sequence: number, why: string, left: boolean): SealedEntry {
    this.givenUp.push(`${sequence} ${why} ${left ? 'left' : 'here'}`);
    return this.#entry(sequence, 0);
  }
  giveUpOpen(why: string): void {
    if (this.openCommands > 0) this.givenUp.push(`open ${why}`);
    this.openCommands = 0;
  }
  #entry(sequence: number, length: number): SealedEntry {
    const record = new Uint8Array(HEADER_BYTES + length).fill(sequence, HEADER_BYTES);
    return { sequence, record, payloadCrc: sequence };
  }
}

function setUp() {
  const store = new Sealer();
  const sent: { sequence: number; record: Uint8Array }[] = [];
  const state = { way: 'sent' as 'sent' | 'proposed' | 'nobody' };
  const outbox = new Outbox(store as unknown as Store, (sequence, record) => {
    if (state.way === 'nobody') return 'nobody';
    // A leader fills in the header of the record it is given.
    if (state.way === 'proposed') {
      expect(record.subarray(0, HEADER_BYTES).every((b) => b === 0)).toBe(true);
      record[0] = 1;
    }
    sent.push({ sequence, record });
    return state.way;
  });
  const write = (now: number) => {
    store.openCommands++;
    outbox.send(now);
  };
  const sequences = () => sent.splice(0).map((s) => s.sequence);
  return { store, outbox, sent, state, write, sequences };
}

describe('the outbox', () => {
  it('keeps at most two entries undecided and seals the next when one is decided', () => {
    const { outbox, store, write, sequences } = setUp();
    write(0);
    write(0);
    write(0);
    expect(sequences()).toEqual([1, 2]);
    expect(store.openCommands).toBe(1);
    outbox.decided(1);
    outbox.send(1);
    expect(sequences()).toEqual([3]);
  });

  it('sends all undecided entries again in order, from the first', () => {
    const { outbox, write, sequences } = setUp();
    write(0);
    write(0);
    sequences();
    outbox.sendAgain();
    expect(sequences()).toEqual([1, 2]);
    outbox.decided(1);
    outbox.sendAgain();
    expect(sequences()).toEqual([2]);
  });

  it('waits while there is nobody to send to, and keeps the order afterwards', () => {
    const { outbox, state, write, sequences } = setUp();
    state.way = 'nobody';
    write(0);
    write(0);
    expect(sequences()).toEqual([]);
    state.way = 'sent';
    outbox.send(1);
    expect(sequences()).toEqual([1, 2]);
  });

  it('never fills in the header of a record twice: a later leader gets a copy', () => {
    const { outbox, sent, state, write } = setUp();
    state.way = 'proposed';
    write(0);
    outbox.sendAgain();
    expect(sent).toHaveLength(2);
    expect(sent[1]!.record).not.toBe(sent[0]!.record);
    expect(sent[1]!.record.subarray(HEADER_BYTES)).toEqual(sent[0]!.record.subarray(HEADER_BYTES));
    state.way = 'sent';
    outbox.sendAgain();
    expect(sent[2]!.record[0]).toBe(0);
  });

  it('gives up an entry that never left with a definite error, one that left with an unknown outcome, and sends empty ones in their place', () => {
    const { outbox, store, sent, state, write, sequences } = setUp();
    write(0);
    state.way = 'nobody';
    write(10);
    write(20);
    sequences();
    outbox.giveUp(9, false);
    expect(store.givenUp.splice(0)).toEqual(['1 no-leader left']);
    outbox.giveUp(30, true);
    expect(store.givenUp.splice(0)).toEqual(['2 timeout here', 'open timeout']);
    outbox.giveUp(1_000, true);
    expect(store.givenUp).toEqual([]);
    state.way = 'sent';
    outbox.send(40);
    expect(sent.map((s) => s.record.length)).toEqual([HEADER_BYTES, HEADER_BYTES]);
    expect(sequences()).toEqual([1, 2]);
  });

  it('sends again, ever more rarely, what makes no progress', () => {
    const { outbox, write, sequences } = setUp();
    write(0);
    sequences();
    const resentAt: number[] = [];
    for (let now = 0; now <= 8_000; now += 25) {
      outbox.nudge(now);
      if (sequences().length > 0) resentAt.push(now);
    }
    expect(resentAt).toEqual([1_000, 3_000, 7_000]);
  });

  it('does not send again what is in the own log, as long as this node leads', () => {
    const { outbox, state, write, sequences } = setUp();
    state.way = 'proposed';
    write(0);
    sequences();
    for (let now = 0; now <= 8_000; now += 25) outbox.nudge(now);
    expect(sequences()).toEqual([]);
    outbox.sendAgain();
    expect(sequences()).toEqual([1]);
  });

  it('refuses an outcome out of order', () => {
    const { outbox, write } = setUp();
    write(0);
    write(0);
    expect(() => outbox.decided(2)).toThrow('decided in order');
  });
});
