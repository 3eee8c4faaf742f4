/**
 * Snapshots in the life of a node: it takes its own, sends them to members that need one, receives another's, and loads that into
 * its store while everything else goes on.
 *
 *     snapshot-taking.ts     its own, so that its log stays short
 *     snapshot-sending.ts    as the leader, to who needs what the log has no more
 *     snapshot-receiving.ts  as a follower, up to the moment when it has taken the log's place on disk
 *     restore.ts             from the disk into the store
 *
 * What happens to a node that gets one:
 *
 * 1. *Received*: nothing else changes. What it holds so far is read and served as before.
 * 2. *Installed*: it takes the place of the log, durably. For as long as that takes, Raft is kept from appending: it gets no
 *    appends, and no votes that could make it a leader (`drops`), while its time goes on, so that it does not stand by a leader that is
 *    gone. Then Raft is told, and goes on behind it.
 * 3. *Loaded*: what the store was applying is finished; then it is emptied and filled, in slices. Until that is over nothing is
 *    applied, parsed or read (`loading`): clients wait, while the node ticks, persists, acknowledges and votes.
 *    A crash at any point finds the old log or the new snapshot on disk.
 *
 * A load is left out when the log still has all that lies between what is applied and the snapshot.
 *
 * A node whose state turns out to be wrong (rebuild.ts) is `loading` from then on, and takes the next snapshot that holds what it has applied.
 */
import type { Env } from '../env/env.js';
import type { Log, SnapshotInfo } from '../log/types.js';
import { everybody } from '../raft/membership.js';
import type { Raft } from '../raft/raft.js';
import type { NodeId, Message as RaftMessage, Ready } from '../raft/types.js';
import type { Store } from '../store/store.js';
import type { RebuildRequest, SnapshotMessage } from '../transport/types.js';
import type { LogLevel } from './options.js';
import { Rebuild } from './rebuild.js';
import { Restore } from './restore.js';
import type { Roster } from './roster.js';
import type { SnapshotContents } from './snapshot-meta.js';
import { SnapshotReceiving } from './snapshot-receiving.js';
import { SnapshotSending } from './snapshot-sending.js';
import { SnapshotTaking } from './snapshot-taking.js';

export interface SnapshotsHost {
  readonly env: Env;
  readonly id: NodeId;
  readonly store: Store;
  readonly log: Log;
  /** Bytes of log behind which a snapshot is taken. */
  readonly logBytes: number;
  /** The data folder. */
  readonly directory: string;
  /** Raft, about to be given an input, as it may be; undefined before it has begun. */
  raft(): Raft | undefined;
  /** Does all that Raft has asked for. */
  settle(): void;
  readonly roster: Pick<Roster, 'applied' | 'installed'>;
  /** The store is in the middle of what was staged. */
  applying(): boolean;
  /** Everything up to this entry is handed to the store. */
  staged(): number;
  send(message: SnapshotMessage | RebuildRequest): void;
  /** Tells a member the state hash that was noted last. */
  tellState(to: NodeId): void;
  /** Another's snapshot has taken the place of the log. Raft does not know yet. */
  installed(info: SnapshotInfo): void;
  /** The store is about to be emptied, and is full again: it holds everything up to `index`. */
  loads(): void;
  loaded(index: number): void;
  /** A turn is wanted. */
  wake(): void;
  /** What waited for memory may go on. */
  unpinned(): void;
  /** Carries out a step: an error in it stops the node. */
  guard(action: () => void): void;
  tell(level: LogLevel, text: string): void;
}

export class Snapshots {
  readonly #host: SnapshotsHost;
  readonly #taking: SnapshotTaking;
  readonly #sending: SnapshotSending;
  readonly #receiving: SnapshotReceiving;
  readonly #rebuild: Rebuild;
  #loading = false;
  #restore: Restore | undefined;

