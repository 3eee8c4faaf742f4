/**
 * The store over the kernel in assembly/: bytes go in and out of linear memory, and everything between is done there.
 *
 * ## Concept
 *
 * `feed` copies a chunk into the staging region; `ingest` crosses into Wasm once for all of them. `seal` copies an entry out,
 * `stage` copies one in. `drain` walks the blocks of output and hands out stretches of kernel memory. No JavaScript object is
 * made for a command.
 *
 * ## Invariants
 *
 * - A view of shared memory never goes bad, it only keeps its length when memory grows. So the regions at fixed addresses are
 *   reached through views taken once; what lies behind them, through views asked for after the call that named the address.
 * - What `drain` hands out lies in a block that nothing is written to before the sink has returned: calls that the sink makes
 *   fill other blocks.
 * - A client that is gone hears nothing: its replies are skipped even when they were written before it left.
 *
 * ## Caveats
 *
 * An invariant of the kernel's that does not hold throws `KernelError`; the store must not be used after that.
 */
import { address, type Kernel, type KernelExports, loadKernel, Outcome } from '../kernel/kernel.js';
import type { Crc32c } from '../log/types.js';
import { type Config, encodeConfig } from './config.js';
import { crc32c as crc32cInScript } from './crc32c.js';
import {
  isState,
  LARGEST_CHUNK,
  type LoadFailure,
  loadFailures,
  SnapshotGuard,
  type SnapshotState,
} from './snapshot.js';
import {
  type DumpedRecord,
  defaultLimits,
  type GiveUp,
  HEADER_BYTES,
  type SealedEntry,
  type Store,
  type StoreEvent,
  type StoreLimits,
  type StoreOptions,
  type StoreSink,
  type StoreStats,
  versions,
} from './store.js';
import { textBlob } from './text-blob.js';

const TWO_32 = 4_294_967_296;
const CONN_BYTES = 128;
const BLOCK_HEADER = 16;
/** Kinds of output records from here on are about entries, not connections. */
const FIRST_ENTRY_EVENT = 5;
/** Chunks shorter than this are not worth a trip through kernel memory for their CRC. */
const SHORT_BYTES = 256;
const CRC_PIECE = 65_536;
/** Bytes that an entry's operations, together, may take: the region where they are staged for apply, less a little. */
const ENTRY_ROOM = 33_554_432 - 8_192;
const whys: readonly GiveUp[] = ['no-leader', 'timeout', 'stopping', 'disk-full'];

/** Throws RangeError for limits that the kernel's fixed regions cannot honour. */
function checkedLimits(partial: Partial<StoreLimits> | undefined): StoreLimits {
  const limits: StoreLimits = { ...defaultLimits, ...partial };
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isInteger(value) || value < 1 || value > 33_554_432) {
      throw new RangeError(`limit ${name} must be an integer from 1 to 33554432, not ${value}`);
    }
  }
  const largest = Math.max(limits.maxTransaction, limits.maxKey + 2 * limits.maxValue) + 64;
  if (limits.maxEntry + largest > ENTRY_ROOM) {
    throw new RangeError(
      `maxEntry and the largest command (${largest} bytes) must fit in ${ENTRY_ROOM} bytes together`,
    );
  }
  return limits;
}

export class WasmStore implements Store {
  readonly kind = 'wasm';
  readonly versions = versions;
  readonly crc32c: Crc32c;
  private readonly kernel: Kernel;
  private readonly exports: KernelExports;
  /** Views for the regions at fixed addresses. */
  private readonly u8: Uint8Array;
  private readonly u32: Uint32Array;
  private readonly f64: Float64Array;
  private readonly argsAt: number;
  private readonly connectionsAt: number;
  private readonly scanAt: number;
  private readonly alive: number;
  private readonly aliveMask: number;
  private readonly stagingMost: number;
  private readonly mostStaged: number;
  private nowMs = 0;
  private draining = false;
  private readonly guard = new SnapshotGuard();
  private readonly snapshotWindow: number;
  private readonly snapshotDone: number;

  /**
   * `maximumPages` of 64 KiB is for tests of a store with little memory. Throws RangeError for limits that cannot be honoured, and
   * when there is no address space for another kernel.
   */
  constructor(options: StoreOptions, build: 'release' | 'debug' = 'release', maximumPages = 0) {
    const limits = checkedLimits(options.limits);
    this.kernel = loadKernel({ seed: options.seed, build, maximumPages });
    this.exports = this.kernel.exports;
    this.u8 = this.kernel.u8;
    this.u32 = this.kernel.u32;
    this.f64 = this.kernel.f64;
    this.argsAt = this.kernel.constant('ARGS_BASE');
    this.connectionsAt = this.kernel.constant('CONN_BASE') / 4;
    this.scanAt = this.kernel.constant('SCAN_BASE') / 4;
    this.alive = this.kernel.constant('CONN_ALIVE');
    this.aliveMask = this.kernel.constant('CONN_ALIVE_MASK');
    this.mostStaged = this.kernel.constant('STAGE_SIZE');
    this.snapshotWindow = this.kernel.constant('SNAPSHOT_WINDOW');
    this.snapshotDone = this.kernel.constant('SNAPSHOT_DONE');
    this.crc32c = (bytes, seed = 0, from = 0, to = bytes.length) => this.crc(bytes, seed, from, to);
    this.start(options, limits);
    this.stagingMost = this.exports.stagingMost!();
  }

