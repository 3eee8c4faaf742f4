/** All kinds of fault. Each is injected at a planned time, and healed when its time is over or the run ends. */
import type { SeededRandom } from '../random.js';
import { clientFaults } from './faults-clients.js';
import { diskFaults } from './faults-disk.js';
import { identityFaults } from './faults-identity.js';
import { memberFaults } from './faults-members.js';
import { networkFaults } from './faults-network.js';
import { processFaults } from './faults-process.js';
import { snapshotFaults } from './faults-snapshots.js';
import type { Stage } from './stage.js';

export type Heal = () => void;

export interface FaultKind {
  readonly name: string;
  /** Counted by itself, when it takes effect, and not when it is injected. */
  readonly countsItself?: boolean;
  /** While it lasts, reads are most likely to be stale. */
  readonly alarms?: boolean;
  /** Lets it happen, with choices drawn from `random`; undefined when it cannot happen now. */
  inject(stage: Stage, random: SeededRandom): Heal | undefined;
}

export const faultKinds: readonly FaultKind[] = [
  ...networkFaults,
  ...processFaults,
  ...diskFaults,
  ...identityFaults,
  ...clientFaults,
  ...snapshotFaults,
  ...memberFaults,
];

export function faultKind(name: string): FaultKind {
  const kind = faultKinds.find((each) => each.name === name);
  if (kind === undefined) throw new Error(`there is no fault ${name}`);
  return kind;
}