  constructor(host: SnapshotsHost) {
    this.#host = host;
    const { id, env, store, log } = host;
    const now = (): number => env.clock.monotonic();
    const { send, tell, guard } = host;
    const taking = { env, store, log, logBytes: host.logBytes, members: () => host.roster.applied, tell, guard };
    this.#taking = new SnapshotTaking({
      ...taking,
      free: () => env.disk.free(host.directory),
      needed: () => this.#sending.needed,
      unpinned: host.unpinned,
    });
    this.#sending = new SnapshotSending({
      ...{ id, log, crc32c: store.crc32c, now, send, tell },
      trusted: () => !this.#rebuild.underWay,
      sent: (to, ok, index) => {
        host.raft()?.snapshotSent(to, ok, index);
        host.wake();
      },
      take: () => {
        if (!host.applying()) this.#taking.take();
      },
    });
    this.#receiving = new SnapshotReceiving({
      ...{ id, log, now, send, tell, guard, settle: host.settle },
      follows: (from, term) => this.#follows(from, term),
      // What it has applied is not good, but what follows in its log is.
      commit: () => (this.#rebuild.underWay ? store.applied - 1 : (host.raft()?.commit ?? 0)),
      busy: () => this.#loading,
      installs: () => this.#taking.suspend(),
      failed: () => {
        if (!this.#rebuild.underWay) this.#taking.resume();
      },
      installed: (info, contents) => this.#installed(info, contents),
    });
    this.#rebuild = this.#makeRebuild();
  }

  #makeRebuild(): Rebuild {
    const { id, env, store, log, directory, applying, send, tell, guard, raft, wake } = this.#host;
    const ask = (to: NodeId, least: number): void =>
      send({ type: 'rebuild', from: id, to, term: raft()?.term ?? 0, least });
    return new Rebuild({
      ...{ id, disk: env.disk, timers: env.timers, store, directory, applying, tell, guard, wake },
      leader: () => raft()?.leader ?? 0,
      handOver: (to) => void raft()?.transfer(to),
      ask: (to) => ask(to, Math.max(store.applied, log.snapshot?.index ?? 0)),
      inquire: () => {
        for (const to of everybody(raft()?.membership.membership)) if (to !== id) ask(to, 0);
      },
    });
  }

  /** Raft has begun. */
  begin(): void {
    if (this.#rebuild.resume(this.#host.env.clock.monotonic())) this.#distrust();
  }

  /** This node's state is not that of these members, who are a majority. */
  diverged(index: number, majority: readonly NodeId[]): void {
    if (this.#loading && !this.wrong) return;
    if (this.#rebuild.begin(index, majority, this.#host.env.clock.monotonic())) this.#distrust();
  }

  /** This node's state is known to be wrong. */
  get wrong(): boolean {
    return this.#rebuild.underWay;
  }

  #distrust(): void {
    this.#taking.suspend();
    this.#sending.fail();
    this.#host.loads();
    this.#host.wake();
  }

  /** A member whose state is wrong asks what this one holds, or for a snapshot of it; who is wrong itself has nothing to say. */
  requested({ from, least }: RebuildRequest): void {
    if (this.loading) return;
    if (least > 0) this.#sending.request({ to: from, least });
    else this.#host.tellState(from);
  }

  /** Old versions are kept for the snapshot that is being taken. */
  get pinned(): boolean {
    return this.#taking.pinned;
  }

  /** Nothing may be applied anew, parsed or read. */
  get loading(): boolean {
    return this.#loading || this.#rebuild.underWay;
  }

  /** Whether a message for Raft has to be dropped now, for it makes it append to the log: it will be sent again, or has come too late. */
  drops({ type }: RaftMessage): boolean {
    return this.#receiving.installing && (type === 'append' || type === 'voted' || type === 'timeoutNow');
  }

  /** To be called now and then, in between two entries. */
  look(): void {
    this.#taking.look();
  }

  receive(message: SnapshotMessage): void {
    if (message.type === 'offer') this.#receiving.offer(message);
    else if (message.type === 'chunk') this.#receiving.chunk(message);
    else if (message.type === 'want') this.#sending.want(message);
    else this.#sending.done(message);
  }

  tick(now: number): void {
    this.#sending.tick(now);
    this.#receiving.tick(now);
    this.#goOnRebuilding(now);
  }

  /** What is being loaded need not be asked for. */
  #goOnRebuilding(now: number): void {
    if (!this.#loading || this.#rebuild.keeps) this.#rebuild.proceed(now);
  }

  /** Does its part of what Raft asks for. */
  carryOut(raft: Raft, { changed, snapshots }: Ready): void {
    if (changed) {
      this.#sending.lead(raft.role === 'leader' ? raft.term : 0);
      this.#receiving.follow(raft.leader);
    }
    for (let i = 0; i < snapshots.length; i++) this.#sending.order(snapshots[i]!);
  }

  /** The link to a member broke. */
  lost(peer: NodeId): void {
    this.#sending.lost(peer);
  }

  /** The node stops: nothing is gone on with. */
  stop(): void {
    this.#taking.suspend();
    this.#sending.stop();
    this.#receiving.stop();
    this.#rebuild.stop();
    this.#restore?.close();
    this.#restore = undefined;
  }

  #follows(from: NodeId, term: number): boolean {
    const raft = this.#host.raft();
    return raft !== undefined && raft.leader === from && raft.term === term && raft.role !== 'leader';
  }

  /** It is durable. Raft goes on behind it at once; the store follows when it can. */
  #installed(info: SnapshotInfo, { members }: SnapshotContents): void {
    const { index, term } = info;
    this.#host.installed(info);
    this.#host.raft()?.installed(index, term, this.#host.roster.installed(index, members));
    this.#loading = this.#rebuild.underWay || this.#host.log.firstIndex() > this.#host.staged() + 1;
    this.#host.tell('info', `has the snapshot of entry ${index} in place of its log`);
    if (this.#loading) this.#host.loads();
    else this.#taking.resume();
    // At once: the roster is to speak of no snapshot that it does not know.
    this.#host.settle();
    this.#host.wake();
  }

  /** In a turn, when nothing is in the middle of being applied: begins to load what was installed. What is wrong is kept before it is emptied. */
  proceed(now: number): void {
    this.#goOnRebuilding(now);
    if (!this.#loading || this.#rebuild.keeps || this.#restore || this.#host.applying()) return;
    const { store, log } = this.#host;
    this.#restore = new Restore(store, log);
    this.#next(this.#restore);
  }

  #next(restore: Restore): void {
    this.#host.env.timers.defer(() => {
      if (this.#restore === restore) this.#host.guard(() => this.#step(restore));
    });
  }

  #step(restore: Restore): void {
    if (!restore.step()) {
      this.#next(restore);
      return;
    }
    this.#restore = undefined;
    this.#loading = false;
    this.#rebuild.over();
    this.#taking.resume();
    this.#host.tell('info', `loaded the snapshot of entry ${restore.index}`);
    this.#host.loaded(restore.index);
    this.#host.wake();
  }
}
