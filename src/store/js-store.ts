/**
 * The store in plain TypeScript over `Map`: the twin of the kernel, byte for byte the same (store.ts, ARCHITECTURE.md).
 *
 * ## Concept
 *
 * All bytes of clients and records are strings of latin1 characters, one a byte: V8 keeps such a string as one block of
 * bytes, hashes and compares it natively, and cuts and joins it without copying. They become bytes again in two places,
 * where an entry is encoded and where replies are handed out.
 *
 *     js-text        words of a line, texts of replies        js-entries      own entries and what waits for them
 *     js-connection  one client: its input and its mode        js-encode       the open entry
 *     js-front       from lines to commands to their places   js-apply        committed records: origins, slices
 *     js-reads       batches of reads; js-keys: KEYS           js-validate     what makes an entry malformed
 *     js-transaction own writes and checks                     js-operations   SET, DEL, INCR, CAS, PERSIST, COMMIT
 *     js-output      replies and events in order               js-table        records, versions, pins; js-hash
 *     js-snapshot    writes and loads snapshots                js-expiry       deadlines in their order
 *     js-sessions    SESSION, SEQ, FENCE                       js-system       system records
 *
 * ## Invariants
 *
 * - Nothing that `apply` changes is seen by a read, a BEGIN or `stats` before it is published, nor is any reply out of it.
 * - What is replicated depends on the staged records alone: never on connections, pins or slices.
 *
 * ## Caveats
 *
 * The garbage collector stops the world in proportion to the number of keys, and V8's heap limit bounds them: when the
 * estimate of what the records use comes near it, `apply` answers `no-memory`. `seed` is not used: V8 seeds its own hashes.
 */
import { getHeapStatistics } from 'node:v8';
import { type Config, encodeConfig } from './config.js';
import { crc32c } from './crc32c.js';
import { Applier } from './js-apply.js';
import { allocate } from './js-bytes.js';
import { Entries } from './js-entries.js';
import { Front } from './js-front.js';
import { Reads, type View } from './js-reads.js';
import { Replies } from './js-replies.js';
import { SnapshotLoader, SnapshotWriter } from './js-snapshot.js';
import { Table } from './js-table.js';
import { Texts } from './js-text.js';
import { TransactionRunner } from './js-transaction.js';
import { type LoadFailure, SnapshotGuard, type SnapshotState } from './snapshot.js';
import {
  type DumpedRecord,
  defaultLimits,
  type GiveUp,
  HEADER_BYTES,
  type SealedEntry,
  type Store,
  type StoreOptions,
  type StoreSink,
  type StoreStats,
  versions,
} from './store.js';

/** The share of V8's heap that records may take, by their estimate. */
const HEAP_SHARE = 0.85;

export class JsStore implements Store {
  readonly kind = 'js';
  readonly versions = versions;
  readonly crc32c = crc32c;
  private readonly table = new Table();
  private readonly replies: Replies;
  private readonly reads: Reads;
  private readonly entries: Entries;
  private readonly applier: Applier;
  private readonly front: Front;
  private readonly guard = new SnapshotGuard();
  private readonly heapLimitBytes = HEAP_SHARE * getHeapStatistics().heap_size_limit;
  private writer: SnapshotWriter | undefined;
  private loader: SnapshotLoader | undefined;
  private result = allocate(65_536);

  constructor(options: StoreOptions) {
    const table = this.table;
    const limits = { ...defaultLimits, ...options.limits };
    const texts = new Texts(limits);
    const replies = new Replies(texts, limits.maxReply);
    const reads = new Reads(table, texts, replies, limits.maxReply);
    const newest: View = { find: (key) => table.current(key), count: () => table.liveKeys(), time: () => table.time };
    const entries = new Entries(options, texts, replies, reads, newest);
    const transactions = new TransactionRunner(table, texts, limits);
    this.replies = replies;
    this.reads = reads;
    this.entries = entries;
    this.applier = new Applier(table, texts, options, entries, this.heapLimitBytes);
    this.front = new Front({ table, texts, limits, replies, reads, entries, transactions });
  }

  open(): number {
    return this.front.open();
  }

  close(slot: number): void {
    this.front.close(slot);
  }

  feed(slot: number, chunk: Uint8Array): void {
    this.front.feed(slot, chunk);
  }

  finish(slot: number): void {
    this.front.finish(slot);
  }

  pause(slot: number, on: boolean): void {
    this.front.pause(slot, on);
  }

  release(slot: number): void {
    this.front.release(slot);
  }

  ingest(nowMs: number): void {
    this.front.ingest(nowMs);
  }

  get ready(): boolean {
    return this.front.ready;
  }

  drain(sink: StoreSink): void {
    this.replies.output.drain(sink);
  }

  expire(idleSinceMs: number): void {
    this.front.expire(idleSinceMs);
  }

  get openCommands(): number {
    return this.entries.open.commands;
  }

  get openBytes(): number {
    return this.entries.open.bytes;
  }

