/**
 * Both stores, driven with the same random calls, give the same bytes. A failure names its seed; DIFFERENTIAL_SEED runs
 * that one alone, DIFFERENTIAL_OPS sets the number of random calls in all (the default takes some ten seconds).
 */
import { describe, expect, test } from 'vitest';
import { JsStore } from '../../src/store/js-store.js';
import { EntryType, type GiveUp, type StoreLimits, type StoreOptions } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import { testOptions } from './harness.js';
import { Pair } from './pair.js';
import { configPayload, dataPayload, type TestOrigin, u64 } from './payloads.js';
import { Dice, RandomInput } from './random-input.js';
import type { Taken } from './snapshots.js';

const calls = Number(process.env.DIFFERENTIAL_OPS ?? 32_000);
const CALLS_A_SEED = 4_000;
const reasons: readonly GiveUp[] = ['no-leader', 'timeout', 'stopping'];
const tight: Partial<StoreLimits> = {
  maxKey: 40,
  maxValue: 200,
  maxLine: 300,
  maxReply: 150,
  maxTransaction: 300,
  maxEntry: 600,
};

/** One seed's worth of random calls on a pair of stores. */
class Session {
  readonly pair: Pair;
  private readonly dice: Dice;
  private readonly input: RandomInput;
  private readonly peers: { readonly origin: TestOrigin; sequence: number }[] = [];
  /** What each client has yet to send. */
  private readonly unsent = new Map<number, string>();
  /** Another member's pair of stores. */
  private readonly another: () => Pair;
  /** The last snapshot that was written. */
  private taken: readonly Taken[] | undefined;
  /** Something that stands in no log was done since the snapshot under way was begun. */
  private unlogged = false;
  checked = 0;
  jumps = 0;

  constructor(seed: number, make: (options: StoreOptions) => Pair) {
    this.dice = new Dice(seed);
    const limits = this.dice.once(2) ? tight : {};
    this.pair = make({ ...testOptions(), limits });
    this.another = () => make({ ...testOptions(201), limits });
    this.input = new RandomInput(this.dice, limits === tight ? 60 : this.dice.of(30, 3_000));
    for (let identity = 40; identity < 43; identity++) {
      this.peers.push({ origin: { identity, starts: 1, nonce: identity }, sequence: 0 });
    }
  }

  step(): void {
    const { dice, pair } = this;
    if (pair.clients.length === 0) pair.open();
    this.input.sessions.splice(0, this.input.sessions.length, ...pair.integers);
    if (pair.inSnapshot && dice.once(8)) this.snapshotSome();
    const choice = dice.below(100);
    if (choice < 40) this.send();
    else if (choice < 55) pair.ingest();
    else if (choice < 63) pair.seal();
    else if (choice < 72) this.commitSome();
    else if (choice < 78) pair.apply();
    else if (choice < 88) this.reads();
    else if (choice < 90) this.peerEntry();
    else if (choice < 92) this.release();
    else if (choice < 98) this.clients();
    else this.rarely();
  }

  private send(): void {
    const { dice, input, pair } = this;
    const client = dice.of(...pair.clients);
    if (client.finished) return;
    const waiting = this.unsent.get(client.id) ?? '';
    const lines = dice.many(1, dice.of(1, 4, 12), () => `${input.line()}${dice.once(8) ? '\r\n' : '\n'}`);
    const text = waiting + (waiting.length > 2_000 ? '' : lines.join(''));
    const cut = dice.once(3) ? dice.below(text.length + 1) : text.length;
    if (cut > 0) pair.feed(client, text.slice(0, cut));
    this.unsent.set(client.id, text.slice(cut));
  }

  /** In the order of the entries, or not; once, or again. */
  private commitSome(): void {
    const { dice, pair } = this;
    if (dice.once(6)) pair.logTime += dice.of(1, 5, 100, 2_000, 600_000);
    const entries = dice.once(12) ? [...pair.undecided].reverse() : [...pair.undecided];
    for (const entry of entries) {
      if (dice.once(12)) continue;
      pair.commitOwn(entry, dice.of(...entry.versions));
      if (dice.once(12)) pair.commitOwn(entry, dice.of(...entry.versions));
    }
  }

