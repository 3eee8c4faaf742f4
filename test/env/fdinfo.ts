import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Flags of the descriptors that this process has open on `path` (Linux). */
export function openFlags(path: string): number[] {
  const flags: number[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) !== path) continue;
      const line = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
      flags.push(Number.parseInt(line![1]!, 8));
    } catch {
      // The descriptor that the listing itself used is gone.
    }
  }
  return flags;
}
