/**
 * The process in which one store is measured: one kind a process, so that no store's garbage or code is in another's way.
 * It carries out the parent's requests one at a time (see store.ts) and is idle between them.
 */
import { createHash } from 'node:crypto';
import { sealRecord } from '../log/record.js';
import type { Store, StoreOptions } from '../store/store.js';
import { BareMap, encodeLines } from './bare-map.js';
import { Histogram } from './statistics.js';
import { type BatchList, type BenchOperation, fillBatches, makeList, type Shape } from './workload.js';

export type StoreKind = 'wasm' | 'js' | 'map';

export type Request =
  | { readonly type: 'load'; readonly kind: StoreKind; readonly shape: Shape }
  | { readonly type: 'check'; readonly operation: BenchOperation; readonly batch: number }
  | { readonly type: 'prepare'; readonly operation: BenchOperation; readonly batch: number }
  | { readonly type: 'measure'; readonly seconds: number };

export interface Loaded {
  readonly opsPerSecond: number;
  readonly maxPauseMs: number;
  readonly bytesPerKey: number;
}
export interface Checked {
  /** SHA-256 of all result bytes of a fixed number of batches, and of the state after them (empty for the map). */
  readonly results: string;
  readonly state: string;
}
export interface Measured {
  readonly opsPerSecond: number;
  readonly p99Micros: number;
  readonly maxPauseMs: number;
}

/** What is measured, as the benchmark sees it. */
interface Subject {
  run(operations: Uint8Array): Uint8Array;
  /** Lines of SETs to the bytes of an entry. */
  encode(lines: Uint8Array): Uint8Array;
  /** After `encode`, untimed: forgets the entry. */
  forget(): void;
  revision(): number;
  stateHash(): string;
  /** Bytes of memory that it holds and V8 does not count. */
  held(): number;
}

/** Up to this many commands between two readings of the clock; it bounds what reading costs. */
const GROUP_COMMANDS = 64;
/** Share of the time that is spent on groups; the rest takes the time of each call, for the percentile. */
const GROUP_SHARE = 0.75;
const CHECK_COMMANDS = 4096;

class MapSubject implements Subject {
  readonly #map = new BareMap();
  run(operations: Uint8Array): Uint8Array {
    return this.#map.run(operations);
  }
  encode(lines: Uint8Array): Uint8Array {
    return encodeLines(lines);
  }
  forget(): void {}
  /** It has none; any that is not 0 tells it that a key is expected to be there. */
  revision(): number {
    return 2 ** 32;
  }
  stateHash(): string {
    return '';
  }
  held(): number {
    return 0;
  }
}

class StoreSubject implements Subject {
  readonly #store: Store;
  readonly #slot: number;
  #sequence = 0;

  constructor(store: Store) {
    this.#store = store;
    this.#slot = store.open();
  }
  run(operations: Uint8Array): Uint8Array {
    return this.#store.run(operations);
  }
  encode(lines: Uint8Array): Uint8Array {
    this.#store.feed(this.#slot, lines);
    this.#store.ingest(0);
    const entry = this.#store.seal();
    if (!entry) throw new Error('bench store: the lines made no entry');
    this.#sequence = entry.sequence;
    return entry.record;
  }
  /** The entry is given up, and the empty one in its place applied, so that nothing is left of it. */
  forget(): void {
    const store = this.#store;
    const { record, payloadCrc } = store.giveUp(this.#sequence, 'stopping', true);
    const fields = { index: store.applied + 1, term: 1, logTime: 0, wall: 0, type: 1 };
    sealRecord(record, fields, payloadCrc, store.crc32c);
    store.stage(record);
    while (store.apply() === 'more');
    store.drain({ output() {}, event() {} });
  }
  revision(): number {
    return this.#store.stats().revision;
  }
  stateHash(): string {
    return this.#store.stats().stateHash;
  }
  held(): number {
    return this.#store.kind === 'wasm' ? this.#store.stats().reservedBytes : 0;
  }
}

async function makeSubject(kind: StoreKind): Promise<Subject> {
  if (kind === 'map') return new MapSubject();
  const options: StoreOptions = { identity: new Uint8Array(16).fill(7), starts: 1, nonce: 1, seed: seedBytes() };
  if (kind === 'wasm') return new StoreSubject(new (await import('../store/wasm-store.js')).WasmStore(options));
  return new StoreSubject(new (await import('../store/js-store.js')).JsStore(options));
}

function seedBytes(): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) => i * 17 + 3);
}

/** One list of batches, and how to go through it in a circle. */
class Row {
  readonly #subject: Subject;
  readonly #operation: BenchOperation;
  readonly #batch: number;
  readonly #list: BatchList;
  #cursor = 0;

  constructor(subject: Subject, operation: BenchOperation, batch: number, shape: Shape) {
    this.#subject = subject;
    this.#operation = operation;
    this.#batch = batch;
    this.#list = makeList(operation, shape, batch);
  }

