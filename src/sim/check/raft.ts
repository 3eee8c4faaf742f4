/**
 * The five safety properties of Raft (figure 3 of the paper), and that disks keep what was vouched for, held against all nodes of a
 * cluster at every step. It is told what each node lets out and keeps a mirror of every log; it knows nothing of how a node works.
 *
 * - *Election Safety*: at most one leader a term. And what that rests on: a node votes once in a term, across all its lives, and who leads
 *   has the votes of a majority.
 * - *Leader Append-Only*: a leader never replaces or removes an entry of its log.
 * - *Log Matching*: two logs with an entry of the same index and term are the same up to there.
 * - *Leader Completeness*: what was committed in a term is in the logs of the leaders of all later terms. And what that rests on: a
 *   leader's commit index ends at an entry of its own term (§5.4.2).
 * - *State Machine Safety*: no two nodes commit, or apply, different entries at one index; and equal applied indexes mean equal state.
 * - *Durability*: when an entry is first known to be committed, a majority has said that its disk holds it, while memberships are joint one of
 *   each (§6); and what a node's disk
 *   was said to hold is there when the node starts again, term and vote too.
 *
 * A node whose disk is known to have lied is `forgetful`: what it held need not be there from then on. It has said so all the same, and the
 * leader may hear of it late: that counts. So is one that repairs its folder, until it says that it counts again; it does not vote meanwhile.
 */
import { Violation } from './violation.js';

/** `id` tells two entries of the same index and term apart: a checksum of all of it. */
export interface EntryMark {
  readonly index: number;
  readonly term: number;
  readonly id: string | number;
}

export interface NodeState {
  readonly term: number;
  readonly leads: boolean;
  readonly commit: number;
  /** The groups of members by whose majorities it decides: the voters, while the membership is joint the outgoing ones too. Where it is not said votes are not counted. */
  readonly deciders?: readonly (readonly number[])[];
}

interface Mirror {
  /** Entries from index 1 on. */
  log: EntryMark[];
  /** Up to here its disk is said to hold the log as it is mirrored. */
  persisted: number;
  commit: number;
  term: number;
  /** Term and vote that its disk is said to hold. */
  saved: { term: number; vote: number };
  /** The term that it led when it was last looked at, 0: none, and by whose majorities it decided then. */
  led: number;
  deciders: NodeState['deciders'];
  forgetful: boolean;
  /** What its disk held before the damage that it repairs. */
  before: readonly EntryMark[];
  /** Up to `last` the appends of this term's leader have shown, in this life, that its log is the same. */
  shown: { term: number; last: number; claims: { prevIndex: number; prevTerm: number; last: number }[] };
}

interface Known extends EntryMark {
  /** Term of the entry before it, in whatever log it was seen first. */
  readonly before: number;
}

interface Committed extends EntryMark {
  /** The term in which it was committed. */
  readonly by: number;
}

function same(a: EntryMark | undefined, b: EntryMark | undefined): boolean {
  return a !== undefined && b !== undefined && a.term === b.term && a.id === b.id;
}

/** Whether a log that ends with `entry` is more up to date than one that ends so (§5.4.1). */
function newer(entry: EntryMark | undefined, than: { readonly index: number; readonly term: number }): boolean {
  if (entry === undefined) return false;
  return entry.term > than.term || (entry.term === than.term && entry.index > than.index);
}

function show(entry: EntryMark | undefined): string {
  return entry === undefined ? 'nothing' : `entry ${entry.index} of term ${entry.term} (${entry.id})`;
}

