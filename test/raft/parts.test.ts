import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LogView } from '../../src/raft/log-view.js';
import { changed, fault, isStep, left, Memberships } from '../../src/raft/membership.js';
import { Progress } from '../../src/raft/progress.js';
import { Quorum, Voters } from '../../src/raft/quorum.js';
import type { Entry, LogReader, Membership } from '../../src/raft/types.js';
import { entriesOf, entry, members } from './host.js';

const nobody = (): Memberships => new Memberships(members([]), [], 0);

class Memory implements LogReader {
  list: Entry[] = [];
  firstIndex(): number {
    return 1;
  }
  lastIndex(): number {
    return this.list.length;
  }
  term(index: number): number {
    return index === 0 ? 0 : this.list[index - 1]!.term;
  }
  entries(from: number, to: number, maxBytes: number): Entry[] {
    let room = maxBytes;
    return this.list.slice(from - 1, to).filter(({ bytes }, i) => {
      room -= bytes.length;
      return room >= 0 || i === 0;
    });
  }
  append(entries: readonly Entry[]): void {
    if (entries.length > 0) this.list = [...this.list.slice(0, entries[0]!.index - 1), ...entries];
  }
}

describe('log view', () => {
  /** Another leader takes over at some place, and brings some entries of its own term. */
  const takeover = fc.record({
    back: fc.nat(6),
    repeat: fc.nat(4),
    count: fc.nat(5),
    take: fc.boolean(),
    persist: fc.option(fc.nat(10), { nil: undefined }),
  });

  test('whatever is merged, handed out and written, it is the log that the leaders wrote, and vouches for what the disk has', () => {
    fc.assert(
      fc.property(fc.array(takeover, { maxLength: 30 }), (steps) => {
        const host = new Memory();
        const view = new LogView(host, 0, nobody());
        let model: Entry[] = [];
        let durable = 0;
        let term = 0;
        for (const { back, repeat, count, take, persist } of steps) {
          term++;
          const keep = Math.max(0, model.length - back);
          const again = Math.max(0, keep - repeat);
          const fresh = entriesOf(
            Array.from({ length: count }, () => term),
            keep + 1,
          );
          const sent = [...model.slice(again, keep), ...fresh];
          view.merge(sent, 0);
          if (count > 0) {
            model = [...model.slice(0, keep), ...fresh];
            durable = Math.min(durable, keep);
          }
          if (take) host.append(view.take());
          if (persist !== undefined && take && persist > durable && persist <= model.length) {
            expect(view.persist(persist, model[persist - 1]!.term)).toBe(true);
            durable = persist;
          }
          // A completion of another term's entry is not one of this log's.
          expect(view.persist(model.length, term + 1)).toBe(false);
          expect([view.lastIndex, view.lastTerm, view.persisted]).toEqual([
            model.length,
            model.at(-1)?.term ?? 0,
            durable,
          ]);
          if (model.length > 0) expect(view.entries(1, Number.MAX_SAFE_INTEGER)).toEqual(model);
          for (let index = 1; index <= model.length; index++) expect(view.term(index)).toBe(model[index - 1]!.term);
        }
      }),
    );
  });

  test('entries are read across the border of what was handed out, as many as fit', () => {
    const host = new Memory();
    const view = new LogView(host, 0, nobody());
    for (let index = 1; index <= 3; index++) view.append(entry(index, 1, new Uint8Array(10)));
    host.append(view.take());
    for (let index = 4; index <= 6; index++) view.append(entry(index, 1, new Uint8Array(10)));
    const read = (from: number, bytes: number): number[] => view.entries(from, bytes).map(({ index }) => index);
    expect(read(2, 1000)).toEqual([2, 3, 4, 5, 6]);
    expect(read(2, 39)).toEqual([2, 3, 4]);
    expect(read(2, 20)).toEqual([2, 3]);
    expect(read(2, 1)).toEqual([2]);
    expect(read(5, 1)).toEqual([5]);
    expect(read(5, 20)).toEqual([5, 6]);
  });

  test('the last entry of at most a term is found as a scan finds it', () => {
    const logs = fc
      .array(fc.integer({ min: 1, max: 6 }), { maxLength: 40 })
      .map((terms) => terms.sort((a, b) => a - b));
    fc.assert(
      fc.property(logs, fc.nat(40), fc.nat(7), (terms, high, term) => {
        const host = new Memory();
        host.append(entriesOf(terms));
        const top = Math.min(high, terms.length);
        let expected = top;
        while (expected > 0 && terms[expected - 1]! > term) expected--;
        expect(new LogView(host, 0, nobody()).lastWithTerm(0, top, term)).toBe(expected);
      }),
    );
  });

  test('a gap, and a term that falls, are refused', () => {
    const view = new LogView(new Memory(), 0, nobody());
    expect(() => view.append(entry(2, 1))).toThrow('entry 2 appended to a log that ends at 0');
    view.append(entry(1, 3));
    expect(() => view.append(entry(2, 2))).toThrow('entry 2 has term 2, the one before it 3');
  });
});

