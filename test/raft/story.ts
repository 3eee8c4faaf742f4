/**
 * Scripts of inputs to a few cores, told as stories. A script is a text: lines that begin with `#` or are empty are kept, lines
 * that begin with `>` are inputs, and what they led to is written below each, indented. `tell` runs the inputs and writes it all anew.
 *
 *     nodes 1,2,3 [voters 1,2] [learners 3]   these nodes; all found the cluster unless said otherwise
 *     log 1 1,1,2 [term 3]                    node 1 starts with entries of these terms on its disk
 *     campaign 1 · tick 1 [times] · propose 1 [entries] · read 1 · restart 1
 *     change 1 voters 1,4 [outgoing 1,2,3] [learners 5] · leave 1 (the end of a joint membership, as asked for)
 *     transfer 1 2 · compact 1 [index] · ship 1 2 [fails] (the snapshot that 1 was asked to bring to 2)
 *     slow 1 · disk 1                         the disk of 1 takes its time from now on; it writes all it was given
 *     deliver [1>2 …] · settle                messages under way arrive, all or from-to; or until nothing is under way
 *     lose [1>2 …] · cut 1 · heal 1           messages under way are lost; or all from and to node 1
 *     state                                   who is what, and has what
 */
import type { Membership, Message } from '../../src/raft/types.js';
import { Host, members } from './host.js';

type Words = readonly string[];

const numbers = (word: string | undefined): number[] =>
  word === undefined || word === '-' ? [] : word.split(',').map(Number);

/** The word behind `name`. */
const option = (words: Words, name: string): string | undefined =>
  words.includes(name) ? words[words.indexOf(name) + 1] : undefined;

export function tell(script: string): string {
  const story = new Story();
  const lines: string[] = [];
  for (const line of script.split('\n')) {
    if (line.startsWith('>'))
      lines.push(line, ...story.input(line.slice(1).trim().split(/\s+/)).map((text) => `    ${text}`));
    else if (line === '' || line.startsWith('#')) lines.push(line);
  }
  return lines.join('\n');
}

class Story {
  #hosts: Host[] = [];
  #flying: Message[] = [];
  readonly #cut = new Set<number>();
  readonly #slow = new Set<number>();
  /** What was last told of each node. */
  readonly #told = new Map<number, string>();
  #reads = 0;
  #lines: string[] = [];

  input([name, ...words]: Words): string[] {
    this.#lines = [];
    this.#do(name!, words);
    return this.#lines;
  }

  #do(name: string, words: Words): void {
    const id = Number(words[0]);
    const count = Number(words[1] ?? 1);
    const one = (act: (host: Host) => unknown): void => {
      const refusal = act(this.#host(id));
      if (typeof refusal === 'string') this.#lines.push(`node ${id}: refused, ${refusal}`);
      this.#look();
    };
    const times = (act: (host: Host) => void): void => {
      for (let i = 0; i < count; i++) one(act);
    };
    const inputs: Record<string, () => void> = {
      nodes: () => this.#found(words),
      log: () => this.#start(id, numbers(words[1]), option(words, 'term')),
      campaign: () => one(({ raft }) => raft.campaign()),
      tick: () => times(({ raft }) => raft.tick()),
      propose: () => one((host) => this.#propose(host, count)),
      read: () => one(({ raft }) => raft.readIndex(++this.#reads)),
      restart: () => one((host) => host.restart()),
      change: () => one((host) => host.change(membershipOf(words))),
      leave: () => one((host) => host.change(host.leaveJoint!)),
      transfer: () => one(({ raft }) => raft.transfer(Number(words[1]))),
      compact: () => one((host) => host.compact(words[1] === undefined ? undefined : Number(words[1]))),
      ship: () => this.#ship(id, Number(words[1]), words[2] !== 'fails'),
      slow: () => this.#slow.add(id),
      disk: () => one((host) => host.sync()),
      deliver: () => this.#deliver(this.#take(words)),
      settle: () => this.#settle(),
      lose: () => this.#take(words),
      cut: () => this.#cut.add(id),
      heal: () => this.#cut.delete(id),
      state: () => this.#state(),
    };
    const input = inputs[name];
    if (input === undefined) throw new Error(`a script says ${name}`);
    input();
  }

  #found(words: Words): void {
    const learners = numbers(option(words, 'learners'));
    const all = numbers(words[0]);
    const voters = words.includes('voters') ? numbers(option(words, 'voters')) : all;
    const founding = members(voters, [], learners);
    this.#hosts = all.map((id) => {
      const member = voters.includes(id) || learners.includes(id);
      return new Host({ id, membership: member ? founding : members([]) });
    });
    for (const host of this.#hosts) this.#told.set(host.id, describe(host));
  }

  #start(id: number, terms: readonly number[], term: string | undefined): void {
    const { membership } = this.#host(id).base;
    const host = new Host({ id, membership, terms, hardState: { term: Number(term ?? terms.at(-1)), vote: 0 } });
    this.#hosts = this.#hosts.map((other) => (other.id === id ? host : other));
    this.#told.set(id, describe(host));
  }

