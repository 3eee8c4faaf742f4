/**
 * What faults and workloads act on: the cluster, what is down or damaged in it, and who must not be.
 *
 * ## How much damage there is at most
 *
 * A fault may only do what the product promises to survive. Crashes, pauses and cuts may hit all nodes at once: what was
 * acknowledged is on disks. But of disks that have lost what they acknowledged, or rotted, there are never more than a minority, and a node
 * that forgot what it promised never comes back under its name. `mayDamage` says whether one more disk may be hurt.
 */
import type { NodeObserver } from '../../node/observer.js';
import type { NodeOptions } from '../../node/options.js';
import type { SimCluster, SimNode } from '../cluster.js';
import type { CrashMode } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { World } from '../world.js';

/** A node that stopped because of a fault is started again after so long. */
const reviveMs = [200, 1_500] as const;
const heardOfMs = 6_000;
/** Ids of members are below this. */
export const folderNumbers = 100_000;

export interface StageOptions {
  readonly cluster: SimCluster;
  readonly random: SeededRandom;
  /** One line of the story: who, and what happened. */
  readonly tell: (who: string, what: string) => void;
  /** The run has failed. */
  readonly fail: (error: Error) => void;
}

export class Stage {
  readonly cluster: SimCluster;
  readonly tell: StageOptions['tell'];
  readonly fail: StageOptions['fail'];
  /** Counts of faults that took effect. */
  readonly counts: Record<string, number> = {};
  /** Chances that clients behave badly, set by faults. */
  readonly rude = { vanishInCommit: 0, idleInTransaction: 0 };
  /** Nodes that lead, as far as was seen. */
  readonly leaders = new Set<SimNode>();
  /** A time has come in which reads are most likely to be stale, for so long. */
  onAlarm: (ms: number) => void = () => {};
  /** Called when a node's disk has forgotten what it acknowledged. */
  onLost: (node: SimNode) => void = () => {};
  /** Called before a node goes down, for whatever reason. */
  readonly onCrash = new Set<(node: SimNode) => void>();
  readonly #random: SeededRandom;
  /** Why each node must stay down. */
  readonly #holds = new Map<SimNode, Set<string>>();
  /** Failures that a fault explains. */
  readonly #excuses = new Map<SimNode, Set<RegExp>>();
  readonly #damaged = new Set<SimNode>();
  readonly #lost = new Set<SimNode>();
  /** How often a member has begun anew, by its id; and those that have no vote with the new folder yet. */
  readonly #folders = new Map<number, number>();
  readonly #renewing = new Map<SimNode, () => void>();
  /** Watches a node in place of the checkers, for lives that are not a member's. */
  readonly #observers = new Map<SimNode, NodeObserver>();
  /** `id life` of a member → those whose lives it has linked to. */
  readonly #met = new Map<string, Set<string>>();
  readonly #awaited = new Set<{ what: string }>();
  #over = false;

  constructor({ cluster, random, tell, fail }: StageOptions) {
    this.cluster = cluster;
    this.#random = random;
    this.tell = tell;
    this.fail = fail;
    cluster.onFailure = (node) => this.#failed(node);
    cluster.onLine = (node, level, text) => {
      this.#note(node, text);
      if (level !== 'debug') tell(this.nameOf(node), `${level === 'info' ? '' : `${level}: `}${text}`);
    };
  }

  nameOf(node: SimNode): string {
    return this.nodes.includes(node) ? `node ${node.id}` : node.host.name;
  }

  get world(): World {
    return this.cluster.world;
  }

  get nodes(): readonly SimNode[] {
    return this.cluster.nodes;
  }

