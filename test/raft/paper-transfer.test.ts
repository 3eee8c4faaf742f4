/** Leadership handed over (dissertation §3.10), and leaders that nobody disturbs (§4.2.3, §9.6). */
import { describe, expect, test } from 'vitest';
import { entriesOf, Host, members } from './host.js';
import { ack, append, beaten, exchange, heartbeat, only, request, settledLeader, voteFor } from './lab.js';

const record = (): Uint8Array => new Uint8Array(1);

function trio(): [Host, Host, Host] {
  const [a, b, c] = [1, 2, 3].map((id) => new Host({ id }));
  a!.raft.campaign();
  exchange([a!, b!, c!]);
  return [a!, b!, c!];
}

describe('transfer of leadership', () => {
  test('dissertation §3.10 (1) the prior leader stops accepting new client requests', () => {
    const host = settledLeader(new Host());
    expect(host.raft.transfer(2)).toBeUndefined();
    expect(host.raft.propose([record()])).toBeUndefined();
    expect(host.change(members([1, 2, 3], [], [4]))).toBe('transferring');
    expect(host.raft.lastIndex).toBe(1);
  });

  test('dissertation §3.10 (2) the prior leader first brings the target server’s log up to its own', () => {
    const host = settledLeader(new Host());
    host.raft.propose([record()]);
    host.turn();
    host.raft.transfer(2);
    expect(only('timeoutNow', host.turn())).toEqual([]);
    expect(only('timeoutNow', host.step(ack(host, 3, 2)))).toEqual([]);
    expect(only('timeoutNow', host.step(ack(host, 2, 2)))).toEqual([{ type: 'timeoutNow', from: 1, to: 2, term: 1 }]);
  });

  test('dissertation §3.10 (3) the target starts a new election at once, incrementing its term, and wins it', () => {
    const hosts = trio();
    const [first, second, third] = hosts;
    first.raft.propose([record()]);
    expect(first.raft.transfer(2)).toBeUndefined();
    const sent = exchange(hosts);
    // No pre-vote: who asks has asked the only one who would object.
    expect(only('vote', sent).map(({ from, pre, transfer }) => [from, pre, transfer])).toEqual([
      [2, false, true],
      [2, false, true],
    ]);
    expect(hosts.map(({ raft }) => [raft.role, raft.term, raft.leader])).toEqual([
      ['follower', 2, 2],
      ['leader', 2, 2],
      ['follower', 2, 2],
    ]);
    expect([second.raft.propose([record()]), third.raft.commit]).toEqual([4, 3]);
  });

  test('dissertation §3.10 if it does not complete within an election timeout, the prior leader resumes', () => {
    const host = settledLeader(new Host());
    host.raft.transfer(2);
    const told: number[] = [];
    for (let tick = 1; tick <= 10; tick++) {
      expect([tick, host.raft.propose([record()])]).toEqual([tick, undefined]);
      told.push(only('timeoutNow', host.tick()).length);
      host.step(beaten(host, 2), beaten(host, 3));
    }
    // It is told again with each heartbeat, for messages are lost.
    expect(told).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    expect([host.raft.role, host.raft.propose([record()])]).toEqual(['leader', 2]);
    host.sync();
    host.step(ack(host, 2, 2));
    expect(host.raft.transfer(3)).toBeUndefined();
  });

  test('dissertation §4.2.3 a vote request of a transfer is not ignored, however fresh the leader is', () => {
    const host = new Host();
    host.step(heartbeat(host, 2, 1));
    expect(host.step(request(host, 3, 2))).toEqual([]);
    expect(host.step(request(host, 3, 2, { transfer: true }))).toMatchObject([
      { type: 'voted', granted: true, term: 2 },
    ]);
  });

  test('dissertation §3.10 nor does it win with an older log', () => {
    const host = new Host({ terms: [1, 1] });
    host.step(heartbeat(host, 2, 1));
    expect(host.step(request(host, 3, 2, { transfer: true, lastIndex: 1, lastTerm: 1 }))).toMatchObject([
      { type: 'voted', granted: false },
    ]);
  });

  test('who is not the leader cannot make a node campaign', () => {
    const host = new Host();
    host.step(heartbeat(host, 2, 1));
    expect(host.step({ type: 'timeoutNow', from: 3, to: 1, term: 1 })).toEqual([]);
    expect(host.step({ type: 'timeoutNow', from: 2, to: 1, term: 0 })).toEqual([]);
    expect(host.raft.term).toBe(1);
    expect(only('vote', host.step({ type: 'timeoutNow', from: 2, to: 1, term: 1 })).length).toBe(2);
    expect([host.raft.role, host.raft.term]).toEqual(['candidate', 2]);
  });

  test('a candidate whose transfer was lost asks the next time as everybody does', () => {
    const host = new Host();
    host.step(heartbeat(host, 2, 1), { type: 'timeoutNow', from: 2, to: 1, term: 1 });
    host.outgoing();
    host.tick(19);
    expect(only('vote', host.outgoing()).map(({ pre, transfer }) => [pre, transfer])).toEqual([
      [true, false],
      [true, false],
    ]);
  });

  test('leadership goes to other voters only, one at a time, and from the leader', () => {
    expect(new Host().raft.transfer(2)).toBe('not-leader');
    const host = settledLeader(new Host({ membership: members([1, 2, 3], [], [4]) }));
    expect([1, 4, 9].map((id) => host.raft.transfer(id))).toEqual(['not-eligible', 'not-eligible', 'not-eligible']);
    expect([host.raft.transfer(2), host.raft.transfer(3)]).toEqual([undefined, 'transferring']);
  });

  test('the best successor is the voter with most of the log among those that answer', () => {
    const host = settledLeader(new Host({ membership: members([1, 2, 3], [], [4]) }));
    host.raft.propose([record(), record(), record()]);
    host.sync();
    host.step(ack(host, 2, 2), ack(host, 3, 3), ack(host, 4, 4));
    expect(host.raft.chooseSuccessor()).toBe(3);
    for (let tick = 0; tick < 10; tick++) {
      host.tick();
      host.step(beaten(host, 2));
    }
    expect(host.raft.chooseSuccessor()).toBe(2);
    host.raft.unreachable(2);
    expect(host.raft.chooseSuccessor()).toBe(0);
    expect(new Host().raft.chooseSuccessor()).toBe(0);
  });

  test('dissertation §4.2.2 a leader that was removed hands over to one who can go on at once', () => {
    const hosts = trio();
    const [leader] = hosts;
    leader.change(members([2, 3], [1, 2, 3]));
    exchange(hosts);
    leader.change(leader.leaveJoint!);
    exchange(hosts);
    // No tick has passed.
    const next = hosts.find(({ id, raft }) => id !== 1 && raft.role === 'leader')!;
    expect([next.raft.term, next.raft.commit]).toEqual([2, 4]);
    // The old one, which is no member any more, hears of it with its next heartbeat.
    leader.tick();
    exchange(hosts);
    expect([leader.raft.role, leader.raft.term]).toEqual(['learner', 2]);
  });
});

