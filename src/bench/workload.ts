/**
 * The bytes that the store benchmark feeds: operations as in the log (`ARCHITECTURE.md`, "Operation"), and lines of the
 * line protocol. All are made before the clock starts, from a fixed seed, so every store gets the same ones.
 *
 * A list is bounded (LIST_BYTES, LIST_BATCHES) and gone through in a circle. Keys are drawn at random from the whole
 * population, so that a list touches memory as a busy server does, not as a cache would like it.
 */
import { Sequence } from './statistics.js';

export const benchOperations = ['set', 'get', 'delete', 'mixed', 'txn', 'encode'] as const;
export type BenchOperation = (typeof benchOperations)[number];

const Code = { set: 1, del: 2, commit: 5, get: 16 } as const;
const OPERATION_HEADER = 12;
const CHECK_HEADER = 12;
const KEY_BYTES = 12;
const LIST_BYTES = 64 * 1024 * 1024;
const LIST_BATCHES = 131_072;

export interface Shape {
  /** Keys in the store. */
  readonly keys: number;
  readonly valueSize: number;
}

/** Where, in a COMMIT of the txn list, the revisions of its two checks stand, and which commits of the list they are of. */
export interface TransactionList {
  readonly count: number;
  /** Sets the two revisions that commit number `i` expects. */
  expect(i: number, first: number, second: number): void;
  /** Plain SETs of all keys of the list, in its order (first and second of commit 0, of commit 1, …). */
  readonly touch: readonly Uint8Array[];
}

export interface BatchList {
  readonly batches: readonly Uint8Array[];
  /** delete: for each batch, the SETs that bring its keys back. */
  readonly restore?: readonly Uint8Array[];
  readonly transactions?: TransactionList;
}

/** Batches of SETs that fill an empty store with keys 0 … keys − 1, in random order. Each is overwritten by the next. */
export function* fillBatches(shape: Shape, batch = 128): Generator<Uint8Array> {
  const order = new Sequence(1).permutation(shape.keys);
  const values = new Values(shape.valueSize, 2);
  const writer = new Writer(batch * operationBytes(KEY_BYTES, shape.valueSize));
  for (let i = 0; i < order.length; ) {
    writer.length = 0;
    for (const end = Math.min(i + batch, order.length); i < end; i++) writer.set(order[i]!, values);
    yield writer.bytes();
  }
}

/** The list of one row: the same for the same arguments. */
export function makeList(operation: BenchOperation, shape: Shape, batch: number): BatchList {
  switch (operation) {
    case 'set':
      return { batches: randomBatches(shape, batch, setBytes(shape), (w, key, values) => w.set(key, values)) };
    case 'get':
      return { batches: randomBatches(shape, batch, operationBytes(KEY_BYTES, 0), (w, key) => w.get(key)) };
    case 'mixed':
      return {
        batches: randomBatches(shape, batch, setBytes(shape), (w, key, values, i) =>
          i % 2 === 0 ? w.get(key) : w.set(key, values),
        ),
      };
    case 'delete':
      return deleteList(shape, batch);
    case 'txn':
      return transactionList(shape, batch);
    case 'encode':
      return { batches: lineBatches(shape, batch) };
  }
}

function operationBytes(keyLength: number, valueLength: number): number {
  return OPERATION_HEADER + pad4(keyLength + valueLength);
}

function setBytes(shape: Shape): number {
  return operationBytes(KEY_BYTES, shape.valueSize);
}

function pad4(n: number): number {
  return (n + 3) & ~3;
}

/** How many batches of `each` bytes an operation: enough to reach every key, within the bounds. */
function batchesFor(shape: Shape, batch: number, each: number): number {
  const most = Math.min(LIST_BATCHES, Math.floor(LIST_BYTES / (batch * each)));
  return Math.max(1, Math.min(most, Math.ceil(shape.keys / batch)));
}

function randomBatches(
  shape: Shape,
  batch: number,
  each: number,
  add: (writer: Writer, key: number, values: Values, i: number) => void,
): Uint8Array[] {
  const count = batchesFor(shape, batch, each);
  const keys = new Sequence(3);
  const values = new Values(shape.valueSize, 4);
  const writer = new Writer(count * batch * each);
  const batches: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const start = writer.length;
    // i + j: a mixed list of batches of one alternates from batch to batch.
    for (let j = 0; j < batch; j++) add(writer, keys.below(shape.keys), values, i + j);
    batches.push(writer.bytes(start));
  }
  return batches;
}

function deleteList(shape: Shape, batch: number): BatchList {
  const count = Math.max(1, Math.min(batchesFor(shape, batch, setBytes(shape)), Math.floor(shape.keys / batch)));
  const order = new Sequence(5).permutation(shape.keys);
  const values = new Values(shape.valueSize, 6);
  const deletes = new Writer(count * batch * operationBytes(KEY_BYTES, 0));
  const sets = new Writer(count * batch * setBytes(shape));
  const batches: Uint8Array[] = [];
  const restore: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const [from, setFrom] = [deletes.length, sets.length];
    for (let j = 0; j < batch; j++) {
      const key = order[(i * batch + j) % order.length]!;
      deletes.delete(key);
      sets.set(key, values);
    }
    batches.push(deletes.bytes(from));
    restore.push(sets.bytes(setFrom));
  }
  return { batches, restore };
}

