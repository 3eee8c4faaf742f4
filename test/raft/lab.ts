/** Short ways for tests to speak to a core: messages, elections, and a network that loses nothing unless told to. */
import type { Message } from '../../src/raft/types.js';
import type { Host } from './host.js';

export type Kind<T extends Message['type']> = Extract<Message, { type: T }>;

/** The messages of one type among `messages`. */
export function only<T extends Message['type']>(type: T, messages: readonly Message[]): Kind<T>[] {
  return messages.filter((message): message is Kind<T> => message.type === type);
}

/** A vote from `from` for `host` in the election that it holds now, pre-vote or proper. */
export function voteFor(host: Host, from: number, pre: boolean, granted = true): Message {
  const term = host.raft.term + (pre && granted ? 1 : 0);
  return { type: 'voted', from, to: host.id, term, pre, granted };
}

/** Makes `host` the leader of the next term by the votes of `voters`; returns what it sends then. */
export function elect(host: Host, voters: readonly number[] = [2, 3]): Message[] {
  host.raft.campaign();
  host.turn();
  host.step(...voters.map((id) => voteFor(host, id, true)));
  return host.step(...voters.map((id) => voteFor(host, id, false)));
}

/** Follower `from` says: all up to `index` is on its disk and matches. */
export function ack(host: Host, from: number, index: number): Kind<'appended'> {
  return {
    type: 'appended',
    from,
    to: host.id,
    term: host.raft.term,
    ok: true,
    index,
    hintTerm: 0,
    refused: 0,
    abstains: 0,
  };
}

export function beaten(host: Host, from: number, round = 0): Kind<'beaten'> {
  return { type: 'beaten', from, to: host.id, term: host.raft.term, round, abstains: 0 };
}

export function heartbeat(to: Host, from: number, term: number, commit = 0, round = 0): Message {
  return { type: 'heartbeat', from, to: to.id, term, commit, round };
}

export function append(
  to: { readonly id: number },
  from: number,
  term: number,
  fields: Partial<Pick<Kind<'append'>, 'prevIndex' | 'prevTerm' | 'commit' | 'entries'>>,
): Message {
  return { type: 'append', from, to: to.id, term, prevIndex: 0, prevTerm: 0, commit: 0, entries: [], ...fields };
}

export function request(to: Host, from: number, term: number, fields: Partial<Kind<'vote'>> = {}): Message {
  return { type: 'vote', from, to: to.id, term, pre: false, lastIndex: 0, lastTerm: 0, transfer: false, ...fields };
}

/** A leader (node 1 of three) with an empty log before its term, whose no-op is on the disks of all and committed. */
export function settledLeader(host: Host): Host {
  elect(host);
  host.sync();
  host.step(ack(host, 2, host.raft.lastIndex), ack(host, 3, host.raft.lastIndex));
  return host;
}

/** Brings `to` the newest snapshot of `from`, which wants it. */
function bring(from: Host, hosts: readonly Host[], to: number): void {
  const other = hosts.find(({ id }) => id === to);
  other?.install(from.base);
  from.raft.snapshotSent(to, other !== undefined, from.base.index);
}

/**
 * Carries messages among hosts, all disks at once, until nobody has anything to say. `passes` may lose messages.
 * Returns all messages that were sent.
 */
export function exchange(hosts: readonly Host[], passes: (message: Message) => boolean = () => true): Message[] {
  const all: Message[] = [];
  const speak = (host: Host): Message[] => {
    host.sync();
    for (const { to } of host.orders.splice(0)) bring(host, hosts, to);
    host.sync();
    return host.outgoing();
  };
  let flying = hosts.flatMap(speak);
  for (let round = 0; flying.length > 0; round++) {
    if (round > 1000) throw new Error('the messages never end');
    all.push(...flying);
    for (const message of flying.filter(passes)) hosts.find(({ id }) => id === message.to)?.raft.step(message);
    flying = hosts.flatMap(speak);
  }
  return all;
}