  /** The first batches, untimed: what they answered, and what state they left. */
  check(): Checked {
    const hash = createHash('sha256');
    this.#begin();
    const count = Math.min(this.#list.batches.length, Math.ceil(CHECK_COMMANDS / this.#batch));
    for (const batch of this.#list.batches.slice(0, count)) {
      if (this.#operation === 'encode') {
        hash.update(this.#subject.encode(batch));
        this.#subject.forget();
      } else {
        const result = this.#subject.run(batch);
        const error = firstError(result);
        if (error) throw new Error(`bench store: ${this.#operation}: ${error}`);
        hash.update(result);
      }
    }
    this.#cursor = count;
    const state = this.#subject.stateHash();
    this.#renew();
    return { results: hash.digest('hex'), state };
  }

  measure(seconds: number): Measured {
    if (this.#operation === 'encode') return this.#measureEncode(seconds);
    this.#begin();
    const calls = new Histogram();
    const group = Math.max(1, Math.floor(GROUP_COMMANDS / this.#batch));
    const share = group === 1 ? 1 : GROUP_SHARE;
    const grouped = this.#phase(seconds * 1000 * share, group, group === 1 ? calls : undefined);
    let longest = grouped.longest;
    if (group > 1) longest = Math.max(longest, this.#phase(seconds * 1000 * (1 - share), 1, calls).longest);
    if (this.#list.restore) this.#renew();
    return {
      opsPerSecond: (grouped.calls * this.#batch * 1000) / grouped.elapsed,
      p99Micros: calls.quantile(0.99) / 1000,
      maxPauseMs: longest,
    };
  }

  /** Runs batches for `budget` ms of measured time; `group` of them between two readings of the clock. */
  #phase(budget: number, group: number, histogram: Histogram | undefined) {
    const { batches } = this.#list;
    const subject = this.#subject;
    let [elapsed, longest, calls] = [0, 0, 0];
    while (elapsed < budget) {
      if (this.#cursor === batches.length) this.#renew();
      let before = performance.now();
      while (this.#cursor < batches.length && elapsed < budget) {
        const end = Math.min(this.#cursor + group, batches.length);
        calls += end - this.#cursor;
        for (let i = this.#cursor; i < end; i++) subject.run(batches[i]!);
        this.#cursor = end;
        const now = performance.now();
        const took = now - before;
        before = now;
        elapsed += took;
        if (took > longest) longest = took;
        histogram?.add(took * 1e6);
      }
    }
    return { elapsed, longest, calls };
  }

  /** Each entry is forgotten before the next one, outside the measured time. */
  #measureEncode(seconds: number): Measured {
    const { batches } = this.#list;
    const histogram = new Histogram();
    const deadline = performance.now() + seconds * 4000;
    let elapsed = 0;
    while (elapsed < seconds * 1000 && performance.now() < deadline) {
      const lines = batches[this.#cursor % batches.length]!;
      this.#cursor++;
      const before = performance.now();
      this.#subject.encode(lines);
      const took = performance.now() - before;
      this.#subject.forget();
      elapsed += took;
      histogram.add(took * 1e6);
    }
    return {
      opsPerSecond: (histogram.count * this.#batch * 1000) / elapsed,
      p99Micros: histogram.quantile(0.99) / 1000,
      maxPauseMs: histogram.max / 1e6,
    };
  }

  /** Before the first batch of a measurement; COMMITs learn the revisions of their keys by writing all of them once. */
  #begin(): void {
    const { transactions } = this.#list;
    if (!transactions) return;
    this.#cursor = 0;
    let revision = this.#subject.revision();
    for (const batch of transactions.touch) this.#subject.run(batch);
    for (let i = 0; i < transactions.count; i++) {
      transactions.expect(i, revision + 1, revision + 2);
      revision += 2;
    }
  }

  /** Makes the list valid again from its start. */
  #renew(): void {
    const { restore, transactions } = this.#list;
    if (restore) for (const batch of restore.slice(0, this.#cursor)) this.#subject.run(batch);
    if (transactions && this.#cursor === this.#list.batches.length) {
      const before = this.#subject.revision() - transactions.count;
      for (let i = 0; i < transactions.count; i++) transactions.expect(i, before + i + 1, before + i + 1);
    }
    this.#cursor = 0;
  }
}

/** The first reply that is an error, if any. */
function firstError(result: Uint8Array): string | undefined {
  const text = Buffer.from(result.buffer, result.byteOffset, result.length).toString('latin1');
  return /^(ERR|UNKNOWN).*/m.exec(text)?.[0];
}

/** What V8 holds after a collection, and the kernel's pages, which V8 does not count. */
function memoryInUse(subject: Subject): number {
  for (let i = 0; i < 3; i++) globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external + subject.held();
}

class Child {
  #subject: Subject | undefined;
  #shape: Shape = { keys: 0, valueSize: 0 };
  #row: Row | undefined;

  async handle(request: Request): Promise<Loaded | Checked | Measured | null> {
    switch (request.type) {
      case 'load':
        return await this.#load(request.kind, request.shape);
      case 'check':
        this.#row = undefined;
        return this.#make(request.operation, request.batch).check();
      case 'prepare':
        this.#row = undefined;
        this.#row = this.#make(request.operation, request.batch);
        return null;
      case 'measure':
        return this.#row!.measure(request.seconds);
    }
  }

  #make(operation: BenchOperation, batch: number): Row {
    return new Row(this.#subject!, operation, batch, this.#shape);
  }

  async #load(kind: StoreKind, shape: Shape): Promise<Loaded> {
    this.#shape = shape;
    this.#subject = await makeSubject(kind);
    const subject = this.#subject;
    const before = memoryInUse(subject);
    let [elapsed, longest] = [0, 0];
    for (const batch of fillBatches(shape)) {
      const started = performance.now();
      subject.run(batch);
      const took = performance.now() - started;
      elapsed += took;
      if (took > longest) longest = took;
    }
    return {
      opsPerSecond: (shape.keys * 1000) / elapsed,
      maxPauseMs: longest,
      bytesPerKey: Math.max(0, memoryInUse(subject) - before) / shape.keys,
    };
  }
}

const child = new Child();
process.on('message', (request: Request) => {
  child.handle(request).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
