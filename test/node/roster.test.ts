import { describe, expect, it } from 'vitest';
import { RECORD_HEADER_BYTES, sealRecord } from '../../src/log/record.js';
import type { Founding, Log } from '../../src/log/types.js';
import {
  formatMembers,
  foundingMembers,
  leftJoint,
  type Members,
  withInvited,
  withLearner,
  without,
} from '../../src/node/members.js';
import { Roster, scanMembers } from '../../src/node/roster.js';
import type { Entry } from '../../src/raft/types.js';
import { encodeConfig } from '../../src/store/config.js';
import { EntryType, type Store } from '../../src/store/store.js';
import type { Hello } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';

const identityOf = (id: number, folder = 0) => new Uint8Array(16).fill(id * 16 + folder);
const addressOf = (id: number) => `host${id}:80`;
const founding: Founding = {
  clusterId: new Uint8Array(16).fill(5),
  members: [1, 2, 3].map((id) => ({ id, address: addressOf(id), identity: identityOf(id) })),
};
const three = foundingMembers(founding.members);

function entryOf(index: number, members: Members | undefined): Entry {
  const record = members ? encodeConfig({ members: formatMembers(members) }) : new Uint8Array(RECORD_HEADER_BYTES);
  const type = members ? EntryType.config : EntryType.noop;
  const crc = plainCrc32c(record.subarray(RECORD_HEADER_BYTES));
  sealRecord(record, { index, term: 1, logTime: 0, wall: 0, type }, crc, plainCrc32c);
  return { index, term: 1, bytes: record };
}

class Fixture {
  readonly entries: Entry[] = [];
  readonly events: string[] = [];
  readonly timers: (() => void)[] = [];
  first = 1;
  applied: Members | undefined;
  snapshotIndex: number | undefined;
  readonly id: number;
  readonly folder: number;
  roster!: Roster;

  constructor(id: number, folder = 0) {
    this.id = id;
    this.folder = folder;
  }

  get log(): Log {
    const log = {
      folder: { format: 1, nodeId: this.id, identity: identityOf(this.id, this.folder) },
      founding,
      snapshot: this.snapshotIndex === undefined ? undefined : { index: this.snapshotIndex },
      firstIndex: () => this.first,
      lastIndex: () => this.first + this.entries.length - 1,
      entries: (from: number) => [this.entries[from - this.first]!],
    };
    return log as unknown as Log;
  }

  /** Adds an entry to the log. */
  append(members?: Members): this {
    this.entries.push(entryOf(this.first + this.entries.length, members));
    return this;
  }

  /** The node starts on what the log holds. */
  async start(): Promise<this> {
    const timers = {
      after: (_ms: number, action: () => void) => {
        this.timers.push(action);
        return { cancel() {} };
      },
      every: () => ({ cancel() {} }),
      defer: (action: () => void) => queueMicrotask(action),
    };
    const store = {
      system: () => (this.applied ? formatMembers(this.applied) : undefined),
    } as unknown as Store;
    const events = { changed: () => this.events.push('changed'), review: () => this.events.push('review') };
    const settings = await scanMembers(this.log, timers);
    this.roster = new Roster({ id: this.id, log: this.log, store, timers, ...events }, settings);
    return this;
  }

  /** A change that Raft tells of. */
  change(members: Members): void {
    this.append(members);
    this.roster.refresh(this.entries.length);
  }

  judge(id: number, fields: Partial<Hello> & { folder?: number } = {}): string | undefined {
    const { folder = 0, ...rest } = fields;
    return this.roster.judge({
      protocol: 1,
      id,
      address: addressOf(id),
      identity: identityOf(id, folder),
      starts: 1,
      nonce: 1,
      founding,
      peers: [],
      members: 0,
      versions: { oldest: 1, newest: 1 },
      ...rest,
    });
  }
}

const without2 = leftJoint(without(three, 2, 'removed'));

