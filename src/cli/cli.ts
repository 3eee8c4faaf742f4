/** `distributed cli`: on a terminal a prompt, else a filter from lines to replies. */
import { historyPath } from './history.js';
import { runPiped } from './pipe.js';
import type { SessionOptions } from './session.js';
import { onSignals } from './signals.js';
import { Terminal } from './terminal.js';

/** Resolves with the exit code; rejects when no node answers. */
export async function runCli(options: SessionOptions): Promise<number> {
  const { stdin: input, stdout: output } = process;
  if (!input.isTTY || !output.isTTY) return await runPiped(options, input, output);
  const terminal = new Terminal({ ...options, input, output, historyPath: historyPath() });
  // On a terminal Ctrl-C is a key, not a signal: these come from elsewhere.
  onSignals(
    () => terminal.close(),
    () => process.exit(1),
  );
  await terminal.start();
  return await terminal.left;
}
