/**
 * System records: in a table of their own, and in the sums and the index of deadlines of the users' one (ARCHITECTURE.md,
 * "System records"). Of this table only records, versions and pins are used.
 */
import { StateHasher } from './js-hash.js';
import { type Found, logicalSize, Table } from './js-table.js';

export class SystemRecords {
  readonly table: Table;
  private readonly users: Table;
  private readonly hasher = new StateHasher();
  /** Key and value of the record being written. */
  private words = new Int32Array(64);
  private bytes = Buffer.from(this.words.buffer);

  constructor(users: Table) {
    this.users = users;
    this.table = new Table(users);
    this.table.retain = true;
  }

  /** The newest live state, writes that are not yet published included. */
  current(key: string): Found | undefined {
    this.table.time = this.users.time;
    return this.table.current(key);
  }

  /** Writes a record at the revision that was taken for it. */
  write(key: string, value: string, deadline = 0): void {
    const { users } = this;
    const length = key.length + value.length;
    if (length + 16 > this.bytes.length) {
      this.words = new Int32Array(length);
      this.bytes = Buffer.from(this.words.buffer);
    }
    this.bytes.write(key + value, 0, 'latin1');
    this.hasher.hash(this.words, 0, key.length, value.length, 1, users.revision, deadline);
    this.put(key, { value, revision: users.revision, deadline }, this.hasher);
  }

  private put(key: string, { value, revision, deadline }: Found, { lo, hi }: StateHasher): void {
    const { users } = this;
    const record = this.table.record(key);
    if (record?.value !== undefined) this.subtract(key, record.value.length, record.lo, record.hi);
    users.hash.add(lo, hi);
    users.logicalBytes += logicalSize(key.length, value.length);
    this.table.set(key, record, value, revision, lo, hi, deadline);
  }

  /** Takes a loaded record; false: its key is there already. */
  load(key: string, found: Found, hasher: StateHasher): boolean {
    if (this.table.record(key) !== undefined) return false;
    this.put(key, found, hasher);
    return true;
  }

  /** Deletes a record that has a value. */
  remove(key: string, revision: number): void {
    const record = this.table.record(key)!;
    this.subtract(key, record.value!.length, record.lo, record.hi);
    this.table.remove(key, record, revision);
  }

  private subtract(key: string, valueLength: number, lo: number, hi: number): void {
    this.users.hash.subtract(lo, hi);
    this.users.logicalBytes -= logicalSize(key.length, valueLength);
  }

  publish(): void {
    this.table.revision = this.users.revision;
    this.table.publish();
  }

  reset(): void {
    this.table.reset();
  }
}
