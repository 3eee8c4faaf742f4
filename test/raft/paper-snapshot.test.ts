/** Log compaction (§7 of the paper, dissertation chapter 5): a log that begins behind a snapshot, and followers that need one. */
import { describe, expect, test } from 'vitest';
import type { Entry, Message } from '../../src/raft/types.js';
import { entriesOf, entry, Host, members, type Snapshot } from './host.js';
import { ack, append, beaten, elect, exchange, heartbeat, only, settledLeader } from './lab.js';

const record = (): Uint8Array => new Uint8Array(1);
const trioMembers = members([1, 2, 3]);
const snapshotOf = (index: number, term: number, membership = trioMembers): Snapshot => ({ index, term, membership });

/** Three hosts, of which the first leads and the third has heard nothing; the others have 20 entries, 15 of them in a snapshot. */
function oneBehind(): [Host, Host, Host] {
  const hosts = [1, 2, 3].map((id) => new Host({ id })) as [Host, Host, Host];
  const [leader, second, third] = hosts;
  elect(leader, [2]);
  const away = ({ to, from }: { to: number; from: number }): boolean => to !== 3 && from !== 3;
  exchange(hosts, away);
  leader.raft.propose(Array.from({ length: 19 }, record));
  exchange(hosts, away);
  leader.compact(15);
  second.compact(15);
  expect([leader.base, third.lastIndex()]).toEqual([snapshotOf(15, 1), 0]);
  return hosts;
}

describe('a log that begins behind a snapshot', () => {
  test('§7 the snapshot includes the last included index and term, which the consistency check of the first entry needs', () => {
    const host = new Host({ snapshot: snapshotOf(5, 2), hardState: { term: 2, vote: 0 } });
    const fits = append(host, 2, 3, { prevIndex: 5, prevTerm: 2, entries: [entry(6, 3)] });
    host.step(fits);
    expect([host.terms, host.raft.lastIndex]).toEqual([[3], 6]);
    expect(host.sync()).toMatchObject([{ type: 'appended', ok: true, index: 6 }]);
    const other = new Host({ snapshot: snapshotOf(5, 2), hardState: { term: 2, vote: 0 } });
    expect(() => other.step(append(other, 2, 3, { prevIndex: 5, prevTerm: 1, entries: [entry(6, 3)] }))).toThrow(
      /committed with term 2/,
    );
  });

  test('§7 the snapshot also includes the latest configuration in the log as of its last included index', () => {
    const membership = members([1, 2, 3, 4], [1, 2, 3]);
    const host = new Host({ id: 4, snapshot: snapshotOf(5, 2, membership), hardState: { term: 2, vote: 0 } });
    expect(host.raft.membership).toEqual({ index: 0, membership, committed: true });
    expect(host.raft.role).toBe('follower');
  });

  test('§5.4.1 the snapshot’s last entry is the last one of a log without any other, when logs are compared', () => {
    const host = new Host({ snapshot: snapshotOf(5, 2), hardState: { term: 2, vote: 0 } });
    host.tick(20);
    expect(only('vote', host.sent)).toMatchObject([
      { lastIndex: 5, lastTerm: 2 },
      { lastIndex: 5, lastTerm: 2 },
    ]);
  });

  test.each<[string, number, Entry[], number]>([
    ['all before its end', 1, entriesOf([1, 1, 1], 2), 5],
    ['up to its end', 3, entriesOf([1, 2], 4), 5],
    ['past its end', 3, entriesOf([1, 2, 2, 2], 4), 7],
    ['none', 2, [], 5],
  ])('§7 an append from before the own snapshot brings what lies behind it, and is answered: %s', (_name, prevIndex, entries, end) => {
    const host = new Host({ snapshot: snapshotOf(5, 2), hardState: { term: 2, vote: 0 } });
    const sent = host.step(append(host, 2, 2, { prevIndex, prevTerm: 1, entries }));
    const [answer] = only('appended', [...sent, ...host.sync()]).slice(-1);
    expect([answer?.ok, answer?.index, host.lastIndex()]).toEqual([true, end, end]);
  });

  test('a leader that contradicts the snapshot breaks an invariant', () => {
    const host = new Host({ snapshot: snapshotOf(5, 2), hardState: { term: 2, vote: 0 } });
    const message = append(host, 2, 2, { prevIndex: 3, prevTerm: 1, entries: entriesOf([1, 1], 4) });
    expect(() => host.step(message)).toThrow('leader 2 has term 1 at 5, the snapshot here 2');
  });

  test('a log that begins behind what is committed, or on disk, is refused', () => {
    const snapshot = snapshotOf(5, 2);
    expect(() => new Host({ snapshot, hardState: { term: 2, vote: 0 }, commit: 4 })).toThrow(/before the log/);
  });
});

