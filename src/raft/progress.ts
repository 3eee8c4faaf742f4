/**
 * What a leader knows of one follower, and what it may send it (nextIndex and matchIndex of figure 2, with flow control).
 *
 *   probing      nothing is known of where the logs agree, or messages were lost: one append at a time, until one matches
 *   replicating  appends go out back to back, each assuming that the one before arrived (dissertation §10.2.1), as long
 *                as the bytes in flight stay within the limit
 *   snapshot     it lacks entries that the leader's log has no more: no appends until the host has brought it a snapshot (§7)
 *
 * Invariants: match < next; match never falls within a term (it counts what the follower has on disk); while
 * replicating, what is in flight is what lies between match and next.
 */
import type { CatchUp } from './catch-up.js';
import type { LogView } from './log-view.js';
import type { NodeId, PeerStatus } from './types.js';

/** An append under way: its last entry, and its size. */
interface Flight {
  readonly last: number;
  readonly bytes: number;
  /** The one sent after it. */
  next: Flight | undefined;
}

/** Longest wait of a follower that does not answer appends, in heartbeat intervals, before it is sent one again. */
const MAX_PATIENCE = 4;

export class Progress {
  readonly id: NodeId;
  /** Everything up to here is on the follower's disk and the same as the leader's. */
  match = 0;
  /** The next entry to send. */
  next: number;
  /** Send a heartbeat in the next Ready. */
  heartbeatDue = false;
  /** The commit index that the follower knows if nothing was lost. */
  told = 0;
  /** Tick of the term at which it was last heard of. */
  heard = 0;
  /** The link is down: appends would only be dropped. Heartbeats go on, and any sign of life ends it. */
  unreachable = false;
  /** It repairs its log, under this number, and does not count (abstention.ts); 0: it counts. */
  repair = 0;
  /** Every repair that this leader has learned of. */
  repairs: readonly number[] = [];
  /** End of this leader's log when it learned of the repair, and the index committed without it since; 0: none yet. */
  mark = 0;
  cleared = 0;
  /** Of a learner: whether it keeps up. */
  catchUp: CatchUp | undefined;
  /** Index of the entry that removes it, and the tick at which that was found to be committed; 0: it is a member, or not yet. */
  leaving = 0;
  leavingSince = 0;

  #state: PeerStatus['state'] = 'probing';
  /** The append that probes, when one is under way. */
  #probe: Flight | undefined;
  /** The appends in flight while replicating: a chain from the oldest to the newest. */
  #oldest: Flight | undefined;
  #newest: Flight | undefined;
  #inflightBytes = 0;
  /** The next entry alone does not fit beside what is in flight. */
  #full = false;
  /** Tick since which an answer is awaited that would show progress. */
  #waitingSince = 0;
  #patience = 1;
  /** As to the snapshot: whether the host has to be asked for one, and whether its last try failed. */
  #orderDue = false;
  #failed = false;

  constructor(id: NodeId, next: number) {
    this.id = id;
    this.next = next;
  }

  /** This follower, of which nothing is known any more but that it repairs its log. */
  repairing(repair: number, last: number): Progress {
    const anew = new Progress(this.id, last + 1);
    anew.repair = repair;
    anew.repairs = [...this.repairs, repair];
    anew.mark = last;
    anew.heard = this.heard;
    anew.catchUp = this.catchUp;
    anew.leaving = this.leaving;
    return anew;
  }