export class RaftChecker {
  readonly #voters: readonly number[];
  readonly #memberOf: (node: number) => number;
  readonly #mirrors = new Map<number, Mirror>();
  readonly #leaders = new Map<number, number>();
  /** `node term` → whom it voted for. */
  readonly #votes = new Map<string, number>();
  /** `node term` of a candidate → the end of its log then. */
  readonly #candidacies = new Map<string, { readonly index: number; readonly term: number }>();
  /** All entries ever seen, by index. */
  readonly #known: Known[][] = [];
  readonly #committed: Committed[] = [];
  /** Applied index → hash of the state there. */
  readonly #hashes = new Map<number, string>();
  /** What was looked at, for reports. */
  readonly counts = { elections: 0, committed: 0, appended: 0, recoveries: 0, installed: 0, hashes: 0 };

  /** `voters`: so many members, from 1 on, decide where nothing else is said; `memberOf`: whose folder a node is known by. */
  constructor(voters: number, memberOf: (node: number) => number = (node) => node) {
    this.#voters = Array.from({ length: voters }, (_, at) => at + 1);
    this.#memberOf = memberOf;
  }

  /** Those of these nodes that are members of a group that they are no majority of; undefined: they are one of each. */
  #lacking(nodes: readonly number[], deciders: NodeState['deciders']): readonly number[] | undefined {
    const members = new Set(nodes.map(this.#memberOf));
    return (deciders ?? [this.#voters]).find(
      (group) => group.filter((id) => members.has(id)).length <= group.length / 2,
    );
  }

  /** Index of the last entry that is known to be committed. */
  get committed(): number {
    return this.#committed.length;
  }

  #mirror(node: number): Mirror {
    let mirror = this.#mirrors.get(node);
    if (mirror === undefined) {
      mirror = {
        log: [],
        persisted: 0,
        commit: 0,
        term: 0,
        saved: { term: 0, vote: 0 },
        led: 0,
        deciders: undefined,
        forgetful: false,
        before: [],
        shown: { term: 0, last: 0, claims: [] },
      };
      this.#mirrors.set(node, mirror);
    }
    return mirror;
  }

  /** Its disk has lost, or may have lost, what it acknowledged. */
  forget(node: number): void {
    this.#mirror(node).forgetful = true;
  }

  /** It has made good what it had lost. */
  remembers(node: number): void {
    const mirror = this.#mirror(node);
    mirror.forgetful = false;
    mirror.before = [];
  }

  /**
   * A node begins a life with this log, term and vote. The log lacks the first `dropped` entries: a snapshot has taken their place.
   * `damaged`: it says that its disk has lost something.
   */
  began(node: number, behind: readonly EntryMark[], term: number, vote: number, dropped = 0, damaged = false): void {
    const mirror = this.#mirror(node);
    this.counts.recoveries++;
    if (damaged && !mirror.forgetful) {
      mirror.forgetful = true;
      mirror.before = mirror.log.slice(0, mirror.persisted);
    }
    const log = [...this.#replaced(node, dropped), ...behind];
    if (!mirror.forgetful) this.#checkRecovery(node, mirror, log, term, vote, dropped);
    mirror.log = [...log];
    mirror.persisted = log.length;
    mirror.commit = 0;
    mirror.term = term;
    mirror.saved = { term, vote };
    mirror.led = 0;
    mirror.deciders = undefined;
    mirror.shown = { term: 0, last: 0, claims: [] };
    for (const [position, entry] of log.entries()) this.#remember(node, entry, log[position - 1]);
  }

  /** The entries up to `index`, for which a snapshot of a node's stands: what is committed, and nothing else. */
  #replaced(node: number, index: number): EntryMark[] {
    if (index > this.#committed.length)
      throw new Violation(
        'State Machine Safety',
        `node ${node} has a snapshot of entry ${index}; committed are ${this.#committed.length}`,
      );
    return this.#committed.slice(0, index).map(({ index: at, term, id }) => ({ index: at, term, id }));
  }

  #checkRecovery(
    node: number,
    mirror: Mirror,
    log: readonly EntryMark[],
    term: number,
    vote: number,
    dropped: number,
  ): void {
    // A snapshot of another's took the place of a log that did not have its last entry, uncommitted ones among it.
    const foreign = dropped > 0 && !same(log[dropped - 1], mirror.log[dropped - 1]);
    for (let at = dropped; at < mirror.persisted && !foreign; at++) {
      if (same(log[at], mirror.log[at])) continue;
      throw new Violation(
        'log durability',
        `node ${node} had said that its disk holds ${show(mirror.log[at])}; started again it has ${show(log[at])} there`,
      );
    }
    const { saved } = mirror;
    const voteKept = saved.vote === 0 || saved.vote === vote;
    if (term > saved.term || (term === saved.term && voteKept)) return;
    throw new Violation(
      'vote durability',
      `node ${node} was in term ${saved.term} with a vote for ${saved.vote}; started again it is in term ${term} with a vote for ${vote}`,
    );
  }

  /** Log Matching: an entry is the same wherever it is seen, and stands behind the same term. */
  #remember(node: number, entry: EntryMark, before: EntryMark | undefined): void {
    this.#known[entry.index] ??= [];
    const list = this.#known[entry.index]!;
    const beforeTerm = before?.term ?? 0;
    const known = list.find((other) => other.term === entry.term);
    if (known === undefined) {
      list.push({ ...entry, before: beforeTerm });
      return;
    }
    if (known.id === entry.id && known.before === beforeTerm) return;
    throw new Violation(
      'Log Matching',
      `node ${node} has ${show(entry)} after term ${beforeTerm}; elsewhere it is ${show(known)} after term ${known.before}`,
    );
  }

