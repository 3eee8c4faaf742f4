/** Sentences of Ongaro's dissertation, chapter 4, and of §6 of the paper: how the members of a cluster change. */
import { describe, expect, test } from 'vitest';
import type { Membership } from '../../src/raft/types.js';
import { entry, Host, members } from './host.js';
import { ack, append, beaten, elect, exchange, heartbeat, only, request, settledLeader, voteFor } from './lab.js';

/** Hosts of which those in `founders` founded the cluster; the others know nobody. */
function cluster(founders: readonly number[], others: readonly number[] = []): Host[] {
  return [
    ...founders.map((id) => new Host({ id, voters: founders })),
    ...others.map((id) => new Host({ id, voters: [] })),
  ];
}

function leading(hosts: readonly Host[]): Host {
  const leader = hosts[0]!;
  leader.raft.campaign();
  exchange(hosts);
  expect(leader.raft.role).toBe('leader');
  return leader;
}

/** Makes the leader propose `membership` and, when it is asked to, the end of it. */
function change(leader: Host, hosts: readonly Host[], membership: Membership): void {
  expect(leader.change(membership)).toBe(leader.raft.lastIndex);
  exchange(hosts);
  if (leader.leaveJoint !== undefined) leader.change(leader.leaveJoint);
  leader.leaveJoint = undefined;
  exchange(hosts);
}

const record = (): Uint8Array => new Uint8Array(1);

describe('the membership in force', () => {
  test('dissertation §4.1 a server always uses the latest configuration in its log, regardless of whether it is committed', () => {
    const host = new Host();
    const membership = members([1, 2], [1, 2, 3]);
    host.step(append(host, 2, 1, { entries: [entry(1, 1), { ...entry(2, 1), membership }] }));
    expect(host.raft.membership).toEqual({ index: 2, membership, committed: false });
    host.step(heartbeat(host, 2, 1, 2));
    expect(host.raft.membership.committed).toBe(true);
  });

  test('dissertation §4.1 if it is removed from the log again, the server falls back to the previous configuration', () => {
    const host = new Host();
    host.step(
      append(host, 2, 1, { entries: [entry(1, 1), { ...entry(2, 1), membership: members([1, 2], [1, 2, 3]) }] }),
    );
    host.step(append(host, 3, 2, { prevIndex: 1, prevTerm: 1, entries: [entry(2, 2)] }));
    expect(host.raft.membership).toEqual({ index: 0, membership: members([1, 2, 3]), committed: true });
  });

  test('dissertation §4.1 the configuration is found again in the log after a restart', () => {
    const host = new Host();
    const membership = members([1, 2], [1, 2, 3], [4]);
    host.step(append(host, 2, 1, { entries: [entry(1, 1), { ...entry(2, 1), membership }] }));
    host.sync();
    host.restart();
    expect(host.raft.membership).toEqual({ index: 2, membership, committed: false });
  });

  test('dissertation §4.1 the leader may not begin a change before the one before it has committed', () => {
    const host = settledLeader(new Host());
    expect(host.change(members([1, 2, 3], [], [4]))).toBe(2);
    expect(host.change(members([1, 2, 3], [], [4, 5]))).toBe('under-way');
    host.sync();
    host.step(ack(host, 2, 2));
    expect(host.change(members([1, 2, 3], [], [4, 5]))).toBe(3);
  });

  test('Ongaro’s correction of §4.1 the leader may not begin one before it has committed an entry of its own term', () => {
    const host = new Host();
    elect(host);
    expect(host.change(members([1, 2, 3], [], [4]))).toBe('too-early');
    host.sync();
    host.step(ack(host, 2, 1));
    expect(host.change(members([1, 2, 3], [], [4]))).toBe(2);
  });

  test('only the leader changes the membership, and only step by step', () => {
    expect(new Host().change(members([1, 2, 3], [], [4]))).toBe('not-leader');
    const host = settledLeader(new Host());
    expect(host.change(members([1, 2, 3, 4]))).toBe('not-a-step');
    expect(host.raft.lastIndex).toBe(1);
    expect(host.change(members([1, 4], [1, 2, 3]))).toBe(2);
    host.sync();
    host.step(ack(host, 2, 2), ack(host, 4, 2));
    expect(host.change(members([1, 2, 4], [1, 4]))).toBe('under-way');
    expect(host.change(members([1, 4]))).toBe(3);
  });
});

