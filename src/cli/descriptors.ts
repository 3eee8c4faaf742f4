/** How many clients a node may serve before it has no descriptor left for its own files. */
import { readFileSync } from 'node:fs';
import { defaultNodeOptions } from '../node/options.js';

/** Descriptors that a node keeps for its log, its peers, and those whom it tells that it is busy. */
const ownDescriptors = 64;

/** The default, or less where the system gives this process fewer descriptors. */
export function connectionLimit(limits = readLimits()): number {
  const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  return Math.max(1, Math.min(defaultNodeOptions.maxConnections, soft - ownDescriptors));
}

/** The table of this process's limits; empty on a system that has none. */
function readLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return '';
  }
}
