/**
 * Are the transactions of a history strictly serializable?
 *
 * ## Concept
 *
 * The method is Elle's (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020) for
 * lists that are only appended to, each value appended once in the whole history. A list that is read tells the order of all
 * appends before it, so the dependencies of Adya's theses can be read off, without a search:
 *
 *     ww   T1 appended the value just before the one that T2 appended
 *     wr   T2 read a list that ends with what T1 appended
 *     rw   T1 read a list that lacks what T2 appended next
 *     rt   T1 had ended before T2 began (real time)
 *
 * A history is strictly serializable only if this graph has no cycle. A cycle is named by what it is made of, as in the
 * literature: G0 (ww alone), G1c (and wr), G-single (and one rw: read skew), G2 (several rw: write skew), and each
 * with `-realtime` when it needs rt. And without a cycle: G1a (a value of a transaction that was aborted was read), G1b (a value that
 * its own transaction appended to afterwards was the last one read), `internal` (a transaction does not see its own
 * appends, or a list changed under it), `incompatible-order` (neither of two lists read is the beginning of the other),
 * `duplicate-append`, `garbage-read`, `lost-append`.
 *
 * ## What is judged
 *
 * A transaction of unknown outcome counts as committed if anything of it was seen. One that was aborted, and one that only reads, must
 * have seen one consistent state all the same: it takes part with its reads, and its place in time is its BEGIN.
 */
import { Violation } from './violation.js';

export type Step =
  | { readonly kind: 'append'; readonly key: string; readonly value: number }
  | { readonly kind: 'read'; readonly key: string; readonly list: readonly number[] };

export interface Transaction {
  readonly client: number;
  readonly steps: readonly Step[];
  /** When it was begun. Any monotonic number; equal times count as overlapping. */
  readonly invoked: number;
  /** When BEGIN was answered: what it reads was fixed by then. */
  readonly began: number;
  /** When its outcome was known; undefined when it never was. */
  readonly returned: number | undefined;
  readonly outcome: 'committed' | 'aborted' | 'unknown';
}

type Kind = 'ww' | 'wr' | 'rw' | 'rt';

interface Edge {
  readonly to: Vertex;
  readonly kind: Kind;
  readonly why: string;
}

interface Vertex {
  readonly transaction: Transaction;
  readonly edges: Edge[];
  /** Lists that it read, without its own appends. */
  readonly reads: { readonly key: string; readonly list: readonly number[] }[];
  /** For Tarjan's algorithm. */
  order: number;
  low: number;
  stacked: boolean;
  component: number;
}

const fail = (anomaly: string, message: string): never => {
  throw new Violation(`serializability: ${anomaly}`, message);
};

/** Throws a Violation that names the anomaly. `final` holds the lists when all was over: every committed append must be there. */
export function checkSerializable(
  history: readonly Transaction[],
  final: ReadonlyMap<string, readonly number[]>,
): void {
  const judge = new Judge(history, final);
  judge.run();
}

class Judge {
  readonly #history: readonly Transaction[];
  readonly #final: ReadonlyMap<string, readonly number[]>;
  /** `key value` → who appended it. */
  readonly #writers = new Map<string, Transaction>();
  /** Every key's appends, in their order. */
  readonly #orders = new Map<string, readonly number[]>();
  readonly #vertices = new Map<Transaction, Vertex>();

  constructor(history: readonly Transaction[], final: ReadonlyMap<string, readonly number[]>) {
    this.#history = history;
    this.#final = final;
  }

