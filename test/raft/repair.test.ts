/** A member that repairs a corrupt log ("Amnesia and rot"): it neither votes nor counts until it has made good what it forgot. */
import { describe, expect, test } from 'vitest';
import { entriesOf, Host, members, random } from './host.js';
import { ack, append, beaten, exchange, heartbeat, only, request, settledLeader } from './lab.js';

const record = (): Uint8Array => new Uint8Array(1);

/** A follower's answers while it repairs its log under number `repair`. */
const abstaining = (host: Host, from: number, index: number, abstains = 7) => ({ ...ack(host, from, index), abstains });

/** A member of three whose log was cut off behind its first entry. */
function repairing(): Host {
  return new Host({ id: 3, terms: [1], hardState: { term: 2, vote: 1 }, abstains: true });
}

describe('the member', () => {
  test('it answers for what it has, and that it does not count', () => {
    const host = repairing();
    expect(host.raft.abstaining).toBe(true);
    const sent = host.step(heartbeat(host, 1, 2), append(host, 1, 2, { prevIndex: 5, prevTerm: 2 }));
    host.step(append(host, 1, 2, { prevIndex: 1, prevTerm: 1, entries: entriesOf([2], 2) }));
    sent.push(...host.sync());
    const repair = only('beaten', sent)[0]!.abstains;
    expect(repair).toBeGreaterThan(0);
    expect(only('appended', sent)).toMatchObject([
      { ok: false, abstains: repair },
      { ok: true, index: 2, abstains: repair },
    ]);
  });

  test('it neither votes nor stands for election, by itself or for its leader', () => {
    const host = repairing();
    host.tick(100);
    host.raft.campaign();
    expect(host.turn()).toEqual([]);
    const sent = host.step(
      request(host, 2, 3, { lastIndex: 99, lastTerm: 2, pre: true }),
      request(host, 2, 3, { lastIndex: 99, lastTerm: 2 }),
    );
    expect(only('voted', sent).map(({ pre, granted }) => [pre, granted])).toEqual([
      [true, false],
      [false, false],
    ]);
    host.step(heartbeat(host, 2, 3));
    expect(only('vote', host.step({ type: 'timeoutNow', from: 2, to: 3, term: 3 }))).toEqual([]);
    expect([host.raft.role, host.hard]).toEqual(['follower', { term: 3, vote: 0 }]);
  });

  test('a leader that tells it of commits which it has forgotten does not break it', () => {
    const host = repairing();
    host.step(heartbeat(host, 1, 2, 90));
    expect(host.raft.commit).toBe(0);
    host.step(append(host, 1, 2, { prevIndex: 1, prevTerm: 1, entries: entriesOf([2, 2], 2), commit: 90 }));
    host.step(heartbeat(host, 1, 2, 2));
    expect(host.raft.commit).toBe(3);
  });

  test('it counts again when its disk holds everything up to the index that its leader cleared, and not before', () => {
    const host = repairing();
    host.step(heartbeat(host, 1, 2));
    const repair = only('beaten', host.sent)[0]!.abstains;
    const clear = { type: 'cleared', from: 1, to: 3, term: 2, index: 4, repair } as const;
    host.step({ ...clear, from: 2 }, { ...clear, repair: repair + 1 }, { ...clear, term: 1, index: 1 });
    host.step(append(host, 1, 2, { prevIndex: 1, prevTerm: 1, entries: entriesOf([2, 2, 2], 2) }));
    host.step(clear);
    expect(host.raft.abstaining).toBe(true);
    const sent = host.sync();
    expect(host.raft.abstaining).toBe(false);
    expect(only('appended', sent).at(-1)).toMatchObject({ ok: true, index: 4, abstains: 0 });
    // The leader says it again when that answer was lost, and gets another.
    expect(only('appended', host.step(clear))).toMatchObject([{ ok: true, index: 4, abstains: 0 }]);
  });

  test('what is on its disk, but not shown to be in its leader’s log, makes nothing good', () => {
    const host = new Host({ id: 3, terms: [1, 1, 1, 1], hardState: { term: 2, vote: 1 }, abstains: true });
    host.step(heartbeat(host, 1, 2));
    const repair = only('beaten', host.sent)[0]!.abstains;
    host.step({ type: 'cleared', from: 1, to: 3, term: 2, index: 4, repair });
    expect(host.raft.abstaining).toBe(true);
    host.step(append(host, 1, 2, { prevIndex: 4, prevTerm: 1, entries: [] }));
    expect(host.raft.abstaining).toBe(false);
  });

  test('what one leader cleared is not enough for the next, which waits for what it clears itself', () => {
    const host = repairing();
    host.step(heartbeat(host, 1, 2));
    const repair = only('beaten', host.sent)[0]!.abstains;
    host.step({ type: 'cleared', from: 1, to: 3, term: 2, index: 2, repair });
    host.step(append(host, 2, 3, { prevIndex: 1, prevTerm: 1, entries: entriesOf([2, 3], 2) }));
    host.sync();
    expect(host.raft.abstaining).toBe(true);
    host.step({ type: 'cleared', from: 2, to: 3, term: 3, index: 3, repair });
    expect(host.raft.abstaining).toBe(false);
  });

  test('it confirms reads for the leader that it hears, unless it has lost its term too: then that may be one of long ago', () => {
    const beat = (round: number) => ({ type: 'heartbeat', from: 1, to: 3, term: 2, commit: 0, round }) as const;
    for (const votesLost of [false, true]) {
      const host = new Host({ id: 3, terms: [1], hardState: { term: 2, vote: 0 }, abstains: true, votesLost });
      const sent = host.step(beat(5));
      expect(only('beaten', sent)).toMatchObject([{ round: votesLost ? 0 : 5, abstains: expect.any(Number) }]);
      const { abstains: repair } = only('beaten', sent)[0]!;
      host.step({ type: 'cleared', from: 1, to: 3, term: 2, index: 2, repair });
      host.step(append(host, 1, 2, { prevIndex: 1, prevTerm: 1, entries: entriesOf([2], 2) }));
      host.sync();
      expect(host.raft.abstaining).toBe(false);
      expect(only('beaten', host.step(beat(6)))[0]?.round).toBe(6);
    }
  });

  test('Ready.changed tells the end', () => {
    const host = repairing();
    host.step(heartbeat(host, 1, 2));
    const repair = only('beaten', host.sent)[0]!.abstains;
    host.step(append(host, 1, 2, { prevIndex: 1, prevTerm: 1, entries: [] }));
    host.raft.step({ type: 'cleared', from: 1, to: 3, term: 2, index: 1, repair });
    expect(host.raft.ready()?.changed).toBe(true);
  });
});

