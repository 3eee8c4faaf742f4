/**
 * A store of a program to come, which differs on purpose: it knows version 2 as well, and by that one keeps `new` wherever a write
 * says `old`.
 */
import { RecordOffset } from '../../src/log/record.js';
import { versionIn } from '../../src/node/versions.js';
import { versionOfConfig } from '../../src/store/config.js';
import { JsStore } from '../../src/store/js-store.js';
import type { SnapshotState } from '../../src/store/snapshot.js';
import { EntryType, HEADER_BYTES, type StoreOptions, type VersionRange } from '../../src/store/store.js';

export class NextStore extends JsStore {
  override readonly versions: VersionRange;
  /** In force behind what is staged. */
  #version: number | undefined;

  constructor(options: StoreOptions, versions: VersionRange = { oldest: 1, newest: 2 }) {
    super(options);
    this.versions = versions;
  }

  override stage(record: Uint8Array): boolean {
    this.#version ??= versionIn(this);
    const renewed = this.#version >= 2 && record[RecordOffset.type] === EntryType.data ? renew(record) : record;
    if (!super.stage(renewed)) return false;
    if (record[RecordOffset.type] === EntryType.config)
      this.#version = versionOfConfig(record.subarray(HEADER_BYTES)) ?? this.#version;
    return true;
  }

  override loadEnd(state: SnapshotState): ReturnType<JsStore['loadEnd']> {
    this.#version = undefined;
    return super.loadEnd(state);
  }
}

function renew(record: Uint8Array): Uint8Array {
  const copy = Buffer.from(record);
  for (let at = copy.indexOf('old', HEADER_BYTES); at >= 0; at = copy.indexOf('old', at)) copy.write('new', at);
  return copy;
}
