/**
 * Two stores that are driven with the same calls, and compared after each: replies, events, sealed bytes, and at rest
 * contents, hashes and counters. The first difference throws, with the calls that led to it.
 */
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import type { SnapshotState } from '../../src/store/snapshot.js';
import { EntryType, type GiveUp, type SealedEntry, type Store, StoreEvent } from '../../src/store/store.js';
import { bytesOf, textOf } from './harness.js';
import { load, recordsIn, type Taken } from './snapshots.js';

/** A connection of both: its slots may differ. */
interface Client {
  readonly id: number;
  readonly slots: readonly number[];
  finished: boolean;
  paused: boolean;
}

/** An own entry that is not decided. */
interface Undecided {
  readonly sequence: number;
  versions: SealedEntry[];
}

const TRACE = 40;

export class Pair {
  readonly stores: readonly Store[];
  readonly records: Uint8Array[] = [];
  readonly clients: Client[] = [];
  undecided: Undecided[] = [];
  /** Clients whose control command waits for `release`. */
  controls: Client[] = [];
  nowMs = 1_000;
  /** Log time of the last entry, ms; each entry adds one. */
  logTime = 0;
  private readonly trace: string[] = [];
  private nextClient = 1;

  constructor(...stores: readonly Store[]) {
    this.stores = stores;
  }

  private note(call: string): void {
    this.trace.push(call);
    if (this.trace.length > TRACE) this.trace.shift();
  }

  /** Makes the same call on each and compares the results. */
  private both<T>(what: string, call: (store: Store, i: number) => T, show: (result: T) => string = String): T {
    this.note(what);
    const results = this.stores.map(call);
    const shown = results.map(show);
    if (shown.some((text) => text !== shown[0])) this.differ(what, shown);
    return results[0]!;
  }

  private differ(what: string, shown: readonly string[]): never {
    const sides = this.stores.map((store, i) => `--- ${store.kind}\n${shown[i]}`).join('\n');
    throw new Error(`the stores differ in ${what}:\n${sides}\n--- the last calls\n${this.trace.join('\n')}`);
  }

  open(): Client {
    const slots: number[] = [];
    this.both(
      'open',
      (store) => slots.push(store.open()),
      () => '',
    );
    const client = { id: this.nextClient++, slots, finished: false, paused: false };
    this.clients.push(client);
    return client;
  }

  close(client: Client): void {
    this.both(`close ${client.id}`, (store, i) => store.close(client.slots[i]!));
    this.clients.splice(this.clients.indexOf(client), 1);
    this.controls = this.controls.filter((other) => other !== client);
  }

  feed(client: Client, text: string): void {
    this.both(`feed ${client.id} ${JSON.stringify(text)}`, (store, i) => store.feed(client.slots[i]!, bytesOf(text)));
  }

  finish(client: Client): void {
    client.finished = true;
    this.both(`finish ${client.id}`, (store, i) => store.finish(client.slots[i]!));
  }

  pause(client: Client, on: boolean): void {
    client.paused = on;
    this.both(`pause ${client.id} ${on}`, (store, i) => store.pause(client.slots[i]!, on));
  }

  release(client: Client): void {
    this.controls.splice(this.controls.indexOf(client), 1);
    this.both(`release ${client.id}`, (store, i) => store.release(client.slots[i]!));
  }

  ingest(): void {
    this.both(`ingest ${this.nowMs}`, (store) => store.ingest(this.nowMs));
    this.drain();
    this.both('openCommands', (store) => store.openCommands);
    this.both('openBytes', (store) => (store.openCommands === 0 ? 0 : store.openBytes));
    this.both('gathered', (store) => store.gathered);
  }

  expire(sinceMs: number): void {
    this.both(`expire ${sinceMs}`, (store) => store.expire(sinceMs));
  }

  /** Takes what both have produced: the same for each client, and the same about entries. */
  drain(): void {
    const shown = this.stores.map((store, i) => this.drainOne(store, i));
    if (shown.some((text) => text !== shown[0])) this.differ('drain', shown);
  }

