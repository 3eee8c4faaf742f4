/**
 * Judges a cluster of cores by what they let out: after every step it holds the five properties of figure 3, and what §8, the
 * membership changes of §6, snapshots and repairs promise, against them. It shares nothing with the cores but the shapes of their
 * messages: majorities, memberships and logs are worked out here once more, from what the hosts have on their disks and in memory.
 */
import type { Entry, Membership, Message, Ready } from '../../src/raft/types.js';
import type { Host, Snapshot } from './host.js';

interface Committed {
  readonly entry: Entry;
  /** The term whose leader committed it. */
  readonly by: number;
}

/** As of the last look at a host: for Leader Append-Only, and for what never falls. */
interface Seen {
  term: number;
  leading: boolean;
  last: Entry | undefined;
  end: number;
  commit: number;
}

const unseen = (): Seen => ({ term: 0, leading: false, last: undefined, end: 0, commit: 0 });

/** Whether those for whom `test` holds are more than half of `ids`. */
function majority(ids: readonly number[], test: (id: number) => boolean): boolean {
  return ids.filter(test).length * 2 > ids.length;
}

/** Whether those for whom `test` holds decide under a membership: a majority of either half while it is joint. */
function decide({ voters, outgoing }: Membership, test: (id: number) => boolean): boolean {
  return majority(voters, test) && (outgoing.length === 0 || majority(outgoing, test));
}

export class Judge {
  readonly committed: Committed[] = [];
  readonly counts = {
    elections: 0,
    commits: 0,
    reads: 0,
    refused: 0,
    truncations: 0,
    changes: 0,
    transfers: 0,
    snapshots: 0,
    repairs: 0,
  };
  readonly #hosts: readonly Host[];
  readonly #founding: Membership;
  readonly #seen = new Map<number, Seen>();
  readonly #leaders = new Map<number, Host>();
  readonly #votes = new Map<string, number>();
  /** (index, term) → its bytes and the term before it: equal for all logs (Log Matching). */
  readonly #known = new Map<number, { bytes: Uint8Array; before: number }>();
  /** Reads not answered yet: the host's node and id → what was committed when it was asked. */
  readonly #asked = new Map<string, number>();
  /** What each node had on its disk before that was found corrupt, by index. */
  readonly #forgotten = new Map<number, Map<number, Uint8Array>>();

  /** `hosts`: all there will ever be, to be filled in. */
  constructor(hosts: readonly Host[], founding: Membership) {
    this.#hosts = hosts;
    this.#founding = founding;
  }

  get unanswered(): number {
    return this.#asked.size;
  }

  // What happens to hosts

  asked(host: Host, id: number): void {
    this.#asked.set(`${host.id} ${id}`, this.committed.length);
  }

  crashed(host: Host): void {
    for (const key of this.#asked.keys()) if (key.startsWith(`${host.id} `)) this.#asked.delete(key);
  }

  /** The end of its disk is lost. */
  rots(host: Host, lost: readonly Entry[]): void {
    const forgotten = this.#forgotten.get(host.id) ?? new Map<number, Uint8Array>();
    for (const { index, bytes } of lost) forgotten.set(index, bytes);
    this.#forgotten.set(host.id, forgotten);
  }

  restarted(host: Host): void {
    this.#seen.set(host.id, { ...unseen(), term: host.hard.term });
  }

  // What hosts let out

  message(host: Host, message: Message): void {
    const { hard } = host;
    // A pre-vote is about a term that nobody has entered; it binds nobody.
    const ahead = message.type === 'voted' && message.pre && message.granted;
    const least = message.term - (message.type === 'vote' && message.pre ? 1 : 0);
    hold(ahead || least <= hard.term, () => `node ${host.id} speaks of term ${message.term}, on disk is ${hard.term}`);
    if (message.type === 'voted' && message.granted && !message.pre) this.#checkVote(host, message.term, message.to);
    if (message.type === 'vote' && !message.pre) this.#checkVote(host, message.term, host.id);
    if (message.type === 'appended' && message.ok) this.#checkAnswer(host, message.term, message.index);
    if (message.type === 'timeoutNow') this.counts.transfers++;
  }

  /** A vote that leaves is on disk, or of a term that has passed on disk; and it is the only one (§5.2). None is given in a repair. */
  #checkVote(host: Host, term: number, candidate: number): void {
    const { hard } = host;
    hold(
      hard.term > term || hard.vote === candidate,
      () => `node ${host.id} votes for ${candidate}, on disk is ${hard.vote}`,
    );
    hold(!host.repairing, () => `node ${host.id} votes for ${candidate} while it repairs its log`);
    const key = `${host.id} ${term}`;
    const before = this.#votes.get(key) ?? candidate;
    hold(before === candidate, () => `node ${host.id} votes in term ${term} for ${before} and for ${candidate}`);
    this.#votes.set(key, candidate);
  }

