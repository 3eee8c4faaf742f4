import { beforeEach, describe, expect, it } from 'vitest';
import { type EntryMark, RaftChecker } from '../../../src/sim/check/raft.js';

const entry = (index: number, term: number, id: string = `${index}/${term}`): EntryMark => ({ index, term, id });
const log = (...terms: number[]) => terms.map((term, at) => entry(at + 1, term));

let checker: RaftChecker;

/** Nodes 1, 2, 3 begin with these logs. */
function begin(...logs: EntryMark[][]): void {
  logs.forEach((entries, at) => {
    checker.began(at + 1, entries, entries.at(-1)?.term ?? 0, 0);
  });
}

const lead = (node: number, term: number, commit = 0) => checker.state(node, { term, leads: true, commit });
const follow = (node: number, term: number, commit = 0) => checker.state(node, { term, leads: false, commit });

function found(act: () => void): string {
  try {
    act();
  } catch (error) {
    return (error as { checker: string }).checker;
  }
  return 'nothing';
}

describe('the Raft checker', () => {
  beforeEach(() => {
    checker = new RaftChecker(3);
  });

  it('accepts an election, an entry on a majority, and its commit', () => {
    begin([], [], []);
    lead(1, 1);
    checker.appended(1, [entry(1, 1)], 1, true);
    checker.appended(2, [entry(1, 1)], 1, false);
    checker.persisted(1, 1, 1);
    checker.persisted(2, 1, 1);
    lead(1, 1, 1);
    follow(2, 1, 1);
    expect(checker.committed).toBe(1);
  });

  it('finds two leaders of a term, and two votes, also in another life', () => {
    begin([], [], []);
    lead(1, 1);
    expect(found(() => lead(2, 1))).toBe('Election Safety');
    checker.granted(3, 1, 1, checker.lastOf(3));
    checker.began(3, [], 1, 1);
    expect(found(() => checker.granted(3, 1, 2, checker.lastOf(3)))).toBe('Election Safety');
  });

  it('counts by the memberships in force, both while they are joint, and by members, not by folders', () => {
    checker = new RaftChecker(3, (node) => node % 100);
    begin([], [], [], []);
    const joint = [
      [1, 2, 4],
      [1, 2, 3],
    ];
    const leadBy = (deciders: number[][], commit: number) =>
      checker.state(1, { term: 1, leads: true, commit, deciders });
    for (const voter of [1, 4]) checker.granted(voter, 1, 1, undefined);
    expect(found(() => leadBy(joint, 0))).toBe('Election Safety');
    begin([], [], [], []);
    checker = new RaftChecker(3, (node) => node % 100);
    for (const voter of [1, 4, 102]) {
      checker.began(voter, [], 0, 0);
      checker.granted(voter, 1, 1, undefined);
    }
    leadBy(joint, 0);
    for (const node of [1, 4, 3]) {
      checker.appended(node, [entry(1, 1)], 1, node === 1);
      if (node !== 3) checker.persisted(node, 1, 1);
    }
    expect(found(() => leadBy(joint, 1))).toBe('commit durability');
    checker.persisted(3, 1, 1);
    leadBy(joint, 1);
    expect(checker.committed).toBe(1);
  });

  it('lets a leader count before it changes the members in the same step, and no later', () => {
    begin([], [], []);
    for (const voter of [1, 2]) checker.granted(voter, 1, 1, undefined);
    const leadBy = (voters: number[], commit: number) =>
      checker.state(1, { term: 1, leads: true, commit, deciders: [voters] });
    leadBy([1, 2, 3], 0);
    for (const node of [1, 2]) {
      checker.appended(node, [entry(1, 1), entry(2, 1)], 1, node === 1);
      checker.persisted(node, 2, 1);
    }
    leadBy([1, 3], 1);
    expect(checker.committed).toBe(1);
    expect(found(() => leadBy([1, 3], 2))).toBe('commit durability');
  });

  it('finds a leader that takes entries back', () => {
    begin(log(1, 1), [], []);
    lead(1, 2);
    expect(found(() => checker.appended(1, [entry(2, 2)], 2, true))).toBe('Leader Append-Only');
  });

  it('finds two entries of the same index and term, and the same entry behind different ones', () => {
    begin(log(1), [entry(1, 1)], []);
    expect(found(() => checker.began(3, [entry(1, 1, 'other')], 1, 0))).toBe('Log Matching');
    checker = new RaftChecker(3);
    begin(log(1, 3));
    expect(found(() => checker.began(2, log(2, 3), 3, 0))).toBe('Log Matching');
  });

  it('finds a gap in a log', () => {
    begin([], [], []);
    expect(found(() => checker.appended(1, [entry(2, 1)], 1, false))).toBe('Log Matching');
  });

  it('finds a leader without what was committed', () => {
    begin(log(1), log(1), []);
    lead(1, 1, 1);
    expect(found(() => lead(3, 2))).toBe('Leader Completeness');
  });

  it('finds different entries committed at one index', () => {
    begin(log(1), log(1), log(2));
    lead(1, 1, 1);
    expect(found(() => follow(3, 2, 1))).toBe('State Machine Safety');
  });

  it('finds a commit of what only a minority has on disk', () => {
    begin([], [], []);
    lead(1, 1);
    checker.appended(1, [entry(1, 1)], 1, true);
    checker.appended(2, [entry(1, 1)], 1, false);
    checker.persisted(1, 1, 1);
    expect(found(() => lead(1, 1, 1))).toBe('commit durability');
    // One that had said so, and has forgotten it since, was heard of late.
    checker.persisted(2, 1, 1);
    checker.forget(2);
    expect(found(() => lead(1, 1, 1))).toBe('nothing');
  });

  it('finds a commit of an older term by counting', () => {
    begin(log(1, 2), log(1, 2), log(1, 3));
    lead(1, 4);
    expect(found(() => lead(1, 4, 2))).toBe('Leader Completeness');
  });

  it('finds a vote for a log that is behind the voter’s own', () => {
    begin(log(1, 1), log(1), log(1, 2));
    checker.asked(2, 3, 1, 1);
    expect(found(() => checker.granted(1, 3, 2, checker.lastOf(1)))).toBe('Leader Completeness');
    checker.asked(1, 4, 2, 1);
    expect(found(() => checker.granted(3, 4, 1, checker.lastOf(3)))).toBe('Leader Completeness');
    expect(found(() => checker.granted(2, 4, 1, checker.lastOf(2)))).toBe('nothing');
  });

  it('lets an empty log grow in the step in which a vote is given', () => {
    begin([], [], []);
    checker.asked(2, 1, 0, 0);
    checker.appended(1, [entry(1, 1)], 1, false);
    expect(found(() => checker.granted(1, 1, 2, undefined))).toBe('nothing');
  });

  it('lets a log grow in the step in which a vote is given', () => {
    begin(log(1), log(1), log(1));
    checker.asked(2, 3, 1, 1);
    const before = checker.lastOf(1);
    checker.appended(1, [entry(2, 3)], 3, false);
    expect(found(() => checker.granted(1, 3, 2, before))).toBe('nothing');
  });

  it('finds a follower that vouches for what its disk or the leader does not have', () => {
    begin(log(1, 1), log(1, 1), log(1));
    lead(1, 2);
    checker.appended(1, [entry(3, 2)], 2, true);
    expect(found(() => checker.vouched(2, 1, 2, 2))).toBe('Log Matching');
    checker.received(2, 2, 2, 2, 3);
    expect(found(() => checker.vouched(2, 1, 2, 2))).toBe('Log Matching');
    checker.received(2, 2, 2, 1, 3);
    checker.received(3, 2, 0, 0, 1);
    checker.received(3, 2, 1, 9, 3);
    expect(found(() => checker.vouched(2, 1, 2, 2))).toBe('nothing');
    expect(found(() => checker.vouched(3, 1, 2, 2))).toBe('log durability');
    checker.began(3, log(1, 1, 1), 1, 0);
    checker.received(3, 2, 2, 1, 3);
    expect(found(() => checker.vouched(3, 1, 2, 3))).toBe('Log Matching');
    // What was shown in another life is not.
    checker.began(2, log(1, 1, 1), 1, 0);
    expect(found(() => checker.vouched(2, 1, 2, 1))).toBe('Log Matching');
  });

  it('finds what a disk has lost, unless the disk is known to have lied', () => {
    begin(log(1, 1), [], []);
    checker.appended(1, [entry(3, 1)], 1, false);
    expect(found(() => checker.began(1, log(1, 1), 1, 0))).toBe('nothing');
    expect(found(() => checker.began(1, log(1), 1, 0))).toBe('log durability');
    checker.forget(1);
    expect(found(() => checker.began(1, log(1), 1, 0))).toBe('nothing');
  });

  it('takes a snapshot for what is committed, and for nothing else', () => {
    begin(log(1, 1, 1), log(1, 1, 1), log(1));
    lead(1, 2);
    checker.appended(1, [entry(4, 2)], 2, true);
    checker.appended(2, [entry(4, 2)], 2, false);
    checker.persisted(1, 4, 2);
    checker.persisted(2, 4, 2);
    expect(found(() => checker.installed(3, 4, 2))).toBe('State Machine Safety');
    expect(found(() => checker.began(3, [], 2, 0, 4))).toBe('State Machine Safety');
    lead(1, 2, 4);
    expect(found(() => checker.installed(1, 4, 2))).toBe('Leader Append-Only');
    expect(found(() => checker.installed(3, 4, 1))).toBe('State Machine Safety');
    expect(found(() => checker.installed(3, 4, 2))).toBe('nothing');
    expect(checker.lastOf(3)).toEqual(entry(4, 2));
    expect(found(() => checker.vouched(3, 1, 2, 4))).toBe('nothing');
    // It starts from it, and from what its log had behind it.
    expect(found(() => checker.began(3, [], 2, 0, 4))).toBe('nothing');
    checker.appended(3, [entry(5, 2)], 2, false);
    checker.persisted(3, 5, 2);
    expect(found(() => checker.began(3, [], 2, 0, 4))).toBe('log durability');
    expect(found(() => checker.began(3, [entry(5, 2)], 2, 0, 4))).toBe('nothing');
  });

  it('lets a snapshot take the place of a log that lacks its last entry, but not of what follows one that has it', () => {
    begin(log(1, 2), log(1, 2), log(1, 1, 1));
    lead(1, 3);
    checker.appended(1, [entry(3, 3)], 3, true);
    checker.appended(2, [entry(3, 3)], 3, false);
    checker.persisted(1, 3, 3);
    checker.persisted(2, 3, 3);
    lead(1, 3, 3);
    // What it had was never committed: a crash before it said so may have left the snapshot.
    expect(found(() => checker.began(3, [], 3, 0, 2))).toBe('nothing');
    expect(found(() => checker.began(2, [], 3, 0, 2))).toBe('log durability');
  });

  it('does not count what was replaced as kept', () => {
    begin(log(1, 1, 1), [], []);
    checker.appended(1, [entry(2, 2)], 2, false);
    expect(found(() => checker.began(1, log(1), 2, 0))).toBe('nothing');
  });

  it('finds a forgotten vote and a term that fell', () => {
    begin([], [], []);
    checker.saved(1, 3, 2);
    expect(found(() => checker.began(1, [], 3, 0))).toBe('vote durability');
    expect(found(() => checker.began(1, [], 2, 2))).toBe('vote durability');
    expect(found(() => checker.began(1, [], 3, 2))).toBe('nothing');
  });

  it('does not count a term that a node was in, and could not save, as promised', () => {
    begin(log(1), [], []);
    follow(1, 3);
    expect(found(() => checker.began(1, log(1), 1, 0))).toBe('nothing');
  });

  it('finds two states at one index', () => {
    checker.applied(1, 7, 'aa');
    checker.applied(2, 8, 'bb');
    expect(found(() => checker.applied(2, 7, 'ab'))).toBe('state hash');
  });
});