  private start(options: StoreOptions, limits: StoreLimits): void {
    if (options.identity.length !== 16) {
      throw new RangeError(`a folder identity has 16 bytes, not ${options.identity.length}`);
    }
    const { u8, u32 } = this;
    const blob = textBlob(limits);
    if (blob.length > this.kernel.constant('TEXT_SIZE')) throw new RangeError('the texts do not fit in their region');
    u8.set(blob, this.kernel.constant('TEXT_BASE'));
    const { maxKey, maxValue, maxLine, maxReply, maxTransaction, maxEntry } = limits;
    u32.set([maxKey, maxValue, maxLine, maxReply, maxTransaction, maxEntry], this.argsAt / 4);
    u8.set(options.identity, this.argsAt + 32);
    u32.set([options.starts >>> 0, options.nonce >>> 0], (this.argsAt + 48) / 4);
    this.exports.frontInit!();
  }

  private crc(bytes: Uint8Array, seed: number, from: number, to: number): number {
    if (to - from < SHORT_BYTES) return crc32cInScript(bytes, seed, from, to);
    let crc = seed;
    for (let at = from; at < to; at += CRC_PIECE) {
      const piece = bytes.subarray(at, Math.min(at + CRC_PIECE, to));
      this.u8.set(piece, this.argsAt);
      crc = address(this.exports.crc32c!(this.argsAt, piece.length, crc));
    }
    return crc;
  }

  // ---- connections

  open(): number {
    return this.exports.connOpen!();
  }

  close(slot: number): void {
    this.exports.connClose!(slot);
  }

