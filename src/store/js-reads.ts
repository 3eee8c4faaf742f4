/**
 * Reads: the gathering batch, the one in flight, and how each kind of read is answered, also at its place in an entry.
 */

import type { Connection } from './js-connection.js';
import { ItemKind, ItemList, type KeysQuery } from './js-items.js';
import { KeysScan } from './js-keys.js';
import { ENOUGH_BYTES } from './js-output.js';
import type { Replies } from './js-replies.js';
import type { Found, Table } from './js-table.js';
import { quote, type Texts } from './js-text.js';
import type { GiveUp } from './store.js';

/** Keys looked up in a slice, and keys that KEYS deals with in one. */
const SLICE_KEYS = 2_048;
const SLICE_LISTED = 4_096;

/** What a read looks at. */
export interface View {
  find(key: string): Found | undefined;
  count(): number;
  /** Log time. */
  time(): number;
}

export class Reads {
  /** Reads answered outside transactions. */
  answered = 0;
  gathering = new ItemList();
  /** A BEGIN is carried out. */
  onBegin: (connection: Connection) => void = () => {};
  private readonly table: Table;
  private readonly texts: Texts;
  private readonly replies: Replies;
  private readonly maxReply: number;
  private readonly published: View;
  private flight: ItemList | undefined;
  private at = 0;
  private scan: KeysScan | undefined;

  constructor(table: Table, texts: Texts, replies: Replies, maxReply: number) {
    this.table = table;
    this.texts = texts;
    this.replies = replies;
    this.maxReply = maxReply;
    this.published = {
      find: (key) => table.at(key, table.published, table.publishedTime),
      count: () => table.publishedKeys,
      time: () => table.publishedTime,
    };
  }

  /** See `Store.sealReads`. */
  seal(): boolean {
    if (this.flight !== undefined || this.gathering.length === 0) return false;
    this.flight = this.gathering;
    this.gathering = new ItemList();
    this.at = 0;
    return true;
  }

  /** See `Store.evalReads`. */
  evaluate(): boolean {
    const { flight } = this;
    if (flight === undefined) return true;
    let left = SLICE_KEYS;
    const { output } = this.replies;
    const enough = output.waiting + ENOUGH_BYTES;
    while (this.at < flight.length) {
      if (left <= 0 || output.waiting >= enough) return false;
      left -= this.step(flight, this.at);
    }
    this.flight = undefined;
    return true;
  }

  /** See `Store.failReads`. */
  fail(why: GiveUp): void {
    const { flight } = this;
    if (flight === undefined) return;
    this.endScan();
    for (; this.at < flight.length; this.at++) {
      const connection = flight.connections[this.at]!;
      const constant = flight.kinds[this.at] === ItemKind.constant;
      connection.barrier = false;
      this.replies.answer(connection, constant ? (flight.args[this.at] as string) : this.failure(why));
    }
    this.flight = undefined;
  }

  /** What a read that is given up is told: nothing happened. */
  failure(why: GiveUp): string {
    const { noLeader, readTimeout, stopping, diskFull } = this.texts.fixed;
    if (why === 'disk-full') return diskFull;
    return why === 'no-leader' ? noLeader : why === 'timeout' ? readTimeout : stopping;
  }

  /** Answers the item at `at`, or goes on with it; how many keys that took. */
  private step(flight: ItemList, at: number): number {
    const connection = flight.connections[at]!;
    const kind = flight.kinds[at]!;
    const args = flight.args[at];
    if (kind === ItemKind.keys && !connection.closed) return this.stepKeys(connection, args as KeysQuery);
    this.at++;
    this.endScan();
    connection.barrier = false;
    if (connection.closed) {
      this.replies.answer(connection, '');
      return 1;
    }
    if (kind === ItemKind.begin) this.onBegin(connection);
    this.replies.answer(
      connection,
      kind === ItemKind.begin ? this.texts.fixed.ok : this.line(flight, at, this.published),
    );
    return Array.isArray(args) ? args.length : 1;
  }

  /** The reply of a constant, GET, TTL, PTTL, MGET, EXISTS or COUNT. */
  line(items: ItemList, at: number, view: View): string {
    const kind = items.kinds[at];
    const args = items.args[at];
    if (kind === ItemKind.constant) return args as string;
    this.answered++;
    if (kind === ItemKind.count) return `(integer) ${view.count()}`;
    if (kind === ItemKind.get) {
      const found = view.find(args as string);
      return found === undefined ? this.texts.fixed.nil : quote(found.value);
    }
    if (kind === ItemKind.ttl || kind === ItemKind.pttl) {
      return timeLeft(view.find(args as string)?.deadline, view.time(), kind === ItemKind.pttl);
    }
    const keys = args as readonly string[];
    if (kind === ItemKind.exists) return `(integer) ${countExisting(keys, view)}`;
    return valueList(keys, (key) => view.find(key)?.value, this.maxReply);
  }

  /** The reply of GET key STALE. */
  stale(key: string): string {
    this.answered++;
    const found = this.published.find(key);
    const value = found === undefined ? 'null' : quote(found.value);
    return `${this.texts.number('staleReply', this.table.published)}${value}}`;
  }

  private stepKeys(connection: Connection, { prefix, limit }: KeysQuery): number {
    this.scan ??= new KeysScan(this.table, prefix, limit, this.maxReply);
    const { scan } = this;
    if (scan.step(SLICE_LISTED)) {
      this.at++;
      this.answered++;
      this.endScan();
      connection.barrier = false;
      this.replies.answer(connection, scan.text);
    }
    return SLICE_KEYS / 2;
  }

  /** The KEYS under way will begin again. */
  endScan(): void {
    this.scan?.end();
    this.scan = undefined;
  }
}

/** The reply of TTL and PTTL for a key with that deadline (0: none; undefined: no such key); a second begun counts. */
export function timeLeft(deadline: number | undefined, time: number, inMs: boolean): string {
  if (deadline === undefined) return '(integer) -2';
  if (deadline === 0) return '(integer) -1';
  return `(integer) ${inMs ? deadline - time : Math.ceil((deadline - time) / 1_000)}`;
}

export function countExisting(keys: readonly string[], view: Pick<View, 'find'>): number {
  let count = 0;
  for (const key of keys) if (view.find(key) !== undefined) count++;
  return count;
}

/** The reply of MGET. */
export function valueList(
  keys: readonly string[],
  lookUp: (key: string) => string | undefined,
  maxReply: number,
): string {
  const element = (key: string) => {
    const value = lookUp(key);
    return value === undefined ? 'null' : quote(value);
  };
  return list(keys, element, maxReply);
}

/** A list as JSON; cut off where it is too long for a reply anyway. */
function list(keys: readonly string[], element: (key: string) => string, maxReply: number): string {
  let text = '';
  for (const key of keys) {
    text += (text === '' ? '[' : ',') + element(key);
    if (text.length > maxReply) return text;
  }
  return text === '' ? '[]' : `${text}]`;
}
