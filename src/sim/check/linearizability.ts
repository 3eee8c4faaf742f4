/**
 * Is a history of operations on single keys linearizable?
 *
 * ## Concept
 *
 * A history is linearizable if every operation can be given one instant between its call and its return such that, in
 * the order of these instants, each answer is what a plain map would have answered (Herlihy & Wing 1990). Linearizability
 * is local, so each key is judged alone. The search is the just-in-time form of Wing & Gong's (Lowe 2017): events are
 * walked through in time order with the set of all *configurations* that explain what has returned so far; an operation
 * is given its instant only when its return, or the return of one after it, demands it. No configuration left: no order
 * explains the history, and the operation whose return emptied the set is named.
 *
 * A configuration is the key's value, which of the operations under way have had their instant already, and how many of
 * the operations of unknown outcome have been used up.
 *
 * ## Why it stays small
 *
 * - An operation of unknown outcome (no answer, or UNKNOWN) is under way for ever and may never happen. Two of them with
 *   the same call are interchangeable, so only their number is kept; and of two configurations that are otherwise equal,
 *   the one that has used fewer can do all that the other can: the other is dropped.
 * - A read under way whose answer is the value now takes its instant at once: that closes no door.
 *
 * Definite errors (nothing happened) must be left out of the history, or given as operations that answered `'error'`
 * where the model answers so.
 *
 * It knows nothing of the product: calls and answers are plain values, and times come from the recorder.
 */

export type Call =
  | { readonly kind: 'get' }
  | { readonly kind: 'set'; readonly value: string }
  | { readonly kind: 'setnx'; readonly value: string }
  | { readonly kind: 'del' }
  | { readonly kind: 'incr'; readonly by: number }
  | { readonly kind: 'cas'; readonly expected: string; readonly value: string };

/** get: the value or null; set: true; setnx, cas: whether it held; del: 0 or 1; incr: the sum, or 'error' over text. */
export type Answer = string | number | boolean | null;

export interface Operation {
  readonly client: number;
  readonly key: string;
  readonly call: Call;
  /** Any monotonic number; equal times count as overlapping. */
  readonly invoked: number;
  /** Undefined: the outcome is unknown. It may take effect at any time after `invoked`, or never. */
  readonly returned: number | undefined;
  /** Ignored when the outcome is unknown. */
  readonly answer: Answer;
}

export type Verdict =
  | { readonly linearizable: true; readonly operations: number; readonly largestSet: number }
  | {
      readonly linearizable: false;
      readonly key: string;
      /** The operation whose answer no order explains. */
      readonly operation: Operation;
      /** The story round it, for people. */
      readonly story: string;
    };

/** What a single-threaded map does. */
export function model(state: string | null, call: Call): { state: string | null; answer: Answer } {
  switch (call.kind) {
    case 'get':
      return { state, answer: state };
    case 'set':
      return { state: call.value, answer: true };
    case 'setnx':
      return state === null ? { state: call.value, answer: true } : { state, answer: false };
    case 'del':
      return { state: null, answer: state === null ? 0 : 1 };
    case 'cas':
      return state === call.expected ? { state: call.value, answer: true } : { state, answer: false };
    case 'incr': {
      if (state !== null && !/^(0|-?[1-9]\d*)$/.test(state)) return { state, answer: 'error' };
      const sum = Number(state ?? 0) + call.by;
      return { state: String(sum), answer: sum };
    }
  }
}

/** Judges a whole history, given in any order. `initial` is the value of every key before it. */
export function checkLinearizable(history: readonly Operation[], initial: string | null = null): Verdict {
  const byKey = new Map<string, Operation[]>();
  for (const operation of history) {
    const list = byKey.get(operation.key);
    if (list) list.push(operation);
    else byKey.set(operation.key, [operation]);
  }
  let largestSet = 0;
  for (const operations of byKey.values()) {
    const search = new KeySearch(operations, initial);
    const failed = search.run();
    if (failed) return { linearizable: false, key: failed.key, operation: failed, story: search.story(failed) };
    largestSet = Math.max(largestSet, search.largestSet);
  }
  return { linearizable: true, operations: history.length, largestSet };
}

interface Configuration {
  readonly state: string | null;
  /** Operations under way, of known outcome, that have had their instant (sorted numbers). */
  readonly done: readonly number[];
  /** How many operations of unknown outcome were used, by shape. */
  readonly used: readonly number[];
}

interface Event {
  readonly time: number;
  readonly isReturn: boolean;
  readonly number: number;
}

class KeySearch {
  largestSet = 1;
  readonly #operations: readonly Operation[];
  readonly #shapes: Call[] = [];
  readonly #shapeOf = new Map<string, number>();
  /** How many operations of unknown outcome have been called so far, by shape. */
  readonly #available: number[] = [];
  /** Numbers of the operations of known outcome under way. */
  readonly #pending = new Set<number>();
  #configurations: Configuration[];
  /** Values that were possible just before the failing return, for the story. */
  #before: (string | null)[] = [];

  constructor(operations: readonly Operation[], initial: string | null) {
    this.#operations = operations;
    this.#configurations = [{ state: initial, done: [], used: [] }];
  }

