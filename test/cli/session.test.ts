import { afterEach, describe, expect, it } from 'vitest';
import { Session, type SessionHandlers } from '../../src/cli/session.js';
import { parseAddress } from '../../src/client/address.js';
import { until } from '../support/cluster.js';
import { FakeNode, type FakeState } from './fake-node.js';

const nodes: FakeNode[] = [];
const sessions: Session[] = [];
afterEach(() => {
  for (const session of sessions.splice(0)) session.close();
  for (const node of nodes.splice(0)) node.kill();
});

/** A cluster of fake nodes, each naming all as members. */
async function fakes(
  count: number,
  sessions?: Map<string, Map<string, string>>,
): Promise<{ state: FakeState; members: FakeNode[] }> {
  const state: FakeState = { map: new Map(), ...(sessions ? { sessions } : {}) };
  const members: FakeNode[] = [];
  for (let i = 0; i < count; i++) members.push(await new FakeNode(state).start());
  for (const node of members) node.members = members;
  nodes.push(...members);
  return { state, members };
}

interface Talk {
  readonly session: Session;
  readonly replies: string[];
  readonly notes: string[];
  readonly events: string[];
  send(...lines: string[]): void;
  /** Waits until all that was sent is answered. */
  answered(): Promise<string[]>;
}

async function talk(addresses: readonly string[], timeoutMs = 10_000, reconnectMs = 3_000): Promise<Talk> {
  const replies: string[] = [];
  const notes: string[] = [];
  const events: string[] = [];
  const handlers: SessionHandlers = {
    reply: (line) => replies.push(line.toString('latin1')),
    note: (text) => notes.push(text),
    room: () => events.push('room'),
    quit: () => events.push('quit'),
    unreachable: (reason) => events.push(`unreachable: ${reason}`),
  };
  const session = new Session({ addresses: addresses.map(parseAddress), timeoutMs, reconnectMs }, handlers);
  sessions.push(session);
  await session.start();
  return {
    session,
    replies,
    notes,
    events,
    send: (...lines) => {
      for (const line of lines) session.send(Buffer.from(line, 'latin1'));
    },
    answered: async () => {
      await until('all is answered', 10_000, () => session.unanswered === 0);
      return replies;
    },
  };
}

