/**
 * Own entries: the open one, and those that are sealed and not yet decided, with the items that wait for them.
 *
 * Replies out of an entry are kept back until it is published: nobody may learn of a write that others do not see yet.
 * Entries are decided in their order, and one that is given up is answered once those before it are: the replies of one
 * connection stay in order.
 */
import type { OwnEntries } from './js-apply.js';
import type { Connection } from './js-connection.js';
import { OpenEntry, type Origin } from './js-encode.js';
import { ItemKind, ItemList } from './js-items.js';
import { type CommandSink, nobody } from './js-operations.js';
import type { Reads, View } from './js-reads.js';
import type { Replies } from './js-replies.js';
import type { Texts } from './js-text.js';
import { type GiveUp, type SealedEntry, StoreEvent } from './store.js';

/** A sealed entry that is not decided, or what was in the open one when it was given up (sequence 0). */
interface Sealed {
  readonly sequence: number;
  items: ItemList;
  /** Why its items are to be answered without an outcome; what writes are told. */
  givenUp: { readonly forReads: string; readonly forWrites: string } | undefined;
}

interface Deferred {
  readonly connection: Connection | undefined;
  /** A reply, or the number of the entry that the event is about. */
  readonly line: string | number;
  readonly event: StoreEvent | 0;
}

export class Entries implements OwnEntries, CommandSink {
  readonly open: OpenEntry;
  private readonly texts: Texts;
  private readonly replies: Replies;
  private readonly reads: Reads;
  private readonly newest: View;
  /** In the order of their sequences. */
  private readonly sealed: Sealed[] = [];
  private lastSequence = 0;
  /** Items of the entry that is being applied. */
  private applying: ItemList | undefined;
  private at = 0;
  private deferred: Deferred[] = [];

  /** `newest`: the state as it is in the middle of an entry. */
  constructor(origin: Origin, texts: Texts, replies: Replies, reads: Reads, newest: View) {
    this.open = new OpenEntry(origin);
    this.texts = texts;
    this.replies = replies;
    this.reads = reads;
    this.newest = newest;
  }

  /** See `Store.seal`. */
  seal(): SealedEntry | undefined {
    if (this.open.commands === 0) return undefined;
    this.lastSequence++;
    this.sealed.push({ sequence: this.lastSequence, items: this.open.items, givenUp: undefined });
    return this.open.seal(this.lastSequence);
  }

  /** See `Store.giveUp`. An entry that was given up, or decided, before is just made anew. */
  giveUp(sequence: number, why: GiveUp, mayHaveLeft: boolean): SealedEntry {
    const sealed = this.sealed.find((one) => one.sequence === sequence);
    if (sealed !== undefined && sealed.givenUp === undefined) {
      const { stoppingUnknown, writeTimeout } = this.texts.fixed;
      const unknown = why === 'stopping' ? stoppingUnknown : writeTimeout;
      const forReads = this.reads.failure(why);
      sealed.givenUp = { forReads, forWrites: mayHaveLeft ? unknown : forReads };
      this.settle();
    }
    return this.open.empty(sequence);
  }

  /** See `Store.giveUpOpen`. */
  giveUpOpen(why: GiveUp): void {
    if (this.open.commands === 0) return;
    const givenUp = { forReads: this.reads.failure(why), forWrites: this.reads.failure(why) };
    this.sealed.push({ sequence: 0, items: this.open.items, givenUp });
    this.open.clear();
    this.settle();
  }

  /** Answers what was given up, as far as everything before it is decided and answered. */
  private settle(): void {
    if (this.applying !== undefined || this.deferred.length > 0) return;
    for (const sealed of this.sealed) {
      if (sealed.givenUp === undefined) break;
      this.deferWithout(sealed, sealed.givenUp);
    }
    while (this.sealed[0]?.sequence === 0) this.sealed.shift();
    this.handOut();
  }

  /** The replies to what was given up; nobody waits for it any more. */
  private deferWithout(sealed: Sealed, givenUp: NonNullable<Sealed['givenUp']>): void {
    const { items } = sealed;
    sealed.items = new ItemList();
    for (let at = 0; at < items.length; at++) {
      this.deferred.push({ connection: items.connections[at]!, line: this.lineWithout(items, at, givenUp), event: 0 });
    }
  }

  /** What an item is told whose entry was given up: constants keep their reply. */
  private lineWithout(items: ItemList, at: number, { forReads, forWrites }: NonNullable<Sealed['givenUp']>): string {
    const kind = items.kinds[at];
    if (kind === ItemKind.constant) return items.args[at] as string;
    return kind === ItemKind.command ? forWrites : forReads;
  }

  /** The state has jumped over own entries up to `sequence`: their answers are lost. */
  lost(sequence: number): void {
    const { readLost, writeLost } = this.texts.fixed;
    while (this.sealed[0] !== undefined && this.sealed[0].sequence <= sequence) {
      const sealed = this.sealed.shift()!;
      this.deferWithout(sealed, sealed.givenUp ?? { forReads: readLost, forWrites: writeLost });
      if (sealed.sequence > 0) {
        this.deferred.push({ connection: undefined, line: sealed.sequence, event: StoreEvent.applied });
      }
    }
    this.flush();
  }

  begin(sequence: number): CommandSink {
    let first = this.sealed[0];
    for (; first?.sequence === 0; first = this.sealed[0]) {
      if (first.givenUp !== undefined) this.deferWithout(first, first.givenUp);
      this.sealed.shift();
    }
    if (first?.sequence !== sequence) return nobody;
    if (first.givenUp !== undefined) this.deferWithout(first, first.givenUp);
    this.sealed.shift();
    this.applying = first.items;
    this.at = 0;
    return this;
  }

  /** Answers what stands before the next command. */
  before(): void {
    const { applying } = this;
    if (applying === undefined) return;
    for (; this.at < applying.length && applying.kinds[this.at] !== ItemKind.command; this.at++) {
      const connection = applying.connections[this.at]!;
      const line = connection.closed ? '' : this.reads.line(applying, this.at, this.newest);
      this.deferred.push({ connection, line, event: 0 });
    }
  }

  session(number: number): void {
    const connection = this.applying?.connections[this.at];
    if (connection !== undefined) connection.session = number;
  }

  /** Nobody waits for the commands of an entry that was given up and then took effect all the same. */
  reply(line: string): void {
    const connection = this.applying?.connections[this.at++];
    if (connection !== undefined) this.deferred.push({ connection, line, event: 0 });
  }

  end(sequence: number): void {
    if (this.applying === undefined) return;
    this.before();
    this.applying = undefined;
    this.deferred.push({ connection: undefined, line: sequence, event: StoreEvent.applied });
  }

  gap(sequence: number): void {
    const undecided = this.sealed.some((one) => one.sequence === sequence);
    if (undecided) this.deferred.push({ connection: undefined, line: sequence, event: StoreEvent.gap });
  }

  /** The entries that were carried out are published: hands out their replies. */
  flush(): void {
    if (this.deferred.length === 0) return;
    this.handOut();
    this.settle();
  }

  private handOut(): void {
    const { deferred } = this;
    this.deferred = [];
    for (const { connection, line, event } of deferred) {
      if (connection !== undefined) this.replies.answer(connection, line as string);
      else this.replies.output.event(event as StoreEvent, undefined, line as number);
    }
  }
}