describe('a follower that needs what is gone', () => {
  test('§7 the leader must occasionally send snapshots to followers that lag behind', () => {
    const [leader, second, third] = oneBehind();
    leader.tick();
    const hosts = [leader, second, third];
    exchange(hosts);
    expect(third.base).toEqual(snapshotOf(15, 1));
    expect([third.commit, third.disk]).toEqual([20, leader.disk]);
    expect(leader.raft.peers().map(({ id, match, state }) => [id, match, state])).toEqual([
      [2, 20, 'replicating'],
      [3, 20, 'replicating'],
    ]);
    leader.raft.propose([record()]);
    exchange(hosts);
    expect(hosts.map(({ commit }) => commit)).toEqual([21, 21, 21]);
  });

  /** Node 1 leads with a log that begins at 16, and node 3 has refused what it was sent. */
  function ordered(): Host {
    const host = new Host({ snapshot: snapshotOf(15, 1), terms: [1, 1, 1], hardState: { term: 1, vote: 0 } });
    elect(host);
    host.sync();
    host.step(ack(host, 2, 19));
    host.step({
      type: 'appended',
      from: 3,
      to: 1,
      term: 2,
      ok: false,
      index: 4,
      hintTerm: 1,
      refused: 18,
      abstains: 0,
    });
    return host;
  }

  test('§7 the leader has already discarded the next log entry that it needs to send: one snapshot is asked for, no appends go', () => {
    const host = ordered();
    expect(host.orders).toEqual([{ to: 3, least: 15 }]);
    expect(host.raft.peers()[1]).toMatchObject({ id: 3, state: 'snapshot', match: 0 });
    host.raft.propose([record()]);
    const sent = [...host.tick(5), ...host.step(beaten(host, 3))];
    expect(sent.filter(({ type, to }) => type === 'append' && to === 3)).toEqual([]);
    expect([host.orders.length, host.raft.caughtUp(3)]).toEqual([1, false]);
  });

  test('dissertation §5.1 heartbeats go on meanwhile, so that it does not campaign', () => {
    const host = ordered();
    expect(only('heartbeat', host.tick(3)).filter(({ to, commit }) => to === 3 && commit === 0).length).toBe(3);
  });

  test('when it has arrived, what follows it is sent', () => {
    const host = ordered();
    host.raft.snapshotSent(3, true, 17);
    expect(only('append', host.turn()).filter(({ to }) => to === 3)).toMatchObject([{ prevIndex: 17, prevTerm: 1 }]);
    // What it has on its disk it says itself.
    expect(host.raft.peers()[1]).toMatchObject({ match: 0, state: 'probing' });
    host.step(ack(host, 3, 19));
    expect(host.raft.peers()[1]).toMatchObject({ match: 19, state: 'replicating' });
  });

  test('when it has arrived and nothing follows it, the follower is asked what it has, until it answers', () => {
    const host = ordered();
    host.step(ack(host, 2, 19));
    host.compact(19);
    host.raft.snapshotSent(3, true, 19);
    const probes = (messages: Message[]): number[] =>
      only('append', messages).flatMap(({ prevIndex, entries }) => (entries.length === 0 ? [prevIndex] : []));
    expect(probes(host.turn())).toEqual([19]);
    host.tick();
    expect(probes(host.step(beaten(host, 3)))).toEqual([19]);
    host.step(ack(host, 3, 19));
    expect(host.raft.peers()[1]).toMatchObject({ match: 19, state: 'replicating' });
    expect(only('append', host.tick(5))).toEqual([]);
  });

  test('the follower’s own word that it has arrived will do as well', () => {
    const host = ordered();
    host.raft.propose([record()]);
    host.turn();
    expect(only('append', host.step(ack(host, 3, 15))).map(({ prevIndex }) => prevIndex)).toEqual([15]);
    // One that is not enough will not.
    const other = ordered();
    expect(only('append', other.step(ack(other, 3, 14)))).toEqual([]);
    expect(other.raft.peers()[1]).toMatchObject({ match: 14, state: 'snapshot' });
  });

  test('when it fails, it is asked for again, later and later', () => {
    const host = ordered();
    const again: number[] = [];
    for (let tick = 1; tick <= 16; tick++) {
      if (host.orders.splice(0).length > 0) host.raft.snapshotSent(3, false, 0);
      host.tick();
      host.step(beaten(host, 2), beaten(host, 3));
      if (host.orders.length > 0) again.push(tick);
    }
    expect(again).toEqual([1, 3, 7, 11, 15]);
    host.raft.snapshotSent(3, true, 15);
    expect(only('append', host.turn())).toMatchObject([{ to: 3, prevIndex: 15 }]);
  });

  test('one that the log has outrun meanwhile is followed by another', () => {
    const host = ordered();
    host.compact(18);
    host.raft.snapshotSent(3, true, 15);
    host.turn();
    expect(host.orders).toEqual([
      { to: 3, least: 15 },
      { to: 3, least: 18 },
    ]);
  });

  test('a link that breaks does not forget that a snapshot is under way', () => {
    const host = ordered();
    host.raft.unreachable(3);
    host.raft.reachable(3);
    expect(only('append', host.turn()).filter(({ to }) => to === 3)).toEqual([]);
    expect(host.orders.length).toBe(1);
  });

  test('no snapshot is asked for as long as the log has what is needed', () => {
    const host = settledLeader(new Host());
    host.raft.propose(Array.from({ length: 5 }, record));
    host.sync();
    host.step(ack(host, 2, 6));
    host.compact(1);
    host.step({ type: 'appended', from: 3, to: 1, term: 1, ok: false, index: 1, hintTerm: 1, refused: 5, abstains: 0 });
    expect([host.orders, host.raft.peers()[1]?.state]).toEqual([[], 'probing']);
  });
});

