/**
 * One term as the leader: the progress of each follower, what has been reached by a majority, reads, and the messages
 * that follow from all that. It is made when an election is won and dropped when the term ends; nothing of it survives.
 *
 * Messages are not made when something happens but when the host asks: however much a turn brings, each follower gets
 * one append with all that fits, and a heartbeat only if something has to be said that no append says.
 */
import { CatchUp } from './catch-up.js';
import type { LogView } from './log-view.js';
import type { Memberships } from './membership.js';
import { Progress } from './progress.js';
import { ReadRounds } from './reads.js';
import { Transfer } from './transfer.js';
import type {
  AppendResponse,
  HeartbeatResponse,
  Message,
  NodeId,
  PeerStatus,
  RaftConfig,
  SnapshotOrder,
} from './types.js';

const noOrders: readonly SnapshotOrder[] = [];

export class Leadership {
  readonly reads: ReadRounds;
  readonly #config: RaftConfig;
  readonly #term: number;
  readonly #memberships: Memberships;
  readonly #log: LogView;
  readonly #peers = new Map<NodeId, Progress>();
  /** The same, to go through without an iterator. */
  #all: readonly Progress[] = [];
  #orders: SnapshotOrder[] | undefined;
  /** Leadership is being handed over. */
  #transfer: Transfer | undefined;
  /** Somebody repairs its log, and has not been cleared; an entry is due that can be committed without it. */
  #repairs = false;
  entryDue = false;
  /** This leader has been removed, and has begun to hand over. */
  retiring = false;
  /** Heartbeats go to all. */
  #beat = false;
  /** Ticks since the term began here. */
  #now = 0;
  /** The host was asked, since the last heartbeat, to propose the end of a joint membership. */
  leaveAsked = false;
  readonly #heardOf = (id: NodeId): boolean =>
    id === this.#config.id || this.#now - this.#peers.get(id)!.heard < this.#config.electionTicks[1];
  readonly #matchOf = (id: NodeId): number => {
    if (id === this.#config.id) return this.#log.persisted;
    const peer = this.#peers.get(id)!;
    return peer.repair === 0 ? peer.match : 0;
  };

  constructor(config: RaftConfig, term: number, memberships: Memberships, log: LogView) {
    this.#config = config;
    this.#term = term;
    this.#memberships = memberships;
    this.#log = log;
    this.reads = new ReadRounds(config.lease);
    this.reconfigure(log.lastIndex + 1);
  }

