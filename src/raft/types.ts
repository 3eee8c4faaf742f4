/**
 * The plain data that goes into and comes out of the Raft core.
 *
 * Terms and indexes are safe integers (below 2^53). Index 0, term 0 stand before the first entry.
 */

/** Ids of nodes: 1 … 65,535. 0 means nobody. */
export type NodeId = number;

/** An entry of the log. `bytes` is the whole record as on the wire and on disk (header, payload); the core never looks into it. */
export interface Entry {
  readonly index: number;
  readonly term: number;
  readonly bytes: Uint8Array;
}

/** What must be durable before any message that depends on it leaves (Raft figure 2, "Persistent state"). */
export interface HardState {
  readonly term: number;
  /** The candidate that got this term's vote, or 0. */
  readonly vote: NodeId;
}

/** What the core reads of the log that its host keeps. It holds everything the host was given in `Ready.entries`, persisted or not. */
export interface LogReader {
  /** Index of the last entry; 0 when empty. */
  lastIndex(): number;
  /** Term of the entry at `index`; 0 for index 0. `index` is between 0 and lastIndex(). */
  term(index: number): number;
  /** Entries from `from` on, up to and including `to`: at least one, then as many as fit in `maxBytes`. */
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
}
/** AppendEntries without entries: authority, commit index, and the number of the newest read round (0: none). */
export interface Heartbeat extends Base {
  readonly type: 'heartbeat';
  /** min(commit, match of the receiver). */
  readonly commit: number;
  readonly round: number;
}
export interface HeartbeatResponse extends Base {
  readonly type: 'beaten';
  readonly round: number;
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
export type Message =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | Heartbeat
  | HeartbeatResponse
  | ReadRequest
  | ReadResponse;

export type Role = 'leader' | 'follower' | 'candidate' | 'learner';

/**
 * What the host must do, in this order: (1) make `hardState` durable, if given; (2) append `entries` to its log in
 * memory (an entry replaces all from its index on) and start persisting them; (3) send `messages`; (4) apply up to
 * `commit`; (5) serve `reads`. It tells the core `persisted(index, term)` whenever a write completed.
 */
export interface Ready {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly messages: readonly Message[];
  /** The commit index now. */
  readonly commit: number;
  /** Reads asked for here: index -1 means ask again (the leader is gone or refused). */
  readonly reads: readonly { readonly id: number; readonly index: number }[];
  /** Set when leader, term or role changed since the last Ready. */
  readonly changed: boolean;
}

export interface RaftConfig {
  readonly id: NodeId;
  /** All voters, this node among them. */
  readonly voters: readonly NodeId[];
  readonly hardState: HardState;
  readonly log: LogReader;
  /** Everything in `log` at construction that is known to be durable (index). */
  readonly persisted: number;
  /** Commit index known at construction (0 without a snapshot). */
  readonly commit: number;
  /** Ticks between heartbeats, and the range that election time-outs are drawn from. */
  readonly heartbeatTicks: number;
  readonly electionTicks: readonly [number, number];
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Most bytes of entries in one append (at least one entry goes), and in flight to one follower. */
  readonly maxAppendBytes: number;
  readonly maxInflightBytes: number;
  /** Makes the record of a new entry of this leader's: fills in the header of a record with room for it; with no record, the no-op that begins a term (§5.4.2, §8). */
  readonly seal: (index: number, term: number, record: Uint8Array | undefined) => Uint8Array;
}