  private drainOne(store: Store, i: number): string {
    const said = new Map<number, string>();
    const entries: string[] = [];
    const say = (slot: number, text: string) => {
      const client = this.clients.find((one) => one.slots[i] === slot);
      if (client === undefined) throw new Error(`${store.kind}: output for slot ${slot}, which is not open`);
      said.set(client.id, (said.get(client.id) ?? '') + text);
      return client;
    };
    store.drain({
      output: (slot, bytes, start, end) => void say(slot, textOf(bytes.subarray(start, end))),
      event: (kind, slot, arg) => {
        if (kind === StoreEvent.applied || kind === StoreEvent.gap) entries.push(`${kind}:${arg}`);
        else if (kind === StoreEvent.close) say(slot, '<close>');
        else if (kind === StoreEvent.control) {
          const client = say(slot, `<control ${arg}>`);
          if (i === 0) this.controls.push(client);
        } else say(slot, '');
        if (i === 0 && kind === StoreEvent.applied) {
          this.undecided = this.undecided.filter((one) => one.sequence !== arg);
        }
      },
    });
    if (i === 0) for (const text of said.values()) this.noteIntegers(text);
    const clients = [...said].filter(([, text]) => text !== '').sort(([a], [b]) => a - b);
    return `${entries.join(' ')} ${JSON.stringify(clients)}`;
  }

  /** Integers that were replied lately: numbers of sessions are among them. */
  readonly integers: number[] = [];

  private noteIntegers(text: string): void {
    for (const [, digits] of text.matchAll(/^\(integer\) (\d{2,6})$/gm)) this.integers.push(Number(digits));
    this.integers.splice(0, Math.max(0, this.integers.length - 8));
  }

  seal(): void {
    const sealed: (SealedEntry | undefined)[] = [];
    this.both(
      'seal',
      (store) => {
        const entry = store.seal();
        sealed.push(entry);
        return entry;
      },
      (entry) =>
        entry ? `${entry.sequence} ${entry.payloadCrc} ${Buffer.from(entry.record).toString('hex')}` : 'nothing',
    );
    const entry = sealed[0];
    if (entry) this.undecided.push({ sequence: entry.sequence, versions: [entry] });
  }

  giveUp(entry: Undecided, why: GiveUp, mayHaveLeft: boolean): void {
    const empty = this.both(
      `giveUp ${entry.sequence} ${why} ${mayHaveLeft}`,
      (store) => store.giveUp(entry.sequence, why, mayHaveLeft),
      (sealed) => `${sealed.sequence} ${sealed.payloadCrc} ${Buffer.from(sealed.record).toString('hex')}`,
    );
    entry.versions = mayHaveLeft ? [...entry.versions, empty] : [empty];
    this.drain();
  }

  giveUpOpen(why: GiveUp): void {
    this.both(`giveUpOpen ${why}`, (store) => store.giveUpOpen(why));
    this.drain();
  }

  /** Gives a payload behind its room the next place in the log. */
  commit(entry: { readonly record: Uint8Array; readonly payloadCrc: number }, type: number, name: string): void {
    const record = new Uint8Array(entry.record);
    const index = this.records.length + 1;
    const { crc32c } = this.stores[0]!;
    this.logTime++;
    sealRecord(record, { index, term: 1, logTime: this.logTime, wall: 0, type }, entry.payloadCrc, crc32c);
    this.records.push(record);
    this.note(`commit ${index}: ${name}`);
    for (const store of this.stores) {
      while (!store.stage(record)) if (store.apply() === 'no-memory') throw new Error(`${store.kind}: no memory`);
    }
  }

  /** Applies what another pair, whose log time is this, has committed. */
  follow(records: readonly Uint8Array[], logTime: number): void {
    this.logTime = logTime;
    for (const record of records) {
      this.records.push(record);
      for (const store of this.stores) while (!store.stage(record)) store.apply();
    }
    this.apply();
  }

  commitPayload(payload: Uint8Array, type: number, name: string): void {
    const record = new Uint8Array(RECORD_HEADER_BYTES + payload.length);
    record.set(payload, RECORD_HEADER_BYTES);
    this.commit({ record, payloadCrc: this.stores[0]!.crc32c(payload) }, type, name);
  }

  commitOwn(entry: Undecided, version: SealedEntry): void {
    this.commit(version, EntryType.data, `own ${entry.sequence}`);
  }

  apply(): void {
    this.both('apply', (store) => {
      for (;;) {
        const outcome = store.apply();
        if (outcome !== 'more') return outcome;
      }
    });
    this.drain();
  }

  sealReads(): void {
    this.both('sealReads', (store) => store.sealReads());
  }

  evalReads(): void {
    this.both('evalReads', (store) => {
      while (!store.evalReads());
    });
    this.drain();
  }