  /** A node puts entries in its log: the first replaces all from its index on. */
  appended(node: number, entries: readonly EntryMark[], term: number, leads: boolean): void {
    const first = entries[0];
    if (first === undefined) return;
    const mirror = this.#mirror(node);
    if (leads && mirror.led === term && first.index !== mirror.log.length + 1)
      throw new Violation(
        'Leader Append-Only',
        `node ${node}, leader of term ${term}, puts ${show(first)} in a log that ends at ${mirror.log.length}`,
      );
    if (first.index > mirror.log.length + 1)
      throw new Violation('Log Matching', `node ${node} puts ${show(first)} behind a gap after ${mirror.log.length}`);
    mirror.log.length = first.index - 1;
    mirror.persisted = Math.min(mirror.persisted, first.index - 1);
    for (const entry of entries) {
      this.#remember(node, entry, mirror.log.at(-1));
      mirror.log.push(entry);
      this.counts.appended++;
    }
  }

  /**
   * A snapshot up to this entry is durable on a node: it takes the place of its log, but for what follows the entry, if the log
   * has it.
   */
  installed(node: number, index: number, term: number): void {
    const mirror = this.#mirror(node);
    const replaced = this.#replaced(node, index);
    if (replaced.at(-1)?.term !== term)
      throw new Violation(
        'State Machine Safety',
        `node ${node} installs a snapshot of entry ${index} of term ${term}; committed is ${show(replaced.at(-1))}`,
      );
    if (mirror.led === mirror.term && mirror.led > 0)
      throw new Violation('Leader Append-Only', `node ${node}, leader of term ${mirror.led}, installs a snapshot`);
    const kept = same(mirror.log[index - 1], replaced.at(-1)) ? mirror.log.slice(index) : [];
    mirror.log = [...replaced, ...kept];
    mirror.persisted = Math.max(index, Math.min(mirror.persisted, mirror.log.length));
    mirror.commit = Math.max(mirror.commit, index);
    this.counts.installed++;
  }

  /** A node says that its disk holds its term and vote. In a step that it fails in it may have had others for a moment, and told nobody. */
  saved(node: number, term: number, vote: number): void {
    const { saved } = this.#mirror(node);
    saved.term = term;
    saved.vote = vote;
  }

  /** A node says that its disk holds everything up to this entry. */
  persisted(node: number, index: number, term: number): void {
    const mirror = this.#mirror(node);
    if (mirror.log[index - 1]?.term === term) mirror.persisted = Math.max(mirror.persisted, index);
  }

