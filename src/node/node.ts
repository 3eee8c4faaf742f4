/**
 * The node: one loop that puts store, Raft, log, transport and clients together.
 *
 * ## Concept
 *
 * Whatever arrives (clients' bytes, peers' messages, a completed disk write, a tick) is only taken in; then one *turn* at the
 * end of the event loop's round carries out all of it: messages of Raft first, so that disk and network work early; then parse,
 * seal, propose; then apply, answer. Under load a turn handles everything that arrived in the meantime, so batches grow by
 * themselves (group commit), and no step works on one command. Heartbeats and their answers, as long as they are all that
 * happens, are carried out as they come: an idle node wakes up rarely, and for little.
 *
 *     clients → store.ingest → seal → Raft or the leader
 *     Raft → log (one write in flight) and peers → commit → store.apply → replies
 *
 * Who belongs to the cluster is a record in the log (members.ts). Whom of those this node is linked to and listens to is seen to by
 * roster.ts; changes.ts carries changes out where the leader is; admin.ts, ask.ts and joining.ts are how they are asked for.
 *
 * ## Invariants
 *
 * - What `Ready` asks for is done in its order: hard state durable (synchronously) before any message of the same Ready.
 * - Entries reach the store in the order of their indexes, each once, and only when committed.
 * - While a snapshot takes the place of the log, Raft gets nothing that makes it append; while it is loaded, the store is neither
 *   parsed into, applied to nor read (snapshots.ts).
 * - Nothing is acknowledged by this node on behalf of bytes that its disk has not taken: `persisted` comes from the log alone.
 * - A failed assertion or disk write stops the node: it answers nobody afterwards.
 *
 * ## Caveats
 *
 * Entries travel as buffers of the JavaScript heap: the store's memory is copied once on the way out and once on the way in to apply, so that
 * no socket or disk write ever reads memory that the store uses again.
 */
import type { Env, Timer, Timers } from '../env/env.js';
import { sealRecord } from '../log/record.js';
import type { Founding, Log } from '../log/types.js';
import { everybody } from '../raft/membership.js';
import { Raft } from '../raft/raft.js';
import type {
  Entry,
  Membership,
  MembershipRefusal,
  NodeId,
  Message as RaftMessage,
  Ready,
  Role,
} from '../raft/types.js';
import { EntryType, HEADER_BYTES, hasCommands, MOST_RECORD_BYTES, type Store } from '../store/store.js';
import type { PeerMessage, Transport } from '../transport/types.js';
import { type AdminHost, answerRequest } from './admin.js';
import { Changes } from './changes.js';
import { ExpiryClock } from './expiry.js';
import { handOver, SlowDisk } from './handover.js';
import { LogTime } from './log-time.js';
import { describeMembers, formatMembers, foundingMembers, isVoter, Kind } from './members.js';
import { type NodeOptions, RemovedError } from './options.js';
import { type Dispatch, Outbox } from './outbox.js';
import { ReadBarrier } from './read-barrier.js';
import { Room } from './room.js';
import { isRequest, type Roster } from './roster.js';
import { SelfCheck } from './self-check.js';
import { Sessions } from './sessions.js';
import { Snapshots } from './snapshots.js';
import { controlReply } from './status.js';
import { foundingVersion, Versions } from './versions.js';

/** Raft's ticks in one heartbeat interval. */
const ticksPerHeartbeat = 2;
/** Most bytes of one append, unless told otherwise, and under way to one follower. */
const maxAppendBytes = 4 * 1024 ** 2;
const maxInflightBytes = 16 * 1024 ** 2;
/** Bytes of committed entries handed to the store in one go. */
const stageBytes = 4 * 1024 ** 2;
/** It is looked whether a snapshot is due every second, and after so many bytes of applied entries. */
const lookBytes = 4 * 1024 ** 2;
/** A turn goes round this often at most before it lets others run. */
const maxRounds = 8;
/** And no new one begins after so many milliseconds. */
const maxTurnMs = 20;
/** A lease is shorter than what it rests on by this share of it: so much may one clock run faster than another. */
const leaseDrift = 0.1;
/** A tick that comes so many times its interval after the one before is late. */
const lateTicks = 2;
/** A leader that is told to stop waits so long for another to lead. */
const handOverMs = 1_000;

