/**
 * `npm run sim`: runs of the simulation, by hand or for as long as one likes (`--help` lists the flags).
 *
 * A failure is shrunk to the faults that it needs, and told with the command that replays it. Ends with 1 then.
 */
import { parseArgs } from 'node:util';
import { Violation } from '../check/violation.js';
import { faultKinds } from './faults.js';
import { type Plan, planOf } from './plan.js';
import { type RunReport, runPlan } from './run.js';
import { shrink } from './shrink.js';

const shrinkMs = 60_000;

const usage = `npm run sim -- [flags]

  --seed S        one seed: a number, or any text
  --seeds A-B     a range of seeds (default: 1-10)
  --seconds N     seeds from a random one on, until so many seconds are over
  --trace         tells the story of each run, line by line
  --only 3,5      with these of its faults alone, as a failure names them; none: without any
  --store S       js or wasm for all nodes, in place of a mixture
  --ms N          time with faults, in simulated milliseconds
  --no-shrink     a failure is told as it is, and not shrunk to the faults that it needs
  --json          the totals as one line of JSON

Exit codes: 0 nothing found, 1 a failure, 2 a wrong use.`;

export interface SimArguments {
  readonly seeds: Iterable<number | string>;
  readonly trace: boolean;
  readonly only: readonly number[] | undefined;
  readonly store: 'js' | 'wasm' | undefined;
  readonly ms: number | undefined;
  readonly shrinks: boolean;
  /** The totals come as one line of JSON. */
  readonly json: boolean;
}

/** Totals over many runs. */
export class Totals {
  runs = 0;
  simulatedMs = 0;
  realMs = 0;
  readonly faults = new Map<string, number>();
  readonly counts = new Map<string, number>();
  /** Trace hash of each seed. */
  readonly traces = new Map<number | string, string>();

  add(report: RunReport, realMs: number): void {
    this.runs++;
    this.simulatedMs += report.simulatedMs;
    this.realMs += realMs;
    addAll(this.faults, report.faults);
    addAll(this.counts, report.counts);
    this.traces.set(report.plan.seed, report.traceHash);
  }

  toJSON(): unknown {
    const { runs, simulatedMs, realMs, missing } = this;
    const [faults, counts, traces] = [this.faults, this.counts, this.traces].map((map) => Object.fromEntries(map));
    return { runs, simulatedMs, realMs, missing, faults, counts, traces };
  }

  /** Kinds of fault that never took effect. */
  get missing(): string[] {
    return faultKinds.map(({ name }) => name).filter((name) => !this.faults.has(name));
  }

  lines(): string[] {
    const seconds = this.simulatedMs / 1000;
    const table = (title: string, from: ReadonlyMap<string, number>): string[] => [
      title,
      ...[...from].sort(([a], [b]) => a.localeCompare(b)).map(([name, n]) => `  ${String(n).padStart(9)}  ${name}`),
    ];
    return [
      ...table('faults', this.faults),
      ...table('counts', this.counts),
      `${this.runs} runs, ${seconds.toFixed(0)} simulated seconds in ${(this.realMs / 1000).toFixed(1)} real ones: ${(seconds / (this.realMs / 1000)).toFixed(0)} each`,
    ];
  }
}

function addAll(to: Map<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(from)) to.set(name, (to.get(name) ?? 0) + n);
}

function* range(first: number, last: number): Generator<number> {
  for (let seed = first; seed <= last; seed++) yield seed;
}

/** Seeds one after the other until the time is over. */
function* until(deadline: number, first: number): Generator<number> {
  for (let seed = first; performance.now() < deadline; seed++) yield seed;
}

function number(name: string, text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new Error(`--${name} must be a number, not ${text || 'nothing'}`);
}

function seedsOf(values: { seed?: string; seeds?: string; seconds?: string }): Iterable<number | string> {
  if (values.seed !== undefined) return [Number.isInteger(Number(values.seed)) ? Number(values.seed) : values.seed];
  const first = values.seeds === undefined ? undefined : number('seeds', values.seeds.split('-')[0]!);
  if (values.seconds !== undefined)
    return until(performance.now() + number('seconds', values.seconds) * 1000, first ?? Date.now() % 2 ** 31);
  if (first === undefined) return range(1, 10);
  return range(first, number('seeds', values.seeds!.split('-')[1] ?? values.seeds!));
}

