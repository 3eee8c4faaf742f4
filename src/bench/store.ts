/**
 * `distributed bench store`: the two stores side by side on the same bytes, and beside them the least that a JavaScript
 * program can do (bare-map.ts).
 *
 * ## Concept
 *
 * Each store runs in a process of its own (store-child.ts), with `--expose-gc`, filled with the same keys. First every
 * operation is run once, untimed, on the same state: result bytes and state hashes are compared, and a difference is an
 * error, not a footnote. Then every row (operation, batch) is measured three times, the stores in turn within each
 * repeat, so that a disturbance of the machine falls on all of them.
 *
 * ## What is measured
 *
 * - Throughput: commands a second; the median of three repeats, and their spread. The clock is read once for at least 64
 *   commands.
 * - p99Micros: per call (one call is one batch), over calls that are timed one by one.
 * - maxPauseMs: the longest time between two readings of the clock, so a garbage collection between calls counts.
 * - bytesPerKey: what filling an empty store added, divided by the keys: heap and external memory as V8 counts them after
 *   a collection, and the pages of the kernel's memory, which V8 does not count.
 *
 * `set get delete mixed` are batches of plain operations (mixed: half reads, half writes); `txn` are COMMITs that check two keys
 * and write them; `encode` is feed, ingest and seal of `SET` lines: from a client's bytes to the bytes of an entry.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Machine, machine, machineLine } from './machine.js';
import { median, short, spread, table } from './statistics.js';
import type { Checked, Loaded, Measured, Request, StoreKind } from './store-child.js';
import { type BenchOperation, benchOperations } from './workload.js';

export { type BenchOperation, benchOperations } from './workload.js';

export const benchBatches = [1, 16, 128] as const;
const kinds: readonly StoreKind[] = ['wasm', 'js', 'map'];
const REPEATS = 3;

export interface BenchStoreOptions {
  /** Keys in the store; default 200,000. */
  readonly keys?: number;
  /** Bytes of a value; default 100. */
  readonly valueSize?: number;
  /** Seconds for a row and repeat; default 0.3. */
  readonly seconds?: number;
  /** Operations to measure; default all. */
  readonly only?: readonly BenchOperation[];
  /** Batch sizes; default 1, 16, 128. */
  readonly batches?: readonly number[];
  /** Print the report as JSON instead of a table. */
  readonly json?: boolean;
  /** Receives the report; standard output unless given. */
  readonly out?: (text: string) => void;
  /** Receives one line a step; standard error unless given. */
  readonly progress?: (text: string) => void;
}

export interface StoreRow {
  readonly store: StoreKind;
  readonly op: BenchOperation;
  readonly batch: number;
  readonly keys: number;
  readonly valueSize: number;
  readonly opsPerSecond: number;
  /** (largest − smallest) / median of the repeats' throughput. */
  readonly spread: number;
  readonly p99Micros: number;
  readonly bytesPerKey: number;
  readonly maxPauseMs: number;
}

export interface StoreReport {
  readonly machine: Machine;
  readonly results: readonly StoreRow[];
  /** Filling the empty stores. */
  readonly loads: readonly ({ readonly store: StoreKind } & Loaded)[];
}

/** A child process that carries out requests one at a time. */
class Worker {
  readonly kind: StoreKind;
  readonly #child: ChildProcess;

  constructor(kind: StoreKind) {
    this.kind = kind;
    this.#child = fork(fileURLToPath(new URL('./store-child.js', import.meta.url)), {
      execArgv: ['--expose-gc', '--max-old-space-size=8192'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  ask<T>(request: Request): Promise<T> {
    return new Promise((resolve, reject) => {
      const gone = (code: number | null) => reject(new Error(`bench store: the ${this.kind} process ended (${code})`));
      this.#child.once('exit', gone);
      this.#child.once('message', (answer: { result?: T; error?: string }) => {
        this.#child.off('exit', gone);
        if (answer.error === undefined) resolve(answer.result as T);
        else reject(new Error(answer.error));
      });
      this.#child.send(request);
    });
  }

  stop(): void {
    this.#child.kill();
  }
}

/** Measures, prints the report, and returns it. Rejects when the stores' answers differ. */
export async function benchStore(options: BenchStoreOptions = {}): Promise<StoreReport> {
  const { keys = 200_000, valueSize = 100, seconds = 0.3, only = benchOperations, batches = benchBatches } = options;
  const out = options.out ?? ((text: string) => void process.stdout.write(text));
  const progress = options.progress ?? ((text: string) => void process.stderr.write(`${text}\n`));
  const smallest = Math.max(...batches) * 2;
  if (!(keys >= smallest)) throw new Error(`bench store: --keys must be at least ${smallest}, not ${keys}`);
  if (!(valueSize >= 1 && valueSize <= 1_048_576))
    throw new Error('bench store: --value-size must be from 1 to 1048576');
  if (!(seconds > 0)) throw new Error('bench store: --seconds must be above 0');
  const workers = kinds.map((kind) => new Worker(kind));
  try {
    const loads = await load(workers, keys, valueSize, progress);
    await check(workers, only, batches, progress);
    const results: StoreRow[] = [];
    for (const op of only) {
      for (const batch of batches) {
        const measured = await measureRow(workers, op, batch, seconds, progress);
        results.push(...measured.map((runs, i) => summarise(loads[i]!, op, batch, keys, valueSize, runs)));
      }
    }
    const report = { machine: machine(), results, loads };
    out(options.json ? `${JSON.stringify(report)}\n` : formatStoreReport(report));
    return report;
  } finally {
    for (const worker of workers) worker.stop();
  }
}

