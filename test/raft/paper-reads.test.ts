/** Reads without log entries (dissertation §6.4), and under a lease (§6.4.1). The rest of §6.4 is in paper.test.ts. */
import { describe, expect, test } from 'vitest';
import { entriesOf, entry, Host, type HostOptions, members } from './host.js';
import { ack, append, beaten, elect, exchange, heartbeat, only, request, settledLeader, voteFor } from './lab.js';

/** A clock that a test sets; a tick is 10 of its units, the shortest election time-out 10 ticks. */
class Clock {
  time = 0;
  readonly lease = { now: () => this.time, length: 80 };
}

function leased(options: HostOptions = {}): { host: Host; clock: Clock } {
  const clock = new Clock();
  const host = settledLeader(new Host({ lease: clock.lease, ...options }));
  return { host, clock };
}

/** Lets a heartbeat interval pass, and the followers in `ids` answer its heartbeats. */
function beat(host: Host, clock: Clock, ids: readonly number[]): void {
  clock.time += 10;
  const sent = only('heartbeat', host.tick());
  host.step(...sent.filter(({ to }) => ids.includes(to)).map(({ to, round }) => beaten(host, to, round)));
}

function ask(host: Host, id: number): number | undefined {
  host.raft.readIndex(id);
  host.turn();
  return host.reads.find((read) => read.id === id)?.index;
}

describe('ReadIndex', () => {
  test('dissertation §6.4 while memberships are joint, a read is confirmed by a majority of either', () => {
    const host = settledLeader(new Host());
    host.change(members([1, 4, 5], [1, 2, 3]));
    host.turn();
    host.raft.readIndex(1);
    host.turn();
    host.step(beaten(host, 2, 1), beaten(host, 3, 1));
    expect(host.reads).toEqual([]);
    host.step(beaten(host, 4, 1));
    expect(host.reads).toEqual([{ id: 1, index: 1 }]);
  });

  test('dissertation §6.4 a learner asks the leader as any follower does, and its own confirmation does not count', () => {
    const host = settledLeader(new Host({ membership: members([1, 2, 3], [], [4]) }));
    host.step({ type: 'read', from: 4, to: 1, term: 1, id: 77 });
    host.step(beaten(host, 4, 1));
    expect(only('readable', host.sent)).toEqual([]);
    expect(only('readable', host.step(beaten(host, 3, 1)))).toMatchObject([{ to: 4, id: 77, index: 1 }]);
  });

  test('dissertation §6.4 a leader that was deposed without noticing answers no read', () => {
    const hosts = [1, 2, 3].map((id) => new Host({ id })) as [Host, Host, Host];
    const [old, second] = hosts;
    old.raft.campaign();
    exchange(hosts);
    second.tick(20);
    exchange(hosts, ({ from, to }) => from !== 1 && to !== 1);
    for (let i = 0; i < 3 && second.raft.role !== 'leader'; i++) {
      hosts[2].tick(10);
      second.raft.campaign();
      exchange(hosts, ({ from, to }) => from !== 1 && to !== 1);
    }
    expect([old.raft.role, second.raft.role]).toEqual(['leader', 'leader']);
    old.raft.readIndex(1);
    exchange(hosts);
    expect(old.reads).toEqual([{ id: 1, index: -1 }]);
  });
});