describe('nobody is disturbed', () => {
  test('a tick that comes late begins no election: the leader’s messages may not have been read yet', () => {
    const host = new Host({ electionTicks: [10, 10] });
    host.step(heartbeat(host, 2, 1));
    host.tick(9);
    host.raft.tick(true);
    expect([host.raft.role, host.turn()]).toEqual(['follower', []]);
    host.step(heartbeat(host, 2, 1));
    host.tick(9);
    expect(host.raft.role).toBe('follower');
  });

  test('a host that is always late does campaign in the end', () => {
    const host = new Host({ electionTicks: [10, 10] });
    for (let tick = 0; tick < 20; tick++) host.raft.tick(true);
    expect(host.raft.role).toBe('candidate');
  });

  test('a host that was stalled for long passes one tick, and no election', () => {
    const hosts = trio();
    const [leader, second, third] = hosts;
    for (let stall = 0; stall < 30; stall++) {
      for (let i = 0; i < 50; i++) {
        leader.tick();
        third.tick();
        exchange(hosts, ({ to }) => to !== 2);
      }
      second.raft.tick(true);
      exchange(hosts);
      leader.tick();
      exchange(hosts);
    }
    expect(hosts.map(({ raft }) => [raft.term, raft.leader])).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ]);
  });

  test.each([0, 20])('a node that comes back, %i entries behind, raises no term and takes no vote', (missing) => {
    const hosts = trio();
    const [leader, second, third] = hosts;
    leader.raft.propose(Array.from({ length: missing }, record));
    for (let i = 0; i < 100; i++) {
      for (const host of [leader, second]) host.tick();
      exchange(hosts, ({ to, from }) => to !== 3 && from !== 3);
    }
    third.restart();
    // It finds the others slowly: first it is heard, and only then does it hear.
    for (let i = 0; i < 40; i++) {
      for (const host of hosts) host.tick();
      exchange(hosts, ({ to }) => to !== 3);
    }
    for (let i = 0; i < 5; i++) {
      for (const host of hosts) host.tick();
      exchange(hosts);
    }
    expect(hosts.map(({ raft }) => [raft.term, raft.leader])).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ]);
    expect(third.disk).toEqual(leader.disk);
  });

  test('dissertation §9.6 a pre-vote is refused by who has the later log, so an old node does not raise the term', () => {
    const host = new Host({ terms: [1, 1] });
    const old = new Host({ id: 3, terms: [1], hardState: { term: 1, vote: 0 } });
    const votes = only('vote', old.tick(20)).filter(({ to }) => to === 1);
    expect(votes).toMatchObject([{ pre: true }]);
    expect(host.step(...votes)).toMatchObject([{ type: 'voted', pre: true, granted: false }]);
  });

  test('a vote that was given, and a leader’s append, begin a new wait', () => {
    const host = new Host({ electionTicks: [10, 10] });
    host.tick(9);
    host.step(append(host, 2, 1, { entries: entriesOf([1]) }));
    host.tick(9);
    expect(host.raft.role).toBe('follower');
    host.tick(1);
    expect(host.raft.role).toBe('candidate');
    host.step(voteFor(host, 2, true, false), voteFor(host, 3, true, false));
    expect(host.raft.role).toBe('follower');
  });
});
