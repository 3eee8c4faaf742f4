/**
 * A cluster of cores on a network, with disks and clocks that fail as one seed decides, and a checker that knows
 * nothing of the cores but what they let out: after every Ready it holds the properties of figure 3 and of §8 against them.
 */
import type { Entry, Message, Ready } from '../../src/raft/types.js';
import { Host, random, type Watcher } from './host.js';

export interface Weather {
  readonly nodes: number;
  readonly drop: number;
  readonly duplicate: number;
  /** Most ticks a message takes. */
  readonly delay: number;
  /** Most ticks a write takes. */
  readonly disk: number;
  /** Chance of each, per tick of the cluster. */
  readonly crash: number;
  readonly partition: number;
  readonly pause: number;
  readonly propose: number;
  readonly read: number;
}

/** The weather of a seed: from calm to terrible, each fault by itself and together. */
export function weatherOf(next: () => number): Weather {
  const pick = <T>(...values: readonly T[]): T => values[Math.floor(next() * values.length)]!;
  return {
    nodes: pick(1, 2, 3, 3, 3, 4, 5, 5),
    drop: pick(0, 0, 0.02, 0.1, 0.3),
    duplicate: pick(0, 0, 0.05, 0.2),
    delay: pick(1, 1, 3, 8, 20),
    disk: pick(1, 2, 6, 30),
    crash: pick(0, 0.005, 0.02, 0.05),
    partition: pick(0, 0.01, 0.04),
    pause: pick(0, 0.01, 0.04),
    propose: pick(0.1, 0.5, 1),
    read: pick(0.1, 0.4),
  };
}

interface Flying {
  readonly at: number;
  readonly message: Message;
}

interface Member {
  readonly host: Host;
  /** Tick at which it runs again; it keeps its memory if paused, and loses it if it crashed. */
  asleep: number;
  crashed: boolean;
  /** Reads asked for in this life. */
  reads: number;
  /** Ticks at which the write in flight lands, and is told. */
  landAt: number;
  tellAt: number;
  /** As of the last look: for Leader Append-Only and for commits that fall. */
  seen: { term: number; leading: boolean; last: Entry | undefined; length: number; commit: number };
}

interface Committed {
  readonly entry: Entry;
  /** The term whose leader committed it. */
  readonly by: number;
}

export class Cluster implements Watcher {
  readonly members: Member[] = [];
  readonly committed: Committed[] = [];
  readonly counts = { elections: 0, commits: 0, reads: 0, refused: 0, crashes: 0, truncations: 0 };
  #weather: Weather;
  readonly #random: () => number;
  #now = 0;
  #flying: Flying[] = [];
  /** Side of the partition on which each node is. */
  #side = new Map<number, number>();
  readonly #leaders = new Map<number, Host>();
  readonly #votes = new Map<string, number>();
  /** (index, term) → its bytes and the term before it: equal for all logs (Log Matching). */
  readonly #known = new Map<number, { bytes: Uint8Array; before: number }>();
  /** Reads not answered yet: the host's node and id → what was committed when it was asked. */
  readonly #asked = new Map<string, number>();