  /** A candidate asks for votes, with a log that ends so. */
  asked(candidate: number, term: number, lastIndex: number, lastTerm: number): void {
    this.#candidacies.set(`${candidate} ${term}`, { index: lastIndex, term: lastTerm });
  }

  /** The last entry of a node's log. */
  lastOf(node: number): EntryMark | undefined {
    return this.#mirror(node).log.at(-1);
  }

  /**
   * A node tells a candidate that it has its vote (or has its own). The log may have changed in the same step, before or after
   * that: `before` is how it ended before.
   */
  granted(node: number, term: number, candidate: number, before: EntryMark | undefined): void {
    const key = `${node} ${term}`;
    const earlier = this.#votes.get(key);
    if (earlier !== undefined && earlier !== candidate)
      throw new Violation('Election Safety', `in term ${term} node ${node} voted for ${earlier} and for ${candidate}`);
    this.#votes.set(key, candidate);
    if (node === candidate || earlier !== undefined) return;
    const asked = this.#candidacies.get(`${candidate} ${term}`);
    const after = this.lastOf(node);
    if (asked === undefined || !newer(before, asked) || !newer(after, asked)) return;
    throw new Violation(
      'Leader Completeness',
      `in term ${term} node ${node}, whose log ends with ${show(before)}, votes for node ${candidate}, whose log ends with entry ${asked.index} of term ${asked.term} (§5.4.1)`,
    );
  }

  /** Who leads, or led, this term; undefined: nobody has been seen to. */
  leaderOf(term: number): number | undefined {
    return this.#leaders.get(term);
  }

  /** A node is about to take an append of this term's leader: entries behind one of that index and term, up to `last`. */
  received(node: number, term: number, prevIndex: number, prevTerm: number, last: number): void {
    const mirror = this.#mirror(node);
    if (term > mirror.shown.term) mirror.shown = { term, last: 0, claims: [] };
    if (term === mirror.shown.term) mirror.shown.claims.push({ prevIndex, prevTerm, last });
  }

