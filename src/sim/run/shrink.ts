/**
 * Makes a failing schedule smaller: drops faults as long as the same checker still finds something. First halves, then quarters, down to
 * single ones (Zeller's delta debugging, without its complement step), until nothing more can go or the time is up.
 */
import { Violation } from '../check/violation.js';
import type { Plan, PlannedFault } from './plan.js';
import { runPlan } from './run.js';

export interface Shrunk {
  readonly plan: Plan;
  readonly runs: number;
}

export async function shrink(plan: Plan, checker: string, untilMs: number): Promise<Shrunk> {
  let faults = await withoutLate(plan, checker);
  let runs = 1;
  for (let size = Math.ceil(faults.length / 2); size >= 1 && performance.now() < untilMs; ) {
    let dropped = false;
    for (let at = 0; at < faults.length && performance.now() < untilMs; ) {
      const rest = [...faults.slice(0, at), ...faults.slice(at + size)];
      runs++;
      if (await stillFails({ ...plan, faults: rest }, checker)) {
        faults = rest;
        dropped = true;
      } else at += size;
    }
    if (size === 1 && !dropped) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
  }
  return { plan: { ...plan, faults }, runs };
}

/** Faults that begin after the failure cannot be its cause. */
async function withoutLate(plan: Plan, checker: string): Promise<readonly PlannedFault[]> {
  let last = -1;
  try {
    await runPlan(plan, {
      tell: (_timeMs, who, what) => {
        if (who === 'fault') last = Math.max(last, Number(what.split(' ')[0]));
      },
    });
  } catch (error) {
    if (!(error instanceof Violation) || error.checker !== checker) return plan.faults;
    const early = plan.faults.filter(({ number }) => number <= last);
    if (await stillFails({ ...plan, faults: early }, checker)) return early;
  }
  return plan.faults;
}

async function stillFails(plan: Plan, checker: string): Promise<boolean> {
  try {
    await runPlan(plan);
    return false;
  } catch (error) {
    return error instanceof Violation && error.checker === checker;
  }
}