  #host(id: number): Host {
    return this.#hosts.find((host) => host.id === id)!;
  }

  #propose(host: Host, count: number): string | undefined {
    const records = Array.from({ length: count }, () => new Uint8Array(1));
    return host.raft.propose(records) === undefined ? 'it takes no proposals' : undefined;
  }

  #ship(from: number, to: number, arrives: boolean): void {
    const host = this.#host(from);
    const order = host.orders.findIndex((other) => other.to === to);
    if (order < 0) throw new Error(`node ${from} was not asked for a snapshot for ${to}`);
    host.orders.splice(order, 1);
    this.#lines.push(`${from} ⇒ ${to}  a snapshot of all up to ${host.base.index}${arrives ? '' : ', which is lost'}`);
    if (arrives) this.#host(to).install(host.base);
    host.raft.snapshotSent(to, arrives, host.base.index);
    this.#look();
  }

  /** Takes messages off their way: all, or those of the links named like 1>2. */
  #take(links: Words): Message[] {
    const named = ({ from, to }: Message): boolean => links.length === 0 || links.includes(`${from}>${to}`);
    const taken = this.#flying.filter(named);
    this.#flying = this.#flying.filter((message) => !named(message));
    return taken;
  }

  #deliver(messages: readonly Message[]): void {
    for (const message of messages) {
      if (this.#cut.has(message.from) || this.#cut.has(message.to)) continue;
      this.#host(message.to).raft.step(message);
      this.#look();
    }
  }

  #settle(): void {
    for (let round = 0; this.#flying.length > 0; round++) {
      if (round > 100) throw new Error('the messages never end');
      this.#deliver(this.#take([]));
    }
  }

  /** Lets every node carry out what it has to, and tells what changed and what left. */
  #look(): void {
    for (const host of this.#hosts) {
      const orders = host.orders.length;
      const reads = host.reads.length;
      const asked = host.leaveJoint;
      if (this.#slow.has(host.id)) host.turn();
      else host.sync();
      const now = describe(host);
      if (now !== this.#told.get(host.id)) this.#lines.push(`node ${host.id}: ${now}`);
      this.#told.set(host.id, now);
      if (host.leaveJoint !== asked)
        this.#lines.push(`node ${host.id}: the joint membership is committed, and may end`);
      for (const { to, least } of host.orders.slice(orders)) {
        this.#lines.push(`node ${host.id}: node ${to} needs a snapshot of at least ${least}`);
      }
      for (const { id, index } of host.reads.slice(reads)) {
        this.#lines.push(
          `node ${host.id}: read ${id} ${index < 0 ? 'has to be asked again' : `sees all up to ${index}`}`,
        );
      }
      for (const message of host.outgoing()) {
        this.#flying.push(message);
        this.#lines.push(`${message.from} → ${message.to}  [${message.term}] ${text(message)}`);
      }
    }
  }

  #state(): void {
    for (const host of this.#hosts) {
      const base = host.base.index > 0 ? `snapshot of ${host.base.index} (term ${host.base.term}), then ` : '';
      this.#lines.push(`node ${host.id}: ${describe(host)}; log ${base}${host.terms.join(' ') || 'empty'}`);
    }
  }
}

function membershipOf(words: Words): Membership {
  const [voters, outgoing, learners] = ['voters', 'outgoing', 'learners'].map((name) => numbers(option(words, name)));
  return members(voters!, outgoing, learners);
}

/** What a node is, in a line. */
function describe(host: Host): string {
  const { raft } = host;
  const { voters, outgoing, learners } = raft.membership.membership;
  const joint = outgoing.length > 0 ? ` joint with {${outgoing.join()}}` : '';
  const learning = learners.length > 0 ? `, learners {${learners.join()}}` : '';
  const follows = raft.role !== 'leader' && raft.leader !== 0 ? ` of ${raft.leader}` : '';
  return `${raft.role}${follows} in term ${raft.term}, committed ${raft.commit}, voters {${voters.join()}}${joint}${learning}`;
}

/** A message, in words. */
function text(message: Message): string {
  switch (message.type) {
    case 'vote': {
      const kind = message.pre ? 'would you vote for me' : 'vote for me';
      return `${kind}${message.transfer ? ', the leader wants it' : ''}; my log ends with ${message.lastIndex} (term ${message.lastTerm})`;
    }
    case 'voted':
      return message.granted ? (message.pre ? 'I would' : 'you have my vote') : 'no';
    case 'append': {
      const entries = message.entries.map(({ index, term }) => `${index} (term ${term})`).join(', ');
      return `after ${message.prevIndex} (term ${message.prevTerm}): ${entries || 'nothing'}; committed ${message.commit}`;
    }
    case 'appended':
      return message.ok
        ? `I have all up to ${message.index} on disk`
        : `no ${message.refused} of that term here; ${message.index} (term ${message.hintTerm}) may match`;
    case 'heartbeat':
      return `heartbeat; committed ${message.commit}${message.round > 0 ? `; who leads, round ${message.round}?` : ''}`;
    case 'beaten':
      return `heard${message.round > 0 ? `; you do, round ${message.round}` : ''}`;
    case 'read':
      return 'from where may I read?';
    case 'readable':
      return message.index < 0 ? 'I do not lead' : `from ${message.index}`;
    case 'timeoutNow':
      return 'take over';
    case 'cleared':
      return `your repair is over at ${message.index}`;
  }
}
