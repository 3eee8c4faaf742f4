import { describe, expect, test } from 'vitest';
import type { AppendRequest, Message } from '../../src/raft/types.js';
import { entriesOf, entry, Host, type HostOptions } from './host.js';
import { ack, append, beaten, elect, exchange, heartbeat, only, request, settledLeader, voteFor } from './lab.js';

const sized = (bytes: number): Uint8Array => new Uint8Array(bytes);

/** A follower's refusal, in the leader's term. */
function refusal(host: Host, from: number, refused: number, index: number, hintTerm: number): Message {
  return {
    type: 'appended',
    from,
    to: host.id,
    term: host.raft.term,
    ok: false,
    index,
    hintTerm,
    refused,
    abstains: 0,
  };
}

function trio(...logs: number[][]): [Host, Host, Host] {
  const term = Math.max(...logs.map((terms) => terms.at(-1) ?? 0));
  const [a, b, c] = logs.map((terms, i) => new Host({ id: i + 1, terms, hardState: { term, vote: 0 } }));
  return [a!, b!, c!];
}

describe('what a disk vouches for', () => {
  test('a write that completes after its entries were replaced vouches for nothing', () => {
    const host = new Host();
    host.step(append(host, 2, 2, { entries: entriesOf([1, 2, 2]) }));
    host.write();
    // Another leader replaces entries 2 and 3 while the write is in flight.
    host.step(append(host, 3, 3, { prevIndex: 1, prevTerm: 1, entries: entriesOf([3, 3], 2) }));
    host.complete();
    expect(only('appended', host.turn())).toEqual([]);
    expect(only('appended', host.sync())).toMatchObject([{ to: 3, ok: true, index: 3 }]);
  });

  test('a leader does not count a late completion for entries that replaced the written ones', () => {
    const host = new Host();
    host.step(append(host, 2, 1, { entries: entriesOf([1, 1]) }));
    host.write();
    host.step(append(host, 3, 2, { prevIndex: 0, prevTerm: 0, entries: entriesOf([2]) }));
    host.tick(20);
    host.step(voteFor(host, 2, true));
    host.step(voteFor(host, 2, false));
    expect([host.raft.role, host.terms]).toEqual(['leader', [2, 3]]);
    host.complete();
    host.turn();
    host.step(ack(host, 2, 2));
    expect(host.raft.commit).toBe(0);
    host.sync();
    expect(host.raft.commit).toBe(2);
  });

  test('what is on disk falls back when a conflicting append replaces it', () => {
    const host = new Host({ terms: [1, 1, 1, 1] });
    host.step(append(host, 2, 2, { prevIndex: 2, prevTerm: 1, entries: entriesOf([2, 2], 3) }));
    // The same again: entries 3 and 4 are there, but not on disk.
    expect(host.step(append(host, 2, 2, { prevIndex: 2, prevTerm: 1, entries: entriesOf([2, 2], 3) }))).toEqual([]);
    expect(host.sync()).toMatchObject([{ ok: true, index: 4 }]);
  });

  test('a completion for entries that are to be written again is ignored', () => {
    const host = new Host();
    host.step(append(host, 2, 2, { entries: entriesOf([2]) }));
    host.raft.step(append(host, 3, 3, { entries: entriesOf([3]) }));
    host.raft.step(append(host, 2, 4, { entries: entriesOf([2]) }));
    // Of the entry that was handed out first; the one that the core has now is the third, and not handed out.
    host.raft.persisted(1, 2);
    expect(host.turn()).toEqual([]);
    expect(host.sync()).toMatchObject([{ ok: true, index: 1, term: 4 }]);
  });

  test('behind the prefix that this leader’s appends have shown, what is on disk is not vouched for', () => {
    const host = new Host({ terms: [1, 1, 1, 1, 1], hardState: { term: 1, vote: 0 } });
    const sent = host.step(append(host, 2, 3, { prevIndex: 0, prevTerm: 0, entries: entriesOf([1, 1]) }));
    expect(sent).toMatchObject([{ ok: true, index: 2 }]);
  });

  test('a new leader of the same log begins to show it anew', () => {
    const host = new Host();
    host.step(append(host, 2, 1, { entries: entriesOf([1, 1, 1]) }));
    host.step(heartbeat(host, 3, 2));
    expect(only('appended', host.sync())).toEqual([]);
    expect(host.step(append(host, 3, 2, { prevIndex: 1, prevTerm: 1, entries: entriesOf([1], 2) }))).toMatchObject([
      { to: 3, ok: true, index: 2 },
    ]);
  });

  test('all appends of a turn share one answer', () => {
    const host = new Host({ terms: [1] });
    for (let index = 2; index <= 9; index++) {
      host.raft.step(append(host, 2, 1, { prevIndex: index - 1, prevTerm: 1, entries: [entry(index, 1)] }));
    }
    expect(host.sync()).toMatchObject([{ type: 'appended', ok: true, index: 9 }]);
  });
});

