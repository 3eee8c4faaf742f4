/**
 * A simulated cluster, for tests: `import { simulate } from 'distributed/sim'`.
 *
 * ## Concept
 *
 * `simulate` runs a program against a whole cluster in one process: the same nodes that production runs, over simulated clocks, a
 * simulated network and simulated disks. Time is simulated too: an hour of waiting costs nothing, and `sleep` is how a
 * program waits. Machines can lose power, processes die or pause, links break, disks fill and fail, all by
 * the program's own choice and at the moment that it chooses.
 *
 *     await simulate({ seed: 7 }, async (cluster) => {
 *       const client = cluster.client(cluster.node(1));
 *       await client.ask('SET a 1');
 *       cluster.powerOff(cluster.node(2));
 *       await cluster.sleep(1_000);
 *       ...
 *     });
 *
 * ## Invariants
 *
 * - One seed decides everything: the same seed and the same program give the same run, event for event, on any machine. The
 *   `traceHash` that comes back is a hash of all events; two runs of a seed must have the same one.
 * - Nothing waits for real time. Whatever the program awaits must come from the simulated world (`ask`, `sleep`, `until`, `leader`);
 *   after each event all promises that it settled are acted on before the next event happens.
 *
 * ## Caveats
 *
 * - A program that asks the real clock or `Math.random` is not decided by the seed. `cluster.random` and `cluster.now` are.
 * - A program that awaits real input or output lets simulated time pass meanwhile.
 *
 * Parts: world.ts (events, hosts, clocks), network.ts and socket.ts, disk.ts, cluster.ts (nodes), client.ts; check/ holds checkers that
 * share no code with the product; run/ is the simulation that tests the product itself (`npm run sim`).
 */
import type { NodeOptions } from '../node/options.js';
import { SimCluster, type StoreKind } from './cluster.js';

export { SimClient } from './client.js';
export { SimCluster, SimNode, type StoreKind } from './cluster.js';
export type { CrashMode, SimDisk } from './disk.js';
export { type Conditions, calm, type SimNetwork } from './network.js';
export { SeededRandom } from './random.js';
export type { SimHost, World } from './world.js';

export interface SimulateOptions {
  /** Decides everything. Default: 1. */
  readonly seed?: number | string;
  /** Members. Default: 3. */
  readonly nodes?: number;
  /** What keeps the data: the kernel, or its twin in plain TypeScript, which starts faster. Default: `js`. */
  readonly store?: StoreKind;
  /** Options of all nodes, where they differ from the defaults. */
  readonly options?: Partial<NodeOptions>;
  /** The program may take so much simulated time. Default: an hour. */
  readonly limitMs?: number;
  /** Gets each line that a node logs, to print a run. */
  readonly log?: (timeMs: number, node: number, level: string, text: string) => void;
}

export interface Simulated {
  readonly simulatedMs: number;
  /** Hash of everything that happened. */
  readonly traceHash: string;
}

/**
 * Starts a cluster, runs `program` against it, and ends the world with it. Rejects with what the program throws, when it
 * takes longer than `limitMs`, or when a node stopped by itself that the program did not expect to (see `SimNode.failure`).
 */
export async function simulate(
  options: SimulateOptions,
  program: (cluster: SimCluster) => Promise<void>,
): Promise<Simulated> {
  const { seed = 1, nodes = 3, store = 'js', limitMs = 3_600_000, log } = options;
  const stores = Array.from({ length: nodes }, () => store);
  const cluster = new SimCluster(seed, stores, { segmentBytes: 65_536, ...options.options });
  if (log) cluster.onLine = (node, level, text) => log(cluster.now, node.id, level, text);
  cluster.startAll();
  let end: { readonly error?: unknown } | undefined;
  const playing = cluster.world.play(() => end !== undefined, limitMs);
  program(cluster).then(
    () => {
      end = {};
    },
    (error) => {
      end = { error };
    },
  );
  if (!(await playing))
    throw new Error(`seed ${seed}: the program had not ended after ${limitMs} simulated milliseconds`);
  if (end && 'error' in end) throw end.error;
  cluster.assertHealthy();
  return { simulatedMs: cluster.now, traceHash: cluster.world.traceHash };
}
