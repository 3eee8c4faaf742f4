/** What a node is started with, and the errors it tells its user. */
import type { Store, StoreOptions } from '../store/store.js';
import type { NodeObserver } from './observer.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface PeerAddress {
  readonly id: number;
  /** host:port */
  readonly address: string;
}

/**
 * How a node answers reads. `quorum`: the leader asks a majority whether it still leads (dissertation §6.4). `lease`: it relies on the
 * clocks of the members instead (§6.4.1); all members alike. `stale`: from what this node has applied.
 */
export const readModes = ['quorum', 'lease', 'stale'] as const;
export type ReadMode = (typeof readModes)[number];

export interface NodeOptions {
  /** 1 … 65,535. */
  readonly id: number;
  readonly host: string;
  /** What others call this host in a cluster of one; else `host`, which may mean every address of it. */
  readonly publicHost?: string;
  /** 0 chooses a free port: for a cluster of one only. */
  readonly port: number;
  readonly dataDir: string;
  /** All members, this node among them; undefined for a cluster of one, or to go on as the folder says. */
  readonly peers: readonly PeerAddress[] | undefined;
  /** Nodes of a cluster, host:port, that a node without a cluster asks to be let in. */
  readonly join: readonly string[] | undefined;
  /** Whom a node asks that is not node 1 and was told nothing, if it is on this machine alone: host:port. */
  readonly firstNode: string;
  readonly store: 'wasm' | 'js';
  readonly requestTimeoutMs: number;
  readonly heartbeatMs: number;
  /** Election time-outs are drawn from this range. */
  readonly electionMs: readonly [number, number];
  readonly transactionIdleMs: number;
  readonly read: ReadMode;
  /** The replicated limit of logical bytes that a new cluster begins with. */
  readonly memoryLimitBytes: number;
  /** Most clients that are connected at once; those beyond it are answered `ERR busy`. Each takes a descriptor. */
  readonly maxConnections: number;
  /** Bytes of log behind which a snapshot is taken, and the log shortened. */
  readonly snapshotLogBytes: number;
  readonly log: (level: LogLevel, text: string) => void;
  /** Bytes of a log segment; smaller in tests. */
  readonly segmentBytes?: number;
  /** Most bytes of entries in one append, but for one that is larger by itself; smaller in tests. */
  readonly appendBytes?: number;
  /** Makes a store in place of the program's own: that of a program to come, in tests of upgrades. */
  readonly makeStore?: (options: StoreOptions) => Store;
  /** Watches the node, for checkers. */
  readonly observer?: NodeObserver;
}

/** The defaults of all that has one; a copy of these and `id`, `port`, `dataDir` is enough to start a node. */
export const defaultNodeOptions = {
  id: 1,
  host: '127.0.0.1',
  port: 8080,
  peers: undefined,
  join: undefined,
  firstNode: '127.0.0.1:8080',
  store: 'wasm',
  requestTimeoutMs: 5_000,
  heartbeatMs: 100,
  electionMs: [400, 800],
  transactionIdleMs: 30_000,
  read: 'quorum',
  memoryLimitBytes: 2 * 1024 ** 3,
  maxConnections: 10_000,
  snapshotLogBytes: 64 * 1024 ** 2,
} as const;

/** A reason not to start, or to stop: one line, meant for the user. */
export class NodeError extends Error {}

/** The node was removed from its cluster, and has stopped as it should. */
export class RemovedError extends NodeError {}

/** Whether only programs of this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** host:port, with brackets around an IPv6 address. */
export function joinAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Splits host:port; the host may be an IPv6 address in brackets. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  const port = Number(address.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(port) || port < 0 || port > 65_535)
    throw new NodeError(`"${address}" is no address: it should be host:port`);
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port };
}
