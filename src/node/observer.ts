/** What a checker may watch of a node while it runs. Nothing that it is told may be changed, and the node hears nothing back. */
import type { Raft } from '../raft/raft.js';
import type { LogReader, Message, Ready } from '../raft/types.js';
import type { Store } from '../store/store.js';

export interface NodeObserver {
  /** Raft begins, on what the log has recovered; all of it counts as persisted. */
  began(raft: Raft, log: LogReader): void;
  /** Raft is about to be told this. */
  received(message: Message): void;
  /** What Raft asks for, just before it is done. */
  ready(raft: Raft, ready: Ready): void;
  /** The disk is said to hold Raft's term and vote: nothing that Raft asks for with them has left before. */
  saved(raft: Raft): void;
  /** The disk is said to hold everything up to this entry. */
  persisted(index: number, term: number): void;
  /** A snapshot of everything up to this entry has taken the place of the log, durably, or of what the log has up to there. */
  installed(index: number, term: number): void;
  /** The store has applied some more, or loaded a snapshot. */
  applied(store: Store): void;
}