describe('reads', () => {
  test('a read joins only a round that has not been sent', () => {
    const host = settledLeader(new Host());
    host.raft.readIndex(1);
    host.turn();
    host.raft.readIndex(2);
    expect(only('heartbeat', host.turn())).toEqual([]);
    // The answers to round 1 prove nothing for read 2; round 2 starts at once.
    const sent = host.step(beaten(host, 2, 1));
    expect(host.reads).toEqual([{ id: 1, index: 1 }]);
    expect(only('heartbeat', sent).map(({ round }) => round)).toEqual([2, 2]);
    host.step(beaten(host, 3, 1), beaten(host, 2, 1));
    expect(host.reads.length).toBe(1);
    host.step(beaten(host, 3, 2));
    expect(host.reads).toEqual([
      { id: 1, index: 1 },
      { id: 2, index: 1 },
    ]);
  });

  test('a round that is lost is sent again with the heartbeat interval', () => {
    const host = settledLeader(new Host({ heartbeatTicks: 4 }));
    host.raft.readIndex(1);
    host.turn();
    expect(only('heartbeat', host.tick(4)).map(({ round }) => round)).toEqual([1, 1]);
    host.step(beaten(host, 3, 1));
    expect(host.reads).toEqual([{ id: 1, index: 1 }]);
    expect(only('heartbeat', host.tick(4)).map(({ round }) => round)).toEqual([0, 0]);
  });

  test('the leader’s own reads and followers’ reads share a round', () => {
    const host = settledLeader(new Host());
    host.raft.readIndex(1);
    host.step({ type: 'read', from: 2, to: 1, term: 1, id: 70 }, { type: 'read', from: 3, to: 1, term: 1, id: 80 });
    const sent = host.step(beaten(host, 2, 1));
    expect(host.reads).toEqual([{ id: 1, index: 1 }]);
    expect(only('readable', sent)).toEqual([
      { type: 'readable', from: 1, to: 2, term: 1, id: 70, index: 1 },
      { type: 'readable', from: 1, to: 3, term: 1, id: 80, index: 1 },
    ]);
  });

  test('a single voter answers at once', () => {
    const host = new Host({ voters: [1] });
    host.tick();
    host.sync();
    host.raft.readIndex(5);
    host.turn();
    expect(host.reads).toEqual([{ id: 5, index: 1 }]);
  });

  test('with leadership all reads are lost: those kept, those waiting and those in flight', () => {
    const host = settledLeader(new Host());
    host.raft.readIndex(1);
    host.turn();
    host.raft.readIndex(2);
    host.raft.step({ type: 'read', from: 3, to: 1, term: 1, id: 9 });
    const sent = host.step(heartbeat(host, 2, 2));
    expect(host.reads).toEqual([
      { id: 1, index: -1 },
      { id: 2, index: -1 },
    ]);
    expect(only('readable', sent)).toEqual([{ type: 'readable', from: 1, to: 3, term: 2, id: 9, index: -1 }]);

    const early = new Host();
    elect(early);
    early.raft.readIndex(3);
    early.tick(19);
    expect([early.raft.role, early.reads]).toEqual(['follower', [{ id: 3, index: -1 }]]);
  });

  test('a follower without a leader answers -1 at once, and one whose leader goes answers -1 then', () => {
    const host = new Host();
    host.raft.readIndex(1);
    host.turn();
    expect(host.reads).toEqual([{ id: 1, index: -1 }]);
    host.step(heartbeat(host, 2, 1));
    host.raft.readIndex(2);
    expect(only('read', host.turn())).toMatchObject([{ to: 2, term: 1 }]);
    host.step(heartbeat(host, 3, 2));
    expect(host.reads).toContainEqual({ id: 2, index: -1 });
    host.raft.readIndex(3);
    host.turn();
    host.tick(19);
    expect(host.reads).toContainEqual({ id: 3, index: -1 });
  });

  test('a node that does not lead refuses a read', () => {
    const host = new Host();
    host.step(heartbeat(host, 2, 1));
    expect(host.step({ type: 'read', from: 3, to: 1, term: 1, id: 4 })).toEqual([
      { type: 'readable', from: 1, to: 3, term: 1, id: 4, index: -1 },
    ]);
  });

  test('a follower’s request that is lost is sent again after a heartbeat interval, and when the link is back', () => {
    const host = new Host({ heartbeatTicks: 3 });
    host.step(heartbeat(host, 2, 1));
    host.raft.readIndex(1);
    const [first] = only('read', host.turn());
    expect(only('read', host.tick(2))).toEqual([]);
    expect(only('read', host.tick(1))).toEqual([first]);
    host.raft.reachable(2);
    expect(only('read', host.turn())).toEqual([first]);
    const answer: Message = { type: 'readable', from: 2, to: 1, term: 1, id: first!.id, index: 6 };
    host.step(answer, answer);
    expect(host.reads).toEqual([{ id: 1, index: 6 }]);
    expect(only('read', host.tick(6))).toEqual([]);
  });

  test('an answer to a question of an earlier life of the node answers none of this one', () => {
    let draws = 0;
    const host = new Host({ random: () => (draws++ % 97) / 97 });
    host.step(heartbeat(host, 2, 1));
    host.raft.readIndex(1);
    const [old] = only('read', host.turn());
    host.restart();
    host.step(heartbeat(host, 2, 1));
    host.raft.readIndex(1);
    host.turn();
    host.step({ type: 'readable', from: 2, to: 1, term: 1, id: old!.id, index: 0 });
    expect(host.reads).toEqual([]);
  });
});