describe('joint consensus', () => {
  /** Node 1 leads {1,2,3} and has proposed {1,4,5}, joint. */
  function joint(): Host {
    const host = settledLeader(new Host());
    expect(host.change(members([1, 4, 5], [1, 2, 3]))).toBe(2);
    host.sync();
    return host;
  }

  test('§6 log entries are replicated to all servers in both configurations', () => {
    const host = joint();
    host.step(ack(host, 4, 2), ack(host, 5, 2));
    host.raft.propose([record()]);
    expect(new Set(only('append', host.turn()).map(({ to }) => to))).toEqual(new Set([2, 3, 4, 5]));
  });

  test.each([
    [[2, 3], false],
    [[4, 5], false],
    [[2, 4], true],
    [[3, 5], true],
  ])('§6 agreement for entry commitment requires separate majorities of the old and the new: leader and %j: %s', (ids, commits) => {
    const host = joint();
    host.step(...ids.map((id) => ack(host, id, 2)));
    expect(host.raft.commit).toBe(commits ? 2 : 1);
  });

  test.each([
    [[2, 3], 'candidate'],
    [[4, 5], 'candidate'],
    [[2, 4], 'leader'],
  ])('§6 agreement for elections requires separate majorities of the old and the new: own vote and %j: %s', (ids, role) => {
    const membership = members([1, 4, 5], [1, 2, 3]);
    const host = new Host({ membership });
    host.raft.campaign();
    host.turn();
    host.step(voteFor(host, 2, true), voteFor(host, 4, true));
    expect(host.raft.term).toBe(1);
    host.step(...ids.map((id) => voteFor(host, id, false)));
    expect(host.raft.role).toBe(role);
  });

  test('§6 any server from either configuration may serve as leader', () => {
    const hosts = cluster([1, 2, 3], [4, 5]);
    const leader = leading(hosts);
    leader.change(members([1, 4, 5], [1, 2, 3]));
    exchange(hosts);
    for (const id of [4, 2]) {
      const host = hosts[id - 1]!;
      for (let i = 0; i < 40 && host.raft.role !== 'leader'; i++) {
        for (const other of hosts) if (other === host || other.raft.role !== 'leader') other.tick();
        exchange(hosts, ({ type, from }) => (type !== 'vote' || from === id) && from !== leader.raft.leader);
      }
      exchange(hosts);
      expect([id, host.raft.role]).toEqual([id, 'leader']);
    }
  });

  test('§6 once the joint entry has been committed, the leader creates the entry of the new configuration alone', () => {
    const host = joint();
    expect(host.leaveJoint).toBeUndefined();
    host.step(ack(host, 2, 2), ack(host, 4, 2));
    expect(host.leaveJoint).toEqual(members([1, 4, 5]));
    expect(host.change(members([1, 4, 5]))).toBe(3);
    // From now on the new ones decide alone.
    host.sync();
    host.step(ack(host, 5, 3));
    expect(host.raft.commit).toBe(3);
  });

  test('dissertation §4.3 a new leader that finds a committed joint configuration ends it, once it knows that it is committed', () => {
    const membership = members([1, 4, 5], [1, 2, 3]);
    const host = new Host({ id: 2, voters: [1, 2, 3] });
    host.step(append(host, 1, 1, { entries: [{ ...entry(1, 1), membership }], commit: 1 }));
    host.sync();
    host.tick(19);
    host.step(voteFor(host, 3, true), voteFor(host, 4, true), voteFor(host, 5, true));
    host.step(voteFor(host, 3, false), voteFor(host, 4, false), voteFor(host, 5, false));
    host.sync();
    expect([host.raft.role, host.leaveJoint]).toEqual(['leader', undefined]);
    host.step(ack(host, 3, 2), ack(host, 4, 2), ack(host, 5, 2));
    expect(host.leaveJoint).toEqual(members([1, 4, 5]));
  });

  test('the end of a joint membership is asked for again as long as it is due', () => {
    const host = joint();
    host.step(ack(host, 2, 2), ack(host, 4, 2));
    host.leaveJoint = undefined;
    host.turn();
    expect(host.leaveJoint).toBeUndefined();
    host.tick();
    expect(host.leaveJoint).toEqual(members([1, 4, 5]));
    host.change(members([1, 4, 5]));
    host.leaveJoint = undefined;
    host.tick(2);
    expect(host.leaveJoint).toBeUndefined();
  });

  test('§6 any number of servers are added, removed and replaced at once', () => {
    const hosts = cluster([1, 2, 3], [4, 5, 6, 7]);
    const leader = leading(hosts);
    change(leader, hosts, members([1, 4, 5, 6, 7], [1, 2, 3]));
    expect(leader.raft.membership).toMatchObject({ membership: members([1, 4, 5, 6, 7]), committed: true });
    leader.raft.propose([record()]);
    exchange(hosts, ({ to }) => to === 1 || to > 3);
    expect(hosts.map(({ commit }) => commit)).toEqual([4, 3, 3, 4, 4, 4, 4]);
  });
});

