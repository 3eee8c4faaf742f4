/**
 * The entries that this node took in and whose outcome is open ("Forwarding with exact outcomes").
 *
 * The store numbers own entries 1, 2, 3 … within the incarnation, and apply turns any entry that is not last + 1 of its
 * origin into a no-op. So undecided entries may be sent again, in order from the first, as often as one likes: each
 * takes effect once. They are sent again whenever (leader, term) or the link to the leader changes, and when one came out as
 * a no-op over a gap.
 *
 * Invariants: entries are decided in order; at most `maxInFlight` are undecided; a record whose header was filled in
 * here (this node led, and the record is in its log) is never filled in again: it is proposed anew as a copy.
 * An entry given up keeps its number with no commands, or all later ones would be a gap for ever.
 */
import { type GiveUp, HEADER_BYTES, type SealedEntry, type Store } from '../store/store.js';

const maxInFlight = 2;
/** Without progress for this long everything undecided is sent again; then after twice as long, and so on. */
const firstNudgeMs = 1_000;

interface Undecided {
  sequence: number;
  record: Uint8Array;
  payloadCrc: number;
  /** When its first command came in, ms of the monotonic clock. */
  readonly since: number;
  /** It was proposed or sent to a leader: its outcome can no longer be known to be "nothing happened". */
  left: boolean;
  /** The header in `record` belongs to an entry of this node's log. */
  headerUsed: boolean;
  givenUp: boolean;
}

/** Sends one record on its way; `nobody`: there is nobody to send it to, `full`: no entry with commands is taken now. */
export type Dispatch = (
  sequence: number,
  record: Uint8Array,
  payloadCrc: number,
) => 'proposed' | 'sent' | 'nobody' | 'full';

export class Outbox {
  readonly #store: Store;
  readonly #dispatch: Dispatch;
  readonly #undecided: Undecided[] = [];
  /** Undecided entries from this position on have not been sent to the present leader. */
  #unsent = 0;
  #openSince: number | undefined;
  #nudgeAt: number | undefined;
  #nudgeMs = firstNudgeMs;

  constructor(store: Store, dispatch: Dispatch) {
    this.#store = store;
    this.#dispatch = dispatch;
  }

  get undecided(): number {
    return this.#undecided.length;
  }

  /** The open entry can be sealed. */
  get canSeal(): boolean {
    return this.#undecided.length < maxInFlight && this.#store.openCommands > 0;
  }

  /** Seals what can be sealed and sends what has not been sent. */
  send(now: number): void {
    if (this.#store.openCommands > 0) this.#openSince ??= now;
    while (this.canSeal) {
      const entry = this.#store.seal();
      if (!entry) break;
      const { sequence, record, payloadCrc } = entry;
      const since = this.#openSince ?? now;
      this.#undecided.push({ sequence, record, payloadCrc, since, left: false, headerUsed: false, givenUp: false });
      this.#openSince = undefined;
    }
    this.#sendUnsent();
  }

  #sendUnsent(): void {
    for (; this.#unsent < this.#undecided.length; this.#unsent++) {
      const entry = this.#undecided[this.#unsent]!;
      if (entry.headerUsed) {
        entry.record = withFreshHeader(entry.record);
        entry.headerUsed = false;
      }
      let way = this.#dispatch(entry.sequence, entry.record, entry.payloadCrc);
      if (way === 'full' && !entry.left) {
        // Definite, for nobody has seen it. What has left waits for room, or for its time-out.
        this.#giveUp(entry, 'disk-full');
        way = this.#dispatch(entry.sequence, entry.record, entry.payloadCrc);
      }
      if (way === 'nobody' || way === 'full') return;
      entry.left = true;
      entry.headerUsed = way === 'proposed';
    }
  }

  /** (leader, term) or the link changed, or there was a gap: all undecided go again, from the first. */
  sendAgain(): void {
    this.#unsent = 0;
    this.#sendUnsent();
  }

  /** A message can be lost without a sign (a full queue drops it): what makes no progress is sent again, ever more rarely. */
  nudge(now: number): void {
    // What is in this node's own log needs no help as long as it leads, and goes again when it does not.
    const first = this.#undecided[0];
    if (first === undefined || first.headerUsed) this.#nudgeAt = undefined;
    else if (this.#nudgeAt === undefined) this.#nudgeAt = now + this.#nudgeMs;
    else if (now >= this.#nudgeAt) {
      this.#nudgeMs *= 2;
      this.#nudgeAt = now + this.#nudgeMs;
      this.sendAgain();
    }
  }

  /** Own entry `sequence` was applied. */
  decided(sequence: number): void {
    const first = this.#undecided.shift();
    if (first?.sequence !== sequence)
      throw new Error(`own entries are decided in order: ${sequence} came before ${first?.sequence}`);
    if (this.#unsent > 0) this.#unsent--;
    this.#nudgeAt = undefined;
    this.#nudgeMs = firstNudgeMs;
  }

  /** Answers what has waited since before `deadline` without an outcome, and lets empty entries take the place of the given-up ones. */
  giveUp(deadline: number, hasLeader: boolean): void {
    this.#undecided.forEach((entry, position) => {
      if (entry.givenUp || entry.since > deadline) return;
      this.#giveUp(entry, hasLeader ? 'timeout' : 'no-leader');
      // What was sent may be on its way or lost: the empty entry is sent too, and the first of the two in the log counts.
      this.#unsent = Math.min(this.#unsent, position);
    });
    this.#sendUnsent();
    if (this.#store.openCommands === 0) this.#openSince = undefined;
    else if (this.#openSince !== undefined && this.#openSince <= deadline) {
      this.#store.giveUpOpen(hasLeader ? 'timeout' : 'no-leader');
      this.#openSince = undefined;
    }
  }

  /** The node stops: everything is answered now. */
  stop(): void {
    for (const entry of this.#undecided) if (!entry.givenUp) this.#giveUp(entry, 'stopping');
    this.#store.giveUpOpen('stopping');
  }

  /** The disks are full: what has not been sealed is refused. */
  refuseOpen(): void {
    if (this.#store.openCommands === 0) return;
    this.#store.giveUpOpen('disk-full');
    this.#openSince = undefined;
  }

  #giveUp(entry: Undecided, why: GiveUp): void {
    const { record, payloadCrc }: SealedEntry = this.#store.giveUp(entry.sequence, why, entry.left);
    entry.record = record;
    entry.payloadCrc = payloadCrc;
    entry.headerUsed = false;
    entry.givenUp = true;
  }
}

function withFreshHeader(record: Uint8Array): Uint8Array {
  const copy = new Uint8Array(record.length);
  copy.set(record.subarray(HEADER_BYTES), HEADER_BYTES);
  return copy;
}
