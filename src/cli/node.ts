/** `distributed`: one node, from its start to its end. */
import { isLoopback, parseAddress } from '../client/address.js';
import { realEnv } from '../env/real.js';
import { RemovedError, startNode } from '../node/main.js';
import type { LogLevel, NodeOptions } from '../node/options.js';
import { logToStderr, tell } from './report.js';
import { onSignals } from './signals.js';

export interface NodeCommandOptions extends Omit<NodeOptions, 'log'> {
  readonly logLevel: LogLevel;
}

/** A node that is told to stop and does not within this time is ended. */
const stopWithinMs = 15_000;

/** Runs a node until it is told to stop or must; resolves with the exit code. Rejects with a NodeError if it cannot start. */
export async function runNode(options: NodeCommandOptions): Promise<number> {
  const { logLevel, ...nodeOptions } = options;
  const log = logToStderr(logLevel);
  const hidden = hiddenFromPeers(options);
  if (hidden) log('warn', hidden);
  endOnBugs(logLevel);
  const stopRequested = untilAsked();
  const node = await startNode(realEnv(), { ...nodeOptions, log });
  process.stdout.write(`node ${options.id} ready on ${node.listens}\n`);
  const reason = await Promise.race([stopRequested, node.failed]);
  if (reason instanceof Error) {
    tell(reason.message);
    return reason instanceof RemovedError ? 0 : 1;
  }
  log('info', `stopping: ${reason}`);
  const late = setTimeout(() => {
    tell(`node ${options.id} did not stop within ${stopWithinMs / 1000} s; ended`);
    process.exit(1);
  }, stopWithinMs);
  await node.stop();
  clearTimeout(late);
  return 0;
}

/** A warning when the others are told an address that this node does not listen on. */
export function hiddenFromPeers({ id, host, peers }: Pick<NodeOptions, 'id' | 'host' | 'peers'>): string | undefined {
  const own = peers?.find((peer) => peer.id === id);
  if (!own || !isLoopback(host)) return undefined;
  const told = parseAddress(own.address).host;
  if (isLoopback(told)) return undefined;
  return `--peers says that node ${id} is at ${own.address}, but it listens on ${host} alone, where the others cannot reach it; pass --host ${told} --insecure`;
}

/** Resolves, with why, on the first signal, or when the supervisor that holds the other end of the channel is gone. */
function untilAsked(): Promise<string> {
  return new Promise((resolve) => {
    onSignals(
      () => resolve('told to'),
      () => process.exit(1),
    );
    if (process.channel) process.once('disconnect', () => resolve('the supervisor is gone'));
  });
}

/** A node that does not know its own state must not go on serving: it ends, and recovers from its log at the next start. */
function endOnBugs(logLevel: LogLevel): void {
  const end = (error: unknown) => {
    tell(`internal error: ${error instanceof Error ? error.message : String(error)}`);
    if (logLevel === 'debug' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}
