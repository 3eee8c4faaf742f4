/** Snapshots in tests: taking one whole, reading its chunks a second way, loading one. */
import type { LoadFailure, SnapshotState } from '../../src/store/snapshot.js';
import type { Store } from '../../src/store/store.js';
import { type ReferenceRecord, referenceSize } from './payloads.js';

export interface Taken {
  readonly state: SnapshotState;
  readonly chunks: Uint8Array[];
}

/** Writes a snapshot; `between` is called between any two calls. */
export function take(store: Store, maxBytes = 65_536, between = () => {}): Taken {
  const state = store.snapshotBegin();
  const chunks: Uint8Array[] = [];
  for (;;) {
    between();
    const chunk = store.snapshotNext(maxBytes);
    if (chunk === undefined) break;
    chunks.push(chunk);
  }
  store.snapshotEnd();
  return { state, chunks };
}

export function load(store: Store, { state, chunks }: Taken): 'ok' | LoadFailure {
  store.loadBegin();
  for (const chunk of chunks) store.loadChunk(chunk);
  return store.loadEnd(state);
}

/** The records of chunks, from ARCHITECTURE.md alone. Throws when a chunk does not end with an entry. */
export function recordsIn(chunks: readonly Uint8Array[]): ReferenceRecord[] {
  return chunks.flatMap((chunk) => {
    const records: ReferenceRecord[] = [];
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    for (let at = 0; at < chunk.length; ) {
      const keyWord = view.getUint32(at, true);
      const keyLength = keyWord & 0x7fff_ffff;
      const valueLength = view.getUint32(at + 4, true);
      const data = at + 24;
      const end = data + Math.ceil((keyLength + valueLength) / 4) * 4;
      if (end > chunk.length) throw new Error(`an entry at ${at} reaches beyond its chunk`);
      for (let i = data + keyLength + valueLength; i < end; i++)
        if (chunk[i] !== 0) throw new Error('padding is not 0');
      records.push({
        key: chunk.slice(data, data + keyLength),
        value: chunk.slice(data + keyLength, data + keyLength + valueLength),
        revision: Number(view.getBigUint64(at + 8, true)),
        system: keyWord >= 0x8000_0000,
        deadline: Number(view.getBigUint64(at + 16, true)),
      });
      at = end;
    }
    return records;
  });
}

export function logicalBytesOf(records: readonly ReferenceRecord[]): number {
  return records.reduce((sum, { key, value }) => sum + referenceSize(key.length, value.length), 0);
}

/** An entry as ARCHITECTURE.md draws it. */
export function entry(key: string, value: string, revision: number, system = false, deadline = 0): Uint8Array {
  const bytes = Buffer.alloc(24 + Math.ceil((key.length + value.length) / 4) * 4);
  bytes.writeUInt32LE(key.length + (system ? 0x8000_0000 : 0), 0);
  bytes.writeUInt32LE(value.length, 4);
  bytes.writeBigUInt64LE(BigInt(revision), 8);
  bytes.writeBigUInt64LE(BigInt(deadline), 16);
  bytes.write(key + value, 24, 'latin1');
  return new Uint8Array(bytes);
}