  run(): void {
    this.#collectWriters();
    for (const transaction of this.#history) this.#addVertex(transaction);
    this.#findOrders();
    for (const vertex of this.#vertices.values()) for (const read of vertex.reads) this.#judgeRead(vertex, read);
    this.#judgeFinal();
    this.#dropUnseen();
    this.#addDependencies();
    this.#addRealTime();
    for (const component of components([...this.#vertices.values()])) this.#judgeComponent(component);
  }

  #collectWriters(): void {
    for (const transaction of this.#history) {
      for (const step of transaction.steps) {
        if (step.kind === 'append') this.#writers.set(`${step.key} ${step.value}`, transaction);
      }
    }
  }

  /** Takes a transaction's own appends out of what it read, and checks that it saw them. */
  #addVertex(transaction: Transaction): void {
    const own = new Map<string, number[]>();
    const seen = new Map<string, readonly number[]>();
    const reads: Vertex['reads'] = [];
    for (const step of transaction.steps) {
      const mine = own.get(step.key) ?? [];
      if (step.kind === 'append') {
        own.set(step.key, [...mine, step.value]);
        continue;
      }
      const split = step.list.length - mine.length;
      const outside = step.list.slice(0, Math.max(0, split));
      if (split < 0 || !equal(step.list.slice(split), mine) || !equal(seen.get(step.key) ?? outside, outside))
        fail('internal', `${describe(transaction)}\nread ${step.key} as [${step.list}] after its own [${mine}]`);
      if (!seen.has(step.key)) reads.push({ key: step.key, list: outside });
      seen.set(step.key, outside);
    }
    const vertex = { transaction, edges: [], reads, order: -1, low: -1, stacked: false, component: -1 };
    this.#vertices.set(transaction, vertex);
  }

  #findOrders(): void {
    const longest = new Map<string, readonly number[]>(this.#final);
    const lists = [...this.#vertices.values()].flatMap(({ reads }) => reads);
    for (const { key, list } of lists) if (list.length > (longest.get(key)?.length ?? 0)) longest.set(key, list);
    for (const [key, list] of longest) {
      const twice = list.find((value, at) => list.indexOf(value) !== at);
      if (twice !== undefined) fail('duplicate-append', `${key} holds ${twice} twice: [${list}]`);
      this.#orders.set(key, list);
    }
  }

  #judgeRead(vertex: Vertex, { key, list }: Vertex['reads'][number]): void {
    const order = this.#orders.get(key) ?? [];
    if (!equal(order.slice(0, list.length), list))
      fail('incompatible-order', `${describe(vertex.transaction)}\nread ${key} as [${list}], others as [${order}]`);
    for (const value of list) {
      const writer = this.#writers.get(`${key} ${value}`);
      if (writer === undefined)
        fail('garbage-read', `${describe(vertex.transaction)}\nread ${value} in ${key}, which nobody appended`);
      if (writer?.outcome === 'aborted')
        fail(
          'G1a',
          `${describe(vertex.transaction)}\nread ${value} in ${key}, appended by the aborted\n${describe(writer)}`,
        );
    }
    const last = list.at(-1);
    if (last === undefined) return;
    const writer = this.#writers.get(`${key} ${last}`)!;
    const appends = writer.steps.filter((step) => step.kind === 'append' && step.key === key);
    const lastOfWriter = appends.at(-1);
    if (lastOfWriter?.kind === 'append' && lastOfWriter.value !== last && writer !== vertex.transaction)
      fail('G1b', `${describe(vertex.transaction)}\nread ${key} up to ${last}, in the middle of\n${describe(writer)}`);
  }

  /** Everything that was acknowledged is there, nothing else. */
  #judgeFinal(): void {
    for (const [key, list] of this.#final) {
      if (list.length < (this.#orders.get(key)?.length ?? 0))
        fail('lost-append', `${key} ends as [${list}], but was read as [${this.#orders.get(key)}]`);
      for (const value of list) {
        const writer = this.#writers.get(`${key} ${value}`);
        if (writer === undefined) fail('garbage-read', `${key} ends with ${value}, which nobody appended: [${list}]`);
        if (writer?.outcome === 'aborted')
          fail('G1a', `${key} ends with ${value}, appended by the aborted\n${describe(writer)}`);
      }
    }
    for (const transaction of this.#history) {
      if (transaction.outcome !== 'committed') continue;
      for (const step of transaction.steps) {
        if (step.kind !== 'append' || !this.#final.has(step.key)) continue;
        if (!this.#final.get(step.key)!.includes(step.value))
          fail(
            'lost-append',
            `${step.value} is not in ${step.key}: [${this.#final.get(step.key)}]\n${describe(transaction)}`,
          );
      }
    }
  }

  /** What has unknown outcome and was seen nowhere may never have happened: its reads must be consistent like those of an aborted one. */
  #dropUnseen(): void {
    const seen = new Set<Transaction>();
    for (const [key, order] of this.#orders) for (const value of order) seen.add(this.#writers.get(`${key} ${value}`)!);
    for (const [transaction] of this.#vertices) {
      if (transaction.outcome === 'unknown' && !seen.has(transaction) && transaction.began === Number.POSITIVE_INFINITY)
        this.#vertices.delete(transaction);
    }
  }

  #link(from: Transaction, to: Transaction, kind: Kind, why: string): void {
    const target = this.#vertices.get(to);
    if (from !== to && target) this.#vertices.get(from)?.edges.push({ to: target, kind, why });
  }

  #addDependencies(): void {
    for (const [key, order] of this.#orders) {
      for (let at = 1; at < order.length; at++) {
        const [one, two] = [this.#writers.get(`${key} ${order[at - 1]}`)!, this.#writers.get(`${key} ${order[at]}`)!];
        this.#link(one, two, 'ww', `appended ${order[at - 1]} to ${key} before ${order[at]}`);
      }
    }
    for (const { transaction, reads } of this.#vertices.values()) {
      for (const { key, list } of reads) {
        const last = list.at(-1);
        if (last !== undefined) {
          const writer = this.#writers.get(`${key} ${last}`)!;
          this.#link(writer, transaction, 'wr', `appended ${last} to ${key}, which the next one read`);
        }
        const next = this.#orders.get(key)?.[list.length];
        const writer = next === undefined ? undefined : this.#writers.get(`${key} ${next}`)!;
        if (writer) this.#link(transaction, writer, 'rw', `read ${key} without ${next}, which the next one appended`);
      }
    }
  }

  /** One edge for each pair that no third one stands between. */
  #addRealTime(): void {
    const events = [...this.#vertices.values()].flatMap((vertex) => {
      const { transaction } = vertex;
      const end = endOf(transaction);
      const begin = { time: transaction.invoked, vertex, ends: false };
      return end === undefined ? [begin] : [begin, { time: end, vertex, ends: true }];
    });
    events.sort((a, b) => a.time - b.time || Number(a.ends) - Number(b.ends));
    const ended = new Set<Vertex>();
    const before = new Map<Vertex, Vertex[]>();
    for (const { vertex, ends } of events) {
      if (ends) {
        for (const earlier of before.get(vertex)!) ended.delete(earlier);
        ended.add(vertex);
        continue;
      }
      before.set(vertex, [...ended]);
      for (const earlier of ended)
        earlier.edges.push({ to: vertex, kind: 'rt', why: 'had ended when the next one began' });
    }
  }

  #judgeComponent(component: readonly Vertex[]): void {
    const number = component[0]!.component;
    const within = (kinds: readonly Kind[]) => (edge: Edge) =>
      edge.to.component === number && kinds.includes(edge.kind);
    for (const realTime of [false, true]) {
      const more: Kind[] = realTime ? ['rt'] : [];
      const suffix = realTime ? '-realtime' : '';
      const searches: [string, Kind, Kind[]][] = [
        ['G0', 'ww', ['ww', ...more]],
        ['G1c', 'wr', ['ww', 'wr', ...more]],
        ['G-single', 'rw', ['ww', 'wr', ...more]],
        ['G2', 'rw', ['ww', 'wr', 'rw', ...more]],
      ];
      for (const [name, first, rest] of searches) {
        const cycle = findCycle(component, within([first]), within(rest));
        if (cycle) fail(`${name}${suffix}`, story(cycle));
      }
    }
    const cycle = findCycle(component, within(['rt']), within(['rt', 'ww', 'wr', 'rw']));
    if (cycle) fail('realtime', story(cycle));
  }
}

/** What only reads, or changed nothing, had its place in time when its snapshot was taken. */
function endOf({ outcome, steps, began, returned }: Transaction): number | undefined {
  const onlyReads = outcome === 'aborted' || steps.every((step) => step.kind === 'read');
  return onlyReads && began !== Number.POSITIVE_INFINITY ? began : returned;
}

/** Strongly connected components of more than one vertex (Tarjan, without recursion). */
function components(vertices: readonly Vertex[]): Vertex[][] {
  const found: Vertex[][] = [];
  const stack: Vertex[] = [];
  let order = 0;
  for (const root of vertices) {
    if (root.order >= 0) continue;
    const path: { readonly vertex: Vertex; next: number }[] = [];
    const enter = (vertex: Vertex): void => {
      vertex.order = vertex.low = order++;
      vertex.stacked = true;
      stack.push(vertex);
      path.push({ vertex, next: 0 });
    };
    enter(root);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const { vertex } = top;
      const edge = vertex.edges[top.next++];
      if (edge !== undefined) {
        if (edge.to.order < 0) enter(edge.to);
        else if (edge.to.stacked) vertex.low = Math.min(vertex.low, edge.to.order);
        continue;
      }
      path.pop();
      const parent = path.at(-1)?.vertex;
      if (parent) parent.low = Math.min(parent.low, vertex.low);
      if (vertex.low !== vertex.order) continue;
      const component = stack.splice(stack.indexOf(vertex));
      for (const member of component) {
        member.stacked = false;
        member.component = found.length;
      }
      if (component.length > 1) found.push(component);
      else for (const member of component) member.component = -1;
    }
  }
  return found;
}

interface Link {
  readonly from: Vertex;
  readonly edge: Edge;
}

/** A shortest cycle of one edge that `first` accepts and others that `rest` accepts. */
function findCycle(
  component: readonly Vertex[],
  first: (edge: Edge) => boolean,
  rest: (edge: Edge) => boolean,
): Link[] | undefined {
  let best: Link[] | undefined;
  for (const from of component) {
    for (const edge of from.edges) {
      if (!first(edge)) continue;
      const way = findWay(edge.to, from, rest, (best?.length ?? Number.POSITIVE_INFINITY) - 2);
      if (way) best = [{ from, edge }, ...way];
    }
  }
  return best;
}

function findWay(start: Vertex, goal: Vertex, accepts: (edge: Edge) => boolean, most: number): Link[] | undefined {
  const cameBy = new Map<Vertex, Link | undefined>([[start, undefined]]);
  let frontier = [start];
  for (let steps = 0; steps < most && frontier.length > 0; steps++) {
    const next: Vertex[] = [];
    for (const from of frontier) {
      for (const edge of from.edges) {
        if (!accepts(edge) || cameBy.has(edge.to)) continue;
        cameBy.set(edge.to, { from, edge });
        if (edge.to === goal) return trackBack(cameBy, goal);
        next.push(edge.to);
      }
    }
    frontier = next;
  }
  return undefined;
}

function trackBack(cameBy: ReadonlyMap<Vertex, Link | undefined>, goal: Vertex): Link[] {
  const way: Link[] = [];
  for (let link = cameBy.get(goal); link !== undefined; link = cameBy.get(link.from)) way.unshift(link);
  return way;
}

function equal(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, at) => value === b[at]);
}

function story(cycle: readonly Link[]): string {
  return cycle.flatMap(({ from, edge }) => [describe(from.transaction), `    ${edge.kind}: ${edge.why}`]).join('\n');
}

function describe({ client, steps, invoked, returned, outcome }: Transaction): string {
  const texts = steps.map((step) =>
    step.kind === 'append' ? `append ${step.key} ${step.value}` : `read ${step.key} [${step.list}]`,
  );
  const time = `${invoked.toFixed(1)} … ${returned?.toFixed(1) ?? '∞'}`;
  return `  client ${client} ${outcome} [${time}]: ${texts.join(', ')}`;
}
