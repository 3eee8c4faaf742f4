/**
 * Lists of unanswered commands in their order: those of an entry (its own commands, and between them the reads and
 * constants that joined it), and those of a batch of reads.
 */
import type { Connection } from './js-connection.js';

export const ItemKind = {
  /** A command of the entry: apply has its reply. */
  command: 0,
  /** `args` is the reply. */
  constant: 1,
  get: 2,
  mget: 3,
  exists: 4,
  count: 5,
  begin: 6,
  keys: 7,
  ttl: 8,
  pttl: 9,
} as const;
export type ItemKind = (typeof ItemKind)[keyof typeof ItemKind];

/** Of KEYS. */
export interface KeysQuery {
  readonly prefix: string;
  readonly limit: number;
}

/** The key or reply, the keys, or the query: as the kind wants it. */
export type ItemArgs = string | readonly string[] | KeysQuery | undefined;

export class ItemList {
  readonly connections: Connection[] = [];
  readonly kinds: ItemKind[] = [];
  readonly args: ItemArgs[] = [];

  get length(): number {
    return this.kinds.length;
  }

  push(connection: Connection, kind: ItemKind, args: ItemArgs): void {
    this.connections.push(connection);
    this.kinds.push(kind);
    this.args.push(args);
  }
}