  private reads(): void {
    const { dice, pair } = this;
    const choice = dice.below(10);
    if (choice < 5) pair.sealReads();
    else if (choice < 9) pair.evalReads();
    else pair.failReads(dice.of(...reasons));
  }

  private peerEntry(): void {
    const { dice, input, pair } = this;
    const peer = dice.of(...this.peers);
    const sequence = dice.once(8) ? dice.below(peer.sequence + 3) : peer.sequence + 1;
    if (dice.once(20)) Object.assign(peer, { origin: { ...peer.origin, starts: peer.origin.starts + 1 }, sequence: 0 });
    const { commands, bytes } = input.operations();
    const payload = dataPayload(peer.origin, sequence, dice.once(20) ? dice.below(9) : commands, bytes);
    const damaged = dice.once(4) ? input.damaged(payload) : payload;
    pair.commitPayload(
      damaged,
      EntryType.data,
      `peer ${peer.origin.identity} ${sequence} ${Buffer.from(damaged).toString('hex')}`,
    );
    if (damaged === payload && sequence === peer.sequence + 1) peer.sequence++;
  }

  private release(): void {
    if (this.pair.controls.length > 0) this.pair.release(this.dice.of(...this.pair.controls));
  }

  private clients(): void {
    const { dice, pair } = this;
    const client = dice.of(...pair.clients);
    const choice = dice.below(10);
    if (choice < 5) {
      if (pair.clients.length < 10) pair.open();
    } else if (choice < 6) {
      if (!client.finished) pair.finish(client);
    } else if (choice < 8) {
      pair.pause(client, !client.paused);
    } else {
      pair.close(client);
    }
  }

  private rarely(): void {
    const { dice, pair } = this;
    dice.of(
      () => {
        if (pair.undecided.length > 0) pair.giveUp(dice.of(...pair.undecided), dice.of(...reasons), dice.once(2));
      },
      () => pair.giveUpOpen(dice.of(...reasons)),
      () => {
        pair.nowMs += dice.below(2_000);
        pair.expire(pair.nowMs - 1_500);
      },
      () => {
        pair.logTime += dice.of(0, 50, 400);
        pair.commitPayload(new Uint8Array(dice.below(8)), dice.of(0, 3, 255), 'no-op');
      },
      () => this.config(),
      () => {
        // What follows stands in no log.
        this.checkSnapshot();
        this.unlogged = true;
        pair.run(this.input.operations(true).bytes);
        pair.compare();
      },
      () => pair.settle(),
      () => {
        if (pair.inSnapshot) {
          if (dice.once(4)) pair.snapshotDrop();
        } else {
          this.unlogged = false;
          pair.snapshotBegin();
        }
      },
      () => this.jump(),
    )();
  }

  private snapshotSome(): void {
    const taken = this.pair.snapshotNext(this.dice.of(1, 100, 1_000, 100_000));
    if (taken === undefined) return;
    this.taken = this.unlogged ? undefined : taken;
  }

  /** Another member that has applied more than these: own entries, some of them, and a peer's. */
  private jump(): void {
    const { dice, pair } = this;
    if (pair.inSnapshot) return;
    this.checkSnapshot();
    const other = this.another();
    other.follow(pair.records, pair.logTime);
    for (const entry of pair.undecided) {
      if (dice.once(4)) break;
      other.commitOwn(entry, dice.of(...entry.versions));
    }
    other.commitPayload(new Uint8Array(0), EntryType.noop, 'no-op');
    other.apply();
    other.snapshotBegin();
    let taken: readonly Taken[] | undefined;
    while (taken === undefined) taken = other.snapshotNext(1_000);
    pair.load(taken, other.records);
    this.jumps++;
  }

