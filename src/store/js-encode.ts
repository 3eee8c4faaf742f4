/** The open entry: commands are encoded into it as they come, behind room for the leader's header and the origin. */
import { crc32c } from './crc32c.js';
import { allocate, type Latin1Buffer, pad4 } from './js-bytes.js';
import { ItemList } from './js-items.js';
import { HEAD, Op, OpFlag, ttlBytes } from './js-operations.js';
import { expiryFlag, type Transaction } from './js-transaction.js';
import { HEADER_BYTES, MOST_RECORD_BYTES, type SealedEntry } from './store.js';

/** Bytes of a data entry's payload before its operations: origin (24), sequence (8), commands (4), reserved (4). */
export const ORIGIN_BYTES = 40;
const OPERATIONS_AT = HEADER_BYTES + ORIGIN_BYTES;
const FIRST_BYTES = 65_536;
/** A larger buffer is given back when its entry is sealed. */
const KEPT_BYTES = 4_194_304;
const TWO_32 = 4_294_967_296;
/** Bytes of operations that an entry may hold: what the kernel can stage of one, or the nodes on it could not apply it. */
const MOST_BYTES = MOST_RECORD_BYTES - OPERATIONS_AT;

/** Bytes of a SEQ. */
export const SEQUENCE_BYTES = HEAD + 24;

/** What a SEQ says: of which session, its number, and the lowest number still unanswered (0: not said). */
export interface Sequence {
  readonly session: number;
  readonly number: number;
  readonly from: number;
}

export interface Origin {
  readonly identity: Uint8Array;
  readonly starts: number;
  readonly nonce: number;
}

export class OpenEntry {
  commands = 0;
  /** PERSISTs among them: an entry holds a bounded number. */
  persists = 0;
  /** SESSIONs and SEQs among them. */
  sessions = 0;
  items = new ItemList();
  private readonly origin: Origin;
  private buffer: Latin1Buffer = allocate(FIRST_BYTES);
  private end = OPERATIONS_AT;

  constructor(origin: Origin) {
    this.origin = { ...origin, identity: Uint8Array.from(origin.identity) };
  }

  /** Bytes of its payload; 0 as long as it holds no command. */
  get bytes(): number {
    return this.commands === 0 ? 0 : this.end - HEADER_BYTES;
  }

  /** Operations of `bytes` fit into an entry of their own. */
  canHold(bytes: number): boolean {
    return bytes <= MOST_BYTES;
  }

  /** Operations of `bytes` fit into this one. */
  fits(bytes: number): boolean {
    return bytes <= MOST_BYTES - (this.end - OPERATIONS_AT);
  }

  private reserve(bytes: number): void {
    if (this.end + bytes <= this.buffer.length) return;
    const larger = allocate(2 * (this.end + bytes));
    this.buffer.copy(larger, 0, 0, this.end);
    this.buffer = larger;
  }

  private head(code: number, flags: number, keyLength: number, valueLength: number): void {
    const { buffer, end } = this;
    buffer.writeUInt32LE(code | (flags << 8), end);
    buffer.writeUInt32LE(keyLength, end + 4);
    buffer.writeUInt32LE(valueLength, end + 8);
    this.end = end + HEAD;
  }

  private text(text: string): void {
    this.buffer.latin1Write(text, this.end);
    this.end += text.length;
  }

  /** Zeros up to a multiple of 4. */
  private pad(): void {
    while ((this.end & 3) !== 0) this.buffer[this.end++] = 0;
  }

  private operation(code: number, flags: number, key: string, value: string, ttlMs = 0): void {
    this.reserve(HEAD + pad4(key.length + value.length) + ttlBytes(flags));
    this.head(code, flags, key.length, value.length);
    this.text(key);
    this.text(value);
    this.pad();
    if ((flags & OpFlag.ttl) !== 0) this.u64(ttlMs);
  }

  /** What goes in front of the next command. */
  sequence({ session, number, from }: Sequence): void {
    this.reserve(SEQUENCE_BYTES);
    this.head(Op.seq, 0, 8, 16);
    for (const part of [session, number, from]) this.u64(part);
    this.sessions++;
  }

