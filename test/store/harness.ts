/**
 * Drives any `Store` as a node of its own, whose entries are committed at once: what the node's batch loop does, without
 * Raft, sockets and clocks. Each step can also be taken alone (`ingest`, `sealEntry`, `commit`, `applyAll`, `read`), so
 * that a test decides what happens between them.
 *
 * Bytes are written as strings of latin1 characters throughout: one character is one byte.
 */
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import { EntryType, type SealedEntry, type Store, StoreEvent, type StoreSink } from '../../src/store/store.js';

export interface HarnessEvent {
  readonly kind: StoreEvent;
  readonly slot: number;
  readonly arg: number;
}

export function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

export class Harness {
  readonly store: Store;
  /** Every record that was committed, in order: apply them to a fresh store to replay. */
  readonly records: Uint8Array[] = [];
  /** Events since the last `takeEvents`, but `control`, which is answered at once. */
  events: HarnessEvent[] = [];
  /** The monotonic clock that `ingest` gets. */
  nowMs = 1_000;
  /** Log time of the last entry, ms; each entry adds one. */
  logTime = 0;
  /** Answers a `control` command, without the newline. */
  onControl: (code: number) => string = (code) => `CONTROL ${code}`;
  /** Slots whose `hold` has not been followed by `unhold`. */
  readonly held = new Set<number>();
  private readonly outputs = new Map<number, string>();
  /** Bytes of replies that were counted and dropped. */
  private readonly counted = new Map<number, number>();
  private readonly sink: StoreSink;
  private released: number[] = [];
  private moved = false;

  constructor(store: Store) {
    this.store = store;
    this.sink = {
      output: (slot, bytes, start, end) => {
        this.moved = true;
        const dropped = this.counted.get(slot);
        if (dropped !== undefined) this.counted.set(slot, dropped + end - start);
        else this.append(slot, textOf(bytes.subarray(start, end)));
      },
      event: (kind, slot, arg) => this.event(kind, slot, arg),
    };
  }

  private append(slot: number, text: string): void {
    this.outputs.set(slot, (this.outputs.get(slot) ?? '') + text);
  }

  private event(kind: StoreEvent, slot: number, arg: number): void {
    this.moved = true;
    if (kind === StoreEvent.control) {
      this.append(slot, `${this.onControl(arg)}\n`);
      this.released.push(slot);
      return;
    }
    if (kind === StoreEvent.hold) this.held.add(slot);
    if (kind === StoreEvent.unhold) this.held.delete(slot);
    this.events.push({ kind, slot, arg });
  }

  /** From now on the replies of this connection are only counted. */
  discard(slot: number): void {
    this.counted.set(slot, 0);
  }

  /** Bytes of replies since `discard`. */
  discarded(slot: number): number {
    return this.counted.get(slot) ?? 0;
  }

  open(): number {
    const slot = this.store.open();
    if (slot >= 0) this.outputs.delete(slot);
    return slot;
  }

  feed(slot: number, input: string | Uint8Array): void {
    this.store.feed(slot, typeof input === 'string' ? bytesOf(input) : input);
  }

  /** What the connection has got since the last call. */
  take(slot: number): string {
    const text = this.outputs.get(slot) ?? '';
    this.outputs.delete(slot);
    return text;
  }

  takeEvents(): HarnessEvent[] {
    const events = this.events;
    this.events = [];
    return events;
  }

  /** Feeds, runs until nothing moves, and returns the replies. */
  send(slot: number, input: string | Uint8Array): string {
    this.feed(slot, input);
    this.run();
    return this.take(slot);
  }

  ingest(): void {
    this.store.ingest(this.nowMs);
    this.drain();
  }

  /** Hands out what there is, and answers control commands. */
  drain(): void {
    this.store.drain(this.sink);
    while (this.released.length > 0) {
      const slots = this.released;
      this.released = [];
      for (const slot of slots) this.store.release(slot);
      this.store.drain(this.sink);
    }
  }

  sealEntry(): SealedEntry | undefined {
    return this.store.seal();
  }

  /** Gives a payload its place in the log: fills in the header of a copy, so that an entry can be sent again. */
  commit(entry: { readonly record: Uint8Array; readonly payloadCrc: number }, type: number = EntryType.data): void {
    const record = Uint8Array.from(entry.record);
    const index = this.records.length + 1;
    this.logTime++;
    const fields = { index, term: 1, logTime: this.logTime, wall: 0, type };
    sealRecord(record, fields, entry.payloadCrc, this.store.crc32c);
    this.records.push(record);
    this.stage(record);
  }

  /** Commits a payload that no store has sealed: another node's, or a malformed one. */
  commitPayload(payload: Uint8Array, type: number = EntryType.data): void {
    const record = new Uint8Array(RECORD_HEADER_BYTES + payload.length);
    record.set(payload, RECORD_HEADER_BYTES);
    this.commit({ record, payloadCrc: this.store.crc32c(payload) }, type);
  }

  commitLimit(limitBytes: number): void {
    this.commit(this.store.configRecord({ limitBytes }), EntryType.config);
    this.applyAll();
  }

  /** Stages a record that is committed already. */
  stage(record: Uint8Array): void {
    while (!this.store.stage(record)) this.applyAll();
  }

  applyAll(): void {
    for (;;) {
      const outcome = this.store.apply();
      if (outcome === 'no-memory') throw new Error('the store has no memory for the next entry');
      if (outcome === 'done') break;
    }
    this.drain();
  }

  /** Seals, commits and applies the open entry; false when it holds nothing. */
  write(): boolean {
    const entry = this.sealEntry();
    if (!entry) return false;
    this.commit(entry);
    this.applyAll();
    return true;
  }

  /** Carries out the gathered reads; false when there are none. */
  read(): boolean {
    if (!this.store.sealReads()) return false;
    while (!this.store.evalReads());
    this.drain();
    return true;
  }

  /** Until nothing moves: everything that can be answered has been. */
  run(): void {
    do {
      this.moved = false;
      this.ingest();
      if (this.write()) this.moved = true;
      if (this.read()) this.moved = true;
    } while (this.moved || this.store.ready);
  }
}

/** Options of a store in tests; `n` tells incarnations and folders apart. */
export function testOptions(n = 1): { identity: Uint8Array; starts: number; nonce: number; seed: Uint8Array } {
  const identity = new Uint8Array(16).fill(n);
  return { identity, starts: 1, nonce: 0x1234_0000 + n, seed: new Uint8Array(16).fill(7 * n) };
}