describe('the record in force', () => {
  it('is known as of the snapshot that the log begins with, also while the store is empty because it loads one', async () => {
    const fixture = new Fixture(4);
    fixture.first = 101;
    fixture.snapshotIndex = 100;
    fixture.applied = withLearner(three, 4, addressOf(4), identityOf(4));
    const { roster } = await fixture.start();
    expect([roster.asOf, roster.own?.id]).toEqual([100, 4]);
    // A state that was wrong is replaced: what Raft goes by is older than the snapshot, and so is nothing that follows.
    const members = fixture.applied;
    fixture.applied = undefined;
    expect(roster.asOf).toBe(100);
    roster.installed(200, members);
    roster.refresh(0);
    expect([roster.own?.id, roster.isOut]).toEqual([4, false]);
  });

  it('is the newest of the log at the start, and Raft is given all of them, entry 1 aside', async () => {
    const four = withLearner(three, 4, addressOf(4), identityOf(4));
    const { roster } = await new Fixture(1)
      .append(three)
      .append()
      .append(four)
      .append(without(four, 2, 'removed'))
      .start();
    expect(roster.index).toBe(4);
    expect(roster.begin()).toEqual({
      membership: { voters: [1, 2, 3], outgoing: [], learners: [] },
      changes: [
        { index: 3, membership: { voters: [1, 2, 3], outgoing: [], learners: [4] } },
        { index: 4, membership: { voters: [1, 3], outgoing: [1, 2, 3], learners: [4] } },
      ],
    });
    expect(roster.peers.map(({ id }) => id).sort()).toEqual([2, 3, 4]);
  });

  it('behind a snapshot is what the store has applied', async () => {
    const fixture = new Fixture(1);
    fixture.applied = without2;
    fixture.first = 100;
    const { roster } = await fixture.start();
    expect(roster.begin()).toEqual({ membership: { voters: [1, 3], outgoing: [], learners: [] }, changes: [] });
    expect(roster.applied).toEqual(without2);
    fixture.applied = three;
    roster.refresh(99);
    expect(roster.members).toEqual(three);
  });

  it('is as of the snapshot, whichever entry set it: a node without one knows less', async () => {
    const fixture = new Fixture(1);
    fixture.applied = without2;
    fixture.first = 100;
    fixture.snapshotIndex = 99;
    await fixture.start();
    expect([fixture.roster.index, fixture.roster.asOf]).toEqual([0, 99]);
    expect(fixture.judge(4, { members: 98 })).toContain('no member 4');
    expect(fixture.judge(4, { members: 100 })).toBeUndefined();
    const bare = await new Fixture(1).append(three).start();
    expect([bare.roster.index, bare.roster.asOf]).toEqual([0, 0]);
    expect(bare.judge(4, { members: 98 })).toBeUndefined();
  });

  it('of a snapshot that the store has not loaded yet is what came with it', async () => {
    const fixture = await new Fixture(1).append(three).start();
    expect(fixture.roster.installed(70, without2)).toEqual({ voters: [1, 3], outgoing: [], learners: [] });
    fixture.first = 71;
    fixture.entries.length = 0;
    fixture.roster.refresh(70);
    expect([fixture.roster.index, fixture.roster.members]).toEqual([70, without2]);
  });

  it('leaves a node without a vote whose id it gives to another folder', async () => {
    const { roster } = await new Fixture(2, 7).append(three).start();
    expect(roster.begin().membership).toEqual({ voters: [1, 3], outgoing: [], learners: [] });
    expect([roster.own, roster.isOut]).toEqual([undefined, false]);
    const [entry] = roster.note([entryOf(2, withLearner(three, 4, addressOf(4), identityOf(4)))]);
    expect(entry!.membership).toEqual({ voters: [1, 3], outgoing: [], learners: [4] });
    const plain = [entryOf(2, undefined)];
    expect(roster.note(plain)).toBe(plain);
  });

  it('that takes a member out is told to it, at once or at its next start', async () => {
    const fixture = await new Fixture(2).append(three).start();
    expect([fixture.roster.own?.id, fixture.roster.isOut]).toEqual([2, false]);
    fixture.change(without(three, 2, 'removed'));
    expect(fixture.roster.isOut).toBe(false);
    fixture.change(without2);
    expect([fixture.roster.own, fixture.roster.isOut]).toEqual([undefined, true]);
    expect((await fixture.start()).roster.isOut).toBe(true);
  });
});

