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
 * - ReadIndex (dissertation §6.4): `reads.ts`. Flow control and fast back-off: `progress.ts`.
 *
 * Invariants, asserted in production (a broken one throws InvariantError, and the node must stop):
 * - the term never falls; within a term there is at most one vote, and one leader (Election Safety);
 * - a leader only appends; a follower never replaces what is committed, nor what this term's leader has sent before;
 * - the commit index never falls, and never passes the end of the log;
 * - a leader counts only entries of its own term (§5.4.2); earlier ones are committed with them.
 *
 * And by construction:
 * - no message that depends on term or vote leaves before they are durable: they are in the same Ready, and come first;
 * - a follower answers for min(its disk, what this leader's appends have shown to match). The disk alone vouches for
 *   nothing: behind the matching prefix it may hold a suffix of another leader's.
 *
 * Caveats: membership is fixed (`quorum.ts` is its place), and there are no snapshots: the host keeps the whole log. A
 * node that lost its disk must not come back under its id; it has forgotten votes and answers.
 */
import { broken } from './invariant.js';
import { Leadership } from './leadership.js';
import { LogView } from './log-view.js';
import { Voters } from './quorum.js';
import { ReadAsks } from './reads.js';
import type {
  AppendRequest,
  AppendResponse,
  Heartbeat,
  HeartbeatResponse,
  Message,
  NodeId,
  RaftConfig,
  ReadRequest,
  ReadResponse,
  Ready,
  Role,
  VoteRequest,
  VoteResponse,
} from './types.js';

export class Raft {
  readonly #config: RaftConfig;
  readonly #voters: Voters;
  readonly #log: LogView;

  #role: Role = 'follower';
  #term: number;
  #vote: NodeId;
  #leader: NodeId = 0;
  #commit: number;

  /** Ticks since the leader was heard of, a vote was given, or a campaign began. */
  #elapsed = 0;
  /** Ticks after which this node campaigns: drawn anew for each wait (§5.2). */
  #patience = 0;
  /** As a candidate: whether it only asks if it could win, and the answers so far. */
  #pre = false;
  #votes = new Map<NodeId, boolean>();

  /** As the leader. */
  #leadership: Leadership | undefined;

  /** As a follower: everything up to here is the same as in this leader's log. */
  #verified: number;
  /** Up to where this leader was answered, and whether an answer has to go. */
  #answered = 0;
  #answerDue = false;
  readonly #asks: ReadAsks;

  #outbox: Message[] = [];
  #reads: { readonly id: number; readonly index: number }[] = [];
  /** As of the last Ready. */
  readonly #shown: { term: number; vote: NodeId; commit: number; leader: NodeId; role: Role };

  /** Starts as a follower that knows of no leader. Throws InvariantError if the configuration contradicts itself. */
  constructor(config: RaftConfig) {
    checkConfig(config);
    this.#config = config;
    this.#voters = new Voters(config.voters);
    if (!this.#voters.has(config.id)) broken(`node ${config.id} is not among the voters [${config.voters.join(', ')}]`);
    this.#log = new LogView(config.log, config.persisted);
    if (config.commit > this.#log.lastIndex)
      broken(`commit ${config.commit} is beyond the last entry ${this.#log.lastIndex}`);
    this.#term = config.hardState.term;
    this.#vote = config.hardState.vote;
    this.#commit = config.commit;
    this.#verified = config.commit;
    if (this.#log.lastTerm > this.#term)
      broken(`the log ends in term ${this.#log.lastTerm}, the term is ${this.#term}`);
    this.#asks = new ReadAsks(Math.floor(config.random() * 2 ** 26) * 2 ** 26 + Math.floor(config.random() * 2 ** 26));
    this.#shown = { term: this.#term, vote: this.#vote, commit: this.#commit, leader: 0, role: 'follower' };
    this.#restartTimer();
  }

  get role(): Role {
    return this.#role;
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

  /** One tick of the host's clock has passed. A host that was stalled calls it once, not for each tick it missed. */
  tick(): void {
    this.#asks.tick();
    if (this.#leadership !== undefined) {
      if (!this.#leadership.tick()) this.#follow(this.#term, 0);
      return;
    }
    this.#elapsed++;
    if (this.#elapsed >= this.#patience || this.#voters.alone(this.#config.id)) this.campaign();
  }

  /**
   * Asks for votes now, without waiting for the time-out; nothing on a leader. First it asks, without raising its term,
   * whether it could win (dissertation §9.6).
   */
  campaign(): void {
    if (this.#role === 'leader') return;
    this.#setLeader(0);
    this.#solicit(true);
  }

  /**
   * Appends to the leader's log, in order. Each record has room for its header, which `config.seal` fills in.
   * Returns the index of the first, undefined when this node does not lead (nothing has happened then).
   */
  propose(records: readonly Uint8Array[]): number | undefined {
    if (this.#role !== 'leader') return undefined;
    const first = this.#log.lastIndex + 1;
    for (const record of records) this.#appendOwn(record);
    return first;
  }

  /** A write completed: everything up to the entry (index, term) is on disk. Ignored if that entry has been replaced. */
  persisted(index: number, term: number): void {
    if (!this.#log.persist(index, term)) return;
    if (this.#leadership !== undefined) this.#count(this.#leadership);
    else if (this.#leader !== 0 && this.#durable() > this.#answered) this.#answerDue = true;
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
    if (this.#role === 'candidate' && this.#voters.has(id) && !this.#votes.has(id)) this.#requestVote(id);
  }

  /** Takes a message. One that is not for this node, or from nobody it knows, counts for nothing. */
  step(message: Message): void {
    if (message.to !== this.#config.id || message.from === this.#config.id || !this.#voters.has(message.from)) return;
    if (message.term > this.#term) {
      if (message.type === 'vote' && this.#hasLeader()) return;
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
      this.#collect(messages);
    }
    const entries = this.#log.take();
    const shown = this.#shown;
    const hard = shown.term !== this.#term || shown.vote !== this.#vote;
    const changed = shown.term !== this.#term || shown.leader !== this.#leader || shown.role !== this.#role;
    const reads = this.#reads;
    const idle = !hard && !changed && shown.commit === this.#commit;
    if (idle && entries.length === 0 && messages.length === 0 && reads.length === 0) return undefined;
    if (this.#commit < shown.commit) broken(`commit fell from ${shown.commit} to ${this.#commit}`);
    this.#show();
    if (messages.length > 0) this.#outbox = [];
    if (reads.length > 0) this.#reads = [];
    const hardState = hard ? { term: this.#term, vote: this.#vote } : undefined;
    return { hardState, entries, messages, commit: this.#commit, reads, changed };
  }

  #show(): void {
    const shown = this.#shown;
    shown.term = this.#term;
    shown.vote = this.#vote;
    shown.commit = this.#commit;
    shown.leader = this.#leader;
    shown.role = this.#role;
  }

  /** A follower's share of the messages: one answer for all appends of the turn, and questions. */
  #collect(out: Message[]): void {
    const from = this.#config.id;
    const to = this.#leader;
    const term = this.#term;
    if (this.#answerDue) {
      this.#answerDue = false;
      this.#answered = this.#durable();
      out.push({ type: 'appended', from, to, term, ok: true, index: this.#answered, hintTerm: 0, refused: 0 });
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
      this.#restartTimer();
    }
    const lost = this.#leadership;
    this.#leadership = undefined;
    for (const request of lost?.reads.drain() ?? []) this.#answerRead(request.from, request.id, -1, this.#outbox);
    this.#votes.clear();
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
    this.#verified = this.#commit;
    this.#answered = this.#commit;
    this.#answerDue = false;
  }

  #restartTimer(): void {
    const [least, most] = this.#config.electionTicks;
    this.#elapsed = 0;
    this.#patience = least + Math.floor(this.#config.random() * (most - least + 1));
  }

  /**
   * Whether a leader was heard of within the shortest election time-out: requests for votes are ignored then, so that a
   * node that missed heartbeats does not disturb those that did not (dissertation §4.2.3). A leader hears of itself,
   * as long as it hears of a majority.
   */
  #hasLeader(): boolean {
    return this.#leader !== 0 && this.#elapsed < this.#config.electionTicks[0];
  }

  /** Begins a pre-vote, or the election proper (figure 2, candidates). */
  #solicit(pre: boolean): void {
    this.#role = 'candidate';
    this.#pre = pre;
    this.#restartTimer();
    if (!pre) this.#enter(this.#term + 1, this.#config.id);
    this.#votes.clear();
    for (const id of this.#voters.ids) if (id !== this.#config.id) this.#requestVote(id);
    this.#tally(this.#config.id, true);
  }

  #requestVote(to: NodeId): void {
    const term = this.#pre ? this.#term + 1 : this.#term;
    const { lastIndex, lastTerm } = this.#log;
    this.#outbox.push({ type: 'vote', from: this.#config.id, to, term, pre: this.#pre, lastIndex, lastTerm });
  }

  #tally(from: NodeId, granted: boolean): void {
    this.#votes.set(from, granted);
    const result = this.#voters.tally(this.#votes);
    if (result === 'lost') this.#follow(this.#term, 0);
    else if (result === 'won' && this.#pre) this.#solicit(false);
    else if (result === 'won') this.#lead();
  }

  #lead(): void {
    if (this.#vote !== this.#config.id)
      broken(`node ${this.#config.id} leads term ${this.#term} but voted for ${this.#vote}`);
    this.#role = 'leader';
    this.#elapsed = 0;
    this.#setLeader(this.#config.id);
    this.#leadership = new Leadership(this.#config, this.#term, this.#voters, this.#log);
    this.#appendOwn(undefined);
  }

  #onVote(request: VoteRequest): void {
    const { from, term, pre } = request;
    const free = pre ? term > this.#term : this.#vote === from || (this.#vote === 0 && this.#leader === 0);
    const granted = free && this.#log.notNewerThan(request.lastIndex, request.lastTerm);
    if (granted && !pre) {
      this.#enter(this.#term, from);
      this.#elapsed = 0;
    }
    this.#answerVote(request, granted);
  }

  /** A pre-vote is granted in the term it asks about, which is not this node's; a refusal tells this node's term. */
  #answerVote({ from: to, term: asked, pre }: VoteRequest, granted: boolean): void {
    const term = granted ? asked : this.#term;
    this.#outbox.push({ type: 'voted', from: this.#config.id, to, term, pre, granted });
  }

  #onVoted(response: VoteResponse): void {
    if (this.#role !== 'candidate' || response.pre !== this.#pre) return;
    if (response.granted && response.term !== (this.#pre ? this.#term + 1 : this.#term)) return;
    this.#tally(response.from, response.granted);
  }

  /** The sender is in an earlier term: it is told this one where it waits for an answer (§5.1), else it counts for nothing. */
  #rejectStale(message: Message): void {
    const base = { from: this.#config.id, to: message.from, term: this.#term };
    if (message.type === 'vote') {
      this.#answerVote(message, false);
    } else if (message.type === 'append') {
      const refused = message.prevIndex;
      this.#outbox.push({ type: 'appended', ...base, ok: false, index: 0, hintTerm: 0, refused });
    } else if (message.type === 'heartbeat') {
      this.#outbox.push({ type: 'beaten', ...base, round: 0 });
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
    this.#elapsed = 0;
  }

  /** What this node may answer for: on its disk, and shown by this leader to be the same as in its log. */
  #durable(): number {
    return Math.min(this.#log.persisted, this.#verified);
  }

  #onAppend(request: AppendRequest): void {
    this.#hearLeader(request.from);
    checkEntries(request);
    const { prevIndex, prevTerm, entries } = request;
    if (!this.#log.matches(prevIndex, prevTerm)) {
      this.#refuse(request);
      return;
    }
    const last = prevIndex + entries.length;
    this.#log.merge(entries, Math.max(this.#commit, this.#verified));
    this.#verified = Math.max(this.#verified, last);
    this.#advance(Math.min(request.commit, last));
    // What is not on disk yet is answered for when it is.
    if (this.#durable() >= last) this.#answerDue = true;
  }

  /** The log has no such entry: says where it may match, past all entries of terms that the leader does not have there. */
  #refuse({ from, prevIndex, prevTerm }: AppendRequest): void {
    if (prevIndex <= this.#commit) {
      broken(
        `leader ${from} has term ${prevTerm} at ${prevIndex}; here that is committed with term ${this.#log.term(prevIndex)}`,
      );
    }
    const high = Math.min(prevIndex, this.#log.lastIndex);
    const index = this.#log.lastWithTerm(this.#commit, high, prevTerm);
    const hintTerm = this.#log.term(index);
    const base = { from: this.#config.id, to: from, term: this.#term };
    this.#outbox.push({ type: 'appended', ...base, ok: false, index, hintTerm, refused: prevIndex });
  }

  #onHeartbeat(heartbeat: Heartbeat): void {
    this.#hearLeader(heartbeat.from);
    this.#advance(heartbeat.commit);
    const { from: to, round } = heartbeat;
    this.#outbox.push({ type: 'beaten', from: this.#config.id, to, term: this.#term, round });
  }

  #advance(commit: number): void {
    if (commit <= this.#commit) return;
    if (commit > this.#log.lastIndex) broken(`commit ${commit} is beyond the last entry ${this.#log.lastIndex}`);
    this.#commit = commit;
  }

  // The leader's side

  #appendOwn(record: Uint8Array | undefined): void {
    const index = this.#log.lastIndex + 1;
    this.#log.append({ index, term: this.#term, bytes: this.#config.seal(index, this.#term, record) });
  }

  #onAppended(response: AppendResponse): void {
    const leadership = this.#leadership;
    if (leadership?.appended(response)) this.#count(leadership);
  }

  #onBeaten(response: HeartbeatResponse): void {
    this.#leadership?.beaten(response);
  }

  /** Commits what a majority has on disk, if it is of this term (§5.4.2): figure 8 shows why an older one must not be counted. */
  #count(leadership: Leadership): void {
    const reached = leadership.reached();
    if (reached <= this.#commit || this.#log.term(reached) !== this.#term) return;
    this.#advance(reached);
    leadership.reads.open(this.#commit);
  }

  // Reads (dissertation §6.4)

  #addRead(leadership: Leadership, from: NodeId, id: number): void {
    const open = this.#log.term(this.#commit) === this.#term;
    leadership.reads.add({ from, id }, open ? this.#commit : undefined);
  }

  #answerReads(leadership: Leadership, out: Message[]): void {
    if (!leadership.reads.flying) return;
    for (const { from, id, index } of leadership.reads.take((test) => this.#voters.majority(test))) {
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

/** Entries follow one another and the one before; their terms do not fall, and none is above the leader's. */
function checkEntries({ from, term, prevIndex, prevTerm, entries }: AppendRequest): void {
  let index = prevIndex;
  let least = prevTerm;
  for (const entry of entries) {
    index++;
    if (entry.index !== index || entry.term < least || entry.term > term) {
      broken(
        `node ${from} of term ${term} sent entry ${entry.index} of term ${entry.term} as entry ${index} after term ${least}`,
      );
    }
    least = entry.term;
  }
}
