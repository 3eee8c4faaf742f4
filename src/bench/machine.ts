/** What a figure was measured on: printed beside every result, for no figure means anything without it. */
import { cpus, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly platform: string;
}

export function machine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}

/** One line for people. */
export function machineLine(m: Machine): string {
  return `${m.cores} x ${m.cpu}, ${m.memoryGiB} GiB, ${m.platform}, Node ${m.node}`;
}