describe('a snapshot that is installed', () => {
  test('§7 if the snapshot holds what is not in the recipient’s log, the follower discards its entire log', () => {
    const host = new Host({ terms: [1, 1, 1], hardState: { term: 1, vote: 0 } });
    host.step(heartbeat(host, 2, 4));
    host.install(snapshotOf(2, 3, members([1, 2], [], [3])));
    expect([host.firstIndex(), host.lastIndex(), host.raft.commit, host.commit]).toEqual([3, 2, 2, 2]);
    expect(host.raft.membership).toMatchObject({ membership: members([1, 2], [], [3]), committed: true });
    expect(only('appended', host.sent)).toMatchObject([{ to: 2, ok: true, index: 2, term: 4 }]);
    host.step(append(host, 2, 4, { prevIndex: 2, prevTerm: 3, entries: [entry(3, 4)], commit: 3 }));
    expect([host.terms, host.commit]).toEqual([[4], 3]);
  });

  test('§7 rule 6: if an existing entry has the same index and term as its last included one, what follows is retained', () => {
    const host = new Host({ terms: [1, 1, 1, 1], hardState: { term: 1, vote: 0 } });
    host.step(append(host, 2, 1, { entries: entriesOf([1, 1, 1, 1]) }));
    host.install(snapshotOf(2, 1));
    expect([host.terms, host.raft.lastIndex, host.raft.commit]).toEqual([[1, 1], 4, 2]);
    // What it holds is still on its disk, and its leader has shown it to match.
    expect(only('appended', host.sent).at(-1)).toMatchObject({ ok: true, index: 4 });
    host.restart();
    expect([host.raft.lastIndex, host.raft.commit]).toEqual([4, 2]);
  });

  test('one that is older than what is committed changes nothing', () => {
    const host = new Host({ terms: [1, 1, 1, 1], hardState: { term: 1, vote: 0 }, commit: 3 });
    host.base = snapshotOf(2, 1);
    host.memory.splice(0, 2);
    host.raft.installed(2, 1, members([9]));
    expect([host.raft.commit, host.raft.membership.membership]).toEqual([3, trioMembers]);
  });

  test('memberships that the log sets behind the snapshot stay in force', () => {
    const host = new Host();
    const membership = members([1, 2, 3, 4], [1, 2, 3]);
    host.step(append(host, 2, 1, { entries: [entry(1, 1), entry(2, 1), { ...entry(3, 1), membership }] }));
    host.install(snapshotOf(2, 1));
    expect(host.raft.membership).toEqual({ index: 3, membership, committed: false });
    host.step(append(host, 3, 2, { prevIndex: 2, prevTerm: 1, entries: [entry(3, 2)] }));
    expect(host.raft.membership).toEqual({ index: 2, membership: trioMembers, committed: true });
  });

  test('a write that was under way for what the snapshot replaced vouches for nothing', () => {
    const host = new Host();
    host.step(append(host, 2, 2, { entries: entriesOf([1, 1, 2]) }));
    host.write();
    const [last] = host.writing!.slice(-1);
    host.step(heartbeat(host, 3, 3));
    host.install(snapshotOf(5, 3));
    host.raft.persisted(last!.index, last!.term);
    expect(only('appended', host.turn())).toEqual([]);
    expect(host.raft.lastIndex).toBe(5);
  });

  test('a node that knew nobody becomes a member by a snapshot', () => {
    const [leader, second, third] = oneBehind();
    const joiner = new Host({ id: 4, voters: [] });
    const hosts = [leader, second, third, joiner];
    leader.change(members([1, 2, 3], [], [4]));
    exchange(hosts, ({ to, from }) => to !== 3 && from !== 3);
    expect([joiner.base.index, joiner.raft.role, joiner.disk]).toEqual([15, 'learner', leader.disk]);
    expect(leader.raft.caughtUp(4)).toBe(true);
  });

  test('a host that breaks the seam is told', () => {
    const host = new Host({ terms: [1], hardState: { term: 1, vote: 0 } });
    expect(() => host.raft.installed(3, 1, trioMembers)).toThrow('but the log does not follow it');
    host.raft.step(append(host, 2, 1, { prevIndex: 1, prevTerm: 1, entries: [entry(2, 1)] }));
    expect(() => host.raft.installed(1, 1, trioMembers)).toThrow('have not been handed out');
  });
});
