import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Answer,
  type Call,
  checkLinearizable,
  model,
  type Operation,
} from '../../../src/sim/check/linearizability.js';

/** An operation of client `client` on key k, by its times. */
function op(client: number, call: Call, answer: Answer, invoked: number, returned?: number): Operation {
  return { client, key: 'k', call, invoked, returned, answer };
}
const get = (client: number, answer: string | null, invoked: number, returned?: number) =>
  op(client, { kind: 'get' }, answer, invoked, returned);
const set = (client: number, value: string, invoked: number, returned?: number) =>
  op(client, { kind: 'set', value }, true, invoked, returned);

function verdict(history: readonly Operation[]): boolean {
  return checkLinearizable(history).linearizable;
}

describe('the checker accepts', () => {
  it('an empty history and a sequential one', () => {
    expect(verdict([])).toBe(true);
    expect(verdict([get(1, null, 1, 2), set(1, 'a', 3, 4), get(2, 'a', 5, 6)])).toBe(true);
  });

  it('overlapping writes in whichever order the reads saw them', () => {
    expect(verdict([set(1, 'a', 1, 10), set(2, 'b', 2, 9), get(3, 'b', 3, 4), get(3, 'a', 5, 6)])).toBe(true);
  });

  it('a write of unknown outcome that shows only long after, or never', () => {
    expect(verdict([set(1, 'a', 1), set(2, 'b', 2, 3), get(3, 'b', 4, 5), get(3, 'a', 6, 7)])).toBe(true);
    expect(verdict([set(1, 'a', 1), set(2, 'b', 2, 3), get(3, 'b', 4, 5)])).toBe(true);
  });

  it('two increments of unknown outcome of which one happened', () => {
    const incr: Call = { kind: 'incr', by: 1 };
    expect(verdict([op(1, incr, null, 1), op(2, incr, null, 2), get(3, '1', 3, 4)])).toBe(true);
    expect(verdict([op(1, incr, null, 1), op(2, incr, null, 2), get(3, '2', 3, 4)])).toBe(true);
  });
});

describe('the checker finds', () => {
  it('a stale read', () => {
    expect(verdict([set(1, 'a', 1, 2), set(1, 'b', 3, 4), get(2, 'a', 5, 6)])).toBe(false);
  });

  it('a value that goes back after it was seen, even while its write is under way', () => {
    expect(verdict([set(1, 'a', 1, 2), set(2, 'b', 3, 20), get(3, 'b', 4, 5), get(4, 'a', 6, 7)])).toBe(false);
  });

  it('a lost update', () => {
    const incr: Call = { kind: 'incr', by: 1 };
    expect(verdict([op(1, incr, 1, 1, 5), op(2, incr, 1, 2, 6)])).toBe(false);
    expect(verdict([op(1, incr, 1, 1, 2), op(2, incr, 2, 3, 4), get(3, '1', 5, 6)])).toBe(false);
  });

  it('a lost acknowledged write', () => {
    expect(verdict([set(1, 'a', 1, 2), get(2, null, 3, 4)])).toBe(false);
  });

  it('a read of a value that was never written, or not yet', () => {
    expect(verdict([set(1, 'a', 1, 2), get(2, 'x', 3, 4)])).toBe(false);
    expect(verdict([get(2, 'a', 1, 2), set(1, 'a', 3, 4)])).toBe(false);
  });

  it('a split brain: two sides that each see only their own writes', () => {
    const history = [set(1, 'a', 1, 2), set(2, 'b', 3, 4), get(1, 'a', 5, 6), get(2, 'b', 7, 8)];
    expect(verdict(history)).toBe(false);
  });

  it('a compare-and-set that two clients both won, and a resend that took effect twice', () => {
    const cas = (value: string): Call => ({ kind: 'cas', expected: 'a', value });
    expect(verdict([set(1, 'a', 1, 2), op(1, cas('b'), true, 3, 9), op(2, cas('c'), true, 4, 8)])).toBe(false);
    expect(verdict([op(1, { kind: 'incr', by: 1 }, null, 1), get(2, '2', 3, 4)])).toBe(false);
  });

  it('the operation at fault among many, and names it', () => {
    const history: Operation[] = [];
    for (let i = 0; i < 1000; i++)
      history.push(set(1, `v${i}`, 4 * i, 4 * i + 1), get(2, `v${i}`, 4 * i + 2, 4 * i + 3));
    history[1001] = get(2, 'v499', 4 * 500 + 2, 4 * 500 + 3);
    const found = checkLinearizable(history);
    expect(found.linearizable).toBe(false);
    if (!found.linearizable) {
      expect(found.operation).toBe(history[1001]);
      expect(found.story).toContain('client 2 get');
    }
  });
});