  failReads(why: GiveUp): void {
    this.both(`failReads ${why}`, (store) => store.failReads(why));
    this.drain();
  }

  run(operations: Uint8Array): void {
    this.both('run', (store) => textOf(store.run(operations)));
  }

  // ---- snapshots

  /** What has been written of the snapshot under way, of each store. */
  private written: Uint8Array[][] = [];
  private begun: SnapshotState[] = [];

  get inSnapshot(): boolean {
    return this.begun.length > 0;
  }

  snapshotBegin(): void {
    this.written = this.stores.map(() => []);
    this.both(
      'snapshotBegin',
      (store) => {
        const state = store.snapshotBegin();
        this.begun.push(state);
        return state;
      },
      (state) => JSON.stringify(state),
    );
  }

  /** The next chunk of those that have one; the snapshots when both have ended: the same records in any order. */
  snapshotNext(maxBytes: number): Taken[] | undefined {
    this.note(`snapshotNext ${maxBytes}`);
    const chunks = this.stores.map((store) => store.snapshotNext(maxBytes));
    for (const [i, chunk] of chunks.entries()) if (chunk !== undefined) this.written[i]!.push(chunk);
    if (chunks.some((chunk) => chunk !== undefined)) return undefined;
    this.snapshotEnd();
    const shown = this.written.map((written) =>
      recordsIn(written)
        .map((one) => `${one.system} ${textOf(one.key)}=${textOf(one.value)}@${one.revision}<${one.deadline}`)
        .sort()
        .join('\n'),
    );
    if (shown.some((text) => text !== shown[0])) this.differ('the records of the snapshot', shown);
    const states = this.begun;
    this.begun = [];
    return this.written.map((written, i) => ({ state: states[i]!, chunks: written }));
  }

  private snapshotEnd(): void {
    this.both('snapshotEnd', (store) => store.snapshotEnd());
  }

  /** Gives the snapshot under way up. */
  snapshotDrop(): void {
    this.snapshotEnd();
    this.begun = [];
  }

  /** Both go on from snapshots, each from that of the other kind, behind the records that led to them. */
  load(snapshots: readonly Taken[], records: readonly Uint8Array[]): void {
    const outcome = this.both('load', (store, i) => load(store, snapshots[snapshots.length - 1 - i]!));
    if (outcome !== 'ok') throw new Error(`the snapshot was refused: ${outcome}`);
    this.records.splice(0, this.records.length, ...records);
    this.logTime = this.stores[0]!.logTime;
    this.drain();
  }

  /** Until nothing is undecided and nothing moves; then everything is compared. */
  settle(): void {
    for (const client of this.clients) if (client.paused) this.pause(client, false);
    for (let quiet = 0; quiet < 2; ) {
      const before = this.stores.map((store) => JSON.stringify(store.stats()));
      while (this.controls.length > 0) this.release(this.controls[0]!);
      this.ingest();
      this.seal();
      for (const entry of [...this.undecided]) this.commitOwn(entry, entry.versions[0]!);
      this.apply();
      this.evalReads();
      this.sealReads();
      this.evalReads();
      const moved = this.stores.some((store, i) => store.ready || JSON.stringify(store.stats()) !== before[i]);
      quiet = moved ? 0 : quiet + 1;
    }
    this.compare();
  }

  /** What they hold, without the counters of what they have done. */
  holds(): string {
    this.compare();
    const { revision, applied, keys, stateHash, logicalBytes, limitBytes, checkpoint } = this.stores[0]!.stats();
    const { logTime, earliestDeadline } = this.stores[0]!;
    const state = { revision, applied, keys, stateHash, logicalBytes, limitBytes, checkpoint };
    return JSON.stringify({ ...state, logTime, earliestDeadline });
  }

  compare(): void {
    this.both(
      'stats',
      (store) => {
        const { usedBytes, reservedBytes, ...rest } = store.stats();
        return rest;
      },
      (stats) => JSON.stringify(stats),
    );
    this.both('logTime', (store) => store.logTime);
    this.both('system', (store) => textOf(store.system('members') ?? new Uint8Array(0)));
    this.both('earliestDeadline', (store) => store.earliestDeadline);
    this.both(
      'dump',
      (store) => store.dump(),
      (records) =>
        records
          .map(({ key, value, revision, deadline }) => `${textOf(key)}=${textOf(value)}@${revision}<${deadline}`)
          .sort()
          .join('\n'),
    );
  }
}
