/** What the program says to its user besides results: one line for an error, and the log. */
import type { LogLevel } from '../node/options.js';

/** A reason to end: one line on stderr. `exitCode` 2 for a wrong use of the program, else 1. */
export class CliError extends Error {
  readonly exitCode: 1 | 2;
  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Text as one line: whatever it holds, it cannot look like two. */
const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, ' ').trim();

/** Tells the user on stderr. */
export function tell(text: string): void {
  process.stderr.write(`distributed: ${oneLine(text)}\n`);
}

export const logLevels = ['debug', 'info', 'warn', 'error'] as const satisfies readonly LogLevel[];

/** A log of plain lines, `time level text`, on stderr; only what is at least as grave as `least`. */
export function logToStderr(least: LogLevel): (level: LogLevel, text: string) => void {
  const rank = logLevels.indexOf(least);
  return (level, text) => {
    if (logLevels.indexOf(level) < rank) return;
    process.stderr.write(`${new Date().toISOString()} ${level.padEnd(5)} ${oneLine(text)}\n`);
  };
}

/** An output whose reader has gone (a supervisor that was killed, `| head`) is no reason to fail. */
export function ignoreClosedOutputs(): void {
  for (const output of [process.stdout, process.stderr]) output.on('error', () => {});
}