  /** The operation that no order explains, or undefined. */
  run(): Operation | undefined {
    for (const event of this.#events()) {
      const operation = this.#operations[event.number]!;
      if (event.isReturn) {
        this.#before = [...new Set(this.#configurations.map((c) => c.state))];
        this.#return(event.number);
        if (this.#configurations.length === 0) return operation;
        this.largestSet = Math.max(this.largestSet, this.#configurations.length);
      } else if (operation.returned === undefined) {
        this.#addUnknown(operation.call);
      } else {
        this.#pending.add(event.number);
        if (operation.call.kind === 'get') this.#configurations = this.#prune(this.#configurations);
      }
    }
    return undefined;
  }

  #events(): Event[] {
    const events: Event[] = [];
    this.#operations.forEach((operation, number) => {
      events.push({ time: operation.invoked, isReturn: false, number });
      if (operation.returned !== undefined) events.push({ time: operation.returned, isReturn: true, number });
    });
    return events.sort((a, b) => a.time - b.time || Number(a.isReturn) - Number(b.isReturn));
  }

  #addUnknown(call: Call): void {
    if (call.kind === 'get') return; // nobody saw it, and it changes nothing
    const text = JSON.stringify(call);
    let shape = this.#shapeOf.get(text);
    if (shape === undefined) {
      shape = this.#shapes.push(call) - 1;
      this.#shapeOf.set(text, shape);
      this.#available.push(0);
    }
    this.#available[shape]!++;
  }

  /** Every configuration must have given `number` its instant by now; those that cannot are dropped. */
  #return(number: number): void {
    const done: Configuration[] = [];
    let frontier = this.#configurations;
    const seen = new Antichain();
    while (frontier.length > 0) {
      const next: Configuration[] = [];
      for (const configuration of frontier) {
        if (configuration.done.includes(number)) done.push(configuration);
        else for (const successor of this.#successors(configuration)) if (seen.add(successor)) next.push(successor);
      }
      frontier = next;
    }
    this.#pending.delete(number);
    this.#configurations = this.#prune(done.map((c) => ({ ...c, done: c.done.filter((n) => n !== number) })));
  }

  *#successors(configuration: Configuration): Generator<Configuration> {
    for (const number of this.#pending) {
      if (configuration.done.includes(number)) continue;
      const operation = this.#operations[number]!;
      const result = model(configuration.state, operation.call);
      if (result.answer !== operation.answer) continue;
      const done = [...configuration.done, number].sort((a, b) => a - b);
      yield this.#takeReads({ state: result.state, done, used: configuration.used });
    }
    for (let shape = 0; shape < this.#shapes.length; shape++) {
      if ((configuration.used[shape] ?? 0) >= this.#available[shape]!) continue;
      const { state } = model(configuration.state, this.#shapes[shape]!);
      if (state === configuration.state) continue; // it changed nothing, so keeping it is as good
      const used = this.#shapes.map((_, i) => (configuration.used[i] ?? 0) + (i === shape ? 1 : 0));
      yield this.#takeReads({ state, done: configuration.done, used });
    }
  }

  #takeReads(configuration: Configuration): Configuration {
    const reads: number[] = [];
    for (const number of this.#pending) {
      const { call, answer } = this.#operations[number]!;
      if (call.kind === 'get' && answer === configuration.state && !configuration.done.includes(number)) {
        reads.push(number);
      }
    }
    if (reads.length === 0) return configuration;
    return { ...configuration, done: [...configuration.done, ...reads].sort((a, b) => a - b) };
  }

  #prune(configurations: readonly Configuration[]): Configuration[] {
    const kept = new Antichain();
    for (const configuration of configurations) kept.add(this.#takeReads(configuration));
    return kept.all();
  }

  story(failed: Operation): string {
    const at = failed.returned ?? failed.invoked;
    const near = this.#operations
      .filter((o) => (o.returned ?? Number.POSITIVE_INFINITY) >= failed.invoked && o.invoked <= at)
      .concat(this.#last((o) => o.returned !== undefined && o.returned < failed.invoked, 8))
      .sort((a, b) => a.invoked - b.invoked);
    const values = this.#before.slice(0, 12).map((v) => JSON.stringify(v));
    return [
      `key ${failed.key}: no order of the operations explains`,
      `  ${describe(failed)}`,
      `The value could have been ${values.join(' or ')}. What went on before and round it:`,
      ...near.slice(-40).map((o) => `  ${describe(o)}`),
    ].join('\n');
  }

  #last(filter: (o: Operation) => boolean, count: number): Operation[] {
    return this.#operations
      .filter(filter)
      .sort((a, b) => a.invoked - b.invoked)
      .slice(-count);
  }
}

/** A set of configurations in which none is at least as good as another. */
class Antichain {
  readonly #byValue = new Map<string, Configuration[]>();

  /** False when one that is at least as good is there already. */
  add(candidate: Configuration): boolean {
    const key = `${JSON.stringify(candidate.state)}|${candidate.done.join()}`;
    const list = this.#byValue.get(key);
    if (!list) {
      this.#byValue.set(key, [candidate]);
      return true;
    }
    if (list.some((c) => usesNoMore(c, candidate))) return false;
    this.#byValue.set(key, [...list.filter((c) => !usesNoMore(candidate, c)), candidate]);
    return true;
  }

  all(): Configuration[] {
    return [...this.#byValue.values()].flat();
  }
}

function usesNoMore(a: Configuration, b: Configuration): boolean {
  for (let i = 0; i < a.used.length; i++) if (a.used[i]! > (b.used[i] ?? 0)) return false;
  return true;
}

function describe(o: Operation): string {
  const { kind, ...args } = o.call;
  const outcome = o.returned === undefined ? 'outcome unknown' : JSON.stringify(o.answer);
  return `client ${o.client} ${kind}${JSON.stringify(args)} -> ${outcome}  [${o.invoked} … ${o.returned ?? '∞'}]`;
}