  /** Up to where the appends of this term's leader have shown a node that the logs are the same: judged when their entries are in the mirror. */
  #shownTo(mirror: Mirror, term: number): number {
    const { shown } = mirror;
    if (shown.term !== term) return 0;
    for (const { prevIndex, prevTerm, last } of shown.claims) {
      const matches = prevIndex <= Math.max(mirror.commit, shown.last) || mirror.log[prevIndex - 1]?.term === prevTerm;
      if (matches) shown.last = Math.max(shown.last, last);
    }
    shown.claims = [];
    return shown.last;
  }

  /** A follower tells a leader that its disk holds the leader's log up to `index`; it knows `commit` to be committed, if that is news. */
  vouched(node: number, leader: number, term: number, index: number, commit = 0): void {
    const mirror = this.#mirror(node);
    const theirs = this.#mirror(leader);
    if (mirror.persisted < index && !mirror.forgetful)
      throw new Violation(
        'log durability',
        `node ${node} vouches for entry ${index} to node ${leader}; its disk is said to hold ${mirror.persisted}`,
      );
    const shown = Math.max(mirror.commit, commit, this.#shownTo(mirror, term));
    if (index > shown)
      throw new Violation(
        'Log Matching',
        `node ${node} vouches for entry ${index} to node ${leader}, leader of term ${term}, whose appends have shown it no more than ${shown}`,
      );
    if (index === 0 || theirs.led !== term || same(mirror.log[index - 1], theirs.log[index - 1])) return;
    throw new Violation(
      'Log Matching',
      `node ${node} vouches for entry ${index} to node ${leader}, leader of term ${term}: it has ${show(mirror.log[index - 1])}, the leader ${show(theirs.log[index - 1])}`,
    );
  }

  /** What a node is in now, after it was told of by `appended`. */
  state(node: number, { term, leads, commit, deciders }: NodeState): void {
    const mirror = this.#mirror(node);
    const ledBefore = mirror.led === term;
    if (leads && !ledBefore) this.#elected(node, mirror, term, deciders);
    mirror.led = leads ? term : 0;
    this.#shownTo(mirror, mirror.shown.term);
    mirror.term = term;
    const before = mirror.deciders;
    mirror.deciders = deciders;
    if (commit <= mirror.commit) return;
    if (leads && ledBefore && mirror.log[commit - 1]?.term !== term)
      throw new Violation(
        'Leader Completeness',
        `node ${node} leads term ${term} and commits ${show(mirror.log[commit - 1])} by counting (§5.4.2)`,
      );
    // In one step it may have counted first and then changed its members, or the other way round.
    const groups = ledBefore && before ? [deciders, before] : [deciders];
    this.#commit(node, mirror, commit, term, groups);
  }

  #elected(node: number, mirror: Mirror, term: number, deciders: NodeState['deciders']): void {
    this.counts.elections++;
    const other = this.#leaders.get(term);
    if (other !== undefined && other !== node)
      throw new Violation('Election Safety', `nodes ${other} and ${node} both lead term ${term}`);
    this.#leaders.set(term, node);
    const voters = [...this.#mirrors.keys()].filter((id) => this.#votes.get(`${id} ${term}`) === node);
    const lacking = deciders && this.#lacking(voters, deciders);
    if (lacking)
      throw new Violation(
        'Election Safety',
        `node ${node} leads term ${term} with the votes of ${voters.join(', ')} only: no majority of ${lacking.join(', ')}`,
      );
    for (const [at, entry] of this.#committed.entries()) {
      if (entry.by >= term || same(mirror.log[at], entry)) continue;
      throw new Violation(
        'Leader Completeness',
        `node ${node} leads term ${term} without ${show(entry)}, committed in term ${entry.by}; it has ${show(mirror.log[at])}`,
      );
    }
  }

  #commit(node: number, mirror: Mirror, commit: number, term: number, either: readonly NodeState['deciders'][]): void {
    if (commit > mirror.log.length)
      throw new Violation(
        'State Machine Safety',
        `node ${node} commits ${commit}, its log ends at ${mirror.log.length}`,
      );
    for (let index = mirror.commit + 1; index <= commit; index++) {
      const entry = mirror.log[index - 1]!;
      const known = this.#committed[index - 1];
      if (known === undefined) this.#firstCommit(node, entry, term, either);
      else if (!same(known, entry))
        throw new Violation('State Machine Safety', `node ${node} commits ${show(entry)}, others ${show(known)}`);
    }
    mirror.commit = commit;
  }

  #firstCommit(node: number, entry: EntryMark, term: number, either: readonly NodeState['deciders'][]): void {
    const holders = [...this.#mirrors].filter(
      ([, { persisted, log, before }]) =>
        (persisted >= entry.index && same(log[entry.index - 1], entry)) || same(before[entry.index - 1], entry),
    );
    const ids = holders.map(([id]) => id);
    const lacks = either.map((deciders) => this.#lacking(ids, deciders));
    const [lacking] = lacks;
    if (lacking && lacks.every((one) => one !== undefined))
      throw new Violation(
        'commit durability',
        `node ${node} commits ${show(entry)}, which the disks of only ${ids.length} nodes are said to hold: ${ids.join(', ')}, no majority of ${lacking.join(', ')}`,
      );
    this.counts.committed++;
    this.#committed.push({ ...entry, by: term });
  }

  /** A node has applied everything up to `index`, and its state has this hash. */
  applied(node: number, index: number, hash: string): void {
    const known = this.#hashes.get(index);
    if (known === undefined) this.#hashes.set(index, hash);
    else {
      this.counts.hashes++;
      if (known !== hash)
        throw new Violation('state hash', `at entry ${index} node ${node} has state ${hash}, another had ${known}`);
    }
  }
}