describe('the leader', () => {
  /** Node 1 leads three, all of which have everything; node 3 begins a repair. */
  function leader(): Host {
    const host = settledLeader(new Host());
    host.raft.propose([record(), record()]);
    host.sync();
    host.step(ack(host, 2, 3), ack(host, 3, 3));
    expect(host.raft.commit).toBe(3);
    host.step({ ...beaten(host, 3), abstains: 7 });
    return host;
  }

  test('it forgets what the member had acknowledged, and appends an entry that can be committed without it', () => {
    const host = leader();
    expect(host.raft.lastIndex).toBe(4);
    expect(host.raft.peers()[1]).toMatchObject({ id: 3, match: 0, abstains: true });
    // The whole log is at its disposal again.
    const sent = host.step({ ...abstaining(host, 3, 1), ok: false, refused: 3, index: 1, hintTerm: 1 });
    expect(only('append', sent).filter(({ to }) => to === 3)).toMatchObject([{ prevIndex: 1 }]);
  });

  test('it does not count what the member acknowledges', () => {
    const host = leader();
    host.sync();
    host.step(abstaining(host, 3, 4));
    expect([host.raft.commit, host.raft.peers()[1]?.match]).toEqual([3, 4]);
    expect([host.raft.transfer(3), host.raft.chooseSuccessor()]).toEqual(['not-eligible', 2]);
    host.step(ack(host, 2, 4));
    expect(host.raft.commit).toBe(4);
  });

  test('it clears an index committed since by an entry of its own term, tells it with each heartbeat, and counts on from there', () => {
    const host = leader();
    expect(only('cleared', host.sync())).toEqual([]);
    expect(only('cleared', host.step(ack(host, 2, 4)))).toEqual([
      { type: 'cleared', from: 1, to: 3, term: 1, index: 4, repair: 7 },
    ]);
    expect(only('cleared', host.tick()).length).toBe(1);
    host.step(ack(host, 3, 4));
    expect(host.raft.peers()[1]).toMatchObject({ abstains: false, match: 4 });
    expect(only('cleared', host.tick())).toEqual([]);
    host.raft.propose([record()]);
    host.sync();
    host.step(ack(host, 3, 5));
    expect(host.raft.commit).toBe(5);
  });

  test('what its log held when it learned of the repair clears nothing: the member may have been counted for it', () => {
    const host = settledLeader(new Host());
    host.raft.propose([record(), record()]);
    host.sync();
    host.step({ ...beaten(host, 3), abstains: 7 });
    host.sync();
    expect(host.raft.lastIndex).toBe(4);
    expect(only('cleared', [...host.step(ack(host, 2, 3)), ...host.tick()])).toEqual([]);
    expect(host.raft.commit).toBe(3);
    expect(only('cleared', host.step(ack(host, 2, 4)))).toMatchObject([{ index: 4 }]);
  });

  test('an answer from before the repair that arrives late does not count', () => {
    const host = leader();
    host.raft.propose([record()]);
    host.sync();
    host.step(ack(host, 3, 3));
    expect(host.raft.peers()[1]).toMatchObject({ abstains: true, match: 0 });
    // Nor when it has been cleared up to a later index.
    host.step(ack(host, 2, 4), ack(host, 3, 3));
    expect(host.raft.peers()[1]).toMatchObject({ abstains: true, match: 0 });
  });

  test('a second repair begins anew', () => {
    const host = leader();
    host.sync();
    host.step(abstaining(host, 3, 4), ack(host, 2, 4));
    host.step(abstaining(host, 3, 1, 8));
    expect([host.raft.lastIndex, host.raft.peers()[1]?.match]).toEqual([5, 0]);
    expect(only('cleared', host.tick())).toEqual([]);
    host.sync();
    expect(only('cleared', host.step(ack(host, 2, 5)))).toMatchObject([{ index: 5, repair: 8 }]);
  });

  test('an answer from the repair that comes when it is over is late, and begins no other', () => {
    const host = leader();
    host.sync();
    host.step(ack(host, 2, 4), abstaining(host, 3, 4), ack(host, 3, 4));
    host.step(abstaining(host, 3, 3), { ...beaten(host, 3), abstains: 7 });
    expect(host.raft.peers()[1]).toMatchObject({ abstains: false, match: 4 });
    expect(host.raft.lastIndex).toBe(4);
    // Nor one from a repair before the one that goes on.
    host.step(abstaining(host, 3, 3, 8));
    expect(host.raft.lastIndex).toBe(5);
    host.step(abstaining(host, 3, 3));
    expect([host.raft.lastIndex, host.raft.peers()[1]?.abstains]).toEqual([5, true]);
  });

  test('a read is confirmed by the member all the same: it has kept its term', () => {
    const host = leader();
    host.raft.readIndex(1);
    host.turn();
    host.step({ ...beaten(host, 3, 1), abstains: 7 });
    expect(host.reads).toEqual([{ id: 1, index: 3 }]);
  });
});

test('a cluster of three repairs a member, which then stands in for another', () => {
  const hosts = [1, 2, 3].map((id) => new Host({ id })) as [Host, Host, Host];
  const [leader, second] = hosts;
  leader.raft.campaign();
  exchange(hosts);
  leader.raft.propose(Array.from({ length: 10 }, record));
  exchange(hosts);
  const third = new Host({
    id: 3,
    terms: [1, 1, 1],
    hardState: { term: 1, vote: 1 },
    abstains: true,
    random: random(9),
  });
  const after = [leader, second, third];
  leader.tick();
  exchange(after);
  leader.tick();
  exchange(after);
  expect([third.raft.abstaining, third.lastIndex(), third.commit]).toEqual([false, 12, 12]);
  // Nothing that was acknowledged is lost when the other follower is away for good.
  const two = [leader, third];
  leader.raft.propose([record()]);
  exchange(two);
  expect([leader.raft.commit, third.disk]).toEqual([13, leader.disk]);
  expect(leader.raft.membership.membership).toEqual(members([1, 2, 3]));
});
