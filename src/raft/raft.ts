/**
 * The Raft core: a pure state machine. Inputs are time (`tick`), messages (`step`), proposals, and "the disk holds
 * everything up to here" (`persisted`); the output is a `Ready`: what to make durable, what to send, what is committed.
 * It has no clock, socket, disk or randomness of its own: the same inputs give the same outputs.
 *
 * The host calls inputs as they come, then `ready()` until it returns undefined, carrying each Ready out in the order
 * that `types.ts` states. Section numbers are those of the Raft paper (extended version), or of Ongaro's dissertation
 * where that is said.
 *
 * What goes beyond figure 2:
 * - Persistence runs beside replication. Entries, and answers about them, are separate: an append is answered when the
 *   follower's disk has it, and the leader's own disk is one vote among the others (dissertation §10.2.1).
 * - Pre-vote (dissertation §9.6) and check-quorum (§6.2, §4.2.3 there): a node that was cut off or stopped does not
 *   depose a leader that a majority hears; a leader that no majority answers steps down.
 * - ReadIndex, and reads under a lease if asked for (dissertation §6.4): `reads.ts`. Flow control and fast back-off: `progress.ts`.
 * - Membership by joint consensus, learners (§6, dissertation §4): `membership.ts`. Who counts is asked of the newest membership
 *   of the own log each time. The core reads no records: who makes an entry of bytes says what membership they set.
 * - Leadership transfer (dissertation §3.10): `transfer.ts`. A leader that is removed hands over as well.
 * - Compaction and snapshots (§7): the host drops a prefix of its log when a snapshot of its own replaces it. A follower that
 *   needs what was dropped is brought the leader's snapshot by the hosts, beside the core, which goes on with heartbeats.
 * - A member that repairs a corrupt log abstains: `abstention.ts`.
 *
 * Invariants, asserted in production (a broken one throws InvariantError, and the node must stop):
 * - the term never falls; within a term there is at most one vote, and one leader (Election Safety);
 * - a leader only appends; a follower never replaces what is committed, nor what this term's leader has sent before;
 * - the commit index never falls, and never passes the end of the log;
 * - a leader counts only entries of its own term (§5.4.2); earlier ones are committed with them.
 *
 * And by construction:
 * - no message that depends on term or vote leaves before they are durable: they are in the same Ready, and come first;
 * - a follower vouches for nothing but what is on its disk and shown to be in its leader's log: `following.ts`.
 *
 * Caveat: a node that lost its disk must not come back under its id; it has forgotten votes and answers.
 */
import { Abstention } from './abstention.js';
import { Campaign, Patience } from './election.js';
import { checkEntries, Following } from './following.js';
import { broken } from './invariant.js';
import { Leadership } from './leadership.js';
import { LogView } from './log-view.js';
import { isStep, left, Memberships } from './membership.js';
import { ReadAsks } from './reads.js';
import type {
  AppendRequest,
  AppendResponse,
  Cleared,
  Heartbeat,
  HeartbeatResponse,
  Membership,
  MembershipAt,
  MembershipRefusal,
  Message,
  NodeId,
  PeerStatus,
  RaftConfig,
  ReadRequest,
  ReadResponse,
  Ready,
  Role,
  TimeoutNow,
  TransferRefusal,
  VoteRequest,
  VoteResponse,
} from './types.js';

const none: readonly never[] = [];

export class Raft {
  readonly #config: RaftConfig;
  readonly #memberships: Memberships;
  readonly #log: LogView;

  #role: Exclude<Role, 'learner'> = 'follower';
  #term: number;
  #vote: NodeId;
  #leader: NodeId = 0;
  #commit: number;

  readonly #patience: Patience;
  /** As a candidate. */
  #campaign: Campaign | undefined;
  /** As the leader. */
  #leadership: Leadership | undefined;
  /** As long as this node repairs its log. */
  #abstention: Abstention | undefined;
  /** As a follower. */
  readonly #following: Following;
  readonly #asks: ReadAsks;

