import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LOCK_FILE, lockByFile, realDisk } from '../../src/env/real-disk.js';
import { diskContract } from './disk-contract.js';

const root = mkdtempSync(join(tmpdir(), 'disk-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const newFolder = (): string => join(root, `folder-${++folders}`);

diskContract('The real disk', () => ({ disk: realDisk(), folder: newFolder() }));

/** The flags of the descriptor that this process has open on `path` (octal in /proc/self/fdinfo). */
export function openFlags(path: string): number {
  const { dev: _, ...found } = { dev: 0, fd: descriptorOf(path) };
  const line = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${found.fd}`, 'utf8'));
  return Number.parseInt(line![1]!, 8);
}
