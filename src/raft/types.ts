/**
 * The plain data that goes into and comes out of the Raft core.
 *
 * Terms and indexes are safe integers (below 2^53). Index 0, term 0 stand before the first entry.
 */

/** Ids of nodes: 1 … 65,535. 0 means nobody. */
export type NodeId = number;

/**
 * Who belongs to the cluster (§6, dissertation §4). Each list holds an id at most once. Voters and learners are disjoint; an
 * outgoing voter may be an incoming one as well, or a learner from then on.
 */
export interface Membership {
  readonly voters: readonly NodeId[];
  /** The voters before, while both memberships are joint (dissertation §4.3); else empty. */
  readonly outgoing: readonly NodeId[];
  /** They are sent the log, but neither vote nor count (dissertation §4.2.1). */
  readonly learners: readonly NodeId[];
}
/** A membership, and the entry that set it (or the last one of the snapshot that told it). */
export interface MembershipAt {
  readonly index: number;
  readonly membership: Membership;
}

/**
 * An entry of the log. `bytes` is the whole record as on the wire and on disk (header, payload); the core never looks into it.
 * Whoever makes an entry of bytes, from a peer or from the disk, says what membership they set, if they do.
 */
export interface Entry {
  readonly index: number;
  readonly term: number;
  readonly bytes: Uint8Array;
  readonly membership?: Membership | undefined;
}

/** What must be durable before any message that depends on it leaves (Raft figure 2, "Persistent state"). */
export interface HardState {
  readonly term: number;
  /** The candidate that got this term's vote, or 0. */
  readonly vote: NodeId;
}

/**
 * What the core reads of the log that its host keeps. It holds everything the host was given in `Ready.entries`, persisted or not,
 * but for what a durable snapshot of the host's replaced (§7): a prefix of what is committed and on disk.
 */
export interface LogReader {
  /** Index of the first entry that the log still has, or would have if it had one: 1 as long as nothing was dropped. */
  firstIndex(): number;
  /** Index of the last entry; firstIndex() - 1 when there is none. */
  lastIndex(): number;
  /** Term of the entry at `index`; 0 for index 0. `index` is between firstIndex() - 1, which is the snapshot's last, and lastIndex(). */
  term(index: number): number;
  /** Entries from `from` (not below firstIndex()) on, up to and including `to`: at least one, then as many as fit in `maxBytes`. */
  entries(from: number, to: number, maxBytes: number): Entry[];
}

interface Base {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: number;
}
/** RequestVote (§5.2, §5.4.1); `pre` asks without raising terms (dissertation §9.6). */
export interface VoteRequest extends Base {
  readonly type: 'vote';
  readonly pre: boolean;
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** The leader itself wants this election: nobody has to protect it (dissertation §3.10, §4.2.3). */
  readonly transfer: boolean;
}
export interface VoteResponse extends Base {
  readonly type: 'voted';
  readonly pre: boolean;
  readonly granted: boolean;
}
/** AppendEntries with entries (§5.3). */
export interface AppendRequest extends Base {
  readonly type: 'append';
  readonly prevIndex: number;
  readonly prevTerm: number;
  readonly commit: number;
  readonly entries: readonly Entry[];
}
/** `ok`: everything up to `index` is persisted and matches. Else a conflict hint: the follower's log may match the leader's at `index` (whose term there is `hintTerm`), not later. */
export interface AppendResponse extends Base {
  readonly type: 'appended';
  readonly ok: boolean;
  readonly index: number;
  readonly hintTerm: number;
  /** prevIndex of the refused request (0 when ok): a late refusal of an older request is ignored. */
  readonly refused: number;
  /** Number of the repair during which the sender does not count (abstention.ts); 0: it counts. */
  readonly abstains: number;
}
/** AppendEntries without entries: authority, commit index, and the number of the newest read round (0: none). */
export interface Heartbeat extends Base {
  readonly type: 'heartbeat';
  /** min(commit, match of the receiver). */
  readonly commit: number;
  readonly round: number;
  /** Said by the receiver's transport: it has overtaken a large message, of which a part is there and the rest still arrives. */
  readonly amid?: boolean;
}
export interface HeartbeatResponse extends Base {
  readonly type: 'beaten';
  readonly round: number;
  readonly abstains: number;
  /** As the heartbeat. */
  readonly amid?: boolean;
}
/** A follower asks the leader for a read index (dissertation §6.4). `id` is the asker's own number. */
export interface ReadRequest extends Base {
  readonly type: 'read';
  readonly id: number;
}
/** `index` -1: refused (not the leader). A leader whose term has no committed entry yet keeps the request until it has. */
export interface ReadResponse extends Base {
  readonly type: 'readable';
  readonly id: number;
  readonly index: number;
}
/** The leader hands its leadership over: campaign at once (dissertation §3.10). */
export interface TimeoutNow extends Base {
  readonly type: 'timeoutNow';
}
/** Repair `repair` is over when everything up to `index` is on disk: this leader committed that without the receiver (abstention.ts). */
export interface Cleared extends Base {
  readonly type: 'cleared';
  readonly index: number;
  readonly repair: number;
}
export type Message =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | Heartbeat
  | HeartbeatResponse
  | ReadRequest
  | ReadResponse
  | TimeoutNow
  | Cleared;