async function load(workers: readonly Worker[], keys: number, valueSize: number, progress: (text: string) => void) {
  const loads: ({ store: StoreKind } & Loaded)[] = [];
  for (const worker of workers) {
    const loaded = await worker.ask<Loaded>({ type: 'load', kind: worker.kind, shape: { keys, valueSize } });
    progress(`${worker.kind}: filled with ${keys} keys, ${short(loaded.opsPerSecond)}/s`);
    loads.push({ store: worker.kind, ...loaded });
  }
  return loads;
}

/** The untimed pass: the same bytes must come back from all, and the stores must be in the same state. */
async function check(
  workers: readonly Worker[],
  only: readonly BenchOperation[],
  batches: readonly number[],
  progress: (text: string) => void,
): Promise<void> {
  for (const operation of only) {
    for (const batch of batches) {
      const answers: Checked[] = [];
      for (const worker of workers) answers.push(await worker.ask<Checked>({ type: 'check', operation, batch }));
      const [wasm, js, map] = answers as [Checked, Checked, Checked];
      const what = `${operation} in batches of ${batch}`;
      if (wasm.results !== js.results) throw new Error(`bench store: ${what}: the stores' results differ`);
      if (wasm.state !== js.state) throw new Error(`bench store: ${what}: the stores' state hashes differ`);
      if (operation !== 'encode' && wasm.results !== map.results) {
        throw new Error(`bench store: ${what}: the bare map's results differ from the stores'`);
      }
    }
    progress(`${operation}: results are the same, byte for byte`);
  }
}

async function measureRow(
  workers: readonly Worker[],
  operation: BenchOperation,
  batch: number,
  seconds: number,
  progress: (text: string) => void,
): Promise<Measured[][]> {
  const runs: Measured[][] = workers.map(() => []);
  for (const worker of workers) await worker.ask<null>({ type: 'prepare', operation, batch });
  for (let repeat = 1; repeat <= REPEATS; repeat++) {
    for (const [i, worker] of workers.entries()) {
      runs[i]!.push(await worker.ask<Measured>({ type: 'measure', seconds }));
    }
    const figures = workers.map((worker, i) => `${worker.kind} ${short(runs[i]![repeat - 1]!.opsPerSecond)}/s`);
    progress(`${operation} in batches of ${batch}, ${repeat} of ${REPEATS}: ${figures.join(', ')}`);
  }
  return runs;
}

function summarise(
  loaded: { store: StoreKind } & Loaded,
  op: BenchOperation,
  batch: number,
  keys: number,
  valueSize: number,
  runs: readonly Measured[],
): StoreRow {
  const rates = runs.map((run) => run.opsPerSecond);
  return {
    store: loaded.store,
    op,
    batch,
    keys,
    valueSize,
    opsPerSecond: Math.round(median(rates)),
    spread: round(spread(rates), 3),
    p99Micros: round(median(runs.map((run) => run.p99Micros)), 2),
    bytesPerKey: Math.round(loaded.bytesPerKey),
    maxPauseMs: round(Math.max(...runs.map((run) => run.maxPauseMs)), 2),
  };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** The report as people read it. */
export function formatStoreReport(report: StoreReport): string {
  const head = ['op', 'batch', 'wasm/s', '±', 'js/s', '±', 'map/s', '±', 'wasm:js', 'wasm:map', 'js:map'];
  const rows: string[][] = [[...head, 'p99 us', 'js', 'map', 'longest ms', 'js', 'map']];
  for (let i = 0; i < report.results.length; i += kinds.length) {
    const [wasm, js, map] = report.results.slice(i, i + kinds.length) as [StoreRow, StoreRow, StoreRow];
    const all = [wasm, js, map];
    rows.push([
      wasm.op,
      String(wasm.batch),
      ...all.flatMap((row) => [short(row.opsPerSecond), `${Math.round(row.spread * 100)}%`]),
      ratio(wasm, js),
      ratio(wasm, map),
      ratio(js, map),
      ...all.map((row) => row.p99Micros.toFixed(1)),
      ...all.map((row) => row.maxPauseMs.toFixed(1)),
    ]);
  }
  const [first] = report.results;
  const size = first ? `${first.keys} keys, values of ${first.valueSize} bytes; one row is one kind of batch\n` : '';
  return [
    `${machineLine(report.machine)}\n`,
    size,
    '\n',
    table(rows, 1),
    '\n',
    ...report.loads.map((l) => `${memoryLine(l)}\n`),
  ].join('');
}

function memoryLine(l: { store: StoreKind } & Loaded): string {
  const pause = `longest pause while filling ${l.maxPauseMs.toFixed(1)} ms`;
  return `${l.store.padEnd(4)}  ${Math.round(l.bytesPerKey)} bytes a key, filled at ${short(l.opsPerSecond)}/s, ${pause}`;
}

function ratio(a: StoreRow, b: StoreRow): string {
  return b.opsPerSecond === 0 ? '-' : `${(a.opsPerSecond / b.opsPerSecond).toPrecision(3)}x`;
}
