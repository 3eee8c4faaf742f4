import { describe, expect, it } from 'vitest';
import { checkSerializable, type Step, type Transaction } from '../../../src/sim/check/serializability.js';
import { seeded } from '../seeded.js';

const append = (key: string, value: number): Step => ({ kind: 'append', key, value });
const read = (key: string, ...list: number[]): Step => ({ kind: 'read', key, list });

/** Transactions that all overlap, unless times are given. */
function txn(steps: Step[], extra: Partial<Transaction> = {}): Transaction {
  return { client: 1, steps, invoked: 0, began: 100, returned: 100, outcome: 'committed', ...extra };
}

const at = (invoked: number, returned: number) => ({ invoked, began: invoked, returned });
const lists = (all: Record<string, readonly number[]> = {}): Map<string, readonly number[]> =>
  new Map(Object.entries(all));

function anomaly(history: Transaction[], final = lists()): string {
  try {
    checkSerializable(history, final);
  } catch (error) {
    return (error as { checker: string }).checker.replace('serializability: ', '');
  }
  return 'none';
}

describe('a history of transactions', () => {
  it('that some order explains is accepted', () => {
    const history = [
      txn([read('x'), append('x', 1)], at(0, 1)),
      txn([read('x', 1), append('x', 2), read('x', 1, 2), append('y', 3)], at(2, 3)),
      txn([read('x', 1, 2), read('y', 3)], at(4, 5)),
    ];
    expect(anomaly(history, lists({ x: [1, 2], y: [3] }))).toBe('none');
  });

  it('with writes in a circle is G0', () => {
    const history = [txn([append('x', 1), append('y', 1)]), txn([append('x', 2), append('y', 2)])];
    expect(anomaly(history, lists({ x: [1, 2], y: [2, 1] }))).toBe('G0');
  });

  it('with a read of an aborted write is G1a', () => {
    const history = [txn([append('x', 1)], { outcome: 'aborted' }), txn([read('x', 1)])];
    expect(anomaly(history)).toBe('G1a');
    expect(anomaly([history[0]!], lists({ x: [1] }))).toBe('G1a');
  });

  it('with a read of half a transaction is G1b', () => {
    const history = [txn([append('x', 1), append('x', 2)]), txn([read('x', 1)])];
    expect(anomaly(history, lists({ x: [1, 2] }))).toBe('G1b');
  });

  it('with information in a circle is G1c', () => {
    const history = [txn([append('x', 1), read('y', 2)]), txn([append('y', 2), read('x', 1)])];
    expect(anomaly(history)).toBe('G1c');
  });

  it('with read skew is G-single, also in a transaction that was aborted', () => {
    const writer = txn([append('x', 1), append('y', 2)]);
    const skewed = [read('x', 1), read('y')];
    expect(anomaly([writer, txn(skewed)], lists({ x: [1], y: [2] }))).toBe('G-single');
    expect(anomaly([writer, txn(skewed, { outcome: 'aborted' })], lists({ x: [1], y: [2] }))).toBe('G-single');
    expect(anomaly([writer, txn(skewed, { outcome: 'unknown', returned: undefined })], lists({ x: [1], y: [2] }))).toBe(
      'G-single',
    );
  });

  it('with a lost update is G-single', () => {
    const history = [txn([read('x'), append('x', 1)]), txn([read('x'), append('x', 2)])];
    expect(anomaly(history, lists({ x: [1, 2] }))).toBe('G-single');
  });

  it('with write skew is G2', () => {
    const history = [txn([read('x'), append('y', 1)]), txn([read('y'), append('x', 2)])];
    expect(anomaly(history, lists({ x: [2], y: [1] }))).toBe('G2');
  });

  it('with a stale read is serializable, but not strictly', () => {
    const history = [txn([append('x', 1)], at(0, 1)), txn([read('x')], at(2, 3))];
    expect(anomaly(history, lists({ x: [1] }))).toBe('G-single-realtime');
  });

  it('with writes against real time is G0-realtime', () => {
    const history = [txn([append('x', 1)], at(0, 1)), txn([append('x', 2)], at(2, 3))];
    expect(anomaly(history, lists({ x: [2, 1] }))).toBe('G0-realtime');
  });

  it('with a read from the future is G1c-realtime', () => {
    const history = [txn([read('x', 1)], at(0, 1)), txn([append('x', 1)], at(2, 3))];
    expect(anomaly(history)).toBe('G1c-realtime');
  });

  it('with write skew and a third that saw it in a wrong order in time is found', () => {
    const history = [
      txn([read('y'), append('x', 1)], at(0, 1)),
      txn([read('x', 1)], at(2, 3)),
      txn([read('x'), append('y', 2)], at(4, 5)),
    ];
    expect(anomaly(history, lists({ x: [1], y: [2] }))).toBe('G2');
  });

  it('whose reads only took their snapshot after BEGIN was answered is found', () => {
    const history = [
      txn([read('x', 1)], { invoked: 0, began: 1, returned: 10 }),
      txn([read('x'), append('x', 1)], at(2, 3)),
    ];
    expect(anomaly(history, lists({ x: [1] }))).toBe('G1c-realtime');
  });

  it('that lost or doubled an append, or read what nobody wrote, is found', () => {
    expect(anomaly([txn([append('x', 1)])], lists({ x: [] }))).toBe('lost-append');
    expect(anomaly([txn([append('x', 1)]), txn([read('x', 1)])], lists({ x: [] }))).toBe('lost-append');
    expect(anomaly([txn([append('x', 1)])], lists({ x: [1, 1] }))).toBe('duplicate-append');
    expect(anomaly([txn([read('x', 7)])])).toBe('garbage-read');
  });

  it('whose lists have no common order, or that does not see its own writes, is found', () => {
    const writers = [txn([append('x', 1)]), txn([append('x', 2)])];
    expect(anomaly([...writers, txn([read('x', 1, 2)]), txn([read('x', 2)])])).toBe('incompatible-order');
    expect(anomaly([txn([append('x', 1), read('x')])])).toBe('internal');
    expect(anomaly([...writers, txn([read('x', 1), read('x', 1, 2)])])).toBe('internal');
  });

  it('of unknown outcome may have happened or not', () => {
    const unknown = txn([read('x'), append('x', 1)], { outcome: 'unknown', returned: undefined, began: 1 });
    expect(anomaly([unknown], lists({ x: [] }))).toBe('none');
    expect(anomaly([unknown, txn([read('x', 1)], at(5, 6))], lists({ x: [1] }))).toBe('none');
  });
});

