/**
 * One term as the leader: the progress of each follower, what has been reached by a majority, reads, and the messages
 * that follow from all that. It is made when an election is won and dropped when the term ends; nothing of it survives.
 *
 * Messages are not made when something happens but when the host asks: however much a turn brings, each follower gets
 * one append with all that fits, and a heartbeat only if something has to be said that no append says.
 */
import type { LogView } from './log-view.js';
import { Progress } from './progress.js';
import type { Voters } from './quorum.js';
import { ReadRounds } from './reads.js';
import type { AppendResponse, HeartbeatResponse, Message, NodeId, RaftConfig } from './types.js';

export class Leadership {
  readonly reads = new ReadRounds();
  readonly #config: RaftConfig;
  readonly #term: number;
  readonly #voters: Voters;
  readonly #log: LogView;
  readonly #peers = new Map<NodeId, Progress>();
  /** The same, to go through without an iterator. */
  readonly #all: readonly Progress[];
  /** Ticks since the term began here. */
  #now = 0;
  /** Whether a voter was heard of lately, and how far it has got; made once. */
  readonly #isAlive = (id: NodeId): boolean =>
    id === this.#config.id || this.#now - this.#peers.get(id)!.heard < this.#config.electionTicks[1];
  readonly #reachedBy = (id: NodeId): number =>
    id === this.#config.id ? this.#log.persisted : this.#peers.get(id)!.match;

  constructor(config: RaftConfig, term: number, voters: Voters, log: LogView) {
    this.#config = config;
    this.#term = term;
    this.#voters = voters;
    this.#log = log;
    for (const id of voters.ids) if (id !== config.id) this.#peers.set(id, new Progress(id, log.lastIndex + 1));
    this.#all = [...this.#peers.values()];
  }

  peer(id: NodeId): Progress | undefined {
    return this.#peers.get(id);
  }

  /** Lets time pass. False: no majority was heard of for an election time-out, so somebody else may lead by now (dissertation §6.2). */
  tick(): boolean {
    this.#now++;
    if (this.#now % this.#config.heartbeatTicks === 0) this.beat();
    return this.#voters.majority(this.#isAlive);
  }

  /** Heartbeats to all with the next messages. */
  beat(): void {
    for (let i = 0; i < this.#all.length; i++) this.#all[i]!.heartbeatDue = true;
  }

  /** Notes a sign of life, in this term, of a follower. */
  heard(id: NodeId): void {
    const peer = this.#peers.get(id)!;
    peer.heard = this.#now;
    if (peer.unreachable) peer.found();
  }

  /** A follower's answer to an append. True if more of the log may be committed now. */
  appended(message: AppendResponse): boolean {
    const peer = this.#peers.get(message.from)!;
    if (message.ok) return peer.accepted(message.index, this.#now);
    peer.refused(message.refused, message.index, message.hintTerm, this.#log);
    return false;
  }

  beaten(message: HeartbeatResponse): void {
    const peer = this.#peers.get(message.from)!;
    if (peer.match < this.#log.lastIndex) peer.nudge(this.#now, this.#config.heartbeatTicks);
    this.reads.confirm(message.from, message.round);
  }

  /** The last entry that is on the disks of a majority, this node's own disk being one of them (dissertation §10.2.1). */
  reached(): number {
    return this.#voters.reached(this.#reachedBy);
  }

  /** Puts into `out` what each follower has to be sent now: at most one heartbeat and one append each. */
  collect(commit: number, out: Message[]): void {
    if (this.reads.start(this.#config.id)) this.beat();
    for (let i = 0; i < this.#all.length; i++) {
      const peer = this.#all[i]!;
      if (peer.heartbeatDue) this.#heartbeat(peer, commit, out);
      this.#append(peer, commit, out);
      if (peer.told < Math.min(commit, peer.match)) this.#heartbeat(peer, commit, out);
    }
  }

  #heartbeat(peer: Progress, leaderCommit: number, out: Message[]): void {
    const commit = Math.min(leaderCommit, peer.match);
    const round = this.reads.current;
    out.push({ type: 'heartbeat', from: this.#config.id, to: peer.id, term: this.#term, commit, round });
    peer.heartbeatDue = false;
    peer.told = Math.max(peer.told, commit);
  }

  #append(peer: Progress, commit: number, out: Message[]): void {
    if (peer.next > this.#log.lastIndex) return;
    const { maxAppendBytes, maxInflightBytes } = this.#config;
    const budget = peer.budget(maxAppendBytes, maxInflightBytes);
    if (budget === 0) return;
    const entries = this.#log.entries(peer.next, budget);
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