  /**
   * There is another membership. Whom it adds is sent entries from `next` on first, as a probe. Whom it removes is sent the log
   * until it knows that this is committed, so that it can stop instead of asking for votes; it does not count any more.
   */
  reconfigure(next: number): void {
    this.leaveAsked = false;
    const { index, membership } = this.#memberships.newest;
    const { voters, outgoing, learners } = membership;
    const members = new Set([...voters, ...outgoing, ...learners]);
    members.delete(this.#config.id);
    for (const [id, peer] of this.#peers) {
      if (peer.leaving > 0 && members.has(id)) this.#peers.delete(id);
      else if (peer.leaving === 0 && !members.has(id)) peer.leaving = index;
    }
    for (const id of members) {
      const peer = this.#peers.get(id) ?? this.#add(id, next);
      const learns = learners.includes(id) && !this.#memberships.quorum.has(id);
      peer.catchUp = learns ? (peer.catchUp ?? new CatchUp(this.#log.lastIndex, this.#now)) : undefined;
    }
    this.#all = [...this.#peers.values()];
  }

  #add(id: NodeId, next: number): Progress {
    const peer = new Progress(id, next);
    peer.heard = this.#now;
    this.#peers.set(id, peer);
    return peer;
  }

  peer(id: NodeId): Progress | undefined {
    return this.#peers.get(id);
  }

  /** Lets time pass. False: no majority was heard of for an election time-out, so somebody else may lead by now (dissertation §6.2). */
  tick(): boolean {
    this.#now++;
    if (this.#now % this.#config.heartbeatTicks === 0) {
      this.beat();
      this.leaveAsked = false;
      this.#transfer?.repeat();
    }
    if (this.#transfer?.expired(this.#now, this.#config.electionTicks[0])) this.#transfer = undefined;
    return this.#memberships.quorum.majority(this.#heardOf);
  }

  /** Heartbeats to all with the next messages. */
  beat(): void {
    this.#beat = true;
    for (let i = 0; i < this.#all.length; i++) this.#all[i]!.heartbeatDue = true;
  }

  /** Notes a sign of life, in this term, of a follower. */
  heard(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    peer.heard = this.#now;
    if (peer.unreachable) peer.found();
  }

  /** A follower's answer to an append. True if more of the log may be committed now. */
  appended(message: AppendResponse): boolean {
    const peer = this.#peers.get(message.from);
    if (peer === undefined || !this.#trusts(peer, message)) return false;
    if (!message.ok) {
      peer.refused(message.refused, message.index, message.hintTerm, this.#log);
      return false;
    }
    const news = peer.accepted(message.index, this.#now, this.#log.firstIndex);
    peer.catchUp?.reached(peer.match, this.#log.lastIndex, this.#now, this.#config.electionTicks[0]);
    return news;
  }

  /** It confirms that this node leads also while its sender abstains, who keeps term and vote. */
  beaten(message: HeartbeatResponse): void {
    const peer = this.#peers.get(message.from);
    if (peer === undefined) return;
    if (message.abstains !== 0 && message.abstains !== peer.repair) this.#distrust(peer, message.abstains);
    if (message.amid) peer.arriving(this.#now);
    else if (peer.match < this.#log.lastIndex) peer.nudge(this.#now, this.#config.heartbeatTicks);
    this.reads.confirm(message.from, message.round);
  }

  /** Whether an answer tells what is on the follower's disk now: not if it is from before its repair, or the first that tells of it. */
  #trusts(peer: Progress, { ok, index, abstains }: AppendResponse): boolean {
    if (abstains === peer.repair) return true;
    if (abstains !== 0) {
      this.#distrust(peer, abstains);
      return false;
    }
    if (!ok || peer.cleared === 0 || index < peer.cleared) return false;
    peer.repair = 0;
    peer.cleared = 0;
    return true;
  }

  /** The follower has begun to repair its log: what it answered before holds no longer. Not news if it comes late. */
  #distrust(peer: Progress, repair: number): void {
    if (peer.repairs.includes(repair)) return;
    this.#peers.set(peer.id, peer.repairing(repair, this.#log.lastIndex));
    this.#all = [...this.#peers.values()];
    this.#repairs = true;
    this.entryDue = true;
  }

  /** More is committed: what lies behind the end that the log had when a repair became known was so without that follower. */
  committed(commit: number): void {
    if (!this.#repairs) return;
    this.#repairs = false;
    for (const peer of this.#all) {
      if (peer.repair === 0 || peer.cleared > 0) continue;
      if (commit > peer.mark) {
        peer.cleared = commit;
        peer.heartbeatDue = true;
      } else {
        this.#repairs = true;
      }
    }
  }

  /** The last entry that is on the disks of a majority, this node's own disk being one of them (dissertation §10.2.1). */
  reached(): number {
    return this.#memberships.quorum.reached(this.#matchOf);
  }

  /** It was heard of within the shortest election time-out. */
  #active(peer: Progress): boolean {
    return this.#now - peer.heard < this.#config.electionTicks[0];
  }

  /** Whether a learner would not hold anything up as a voter (dissertation §4.2.1). */
  caughtUp(id: NodeId): boolean {
    const peer = this.#peers.get(id);
    if (peer?.catchUp === undefined || peer.repair !== 0 || !this.#active(peer)) return false;
    return peer.catchUp.done(peer.match, this.#log.lastIndex, this.#now, this.#config.electionTicks[0]);
  }

  snapshotSent(to: NodeId, ok: boolean, index: number): void {
    this.#peers.get(to)?.snapshotSent(ok, Math.min(index, this.#log.lastIndex), this.#now);
  }

  /** Whom the host has to send a snapshot. */
  takeOrders(): readonly SnapshotOrder[] {
    const orders = this.#orders ?? noOrders;
    this.#orders = undefined;
    return orders;
  }

  get transferring(): boolean {
    return this.#transfer !== undefined;
  }

  /** Begins to hand over to `to`. False: it cannot take over. */
  transfer(to: NodeId): boolean {
    if (!this.#memberships.newest.membership.voters.includes(to) || this.#peers.get(to)?.repair !== 0) return false;
    this.#transfer = new Transfer(to, this.#now);
    return true;
  }

  /** The voter that would lead soonest: the one with most of the log among those heard of of late; 0: none. */
  successor(): NodeId {
    let best: Progress | undefined;
    for (const peer of this.#all) {
      if (!this.#memberships.newest.membership.voters.includes(peer.id)) continue;
      if (peer.unreachable || peer.repair !== 0 || !this.#active(peer)) continue;
      if (best === undefined || peer.match > best.match) best = peer;
    }
    return best?.id ?? 0;
  }

  status(): PeerStatus[] {
    return this.#all
      .filter(({ leaving }) => leaving === 0)
      .map((peer) => ({
        id: peer.id,
        match: peer.match,
        state: peer.state,
        abstains: peer.repair !== 0,
        active: this.#active(peer),
      }));
  }

  /** Puts into `out` what each follower has to be sent now: at most one heartbeat and one append each. */
  collect(commit: number, out: Message[]): void {
    if (this.reads.start(this.#config.id, this.#beat)) this.beat();
    this.#beat = false;
    for (let i = 0; i < this.#all.length; i++) {
      const peer = this.#all[i]!;
      if (peer.heartbeatDue) this.#heartbeat(peer, commit, out);
      this.#append(peer, commit, out);
      if (peer.state === 'snapshot' && peer.takeOrder()) this.#order(peer);
      if (peer.told < Math.min(commit, peer.match)) this.#heartbeat(peer, commit, out);
      if (peer.leaving > 0) this.#seeOff(peer, commit);
    }
    if (this.#transfer !== undefined) this.#handOver(this.#transfer, out);
  }

  /** The other one may campaign as soon as it has the whole log: then nobody is more up to date (dissertation §3.10). */
  #handOver(transfer: Transfer, out: Message[]): void {
    const { to } = transfer;
    if (this.#peers.get(to)!.match < this.#log.lastIndex || !transfer.due()) return;
    this.reads.endLease();
    out.push({ type: 'timeoutNow', from: this.#config.id, to, term: this.#term });
  }

  #order({ id: to }: Progress): void {
    this.#orders ??= [];
    this.#orders.push({ to, least: this.#log.firstIndex - 1 });
  }

  /** Lets go of one who was removed: it has been told so, or does not answer. */
  #seeOff(peer: Progress, commit: number): void {
    if (commit < peer.leaving) return;
    if (peer.leavingSince === 0) peer.leavingSince = this.#now;
    if (peer.told < peer.leaving && this.#now - peer.leavingSince < this.#config.electionTicks[1]) return;
    this.#peers.delete(peer.id);
    this.#all = this.#all.filter((other) => other !== peer);
  }

  #heartbeat(peer: Progress, leaderCommit: number, out: Message[]): void {
    const commit = Math.min(leaderCommit, peer.match);
    const round = this.reads.current;
    out.push({ type: 'heartbeat', from: this.#config.id, to: peer.id, term: this.#term, commit, round });
    peer.heartbeatDue = false;
    peer.told = Math.max(peer.told, commit);
    if (peer.cleared > 0) this.#clear(peer, out);
  }

  #clear({ id: to, cleared: index, repair }: Progress, out: Message[]): void {
    out.push({ type: 'cleared', from: this.#config.id, to, term: this.#term, index, repair });
  }

  #append(peer: Progress, commit: number, out: Message[]): void {
    const { lastIndex } = this.#log;
    if (!peer.wants(lastIndex)) return;
    const { maxAppendBytes, maxInflightBytes } = this.#config;
    const budget = peer.budget(maxAppendBytes, maxInflightBytes);
    if (budget === 0) return;
    if (peer.next < this.#log.firstIndex) {
      peer.needSnapshot();
      return;
    }
    const entries = peer.next > lastIndex ? [] : this.#log.entries(peer.next, budget);
    let bytes = 0;
    for (let i = 0; i < entries.length; i++) bytes += entries[i]!.bytes.length;
    if (!peer.admits(bytes, maxInflightBytes)) return;
    const prevIndex = peer.next - 1;
    const prevTerm = this.#log.term(prevIndex);
    const last = prevIndex + entries.length;
    peer.sent(last, bytes, this.#now);
    peer.told = Math.max(peer.told, Math.min(commit, last));
    out.push({
      type: 'append',
      from: this.#config.id,
      to: peer.id,
      term: this.#term,
      prevIndex,
      prevTerm,
      commit,
      entries,
    });
  }
}