describe('quorum', () => {
  test('what a majority has reached is what counting finds, and two majorities share a member', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 9 }), (matches) => {
        const voters = new Voters(matches.map((_, i) => i + 1));
        const reached = voters.reached((id) => matches[id - 1]!);
        const having = (index: number): number => matches.filter((match) => match >= index).length;
        expect(having(reached) * 2).toBeGreaterThan(matches.length);
        expect(having(reached + 1) * 2).toBeLessThanOrEqual(matches.length);
        const yes = (id: number): boolean => matches[id - 1]! % 2 === 0;
        expect(voters.majority(yes) && voters.majority((id) => !yes(id))).toBe(false);
      }),
    );
  });

  const set = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 7 });

  test('joint, nothing is decided without a majority of either half, and either half of two decisions shares a member', () => {
    fc.assert(
      fc.property(set, set, fc.array(fc.nat(9), { minLength: 9, maxLength: 9 }), (voters, outgoing, matches) => {
        const quorum = new Quorum(members(voters, outgoing));
        const reached = quorum.reached((id) => matches[id - 1]!);
        const having = (ids: readonly number[], index: number): boolean =>
          ids.filter((id) => matches[id - 1]! >= index).length * 2 > ids.length;
        expect([having(voters, reached), having(outgoing, reached)]).toEqual([true, true]);
        expect(having(voters, reached + 1) && having(outgoing, reached + 1)).toBe(false);
        const yes = (id: number): boolean => matches[id - 1]! % 2 === 0;
        expect(quorum.majority(yes)).toBe(new Voters(voters).majority(yes) && new Voters(outgoing).majority(yes));
        expect(quorum.majority(yes) && new Voters(outgoing).majority((id) => !yes(id))).toBe(false);
        expect(quorum.majority(yes) && new Voters(voters).majority((id) => !yes(id))).toBe(false);
      }),
    );
  });

  test('joint, an election is won in both halves or lost in one', () => {
    const answers = fc.dictionary(fc.constantFrom('1', '2', '3', '4', '5', '6', '7', '8', '9'), fc.boolean());
    fc.assert(
      fc.property(set, set, answers, (voters, outgoing, given) => {
        const votes = new Map(Object.entries(given).map(([id, granted]) => [Number(id), granted]));
        const tallies = [new Voters(voters).tally(votes), new Voters(outgoing).tally(votes)];
        const expected = tallies.includes('lost') ? 'lost' : tallies.includes('open') ? 'open' : 'won';
        expect(new Quorum(members(voters, outgoing)).tally(votes)).toBe(expected);
      }),
    );
  });

  test('of nobody, nobody is a majority', () => {
    const quorum = new Quorum(members([]));
    expect([quorum.majority(() => true), quorum.tally(new Map([[1, true]])), quorum.alone(1)]).toEqual([
      false,
      'lost',
      false,
    ]);
  });

  test('an election is lost when those who have not answered cannot win it any more', () => {
    const voters = new Voters([1, 2, 3, 4]);
    const tally = (...votes: [number, boolean][]): string => voters.tally(new Map(votes));
    expect(tally([1, true], [2, true])).toBe('open');
    expect(tally([1, true], [2, true], [3, true])).toBe('won');
    expect(tally([1, true], [2, false])).toBe('open');
    expect(tally([1, true], [2, false], [3, false])).toBe('lost');
  });
});

