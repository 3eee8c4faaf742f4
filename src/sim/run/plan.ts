/**
 * What a run will be like, decided up front from its seed as plain data: members, options, weather, and the schedule of faults. So
 * a schedule can be shrunk: each fault draws its own choices from a seed of its own, and leaving one out changes nothing
 * about the others but what the cluster makes of them.
 *
 * Runs differ on purpose ("swarm testing", Groce et al. 2012): each uses only some kinds of fault, at its own pace. What is rare when everything
 * happens at once is common when little else does.
 */
import { type Conditions, calm } from '../network.js';
import { SeededRandom } from '../random.js';

export interface PlannedFault {
  /** Its place in the whole schedule: names it in `--only`. */
  readonly number: number;
  readonly kind: string;
  /** Milliseconds after the faults begin, and how long it lasts. */
  readonly at: number;
  readonly lasts: number;
  /** For its own choices. */
  readonly seed: number;
}

export interface Plan {
  readonly seed: number | string;
  readonly stores: readonly ('js' | 'wasm')[];
  /** Simulated milliseconds of faults. */
  readonly ms: number;
  readonly conditions: Conditions;
  readonly options: {
    readonly heartbeatMs: number;
    readonly electionMs: readonly [number, number];
    readonly requestTimeoutMs: number;
    readonly transactionIdleMs: number;
    readonly segmentBytes: number;
    readonly snapshotLogBytes: number;
    readonly appendBytes: number;
    readonly read: 'quorum' | 'lease';
  };
  /** Clients of each kind, and the milliseconds that one rests between two bursts. */
  readonly clients: number;
  readonly restMs: number;
  readonly faults: readonly PlannedFault[];
}

export interface PlanOptions {
  /** Simulated milliseconds of faults; drawn unless given. */
  readonly ms?: number;
  /** Kinds of fault to choose from. */
  readonly kinds: readonly string[];
  /** Numbers of the planned faults to keep; all unless given. */
  readonly only?: readonly number[];
  readonly store?: 'js' | 'wasm';
}

export function planOf(seed: number | string, options: PlanOptions): Plan {
  const random = new SeededRandom(`${seed}/plan`);
  const pick = <T>(...values: readonly T[]): T => values[random.integer(0, values.length - 1)]!;
  const size = pick(1, 3, 3, 3, 3, 3, 5);
  const drawn = pick<'js' | 'wasm' | 'mixed'>('js', 'wasm', 'mixed', 'mixed');
  const kind = options.store ?? drawn;
  const stores = Array.from({ length: size }, () => (kind === 'mixed' ? pick('js' as const, 'wasm' as const) : kind));
  const drawnMs = pick(20_000, 40_000, 60_000, 100_000);
  // Five nodes cost as much as three in twice the time.
  const ms = options.ms ?? (size === 5 ? drawnMs / 2 : drawnMs);
  const heartbeatMs = pick(50, 100, 100, 100);
  const faults = schedule(random, ms, swarm(random, options.kinds));
  // Of its own, so that a plan is the same but for this whatever is drawn here.
  const snapshotLogBytes = new SeededRandom(`${seed}/snapshots`).integer(0, 3);
  const appendBytes = new SeededRandom(`${seed}/appends`).integer(0, 2);
  return {
    seed,
    stores,
    ms,
    conditions: {
      ...calm,
      delayMs: pick([0.1, 1] as const, [0.1, 1] as const, [0.5, 8] as const, [5, 20] as const),
      splitChance: pick(0, 0.1, 0.3),
      joinChance: pick(0, 0.1, 0.3),
    },
    options: {
      heartbeatMs,
      electionMs: [heartbeatMs * 4, heartbeatMs * 8],
      requestTimeoutMs: pick(1_000, 2_000, 5_000),
      transactionIdleMs: pick(2_000, 30_000),
      segmentBytes: pick(8_192, 16_384, 65_536),
      snapshotLogBytes: [8_192, 16_384, 65_536, 67_108_864][snapshotLogBytes]!,
      // With few entries in each, who catches up is at every place between two of them for a moment.
      appendBytes: [1, 600, 4_194_304][appendBytes]!,
      // A lease assumes that clocks keep much the same pace.
      read: pick('quorum', 'quorum', faults.some(({ kind }) => kind === 'clock drifts') ? 'quorum' : 'lease'),
    },
    clients: pick(1, 1, 2),
    restMs: pick(300, 1_000, 2_000),
    faults: options.only ? faults.filter(({ number }) => options.only!.includes(number)) : faults,
  };
}

/** Some of the kinds. */
function swarm(random: SeededRandom, kinds: readonly string[]): string[] {
  const share = random.between(0.15, 1);
  const chosen = kinds.filter(() => random.chance(share));
  return chosen.length > 0 ? chosen : [...kinds];
}

function schedule(random: SeededRandom, ms: number, kinds: readonly string[]): PlannedFault[] {
  const faults: PlannedFault[] = [];
  const pauseMs = random.between(300, 2_500);
  const longest = random.between(500, 5_000);
  for (let at = random.between(0, pauseMs); at < ms; at += random.between(0, 2 * pauseMs)) {
    const kind = kinds[random.integer(0, kinds.length - 1)]!;
    faults.push({ number: faults.length, kind, at, lasts: random.between(50, longest), seed: random.word() });
  }
  return faults;
}