/** Runs calls one after the other on the model, each at a random instant within a random interval. */
function plausible(seed: number, count: number, keys: number, clients: number, unknownShare: number): Operation[] {
  let random = seed >>> 0;
  const next = () => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return random / 2 ** 32;
  };
  const states = new Map<string, string | null>();
  const free = new Array<number>(clients).fill(0);
  const history: Operation[] = [];
  for (let i = 0; i < count; i++) {
    const client = free.indexOf(Math.min(...free));
    const at = Math.max(i * 10, free[client]! + 1);
    const key = `k${Math.floor(next() * keys)}`;
    const kind = next();
    const call: Call =
      kind < 0.5
        ? { kind: 'get' }
        : kind < 0.8
          ? { kind: 'set', value: String(i) }
          : kind < 0.9
            ? { kind: 'incr', by: 1 }
            : kind < 0.95
              ? { kind: 'del' }
              : { kind: 'cas', expected: states.get(key) ?? 'x', value: String(i) };
    const unknown = next() < unknownShare;
    const happens = !unknown || next() < 0.5;
    const result = model(states.get(key) ?? null, call);
    if (happens) states.set(key, result.state);
    const returned = at + next() * 40;
    free[client] = returned;
    const invoked = Math.max(at - next() * 40, 0);
    history.push({ client, key, call, invoked, returned: unknown ? undefined : returned, answer: result.answer });
  }
  return history;
}

describe('a large history', () => {
  it('of 20,000 overlapping operations with many unknown outcomes is judged within seconds', () => {
    const history = plausible(7, 20_000, 16, 24, 0.02);
    const started = performance.now();
    const found = checkLinearizable(history);
    expect(found.linearizable ? '' : found.story).toBe('');
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('with one read changed to a value overwritten before is refused', () => {
    const history = plausible(11, 10_000, 16, 24, 0.01);
    const reads = history.filter((o) => o.call.kind === 'get' && o.returned !== undefined && o.invoked > 50_000);
    const read = reads[17]!;
    const old = history.find((o) => o.key === read.key && o.call.kind === 'set' && o.returned !== undefined)!;
    history[history.indexOf(read)] = { ...read, answer: old.call.kind === 'set' ? old.call.value : null };
    expect(verdict(history)).toBe(false);
  });
});

/** Tries every order of every choice of operations of unknown outcome. */
function bruteForce(history: readonly Operation[]): boolean {
  const search = (state: string | null, left: readonly Operation[]): boolean => {
    if (left.every((o) => o.returned === undefined)) return true;
    const earliestReturn = Math.min(...left.map((o) => o.returned ?? Number.POSITIVE_INFINITY));
    return left.some((o) => {
      if (o.invoked > earliestReturn) return false;
      const result = model(state, o.call);
      if (o.returned !== undefined && result.answer !== o.answer) return false;
      return search(
        result.state,
        left.filter((other) => other !== o),
      );
    });
  };
  return search(null, history);
}

const smallCall: fc.Arbitrary<Call> = fc.oneof(
  fc.constant<Call>({ kind: 'get' }),
  fc.constantFrom('0', '1', '2').map((value): Call => ({ kind: 'set', value })),
  fc.constantFrom('0', '1').map((value): Call => ({ kind: 'setnx', value })),
  fc.constant<Call>({ kind: 'del' }),
  fc.constant<Call>({ kind: 'incr', by: 1 }),
  fc
    .tuple(fc.constantFrom('0', '1', '2'), fc.constantFrom('0', '1', '2'))
    .map(([expected, value]): Call => ({ kind: 'cas', expected, value })),
);
const answers: Record<Call['kind'], readonly Answer[]> = {
  get: [null, '0', '1', '2'],
  set: [true],
  setnx: [true, false],
  del: [0, 1],
  incr: [1, 2, 3],
  cas: [true, false],
};
const smallOperation = fc
  .record({
    call: smallCall,
    start: fc.nat(20),
    length: fc.nat(12),
    unknown: fc.nat(3).map((n) => n === 0),
    pick: fc.nat(11),
  })
  .map(({ call, start, length, unknown, pick }): Operation => {
    const choices = answers[call.kind];
    return op(0, call, choices[pick % choices.length]!, start, unknown ? undefined : start + length);
  });

describe('against brute force on small histories', () => {
  it('random answers get the same verdict', () => {
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(smallOperation, { maxLength: 6 }), (history) => {
        const expected = bruteForce(history);
        if (expected && history.length > 2) accepted++;
        expect(verdict(history)).toBe(expected);
      }),
      { numRuns: 5000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });

  it('histories of a real map are accepted, and get the same verdict after one answer was changed', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(6), fc.nat(11), (seed, index, pick) => {
        const history = plausible(seed, 7, 1, 4, 0.2);
        expect(verdict(history)).toBe(true);
        const victim = history[index]!;
        const choices = answers[victim.call.kind];
        history[index] = { ...victim, answer: choices[pick % choices.length]! };
        expect(verdict(history)).toBe(bruteForce(history));
      }),
      { numRuns: 2000 },
    );
  });
});
