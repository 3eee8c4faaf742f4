/**
 * A cluster of cores on a network, with disks and clocks that fail as one seed decides: members come and go, leaders hand over,
 * logs are compacted, followers are brought snapshots, disks lose the end of a log. `judge.ts` says whether that was right.
 */
import type { Entry, Membership, Message, Ready } from '../../src/raft/types.js';
import { Host, members, random, type Snapshot, type Watcher } from './host.js';
import { Judge } from './judge.js';

export interface Weather {
  readonly founders: number;
  /** Nodes that know nobody at first. */
  readonly others: number;
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
  readonly change: number;
  readonly transfer: number;
  readonly compact: number;
  /** Chance that a crash takes the end of a log with it; only of one at a time, and in a cluster that can do without it. */
  readonly rot: number;
  readonly lease: boolean;
}

/** The weather of a seed: from calm to terrible, each fault by itself and together. */
export function weatherOf(next: () => number): Weather {
  const pick = <T>(...values: readonly T[]): T => values[Math.floor(next() * values.length)]!;
  const founders = pick(1, 2, 3, 3, 3, 4, 5, 5);
  const others = pick(0, 0, 1, 3);
  return {
    founders,
    others,
    drop: pick(0, 0, 0.02, 0.1, 0.3),
    duplicate: pick(0, 0, 0.05, 0.2),
    delay: pick(1, 1, 3, 8, 20),
    disk: pick(1, 2, 6, 30),
    crash: pick(0, 0.005, 0.02, 0.05),
    partition: pick(0, 0.01, 0.04),
    pause: pick(0, 0.01, 0.04),
    propose: pick(0.1, 0.5, 1),
    read: pick(0.1, 0.4),
    change: others > 0 ? pick(0.01, 0.05, 0.2) : 0,
    transfer: pick(0, 0, 0.01, 0.05),
    compact: pick(0, 0.02, 0.2),
    rot: others === 0 && founders > 2 ? pick(0, 0.3) : 0,
    lease: pick(true, false),
  };
}

interface Flying {
  readonly at: number;
  readonly message: Message;
}

/** A snapshot under way, by the host of one life of its sender. */
interface Shipment {
  readonly at: number;
  readonly from: Member;
  readonly raft: Host['raft'];
  readonly to: number;
  readonly snapshot: Snapshot;
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
}

const HEARTBEAT_TICKS = 3;
const ELECTION_TICKS = [10, 20] as const;

export class Cluster implements Watcher {
  readonly members: Member[] = [];
  readonly judge: Judge;
  crashes = 0;
  #weather: Weather;
  readonly #random: () => number;
  #now = 0;
  #flying: Flying[] = [];
  #shipments: Shipment[] = [];
  /** Side of the partition on which each node is. */
  #side = new Map<number, number>();