  /** A member that began with the last snapshot has come to the same. */
  checkSnapshot(): void {
    const { pair } = this;
    const taken = this.taken;
    pair.apply();
    if (taken === undefined) return;
    this.taken = undefined;
    this.checked++;
    const { applied } = taken[0]!.state;
    const other = this.another();
    other.load(taken, pair.records.slice(0, applied));
    // What has a deadline falls due.
    for (const ms of [0, this.dice.of(1, 50, 400), this.dice.of(1, 1_000, 400_000)]) {
      pair.logTime += ms;
      pair.commitPayload(new Uint8Array(0), EntryType.noop, 'no-op');
      pair.apply();
      other.follow(pair.records.slice(other.records.length), pair.logTime);
      this.expectSame(other, applied);
    }
  }

  private expectSame(other: Pair, applied: number): void {
    const { pair } = this;
    const [here, there] = [pair.holds(), other.holds()];
    if (here !== there) throw new Error(`a snapshot of entry ${applied} leads elsewhere:\n${here}\n${there}`);
  }

  private config(): void {
    const { dice, input, pair } = this;
    const limit = dice.of(0, 1, 4_000, 20_000, 2 ** 40);
    const members = Buffer.alloc(dice.of(0, 1, 60, 1_000, 40_000, 65_536, 65_537), dice.below(256));
    const settings = [
      { key: 'limit', value: u64(BigInt(limit)) },
      { key: 'members', value: members },
      { key: 'version', value: u64(BigInt(dice.of(1, 2, 2 ** 40))) },
    ];
    const payload = configPayload(...settings.slice(dice.below(3), 1 + dice.below(3)));
    const damaged = dice.once(3) ? input.damaged(payload) : payload;
    // No leader proposes a limit of 2^53 or more, and no snapshot could state it.
    if (damaged.length === payload.length) damaged.fill(0, 23, 25);
    pair.commitPayload(damaged, EntryType.config, `limit ${limit}`);
  }
}

function play(seed: number, steps: number, make: (options: StoreOptions) => Pair): Session {
  const session = new Session(seed, make);
  try {
    for (let step = 0; step < steps; step++) session.step();
    session.pair.settle();
    session.checkSnapshot();
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return session;
}

describe('both stores give the same bytes', () => {
  const given = process.env.DIFFERENTIAL_SEED;
  const count = Math.max(1, Math.round(calls / CALLS_A_SEED));
  const seeds = given === undefined ? Array.from({ length: count }, (_, i) => 1_000 + i) : [Number(given)];

  const done = { checked: 0, jumps: 0 };

  test.each(seeds)('for the random calls of seed %i', (seed) => {
    const build = seed % 4 === 0 ? 'debug' : 'release';
    const { pair, checked, jumps } = play(
      seed,
      CALLS_A_SEED,
      (options) => new Pair(new JsStore(options), new WasmStore(options, build)),
    );
    done.checked += checked;
    done.jumps += jumps;
    const fresh = { ...testOptions(), identity: new Uint8Array(16).fill(200), seed: new Uint8Array(16).fill(9) };
    const replay = new Pair(new JsStore(fresh), new WasmStore(fresh, build));
    for (const record of pair.records) for (const store of replay.stores) while (!store.stage(record)) store.apply();
    replay.apply();
    replay.compare();
  });

  test('and snapshots are among them', () => {
    const least = Math.floor(seeds.length / 2);
    expect(done.checked).toBeGreaterThanOrEqual(least);
    expect(done.jumps).toBeGreaterThanOrEqual(least);
  });

  test('and a difference is found', () => {
    const broken = (options: StoreOptions) => {
      const store = new JsStore(options);
      const stats = store.stats.bind(store);
      store.stats = () => ({ ...stats(), keys: stats().keys + (stats().revision > 20 ? 1 : 0) });
      return new Pair(store, new JsStore(options));
    };
    expect(() => play(1, 400, broken)).toThrow(/seed 1: the stores differ in (stats|snapshotBegin)/);
  });
});
