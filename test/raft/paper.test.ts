/**
 * Sentences of "In Search of an Understandable Consensus Algorithm (Extended Version)" and, where said, of Ongaro's
 * dissertation "Consensus: Bridging Theory and Practice", each held by a test that names its section.
 */
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/raft/types.js';
import { entriesOf, entry, Host, random } from './host.js';
import { ack, append, beaten, elect, exchange, heartbeat, only, request, settledLeader, voteFor } from './lab.js';

const record = (): Uint8Array => new Uint8Array(1);

function trio(logs: readonly (readonly number[])[] = [[], [], []], term?: number): Host[] {
  const voters = logs.map((_, i) => i + 1);
  return logs.map((terms, i) => {
    const hardState = { term: term ?? terms.at(-1) ?? 0, vote: 0 };
    return new Host({ id: i + 1, voters, terms, hardState });
  });
}

describe('terms', () => {
  test('§5.1 if one server’s current term is smaller than the other’s, it updates its term to the larger value', () => {
    const base = { from: 2, to: 1, term: 7 };
    const messages: Message[] = [
      { type: 'vote', ...base, pre: false, lastIndex: 0, lastTerm: 0, transfer: false },
      { type: 'voted', ...base, pre: false, granted: false },
      { type: 'voted', ...base, pre: true, granted: false },
      { type: 'append', ...base, prevIndex: 0, prevTerm: 0, commit: 0, entries: [] },
      { type: 'appended', ...base, ok: true, index: 0, hintTerm: 0, refused: 0, abstains: 0 },
      { type: 'heartbeat', ...base, commit: 0, round: 0 },
      { type: 'beaten', ...base, round: 0, abstains: 0 },
      { type: 'read', ...base, id: 1 },
      { type: 'readable', ...base, id: 1, index: -1 },
    ];
    for (const message of messages) {
      const host = new Host({ hardState: { term: 3, vote: 1 } });
      host.step(message);
      expect([message.type, host.raft.term, host.hard.term]).toEqual([message.type, 7, 7]);
    }
  });

  test('§5.1 if a candidate or leader discovers that its term is out of date, it immediately reverts to follower state', () => {
    const candidate = new Host();
    candidate.raft.campaign();
    expect(candidate.raft.role).toBe('candidate');
    candidate.step(beaten(candidate, 2), { type: 'beaten', from: 2, to: 1, term: 5, round: 0, abstains: 0 });
    expect([candidate.raft.role, candidate.raft.term, candidate.raft.leader]).toEqual(['follower', 5, 0]);

    const leader = new Host();
    elect(leader);
    expect(leader.raft.role).toBe('leader');
    leader.step({
      type: 'appended',
      from: 3,
      to: 1,
      term: 9,
      ok: false,
      index: 0,
      hintTerm: 0,
      refused: 0,
      abstains: 0,
    });
    expect([leader.raft.role, leader.raft.term, leader.raft.leader]).toEqual(['follower', 9, 0]);
  });

  test('§5.1 if a server receives a request with a stale term number, it rejects the request and tells its own', () => {
    const host = new Host({ terms: [4], hardState: { term: 4, vote: 0 } });
    const sent = host.step(
      request(host, 2, 3, { lastIndex: 9, lastTerm: 3 }),
      append(host, 2, 3, { prevIndex: 1, prevTerm: 4, entries: [entry(2, 3)] }),
      heartbeat(host, 2, 3, 1),
      { type: 'read', from: 2, to: 1, term: 3, id: 8 },
    );
    expect(sent).toMatchObject([
      { type: 'voted', term: 4, granted: false },
      { type: 'appended', term: 4, ok: false },
      { type: 'beaten', term: 4 },
      { type: 'readable', term: 4, id: 8, index: -1 },
    ]);
    expect([host.raft.term, host.raft.commit, host.raft.leader, host.terms]).toEqual([4, 0, 0, [4]]);
  });
});