describe('memberships', () => {
  const now = members([1, 2, 3], [], [4]);

  test('any change is one step or two, and two different changes do not follow each other without the end of the first', () => {
    const ids = fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(ids, ids, ids, (before, voters, more) => {
        const current = members(before);
        const learners = more.filter((id) => !voters.includes(id));
        const next = changed(current, voters, learners);
        expect(isStep(current, next)).toBe(true);
        expect(left(next)).toEqual(members(voters, [], learners));
        if (next.outgoing.length === 0) return;
        expect(isStep(next, left(next))).toBe(true);
        expect(isStep(next, next)).toBe(false);
        expect(isStep(next, members(before))).toBe(false);
      }),
    );
  });

  test.each<[string, Membership, Membership]>([
    ['voters that change without a joint membership', now, members([1, 2, 3, 4])],
    ['a joint membership with other outgoing voters', now, members([1, 2, 4], [1, 2])],
    ['nobody', now, members([], [1, 2, 3])],
    ['a voter that learns', now, members([1, 2, 3], [], [3])],
    ['an id twice', now, members([1, 2, 3], [], [4, 4])],
    ['id 0', now, members([1, 2, 3], [], [0])],
    ['the end of a joint one with other learners', members([2, 3], [1, 2], [4]), members([2, 3])],
  ])('refused: %s', (_name, current, next) => {
    expect(isStep(current, next)).toBe(false);
  });

  test('what is wrong is said', () => {
    expect(fault(members([1, 1]))).toMatch(/at most once/);
    expect(fault(members([], [], [1]))).toBe('there are no voters');
    expect(fault(members([70_000]))).toMatch(/1 to 65535/);
    expect(() => new Memberships(members([1], [], [1]), [], 0)).toThrow('a node cannot be voter and learner');
    expect(() => nobody().add(3, members([]))).toThrow('there are no voters');
  });

  test('they follow their log: the newest counts, a truncation brings back the one before', () => {
    const all = new Memberships(members([1]), [{ index: 3, membership: members([1, 2], [1]) }], 0);
    expect([all.newest.index, all.joint, all.committed]).toEqual([3, true, false]);
    all.add(5, members([1, 2]));
    all.settle(4);
    expect([all.newest.index, all.joint, all.committed]).toEqual([5, false, false]);
    all.truncate(5);
    expect([all.newest.index, all.joint, all.committed]).toEqual([3, true, true]);
    expect([all.has(2), all.has(3), all.quorum.ids]).toEqual([true, false, [1, 2]]);
  });

  test('who is about to lose its vote may stand for election until that is committed', () => {
    const all = new Memberships(members([1, 2], [1, 2, 3]), [{ index: 7, membership: members([1, 2]) }], 6);
    expect([all.has(3), all.mayLead(3)]).toEqual([false, true]);
    all.settle(7);
    expect(all.mayLead(3)).toBe(false);
  });
});

describe('progress', () => {
  test('whatever is sent, answered, refused and lost, match is below next and what is in flight lies between them', () => {
    const host = new Memory();
    host.append(entriesOf(Array.from({ length: 60 }, (_, i) => 1 + Math.floor(i / 7))));
    const log = new LogView(host, 60, nobody());
    const input = fc.tuple(
      fc.constantFrom('send', 'accept', 'refuse', 'nudge', 'lost', 'found'),
      fc.nat(60),
      fc.nat(60),
    );
    fc.assert(
      fc.property(fc.array(input, { maxLength: 60 }), (inputs) => {
        const peer = new Progress(2, 40);
        inputs.forEach(([what, a, b], now) => {
          const before = peer.match;
          const budget = peer.budget(5, 20);
          if (what === 'send' && budget > 0 && peer.next + (a % 5) <= 60)
            peer.sent(peer.next + (a % 5), (a % 5) + 1, now);
          if (what === 'accept') peer.accepted(Math.min(a, peer.next - 1), now, 1);
          if (what === 'refuse') peer.refused(a, Math.min(a, b), Math.ceil(b / 7), log);
          if (what === 'nudge') peer.nudge(now, 1);
          if (what === 'lost') peer.lost();
          if (what === 'found') peer.found();
          expect(peer.match).toBeGreaterThanOrEqual(before);
          expect(peer.next).toBeGreaterThan(peer.match);
          expect(peer.inflightBytes > 0).toBe(peer.state === 'replicating' && peer.next > peer.match + 1);
        });
      }),
    );
  });
});