describe('flow', () => {
  test('what is in flight to a follower stays within the bound, one larger entry excepted, and goes on with its answers', () => {
    const host = settledLeader(new Host({ maxAppendBytes: 100, maxInflightBytes: 250 }));
    host.raft.propose(Array.from({ length: 20 }, () => sized(40)));
    host.raft.propose([sized(1000), sized(10)]);
    const toSecond = (sent: readonly Message[]): AppendRequest[] => only('append', sent).filter(({ to }) => to === 2);
    let acked = 1;
    let most = 0;
    let flying = toSecond(host.turn());
    while (flying.length > 0) {
      const bytes = flying.flatMap(({ entries }) => entries).reduce((sum, { bytes }) => sum + bytes.length, 0);
      expect(bytes <= 250 || (flying.length === 1 && flying[0]!.entries.length === 1)).toBe(true);
      most = Math.max(most, bytes);
      const [oldest, ...rest] = flying;
      acked = oldest!.prevIndex + oldest!.entries.length;
      flying = [...rest, ...toSecond(host.step(ack(host, 2, acked)))];
    }
    expect([acked, most]).toEqual([23, 1000]);
  });

  test('an append takes as many entries as fit, and at least one', () => {
    const host = settledLeader(new Host({ maxAppendBytes: 100 }));
    host.raft.propose([30, 30, 30, 30, 500, 10].map(sized));
    const sizes = only('append', host.turn())
      .filter(({ to }) => to === 2)
      .map(({ entries }) => entries.map(({ bytes }) => bytes.length));
    expect(sizes).toEqual([[30, 30, 30], [30], [500], [10]]);
  });

  test('the last append that fits in flight is cut to the room that is left', () => {
    const host = settledLeader(new Host({ maxAppendBytes: 100, maxInflightBytes: 300 }));
    host.raft.propose(Array.from({ length: 20 }, () => sized(40)));
    const counts = only('append', host.turn()).filter(({ to }) => to === 2);
    expect(counts.map(({ entries }) => entries.length)).toEqual([2, 2, 2, 1]);
  });

  test('one append at a time goes to a follower whose log is not known to match', () => {
    const host = new Host();
    expect(only('append', elect(host)).length).toBe(2);
    host.raft.propose([sized(1)]);
    expect(host.turn()).toEqual([]);
    expect(only('append', host.step(ack(host, 2, 1)))).toMatchObject([{ to: 2, prevIndex: 1 }]);
  });

  test('fast back-off: a log that differs by thousands of entries in few terms takes few round trips', () => {
    const long = (term: number, count: number): number[] => Array.from({ length: count }, () => term);
    const [leader, second, third] = trio(
      [...long(1, 500), ...long(6, 500)],
      [...long(1, 500), ...long(2, 1000), ...long(3, 1000), ...long(5, 1000)],
      [1],
    );
    leader.raft.campaign();
    const sent = exchange([leader, second, third]);
    const refused = (id: number): number => only('appended', sent).filter(({ from, ok }) => from === id && !ok).length;
    expect([refused(2), refused(3)]).toEqual([1, 1]);
    expect([second.disk, third.disk]).toEqual([leader.disk, leader.disk]);
  });

  test('fast back-off: a follower skips what is of later terms than the leader has there', () => {
    const long = (term: number, count: number): number[] => Array.from({ length: count }, () => term);
    const [leader, second, third] = trio([1, ...long(2, 500)], [1, ...long(3, 500)], [1]);
    // Node 3 decides the election, for node 2 has the later last entry.
    elect(leader, [3]);
    const sent = exchange([leader, second, third]);
    expect(only('appended', sent).filter(({ from, ok }) => from === 2 && !ok).length).toBe(1);
    expect(second.disk).toEqual(leader.disk);
  });

  test('fast back-off: interleaved terms cost at most a round trip each', () => {
    const terms = (of: readonly number[]): number[] => of.flatMap((term) => Array.from({ length: 50 }, () => term));
    const [leader, second, third] = trio(terms([1, 3, 5, 7, 9]), terms([1, 2, 4, 6, 8]), [1]);
    leader.raft.campaign();
    const sent = exchange([leader, second, third]);
    expect(only('appended', sent).filter(({ from, ok }) => from === 2 && !ok).length).toBeLessThanOrEqual(5);
    expect(second.disk).toEqual(leader.disk);
  });

  test('late refusals of what has been settled since are ignored', () => {
    const host = settledLeader(new Host());
    host.raft.propose([sized(1), sized(1)]);
    host.turn();
    host.step(ack(host, 2, 3));
    host.raft.propose([sized(1)]);
    host.turn();
    expect(
      only('append', host.step(refusal(host, 2, 1, 0, 0), refusal(host, 2, 3, 0, 0), refusal(host, 2, 900, 0, 0))),
    ).toEqual([]);
    // One of what is in flight is not late.
    host.raft.propose([sized(1)]);
    host.turn();
    expect(only('append', host.step(refusal(host, 2, 4, 3, 1)))).toMatchObject([{ to: 2, prevIndex: 3 }]);
  });

  test('a follower that answers heartbeats but no append is sent it again, less and less often', () => {
    const host = settledLeader(new Host());
    host.raft.propose([sized(1)]);
    host.turn();
    const resent: number[] = [];
    for (let tick = 1; tick <= 30; tick++) {
      host.raft.tick();
      const sent = host.step(beaten(host, 2), beaten(host, 3));
      if (only('append', sent).some(({ to, prevIndex }) => to === 2 && prevIndex === 1)) resent.push(tick);
    }
    expect(resent).toEqual([1, 3, 7, 11, 15, 19, 23, 27]);
    host.step(ack(host, 2, 2));
    host.raft.propose([sized(1)]);
    host.turn();
    expect(only('append', host.tick(1).concat(host.step(beaten(host, 2)))).map(({ to }) => to)).toEqual([2]);
  });

  test('what still arrives at a follower is not sent again: it says so in its answers to heartbeats, which overtake it', () => {
    const host = settledLeader(new Host());
    host.raft.propose([sized(1)]);
    host.turn();
    const resent = (amid: boolean) => {
      host.raft.tick();
      return only('append', host.step({ ...beaten(host, 2), amid }, beaten(host, 3))).some(({ to }) => to === 2);
    };
    for (let tick = 1; tick <= 30; tick++) expect(resent(true)).toBe(false);
    // Then it has arrived, and its answer is lost.
    expect(resent(false)).toBe(true);
    const follower = new Host({ id: 2 });
    const heartbeat = { type: 'heartbeat', from: 1, to: 2, term: 1, commit: 0, round: 0 } as const;
    expect(only('beaten', follower.step(heartbeat, { ...heartbeat, amid: true })).map(({ amid }) => amid)).toEqual([
      false,
      true,
    ]);
  });

  test('a follower whose link is down is sent heartbeats only; when it is back, all it lacks and the commit index', () => {
    const host = settledLeader(new Host());
    host.raft.unreachable(2);
    host.raft.propose([sized(1), sized(1)]);
    expect(only('append', host.turn()).map(({ to }) => to)).toEqual([3]);
    host.sync();
    host.step(ack(host, 3, 3));
    expect(host.tick().map(({ type, to }) => [type, to])).toContainEqual(['heartbeat', 2]);
    host.raft.reachable(2);
    const back = host.turn().filter(({ to }) => to === 2);
    expect(back).toMatchObject([
      { type: 'heartbeat', commit: 1 },
      { type: 'append', prevIndex: 1, commit: 3, entries: [{ index: 2 }, { index: 3 }] },
    ]);
  });

  test('any sign of life of a follower ends that it counts as unreachable', () => {
    const host = settledLeader(new Host());
    host.raft.unreachable(2);
    host.raft.propose([sized(1)]);
    host.turn();
    expect(only('append', host.step(beaten(host, 2)))).toMatchObject([{ to: 2, prevIndex: 1 }]);
  });

  test('a link that breaks before any append matched does not make the leader send its whole log', () => {
    const host = new Host({ terms: Array.from({ length: 500 }, () => 1) });
    elect(host);
    host.raft.unreachable(2);
    host.turn();
    host.raft.reachable(2);
    expect(only('append', host.turn())).toMatchObject([{ to: 2, prevIndex: 500 }]);
  });

  test('a commit goes out at once: by an append if there is one, else by a heartbeat, to those who have the entry', () => {
    const host = settledLeader(new Host());
    host.raft.propose([sized(1)]);
    host.sync();
    const sent = host.step(ack(host, 2, 2));
    expect(sent).toEqual([{ type: 'heartbeat', from: 1, to: 2, term: 1, commit: 2, round: 0 }]);
    expect(host.step(ack(host, 3, 2))).toEqual([{ type: 'heartbeat', from: 1, to: 3, term: 1, commit: 2, round: 0 }]);
    host.raft.propose([sized(1)]);
    host.sync();
    host.raft.propose([sized(1)]);
    const next = host.step(ack(host, 2, 3)).filter(({ to }) => to === 2);
    expect(next).toMatchObject([{ type: 'append', prevIndex: 3, commit: 3 }]);
  });

  test('a heartbeat’s commit index is never beyond what its receiver is known to have', () => {
    const host = new Host({ terms: [1, 1, 1] });
    elect(host);
    host.sync();
    host.step(ack(host, 2, 4));
    expect(host.raft.commit).toBe(4);
    expect(only('heartbeat', host.tick()).map(({ to, commit }) => [to, commit])).toEqual([
      [2, 4],
      [3, 0],
    ]);
  });

  test('proposals of a turn share one append to each follower', () => {
    const host = settledLeader(new Host());
    expect([1, 2, 3].map(() => host.raft.propose([sized(1), sized(2)]))).toEqual([2, 4, 6]);
    expect(only('append', host.turn()).map(({ entries }) => entries.length)).toEqual([6, 6]);
  });
});