  #outbox: Message[] = [];
  #reads: { readonly id: number; readonly index: number }[] = [];
  /** As of the last Ready. */
  readonly #shown: {
    term: number;
    vote: NodeId;
    commit: number;
    leader: NodeId;
    role: Role;
    membership: MembershipAt;
    abstaining: boolean;
  };

  /** Starts as a follower that knows of no leader. Throws InvariantError if the configuration contradicts itself. */
  constructor(config: RaftConfig) {
    checkConfig(config);
    this.#config = config;
    this.#memberships = new Memberships(config.membership, config.changes ?? [], config.commit);
    this.#log = new LogView(config.log, config.persisted, this.#memberships);
    if (config.commit > this.#log.lastIndex)
      broken(`commit ${config.commit} is beyond the last entry ${this.#log.lastIndex}`);
    if (config.commit < this.#log.firstIndex - 1)
      broken(`commit ${config.commit} is before the log, which begins with ${this.#log.firstIndex}`);
    this.#term = config.hardState.term;
    this.#vote = config.hardState.vote;
    this.#commit = config.commit;
    if (this.#log.lastTerm > this.#term)
      broken(`the log ends in term ${this.#log.lastTerm}, the term is ${this.#term}`);
    this.#following = new Following(this.#log, config.commit);
    this.#asks = new ReadAsks(Math.floor(config.random() * 2 ** 26) * 2 ** 26 + Math.floor(config.random() * 2 ** 26));
    this.#patience = new Patience(config);
    if (config.abstains === true) this.#abstention = new Abstention(1 + Math.floor(config.random() * 2 ** 31));
    const { newest: membership } = this.#memberships;
    const { role, abstaining } = this;
    const commit = this.#commit;
    this.#shown = { term: this.#term, vote: this.#vote, commit, leader: 0, role, membership, abstaining };
  }

  get role(): Role {
    return this.#role === 'follower' && !this.isVoter ? 'learner' : this.#role;
  }
  /** Whether the newest membership gives this node a vote. */
  get isVoter(): boolean {
    return this.#memberships.quorum.has(this.#config.id);
  }
  /** This node repairs its log, and does not count (abstention.ts). */
  get abstaining(): boolean {
    return this.#abstention !== undefined;
  }
  /** The newest membership of the own log, the entry that set it (0: none did), and whether that is known to be committed. */
  get membership(): MembershipAt & { readonly committed: boolean } {
    return { ...this.#memberships.newest, committed: this.#memberships.committed };
  }
  get term(): number {
    return this.#term;
  }
  /** Who leads this term, as far as is known; 0: nobody. */
  get leader(): NodeId {
    return this.#leader;
  }
  get vote(): NodeId {
    return this.#vote;
  }
  get commit(): number {
    return this.#commit;
  }
  /** Index of the last entry, persisted or not, handed out or not. */
  get lastIndex(): number {
    return this.#log.lastIndex;
  }

  /**
   * One tick of the host's clock has passed. A host that was stalled calls it once, not for each tick it missed, and says that
   * it is `late`: what the leader sent meanwhile may still wait in its sockets, so such a tick begins no election. Of two
   * late ones in a row the second counts, so that a host which is always late does not wait for ever.
   */
  tick(late = false): void {
    this.#asks.tick();
    if (this.#leadership !== undefined) {
      if (!this.#leadership.tick() || this.#retired(this.#leadership)) this.#follow(this.#term, 0);
      return;
    }
    const due = this.#patience.tick(late);
    // Who decides alone has nobody to wait for, but the leader that is just making it so.
    const alone = this.#memberships.quorum.alone(this.#config.id) && !this.#hasLeader();
    if (due || alone) this.campaign();
  }

  /**
   * Gives the leader up and asks for votes now, without waiting for the time-out; nothing on a leader, and one that may not lead
   * asks for none. First it asks, without raising its term,
   * whether it could win (dissertation §9.6).
   */
  campaign(): void {
    if (this.#role === 'leader') return;
    this.#setLeader(0);
    if (this.#mayLead) this.#solicit(true, false);
  }

  get #mayLead(): boolean {
    return this.#abstention === undefined && this.#memberships.mayLead(this.#config.id);
  }

  /**
   * Appends to the leader's log, in order. Each record has room for its header, which `config.seal` fills in.
   * Returns the index of the first, undefined when this node does not lead, or is handing over (nothing has happened then).
   */
  propose(records: readonly Uint8Array[]): number | undefined {
    if (this.#leadership === undefined || this.#leadership.transferring) return undefined;
    const first = this.#log.lastIndex + 1;
    for (const record of records) this.#appendOwn(record, undefined);
    return first;
  }

  /**
   * Appends an entry that sets a membership; `membership` is what `record` says, one step from the one in force (`changed`
   * and `left` in membership.ts make such). Returns the entry's index, or why not. When the entry of a joint membership is committed,
   * `Ready.leaveJoint` asks the leader's host for the one that ends it.
   */
  proposeMembership(record: Uint8Array, membership: Membership): number | MembershipRefusal {
    const leadership = this.#leadership;
    if (leadership === undefined) return 'not-leader';
    if (leadership.transferring) return 'transferring';
    if (!this.#open) return 'too-early';
    const { newest, committed, joint } = this.#memberships;
    if (!committed) return 'under-way';
    if (!isStep(newest.membership, membership)) return joint ? 'under-way' : 'not-a-step';
    this.#appendOwn(record, membership);
    leadership.reconfigure(this.#log.lastIndex);
    return this.#log.lastIndex;
  }

  /**
   * Hands leadership over to another voter (dissertation §3.10), or says why not. Until that one leads, but for no longer than the
   * shortest election time-out, nothing is proposed.
   */
  transfer(to: NodeId): TransferRefusal | undefined {
    if (this.#leadership === undefined) return 'not-leader';
    if (this.#leadership.transferring) return 'transferring';
    return this.#leadership.transfer(to) ? undefined : 'not-eligible';
  }

  /** To whom this leader would best hand over: to the voter with most of its log; 0: to nobody, or it does not lead. */
  chooseSuccessor(): NodeId {
    return this.#leadership?.successor() ?? 0;
  }

  /** Whether a learner has caught up with this leader so far that it would hold nothing up as a voter (dissertation §4.2.1). */
  caughtUp(id: NodeId): boolean {
    return this.#leadership?.caughtUp(id) ?? false;
  }

  /** What this leader knows of each of the others; empty on who does not lead. */
  peers(): PeerStatus[] {
    return this.#leadership?.status() ?? [];
  }

  /** A write completed: everything up to the entry (index, term) is on disk. Ignored if that entry has been replaced. */
  persisted(index: number, term: number): void {
    if (!this.#log.persist(index, term)) return;
    if (this.#leadership !== undefined) this.#count(this.#leadership);
    else if (this.#leader !== 0) this.#following.persisted();
  }

  /**
   * A snapshot of everything up to the entry (index, term), with this membership, is durable here, and the log begins behind it:
   * with what followed that entry if the log had it, else empty (§7). All that `ready` said before has been carried out.
   */
  installed(index: number, term: number, membership: Membership): void {
    if (index <= this.#commit) {
      this.#log.restart(index, term);
      if (this.#log.lastIndex < this.#commit) broken(`a snapshot of ${index} took entries up to ${this.#commit} away`);
      return;
    }
    if (this.#leadership !== undefined) broken(`a leader that has committed ${this.#commit} installed up to ${index}`);
    if (term > this.#term) this.#follow(term, 0);
    this.#log.restart(index, term);
    this.#memberships.install(index, membership);
    this.#advance(index);
    this.#following.installed(index);
  }

  /** The host is done with an order of `Ready.snapshots`: `to` has the snapshot up to `index` on its disk, or it failed (`ok` false). */
  snapshotSent(to: NodeId, ok: boolean, index: number): void {
    this.#leadership?.snapshotSent(to, ok, index);
  }

  /**
   * Asks for an index from which a read is linearizable once everything up to it is applied (dissertation §6.4). It is
   * answered in `Ready.reads`, under `id`: -1 means that no leader is known, or that it is gone; ask again.
   */
  readIndex(id: number): void {
    if (this.#leadership !== undefined) this.#addRead(this.#leadership, this.#config.id, id);
    else if (this.#leader !== 0) this.#asks.add(id);
    else this.#reads.push({ id, index: -1 });
  }

  /** Hint: the link to `id` broke, what is under way is lost. */
  unreachable(id: NodeId): void {
    this.#leadership?.peer(id)?.lost();
  }

  /** Hint: the link to `id` is there (again). */
  reachable(id: NodeId): void {
    this.#leadership?.peer(id)?.found();
    if (id === this.#leader) this.#asks.hurry();
    const campaign = this.#campaign;
    if (campaign?.answered(id) === false && this.#memberships.quorum.has(id)) this.#requestVote(campaign, id);
  }

  /** Takes a message. One that is not for this node counts for nothing. */
  step(message: Message): void {
    if (message.to !== this.#config.id || message.from === this.#config.id || !this.#heeds(message)) return;
    if (message.term > this.#term) {
      if (message.type === 'vote' && !message.transfer && this.#hasLeader()) return;
      if (!isPreVote(message)) {
        this.#follow(message.term, message.type === 'append' || message.type === 'heartbeat' ? message.from : 0);
      }
    } else if (message.term < this.#term) {
      this.#rejectStale(message);
      return;
    }
    if (message.term === this.#term) this.#leadership?.heard(message.from);
    this.#dispatch(message);
  }

  /**
   * A candidate or leader is heard also if this node's newest membership does not list it, for that may be older or newer than
   * what it was elected by (dissertation §4.2.2: servers process requests of servers outside of their configuration). From any other
   * stranger nothing is taken, least of all its term; one who was removed is heard as long as it is still seen off.
   */
  #heeds({ type, from, term }: Message): boolean {
    if (this.#memberships.has(from) || type === 'vote' || type === 'append' || type === 'heartbeat') return true;
    if (from === this.#leader) return true;
    return term === this.#term && this.#leadership?.peer(from) !== undefined;
  }

  #dispatch(message: Message): void {
    switch (message.type) {
      case 'vote':
        this.#onVote(message);
        break;
      case 'voted':
        this.#onVoted(message);
        break;
      case 'append':
        this.#onAppend(message);
        break;
      case 'appended':
        this.#onAppended(message);
        break;
      case 'heartbeat':
        this.#onHeartbeat(message);
        break;
      case 'beaten':
        this.#onBeaten(message);
        break;
      case 'read':
        this.#onRead(message);
        break;
      case 'readable':
        this.#onReadable(message);
        break;
      case 'timeoutNow':
        this.#onTimeoutNow(message);
        break;
      case 'cleared':
        this.#onCleared(message);
        break;
    }
  }

  /**
   * What there is to do now, undefined when nothing: messages are made here, so whatever happened since the last call
   * shares them. Call again after carrying it out, until undefined.
   */
  ready(): Ready | undefined {
    const messages = this.#outbox;
    const leadership = this.#leadership;
    if (leadership !== undefined) {
      this.#answerReads(leadership, messages);
      leadership.collect(this.#commit, messages);
      this.#answerReads(leadership, messages);
    } else if (this.#leader !== 0) {
      if (this.#abstention?.over(this.#following.durable)) this.#repaired();
      this.#collect(messages);
    }
    const entries = this.#log.take();
    const snapshots = leadership?.takeOrders() ?? none;
    const shown = this.#shown;
    const hard = shown.term !== this.#term || shown.vote !== this.#vote;
    const changed =
      shown.term !== this.#term ||
      shown.leader !== this.#leader ||
      shown.role !== this.role ||
      shown.abstaining !== this.abstaining;
    const membershipChanged = shown.membership !== this.#memberships.newest;
    const leaveJoint = leadership !== undefined && this.#memberships.joint ? this.#leaveJoint(leadership) : undefined;
    const reads = this.#reads;
    const idle = !hard && !changed && !membershipChanged && shown.commit === this.#commit && leaveJoint === undefined;
    const length = entries.length + messages.length + reads.length + snapshots.length;
    if (idle && length === 0) return undefined;
    if (this.#commit < shown.commit) broken(`commit fell from ${shown.commit} to ${this.#commit}`);
    this.#show();
    if (messages.length > 0) this.#outbox = [];
    if (reads.length > 0) this.#reads = [];
    const hardState = hard ? { term: this.#term, vote: this.#vote } : undefined;
    const commit = this.#commit;
    return { hardState, entries, messages, commit, reads, snapshots, changed, membershipChanged, leaveJoint };
  }

  #show(): void {
    const shown = this.#shown;
    shown.term = this.#term;
    shown.vote = this.#vote;
    shown.commit = this.#commit;
    shown.leader = this.#leader;
    shown.role = this.role;
    shown.membership = this.#memberships.newest;
    shown.abstaining = this.abstaining;
  }

  /** A follower's share of the messages: one answer for all appends of the turn, and questions. */
  #collect(out: Message[]): void {
    const from = this.#config.id;
    const to = this.#leader;
    const term = this.#term;
    const index = this.#following.answer();
    if (index !== undefined) {
      const abstains = this.#repair;
      out.push({ type: 'appended', from, to, term, ok: true, index, hintTerm: 0, refused: 0, abstains });
    }
    const due = this.#asks.due(this.#config.heartbeatTicks);
    for (let i = 0; i < due.length; i++) out.push({ type: 'read', from, to, term, id: due[i]! });
  }

  // Terms, roles and elections (§5.1, §5.2)

  /** Becomes a follower of `leader` (0: not known yet) in `term`, which is this one or a later one. */
  #follow(term: number, leader: NodeId): void {
    if (term !== this.#term) this.#enter(term, 0);
    if (this.#role !== 'follower') {
      this.#role = 'follower';
      this.#patience.restart();
    }
    const lost = this.#leadership;
    this.#leadership = undefined;
    for (const request of lost?.reads.drain() ?? []) this.#answerRead(request.from, request.id, -1, this.#outbox);
    this.#campaign = undefined;
    this.#setLeader(leader);
  }

  /** Term and vote only change here: the term rises, or a vote is given where there was none (figure 2, persistent state). */
  #enter(term: number, vote: NodeId): void {
    const falls = term < this.#term || (term === this.#term && this.#vote !== 0 && vote !== this.#vote);
    if (falls)
      broken(`term ${this.#term} with a vote for ${this.#vote} followed by term ${term} with a vote for ${vote}`);
    if (term !== this.#term) this.#setLeader(0);
    this.#term = term;
    this.#vote = vote;
  }

  #setLeader(leader: NodeId): void {
    if (leader === this.#leader) return;
    for (const id of this.#asks.drain()) this.#reads.push({ id, index: -1 });
    this.#leader = leader;
    this.#following.begin(this.#commit);
    this.#abstention?.renew();
  }

  /**
   * Whether a leader was heard of within the shortest election time-out: requests for votes are ignored then, so that a
   * node that missed heartbeats does not disturb those that did not (dissertation §4.2.3). A leader hears of itself,
   * as long as it hears of a majority. Where there are leases, one who has just started does not know whom it heard.
   */
  #hasLeader(): boolean {
    return (this.#leader !== 0 && this.#patience.fresh) || this.#patience.bound;
  }

  /** Begins a pre-vote, or the election proper (figure 2, candidates). */
  #solicit(pre: boolean, transfer: boolean): void {
    this.#role = 'candidate';
    const campaign = new Campaign(pre, transfer);
    this.#campaign = campaign;
    this.#patience.restart();
    if (!pre) this.#enter(this.#term + 1, this.#config.id);
    for (const id of this.#memberships.quorum.ids) if (id !== this.#config.id) this.#requestVote(campaign, id);
    this.#tally(campaign, this.#config.id, true);
  }

  #requestVote({ pre, transfer }: Campaign, to: NodeId): void {
    const term = pre ? this.#term + 1 : this.#term;
    const { lastIndex, lastTerm } = this.#log;
    this.#outbox.push({ type: 'vote', from: this.#config.id, to, term, pre, lastIndex, lastTerm, transfer });
  }

  #tally(campaign: Campaign, from: NodeId, granted: boolean): void {
    const result = campaign.count(from, granted, this.#memberships.quorum);
    if (result === 'lost') this.#follow(this.#term, 0);
    else if (result === 'won' && campaign.pre) this.#solicit(false, false);
    else if (result === 'won') this.#lead();
  }

  #lead(): void {
    if (this.#vote !== this.#config.id)
      broken(`node ${this.#config.id} leads term ${this.#term} but voted for ${this.#vote}`);
    this.#role = 'leader';
    this.#campaign = undefined;
    this.#patience.renew();
    this.#setLeader(this.#config.id);
    this.#leadership = new Leadership(this.#config, this.#term, this.#memberships, this.#log);
    this.#appendOwn(undefined, undefined);
  }

  /** Whoever is asked answers, voter or not: it may have been given its vote by an entry that it does not have yet. */
  #onVote(request: VoteRequest): void {
    const { from, term, pre } = request;
    const free = pre ? term > this.#term : this.#vote === from || (this.#vote === 0 && this.#leader === 0);
    const able = free && this.#abstention === undefined;
    const granted = able && this.#log.notNewerThan(request.lastIndex, request.lastTerm);
    if (granted && !pre) {
      this.#enter(this.#term, from);
      this.#patience.renew();
    }
    this.#answerVote(request, granted);
  }

  /** A pre-vote is granted in the term it asks about, which is not this node's; a refusal tells this node's term. */
  #answerVote({ from: to, term: asked, pre }: VoteRequest, granted: boolean): void {
    const term = granted ? asked : this.#term;
    this.#outbox.push({ type: 'voted', from: this.#config.id, to, term, pre, granted });
  }

  #onVoted(response: VoteResponse): void {
    const campaign = this.#campaign;
    if (campaign === undefined || response.pre !== campaign.pre) return;
    if (response.granted && response.term !== (campaign.pre ? this.#term + 1 : this.#term)) return;
    this.#tally(campaign, response.from, response.granted);
  }

  /** The leader of this term wants this node to lead the next: nobody need be asked first whether there is a leader. */
  #onTimeoutNow({ from }: TimeoutNow): void {
    if (from !== this.#leader || !this.#mayLead) return;
    this.#setLeader(0);
    this.#solicit(false, true);
  }

  /** The sender is in an earlier term: it is told this one where it waits for an answer (§5.1), else it counts for nothing. */
  #rejectStale(message: Message): void {
    const base = { from: this.#config.id, to: message.from, term: this.#term };
    if (message.type === 'vote') {
      this.#answerVote(message, false);
    } else if (message.type === 'append') {
      const refused = message.prevIndex;
      this.#outbox.push({
        type: 'appended',
        ...base,
        ok: false,
        index: 0,
        hintTerm: 0,
        refused,
        abstains: this.#repair,
      });
    } else if (message.type === 'heartbeat') {
      this.#outbox.push({ type: 'beaten', ...base, round: 0, abstains: this.#repair });
    } else if (message.type === 'read') {
      this.#answerRead(message.from, message.id, -1, this.#outbox);
    }
  }

  // The follower's side of replication (§5.3)

  #hearLeader(from: NodeId): void {
    if (this.#role === 'leader' || (this.#leader !== 0 && this.#leader !== from)) {
      broken(`nodes ${this.#leader} and ${from} both lead term ${this.#term}`);
    }
    if (this.#role !== 'follower' || this.#leader === 0) this.#follow(this.#term, from);
    this.#patience.renew();
  }

  #onAppend(request: AppendRequest): void {
    this.#hearLeader(request.from);
    checkEntries(request);
    const append = request.prevIndex < this.#log.firstIndex - 1 ? this.#following.trim(request) : request;
    if (append === undefined) return;
    if (this.#log.matches(append.prevIndex, append.prevTerm)) {
      const last = this.#following.accept(append, this.#commit);
      this.#advance(Math.min(append.commit, last));
    } else {
      this.#refuse(append);
    }
  }

  #refuse(request: AppendRequest): void {
    const index = this.#following.hint(request, this.#commit);
    const base = { from: this.#config.id, to: request.from, term: this.#term };
    const hintTerm = this.#log.term(index);
    const [refused, abstains] = [request.prevIndex, this.#repair];
    this.#outbox.push({ type: 'appended', ...base, ok: false, index, hintTerm, refused, abstains });
  }

  #onHeartbeat(heartbeat: Heartbeat): void {
    this.#hearLeader(heartbeat.from);
    const { from: to, round, commit, amid = false } = heartbeat;
    // A leader that does not know of the repair yet tells it of what it had before.
    this.#advance(this.#abstention === undefined ? commit : Math.min(commit, this.#following.verified));
    const confirmed = this.#abstention !== undefined && this.#config.votesLost === true ? 0 : round;
    const [from, term, abstains] = [this.#config.id, this.#term, this.#repair];
    this.#outbox.push({ type: 'beaten', from, to, term, round: confirmed, abstains, amid });
  }

  /** Number of the repair under way; 0: none. */
  get #repair(): number {
    return this.#abstention?.repair ?? 0;
  }

  /** A leader that still says so has not been told that the repair is over. */
  #onCleared({ from, index, repair }: Cleared): void {
    if (from !== this.#leader) return;
    if (this.#abstention === undefined) this.#following.remind();
    else if (repair === this.#abstention.repair) this.#abstention.cleared(index);
  }

  /** What was forgotten is made good. A vote of this term, if one was given and lost, did not make another leader than this one: no other is given. */
  #repaired(): void {
    this.#abstention = undefined;
    if (this.#vote === 0) this.#enter(this.#term, this.#leader);
    this.#following.remind();
  }

  #advance(commit: number): void {
    if (commit <= this.#commit) return;
    if (commit > this.#log.lastIndex) broken(`commit ${commit} is beyond the last entry ${this.#log.lastIndex}`);
    this.#commit = commit;
    this.#memberships.settle(commit);
  }

  // The leader's side

  #appendOwn(record: Uint8Array | undefined, membership: Membership | undefined): void {
    const index = this.#log.lastIndex + 1;
    const bytes = this.#config.seal(index, this.#term, record, membership);
    const entry = { index, term: this.#term, bytes };
    this.#log.append(membership === undefined ? entry : { ...entry, membership });
  }

  /** Whether an entry of this term is committed: until then the leader does not know all that is (§8, dissertation §6.4). */
  get #open(): boolean {
    return this.#log.term(this.#commit) === this.#term;
  }

  /** The membership that this leader's host is to propose now: the end of the joint one. */
  #leaveJoint(leadership: Leadership): Membership | undefined {
    if (leadership.leaveAsked || !this.#memberships.committed || !this.#open) return undefined;
    leadership.leaveAsked = true;
    return left(this.#memberships.newest.membership);
  }

  /** A membership without a vote of this node's is committed. */
  get #removed(): boolean {
    return this.#memberships.committed && !this.isVoter;
  }

  /** This leader's work is done (dissertation §4.2.2): it hands over to who can go on at once. */
  #retire(leadership: Leadership): void {
    if (leadership.retiring || leadership.transferring) return;
    leadership.retiring = true;
    leadership.transfer(leadership.successor());
  }

  /** It has tried to hand over, and is still here: there is no more that it could do. */
  #retired(leadership: Leadership): boolean {
    if (!this.#removed || leadership.transferring) return false;
    if (leadership.retiring) return true;
    this.#retire(leadership);
    return false;
  }

  #onAppended(response: AppendResponse): void {
    const leadership = this.#leadership;
    if (leadership?.appended(response)) this.#count(leadership);
    if (leadership?.entryDue) this.#appendForRepair(leadership);
  }

  #onBeaten(response: HeartbeatResponse): void {
    const leadership = this.#leadership;
    leadership?.beaten(response);
    if (leadership?.entryDue) this.#appendForRepair(leadership);
  }

  /** An entry that can be committed without the follower that has begun to repair its log (abstention.ts). */
  #appendForRepair(leadership: Leadership): void {
    leadership.entryDue = false;
    this.#appendOwn(undefined, undefined);
  }

  /** Commits what a majority has on disk, if it is of this term (§5.4.2): figure 8 shows why an older one must not be counted. */
  #count(leadership: Leadership): void {
    const reached = leadership.reached();
    if (reached <= this.#commit || this.#log.term(reached) !== this.#term) return;
    this.#advance(reached);
    leadership.reads.open(this.#commit);
    leadership.committed(this.#commit);
    if (this.#removed) this.#retire(leadership);
  }

  // Reads (dissertation §6.4)

  #addRead(leadership: Leadership, from: NodeId, id: number): void {
    if (this.#open && leadership.reads.leased && !leadership.transferring) {
      this.#answerRead(from, id, this.#commit, this.#outbox);
    } else {
      leadership.reads.add({ from, id }, this.#open ? this.#commit : undefined);
    }
  }

  #answerReads(leadership: Leadership, out: Message[]): void {
    if (leadership.reads.current === 0) return;
    for (const { from, id, index } of leadership.reads.take(this.#memberships.quorum)) {
      this.#answerRead(from, id, index, out);
    }
  }

  #answerRead(to: NodeId, id: number, index: number, out: Message[]): void {
    if (to === this.#config.id) this.#reads.push({ id, index });
    else out.push({ type: 'readable', from: this.#config.id, to, term: this.#term, id, index });
  }

  #onRead({ from, id }: ReadRequest): void {
    if (this.#leadership !== undefined) this.#addRead(this.#leadership, from, id);
    else this.#answerRead(from, id, -1, this.#outbox);
  }

  #onReadable(response: ReadResponse): void {
    const id = this.#asks.answered(response.id);
    if (id !== undefined) this.#reads.push({ id, index: response.index });
  }
}

/** Asks whether an election could be won, or says that it could: this is about a term that nobody has entered. */
function isPreVote(message: Message): boolean {
  return (message.type === 'vote' && message.pre) || (message.type === 'voted' && message.pre && message.granted);
}

function checkConfig({
  heartbeatTicks,
  electionTicks: [least, most],
  maxAppendBytes,
  maxInflightBytes,
}: RaftConfig): void {
  if (heartbeatTicks < 1 || least <= heartbeatTicks || most < least) {
    broken(`heartbeat ${heartbeatTicks}, election ${least} to ${most} ticks; it must be 1 ≤ heartbeat < least ≤ most`);
  }
  if (maxAppendBytes < 1 || maxInflightBytes < 1) broken('maxAppendBytes and maxInflightBytes must be at least 1');
}
