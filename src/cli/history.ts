/**
 * The lines typed into the CLI, kept between runs: one a line, oldest first, in a file that only its owner may read (lines
 * hold values). Each line is appended as it is entered, so several CLIs share the file and a kill loses nothing. A file
 * that cannot be read or written costs the history, never the session.
 */
import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** What is kept; the file is cut back to it when it has grown to twice as many lines. */
const keep = 1_000;
/** Longer lines are data, not something to type again. */
const longest = 4_096;

/** `DISTRIBUTED_HISTORY`, else a file in the user's state folder (XDG); an empty value keeps no history. */
export function historyPath(env: Readonly<Record<string, string | undefined>> = process.env): string | undefined {
  if (env.DISTRIBUTED_HISTORY !== undefined) return env.DISTRIBUTED_HISTORY || undefined;
  const { XDG_STATE_HOME: state } = env;
  // Relative paths in XDG variables are to be ignored.
  return join(state && isAbsolute(state) ? state : join(homedir(), '.local', 'state'), 'distributed', 'history');
}

export class History {
  /** Newest first, as readline wants it. */
  readonly lines: string[] = [];
  readonly #path: string | undefined;
  #last: string | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
    if (path === undefined) return;
    const all = attempt(() => readFileSync(path, 'utf8').split('\n').filter(worthKeeping)) ?? [];
    if (all.length > 2 * keep) attempt(() => replace(path, all.slice(-keep)));
    this.lines = all.slice(-keep).reverse();
    this.#last = this.lines[0];
  }

  /** Notes a line; nothing-lines and repetitions are not kept. */
  add(line: string): void {
    const path = this.#path;
    if (path === undefined || !worthKeeping(line) || line === this.#last) return;
    this.#last = line;
    attempt(() => {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      appendFileSync(path, `${line}\n`, { mode: 0o600 });
      chmodSync(path, 0o600);
    });
  }
}

const worthKeeping = (line: string): boolean => line.trim() !== '' && line.length <= longest;

function replace(path: string, lines: readonly string[]): void {
  const draft = `${path}.${process.pid}`;
  try {
    writeFileSync(draft, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
    renameSync(draft, path);
  } finally {
    rmSync(draft, { force: true });
  }
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