  constructor(seed: number) {
    this.#random = random(seed);
    this.#weather = weatherOf(this.#random);
    const { founders, others, lease } = this.#weather;
    const founding = members(Array.from({ length: founders }, (_, i) => i + 1));
    const hosts: Host[] = [];
    this.judge = new Judge(hosts, founding);
    for (let id = 1; id <= founders + others; id++) {
      const host = new Host(
        {
          id,
          membership: id <= founders ? founding : members([]),
          random: this.#random,
          heartbeatTicks: HEARTBEAT_TICKS,
          electionTicks: ELECTION_TICKS,
          maxAppendBytes: 60,
          maxInflightBytes: 200,
          // The nodes' own clocks may be slower than the cluster's, but not faster.
          lease: lease ? { now: () => this.#now, length: ELECTION_TICKS[0] - 1 } : undefined,
        },
        this,
      );
      hosts.push(host);
      this.members.push({ host, asleep: 0, crashed: false, reads: 0, landAt: 0, tellAt: 0 });
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
      change: 0,
      transfer: 0,
      compact: 0,
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
    this.#ship();
  }

  #run(member: Member): void {
    const { host } = member;
    if (member.crashed) {
      member.crashed = false;
      member.reads = 0;
      host.orders = [];
      host.leaveJoint = undefined;
      host.restart();
      this.judge.restarted(host);
    }
    if (!this.#chance(0.05)) host.raft.tick(this.#chance(0.05));
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
    const leads = host.raft.role === 'leader';
    if (leads && this.#chance(this.#weather.change)) host.change(this.#another(host.raft.membership.membership));
    if (leads && this.#chance(this.#weather.transfer)) host.raft.transfer(1 + this.#int(this.members.length));
    if (this.#chance(this.#weather.compact)) host.compact();
    if (leads && this.#chance(this.#weather.propose)) {
      host.raft.propose(Array.from({ length: 1 + this.#int(4) }, () => new Uint8Array(1 + this.#int(40))));
    }
    if (this.#chance(this.#weather.read)) this.ask(member);
    if (this.#chance(0.01)) host.raft.unreachable(1 + this.#int(this.members.length));
    if (this.#chance(0.01)) host.raft.reachable(1 + this.#int(this.members.length));
  }

  /** The first step from one membership to any other, or one that is refused. */
  #another({ voters }: Membership): Membership {
    const ids = this.members.map(({ host }) => host.id).filter(() => this.#chance(0.6));
    const learners = ids.filter(() => this.#chance(0.2));
    const next = ids.filter((id) => !learners.includes(id)).slice(0, 5);
    if (next.length === 0 || next.join() === voters.join())
      return members(
        voters,
        [],
        learners.filter((id) => !voters.includes(id)),
      );
    return members(next, voters, learners);
  }

  /** Ids begin at 1 again in each life of a node, as a careless host's would. */
  ask(member: Member): void {
    const { host } = member;
    const id = ++member.reads;
    this.judge.asked(host, id);
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
    this.crashes++;
    this.judge.crashed(member.host);
    if (this.#chance(this.#weather.rot) && !this.members.some(({ host }) => host.repairing)) this.#rot(member.host);
  }

  /** The end of a log is lost, and that is found at the restart. */
  #rot(host: Host): void {
    this.judge.rots(host, host.disk.splice(this.#int(host.disk.length + 1)));
    host.repairing = true;
  }

  /** Snapshots that have been asked for leave, and arrive or not; their sender is told. */
  #ship(): void {
    for (const from of this.members) {
      for (const { to } of from.host.orders.splice(0)) {
        const { raft, base: snapshot } = from.host;
        this.#shipments.push({ at: this.#now + 1 + this.#int(10), from, raft, to, snapshot });
      }
    }
    const due = this.#shipments.filter(({ at }) => at <= this.#now);
    this.#shipments = this.#shipments.filter(({ at }) => at > this.#now);
    for (const { from, raft, to, snapshot } of due) {
      const target = this.members[to - 1]!;
      const cut = this.#side.get(from.host.id) !== this.#side.get(to) || this.#chance(this.#weather.drop);
      const ok = !cut && target.asleep <= this.#now && !target.crashed;
      if (ok) {
        target.host.install(snapshot);
        this.#turn(target);
      }
      if (from.host.raft === raft && from.asleep <= this.#now) raft.snapshotSent(to, ok, snapshot.index);
      else if (from.host.raft === raft) this.#shipments.push({ at: from.asleep, from, raft, to, snapshot });
    }
  }

  #turn(member: Member): void {
    if (member.crashed) return;
    const { host } = member;
    host.turn();
    this.judge.look(host);
    if (host.leaveJoint === undefined) return;
    host.change(host.leaveJoint);
    host.leaveJoint = undefined;
    host.turn();
    this.judge.look(host);
  }

  // What hosts let out

  ready(host: Host, ready: Ready): void {
    this.judge.ready(host, ready);
  }

  appended(host: Host, entries: readonly Entry[]): void {
    this.judge.appended(host, entries);
  }

  read(host: Host, id: number, index: number): void {
    this.judge.read(host, id, index);
  }

  installed(host: Host, snapshot: Snapshot): void {
    this.judge.installed(host, snapshot);
  }

  message(host: Host, message: Message): void {
    this.judge.message(host, message);
    const times = this.#chance(this.#weather.drop) ? 0 : this.#chance(this.#weather.duplicate) ? 2 : 1;
    for (let i = 0; i < times; i++) this.#flying.push({ at: this.#now + 1 + this.#int(this.#weather.delay), message });
  }

  /** The leader of the latest term. */
  get leader(): Host | undefined {
    const leaders = this.members.map(({ host }) => host).filter(({ raft }) => raft.role === 'leader');
    return leaders.sort((a, b) => b.raft.term - a.raft.term)[0];
  }

  /** Whether all members agree on a leader, have committed `index`, and nobody has a read unanswered. */
  settled(index: number): boolean {
    const { leader } = this;
    if (leader === undefined || this.judge.unanswered > 0 || this.members.some(({ crashed }) => crashed)) return false;
    const { membership, committed } = leader.raft.membership;
    const { voters, outgoing, learners } = membership;
    if (!committed || outgoing.length > 0 || !voters.includes(leader.id)) return false;
    return [...voters, ...learners].every((id) => {
      const { host } = this.members[id - 1]!;
      return host.raft.leader === leader.id && host.commit >= index && host.diskEnd >= index && !host.repairing;
    });
  }

  get now(): number {
    return this.#now;
  }
}
