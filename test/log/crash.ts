/** Crashes of a workload: the disk as it was before each of its steps, to be crashed there as often as one likes. */
import type { CrashMode, SimDisk } from '../../src/sim/disk.js';
import { simDisk, simOptions } from './helper.js';
import { type Promised, Workload } from './workload.js';

export interface CrashPoint {
  readonly disk: SimDisk;
  readonly promised: Promised;
  readonly at: string;
}

/** Runs a workload, and returns the disk as it was before each of its steps. */
export async function crashPoints(
  seed: number,
  steps: number,
  snapshots = false,
): Promise<{ workload: Workload; points: CrashPoint[] }> {
  const disk = simDisk(seed);
  const workload = new Workload(disk, seed, snapshots);
  const points: CrashPoint[] = [];
  const note = (at: string): void => {
    points.push({ disk: disk.fork(simOptions(seed)), promised: workload.promised, at });
  };
  disk.onStep = (step, path) => note(`${step} ${path}`);
  await workload.run(steps);
  note('end');
  return { workload, points };
}

/** A fork of the point's disk that has crashed. */
export function crashed({ disk }: CrashPoint, mode: CrashMode, seed: number): SimDisk {
  const fork = disk.fork(simOptions(seed));
  fork.crash(mode);
  return fork;
}

/** Names the point in the error of whatever `work` finds wrong there. */
export async function named(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