describe('a session', () => {
  it('answers each line in order', async () => {
    const { members } = await fakes(1);
    const { send, answered } = await talk([members[0]!.address]);
    send('SET a 1', 'GET a', '', 'PING');
    expect(await answered()).toEqual(['OK', '"1"', 'ERR syntax empty line', 'PONG']);
  });

  it('names every address that does not answer', async () => {
    const { members } = await fakes(2);
    for (const node of members) node.kill();
    await expect(talk(members.map((m) => m.address))).rejects.toThrow(
      `no node answers: ${members[0]!.address}: connection refused; ${members[1]!.address}: connection refused`,
    );
  });

  it('refuses a server that does not speak the protocol', async () => {
    const { members } = await fakes(1);
    members[0]!.script = () => 'HTTP/1.1 400 Bad Request';
    await expect(talk([members[0]!.address])).rejects.toThrow(
      'not a node of Distributed (it answered "HTTP/1.1 400 Bad Request")',
    );
  });

  it('passes on why a node cannot serve it', async () => {
    const { members } = await fakes(1);
    members[0]!.script = () => 'ERR busy no slot for another connection';
    await expect(talk([members[0]!.address])).rejects.toThrow(`${members[0]!.address}: ERR busy no slot`);
  });

  it('goes on with a member that it learned of when its node dies idle, and says so', async () => {
    const { members } = await fakes(3);
    const { session, send, answered, notes } = await talk([members[0]!.address]);
    send('SET a 1');
    await answered();
    members[0]!.kill();
    await until('it has said so', 5_000, () => notes.length > 0);
    expect(notes[0]).toMatch(
      new RegExp(`^the connection to ${members[0]!.address} was lost \\(.*\\); connected to ${members[1]!.address}$`),
    );
    expect(session.address).toBe(members[1]!.address);
    send('GET a');
    expect(await answered()).toEqual(['OK', '"1"']);
  });

  it('sends unanswered reads again, and never an unanswered write without a sequence', async () => {
    const { members } = await fakes(2);
    members[0]!.script = (line) => (line === 'SET b 2' ? 'die' : line === 'MEMBERS' ? undefined : 'silent');
    const { send, answered } = await talk([members[0]!.address]);
    members[0]!.script = (line) => (line === 'SET b 2' ? 'die' : undefined);
    send('GET a', 'SET b 2', 'GET b', 'PING', 'INCR c');
    const replies = await answered();
    expect(replies).toEqual([
      '(nil)',
      expect.stringMatching(/^UNKNOWN disconnected .* the write may still take effect$/),
      '(nil)',
      'PONG',
      expect.stringMatching(/^UNKNOWN disconnected /),
    ]);
    expect(members[1]!.received).toEqual(['GET b', 'PING']);
  });

  it('reports an open transaction as rolled back and runs none of the lines that belonged to it', async () => {
    const { members, state } = await fakes(2);
    const { send, answered, notes, replies } = await talk([members[0]!.address]);
    send('BEGIN', 'SET a 1');
    await answered();
    members[0]!.kill();
    await until('it has said so', 5_000, () => notes.length > 0);
    expect(notes[0]).toContain('; the open transaction was rolled back; connected to ');
    send('SET b 2', 'GET b', 'PING', 'COMMIT', 'SET c 3');
    await answered();
    expect(replies.slice(2)).toEqual([
      expect.stringMatching(/^ERR aborted /),
      expect.stringMatching(/^ERR aborted /),
      'PONG',
      expect.stringMatching(/^ERR aborted /),
      'OK',
    ]);
    expect([...state.map]).toEqual([['c', '3']]);
  });

  it('lets BEGIN begin a new transaction after a lost one, and ROLLBACK end it', async () => {
    const { members, state } = await fakes(3);
    const { send, answered, notes, replies } = await talk([members[0]!.address]);
    send('BEGIN');
    await answered();
    members[0]!.kill();
    await until('it has said so', 5_000, () => notes.length === 1);
    send('BEGIN', 'SET a 1');
    await answered();
    members[1]!.kill();
    await until('it has said so again', 5_000, () => notes.length === 2);
    send('ROLLBACK', 'SET b 2');
    await answered();
    expect(replies).toEqual(['OK', 'OK', 'OK', 'OK', 'OK']);
    expect([...state.map]).toEqual([['b', '2']]);
  });

  it('calls a COMMIT that was under way unknown, and its writes too', async () => {
    const { members } = await fakes(2);
    members[0]!.script = (line) => (line === 'COMMIT' ? 'die' : undefined);
    const { send, answered } = await talk([members[0]!.address]);
    send('BEGIN', 'SET a 1', 'COMMIT', 'GET a');
    const replies = await answered();
    expect(replies.slice(0, 2)).toEqual(['OK', 'OK']);
    expect(replies[2]).toMatch(/^UNKNOWN disconnected /);
    expect(replies[3]).toBe('(nil)');
    send('SET z 0');
    await answered();
    members[1]!.script = (line) => (line === 'BEGIN' ? 'die' : undefined);
    await members[0]!.start();
    members[0]!.script = () => undefined;
    send('BEGIN', 'SET a 1', 'GET a', 'COMMIT', 'GET a');
    await answered();
    expect(replies.slice(5)).toEqual([
      expect.stringMatching(/^ERR aborted /),
      expect.stringMatching(/^UNKNOWN disconnected /),
      expect.stringMatching(/^ERR aborted /),
      expect.stringMatching(/^UNKNOWN disconnected /),
      '(nil)',
    ]);
  });

  it('aborts the rest of a transaction that is lost while its lines are under way', async () => {
    const { members, state } = await fakes(2);
    members[0]!.script = (line) => (line === 'SET a 1' ? 'die' : undefined);
    const { send, answered, notes, replies } = await talk([members[0]!.address]);
    send('BEGIN', 'SET a 1', 'SET b 2');
    await until('it is lost', 5_000, () => notes.length > 0);
    send('SET c 3', 'COMMIT', 'GET c');
    await answered();
    expect(replies.map((reply) => reply.split(' ')[1] ?? reply)).toEqual([
      'OK',
      'aborted',
      'aborted',
      'aborted',
      'aborted',
      '(nil)',
    ]);
    expect(state.map.size).toBe(0);
  });

  it('does not wait for ever for a node that is silent', async () => {
    const { members } = await fakes(2);
    const { send, answered, session, replies } = await talk([members[0]!.address], 300);
    send('SET z 0');
    await answered();
    replies.length = 0;
    members[0]!.script = () => 'silent';
    send('GET a', 'SET a 1');
    await answered();
    expect(replies[0]).toBe('(nil)');
    expect(replies[1]).toMatch(/^UNKNOWN disconnected /);
    expect(session.address).toBe(members[1]!.address);
  });

  it('answers everything when nobody can be reached, and tries anew with the next line', async () => {
    const { members } = await fakes(2);
    const { send, answered, events, replies } = await talk([members[0]!.address], 10_000, 200);
    for (const node of members) node.kill();
    send('GET a', 'SET a 1', 'BEGIN', 'SET b 2');
    await answered();
    expect(replies[0]).toMatch(/^ERR unreachable no node answers: .*; nothing was done$/);
    expect(replies.slice(1).every((reply) => /^(ERR|UNKNOWN) /.test(reply))).toBe(true);
    await until('it says so', 5_000, () => events.some((event) => event.startsWith('unreachable: ')));
    await members[1]!.start();
    send('SET c 3', 'ROLLBACK', 'SET d 4');
    await answered();
    expect(replies.slice(4)).toEqual([expect.stringMatching(/^ERR /), 'OK', 'OK']);
  });

  it('stops waiting when it is interrupted', async () => {
    const { members } = await fakes(2);
    const { session, send, answered, replies } = await talk([members[0]!.address]);
    send('SET z 0');
    await answered();
    replies.length = 0;
    members[0]!.script = () => 'silent';
    send('GET a', 'SET a 1');
    session.interrupt();
    expect(await answered()).toEqual([
      expect.stringMatching(/^ERR interrupted /),
      expect.stringMatching(/^UNKNOWN disconnected /),
    ]);
  });

  it('ends with QUIT and runs nothing behind it', async () => {
    const { members, state } = await fakes(1);
    const { send, events, replies } = await talk([members[0]!.address]);
    send('SET a 1', 'QUIT', 'SET b 2');
    await until('it ends', 5_000, () => events.includes('quit'));
    expect(replies).toEqual(['OK', 'OK']);
    await until('the connection is closed', 5_000, () => members[0]!.connections === 0);
    expect(state.map.has('a')).toBe(true);
  });

  it('is full when much is unanswered, and says when there is room', async () => {
    const { members } = await fakes(1);
    const { session, send, answered, events } = await talk([members[0]!.address]);
    const lines = Array.from({ length: 4_096 }, () => 'PING');
    send(...lines);
    expect(session.full).toBe(true);
    await answered();
    expect(session.full).toBe(false);
    expect(events).toEqual(['room']);
  });
});