/**
 * COMMITs that each read two keys and write the same two: a transfer. Every key stands in one COMMIT of the list only, so
 * the revisions that a round of the list will expect follow from the round before.
 */
function transactionList(shape: Shape, batch: number): BatchList {
  const body = 2 * (CHECK_HEADER + KEY_BYTES) + 2 * setBytes(shape);
  const most = Math.min(LIST_BATCHES, Math.floor(LIST_BYTES / (batch * body)));
  const rounds = Math.max(1, Math.min(most, Math.floor(shape.keys / 2 / batch)));
  const count = rounds * batch;
  const order = new Sequence(7).permutation(Math.max(shape.keys, 2 * count));
  const values = new Values(shape.valueSize, 8);
  const writer = new Writer(count * (OPERATION_HEADER + body));
  const touch = new Writer(count * 2 * setBytes(shape));
  const batches: Uint8Array[] = [];
  const touches: Uint8Array[] = [];
  const places = new Float64Array(count);
  for (let i = 0; i < rounds; i++) {
    const [from, touchFrom] = [writer.length, touch.length];
    for (let j = 0; j < batch; j++) {
      const [a, b] = [order[2 * (i * batch + j)]!, order[2 * (i * batch + j) + 1]!];
      places[i * batch + j] = writer.commit(a, b, values, body);
      touch.set(a, values);
      touch.set(b, values);
    }
    batches.push(writer.bytes(from));
    touches.push(touch.bytes(touchFrom));
  }
  const expect = (i: number, first: number, second: number) => {
    writer.revision(places[i]!, first);
    writer.revision(places[i]! + CHECK_HEADER + KEY_BYTES, second);
  };
  return { batches, transactions: { count, expect, touch: touches } };
}

function lineBatches(shape: Shape, batch: number): Uint8Array[] {
  const each = 'SET  \n'.length + KEY_BYTES + shape.valueSize;
  const count = batchesFor(shape, batch, each);
  const keys = new Sequence(9);
  const values = new Values(shape.valueSize, 10);
  const writer = new Writer(count * batch * each);
  const batches: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const start = writer.length;
    for (let j = 0; j < batch; j++) writer.text(`SET ${keyText(keys.below(shape.keys))} ${values.next()}\n`);
    batches.push(writer.bytes(start));
  }
  return batches;
}

function keyText(key: number): string {
  return `key:${String(key).padStart(KEY_BYTES - 4, '0')}`;
}

/** Values of one size: pieces of a text of letters and digits, no two neighbours alike. */
class Values {
  readonly #size: number;
  readonly #text: string;
  readonly #sequence: Sequence;

  constructor(size: number, seed: number) {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
    this.#sequence = new Sequence(seed);
    this.#size = size;
    const letters: string[] = [];
    for (let i = 0; i < size + 4096; i++) letters.push(alphabet[this.#sequence.below(alphabet.length)]!);
    this.#text = letters.join('');
  }

  next(): string {
    const start = this.#sequence.below(4096);
    return this.#text.slice(start, start + this.#size);
  }
}

/** Appends operations to a buffer of fixed size. */
class Writer {
  length = 0;
  readonly #buffer: Buffer;

  constructor(size: number) {
    this.#buffer = Buffer.alloc(size);
  }

  bytes(from = 0): Uint8Array {
    return new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset + from, this.length - from);
  }

  set(key: number, values: Values): void {
    this.#operation(Code.set, keyText(key), values.next());
  }

  get(key: number): void {
    this.#operation(Code.get, keyText(key), '');
  }

  delete(key: number): void {
    this.#operation(Code.del, keyText(key), '');
  }

  text(text: string): void {
    this.length += this.#buffer.write(text, this.length, 'latin1');
  }

  /** Returns the place of the first check; the second one stands CHECK_HEADER + KEY_BYTES behind it. */
  commit(a: number, b: number, values: Values, bodyBytes: number): number {
    this.#header(Code.commit, 2, bodyBytes);
    const place = this.length;
    for (const key of [a, b]) {
      this.#buffer.writeUInt32LE(KEY_BYTES, this.length);
      this.length += CHECK_HEADER;
      this.text(keyText(key));
    }
    this.set(a, values);
    this.set(b, values);
    return place;
  }

  revision(check: number, revision: number): void {
    this.#buffer.writeUInt32LE(revision % 2 ** 32, check + 4);
    this.#buffer.writeUInt32LE(Math.floor(revision / 2 ** 32), check + 8);
  }

  #operation(code: number, key: string, value: string): void {
    this.#header(code, key.length, value.length);
    this.text(key);
    this.text(value);
    this.length += pad4(key.length + value.length) - key.length - value.length;
  }

  #header(code: number, keyLength: number, valueLength: number): void {
    this.#buffer[this.length] = code;
    this.#buffer.writeUInt32LE(keyLength, this.length + 4);
    this.#buffer.writeUInt32LE(valueLength, this.length + 8);
    this.length += OPERATION_HEADER;
  }
}