  feed(slot: number, chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; at += this.stagingMost) {
      this.feedPiece(slot, chunk.length <= this.stagingMost ? chunk : chunk.subarray(at, at + this.stagingMost));
    }
  }

  private feedPiece(slot: number, piece: Uint8Array): void {
    const room = this.stagingRoom(piece.length);
    this.u8.set(piece, room);
    this.exports.staged!(slot, piece.length);
  }

  /** Where a chunk goes; what is staged already is parsed first when there is no room. */
  private stagingRoom(bytes: number): number {
    const room = address(this.exports.stagingRoom!(bytes));
    if (room !== 0) return room;
    this.exports.ingest!(this.nowMs);
    return address(this.exports.stagingRoom!(bytes));
  }

  finish(slot: number): void {
    this.stagingRoom(0);
    this.exports.stagedFin!(slot);
  }

  pause(slot: number, on: boolean): void {
    this.exports.connPause!(slot, on ? 1 : 0);
  }

  release(slot: number): void {
    this.exports.connRelease!(slot);
  }

  ingest(nowMs: number): void {
    this.nowMs = nowMs;
    this.exports.ingest!(nowMs);
  }

  get ready(): boolean {
    return this.exports.ready!() !== 0;
  }

  expire(idleSinceMs: number): void {
    this.exports.txnExpire!(idleSinceMs);
  }

  // ---- output

  drain(sink: StoreSink): void {
    if (this.draining) return;
    this.draining = true;
    try {
      for (let block = this.exports.outputNext!(); block !== 0; block = this.exports.outputNext!()) {
        this.handOut(address(block), sink);
      }
    } finally {
      this.draining = false;
    }
  }

  /** Hands out the records of one block (assembly/output.ts). */
  private handOut(block: number, sink: StoreSink): void {
    const { u8, u32 } = this.kernel;
    const end = u32[(block >>> 2) + 1]!;
    let at = block + BLOCK_HEADER;
    while (at + 8 <= end) {
      const tag = u32[at >>> 2]!;
      const start = at + 8;
      const stop = start + u32[(at >>> 2) + 1]!;
      const kind = tag >>> 16;
      const slot = tag & 0xffff;
      if (stop > start && (kind >= FIRST_ENTRY_EVENT || this.isAlive(slot))) {
        if (kind === 0) sink.output(slot, u8, start, stop);
        else sink.event(kind as StoreEvent, slot, u32[start >>> 2]! + u32[(start >>> 2) + 1]! * TWO_32);
      }
      at = address((stop + 3) & ~3);
    }
  }

  private isAlive(slot: number): boolean {
    return (this.u32[this.connectionsAt + slot * (CONN_BYTES / 4)]! & this.aliveMask) === this.alive;
  }

  // ---- entries

  get openCommands(): number {
    return address(this.exports.openCommands!());
  }

  get openBytes(): number {
    return address(this.exports.openBytes!());
  }

  seal(): SealedEntry | undefined {
    return this.exports.seal!() === 0 ? undefined : this.takeRecord();
  }

  giveUp(sequence: number, why: GiveUp, mayHaveLeft: boolean): SealedEntry {
    this.exports.giveUp!(sequence, whys.indexOf(why), mayHaveLeft ? 1 : 0);
    return this.takeRecord();
  }

  /** Copies out the record that the kernel has just made. */
  private takeRecord(): SealedEntry {
    const { u8, u32, f64 } = this;
    const args = this.argsAt / 4;
    const from = u32[args + 3]!;
    // Not filled with zeros first; a plain Uint8Array over a buffer of its own.
    const record = new Uint8Array(Buffer.allocUnsafeSlow(u32[args + 4]!).buffer);
    record.set(u8.subarray(from, from + record.length));
    return { sequence: f64[this.argsAt / 8]!, record, payloadCrc: u32[args + 2]! };
  }

  giveUpOpen(why: GiveUp): void {
    this.exports.giveUpOpen!(whys.indexOf(why));
  }

  // ---- reads

  get gathered(): number {
    return address(this.exports.gathered!());
  }

  sealReads(): boolean {
    return this.exports.sealReads!() !== 0;
  }

  evalReads(): boolean {
    if (this.guard.loading) return false;
    return this.exports.evalReads!() !== 0;
  }

  failReads(why: GiveUp): void {
    this.exports.giveUpReads!(whys.indexOf(why));
  }

  // ---- apply

  stage(record: Uint8Array): boolean {
    this.guard.notLoading('stage');
    if (record.length > this.mostStaged) {
      throw new RangeError(`a record has at most ${this.mostStaged} bytes, not ${record.length}`);
    }
    const room = address(this.exports.stageRoom!(record.length));
    if (room === 0) return false;
    this.u8.set(record, room);
    this.exports.stageRecord!(record.length);
    return true;
  }

  apply(): 'done' | 'more' | 'no-memory' {
    this.guard.notLoading('apply');
    const outcome = this.exports.applyStaged!();
    return outcome === Outcome.done ? 'done' : outcome === Outcome.more ? 'more' : 'no-memory';
  }

  get applied(): number {
    return this.exports.applied!();
  }

  get logTime(): number {
    return this.exports.logTime!();
  }

  get earliestDeadline(): number | undefined {
    const deadline = this.exports.earliestDeadline!();
    return deadline < 0 ? undefined : deadline;
  }

  configRecord(config: Config): { readonly record: Uint8Array; readonly payloadCrc: number } {
    const record = encodeConfig(config);
    return { record, payloadCrc: this.crc32c(record.subarray(HEADER_BYTES)) };
  }

  system(key: string): Uint8Array | undefined {
    this.u8.set(Buffer.from(key, 'latin1'), this.argsAt);
    const length = this.exports.systemValue!(key.length);
    if (length < 0) return undefined;
    const from = this.u32[this.argsAt / 4]!;
    return this.kernel.u8.slice(from, from + length);
  }

  run(operations: Uint8Array): Uint8Array {
    this.guard.notLoading('run');
    const room = address(this.exports.stageRoom!(Math.max(operations.length, HEADER_BYTES)));
    if (room === 0) throw new Error('run: committed records are staged; apply them first');
    this.u8.set(operations, room);
    const outcome = this.exports.runBatch!(room, operations.length);
    if (outcome !== Outcome.done) throw new Error(runErrors[outcome] ?? `run: outcome ${outcome}`);
    const args = this.argsAt / 4;
    const from = this.u32[args]!;
    return this.kernel.u8.subarray(from, from + this.u32[args + 1]!);
  }

  // ---- snapshots

  snapshotBegin(): SnapshotState {
    this.guard.beginSnapshot();
    this.exports.snapshotBegin!();
    const { applied, revision, stateHash, keys, logicalBytes, limitBytes, checkpoint } = this.stats();
    return { applied, revision, stateHash, keys, logicalBytes, limitBytes, logTimeMs: this.logTime, checkpoint };
  }

  snapshotNext(maxBytes: number): Uint8Array | undefined {
    this.guard.inSnapshot('snapshotNext');
    const most = Math.max(1, Math.min(maxBytes, LARGEST_CHUNK));
    const bytes = address(this.exports.snapshotPick!(most));
    if (bytes === this.snapshotDone) return undefined;
    const chunk = new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
    const from = this.snapshotWindow;
    for (let at = 0; at < bytes; ) {
      const copied = this.exports.snapshotCopy!();
      chunk.set(this.u8.subarray(from, from + copied), at);
      at += copied;
    }
    return chunk;
  }

  snapshotEnd(): void {
    this.guard.endSnapshot();
    this.exports.snapshotEnd!();
  }

  loadBegin(): void {
    this.guard.beginLoad(this.exports.nothingStaged!() !== 0);
    this.exports.loadBegin!();
  }

  loadChunk(chunk: Uint8Array): boolean {
    this.guard.inLoad('loadChunk');
    const outcome = this.guard.failure === undefined ? this.takeChunk(chunk) : 0;
    if (outcome !== 0) this.guard.failLoad(loadFailures[outcome - 1]!);
    return this.guard.failure === undefined;
  }

  private takeChunk(chunk: Uint8Array): number {
    // Larger than any record that can have been written.
    if (chunk.length > this.mostStaged) return 1;
    const room = address(this.exports.stageRoom!(Math.max(chunk.length, HEADER_BYTES)));
    this.u8.set(chunk, room);
    return this.exports.loadChunk!(room, chunk.length);
  }

  loadEnd(state: SnapshotState): 'ok' | LoadFailure {
    this.guard.inLoad('loadEnd');
    const { failure } = this.guard;
    if (failure !== undefined || !isState(state)) return this.guard.endLoad(failure ?? 'state');
    const { revision, applied, keys, logicalBytes, limitBytes, logTimeMs, checkpoint } = state;
    const at = this.argsAt;
    this.f64.set([revision, applied, keys, logicalBytes, limitBytes, logTimeMs, checkpoint.index], at / 8);
    this.u32.set([...halves(state.stateHash), ...halves(checkpoint.stateHash)], at / 4 + 16);
    const outcome = this.exports.loadEnd!();
    return this.guard.endLoad(outcome === 0 ? 'ok' : loadFailures[outcome - 1]!);
  }

  // ---- statistics

  stats(): StoreStats {
    const at = address(this.exports.stats!());
    const storage = this.f64.slice(at / 8, at / 8 + 10);
    const hashes = this.u32.slice((at + 80) / 4, (at + 96) / 4);
    this.exports.frontStats!();
    const front = this.f64.subarray(this.argsAt / 8, this.argsAt / 8 + 4);
    return {
      revision: storage[0]!,
      applied: storage[1]!,
      keys: storage[2]!,
      stateHash: hex(hashes[0]!, hashes[1]!),
      logicalBytes: storage[3]!,
      limitBytes: storage[4]!,
      usedBytes: storage[5]!,
      reservedBytes: storage[6]!,
      transactions: front[3]!,
      checkpoint: { index: storage[7]!, stateHash: hex(hashes[2]!, hashes[3]!) },
      counters: {
        parsed: front[0]!,
        encoded: front[1]!,
        checked: storage[8]!,
        applied: storage[9]!,
        reads: front[2]!,
      },
    };
  }

  dump(): DumpedRecord[] {
    const records: DumpedRecord[] = [];
    let cursor = 0;
    for (;;) {
      this.f64[this.argsAt / 8] = cursor;
      const found = this.exports.dumpNext!();
      if (found < 0) return records;
      cursor = this.f64[this.argsAt / 8]!;
      for (let i = 0; i < found; i++) records.push(this.dumped(this.u32[this.scanAt + i]!));
    }
  }

  private dumped(record: number): DumpedRecord {
    this.exports.dumpRecord!(record);
    const { u32, f64 } = this;
    const { u8 } = this.kernel;
    const args = this.argsAt / 4;
    const [key, keyLength, value, valueLength] = [u32[args]!, u32[args + 1]!, u32[args + 2]!, u32[args + 3]!];
    return {
      key: u8.slice(key, key + keyLength),
      value: u8.slice(value, value + valueLength),
      revision: f64[this.argsAt / 8 + 2]!,
      deadline: f64[this.argsAt / 8 + 3]!,
    };
  }
}

const runErrors: Readonly<Record<number, string>> = {
  [Outcome.noMemory]: 'run: no memory for the batch; nothing was applied',
  [Outcome.malformed]: 'run: the operations are malformed; nothing was applied',
  [Outcome.busy]: 'run: an entry is being applied',
};

/** Both halves of 16 hexadecimal digits, the low one first. */
function halves(hash: string): [low: number, high: number] {
  return [Number.parseInt(hash.slice(8), 16), Number.parseInt(hash.slice(0, 8), 16)];
}

/** 16 hexadecimal digits of a 64-bit number. */
function hex(low: number, high: number): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}