describe('a session whose cluster knows sessions too', () => {
  /** Fake nodes that do, and a talk with the first. */
  async function sequenced(count = 2) {
    const sessions = new Map<string, Map<string, string>>();
    const { members, state } = await fakes(count, sessions);
    return { sessions, members, state, ...(await talk([members[0]!.address])) };
  }

  it('sends an unanswered write again, which is done once and gets its first answer', async () => {
    const { members, state, send, answered, notes } = await sequenced();
    members[0]!.script = (line) => (/SEQ 2 .*INCR/.test(line) ? 'late' : undefined);
    send('INCR a', 'INCR a', 'GET a', 'INCR a');
    expect(await answered()).toEqual(['(integer) 1', '(integer) 2', '"2"', '(integer) 3']);
    expect(state.map.get('a')).toBe('3');
    expect(members[1]!.received).toEqual(['SESSION 100', 'SEQ 2 FROM 2 INCR a', 'GET a', 'SEQ 3 FROM 2 INCR a']);
    expect(notes).toEqual([expect.stringMatching(/; what it had under way is sent again; connected to /)]);
  });

  it('does so as often as it takes, also when the node dies before it has done it', async () => {
    const { members, send, answered, state } = await sequenced(4);
    members[0]!.script = (line) => (line.includes('INCR') ? 'late' : undefined);
    members[1]!.script = (line) => (line.startsWith('SESSION') ? 'die' : undefined);
    members[2]!.script = (line) => (line.includes('INCR') ? 'die' : undefined);
    send('INCR a', 'INCR a');
    expect(await answered()).toEqual(['(integer) 1', '(integer) 2']);
    expect(state.map.get('a')).toBe('2');
  });

  it('registers none as long as nothing is written, and one for all that is', async () => {
    const { members, sessions, send, answered } = await sequenced(1);
    send('GET a', 'PING');
    await answered();
    expect(sessions.size).toBe(0);
    send('SET a 1', 'DEL', 'SET b 1');
    await answered();
    expect(sessions.size).toBe(1);
    expect(members[0]!.received.filter((line) => line.startsWith('SE'))).toEqual([
      'SESSION',
      'SEQ 1 FROM 1 SET a 1',
      'SEQ 2 FROM 1 DEL',
      'SEQ 3 FROM 1 SET b 1',
    ]);
  });

  it('learns of a COMMIT that was under way whether it happened', async () => {
    const { members, state, send, answered, replies } = await sequenced(3);
    members[0]!.script = (line) => (line.endsWith('COMMIT') ? 'late' : undefined);
    members[1]!.script = (line) => (line.endsWith('SEQ 2 FROM 2 COMMIT') ? 'die' : undefined);
    send('BEGIN', 'SET a 1', 'COMMIT', 'GET a');
    await answered();
    expect(replies).toEqual(['OK', 'OK', 'OK', '"1"']);
    send('BEGIN', 'SET b 1', 'COMMIT', 'GET b');
    await answered();
    expect(replies.slice(4)).toEqual(['OK', 'OK', 'ERR aborted the transaction was gone', '(nil)']);
    expect([...state.map]).toEqual([['a', '1']]);
    expect(members[0]!.received.slice(-4)).toEqual(['SESSION', 'BEGIN', 'SET a 1', 'SEQ 1 FROM 1 COMMIT']);
  });

  it('leaves a COMMIT or ROLLBACK without BEGIN as it is, and what BEGIN could not begin', async () => {
    const { members, send, answered, replies } = await sequenced(1);
    send('COMMIT');
    members[0]!.script = (line) => (line === 'BEGIN' ? 'ERR no-leader nobody' : undefined);
    send('BEGIN', 'COMMIT', 'BEGIN', 'ROLLBACK', 'SET a 1');
    await answered();
    expect(replies.map((reply) => reply.split(' ').slice(0, 2).join(' '))).toEqual([
      'ERR no-transaction',
      'ERR no-leader',
      'ERR no-transaction',
      'ERR no-leader',
      'ERR no-transaction',
      'OK',
    ]);
    expect(members[0]!.received.filter((line) => line.startsWith('SEQ'))).toEqual(['SEQ 1 FROM 1 SET a 1']);
  });

  it('says UNKNOWN of what was under way when the session has expired meanwhile, and begins another', async () => {
    const { members, sessions, send, answered, replies } = await sequenced();
    members[0]!.script = (line) => {
      if (!line.includes('INCR')) return undefined;
      sessions.delete('100');
      return 'late';
    };
    send('INCR a', 'GET a', 'INCR a');
    await answered();
    send('INCR a');
    await answered();
    const unknown = expect.stringMatching(/^UNKNOWN disconnected /);
    expect(replies).toEqual([unknown, '"1"', unknown, '(integer) 2']);
    expect(members[1]!.received).toEqual(['SESSION 100', 'GET a', 'SESSION', 'SEQ 1 FROM 1 INCR a']);
  });

  it('says ERR of what was not sent when the session cannot be had, UNKNOWN of what was', async () => {
    const { members, send, answered, replies } = await sequenced();
    members[0]!.script = (line) => (line.startsWith('SESSION') ? 'UNKNOWN timeout no majority' : undefined);
    send('SET a 1', 'GET a', 'SET b 1', 'BEGIN', 'COMMIT');
    await answered();
    const timeout = 'ERR timeout no majority answered within the time-out; nothing was done';
    expect(replies).toEqual([timeout, '(nil)', timeout, 'OK', 'OK']);
    members[0]!.script = (line) => (line.includes('INCR') ? 'die' : undefined);
    members[1]!.script = (line) => (line === 'SESSION 100' ? 'ERR no-leader nobody' : undefined);
    send('INCR c', 'SET d 1', 'GET d');
    await answered();
    expect(replies.slice(5)).toEqual([
      expect.stringMatching(/^UNKNOWN disconnected /),
      expect.stringMatching(/^(UNKNOWN disconnected|ERR no-leader) /),
      '(nil)',
    ]);
  });

  it('says UNKNOWN of a write sent again that a node refuses: the earlier sending may have happened', async () => {
    const { members, send, answered, replies, state } = await sequenced();
    const refusals = [
      'ERR no-leader nobody',
      'ERR disk-full no room',
      'ERR out-of-memory limit',
      'ERR session number 100 is unknown',
      'ERR too-large value',
    ];
    for (const refusal of refusals) {
      for (const node of members) node.script = () => undefined;
      send('GET a');
      await answered();
      const here = members.find((node) => node.connections > 0)!;
      const there = members.find((node) => node !== here)!;
      here.script = (line) => (line.includes('INCR') ? 'late' : undefined);
      there.script = (line) => (line.includes('INCR') ? refusal : undefined);
      send('INCR a');
      await answered();
      await here.start();
    }
    expect(state.map.get('a')).toBe(String(refusals.length));
    expect(replies.filter((_, i) => i % 2 === 1)).toEqual(
      refusals.map(() => expect.stringMatching(/^UNKNOWN disconnected /)),
    );
    // What is sent for the first time is refused for good.
    for (const node of members) node.script = (line) => (line.includes('INCR') ? 'ERR no-leader nobody' : undefined);
    send('INCR a');
    await answered();
    expect(replies.at(-1)).toBe('ERR no-leader nobody');
  });

  it('goes on writing after as many as may be under way have been given up', async () => {
    const { members, send, answered, replies } = await sequenced();
    members[0]!.script = (line) => (line.startsWith('SEQ') ? 'die' : undefined);
    members[1]!.script = (line) => (line === 'SESSION 100' ? 'ERR no-leader nobody' : undefined);
    send(...Array.from({ length: 256 }, () => 'SET a 1'));
    await answered();
    expect(new Set(replies.map((reply) => reply.slice(0, 20)))).toEqual(new Set(['UNKNOWN disconnected']));
    members[1]!.script = () => undefined;
    send('SET b 1');
    await answered();
    expect(replies.at(-1)).toBe('OK');
    expect(members[1]!.received.at(-1)).toBe('SEQ 257 FROM 257 SET b 1');
  });

  it('goes elsewhere to learn what a node that stops or has lost the answer calls unknown', async () => {
    const { members, send, answered, state } = await sequenced(3);
    members[0]!.script = (line) => (line.includes('SEQ 1') ? 'UNKNOWN stopping this node is stopping' : undefined);
    members[1]!.script = (line) => (line.includes('SEQ 1') ? 'UNKNOWN lost this node has caught up' : undefined);
    send('INCR a', 'GET a');
    expect(await answered()).toEqual(['(integer) 1', '"1"']);
    expect(state.map.get('a')).toBe('1');
  });

  it('says UNKNOWN of it when nobody can be reached any more, or it is interrupted', async () => {
    const { members } = await sequenced();
    const { send, answered, session, replies } = await talk([members[0]!.address], 10_000, 200);
    send('SET z 1');
    await answered();
    members[0]!.script = () => 'silent';
    send('SET a 1');
    session.interrupt();
    await answered();
    members[1]!.script = () => 'die';
    send('SET b 1');
    for (const node of members) node.script = () => 'die';
    await until('the first has died', 5_000, () => members[1]!.connections === 0);
    for (const node of members) node.kill();
    await answered();
    expect(replies.slice(1)).toEqual([
      expect.stringMatching(/^UNKNOWN disconnected /),
      expect.stringMatching(/^(UNKNOWN disconnected|ERR unreachable) /),
    ]);
  });

  it('has no more than 256 numbers under way, and answers all in order', async () => {
    const { members, send, answered } = await sequenced(1);
    send(...Array.from({ length: 1_000 }, () => 'INCR a'));
    expect(await answered()).toEqual(Array.from({ length: 1_000 }, (_, i) => `(integer) ${i + 1}`));
    for (const line of members[0]!.received.slice(1)) {
      const [, sequence, from] = /^SEQ (\d+) FROM (\d+) /.exec(line)!;
      expect(Number(sequence) - Number(from)).toBeLessThan(256);
    }
  });

  it('leaves sessions to the user as soon as he speaks of them', async () => {
    const { members, send, answered, sessions, replies } = await sequenced();
    send('SET a 1', 'SEQ 1 FROM 1 SET b 1', 'SESSION', 'SEQ 1 FROM 1 SET b 1', 'SET c 1');
    await answered();
    expect(replies.map((reply) => reply.split(' ').slice(0, 2).join(' '))).toEqual([
      'OK',
      'ERR session',
      '(integer) 101',
      'OK',
      'OK',
    ]);
    expect(sessions.size).toBe(2);
    members[0]!.script = (line) => (line === 'SET d 1' ? 'die' : undefined);
    send('SET d 1');
    await answered();
    expect(replies[5]).toMatch(/^UNKNOWN disconnected /);
    expect(members[1]!.received).toEqual([]);
  });
});