  get state(): PeerStatus['state'] {
    return this.#state;
  }

  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  /** Whether it has to be sent an append, now or later: it lacks entries, or it is not known to have them. */
  wants(lastIndex: number): boolean {
    return this.next <= lastIndex || (this.#state === 'probing' && this.match < lastIndex);
  }

  /** Bytes that the next append may have; 0: nothing may be sent now. */
  budget(maxAppendBytes: number, maxInflightBytes: number): number {
    if (this.unreachable || this.#full || this.#state === 'snapshot') return 0;
    if (this.#state === 'probing') return this.#probe !== undefined ? 0 : maxAppendBytes;
    return Math.max(0, Math.min(maxAppendBytes, maxInflightBytes - this.#inflightBytes));
  }

  /** Whether an append of `bytes` may go. It can exceed its budget, for an entry is never split, but not what may be in flight unless it goes alone. */
  admits(bytes: number, maxInflightBytes: number): boolean {
    this.#full = this.#inflightBytes > 0 && this.#inflightBytes + bytes > maxInflightBytes;
    return !this.#full;
  }

  sent(last: number, bytes: number, now: number): void {
    if (this.#state === 'probing') {
      this.#probe = { last, bytes, next: undefined };
      this.#waitingSince = now;
    } else {
      if (this.#oldest === undefined) this.#waitingSince = now;
      this.#fly({ last, bytes, next: undefined });
    }
  }

  #fly(flight: Flight): void {
    if (this.#newest === undefined) this.#oldest = flight;
    else this.#newest.next = flight;
    this.#newest = flight;
    this.#inflightBytes += flight.bytes;
    this.next = flight.last + 1;
  }

  /** The follower has everything up to `index` on disk. True if that is news. `first`: where the leader's log begins. */
  accepted(index: number, now: number, first: number): boolean {
    const news = index > this.match;
    if (news) {
      this.match = index;
      this.#waitingSince = now;
      this.#patience = 1;
    }
    if (this.#state === 'probing') {
      if (index >= this.next - 1) this.#replicate();
    } else if (this.#state === 'replicating') {
      this.#landed();
    } else if (index >= first - 1) {
      this.#replicate();
    }
    return news;
  }

  #replicate(): void {
    const probe = this.#probe;
    this.#probe = undefined;
    this.#state = 'replicating';
    this.next = this.match + 1;
    if (probe !== undefined && probe.last > this.match) this.#fly(probe);
  }

  /** Appends that are answered for are no longer in flight. */
  #landed(): void {
    while (this.#oldest !== undefined && this.#oldest.last <= this.match) {
      this.#inflightBytes -= this.#oldest.bytes;
      this.#oldest = this.#oldest.next;
      this.#full = false;
    }
    if (this.#oldest === undefined) this.#newest = undefined;
    if (this.next <= this.match) this.next = this.match + 1;
  }

  /**
   * The follower refused the append behind entry `refused`; its log may match at `index`, where its term is `term`.
   * A whole term is skipped at a time (§5.3, last paragraphs). Late refusals of what has been settled since are ignored.
   */
  refused(refused: number, index: number, term: number, log: LogView): void {
    if (refused <= this.match || this.#state === 'snapshot') return;
    if (this.#state === 'probing' ? refused !== this.next - 1 : refused >= this.next) return;
    const high = Math.max(this.match, Math.min(index, refused - 1));
    const low = Math.max(this.match, log.firstIndex - 1);
    this.#seek((high > low ? log.lastWithTerm(low, high, term) : high) + 1);
  }

  /** The next entry is gone from the leader's log. */
  needSnapshot(): void {
    this.#state = 'snapshot';
    this.#orderDue = true;
    this.#failed = false;
  }

  /** Whether the host has to be asked for a snapshot now. */
  takeOrder(): boolean {
    const due = this.#orderDue;
    this.#orderDue = false;
    return due;
  }

  /**
   * The host is done with the snapshot up to `index`: it has arrived, or that failed and is tried again later. What the follower
   * has on its disk it says itself: it is asked by an append, of nothing if need be.
   */
  snapshotSent(ok: boolean, index: number, now: number): void {
    if (this.#state !== 'snapshot') return;
    if (ok) {
      this.#seek(Math.max(this.match, index) + 1);
    } else {
      this.#failed = true;
      this.#waitingSince = now;
    }
  }

  /**
   * What is under way counts as lost. Behind a match it goes on from there; one that still probes asks the same again,
   * for no match may only mean that none was found yet, and the whole log must not be sent for that.
   */
  #again(): void {
    if (this.#state !== 'snapshot') this.#seek(this.#state === 'probing' ? this.next : this.match + 1);
  }

  /** Begins anew, one append at a time, with entry `next`. */
  #seek(next: number): void {
    this.#state = 'probing';
    this.#probe = undefined;
    this.#oldest = undefined;
    this.#newest = undefined;
    this.#inflightBytes = 0;
    this.#full = false;
    this.next = next;
  }

  /** A large message is on its way to the follower, and parts of it arrive: what was sent behind it or is in it is not lost. */
  arriving(now: number): void {
    if (this.#state !== 'snapshot') this.#waitingSince = now;
  }

  /**
   * The follower is alive but lacks entries that were sent: after a heartbeat interval without progress they count as
   * lost. Each time in vain doubles the wait, so that a slow disk or a slow link is not sent the same over and over.
   */
  nudge(now: number, heartbeatTicks: number): void {
    if (!this.#waits || now - this.#waitingSince < heartbeatTicks * this.#patience) return;
    this.#patience = Math.min(this.#patience * 2, MAX_PATIENCE);
    if (this.#state === 'snapshot') this.needSnapshot();
    else this.#again();
  }

  get #waits(): boolean {
    if (this.#state === 'snapshot') return this.#failed;
    return this.#state === 'probing' ? this.#probe !== undefined : this.#oldest !== undefined;
  }

  /** The link broke. */
  lost(): void {
    this.unreachable = true;
    this.#again();
  }

  /** The link is back: what it lacks goes at once, and a heartbeat with commit index and read round. */
  found(): void {
    this.unreachable = false;
    this.#patience = 1;
    this.heartbeatDue = true;
    this.#again();
  }
}