describe('leases', () => {
  test('they are off unless asked for: every read takes a round', () => {
    const host = settledLeader(new Host());
    host.tick();
    host.step(beaten(host, 2), beaten(host, 3));
    expect(ask(host, 1)).toBeUndefined();
    expect(only('heartbeat', host.tick()).every(({ round }) => round === 1)).toBe(true);
  });

  test('dissertation §6.4.1 once a majority has acknowledged its heartbeats, the leader answers reads without a round', () => {
    const { host, clock } = leased();
    expect(ask(host, 1)).toBeUndefined();
    beat(host, clock, [2]);
    beat(host, clock, [2]);
    const before = host.sent.length;
    expect(ask(host, 2)).toBe(1);
    expect(host.sent.length).toBe(before);
  });

  test('dissertation §6.4.1 the lease is counted from when the heartbeats were sent, not from when they were answered', () => {
    const { host, clock } = leased();
    clock.time = 100;
    const [one] = only('heartbeat', host.tick());
    clock.time = 150;
    host.step(beaten(host, 2, one!.round));
    clock.time = 179;
    expect(ask(host, 1)).toBe(1);
    clock.time = 180;
    expect(ask(host, 2)).toBeUndefined();
  });

  test('dissertation §6.4.1 it ends when too few answer, and does not begin with them', () => {
    const { host, clock } = leased({ voters: [1, 2, 3, 4, 5] });
    for (let i = 0; i < 5; i++) beat(host, clock, [2]);
    expect(ask(host, 1)).toBeUndefined();
    for (let i = 0; i < 3; i++) beat(host, clock, [2, 3]);
    expect(ask(host, 2)).toBe(1);
    for (let i = 0; i < 8; i++) beat(host, clock, [2]);
    expect(ask(host, 3)).toBeUndefined();
    for (let i = 0; i < 2; i++) beat(host, clock, [2, 3]);
    expect([ask(host, 4), host.reads.find(({ id }) => id === 3)?.index]).toEqual([1, 1]);
  });

  test('a process that was stalled has no lease when it wakes, though it has passed but one tick', () => {
    const { host, clock } = leased();
    beat(host, clock, [2, 3]);
    beat(host, clock, [2, 3]);
    expect(ask(host, 1)).toBe(1);
    clock.time += 10_000;
    host.raft.tick(true);
    expect(ask(host, 2)).toBeUndefined();
  });

  test('dissertation §6.4.1 a leader that hands over has no lease, then or later: the other one may be elected at any time', () => {
    const { host, clock } = leased();
    beat(host, clock, [2, 3]);
    host.raft.propose([new Uint8Array(1)]);
    host.turn();
    host.raft.transfer(2);
    expect(ask(host, 1)).toBeUndefined();
    host.sync();
    expect(only('timeoutNow', host.step(ack(host, 2, 2))).length).toBe(1);
    for (let i = 0; i < 20; i++) beat(host, clock, [2, 3]);
    expect([host.raft.role, host.raft.propose([new Uint8Array(1)])]).toEqual(['leader', 3]);
    expect(ask(host, 2)).toBeUndefined();
    // By a round it still reads.
    beat(host, clock, [2, 3]);
    expect(host.reads.map(({ id }) => id)).toEqual([1, 2]);
    expect(ask(host, 3)).toBeUndefined();
  });

  test('dissertation §6.4.1 a voter that restarts keeps what it may have promised: it votes for nobody for an election time-out', () => {
    const clock = new Clock();
    const host = new Host({ lease: clock.lease });
    host.step(append(host, 2, 1, { entries: entriesOf([1]) }));
    host.sync();
    host.restart();
    host.tick(9);
    const asks = request(host, 3, 2, { lastIndex: 1, lastTerm: 1 });
    expect(host.step(asks, request(host, 3, 2, { pre: true, lastIndex: 1, lastTerm: 1 }))).toEqual([]);
    expect(host.raft.term).toBe(1);
    host.tick(1);
    expect(host.step(asks)).toMatchObject([{ type: 'voted', granted: true }]);
    // The leader itself may want another.
    const other = new Host({ lease: clock.lease });
    expect(other.step(request(other, 3, 2, { transfer: true }))).toMatchObject([{ granted: true }]);
  });

  test('a new leader reads only when an entry of its term is committed, lease or not', () => {
    const clock = new Clock();
    const host = new Host({ terms: [1, 1], lease: clock.lease });
    elect(host);
    beat(host, clock, [2, 3]);
    expect(ask(host, 1)).toBeUndefined();
    host.sync();
    host.step(ack(host, 2, 3));
    beat(host, clock, [2, 3]);
    expect([ask(host, 2), host.reads.find(({ id }) => id === 1)?.index]).toEqual([3, 3]);
  });

  test('a follower is answered under the lease as well', () => {
    const { host, clock } = leased();
    beat(host, clock, [2, 3]);
    beat(host, clock, [2, 3]);
    expect(host.step({ type: 'read', from: 3, to: 1, term: 1, id: 5 })).toEqual([
      { type: 'readable', from: 1, to: 3, term: 1, id: 5, index: 1 },
    ]);
  });

  test('one who is to be the only voter does not elect itself over its leader, which may hold a lease', () => {
    const host = new Host({ lease: new Clock().lease });
    const entries = [
      { ...entry(1, 1), membership: members([1], [1, 2]) },
      { ...entry(2, 1), membership: members([1]) },
    ];
    host.tick(10);
    host.step(append(host, 2, 1, { entries }));
    host.tick(9);
    expect([host.raft.role, host.raft.leader]).toEqual(['follower', 2]);
    host.tick(1);
    expect([host.raft.role, host.raft.term]).toEqual(['leader', 2]);
  });

  test('a lease does not outlive the term', () => {
    const { host, clock } = leased();
    beat(host, clock, [2, 3]);
    beat(host, clock, [2, 3]);
    host.step(heartbeat(host, 2, 2));
    host.tick(19);
    host.step(voteFor(host, 2, true));
    host.step(voteFor(host, 2, false));
    expect([host.raft.role, host.raft.term]).toEqual(['leader', 3]);
    host.sync();
    host.step(ack(host, 2, host.raft.lastIndex));
    expect(ask(host, 1)).toBeUndefined();
  });
});