  /** SESSION (0), or SESSION number. */
  session(number: number): void {
    this.reserve(HEAD + 8);
    this.head(Op.session, 0, number === 0 ? 0 : 8, 0);
    if (number !== 0) this.u64(number);
    this.sessions++;
    this.commands++;
  }

  fence(): void {
    this.operation(Op.fence, 0, '', '');
    this.commands++;
  }

  private u64(value: number): void {
    this.buffer.writeUInt32LE(value % TWO_32, this.end);
    this.end = this.buffer.writeUInt32LE(Math.floor(value / TWO_32), this.end + 4);
  }

  /** `ttlMs` with the flag `ttl` only. */
  set(key: string, value: string, flags: number, ttlMs: number): void {
    this.operation(Op.set, flags, key, value, ttlMs);
    this.commands++;
  }

  del(keys: readonly string[]): void {
    const last = keys.length - 1;
    for (let i = 0; i <= last; i++) this.operation(Op.del, i < last ? OpFlag.more : 0, keys[i]!, '');
    this.commands++;
  }

  persist(key: string): void {
    this.operation(Op.persist, 0, key, '');
    this.persists++;
    this.commands++;
  }

  incr(key: string, by: bigint): void {
    this.reserve(HEAD + pad4(key.length + 8));
    this.head(Op.incr, 0, key.length, 8);
    this.text(key);
    this.end = this.buffer.writeBigInt64LE(by, this.end);
    this.pad();
    this.commands++;
  }

  cas(key: string, expected: string, value: string): void {
    const valueLength = 4 + expected.length + value.length;
    this.reserve(HEAD + pad4(key.length + valueLength));
    this.head(Op.cas, 0, key.length, valueLength);
    this.text(key);
    this.end = this.buffer.writeUInt32LE(expected.length, this.end);
    this.text(expected);
    this.text(value);
    this.pad();
    this.commands++;
  }

  /** A COMMIT that writes nothing; only one with a sequence is logged. */
  emptyCommit(): void {
    this.reserve(HEAD);
    this.head(Op.commit, 0, 0, 0);
    this.commands++;
  }

  commit(transaction: Transaction): void {
    this.reserve(HEAD + transaction.size);
    this.head(Op.commit, 0, transaction.checks.size, transaction.size);
    for (const [key, revision] of transaction.checks) this.check(key, revision);
    for (const [key, write] of transaction.writes) {
      if (write === undefined) this.operation(Op.del, 0, key, '');
      else this.operation(Op.set, expiryFlag(write.expiry), key, write.value, write.expiry?.ms);
    }
    this.commands++;
  }

  private check(key: string, revision: number): void {
    const { buffer, end } = this;
    buffer.writeUInt32LE(key.length, end);
    buffer.writeUInt32LE(revision % TWO_32, end + 4);
    buffer.writeUInt32LE(Math.floor(revision / TWO_32), end + 8);
    this.end = end + HEAD;
    this.text(key);
    this.pad();
  }

  /** A copy of the entry with its number; the open entry is empty again, with new `items`. */
  seal(sequence: number): SealedEntry {
    const record = new Uint8Array(this.buffer.subarray(0, this.end));
    const sealed = this.numbered(record, sequence, this.commands);
    this.clear();
    return sealed;
  }

  /** The entry without commands that goes by that number. */
  empty(sequence: number): SealedEntry {
    return this.numbered(new Uint8Array(OPERATIONS_AT), sequence, 0);
  }

  clear(): void {
    this.end = OPERATIONS_AT;
    this.commands = 0;
    this.persists = 0;
    this.sessions = 0;
    this.items = new ItemList();
    if (this.buffer.length > KEPT_BYTES) this.buffer = allocate(FIRST_BYTES);
  }

  private numbered(record: Uint8Array, sequence: number, commands: number): SealedEntry {
    record.fill(0, 0, OPERATIONS_AT);
    record.set(this.origin.identity, HEADER_BYTES);
    const header = new DataView(record.buffer, HEADER_BYTES + 16);
    header.setUint32(0, this.origin.starts, true);
    header.setUint32(4, this.origin.nonce, true);
    header.setUint32(8, sequence % TWO_32, true);
    header.setUint32(12, Math.floor(sequence / TWO_32), true);
    header.setUint32(16, commands, true);
    return { sequence, record, payloadCrc: crc32c(record.subarray(HEADER_BYTES)) };
  }
}