describe('roles', () => {
  test('a cluster of one leads with its first tick, and commits when its disk has the entry', () => {
    const host = new Host({ voters: [1] });
    host.tick();
    expect([host.raft.role, host.raft.leader, host.hard, host.commit]).toEqual(['leader', 1, { term: 1, vote: 1 }, 0]);
    host.sync();
    host.raft.propose([sized(1)]);
    expect(host.sync()).toEqual([]);
    expect(host.commit).toBe(2);
    host.tick(100);
    expect([host.raft.role, host.sent]).toEqual(['leader', []]);
  });

  test('only a leader takes proposals', () => {
    const host = new Host();
    expect(host.raft.propose([sized(1)])).toBeUndefined();
    host.step(heartbeat(host, 2, 1));
    expect(host.raft.propose([sized(1)])).toBeUndefined();
    host.raft.campaign();
    expect(host.raft.propose([sized(1)])).toBeUndefined();
    expect(host.raft.lastIndex).toBe(0);
  });

  test('records are sealed in order, with index and term, and the no-op without a record', () => {
    const sealed: unknown[] = [];
    const seal: HostOptions['seal'] = (index, term, record) => {
      sealed.push([index, term, record?.length]);
      return record ?? sized(64);
    };
    const host = new Host({ seal });
    elect(host);
    host.raft.propose([sized(5), sized(6)]);
    expect(sealed).toEqual([
      [1, 1, undefined],
      [2, 1, 5],
      [3, 1, 6],
    ]);
  });

  test('a candidate asks again whom it can reach now, if that one has not answered', () => {
    const host = new Host();
    host.raft.campaign();
    host.turn();
    host.raft.reachable(2);
    expect(host.turn()).toMatchObject([{ type: 'vote', to: 2, pre: true }]);
    host.step(voteFor(host, 3, true));
    host.raft.reachable(2);
    expect(host.turn()).toMatchObject([{ type: 'vote', to: 2, pre: false, term: 1 }]);
  });

  test('a candidate that a majority refuses waits for its next time-out as a follower', () => {
    const host = new Host();
    host.raft.campaign();
    host.step(voteFor(host, 2, true, false));
    expect(host.raft.role).toBe('candidate');
    host.step(voteFor(host, 3, true, false));
    expect([host.raft.role, host.raft.term]).toEqual(['follower', 0]);
  });

  test('a leader that stepped down for lack of answers is deposed or leads again, but not in the same term', () => {
    const host = settledLeader(new Host());
    host.tick(19);
    expect([host.raft.role, host.raft.term]).toEqual(['follower', 1]);
    host.raft.campaign();
    host.step(voteFor(host, 2, true));
    host.step(voteFor(host, 2, false));
    expect([host.raft.role, host.raft.term]).toEqual(['leader', 2]);
  });

  test('a node in a later term than the leader is let back in by a new election', () => {
    const [first, second, third] = trio([], [], []);
    first.raft.campaign();
    exchange([first, second, third]);
    third.hard = { term: 5, vote: 3 };
    third.restart();
    for (let i = 0; i < 60 && third.raft.leader === 0; i++) {
      for (const host of [first, second, third]) host.tick();
      exchange([first, second, third]);
    }
    expect(new Set([first, second, third].map(({ raft }) => raft.leader)).size).toBe(1);
    expect(third.raft.term).toBeGreaterThan(5);
  });

  test('Ready.changed says when leader, term or role changed, and only then', () => {
    const host = new Host();
    expect(host.raft.ready()).toBeUndefined();
    host.raft.step(heartbeat(host, 2, 1));
    expect(host.raft.ready()).toMatchObject({ changed: true, hardState: { term: 1, vote: 0 } });
    host.raft.step(heartbeat(host, 2, 1));
    expect(host.raft.ready()).toMatchObject({ changed: false, hardState: undefined });
    expect(host.raft.ready()).toBeUndefined();
  });

  test('messages for others, from itself, and what strangers answer or ask, count for nothing', () => {
    const host = new Host();
    const message = request(host, 2, 5);
    const strange: Message[] = [
      { ...message, to: 2 },
      { ...message, from: 1 },
      { type: 'voted', from: 9, to: 1, term: 5, pre: false, granted: false },
      { type: 'appended', from: 9, to: 1, term: 5, ok: true, index: 3, hintTerm: 0, refused: 0, abstains: 0 },
      { type: 'beaten', from: 9, to: 1, term: 5, round: 0, abstains: 0 },
      { type: 'read', from: 9, to: 1, term: 5, id: 1 },
      { type: 'readable', from: 9, to: 1, term: 5, id: 1, index: 1 },
    ];
    expect(host.step(...strange)).toEqual([]);
    expect(host.raft.term).toBe(0);
  });

  test('the same inputs give the same outputs', () => {
    const run = (): unknown => {
      const hosts = trio([1, 2], [1, 1, 1], [1]);
      for (let i = 0; i < 60; i++) {
        for (const host of hosts) {
          host.tick();
          host.raft.propose([sized(i + 1)]);
          host.raft.readIndex(i);
        }
        exchange(hosts, ({ from, to }) => (from * 7 + to * 3 + i) % 5 !== 0);
      }
      return hosts.map(({ sent, reads, terms, commit }) => ({ sent, reads, terms, commit }));
    };
    expect(run()).toEqual(run());
  });
});