  /** Members that can take part at the end. */
  get members(): SimNode[] {
    return this.nodes.filter((node) => !this.#lost.has(node));
  }

  count(name: string, times = 1): void {
    this.counts[name] = (this.counts[name] ?? 0) + times;
  }

  // Up and down

  crash(node: SimNode, mode: CrashMode): void {
    if (!node.host.up) return;
    for (const act of [...this.onCrash]) act(node);
    this.cluster.crash(node, mode);
  }

  /** Starts it, unless it runs or something keeps it down. */
  revive(node: SimNode, options: Partial<NodeOptions> = {}): void {
    if (node.host.up || (this.#holds.get(node)?.size ?? 0) > 0 || this.#lost.has(node)) return;
    node.host.restart();
    this.cluster.start(node, options);
  }

  /** Keeps a node down from its next crash on. */
  hold(node: SimNode, why: string): void {
    const holds = this.#holds.get(node) ?? new Set();
    this.#holds.set(node, holds.add(why));
  }

  letGo(node: SimNode, why: string): void {
    this.#holds.get(node)?.delete(why);
  }

  /** While this stands, the node may stop by itself with such a message. */
  excuse(node: SimNode, pattern: RegExp): () => void {
    const excuses = this.#excuses.get(node) ?? new Set();
    this.#excuses.set(node, excuses.add(pattern));
    // A failure is heard of a little later than it happens.
    return () => void this.world.schedule(heardOfMs, undefined, 'no excuse', () => excuses.delete(pattern));
  }

  #failed(node: SimNode): void {
    const text = node.failure ?? '';
    const first = text.split('\n')[0]!;
    const excused = [...(this.#excuses.get(node) ?? [])].some((pattern) => pattern.test(text));
    if (!excused) {
      this.fail(new Error(`${this.nameOf(node)} stopped by itself: ${text}`));
      return;
    }
    this.tell(this.nameOf(node), `stopped: ${first}`);
    this.count('stopped by itself');
    if (!this.nodes.includes(node)) return;
    this.world.schedule(0, undefined, 'bury', () => {
      this.crash(node, 'kill');
      this.#reviveLater(node);
    });
  }

  #reviveLater(node: SimNode): void {
    const { life } = node.host;
    this.world.schedule(this.#random.between(...reviveMs), undefined, 'revive', () => {
      if (node.host.life === life) this.revive(node);
    });
  }

  // Damage

  get #mostDamaged(): number {
    return Math.floor((this.nodes.length - 1) / 2);
  }

  /** Disks that are hurt now. */
  get hurt(): number {
    return new Set([...this.#damaged, ...this.#lost]).size;
  }

  /** Whether this node's disk may be hurt as well. */
  mayDamage(node: SimNode): boolean {
    const hurt = new Set([...this.#damaged, ...this.#lost, node]);
    return !this.#over && !this.#damaged.has(node) && !this.#lost.has(node) && hurt.size <= this.#mostDamaged;
  }

  damage(node: SimNode): void {
    this.#damaged.add(node);
  }

  repaired(node: SimNode): void {
    this.#damaged.delete(node);
  }

  /** It begins anew with an empty folder; `done` is called when that one has a vote, for good. */
  renew(node: SimNode, done: () => void): void {
    this.#folders.set(node.id, (this.#folders.get(node.id) ?? 0) + 1);
    this.#renewing.set(node, done);
  }

  /** The node has a vote by a committed membership. */
  votes(node: SimNode): void {
    this.#renewing.get(node)?.();
    this.#renewing.delete(node);
  }

  /** What the checkers know the folder of a member by: a new one is somebody else. */
  folderOf(id: number): number {
    return id + folderNumbers * (this.#folders.get(id) ?? 0);
  }

  /** Its disk forgot what it acknowledged: it never comes back. */
  lose(node: SimNode): void {
    this.#lost.add(node);
    this.onLost(node);
    this.tell(`node ${node.id}`, 'has a disk that forgot what it promised, and does not come back');
  }

  isLost(node: SimNode): boolean {
    return this.#lost.has(node);
  }

  /** Watches the next lives of a node in place of the checkers; undefined: the checkers do. */
  watch(node: SimNode, observer: NodeObserver | undefined): void {
    if (observer) this.#observers.set(node, observer);
    else this.#observers.delete(node);
  }

  observerOf(node: SimNode): NodeObserver | undefined {
    return this.#observers.get(node);
  }

  /** Who leads with a membership that is joint. */
  readonly joint = new Set<SimNode>();

  /** What was begun, and does its harm later: the end of the run waits for it. Returns what says that it has. */
  await(what: string): () => void {
    const token = { what };
    this.#awaited.add(token);
    return () => void this.#awaited.delete(token);
  }

  /** The kinds of harm that are still on their way. */
  get awaited(): string[] {
    return [...this.#awaited].map(({ what }) => what);
  }

  /** No more damage from now on. */
  end(): void {
    this.#over = true;
  }

  /** A member has linked to this life of another, in its own present life. */
  hasMet(one: SimNode, other: SimNode): boolean {
    return this.#met.get(`${one.id} ${one.host.life}`)?.has(`${other.id} ${other.host.life}`) ?? false;
  }

  #note(node: SimNode, text: string): void {
    const linked = /^linked to node (\d+)/.exec(text)?.[1];
    const other = linked === undefined ? undefined : this.nodes[Number(linked) - 1];
    if (other === undefined || !this.nodes.includes(node)) return;
    const key = `${node.id} ${node.host.life}`;
    const met = this.#met.get(key) ?? new Set();
    this.#met.set(key, met.add(`${other.id} ${other.host.life}`));
  }

  leads(node: SimNode): boolean {
    return node.host.up && this.leaders.has(node);
  }

  // Choices that faults make

  /** A member that runs. */
  running(random: SeededRandom): SimNode | undefined {
    const up = this.nodes.filter((node) => node.host.state === 'running');
    return up.length > 0 ? up[random.integer(0, up.length - 1)] : undefined;
  }

  other(random: SeededRandom, node: SimNode): SimNode | undefined {
    const rest = this.nodes.filter((each) => each !== node);
    return rest.length > 0 ? rest[random.integer(0, rest.length - 1)] : undefined;
  }
}
