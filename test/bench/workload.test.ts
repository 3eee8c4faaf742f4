import { describe, expect, it } from 'vitest';
import { BareMap, encodeLines } from '../../src/bench/bare-map.js';
import { type BenchOperation, fillBatches, makeList, type Shape } from '../../src/bench/workload.js';

const shape: Shape = { keys: 1000, valueSize: 100 };

function filled(): BareMap {
  const map = new BareMap();
  for (const batch of fillBatches(shape)) map.run(batch);
  return map;
}

/** Replies of a whole list, line by line. */
function replies(map: BareMap, batches: readonly Uint8Array[]): string[] {
  return batches.flatMap((batch) => Buffer.from(map.run(batch)).toString('latin1').split('\n').slice(0, -1));
}

describe('the lists of the store benchmark', () => {
  it('fill exactly the keys asked for', () => {
    expect(filled().size).toBe(1000);
  });

  it.each([1, 16, 128])('hold batches of %i commands, each of which has its effect', (batch) => {
    const map = filled();
    const list = (operation: BenchOperation) => makeList(operation, shape, batch).batches;
    const sets = replies(map, list('set'));
    expect(sets.length).toBe(batch * list('set').length);
    expect(new Set(sets)).toEqual(new Set(['OK']));
    for (const line of replies(map, list('get'))) expect(line).toMatch(/^"[A-Za-z0-9]{100}"$/);
    const mixed = replies(map, list('mixed'));
    expect(mixed.filter((line) => line === 'OK').length).toBeCloseTo(mixed.length / 2, -2);
    expect(map.size).toBe(1000);
  });

  it('of deletes bring back what they took', () => {
    const map = filled();
    const { batches, restore } = makeList('delete', shape, 16);
    expect(new Set(replies(map, batches))).toEqual(new Set(['(integer) 1']));
    expect(map.size).toBe(1000 - 16 * batches.length);
    expect(new Set(replies(map, restore!))).toEqual(new Set(['OK']));
    expect(map.size).toBe(1000);
  });

  it('of transactions write two keys each, and hold the revisions that they are told', () => {
    const map = filled();
    const { batches, transactions } = makeList('txn', shape, 16);
    expect(transactions!.count).toBe(16 * batches.length);
    for (let i = 0; i < transactions!.count; i++) transactions!.expect(i, 2 ** 32 + i, 7);
    expect(new Set(replies(map, batches))).toEqual(new Set(['OK']));
    const first = Buffer.from(batches[0]!);
    expect([first[0], first.readUInt32LE(4)]).toEqual([5, 2]);
    expect([first.readUInt32LE(16), first.readUInt32LE(20)]).toEqual([0, 1]);
    expect([first.readUInt32LE(16 + 24), first.readUInt32LE(20 + 24)]).toEqual([7, 0]);
    for (let i = 0; i < transactions!.count; i++) transactions!.expect(i, 0, 0);
    expect(new Set(replies(map, batches))).toEqual(new Set(['ERR conflict']));
  });

  it('of lines are encoded by the map as the operations that they say', () => {
    const { batches } = makeList('encode', shape, 128);
    const map = new BareMap();
    const answers = replies(map, batches.map(encodeLines));
    expect(answers.length).toBe(128 * batches.length);
    expect(new Set(answers)).toEqual(new Set(['OK']));
    expect(map.size).toBeLessThanOrEqual(1000);
  });

  it('are the same each time', () => {
    for (const operation of ['set', 'get', 'delete', 'mixed', 'txn', 'encode'] as const) {
      const [one, other] = [makeList(operation, shape, 16).batches, makeList(operation, shape, 16).batches];
      expect(Buffer.concat(one).equals(Buffer.concat(other)), operation).toBe(true);
      expect(one.map((batch) => batch.length)).toEqual(other.map((batch) => batch.length));
    }
  });
});