/** A learner is who follows without a vote of its own, also one that has been removed. */
export type Role = 'leader' | 'follower' | 'candidate' | 'learner';

/**
 * Why a membership was not proposed; nothing has happened then. `too-early`: this leader has not committed an entry of its own
 * term. `under-way`: another change is not over. `not-a-step`: not one step from what is now (see `membership.ts`).
 */
export type MembershipRefusal = 'not-leader' | 'transferring' | 'too-early' | 'under-way' | 'not-a-step';

/** Why leadership is not handed over. `not-eligible`: not another voter of the newest membership. */
export type TransferRefusal = 'not-leader' | 'transferring' | 'not-eligible';

/** What a leader knows of one of the others. */
export interface PeerStatus {
  readonly id: NodeId;
  /** Everything up to here is on its disk. */
  readonly match: number;
  /** `snapshot`: it lacks entries that the log has no more, and gets a snapshot first. */
  readonly state: 'probing' | 'replicating' | 'snapshot';
  /** It repairs its log, and does not count. */
  readonly abstains: boolean;
  /** It was heard of within the shortest election time-out. */
  readonly active: boolean;
}

/** Somebody needs a snapshot of an index of at least `least`, for the log begins behind it. */
export interface SnapshotOrder {
  readonly to: NodeId;
  readonly least: number;
}

/**
 * What the host must do, in this order: (1) make `hardState` durable, if given; (2) append `entries` to its log in
 * memory (an entry replaces all from its index on) and start persisting them; (3) send `messages`; (4) apply up to
 * `commit`; (5) serve `reads`; (6) begin to send `snapshots`, beside all else. It tells the core `persisted(index, term)` whenever a write completed.
 */
export interface Ready {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly messages: readonly Message[];
  /** The commit index now. */
  readonly commit: number;
  /** Reads asked for here: index -1 means ask again (the leader is gone or refused). */
  readonly reads: readonly { readonly id: number; readonly index: number }[];
  /** Each is answered by `snapshotSent`, unless this node ceases to lead. */
  readonly snapshots: readonly SnapshotOrder[];
  /** Set when leader, term, role or `abstaining` changed since the last Ready. */
  readonly changed: boolean;
  /** Set when the newest membership of the log is another than at the last Ready, be it by an append or by a truncation. */
  readonly membershipChanged: boolean;
  /** A joint membership is committed: the membership that this leader is to propose now, which ends it (dissertation §4.3). Said again as long as it is due. */
  readonly leaveJoint: Membership | undefined;
}

/**
 * Reads without a round of heartbeats (dissertation §6.4.1), opt-in, for all members alike or for none. The assumption on clocks: from the
 * moment a member hears the leader until (shortest election time-out − 1 tick) have passed on *its* timer, no more than that minus the
 * margin for drift passes on the leader's `now`. A clock that runs away further than the margin makes reads stale, nothing worse.
 */
export interface Lease {
  /** The host's monotonic clock, which goes on while the process is stalled; ticks would not do. */
  readonly now: () => number;
  /** How long after a round of heartbeats was sent a majority cannot elect anybody else, in units of `now`: at most (electionTicks[0] − 1) ticks, less the margin. */
  readonly length: number;
}

export interface RaftConfig {
  readonly id: NodeId;
  /** The membership before the first entry of the log: of the snapshot, or of the cluster's founding. Without voters: this node belongs to no cluster yet, and waits to be sent a log. */
  readonly membership: Membership;
  /** The memberships that entries of the log set, in the order of the log. */
  readonly changes?: readonly MembershipAt[];
  readonly hardState: HardState;
  readonly log: LogReader;
  /** Everything in `log` at construction that is known to be durable (index). */
  readonly persisted: number;
  /** Commit index known at construction: the snapshot's, 0 without one. */
  readonly commit: number;
  /** Ticks between heartbeats, and the range that election time-outs are drawn from. */
  readonly heartbeatTicks: number;
  readonly electionTicks: readonly [number, number];
  /**
   * The log was found corrupt, and what it holds now may lack what this node had acknowledged: it neither votes nor counts until that
   * is made good (abstention.ts). The host sets it at every start until `abstaining` has become false once.
   */
  readonly abstains?: boolean;
  /** Term and vote were lost with the log: they may be lower than what this node has promised. Counts only as long as it abstains. */
  readonly votesLost?: boolean;
  /** Undefined: every read is confirmed by a majority. */
  readonly lease?: Lease | undefined;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Most bytes of entries in one append (at least one entry goes), and in flight to one follower. */
  readonly maxAppendBytes: number;
  readonly maxInflightBytes: number;
  /**
   * Makes the record of a new entry of this leader's: fills in the header of a record with room for it; with no record, the no-op
   * that begins a term (§5.4.2, §8). `membership`: what the record sets, if it came with `proposeMembership`.
   */
  readonly seal: (
    index: number,
    term: number,
    record: Uint8Array | undefined,
    membership: Membership | undefined,
  ) => Uint8Array;
}