describe('who is let in', () => {
  it('are those that it lists, by id and folder, and no other cluster', async () => {
    const fixture = await new Fixture(1).append(three).start();
    expect(fixture.judge(2)).toBeUndefined();
    expect(fixture.judge(2, { founding: undefined })).toBeUndefined();
    expect(fixture.judge(2, { folder: 1 })).toContain('the data folder of node 2');
    expect(fixture.judge(4)).toContain('no member 4');
    expect(fixture.judge(2, { founding: { ...founding, clusterId: identityOf(9) } })).toContain('another cluster');
  });

  it('for a moment who was removed, so that it learns of it; then it is refused', async () => {
    const fixture = await new Fixture(1).append(three).start();
    fixture.change(without(three, 2, 'removed'));
    expect(fixture.judge(2)).toBeUndefined();
    fixture.events.length = 0;
    fixture.change(without2);
    expect(fixture.events).toEqual(['review', 'changed']);
    expect(fixture.judge(2)).toBeUndefined();
    expect(fixture.roster.peers.map(({ id }) => id).sort()).toEqual([2, 3]);
    fixture.events.length = 0;
    for (const timer of fixture.timers) timer();
    expect(fixture.events).toEqual(['review', 'changed']);
    expect(fixture.judge(2)).toBe('node 2 was removed from the cluster');
    expect(fixture.roster.peers.map(({ id }) => id)).toEqual([3]);
  });

  it('but not for a moment once another folder has its id', async () => {
    const fixture = await new Fixture(1).append(three).start();
    const out = leftJoint(without(three, 2, 'invited'));
    fixture.change(out);
    expect(fixture.judge(2, { folder: 1 })).toContain('invited');
    expect(fixture.judge(2)).toBeUndefined();
    fixture.change(withLearner(out, 2, addressOf(2), identityOf(2, 1)));
    expect(fixture.judge(2)).toContain('data folder');
    expect(fixture.judge(2, { folder: 1 })).toBeUndefined();
  });

  it('a member that knows less than others heeds their requests alone', async () => {
    const fixture = await new Fixture(3).append(three).start();
    // 4 joined and 2 got another folder while this node was away.
    expect(fixture.judge(4, { members: 8 })).toBeUndefined();
    expect(fixture.judge(2, { folder: 1, members: 8 })).toBeUndefined();
    expect(fixture.judge(1, { members: 8 })).toBeUndefined();
    expect([1, 2, 3, 4].filter((id) => fixture.roster.isStranger(id))).toEqual([2, 4]);
    expect(fixture.roster.peers.map(({ id }) => id).sort()).toEqual([1, 2, 4]);
    // Not who belongs to no cluster, nor who knows no more.
    expect(fixture.judge(5, { members: 8, founding: undefined })).toContain('no member 5');
    expect(fixture.judge(5, { members: 0 })).toContain('no member 5');
    for (let i = 2; i <= 7; i++) fixture.append();
    const now = withLearner(withLearner(three, 2, addressOf(2), identityOf(2, 1)), 4, addressOf(4), identityOf(4));
    fixture.change(now);
    expect(fixture.roster.index).toBe(8);
    expect([2, 4].filter((id) => fixture.roster.isStranger(id))).toEqual([]);
    expect(fixture.judge(2, { members: 8 })).toContain('data folder');
    expect(fixture.judge(2, { folder: 1, members: 8 })).toBeUndefined();
  });

  it('not who is only invited', async () => {
    const fixture = await new Fixture(1).append(three).start();
    fixture.change(withInvited(three, 4, addressOf(4)));
    expect(fixture.judge(4)).toContain('node 4 is invited');
    expect(fixture.roster.peers.map(({ id }) => id)).toEqual([2, 3]);
  });
});
