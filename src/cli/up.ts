/** `distributed up`, which is `npm start`: a cluster on this machine, and the CLI on it when there is a terminal. */
import { parseAddress } from '../client/address.js';
import type { LogLevel } from '../node/options.js';
import { historyPath } from './history.js';
import { onOrphaned, onSignals } from './signals.js';
import { Supervisor } from './supervisor.js';
import { Terminal } from './terminal.js';

export interface UpOptions {
  readonly ports: readonly number[];
  readonly dataDir: string;
  readonly store: 'wasm' | 'js';
  /** Undefined: `info`, or `error` when the CLI has the terminal. */
  readonly logLevel: LogLevel | undefined;
  readonly timeoutMs: number;
  readonly reconnectMs: number;
}

/** Runs until the user leaves or it is told to stop; resolves with the exit code when no process is left. */
export async function runUp(options: UpOptions): Promise<number> {
  const interactive = process.stdin.isTTY === true && process.stdout.isTTY === true;
  let terminal: Terminal | undefined;
  const log = (line: string) => {
    if (terminal) terminal.note(line);
    else process.stderr.write(`${line}\n`);
  };
  const supervisor = new Supervisor({
    ...options,
    logLevel: options.logLevel ?? (interactive ? 'error' : 'info'),
    ready: (line) => process.stdout.write(`${line}\n`),
    log,
  });
  let stop: () => void = () => {};
  const stopRequested = new Promise<void>((resolve) => {
    stop = resolve;
  });
  onSignals(stop, () => {
    supervisor.kill();
    process.exit(1);
  });
  onOrphaned(stop);
  try {
    await Promise.race([supervisor.start(), stopRequested]);
    if (interactive) {
      terminal = makeTerminal(options, supervisor.addresses);
      process.stderr.write('HELP lists the commands; Ctrl-D leaves and stops the nodes.\n');
      await Promise.race([terminal.start(), stopRequested]);
      await Promise.race([terminal.left, stopRequested]);
      terminal.close();
      terminal = undefined;
    } else await stopRequested;
  } finally {
    terminal?.close();
    terminal = undefined;
    await supervisor.stop();
  }
  return 0;
}

function makeTerminal(options: UpOptions, addresses: readonly string[]): Terminal {
  return new Terminal({
    addresses: addresses.map(parseAddress),
    timeoutMs: options.timeoutMs,
    reconnectMs: options.reconnectMs,
    input: process.stdin,
    output: process.stdout,
    historyPath: historyPath(),
    wholeCluster: true,
  });
}