describe('who joins and who leaves', () => {
  test('dissertation §4.2.1 a learner is sent the log, but is not counted for commits', () => {
    const host = settledLeader(new Host());
    host.change(members([1, 2, 3], [], [4, 5]));
    expect(only('append', host.turn()).map(({ to }) => to)).toEqual([2, 3, 4, 5]);
    host.sync();
    host.step(ack(host, 4, 2), ack(host, 5, 2));
    expect(host.raft.commit).toBe(1);
    host.step(ack(host, 2, 2));
    expect(host.raft.commit).toBe(2);
  });

  test('dissertation §4.2.1 a learner neither asks for votes, nor is asked for its own, nor counts if it gives it', () => {
    const membership = members([1, 2, 3], [], [4]);
    const learner = new Host({ id: 4, membership });
    expect([learner.raft.role, learner.raft.isVoter]).toEqual(['learner', false]);
    learner.tick(100);
    learner.raft.campaign();
    expect([learner.raft.role, learner.turn()]).toEqual(['learner', []]);
    const host = new Host({ membership });
    host.raft.campaign();
    expect(only('vote', host.turn()).map(({ to }) => to)).toEqual([2, 3]);
    host.step(voteFor(host, 4, true));
    expect(host.raft.term).toBe(0);
  });

  test('dissertation §4.1 a server that knows no configuration accepts a leader’s log, for it can learn of it nowhere else', () => {
    const hosts = cluster([1, 2, 3], [4]);
    const leader = leading(hosts);
    leader.raft.propose([record(), record()]);
    const [, , , joiner] = hosts as [Host, Host, Host, Host];
    expect([joiner.raft.role, joiner.raft.leader]).toEqual(['learner', 0]);
    change(leader, hosts, members([1, 2, 3], [], [4]));
    expect(joiner.disk).toEqual(leader.disk);
    expect(joiner.raft.membership.membership).toEqual(members([1, 2, 3], [], [4]));
  });

  test('dissertation §4.2.1 a learner has caught up when a round of replication took less than an election timeout', () => {
    const host = settledLeader(new Host({ heartbeatTicks: 2 }));
    host.raft.propose(Array.from({ length: 8 }, record));
    host.change(members([1, 2, 3], [], [4]));
    host.sync();
    expect(host.raft.caughtUp(4)).toBe(false);
    // The first round takes too long …
    const live = (ticks: number): void => {
      for (let i = 0; i < ticks; i++) {
        host.tick();
        host.step(beaten(host, 2), beaten(host, 3), beaten(host, 4));
      }
    };
    live(12);
    host.raft.propose([record()]);
    host.step(ack(host, 4, 10));
    expect(host.raft.caughtUp(4)).toBe(false);
    // … the second does not.
    live(3);
    host.step(ack(host, 4, 11));
    expect(host.raft.caughtUp(4)).toBe(true);
    // It has everything, and goes on keeping up, until it does not answer.
    live(20);
    expect(host.raft.caughtUp(4)).toBe(true);
    for (let i = 0; i < 10; i++) {
      host.tick();
      host.step(beaten(host, 2), beaten(host, 3));
    }
    expect(host.raft.caughtUp(4)).toBe(false);
    expect(host.raft.peers().map(({ id, active }) => [id, active])).toEqual([
      [2, true],
      [3, true],
      [4, false],
    ]);
  });

  test('dissertation §4.2.1 a round that has nothing to bring is over at once, however long the one before took', () => {
    const host = settledLeader(new Host());
    host.change(members([1, 2, 3], [], [4]));
    for (let i = 0; i < 25; i++) {
      host.tick();
      host.step(beaten(host, 2), beaten(host, 3), beaten(host, 4));
    }
    expect(host.raft.caughtUp(4)).toBe(false);
    host.step(ack(host, 4, 2));
    expect(host.raft.caughtUp(4)).toBe(true);
  });

  test('dissertation §4.2.1 a learner that does not take what is new falls behind', () => {
    const host = settledLeader(new Host());
    host.change(members([1, 2, 3], [], [4]));
    host.step(ack(host, 4, 2));
    expect(host.raft.caughtUp(4)).toBe(true);
    host.raft.propose([record()]);
    expect(host.raft.caughtUp(4)).toBe(true);
    for (let i = 0; i < 10; i++) {
      host.tick();
      host.step(beaten(host, 2), beaten(host, 3), beaten(host, 4));
    }
    expect(host.raft.caughtUp(4)).toBe(false);
  });

  test('dissertation §4.1 a server grants its vote to a candidate that is not part of its configuration', () => {
    const host = new Host();
    expect(host.step(request(host, 4, 1, { lastIndex: 5, lastTerm: 1 }))).toMatchObject([
      { type: 'voted', to: 4, granted: true },
    ]);
    host.step(heartbeat(host, 4, 1));
    expect(host.raft.leader).toBe(4);
  });

  test('dissertation §4.1 a server that is not part of its own configuration votes: its vote may be needed', () => {
    const host = new Host({ id: 4, voters: [1, 2, 3] });
    expect(host.step(request(host, 2, 1))).toMatchObject([{ type: 'voted', granted: true }]);
  });

  test('dissertation §4.2.2 a leader that is removed steps down once the new configuration is committed, and does not count itself', () => {
    const host = settledLeader(new Host());
    host.change(members([2, 3], [1, 2, 3]));
    host.sync();
    host.step(ack(host, 2, 2));
    expect([host.raft.commit, host.raft.isVoter]).toEqual([1, true]);
    host.step(ack(host, 3, 2));
    host.change(host.leaveJoint!);
    host.sync();
    expect([host.raft.role, host.raft.isVoter]).toEqual(['leader', false]);
    host.step(ack(host, 2, 3));
    expect([host.raft.role, host.raft.commit]).toEqual(['leader', 2]);
    host.step(ack(host, 3, 3));
    expect(host.raft.commit).toBe(3);
    host.tick(20);
    expect([host.raft.role, host.raft.leader]).toEqual(['learner', 0]);
    host.tick(100);
    expect(only('vote', host.sent).filter(({ term }) => term > 1)).toEqual([]);
  });

  test('dissertation §4.2.2, figure 4.6: a server that alone has the entry which removes it stands for election', () => {
    const entries = [
      { ...entry(1, 1), membership: members([2], [1, 2]) },
      { ...entry(2, 1), membership: members([2]) },
    ];
    const [first, second] = cluster([1, 2]) as [Host, Host];
    for (const [host, has] of [
      [first, entries],
      [second, entries.slice(0, 1)],
    ] as const) {
      host.step(append(host, 9, 1, { entries: has, commit: 1 }));
      host.sync();
    }
    // Node 2 cannot win: it needs the vote of node 1 by what it knows, and does not get it.
    second.tick(20);
    exchange([first, second]);
    expect(second.raft.role).not.toBe('leader');
    first.tick(20);
    exchange([first, second]);
    expect([first.raft.role, first.raft.commit, second.raft.membership.membership]).toEqual([
      'leader',
      3,
      members([2]),
    ]);
    for (let i = 0; i < 60; i++) {
      for (const host of [first, second]) host.tick();
      exchange([first, second]);
    }
    expect([first.raft.role, second.raft.role]).toEqual(['learner', 'leader']);
  });

  test('dissertation §4.2.3 a removed server does not disrupt the cluster: it is told that it is removed, or is not listened to', () => {
    for (const told of [true, false]) {
      const hosts = cluster([1, 2, 3, 4]);
      const leader = leading(hosts);
      const removed = hosts[3]!;
      const passes = told ? () => true : ({ from, to }: { from: number; to: number }) => from !== 4 && to !== 4;
      leader.change(members([1, 2, 3], [1, 2, 3, 4]));
      exchange(hosts, passes);
      leader.change(leader.leaveJoint!);
      exchange(hosts, passes);
      expect(removed.raft.membership.committed).toBe(true);
      expect([told, removed.raft.isVoter]).toEqual([told, !told]);
      for (let i = 0; i < 100; i++) {
        for (const host of hosts) host.tick();
        exchange(hosts, i < 50 ? passes : undefined);
      }
      expect([told, removed.sent.some(({ type }) => type === 'vote')]).toEqual([told, !told]);
      expect([leader.raft.role, leader.raft.term]).toEqual(['leader', 1]);
      expect(leader.raft.peers().map(({ id }) => id)).toEqual([2, 3]);
    }
  });

  test('§6, a removed leader’s cluster goes on without it', () => {
    const hosts = cluster([1, 2, 3]);
    const leader = leading(hosts);
    change(leader, hosts, members([2, 3], [1, 2, 3]));
    for (let i = 0; i < 60; i++) {
      for (const host of hosts) host.tick();
      exchange(hosts);
    }
    const next = hosts.find(({ raft }) => raft.role === 'leader')!;
    expect([next.id === 1, leader.raft.role, leader.raft.leader]).toEqual([false, 'learner', 0]);
    next.raft.propose([record()]);
    exchange(hosts);
    expect(next.raft.commit).toBe(next.raft.lastIndex);
  });
});