describe('elections', () => {
  test('§5.2 when servers start up, they begin as followers', () => {
    const host = new Host({ terms: [1, 1], hardState: { term: 2, vote: 1 } });
    expect([host.raft.role, host.raft.term, host.raft.leader]).toEqual(['follower', 2, 0]);
    expect(host.turn()).toEqual([]);
  });

  test('§5.2 a server remains in follower state as long as it receives valid RPCs from a leader', () => {
    const host = new Host();
    for (let i = 0; i < 30; i++) {
      host.tick(9);
      host.step(heartbeat(host, 2, 1));
      expect(host.raft.role).toBe('follower');
    }
    expect(host.raft.term).toBe(1);
  });

  test('§5.2 leaders send periodic heartbeats to all followers in order to maintain their authority', () => {
    const host = settledLeader(new Host({ heartbeatTicks: 3, electionTicks: [10, 20] }));
    const beats = [1, 2, 3, 4, 5, 6].map(() => only('heartbeat', host.tick()).map(({ to }) => to));
    expect(beats).toEqual([[], [], [2, 3], [], [], [2, 3]]);
  });

  test('§5.2 a follower that receives no communication over the election timeout begins an election', () => {
    const host = new Host({ terms: [2], hardState: { term: 2, vote: 3 } });
    host.tick(19);
    expect(host.raft.role).toBe('candidate');
    host.step(voteFor(host, 2, true));
    // To begin an election, a follower increments its current term and votes for itself …
    expect([host.hard, host.raft.role]).toEqual([{ term: 3, vote: 1 }, 'candidate']);
    // … and issues RequestVote RPCs in parallel to each of the other servers.
    const requests = only('vote', host.sent).filter(({ pre }) => !pre);
    expect(requests).toEqual([
      { type: 'vote', from: 1, to: 2, term: 3, pre: false, lastIndex: 1, lastTerm: 2, transfer: false },
      { type: 'vote', from: 1, to: 3, term: 3, pre: false, lastIndex: 1, lastTerm: 2, transfer: false },
    ]);
  });

  test.each([
    [1, 0, 'leader'],
    [2, 0, 'candidate'],
    [2, 1, 'leader'],
    [3, 0, 'candidate'],
    [3, 1, 'leader'],
    [4, 1, 'candidate'],
    [4, 2, 'leader'],
    [5, 1, 'candidate'],
    [5, 2, 'leader'],
    [7, 2, 'candidate'],
    [7, 3, 'leader'],
  ])('§5.2 a candidate wins with votes from a majority of the full cluster: of %i servers, %i others grant: %s', (size, grants, role) => {
    const host = new Host({ voters: Array.from({ length: size }, (_, i) => i + 1) });
    const others = Array.from({ length: size - 1 }, (_, i) => i + 2);
    host.raft.campaign();
    host.step(...others.map((id) => voteFor(host, id, true)));
    const { term } = host.raft;
    const votes = others.slice(0, grants).map((id) => voteFor(host, id, false));
    // The same voter twice is one vote.
    host.step(...votes, ...votes);
    expect([host.raft.role, host.raft.term]).toEqual([role, term]);
  });

  test('§5.2 votes of another term do not count', () => {
    const host = new Host({ hardState: { term: 4, vote: 0 } });
    host.raft.campaign();
    host.step(voteFor(host, 2, true));
    expect(host.raft.term).toBe(5);
    host.step({ type: 'voted', from: 2, to: 1, term: 4, pre: false, granted: true });
    expect(host.raft.role).toBe('candidate');
  });

  test('§5.2 each server votes for at most one candidate in a given term, on a first-come-first-served basis', () => {
    const host = new Host();
    const sent = host.step(request(host, 2, 5), request(host, 3, 5), request(host, 2, 5));
    expect(only('voted', sent).map(({ to, granted }) => [to, granted])).toEqual([
      [2, true],
      [3, false],
      [2, true],
    ]);
    expect(host.hard).toEqual({ term: 5, vote: 2 });
  });

  test('figure 2: currentTerm and votedFor are updated on stable storage before responding to RPCs', () => {
    const host = new Host();
    host.raft.step(request(host, 2, 5));
    const ready = host.raft.ready();
    expect(ready?.hardState).toEqual({ term: 5, vote: 2 });
    expect(ready?.messages).toMatchObject([{ type: 'voted', granted: true }]);
  });

  test('figure 2: a server that crashed after it voted does not vote for another in that term', () => {
    const host = new Host();
    host.step(request(host, 2, 5));
    host.restart();
    expect([host.raft.term, host.raft.vote]).toEqual([5, 2]);
    const sent = host.step(request(host, 3, 5), request(host, 2, 5));
    expect(only('voted', sent).map(({ granted }) => granted)).toEqual([false, true]);
  });

  test('§5.2 once a candidate wins, it sends messages to all of the other servers to establish its authority', () => {
    const host = new Host();
    const sent = elect(host);
    expect(only('append', sent).map(({ to, term }) => [to, term])).toEqual([
      [2, 1],
      [3, 1],
    ]);
    expect(host.raft.leader).toBe(1);
  });

  test('§5.2 if the leader’s term is at least as large as the candidate’s, the candidate returns to follower state', () => {
    for (const [term, role] of [
      [4, 'candidate'],
      [5, 'follower'],
      [6, 'follower'],
    ] as const) {
      const host = new Host({ hardState: { term: 4, vote: 0 } });
      host.raft.campaign();
      host.step(voteFor(host, 2, true));
      host.step(heartbeat(host, 3, term));
      expect([term, host.raft.role, host.raft.leader]).toEqual([term, role, role === 'follower' ? 3 : 0]);
    }
  });

  test('figure 2: a follower waits for an election timeout anew when it has granted its vote', () => {
    const host = new Host({ electionTicks: [10, 10] });
    host.tick(9);
    expect(only('voted', host.step(request(host, 2, 1)))).toMatchObject([{ granted: true }]);
    host.tick(9);
    expect(host.raft.role).toBe('follower');
    host.tick(1);
    expect(host.raft.role).toBe('candidate');
  });

  test('§5.2 when votes are split, each candidate times out and starts a new election', () => {
    const host = new Host();
    host.raft.campaign();
    host.step(voteFor(host, 2, true));
    expect(host.raft.term).toBe(1);
    host.tick(19);
    host.step(voteFor(host, 2, true));
    expect([host.raft.role, host.raft.term]).toEqual(['candidate', 2]);
  });

  test('§5.2 election timeouts are chosen randomly from a fixed interval', () => {
    const draw = random(42);
    const seen = new Map<number, number>();
    for (let i = 0; i < 1000; i++) {
      const host = new Host({ random: draw });
      let ticks = 0;
      while (host.raft.role === 'follower') {
        host.tick();
        ticks++;
      }
      seen.set(ticks, (seen.get(ticks) ?? 0) + 1);
    }
    expect([...seen.keys()].sort((a, b) => a - b)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    for (const count of seen.values()) expect(count).toBeGreaterThan(60);
  });

  test.each([
    [[1], 1, 1, true],
    [[1], 1, 2, true],
    [[1], 2, 1, true],
    [[1, 1], 1, 1, false],
    [[1, 1], 2, 1, true],
    [[2], 9, 1, false],
    [[1, 1, 3], 2, 3, false],
    [[], 0, 0, true],
  ])('§5.4.1 the voter denies its vote if its own log is more up-to-date: log %j, candidate’s last entry (%i, term %i): %s', (terms, lastIndex, lastTerm, granted) => {
    for (const pre of [false, true]) {
      const host = new Host({ terms, hardState: { term: 3, vote: 0 } });
      const sent = host.step(request(host, 2, 4, { lastIndex, lastTerm, pre }));
      expect(sent).toMatchObject([{ type: 'voted', pre, granted, to: 2 }]);
    }
  });

  test('§5.4.1 entries that are in the log but not yet on disk count when logs are compared', () => {
    const host = new Host();
    host.step(append(host, 2, 1, { entries: entriesOf([1, 1]) }));
    expect([host.disk.length, host.raft.lastIndex]).toEqual([0, 2]);
    host.tick(10);
    expect(only('voted', host.step(request(host, 3, 2, { lastIndex: 1, lastTerm: 1 })))).toMatchObject([
      { granted: false },
    ]);
  });
});

describe('replication', () => {
  test('§5.3 the leader appends the command as a new entry, then issues AppendEntries in parallel to each of the others', () => {
    const host = settledLeader(new Host());
    const bytes = record();
    expect(host.raft.propose([bytes])).toBe(2);
    expect(only('append', host.turn())).toEqual([
      append({ id: 2 }, 1, 1, {
        prevIndex: 1,
        prevTerm: 1,
        commit: 1,
        entries: [{ index: 2, term: 1, bytes }],
      }),
      append({ id: 3 }, 1, 1, {
        prevIndex: 1,
        prevTerm: 1,
        commit: 1,
        entries: [{ index: 2, term: 1, bytes }],
      }),
    ]);
  });

  test.each([
    [3, [], false],
    [3, [2], true],
    [3, [2, 3], true],
    [5, [2], false],
    [5, [2, 3], true],
    [4, [2], false],
    [4, [2, 3], true],
  ])('§5.3 an entry is committed once the leader has replicated it on a majority: of %i, leader and %j: %s', (size, followers, commits) => {
    const host = new Host({ voters: Array.from({ length: size }, (_, i) => i + 1) });
    elect(host, [2, 3, 4, 5].slice(0, size - 1));
    host.sync();
    host.step(...followers.map((id) => ack(host, id, 1)));
    expect(host.raft.commit).toBe(commits ? 1 : 0);
  });

  test('§5.3 this also commits all preceding entries in the leader’s log, including those created by previous leaders', () => {
    const host = new Host({ terms: [1, 1, 2] });
    elect(host);
    host.sync();
    expect([host.terms, host.raft.commit]).toEqual([[1, 1, 2, 3], 0]);
    host.step(ack(host, 2, 4));
    expect(host.commit).toBe(4);
  });

  test('§5.3 the leader includes the index it knows to be committed in future messages, so that the others find out', () => {
    const hosts = trio();
    const [leader] = hosts as [Host, Host, Host];
    leader.raft.campaign();
    exchange(hosts);
    leader.raft.propose([record()]);
    exchange(hosts);
    expect(hosts.map(({ commit }) => commit)).toEqual([2, 2, 2]);
  });

  test('§5.3 once a follower learns that an entry is committed, it applies it, in log order, and not what is beyond its log', () => {
    const host = new Host();
    host.step(append(host, 2, 1, { entries: entriesOf([1, 1, 1]), commit: 2 }));
    expect(host.commit).toBe(2);
    host.step(append(host, 2, 1, { prevIndex: 3, prevTerm: 1, entries: [entry(4, 1)], commit: 9 }));
    expect(host.commit).toBe(4);
    // Late, with an older commit index.
    host.step(append(host, 2, 1, { entries: entriesOf([1]), commit: 1 }));
    expect(host.commit).toBe(4);
  });

  test('§5.3, figure 2: commitIndex becomes min(leaderCommit, index of last new entry): what is behind may be another leader’s', () => {
    const host = new Host({ terms: [1, 1, 2, 2, 2] });
    host.step(append(host, 3, 3, { prevIndex: 1, prevTerm: 1, entries: [entry(2, 1)], commit: 4 }));
    expect([host.commit, host.terms]).toEqual([2, [1, 1, 2, 2, 2]]);
  });

  test.each([
    [[1, 2], 0, 0, true],
    [[1, 2], 1, 1, true],
    [[1, 2], 2, 2, true],
    [[1, 2], 1, 2, false],
    [[1, 2], 2, 1, false],
    [[1, 2], 3, 2, false],
    [[], 1, 1, false],
  ])('§5.3 if the follower does not find an entry with the same index and term, it refuses: log %j, previous (%i, term %i): %s', (terms, prevIndex, prevTerm, ok) => {
    const host = new Host({ terms, hardState: { term: 2, vote: 0 } });
    const added = entry(prevIndex + 1, 3);
    const sent = host.step(append(host, 2, 3, { prevIndex, prevTerm, entries: [added] }));
    expect(only('appended', [...sent, ...host.sync()])).toMatchObject([{ ok, refused: ok ? 0 : prevIndex }]);
    expect(host.terms).toEqual(ok ? [...terms.slice(0, prevIndex), 3] : terms);
  });

  test('§5.3 if an existing entry conflicts with a new one, it and all that follow it are deleted', () => {
    const host = new Host({ terms: [1, 1, 2, 2, 2] });
    host.step(append(host, 3, 3, { prevIndex: 1, prevTerm: 1, entries: entriesOf([1, 3], 2) }));
    expect([host.terms, host.raft.lastIndex]).toEqual([[1, 1, 3], 3]);
    host.sync();
    expect(host.disk.map(({ term }) => term)).toEqual([1, 1, 3]);
  });

  test('§5.3, figure 2: an append whose entries are all there deletes nothing behind them: it may only be late', () => {
    const host = new Host({ terms: [1, 1, 1, 1] });
    const sent = host.step(append(host, 2, 1, { prevIndex: 0, entries: entriesOf([1, 1]) }));
    expect([host.terms, host.raft.lastIndex]).toEqual([[1, 1, 1, 1], 4]);
    expect(sent).toMatchObject([{ type: 'appended', ok: true, index: 2 }]);
  });

  test.each([
    ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['b', [1, 1, 1, 4]],
    ['c', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['e', [1, 1, 1, 4, 4, 4, 4]],
    ['f', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ])('§5.3, figure 7 (%s): a leader brings any follower’s log into consistency with its own', (_name, follower) => {
    const figure = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const hosts = trio([figure, follower, [1]], 7);
    const [leader] = hosts as [Host, Host, Host];
    leader.raft.campaign();
    exchange(hosts);
    expect(leader.raft.role).toBe('leader');
    for (const host of hosts) expect(host.disk.map(({ term }) => term)).toEqual([...figure, 8]);
    expect(hosts.map(({ commit }) => commit)).toEqual([11, 11, 11]);
  });

  test('§5.3 a leader never overwrites or deletes entries in its own log (Leader Append-Only)', () => {
    const host = new Host({ terms: [1, 2, 2] });
    elect(host);
    const before = [...host.memory];
    host.step({ type: 'appended', from: 2, to: 1, term: 3, ok: false, index: 0, hintTerm: 0, refused: 3, abstains: 0 });
    host.raft.propose([record()]);
    host.turn();
    expect(host.memory.slice(0, 4)).toEqual(before);
    expect(() => host.step(append(host, 2, 3, { entries: entriesOf([3]) }))).toThrow(/both lead term 3/);
  });

  test('§5.3 the follower includes the term of the conflicting entry, so that one round trip skips a term, not an entry', () => {
    const long = Array.from({ length: 100 }, () => 2);
    const hosts = trio([
      [1, 4, 4],
      [1, ...long],
      [1, 4, 4],
    ]);
    const [leader, behind] = hosts as [Host, Host, Host];
    leader.raft.campaign();
    const sent = exchange(hosts);
    expect(only('appended', sent).filter(({ from, ok }) => from === 2 && !ok).length).toBeLessThanOrEqual(2);
    expect(behind.terms).toEqual([1, 4, 4, 5]);
  });

  test('§5.3, §5.5 if followers crash or messages are lost, the leader retries indefinitely; repetitions do no harm', () => {
    const hosts = trio();
    const [leader, second, third] = hosts as [Host, Host, Host];
    leader.raft.campaign();
    exchange(hosts);
    leader.raft.propose([record(), record()]);
    // Whatever goes to node 2 is lost for ten heartbeat intervals.
    for (let i = 0; i < 10; i++) {
      leader.tick();
      exchange(hosts, ({ to }) => to !== 2);
    }
    expect([third.disk.length, second.disk.length]).toEqual([3, 1]);
    for (let i = 0; i < 5; i++) {
      leader.tick();
      exchange(hosts);
    }
    expect(second.disk).toEqual(leader.disk);
    const copy = append(second, 1, 1, { prevIndex: 1, prevTerm: 1, commit: 3, entries: leader.memory.slice(1) });
    expect(only('appended', second.step(copy, copy))).toMatchObject([{ ok: true, index: 3 }]);
    expect(second.disk).toEqual(leader.disk);
  });

  test('§5.4.2 only log entries from the leader’s current term are committed by counting replicas', () => {
    const host = new Host({ terms: [1, 2] });
    elect(host);
    host.sync();
    host.step(ack(host, 2, 1), ack(host, 3, 2));
    expect(host.raft.commit).toBe(0);
    host.step(ack(host, 3, 3));
    expect(host.raft.commit).toBe(3);
  });

  test('§5.4.2, figure 8: an entry of an earlier term on a majority may still be overwritten, so it is not committed', () => {
    // (c): S1 leads term 4 and has brought entry 2 of term 2 to S2 and S3, but not its own entry of term 4.
    const hosts = trio([[1, 2], [1, 2], [1], [1], [1, 3]], 3);
    const [s1, s2, s3, s4, s5] = hosts as [Host, Host, Host, Host, Host];
    s1.raft.campaign();
    exchange([s1, s2, s3], ({ type }) => type === 'vote' || type === 'voted');
    expect([s1.raft.role, s1.raft.term]).toEqual(['leader', 4]);
    s3.raft.step(append(s3, 1, 4, { prevIndex: 1, prevTerm: 1, entries: [s1.memory[1]!] }));
    s3.sync();
    s1.step(ack(s1, 2, 2), ack(s1, 3, 2));
    expect(s1.raft.commit).toBe(0);
    // (d): S5 is elected by S3 and S4, and overwrites it with its own of term 3.
    s3.tick(10);
    for (let i = 0; i < 2; i++) {
      s5.raft.campaign();
      exchange([s3, s4, s5], ({ type, from }) => type !== 'vote' || from === 5);
    }
    expect(s5.raft.role).toBe('leader');
    expect(s3.terms.slice(0, 2)).toEqual([1, 3]);
  });

  test('dissertation §10.2.1 the leader writes to its disk in parallel with the followers, who may commit without it', () => {
    const host = new Host();
    elect(host);
    expect(host.disk.length).toBe(0);
    host.step(ack(host, 2, 1));
    expect(host.raft.commit).toBe(0);
    host.step(ack(host, 3, 1));
    expect(host.raft.commit).toBe(1);
  });

  test('dissertation §10.2.1 the leader’s own disk counts when its write has completed', () => {
    const host = new Host();
    elect(host);
    host.step(ack(host, 2, 1));
    host.write();
    host.turn();
    expect(host.raft.commit).toBe(0);
    host.complete();
    expect(host.raft.commit).toBe(1);
  });

  test('dissertation §10.2.1 a follower answers for what it has written to disk only', () => {
    const host = new Host();
    expect(host.step(append(host, 2, 1, { entries: entriesOf([1]) }))).toEqual([]);
    host.write();
    host.step(append(host, 2, 1, { prevIndex: 1, prevTerm: 1, entries: entriesOf([1, 1], 2) }));
    host.complete();
    expect(host.turn()).toMatchObject([{ type: 'appended', ok: true, index: 1 }]);
    expect(host.sync()).toMatchObject([{ type: 'appended', ok: true, index: 3 }]);
  });

  test('dissertation §10.2.1 with pipelining, the leader sends the next entries without waiting for an answer', () => {
    const host = settledLeader(new Host());
    for (let index = 2; index <= 5; index++) {
      host.raft.propose([record()]);
      expect(only('append', host.turn()).map(({ prevIndex }) => prevIndex)).toEqual([index - 1, index - 1]);
    }
  });
});

describe('client interaction, reads', () => {
  test('§8 each leader commits a blank no-op entry into the log at the start of its term', () => {
    const host = new Host({ terms: [1] });
    const sent = elect(host);
    expect(only('append', sent)).toMatchObject([
      { entries: [{ index: 2, term: 2 }] },
      { entries: [{ index: 2, term: 2 }] },
    ]);
    host.sync();
    host.step(ack(host, 2, 2));
    expect(host.raft.commit).toBe(2);
  });

  test('dissertation §6.4 (1) a leader that has not yet committed an entry of its term waits until it has', () => {
    const host = new Host({ terms: [1, 1] });
    elect(host);
    host.raft.readIndex(7);
    host.tick(3);
    host.step(beaten(host, 2, 1), beaten(host, 3, 1));
    expect(host.reads).toEqual([]);
    host.sync();
    const sent = host.step(ack(host, 2, 3));
    expect(only('heartbeat', sent).map(({ round }) => round)).toContain(1);
    host.step(beaten(host, 2, 1));
    expect(host.reads).toEqual([{ id: 7, index: 3 }]);
  });

  test('§8, dissertation §6.4 (3) the leader exchanges heartbeats with a majority before it responds to a read', () => {
    const host = new Host({ voters: [1, 2, 3, 4, 5] });
    settledLeader(host);
    expect(host.raft.commit).toBe(1);
    host.raft.readIndex(1);
    expect(only('heartbeat', host.turn()).map(({ to, round }) => [to, round])).toEqual([
      [2, 1],
      [3, 1],
      [4, 1],
      [5, 1],
    ]);
    host.step(beaten(host, 2, 1), beaten(host, 2, 1));
    expect(host.reads).toEqual([]);
    host.step(beaten(host, 5, 1));
    expect(host.reads).toEqual([{ id: 1, index: 1 }]);
  });

  test('dissertation §6.4 (2) a read takes the commit index at its arrival, not a later one', () => {
    const host = settledLeader(new Host());
    host.raft.readIndex(1);
    host.raft.propose([record()]);
    host.sync();
    host.step(ack(host, 2, 2));
    expect(host.raft.commit).toBe(2);
    host.step(beaten(host, 2, 1));
    expect(host.reads).toEqual([{ id: 1, index: 1 }]);
  });

  test('dissertation §6.4 the leader amortizes one round of heartbeats over any number of reads that it has accumulated', () => {
    const host = settledLeader(new Host());
    for (let id = 1; id <= 100; id++) host.raft.readIndex(id);
    expect(only('heartbeat', host.turn()).length).toBe(2);
    host.step(beaten(host, 3, 1));
    expect(host.reads.length).toBe(100);
  });

  test('dissertation §6.4 followers can issue a request to the leader for a current read index', () => {
    const hosts = trio();
    const [leader, second, third] = hosts as [Host, Host, Host];
    leader.raft.campaign();
    exchange(hosts);
    second.raft.readIndex(1);
    third.raft.readIndex(1);
    exchange(hosts);
    expect([second.reads, third.reads]).toEqual([[{ id: 1, index: 1 }], [{ id: 1, index: 1 }]]);
  });
});

describe('calm', () => {
  test('dissertation §6.2 a leader steps down if an election timeout elapses without answers of a majority', () => {
    const host = new Host({ voters: [1, 2, 3, 4, 5] });
    settledLeader(host);
    host.tick(18);
    host.step(beaten(host, 2), beaten(host, 3));
    host.tick(18);
    expect(host.raft.role).toBe('leader');
    host.step(beaten(host, 2));
    host.tick(1);
    expect([host.raft.role, host.raft.leader, host.raft.term]).toEqual(['follower', 0, 1]);
  });

  test('dissertation §4.2.3 within a minimum election timeout of hearing from a leader, a server ignores vote requests', () => {
    const host = new Host();
    host.step(heartbeat(host, 2, 1));
    host.tick(9);
    expect(host.step(request(host, 3, 9), request(host, 3, 9, { pre: true }))).toEqual([]);
    expect(host.raft.term).toBe(1);
    host.tick(1);
    expect(host.step(request(host, 3, 9))).toMatchObject([{ type: 'voted', term: 9, granted: true }]);
  });

  test('dissertation §4.2.3 a leader that a majority answers is not deposed by a vote request', () => {
    const host = settledLeader(new Host());
    expect(host.step(request(host, 3, 9, { lastIndex: 9, lastTerm: 1 }))).toEqual([]);
    expect([host.raft.role, host.raft.term]).toEqual(['leader', 1]);
  });

  test('dissertation §9.6 a candidate increments its term only if a majority would grant it their votes', () => {
    const host = new Host({ voters: [1, 2, 3, 4, 5], hardState: { term: 3, vote: 2 } });
    host.tick(1000);
    expect([host.raft.term, host.raft.vote]).toEqual([3, 2]);
    expect(only('vote', host.sent).every(({ pre, term }) => pre && term === 4)).toBe(true);
    host.step(voteFor(host, 2, true));
    expect(host.raft.term).toBe(3);
    host.step(voteFor(host, 5, true));
    expect([host.raft.term, host.raft.vote]).toEqual([4, 1]);
  });

  test('dissertation §9.6 a pre-vote changes neither the voter’s term nor its vote', () => {
    const host = new Host({ hardState: { term: 3, vote: 0 } });
    const sent = host.step(request(host, 2, 4, { pre: true }), request(host, 3, 4, { pre: true }));
    expect(only('voted', sent).map(({ granted, term }) => [granted, term])).toEqual([
      [true, 4],
      [true, 4],
    ]);
    expect(host.hard).toEqual({ term: 3, vote: 0 });
  });

  test('dissertation §9.6 a server that was cut off rejoins without disrupting the cluster', () => {
    const hosts = trio();
    const [leader, second, third] = hosts as [Host, Host, Host];
    leader.raft.campaign();
    exchange(hosts);
    for (let i = 0; i < 100; i++) {
      third.tick();
      leader.tick();
      second.tick();
      exchange(hosts, ({ from, to }) => from !== 3 && to !== 3);
    }
    expect(third.raft.role).toBe('candidate');
    for (let i = 0; i < 5; i++) {
      for (const host of hosts) host.tick();
      exchange(hosts);
    }
    expect(hosts.map(({ raft }) => [raft.term, raft.leader])).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ]);
  });
});