export interface NodeParts {
  readonly env: Env;
  readonly options: NodeOptions;
  readonly address: string;
  readonly store: Store;
  readonly log: Log;
  readonly roster: Roster;
  readonly transport: () => Transport;
  /** The node cannot go on. */
  readonly fail: (error: Error) => void;
}

export class Node implements AdminHost {
  readonly sessions: Sessions;
  readonly changes: Changes;
  readonly sought = new Set<string>();
  readonly versions: Versions;
  readonly #parts: NodeParts;
  readonly #store: Store;
  readonly #log: Log;
  readonly #outbox: Outbox;
  readonly #reads: ReadBarrier;
  readonly #room: Room;
  readonly #logTime: LogTime;
  readonly #expiry: ExpiryClock;
  readonly #snapshots: Snapshots;
  readonly #selfCheck: SelfCheck;
  readonly #slowDisk = new SlowDisk();
  readonly #timers: Timer[] = [];
  #ticker: Timer;
  /** Ticks of Raft at one call of the ticker. */
  #ticksAtOnce = 1;
  #tickedAt = 0;
  #raft: Raft | undefined;
  /** Raft was given an input since it was last asked what to do. */
  #raftTouched = false;
  #turnWanted = false;
  #inTurn = false;
  #stopped = false;
  /** Index of the last entry handed to the store. */
  #staged = 0;
  /** The store has been given entries that it has not finished. */
  #applying = false;
  /** The store has no memory for the next entry as long as a snapshot keeps old versions. */
  #cramped = false;
  /** Bytes handed to the store since it was last looked whether a snapshot is due. */
  #unlooked = 0;
  /** The record that is on its way through `propose`, and the CRC of its payload. */
  #proposed: Uint8Array | undefined;
  #proposedCrc = 0;
  readonly #deferred = (): void => {
    this.#turnWanted = false;
    this.#guard(this.#turns);
  };
  readonly #turns = (): void => this.#turn();
  readonly #tickAction = (): void => this.#tick();

  constructor(parts: NodeParts) {
    const { env, store, log } = parts;
    this.#parts = parts;
    this.#store = store;
    this.#log = log;
    this.#logTime = new LogTime(env.clock, log);
    this.#expiry = new ExpiryClock(store, env.timers, {
      leading: () => this.#leading(),
      append: () => this.#propose(new Uint8Array(HEADER_BYTES), store.crc32c(new Uint8Array(0))),
      wake: () => this.wake(),
    });
    this.#staged = store.applied;
    this.#snapshots = new Snapshots({
      ...{ env, id: parts.options.id, store, log, logBytes: parts.options.snapshotLogBytes },
      directory: parts.options.dataDir,
      raft: () => this.#touch(),
      settle: () => void this.#pump(),
      roster: parts.roster,
      applying: () => this.#applying,
      staged: () => this.#staged,
      send: (message) => {
        parts.transport().send(message);
        this.wake();
      },
      tellState: (to) => {
        const { index, stateHash } = parts.store.stats().checkpoint;
        if (index > 0) this.#tellState(to, index, stateHash);
      },
      installed: ({ index, term }) => parts.options.observer?.installed(index, term),
      loads: () => this.sessions.hold(true),
      loaded: (index) => this.#loaded(index),
      wake: () => this.wake(),
      unpinned: () => this.#unpinned(),
      guard: (action) => this.#guard(action),
      tell: (level, text) => parts.options.log(level, text),
    });
    this.#selfCheck = this.#makeSelfCheck();
    this.#outbox = new Outbox(store, (sequence, record, crc) => this.#dispatch(sequence, record, crc));
    this.#reads = new ReadBarrier(store, (id) => this.#askIndex(id), parts.options.heartbeatMs);
    this.changes = new Changes({
      id: parts.options.id,
      address: parts.address,
      roster: parts.roster,
      raft: () => this.#raft,
      now: () => this.#now(),
      propose: (record, membership) => this.#proposeMembers(record, membership),
      log: (level, text) => parts.options.log(level, text),
    });
    this.sessions = new Sessions(
      store,
      {
        wake: () => this.wake(),
        peer: (socket, first) => parts.transport().accept(socket, first),
        control: (code) => controlReply(code, this),
        cluster: (line, answer) => answerRequest(this, line, answer),
        applied: (sequence) => this.#outbox.decided(sequence),
        gap: () => {
          this.#outbox.sendAgain();
          this.wake();
        },
        guard: (action, argument) => this.#guardWith(action, argument),
        after: (ms, action) => env.timers.after(ms, action),
      },
      parts.options.maxConnections,
    );
    this.#room = this.#makeRoom();
    this.versions = new Versions({
      ...{ id: parts.options.id, store, raft: () => this.#raft },
      propose: (version, as) => this.#proposeMembers(formatMembers(parts.roster.members), as, version),
      tell: (level, text) => parts.options.log(level, text),
    });
    log.onRoom = () => this.#guard(() => this.#room.ownChanged());
    log.onPersisted = (index, term) => this.#persisted(index, term);
    log.onFailed = (error) => this.fail(error);
    this.#ticker = this.#makeTicker();
    this.#timers.push(env.timers.every(1_000, () => this.#guard(() => this.#expire())));
  }

  get options(): NodeOptions {
    return this.#parts.options;
  }
  get env(): Env {
    return this.#parts.env;
  }
  get identity(): Uint8Array {
    return this.#log.folder.identity;
  }
  get id(): number {
    return this.#parts.options.id;
  }
  get timers(): Timers {
    return this.#parts.env.timers;
  }
  get roster(): Roster {
    return this.#parts.roster;
  }
  get address(): string {
    return this.#parts.address;
  }
  get store(): Store {
    return this.#store;
  }
  get raft(): Raft | undefined {
    return this.#raft;
  }
  get founding(): Founding | undefined {
    return this.#log.founding;
  }

  #makeSelfCheck(): SelfCheck {
    const { id, log } = this.#parts.options;
    return new SelfCheck({
      id,
      log,
      membership: () => this.#raft?.membership.membership,
      wrong: () => this.#snapshots.wrong,
      diverged: (index, majority) => this.#snapshots.diverged(index, majority),
      tell: (index, hash) => {
        for (const to of everybody(this.#raft?.membership.membership)) if (to !== id) this.#tellState(to, index, hash);
      },
    });
  }

  #tellState(to: NodeId, index: number, hash: string): void {
    const { transport, options } = this.#parts;
    transport().send({ type: 'state', from: options.id, to, term: this.#raft?.term ?? 0, index, hash });
  }

  #makeRoom(): Room {
    const { options, transport } = this.#parts;
    return new Room({
      id: options.id,
      own: () => this.#log.hasRoom,
      membership: () => this.#raft?.membership.membership,
      leader: () => this.#raft?.leader ?? 0,
      tell: (to, own, majority) => {
        transport().send({ type: 'room', from: options.id, to, term: this.#raft?.term ?? 0, own, majority });
        this.wake();
      },
      handOver: (to) => void this.#touch()?.transfer(to),
      changed: (open) => {
        options.log(
          open ? 'info' : 'warn',
          open ? 'the disks have room again: writes are taken' : 'the disks of a majority are full: writes are refused',
        );
        this.wake();
      },
    });
  }

  #askIndex(id: number): void {
    if (this.#parts.options.read === 'stale') {
      this.#reads.answer(id, this.#store.applied);
      return;
    }
    const raft = this.#touch();
    if (raft) raft.readIndex(id);
    else this.#reads.answer(id, -1);
  }

  #now(): number {
    return this.#parts.env.clock.monotonic();
  }

  /** The folder belongs to a cluster: Raft begins. Everything that the log recovered is durable, and its snapshot is in the store. */
  begin(): void {
    const { options, env, roster } = this.#parts;
    const tickMs = options.heartbeatMs / ticksPerHeartbeat;
    const ticks = (ms: number) => Math.max(1, Math.round(ms / tickMs));
    const electionTicks = [ticks(options.electionMs[0]), ticks(options.electionMs[1])] as const;
    const lease = { now: () => this.#now(), length: (electionTicks[0] - 1) * tickMs * (1 - leaseDrift) };
    this.#raft = new Raft({
      id: options.id,
      ...roster.begin(),
      hardState: { term: this.#log.vote.term, vote: this.#log.vote.vote },
      log: this.#log,
      persisted: this.#log.lastIndex(),
      commit: this.#staged,
      ...{ abstains: this.#log.damaged, votesLost: this.#log.votesLost },
      heartbeatTicks: ticksPerHeartbeat,
      electionTicks,
      lease: options.read === 'lease' ? lease : undefined,
      random: () => env.random.float(),
      maxAppendBytes: options.appendBytes ?? maxAppendBytes,
      maxInflightBytes,
      seal: (index, term, record, membership) => this.#seal(index, term, record, membership),
    });
    options.observer?.began(this.#raft, this.#log);
    this.#snapshots.begin();
    this.wake();
  }

  /** The leader's header. The first entry of a log carries what the cluster begins with; later terms begin with a no-op (§5.4.2). */
  #seal(index: number, term: number, record: Uint8Array | undefined, membership: Membership | undefined): Uint8Array {
    const { store, options, env } = this.#parts;
    const logTime = this.#logTime.stamp(term);
    const header = { index, term, logTime, wall: env.clock.wall(), type: EntryType.config as number };
    if (record === undefined && index === 1) {
      const members = formatMembers(foundingMembers(this.founding!.members));
      const version = foundingVersion(store.versions);
      const config = store.configRecord({ limitBytes: options.memoryLimitBytes, members, version });
      sealRecord(config.record, header, config.payloadCrc, store.crc32c);
      return config.record;
    }
    const bytes = record ?? new Uint8Array(HEADER_BYTES);
    if (record !== this.#proposed) throw new Error('a record was proposed without the CRC of its payload');
    const crc = record === undefined ? store.crc32c(bytes, 0, HEADER_BYTES) : this.#proposedCrc;
    // An entry without a payload lets log time pass.
    if (membership === undefined) header.type = bytes.length > HEADER_BYTES ? EntryType.data : EntryType.noop;
    sealRecord(bytes, header, crc, store.crc32c);
    return bytes;
  }

  /** Asks for a turn at the end of this round of the event loop. */
  wake(): void {
    if (this.#turnWanted || this.#stopped) return;
    this.#turnWanted = true;
    this.#parts.env.timers.defer(this.#deferred);
  }

  #persisted(index: number, term: number): void {
    this.#parts.options.observer?.persisted(index, term);
    if (this.#stopped) return;
    try {
      this.#touch()?.persisted(index, term);
    } catch (error) {
      this.#broke(error);
    }
    this.wake();
  }

  /** Carries out what an event calls for: an error in it stops the node. */
  #guard(action: () => void): void {
    this.#guardWith(action, undefined);
  }

  /** The same, where a closure an event would be too many. */
  #guardWith<T>(action: (argument: T) => void, argument: T): void {
    if (this.#stopped) return;
    try {
      action(argument);
    } catch (error) {
      this.#broke(error);
    }
  }

  #broke(error: unknown): void {
    this.fail(error instanceof Error ? error : new Error(String(error)));
  }

  #makeTicker(): Timer {
    const ms = (this.#parts.options.heartbeatMs / ticksPerHeartbeat) * this.#ticksAtOnce;
    return this.#parts.env.timers.every(ms, () => this.#guard(this.#tickAction));
  }

  /** A leader has nothing to do between two heartbeats: it takes their ticks at once. */
  #pace(role: Role): void {
    const ticksAtOnce = role === 'leader' ? ticksPerHeartbeat : 1;
    if (ticksAtOnce === this.#ticksAtOnce) return;
    this.#ticksAtOnce = ticksAtOnce;
    this.#ticker.cancel();
    this.#ticker = this.#makeTicker();
  }

  #tick(): void {
    const raft = this.#touch();
    this.changes.look();
    this.#stopIfOut(raft);
    if (this.#stopped) return;
    const now = this.#now();
    const tickMs = this.#parts.options.heartbeatMs / ticksPerHeartbeat;
    const late = now - this.#tickedAt > lateTicks * tickMs * this.#ticksAtOnce;
    this.#tickedAt = now;
    for (let i = 0; i < this.#ticksAtOnce; i++) raft?.tick(late);
    this.#snapshots.tick(now);
    if (this.#settle()) return;
    this.#reads.repeat(now, false);
    const deadline = now - this.#parts.options.requestTimeoutMs;
    const hasLeader = (this.#raft?.leader ?? 0) !== 0;
    this.#outbox.giveUp(deadline, hasLeader);
    this.#outbox.nudge(now);
    this.#reads.giveUp(deadline, hasLeader);
    this.#turn();
  }

  /** A node that was removed stops by itself, once that is committed and others lead. */
  #stopIfOut(raft: Raft | undefined): void {
    const { roster } = this.#parts;
    if (!raft || !roster.isOut || raft.role === 'leader' || !raft.membership.committed) return;
    const { id } = this.#parts.options;
    const taken = roster.members.some((member) => member.id === id && member.kind !== Kind.removed);
    const what = taken ? 'another data folder has taken its place' : 'it was removed from the cluster';
    this.fail(new RemovedError(`node ${id} stops: ${what}`));
  }

  #expire(): void {
    this.#log.checkRoom();
    this.#lookAtDisk();
    this.#room.repeat(this.#now());
    if (this.#snapshots.loading) return;
    this.versions.look();
    this.#store.expire(this.#now() - this.#parts.options.transactionIdleMs);
    if (!this.#applying) this.#snapshots.look();
  }

  /** A cluster whose leader's disk is slow is slow as a whole. */
  #lookAtDisk(): void {
    const raft = this.#raft;
    const latency = this.#log.writeLatency();
    if (!raft || !this.#slowDisk.look(raft.role === 'leader', latency, this.#now())) return;
    const to = raft.chooseSuccessor();
    if (to === 0 || this.#touch()?.transfer(to) !== undefined) return;
    const ms = Math.max(latency.medianMs, latency.inFlightMs).toFixed(0);
    this.#parts.options.log('warn', `the disk takes ${ms} ms for a write: hands leadership over to node ${to}`);
    this.wake();
  }

  /** A message of a peer's that the transport has checked. */
  receive(message: PeerMessage): void {
    this.#guardWith(this.#step, message);
  }

  readonly #step = (message: PeerMessage): void => {
    const raft = this.#touch();
    if (!raft) return;
    if (this.#parts.roster.isStranger(message.from) && !isRequest(message)) return;
    if (message.type === 'forward') {
      // Else it is dropped: an answer would only make the sender repeat it before it can know of another leader.
      // What a store could not stage would stop every node once it is committed; no store makes such an entry.
      const leads = raft.role === 'leader' && message.term === raft.term;
      if (leads && message.record.length <= MOST_RECORD_BYTES && this.#takes(message.record))
        this.#propose(message.record, message.payloadCrc);
    } else if (message.type === 'state') this.#selfCheck.heard(message.from, message.index, message.hash);
    else if (message.type === 'rebuild') this.#snapshots.requested(message);
    else if (message.type === 'room') this.#room.heard(message.from, message.own, message.majority);
    else if (message.type === 'offer' || message.type === 'want' || message.type === 'chunk' || message.type === 'done')
      this.#snapshots.receive(message);
    else if (!this.#snapshots.drops(message)) this.#hand(raft, message);
    const isBeat = message.type === 'heartbeat' || (message.type === 'beaten' && message.round === 0);
    if (!isBeat || this.#turnWanted || !this.#settle()) this.wake();
  };

  /** Entries that set the members say so to Raft. */
  #hand(raft: Raft, message: RaftMessage): void {
    this.#parts.options.observer?.received(message);
    if (message.type !== 'append') {
      raft.step(message);
      return;
    }
    const entries = this.#parts.roster.note(message.entries);
    raft.step(entries === message.entries ? message : { ...message, entries });
  }

  /**
   * Does what Raft asks for, if that can be all: then it is true. Otherwise the rest of a turn must follow, for clients
   * wait or there is something to apply.
   */
  #settle(): boolean {
    if (!this.#calm) return false;
    if (this.#pump()) this.#parts.transport().flush();
    return this.#calm;
  }

  get #calm(): boolean {
    return this.#idle && !this.#applying && (this.#raft?.commit ?? 0) <= this.#staged;
  }

  /** The link to a peer came up or broke. */
  link(peer: number, up: boolean): void {
    this.#guard(() => {
      this.versions.link(peer, up);
      const raft = this.#touch();
      if (!raft) return;
      if (up) raft.reachable(peer);
      else {
        raft.unreachable(peer);
        this.#snapshots.lost(peer);
      }
      this.#room.link(peer, up);
      if (up && peer === raft.leader) this.#resend();
      this.wake();
    });
  }

  #resend(): void {
    this.#outbox.sendAgain();
    this.#reads.repeat(this.#now(), true);
  }

  /** Clients' commands need room on a majority's disks. */
  #takes(record: Uint8Array): boolean {
    return this.#room.open || !hasCommands(record);
  }

  /** The index of the record's entry; undefined if this node does not lead. */
  #propose(record: Uint8Array, payloadCrc: number): number | undefined {
    this.#proposed = record;
    this.#proposedCrc = payloadCrc;
    const index = this.#touch()?.propose([record]);
    this.#proposed = undefined;
    return index;
  }

  /** The index of the entry that sets these members, and the version if it is given, or why there is none. */
  #proposeMembers(members: Uint8Array, membership: Membership, version?: number): number | MembershipRefusal {
    const { record, payloadCrc } = this.#store.configRecord({ members, version });
    this.#proposed = record;
    this.#proposedCrc = payloadCrc;
    const index = this.#touch()?.proposeMembership(record, membership);
    this.#proposed = undefined;
    if (typeof index === 'number') this.wake();
    return index ?? 'not-leader';
  }

  #leading(): { term: number; logTime: number } | undefined {
    const raft = this.#raft;
    if (raft?.role !== 'leader') return undefined;
    return { term: raft.term, logTime: this.#logTime.stamp(raft.term) };
  }

  #dispatch(sequence: number, record: Uint8Array, payloadCrc: number): ReturnType<Dispatch> {
    const raft = this.#raft;
    if (!raft || raft.leader === 0) return 'nobody';
    if (!this.#takes(record)) return 'full';
    if (raft.role === 'leader') return this.#propose(record, payloadCrc) === undefined ? 'nobody' : 'proposed';
    const transport = this.#parts.transport();
    if (!transport.isUp(raft.leader)) return 'nobody';
    const { id } = this.#parts.options;
    transport.send({ type: 'forward', from: id, to: raft.leader, term: raft.term, sequence, record, payloadCrc });
    return 'sent';
  }

  #turn(): void {
    if (this.#inTurn) throw new Error('a turn began inside a turn');
    this.#inTurn = true;
    const began = this.#now();
    let rounds = 0;
    let more: boolean;
    do {
      this.#pump();
      const now = this.#now();
      if (!this.#snapshots.loading) this.#store.ingest(now);
      if (!this.#room.open) this.#outbox.refuseOpen();
      this.#outbox.send(now);
      this.#reads.start(now);
      this.#pump();
      this.#log.flush();
      this.#parts.transport().flush();
      const unfinished = this.#apply() || (!this.#snapshots.loading && this.#reads.evaluate());
      this.#snapshots.proceed(now);
      this.sessions.flush();
      if (unfinished) this.wake();
      const ready = this.#store.ready && !this.#snapshots.loading;
      more = !unfinished && (ready || this.#outbox.canSeal || this.#reads.canStart);
    } while (more && ++rounds < maxRounds && this.#now() - began < maxTurnMs);
    this.changes.look();
    if ((!this.#snapshots.loading && this.#expiry.look()) || more) this.wake();
    this.#parts.transport().flush();
    this.#inTurn = false;
  }

  /** Raft was given an input. */
  readonly nudge = (): void => {
    this.#raftTouched = true;
    this.wake();
  };

  /** Raft, about to be given an input. */
  #touch(): Raft | undefined {
    this.#raftTouched = true;
    return this.#raft;
  }

  /** Carries out all that Raft asks for, if it was given anything to think about; true if there was anything to do. */
  #pump(): boolean {
    const raft = this.#raft;
    if (!raft || !this.#raftTouched) return false;
    this.#raftTouched = false;
    let worked = false;
    for (let ready = raft.ready(); ready; ready = raft.ready()) {
      this.#carryOut(raft, ready);
      worked = true;
    }
    return worked;
  }

  /** No client waits for anything. */
  get #idle(): boolean {
    return this.#outbox.undecided === 0 && this.#store.openCommands === 0 && this.#reads.idle;
  }

  #carryOut(raft: Raft, ready: Ready): void {
    this.#parts.options.observer?.ready(raft, ready);
    if (ready.hardState) this.#log.saveVote({ ...ready.hardState, starts: this.#log.vote.starts });
    this.#parts.options.observer?.saved(raft);
    if (ready.entries.length > 0) {
      this.#log.append(ready.entries);
      this.#log.flush();
    }
    if (ready.membershipChanged) this.#membersChanged(raft);
    if (ready.leaveJoint) this.changes.leaveJoint();
    const transport = this.#parts.transport();
    const { messages, reads } = ready;
    for (let i = 0; i < messages.length; i++) transport.send(messages[i]!);
    for (let i = 0; i < reads.length; i++) this.#reads.answer(reads[i]!.id, reads[i]!.index);
    this.#snapshots.carryOut(raft, ready);
    if (ready.changed && this.#log.damaged && !raft.abstaining) {
      this.#log.repaired();
      this.#parts.options.log('info', 'the data folder is repaired: this node votes and acknowledges again');
    }
    if (ready.changed || ready.membershipChanged) this.#room.roleChanged();
    if (ready.changed) {
      this.#pace(raft.role);
      if (raft.role === 'leader') this.#parts.options.log('info', `leader of term ${raft.term}`);
      else if (raft.leader !== 0) this.#parts.options.log('info', `follows node ${raft.leader} in term ${raft.term}`);
      this.#resend();
    }
  }

  /** Another record of the members is in force: the newest of the log. */
  #membersChanged(raft: Raft): void {
    const { roster, options } = this.#parts;
    const before = { own: roster.own, list: describeMembers(roster.members) };
    roster.refresh(raft.membership.index);
    const after = { own: roster.own, list: describeMembers(roster.members) };
    if (before.list !== after.list) options.log('info', `members: ${after.list}`);
    if (!before.own && after.own?.kind === Kind.learner)
      options.log('info', 'is a learner: it is sent the log, and has no vote');
    if (before.own && after.own && !isVoter(before.own) && isVoter(after.own))
      options.log('info', 'has caught up, and is a voter now');
  }

  /** Hands committed entries to the store; true when it has more to do and others should run first. */
  #apply(): boolean {
    const commit = this.#raft?.commit ?? 0;
    const until = this.#snapshots.loading ? 0 : commit;
    while (!this.#cramped && (this.#applying || this.#staged < until)) {
      if (!this.#applying) this.#stage(commit);
      const state = this.#store.apply();
      if (state === 'no-memory') this.#noMemory();
      else this.#applying = state === 'more';
      if (!this.#applying) this.#applied();
      else if (!this.#cramped) return true;
    }
    return false;
  }

  #applied(): void {
    this.#parts.options.observer?.applied(this.#store);
    this.versions.applied();
    if (this.#selfCheck.passed(this.#store.applied)) this.#selfCheck.own(this.#store.stats().checkpoint);
    if (this.#unlooked < Math.min(lookBytes, this.#parts.options.snapshotLogBytes / 4)) return;
    this.#unlooked = 0;
    this.#snapshots.look();
  }

  /** Old versions that are kept for a snapshot are waited for. */
  #noMemory(): void {
    this.#cramped = this.#snapshots.pinned;
    if (!this.#cramped)
      throw new Error(
        `out of memory: entry ${this.#store.applied + 1} does not fit; give this node more and start it again`,
      );
  }

  /** The store holds a snapshot: what follows is applied, and clients are heard again. */
  #loaded(index: number): void {
    this.#staged = index;
    this.versions.refresh();
    this.#selfCheck.reset(this.#store.stats().checkpoint.index);
    this.#parts.options.observer?.applied(this.#store);
    this.sessions.hold(false);
  }

  #unpinned(): void {
    if (!this.#cramped) return;
    this.#cramped = false;
    this.wake();
  }

  #stage(commit: number): void {
    const entries: Entry[] = this.#log.entries(this.#staged + 1, commit, stageBytes);
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      if (entry.index !== this.#staged + 1)
        throw new Error(`entry ${entry.index} came where ${this.#staged + 1} was due`);
      if (!this.versions.admits(entry)) {
        if (!this.#applying) this.versions.refuse(entry);
        return;
      }
      if (!this.#store.stage(entry.bytes)) break;
      this.#staged = entry.index;
      this.#unlooked += entry.bytes.length;
      this.#applying = true;
    }
    if (!this.#applying) throw new Error(`the store has no room for entry ${this.#staged + 1}`);
  }

  /** Stops at once: answers nobody any more. */
  fail(error: Error): void {
    if (this.#stopped) return;
    this.#halt();
    this.sessions.destroy();
    this.#parts.fail(error);
  }

  #halt(): void {
    this.#stopped = true;
    this.#ticker.cancel();
    for (const timer of this.#timers) timer.cancel();
    this.#expiry.stop();
    this.#snapshots.stop();
  }

  /** Leads no more when this resolves, if it can be; others are waited for no longer than a moment. */
  async #handOver(): Promise<void> {
    const raft = this.#raft;
    if (raft?.role !== 'leader' || raft.chooseSuccessor() === 0) return;
    await handOver(this, raft, 0, handOverMs);
  }

  /** Hands leadership over, takes no new work, finishes what is under way (for at most `graceMs`), answers the rest without an outcome. */
  async stop(graceMs: number): Promise<void> {
    if (this.#stopped) return;
    await this.#handOver();
    if (this.#stopped) return;
    this.sessions.stop();
    const { timers } = this.#parts.env;
    const deadline = this.#now() + graceMs;
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.#stopped || this.#idle || this.#now() >= deadline) resolve();
        else timers.after(5, look);
      };
      this.wake();
      timers.defer(() => timers.defer(look));
    });
    this.#guard(() => {
      this.#outbox.stop();
      this.#reads.stop();
      this.sessions.flush();
      this.sessions.end();
    });
    this.#halt();
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.sessions.size === 0 || this.#now() >= deadline + graceMs) resolve();
        else timers.after(5, look);
      };
      look();
    });
    this.sessions.destroy();
  }
}