  constructor(seed: number) {
    this.#random = random(seed);
    this.#weather = weatherOf(this.#random);
    const voters = Array.from({ length: this.#weather.nodes }, (_, i) => i + 1);
    for (const id of voters) {
      const host = new Host(
        {
          id,
          voters,
          random: this.#random,
          heartbeatTicks: 3,
          electionTicks: [10, 20],
          maxAppendBytes: 60,
          maxInflightBytes: 200,
        },
        this,
      );
      const seen = { term: 0, leading: false, last: undefined, length: 0, commit: 0 };
      this.members.push({ host, asleep: 0, crashed: false, reads: 0, landAt: 0, tellAt: 0, seen });
    }
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  #int(most: number): number {
    return Math.floor(this.#random() * most);
  }

  /** Ends all faults: nobody is down, no message is lost, and each arrives with the next tick. */
  calm(): void {
    this.#weather = {
      ...this.#weather,
      drop: 0,
      duplicate: 0,
      delay: 1,
      disk: 1,
      crash: 0,
      partition: 0,
      pause: 0,
      propose: 0,
      read: 0,
    };
    this.#side.clear();
    for (const member of this.members) member.asleep = 0;
  }

  tick(): void {
    this.#now++;
    this.#misfortune();
    const due = this.#flying.filter(({ at }) => at <= this.#now);
    this.#flying = this.#flying.filter(({ at }) => at > this.#now);
    for (const member of this.members) if (member.asleep <= this.#now) this.#run(member);
    for (const { message } of due) this.#deliver(message);
  }

  #run(member: Member): void {
    const { host } = member;
    if (member.crashed) {
      member.crashed = false;
      member.reads = 0;
      host.restart();
      member.seen = { term: host.hard.term, leading: false, last: undefined, length: 0, commit: 0 };
    }
    if (!this.#chance(0.05)) host.raft.tick();
    this.#disk(member);
    this.#demand(member);
    this.#turn(member);
  }

  #disk(member: Member): void {
    const { host } = member;
    if (host.writing !== undefined && member.landAt <= this.#now) host.land();
    if (host.writing !== undefined && member.tellAt <= this.#now) {
      host.complete();
      if (this.#chance(0.5)) this.#turn(member);
    }
    if (host.writing === undefined) {
      host.write();
      member.landAt = this.#now + this.#int(this.#weather.disk);
      member.tellAt = member.landAt + this.#int(this.#weather.disk);
    }
  }

  #demand(member: Member): void {
    const { host } = member;
    if (host.raft.role === 'leader' && this.#chance(this.#weather.propose)) {
      host.raft.propose(Array.from({ length: 1 + this.#int(4) }, () => new Uint8Array(1 + this.#int(40))));
    }
    if (this.#chance(this.#weather.read)) this.ask(member);
    if (this.#chance(0.01)) host.raft.unreachable(1 + this.#int(this.members.length));
    if (this.#chance(0.01)) host.raft.reachable(1 + this.#int(this.members.length));
  }

  /** Ids begin at 1 again in each life of a node, as a careless host's would. */
  ask(member: Member): void {
    const { host } = member;
    const id = ++member.reads;
    this.#asked.set(`${host.id} ${id}`, this.committed.length);
    host.raft.readIndex(id);
  }

  #deliver(message: Message): void {
    const member = this.members[message.to - 1]!;
    if (this.#side.get(message.from) !== this.#side.get(message.to)) return;
    if (member.asleep > this.#now) {
      // A stopped process finds in its sockets what came meanwhile; a dead one does not.
      if (!member.crashed) this.#flying.push({ at: member.asleep, message });
      return;
    }
    member.host.raft.step(message);
    if (this.#chance(0.5)) this.#turn(member);
  }

  #misfortune(): void {
    const { crash, partition, pause } = this.#weather;
    if (this.#chance(crash)) {
      this.#crash(this.members[this.#int(this.members.length)]!);
      if (this.#chance(0.1)) for (const member of this.members) this.#crash(member);
    }
    if (this.#chance(partition)) {
      for (const { host } of this.members) this.#side.set(host.id, this.#int(2));
      if (this.#chance(0.5)) this.#side.clear();
    }
    if (this.#chance(pause)) {
      const member = this.members[this.#int(this.members.length)]!;
      member.asleep = Math.max(member.asleep, this.#now + this.#int(60));
    }
  }

  #crash(member: Member): void {
    if (member.crashed) return;
    // Its last Ready may have been carried out or not.
    if (this.#chance(0.5)) this.#turn(member);
    member.crashed = true;
    member.asleep = this.#now + 1 + this.#int(40);
    this.counts.crashes++;
    for (const key of this.#asked.keys()) if (key.startsWith(`${member.host.id} `)) this.#asked.delete(key);
  }

  #turn(member: Member): void {
    if (member.crashed) return;
    member.host.turn();
    this.#look(member);
  }

  // What is checked

  message(host: Host, message: Message): void {
    const { hard } = host;
    // A pre-vote is about a term that nobody has entered; it binds nobody.
    const ahead = message.type === 'voted' && message.pre && message.granted;
    const least = message.term - (message.type === 'vote' && message.pre ? 1 : 0);
    hold(ahead || least <= hard.term, () => `node ${host.id} speaks of term ${message.term}, on disk is ${hard.term}`);
    if (message.type === 'voted' && message.granted && !message.pre) this.#checkVote(host, message.term, message.to);
    if (message.type === 'vote' && !message.pre) this.#checkVote(host, message.term, host.id);
    if (message.type === 'appended' && message.ok) this.#checkAnswer(host, message.term, message.index);
    this.#send(message);
  }

  #send(message: Message): void {
    const times = this.#chance(this.#weather.drop) ? 0 : this.#chance(this.#weather.duplicate) ? 2 : 1;
    for (let i = 0; i < times; i++) this.#flying.push({ at: this.#now + 1 + this.#int(this.#weather.delay), message });
  }

  /** A vote that leaves is on disk, or of a term that has passed on disk; and it is the only one (§5.2). */
  #checkVote(host: Host, term: number, candidate: number): void {
    const { hard } = host;
    hold(
      hard.term > term || hard.vote === candidate,
      () => `node ${host.id} votes for ${candidate}, on disk is ${hard.vote}`,
    );
    const key = `${host.id} ${term}`;
    const before = this.#votes.get(key) ?? candidate;
    hold(before === candidate, () => `node ${host.id} votes in term ${term} for ${before} and for ${candidate}`);
    this.#votes.set(key, candidate);
  }

  /** What a follower vouches for is on its disk, and the same as in the log of that term's leader. */
  #checkAnswer(host: Host, term: number, index: number): void {
    hold(host.disk.length >= index, () => `node ${host.id} vouches for ${index}, its disk ends at ${host.disk.length}`);
    const leader = this.#leaders.get(term)!;
    if (index === 0 || leader.raft.term !== term || leader.raft.role !== 'leader') return;
    const same = leader.memory[index - 1]?.bytes === host.disk[index - 1]!.bytes;
    hold(same, () => `node ${host.id} vouches for ${index}, where its disk differs from leader ${leader.id}`);
  }

  /** Log Matching (§5.3): by induction over the entries, it is enough that (index, term) decides bytes and the term before. */
  appended(host: Host, entries: readonly Entry[]): void {
    for (const { index, term, bytes } of entries) {
      const key = index * 1e6 + term;
      const before = index > 1 ? host.memory[index - 2]!.term : 0;
      const known = this.#known.get(key);
      if (known === undefined) this.#known.set(key, { bytes, before });
      else
        hold(known.bytes === bytes && known.before === before, () => `logs differ at entry ${index} of term ${term}`);
    }
  }

  ready(host: Host, ready: Ready): void {
    hold(ready.commit >= host.commit, () => `node ${host.id}: commit falls from ${host.commit} to ${ready.commit}`);
    for (let index = host.commit + 1; index <= ready.commit; index++) this.#commit(host, index);
  }

  /** State Machine Safety (§5.4.3); and the first who commits an entry does so when it is on a majority of disks. */
  #commit(host: Host, index: number): void {
    const entry = host.memory[index - 1];
    if (entry === undefined) throw new Error(`node ${host.id} commits ${index}, its log ends at ${host.memory.length}`);
    const known = this.committed[index - 1];
    if (known !== undefined) {
      hold(
        known.entry.bytes === entry.bytes,
        () => `node ${host.id} commits another entry ${index} than was committed before`,
      );
      return;
    }
    hold(index === this.committed.length + 1, () => `node ${host.id} commits ${index} after ${this.committed.length}`);
    const holders = this.members.filter((member) => member.host.disk[index - 1]?.bytes === entry.bytes).length;
    hold(holders * 2 > this.members.length, () => `entry ${index} is committed, but on ${holders} disks only`);
    this.committed.push({ entry, by: host.raft.term });
    this.counts.commits++;
  }

  /** A read's index is at or behind all that was committed anywhere when the read was asked for (§8). */
  read(host: Host, id: number, index: number): void {
    const key = `${host.id} ${id}`;
    const least = this.#asked.get(key);
    hold(least !== undefined, () => `node ${host.id} answers read ${id}, which it was not asked, or twice`);
    this.#asked.delete(key);
    if (index === -1) this.counts.refused++;
    else this.counts.reads++;
    hold(
      index === -1 || index >= least!,
      () => `node ${host.id} answers read ${id} with ${index}; ${least} was committed before`,
    );
  }

  #look(member: Member): void {
    const { host, seen } = member;
    const { raft } = host;
    const leading = raft.role === 'leader';
    if (leading && (!seen.leading || seen.term !== raft.term)) this.#checkElection(host);
    if (leading && seen.leading && seen.term === raft.term && seen.last !== undefined) {
      const same = host.memory[seen.length - 1] === seen.last;
      hold(same, () => `leader ${host.id} of term ${raft.term} changed its own log (Leader Append-Only)`);
    }
    hold(raft.term >= seen.term, () => `node ${host.id}: term falls from ${seen.term} to ${raft.term}`);
    hold(raft.commit >= seen.commit, () => `node ${host.id}: commit falls from ${seen.commit} to ${raft.commit}`);
    if (host.memory.length < seen.length) this.counts.truncations++;
    seen.term = raft.term;
    seen.leading = leading;
    seen.last = host.memory.at(-1);
    seen.length = host.memory.length;
    seen.commit = raft.commit;
  }

  /** Election Safety (§5.2) and Leader Completeness (§5.4). */
  #checkElection(host: Host): void {
    const { term } = host.raft;
    const other = this.#leaders.get(term);
    hold(other === undefined, () => `nodes ${other?.id} and ${host.id} were both elected in term ${term}`);
    this.#leaders.set(term, host);
    this.counts.elections++;
    for (const { entry, by } of this.committed) {
      const has = by >= term || host.memory[entry.index - 1]?.bytes === entry.bytes;
      hold(has, () => `leader ${host.id} of term ${term} lacks entry ${entry.index}, committed in term ${by}`);
    }
  }

  /** Whether all agree on a leader, have committed `index`, and have no read unanswered. */
  settled(index: number): boolean {
    const leader = this.members.find(({ host }) => host.raft.role === 'leader')?.host;
    if (leader === undefined || this.#asked.size > 0 || this.members.some(({ crashed }) => crashed)) return false;
    return this.members.every(
      ({ host }) => host.raft.leader === leader.id && host.commit >= index && host.disk.length >= index,
    );
  }

  get now(): number {
    return this.#now;
  }
}

function hold(condition: boolean, text: () => string): void {
  if (!condition) throw new Error(text());
}