export function parse(args: readonly string[]): SimArguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: 'string' },
      seeds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      store: { type: 'string' },
      ms: { type: 'string' },
      trace: { type: 'boolean', default: false },
      'no-shrink': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const { store } = values;
  if (store !== undefined && store !== 'js' && store !== 'wasm') throw new Error(`--store is js or wasm, not ${store}`);
  return {
    seeds: seedsOf(values),
    trace: values.trace,
    only: values.only === undefined ? undefined : values.only === 'none' ? [] : values.only.split(',').map(Number),
    store,
    ms: values.ms === undefined ? undefined : number('ms', values.ms),
    shrinks: !values['no-shrink'],
    json: values.json,
  };
}

/** One line of the story. */
export function storyLine(timeMs: number, who: string, what: string): string {
  return `${(timeMs / 1000).toFixed(3).padStart(9)}  ${who.padEnd(10)} ${what}`;
}

function replay(plan: Plan, { store, ms }: SimArguments): string {
  const only = plan.faults.map((fault) => fault.number).join(',');
  const more = `${store ? ` --store ${store}` : ''}${ms === undefined ? '' : ` --ms ${ms}`}`;
  return `npm run sim -- --seed ${plan.seed} --only ${only || 'none'} --trace${more}`;
}

function planned(plan: Plan): string[] {
  return plan.faults.map(
    ({ number: n, kind, at, lasts }) =>
      `  ${String(n).padStart(4)}  ${kind}, at ${at.toFixed(0)} ms for ${lasts.toFixed(0)} ms`,
  );
}

async function tellFailure(
  plan: Plan,
  error: unknown,
  given: SimArguments,
  print: (line: string) => void,
): Promise<void> {
  const checker = error instanceof Violation ? error.checker : 'error';
  const text = error instanceof Violation ? error.message : String((error as Error).stack);
  print(`seed ${plan.seed} FAILED: ${checker}: ${text}`);
  let smallest = plan;
  if (given.shrinks && error instanceof Violation) {
    const { plan: shrunk, runs } = await shrink(plan, checker, performance.now() + shrinkMs);
    smallest = shrunk;
    print(`shrunk from ${plan.faults.length} to ${shrunk.faults.length} faults in ${runs} runs:`);
  }
  for (const line of planned(smallest)) print(line);
  print(`replay: ${replay(smallest, given)}`);
}

/** Runs the seeds; the exit code. */
export async function main(args: readonly string[], print: (line: string) => void): Promise<number> {
  if (args.includes('--help')) {
    print(usage);
    return 0;
  }
  let given: SimArguments;
  try {
    given = parse(args);
  } catch (error) {
    print(`sim: ${(error as Error).message}; npm run sim -- --help lists the flags`);
    return 2;
  }
  const totals = new Totals();
  const kinds = faultKinds.map(({ name }) => name);
  for (const seed of given.seeds) {
    const { ms, only, store } = given;
    const plan = planOf(seed, { kinds, ...(ms ? { ms } : {}), ...(only ? { only } : {}), ...(store ? { store } : {}) });
    const started = performance.now();
    try {
      const tell = (...line: [number, string, string]): void => print(storyLine(...line));
      const report = await runPlan(plan, given.trace ? { tell } : {});
      totals.add(report, performance.now() - started);
      print(
        `seed ${seed}: ${plan.stores.join(',')}, ${(report.simulatedMs / 1000).toFixed(0)} s, ${plan.faults.length} faults, ${report.counts.acknowledged} acknowledged, ${report.counts.unknown} unknown, trace ${report.traceHash}`,
      );
    } catch (error) {
      await tellFailure(plan, error, given, print);
      return 1;
    }
  }
  if (totals.runs === 0) {
    print('sim: no seed was run; npm run sim -- --help lists the flags');
    return 2;
  }
  for (const line of given.json ? [JSON.stringify(totals)] : totals.lines()) print(line);
  return 0;
}