  /** What a follower vouches for is on its disk, and the same as in the log of that term's leader. */
  #checkAnswer(host: Host, term: number, index: number): void {
    hold(host.diskEnd >= index, () => `node ${host.id} vouches for ${index}, its disk ends at ${host.diskEnd}`);
    const leader = this.#leaders.get(term)!;
    if (index <= host.base.index || index <= leader.base.index) return;
    if (leader.raft.term !== term || leader.raft.role !== 'leader') return;
    const same = leader.at(index)?.bytes === host.disk[index - host.firstIndex()]!.bytes;
    hold(same, () => `node ${host.id} vouches for ${index}, where its disk differs from leader ${leader.id}`);
  }

  /** Log Matching (§5.3): by induction over the entries, it is enough that (index, term) decides bytes and the term before. */
  appended(host: Host, entries: readonly Entry[]): void {
    for (const { index, term, bytes } of entries) {
      const key = index * 1e6 + term;
      const before = host.term(index - 1);
      const known = this.#known.get(key);
      if (known === undefined) this.#known.set(key, { bytes, before });
      else
        hold(known.bytes === bytes && known.before === before, () => `logs differ at entry ${index} of term ${term}`);
    }
  }

  ready(host: Host, ready: Ready): void {
    hold(ready.commit >= host.commit, () => `node ${host.id}: commit falls from ${host.commit} to ${ready.commit}`);
    if (ready.commit === host.commit) return;
    // What is committed may have been counted before a membership was appended in the same turn.
    const before = host.membershipAt((ready.entries[0]?.index ?? host.lastIndex() + 1) - 1);
    const since = ready.entries.flatMap(({ membership }) => membership ?? []);
    for (let index = host.commit + 1; index <= ready.commit; index++) {
      if (index > host.base.index) this.#commit(host, index, [before, ...since]);
    }
  }

  /** State Machine Safety (§5.4.3); and the first who commits an entry does so when a majority by its own membership has it on disk. */
  #commit(host: Host, index: number, memberships: readonly Membership[]): void {
    const entry = host.at(index);
    if (entry === undefined) throw new Error(`node ${host.id} commits ${index}, its log ends at ${host.lastIndex()}`);
    const known = this.committed[index - 1];
    if (known !== undefined) {
      hold(
        known.entry.bytes === entry.bytes,
        () => `node ${host.id} commits another entry ${index} than was committed before`,
      );
      return;
    }
    hold(index === this.committed.length + 1, () => `node ${host.id} commits ${index} after ${this.committed.length}`);
    hold(
      memberships.some((membership) => decide(membership, (id) => this.#holds(id, entry))),
      () => `entry ${index} is committed without a majority of ${JSON.stringify(memberships)}`,
    );
    this.committed.push({ entry, by: host.raft.term });
    this.counts.commits++;
    if (entry.membership !== undefined) this.counts.changes++;
  }

  /** Whether a node has the entry on its disk, or had before its disk went bad. */
  #holds(id: number, { index, bytes }: Entry): boolean {
    const host = this.#hosts[id - 1]!;
    if (index <= host.base.index || host.disk[index - host.firstIndex()]?.bytes === bytes) return true;
    return this.#forgotten.get(id)?.get(index) === bytes;
  }

  /** A snapshot is of what was committed, and tells who were the members then. */
  installed(host: Host, { index, term, membership }: Snapshot): void {
    const entry = this.committed[index - 1]?.entry;
    hold(entry?.term === term, () => `node ${host.id} installs (${index}, ${term}); committed is term ${entry?.term}`);
    const last = this.committed.slice(0, index).findLast((committed) => committed.entry.membership !== undefined);
    const right = JSON.stringify(last?.entry.membership ?? this.#founding);
    hold(JSON.stringify(membership) === right, () => `the snapshot of ${index} says ${JSON.stringify(membership)}`);
    this.counts.snapshots++;
  }

  /** A read's index is at or behind all that was committed anywhere when the read was asked for (§8). */
  read(host: Host, id: number, index: number): void {
    const key = `${host.id} ${id}`;
    const least = this.#asked.get(key);
    hold(least !== undefined, () => `node ${host.id} answers read ${id}, which it was not asked, or twice`);
    this.#asked.delete(key);
    if (index === -1) this.counts.refused++;
    else this.counts.reads++;
    hold(
      index === -1 || index >= least!,
      () => `node ${host.id} answers read ${id} with ${index}; ${least} was committed before`,
    );
  }

  look(host: Host): void {
    const seen = this.#seen.get(host.id) ?? unseen();
    this.#seen.set(host.id, seen);
    const { raft } = host;
    const leading = raft.role === 'leader';
    if (leading && (!seen.leading || seen.term !== raft.term)) this.#checkElection(host);
    if (leading && seen.leading && seen.term === raft.term && seen.end > host.base.index) {
      const same = host.at(seen.end) === seen.last;
      hold(same, () => `leader ${host.id} of term ${raft.term} changed its own log (Leader Append-Only)`);
    }
    hold(raft.term >= seen.term, () => `node ${host.id}: term falls from ${seen.term} to ${raft.term}`);
    hold(raft.commit >= seen.commit, () => `node ${host.id}: commit falls from ${seen.commit} to ${raft.commit}`);
    const { membership } = raft.membership;
    const own = host.membershipAt(host.lastIndex());
    hold(
      membership === own,
      () => `node ${host.id} goes by ${JSON.stringify(membership)}, its log says ${JSON.stringify(own)}`,
    );
    if (host.lastIndex() < seen.end) this.counts.truncations++;
    if (host.repairing && !raft.abstaining) this.#checkRepair(host);
    seen.term = raft.term;
    seen.leading = leading;
    seen.last = host.memory.at(-1);
    seen.end = host.lastIndex();
    seen.commit = raft.commit;
  }

  /** Election Safety (§5.2), by votes of a majority by the leader's own membership, and Leader Completeness (§5.4). */
  #checkElection(host: Host): void {
    const { term } = host.raft;
    const other = this.#leaders.get(term);
    hold(other === undefined, () => `nodes ${other?.id} and ${host.id} were both elected in term ${term}`);
    this.#leaders.set(term, host);
    this.counts.elections++;
    const membership = host.membershipAt(host.lastIndex());
    hold(
      decide(membership, (id) => id === host.id || this.#votes.get(`${id} ${term}`) === host.id),
      () => `node ${host.id} leads term ${term} without votes of a majority of ${JSON.stringify(membership)}`,
    );
    for (const { entry, by } of this.committed) {
      const has = by >= term || entry.index <= host.base.index || host.at(entry.index)?.bytes === entry.bytes;
      hold(has, () => `leader ${host.id} of term ${term} lacks entry ${entry.index}, committed in term ${by}`);
    }
  }

  /** Who counts again has on its disk all that it had forgotten, as far as that was committed. */
  #checkRepair(host: Host): void {
    host.repairing = false;
    this.counts.repairs++;
    for (const [index, bytes] of this.#forgotten.get(host.id) ?? []) {
      const entry = this.committed[index - 1]?.entry;
      if (entry?.bytes !== bytes || index <= host.base.index) continue;
      const has = host.disk[index - host.firstIndex()]?.bytes === bytes;
      hold(has, () => `node ${host.id} counts again, but lacks entry ${index}, which it had acknowledged`);
    }
    this.#forgotten.delete(host.id);
  }
}

function hold(condition: boolean, text: () => string): void {
  if (!condition) throw new Error(text());
}