describe('random histories of a real serial map', () => {
  /** One transaction after the other on a map; returns the lists at the end. */
  function serial(seed: number, count: number): { history: Transaction[]; final: Map<string, readonly number[]> } {
    const random = seeded(seed);
    const state = new Map<string, number[]>();
    const history: Transaction[] = [];
    for (let n = 1; n <= count; n++) {
      const steps: Step[] = [];
      for (let step = 0; step < 1 + random() * 4; step++) {
        const key = `k${Math.floor(random() * 4)}`;
        const list = state.get(key) ?? [];
        if (random() < 0.5) steps.push(read(key, ...list));
        else {
          const value = n * 10 + step;
          steps.push(append(key, value));
          state.set(key, [...list, value]);
        }
      }
      history.push(txn(steps, at(n * 10 - random() * 30, n * 10 + random() * 30)));
    }
    return { history, final: state };
  }

  it('are accepted, and with a read moved to an earlier state they are not', () => {
    let found = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const { history, final } = serial(seed, 60);
      // The snapshot of what only reads is judged by its own interval.
      const judged = history.map((one) => ({ ...one, began: one.returned! }));
      expect(anomaly(judged, final), `seed ${seed}`).toBe('none');
      const victim = judged.findLastIndex((one) => one.steps.some((s) => s.kind === 'read' && s.list.length > 12));
      const steps = judged[victim]!.steps.map((s) =>
        s.kind === 'read' && s.list.length > 12 ? read(s.key, ...s.list.slice(0, -12)) : s,
      );
      const bad = judged.map((one, i) => (i === victim ? { ...one, steps } : one));
      if (anomaly(bad, final) !== 'none') found++;
    }
    expect(found).toBe(40);
  });
});