  seal(): SealedEntry | undefined {
    const sealed = this.entries.seal();
    if (sealed !== undefined) this.front.entryClosed();
    return sealed;
  }

  giveUp(sequence: number, why: GiveUp, mayHaveLeft: boolean): SealedEntry {
    return this.entries.giveUp(sequence, why, mayHaveLeft);
  }

  giveUpOpen(why: GiveUp): void {
    this.entries.giveUpOpen(why);
    this.front.entryClosed();
  }

  get gathered(): number {
    return this.reads.gathering.length;
  }

  sealReads(): boolean {
    return this.reads.seal();
  }

  evalReads(): boolean {
    return !this.guard.loading && this.reads.evaluate();
  }

  failReads(why: GiveUp): void {
    this.reads.fail(why);
  }

  stage(record: Uint8Array): boolean {
    this.guard.notLoading('stage');
    return this.applier.stage(record);
  }

  apply(): 'done' | 'more' | 'no-memory' {
    this.guard.notLoading('apply');
    const outcome = this.applier.apply();
    if (!this.applier.underWay) this.entries.flush();
    return outcome;
  }

  get applied(): number {
    return this.applier.applied;
  }

  get logTime(): number {
    return this.table.publishedTime;
  }

  get earliestDeadline(): number | undefined {
    return this.table.firstDue?.deadline;
  }

  configRecord(config: Config): { readonly record: Uint8Array; readonly payloadCrc: number } {
    const record = encodeConfig(config);
    return { record, payloadCrc: crc32c(record.subarray(HEADER_BYTES)) };
  }

  system(key: string): Uint8Array | undefined {
    const value = this.applier.systemValue(key);
    return value === undefined ? undefined : Uint8Array.from(Buffer.from(value, 'latin1'));
  }

  run(operations: Uint8Array): Uint8Array {
    this.guard.notLoading('run');
    let text = '';
    const { replies } = this;
    const reply = (line: string) => {
      text += `${replies.limited(line)}\n`;
    };
    this.applier.run(operations, { before() {}, session() {}, reply });
    if (text.length > this.result.length) this.result = allocate(2 * text.length);
    this.result.latin1Write(text, 0);
    return this.result.subarray(0, text.length);
  }

  snapshotBegin(): SnapshotState {
    this.guard.beginSnapshot();
    this.writer = new SnapshotWriter(this.table, this.applier.systemTable);
    const { applied, revision, stateHash, keys, logicalBytes, limitBytes, checkpoint } = this.stats();
    return { applied, revision, stateHash, keys, logicalBytes, limitBytes, logTimeMs: this.logTime, checkpoint };
  }

  snapshotNext(maxBytes: number): Uint8Array | undefined {
    this.guard.inSnapshot('snapshotNext');
    return this.writer!.next(maxBytes);
  }

  snapshotEnd(): void {
    this.guard.endSnapshot();
    this.writer!.end();
    this.writer = undefined;
  }

  loadBegin(): void {
    this.guard.beginLoad(this.applier.nothingStaged);
    this.front.expire(Number.POSITIVE_INFINITY);
    this.reads.endScan();
    this.applier.reset();
    const hasRoom = (keys: number, bytes: number) => this.applier.roomFor(keys, bytes);
    this.loader = new SnapshotLoader(this.applier, this.table, hasRoom);
  }

  loadChunk(chunk: Uint8Array): boolean {
    this.guard.inLoad('loadChunk');
    const failure = this.guard.failure ?? this.loader!.take(chunk);
    if (failure !== undefined) this.guard.failLoad(failure);
    return failure === undefined;
  }

  loadEnd(state: SnapshotState): 'ok' | LoadFailure {
    this.guard.inLoad('loadEnd');
    const outcome = this.guard.endLoad(this.guard.failure ?? this.loader!.end(state));
    if (outcome === 'ok') this.entries.lost(this.applier.lastOwnSequence);
    this.loader = undefined;
    return outcome;
  }

  stats(): StoreStats {
    const { applier, front, reads } = this;
    return {
      revision: this.table.published,
      applied: applier.applied,
      keys: this.table.publishedKeys,
      stateHash: applier.hash.toString(),
      logicalBytes: applier.logicalBytes,
      limitBytes: applier.limitBytes,
      usedBytes: applier.usedBytes,
      reservedBytes: this.table.reservedBytes(),
      transactions: front.transactions,
      checkpoint: applier.checkpoint,
      counters: {
        parsed: front.parsed,
        encoded: front.encoded,
        checked: applier.operations.checked,
        applied: applier.operations.commands,
        reads: reads.answered,
      },
    };
  }

  dump(): DumpedRecord[] {
    const records: DumpedRecord[] = [];
    for (const key of this.table.allKeys()) {
      const found = this.table.at(key, this.table.published, this.table.publishedTime);
      if (found === undefined) continue;
      const { revision, value, deadline } = found;
      records.push({ key: Buffer.from(key, 'latin1'), value: Buffer.from(value, 'latin1'), revision, deadline });
    }
    return records;
  }
}
