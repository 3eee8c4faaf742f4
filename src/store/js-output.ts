/**
 * Replies and events on their way to the node, in order. Lines of one connection that follow each other are joined, and
 * turned into bytes only when they are handed out.
 */
import { allocate } from './js-bytes.js';
import type { Connection } from './js-connection.js';
import type { StoreEvent, StoreSink } from './store.js';

/** The slot that goes with events about entries. */
const NO_SLOT = 0;
const FIRST_BYTES = 65_536;
const KEPT_BYTES = 1_048_576;
/** Replies of one connection are joined up to this: V8's strings have an end. */
const JOINED_BYTES = 1_048_576;
/** So much waits for the node that nothing more should be parsed, or so much has one call produced that it should end. */
export const ENOUGH_BYTES = 4_194_304;

interface Queued {
  readonly connection: Connection | undefined;
  /** 0 for replies. */
  readonly event: StoreEvent | 0;
  text: string;
  readonly arg: number;
}

export class Output {
  private queue: Queued[] = [];
  private bytes = allocate(FIRST_BYTES);
  /** Bytes that wait for the node. */
  waiting = 0;

  get full(): boolean {
    return this.waiting >= ENOUGH_BYTES;
  }

  reply(connection: Connection, line: string): void {
    const last = this.queue[this.queue.length - 1];
    this.waiting += line.length + 1;
    const joins = last !== undefined && last.event === 0 && last.connection === connection;
    if (joins && last.text.length < JOINED_BYTES) last.text += `${line}\n`;
    else this.queue.push({ connection, event: 0, text: `${line}\n`, arg: 0 });
  }

  event(event: StoreEvent, connection: Connection | undefined, arg = 0): void {
    this.queue.push({ connection, event, text: '', arg });
  }

  /** What is queued by then; what the sink's calls add waits for the next drain. Nothing goes to clients that are gone. */
  drain(sink: StoreSink): void {
    const queue = this.queue;
    if (queue.length === 0) return;
    this.queue = [];
    this.waiting = 0;
    for (const { connection, event, text, arg } of queue) {
      if (connection?.closed) continue;
      const slot = connection?.slot ?? NO_SLOT;
      if (event !== 0) sink.event(event, slot, arg);
      else sink.output(slot, this.encode(text), 0, text.length);
    }
    if (this.bytes.length > KEPT_BYTES) this.bytes = allocate(FIRST_BYTES);
  }

  private encode(text: string): Uint8Array {
    if (text.length > this.bytes.length) this.bytes = allocate(2 * text.length);
    this.bytes.latin1Write(text, 0);
    return this.bytes;
  }
}