describe('broken invariants stop the node', () => {
  test('two leaders in one term', () => {
    const host = new Host();
    host.step(heartbeat(host, 2, 1));
    expect(() => host.step(heartbeat(host, 3, 1))).toThrow('nodes 2 and 3 both lead term 1');
  });

  test('a commit index beyond the log', () => {
    const host = new Host({ terms: [1] });
    expect(() => host.step(heartbeat(host, 2, 1, 2))).toThrow('commit 2 is beyond the last entry 1');
  });

  test('a leader that replaces what is committed', () => {
    const host = new Host({ terms: [1, 1, 1], commit: 2 });
    expect(() => host.step(append(host, 2, 2, { prevIndex: 1, prevTerm: 1, entries: entriesOf([2], 2) }))).toThrow(
      'the leader replaces entry 2 by one of term 2, but all up to 2 is fixed',
    );
  });

  test('a leader that does not have what is committed', () => {
    const host = new Host({ terms: [1, 1, 1], commit: 2 });
    expect(() => host.step(append(host, 2, 3, { prevIndex: 2, prevTerm: 2, entries: entriesOf([3], 3) }))).toThrow(
      /committed with term 1/,
    );
  });

  test('a leader that replaces what it sent before', () => {
    const host = new Host();
    host.step(append(host, 2, 2, { entries: entriesOf([1, 2]) }));
    expect(() => host.step(append(host, 2, 2, { entries: entriesOf([2]) }))).toThrow(/all up to 2 is fixed/);
  });

  test('entries out of order, of falling terms or of a later term than their leader’s', () => {
    for (const entries of [[entry(2, 1)], entriesOf([2, 1]), entriesOf([3]), [entry(1, 1), entry(3, 1)]]) {
      const host = new Host();
      expect(() => host.step(append(host, 2, 2, { entries }))).toThrow(/sent entry/);
    }
  });

  test('a host that does not have in memory what it was handed', () => {
    const host = new Host({ voters: [1] });
    host.tick();
    host.memory.pop();
    host.raft.tick();
    expect(() => host.raft.ready()).toThrow("the host's log ends at 0; what it was handed ends at 1");
  });

  test('a configuration that contradicts itself', () => {
    const wrong: [HostOptions, RegExp][] = [
      [{ voters: [1, 1, 2] }, /at most once/],
      [{ membership: { voters: [], outgoing: [], learners: [1] } }, /there are no voters/],
      [{ commit: 1 }, /commit 1 is beyond/],
      [{ terms: [3], hardState: { term: 2, vote: 0 } }, /the log ends in term 3/],
      [{ heartbeatTicks: 10 }, /heartbeat < least/],
      [{ electionTicks: [5, 4] }, /heartbeat < least/],
      [{ maxAppendBytes: 0 }, /at least 1/],
    ];
    for (const [options, text] of wrong) expect(() => new Host(options)).toThrow(text);
  });

  test('errors carry a stable code', () => {
    expect(() => new Host({ voters: [1, 1] })).toThrow(expect.objectContaining({ code: 'raft-invariant' }));
  });
});
