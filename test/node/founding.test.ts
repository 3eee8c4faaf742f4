import { describe, expect, it } from 'vitest';
import type { Founding, Log } from '../../src/log/types.js';
import { FirstStart } from '../../src/node/founding.js';
import { Incarnations } from '../../src/node/incarnations.js';
import { Roster } from '../../src/node/roster.js';
import { SimDisk } from '../../src/sim/disk.js';
import type { Store } from '../../src/store/store.js';
import type { Hello } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';

const peers = [1, 2, 3].map((id) => ({ id, address: `127.0.0.1:${8079 + id}` }));
const identityOf = (id: number, folder = 0) => new Uint8Array(16).fill(id * 16 + folder);

interface MemberOptions {
  folder?: number;
  peers?: typeof peers | undefined;
  joining?: boolean;
  /** What the replicated state says, by the identity's bytes. */
  origins?: Map<string, { starts: number; nonce: number }>;
}

function member(id: number, options: MemberOptions = {}) {
  const { joining = false } = options;
  const own = 'peers' in options ? options.peers : peers;
  const log = {
    folder: { format: 1, nodeId: id, identity: identityOf(id, options.folder) },
    founding: undefined as Founding | undefined,
    found(founding: Founding): void {
      if (log.founding) throw new Error('founded twice');
      log.founding = founding;
    },
  };
  const events: string[] = [];
  const address = `127.0.0.1:${8079 + id}`;
  const roster = new Roster(
    {
      id,
      log: log as unknown as Log,
      store: { system: () => undefined } as unknown as Store,
      timers: { after: () => ({ cancel() {} }), every: () => ({ cancel() {} }), defer() {} },
      changed() {},
      review() {},
    },
    [],
  );
  const membership = new FirstStart({
    id,
    address,
    peers: own,
    log: log as unknown as Log,
    random: { float: () => 0, bytes: (n) => new Uint8Array(n).fill(7) },
    roster,
    origin: (identity) => options.origins?.get(identity.join()),
    incarnations: new Map(),
    joining: () => joining,
    heardOf: (address) => events.push(`heard of ${address}`),
    founded: () => {
      events.push('founded');
      roster.begin();
    },
    lost: (reason, members) => events.push(`lost: ${reason}; asks ${members.join()}`),
    failed: (error) => events.push(`failed: ${error.message}`),
  });
  const hello = (extra: Partial<Hello> = {}): Hello => ({
    protocol: 1,
    id,
    address,
    identity: log.folder.identity,
    starts: 1,
    nonce: id,
    founding: log.founding,
    peers: own ?? [],
    members: 0,
    versions: { oldest: 1, newest: 1 },
    ...extra,
  });
  return { membership, log, events, hello };
}

describe('first start', () => {
  it('founds the cluster on the lowest id once all members have said that they are empty', () => {
    const [one, two, three] = [member(1), member(2), member(3)];
    expect(one.membership.judge(two.hello())).toBeUndefined();
    expect(one.log.founding).toBeUndefined();
    expect(one.membership.judge(three.hello())).toBeUndefined();
    expect(one.events).toEqual(['founded']);
    expect(one.log.founding?.members).toEqual(peers.map((p) => ({ ...p, identity: identityOf(p.id) })));
  });

  it('leaves the founding to the lowest id', () => {
    const [one, two, three] = [member(1), member(2), member(3)];
    two.membership.judge(one.hello());
    two.membership.judge(three.hello());
    expect(two.log.founding).toBeUndefined();
  });

  it('adopts the record from any holder that lists this folder, also late', () => {
    const [one, two, three] = [member(1), member(2), member(3)];
    one.membership.judge(two.hello());
    one.membership.judge(three.hello());
    expect(two.membership.judge(one.hello())).toBeUndefined();
    expect(three.membership.judge(two.hello())).toBeUndefined();
    expect(three.log.founding).toEqual(one.log.founding);
    expect([two.events, three.events]).toEqual([['founded'], ['founded']]);
  });

  it('lets in a member whose folder was made anew before the founding, and founds with the new one', () => {
    const [one, two, three] = [member(1), member(2), member(3)];
    one.membership.judge(two.hello({ starts: 4 }));
    one.membership.forget(2);
    one.membership.judge(three.hello());
    expect(one.log.founding).toBeUndefined();
    expect(one.membership.judge(member(2, { folder: 1 }).hello())).toBeUndefined();
    expect(one.log.founding?.members[1]?.identity).toEqual(identityOf(2, 1));
  });

  it('stops the node when the record cannot be made durable', () => {
    const [one, two, three] = [member(1), member(2), member(3)];
    one.log.found = () => {
      throw new Error('disk');
    };
    one.membership.judge(two.hello());
    one.membership.judge(three.hello());
    expect(one.events).toEqual(['failed: disk']);
  });

  it('refuses a member that was started with other --peers, naming both', () => {
    const refusal = member(1).membership.judge(member(2, { peers: peers.slice(0, 2) }).hello());
    expect(refusal).toContain('2=127.0.0.1:8081)');
    expect(refusal).toContain('3=127.0.0.1:8082');
  });

  it('never founds while a member says that it belongs to a cluster already', () => {
    const [one, two, three] = [member(1), member(2), member(3)];
    one.membership.judge(two.hello());
    one.membership.judge(three.hello());
    const again = member(1, { folder: 1 });
    again.membership.judge(two.hello());
    const refusal = again.membership.judge(three.hello({ founding: one.log.founding }));
    expect(refusal).toContain('not a member');
    expect(again.log.founding).toBeUndefined();
    expect(again.events[0]).toContain('asks 127.0.0.1:8082,');
  });
});

describe('the judgement of a hello', () => {
  const founded = () => {
    const nodes = [member(1), member(2), member(3)] as const;
    nodes[0].membership.judge(nodes[1].hello());
    nodes[0].membership.judge(nodes[2].hello());
    nodes[1].membership.judge(nodes[0].hello());
    nodes[2].membership.judge(nodes[0].hello());
    return nodes;
  };

  it('refuses a member whose folder was lost: it has forgotten its votes', () => {
    const [one] = founded();
    expect(one.membership.judge(member(2, { folder: 1 }).hello())).toContain('data folder of node 2');
  });

  it('lets in a listed member that has not adopted the record yet', () => {
    const [one] = founded();
    expect(one.membership.judge(member(3).hello())).toBeUndefined();
  });

  it('refuses another cluster and an unknown id', () => {
    const [one, two] = founded();
    const other: Founding = { ...one.log.founding!, clusterId: new Uint8Array(16).fill(9) };
    expect(one.membership.judge(two.hello({ founding: other }))).toContain('another cluster');
    expect(one.membership.judge(two.hello({ id: 9 }))).toContain('no member 9');
  });

  it('refuses an older incarnation and a twin of the present one', () => {
    const [one, two] = founded();
    expect(one.membership.judge(two.hello({ starts: 5, nonce: 1 }))).toBeUndefined();
    expect(one.membership.judge(two.hello({ starts: 5, nonce: 1 }))).toBeUndefined();
    expect(one.membership.judge(two.hello({ starts: 4, nonce: 1 }))).toContain('old copy');
    expect(one.membership.judge(two.hello({ starts: 5, nonce: 2 }))).toContain('second process');
    expect(one.membership.judge(two.hello({ starts: 6, nonce: 2 }))).toBeUndefined();
  });

  it('refuses an older incarnation of which it has only applied entries, and no hello has told since its own start', () => {
    const origins = new Map([[identityOf(2).join(), { starts: 5, nonce: 1 }]]);
    const one = member(1, { origins });
    const [, two] = founded();
    one.membership.judge(two.hello());
    const judge = (fields: Partial<Hello>) => one.membership.judge(two.hello(fields));
    expect(judge({ starts: 4, nonce: 1 })).toContain('old copy');
    expect(judge({ starts: 5, nonce: 2 })).toContain('second process');
    expect(judge({ starts: 6, nonce: 2 }) ?? '').not.toContain('old copy');
  });

  it('keeps in mind over a restart and a power failure which incarnations it has let in, and begins anew when that has rotted', () => {
    const disk = new SimDisk({ schedule: () => {}, random: () => 0 });
    disk.mkdir('/data');
    disk.syncDir('/');
    const warnings: string[] = [];
    const made = () =>
      new Incarnations({ disk, directory: '/data', crc32c: plainCrc32c, warn: (text) => warnings.push(text) });
    const key = (n: number) => n.toString(16).padStart(32, '0');
    const first = made();
    expect(first.get(key(1))).toBeUndefined();
    for (let n = 1; n <= 1_025; n++) first.set(key(n), { starts: n, nonce: 2 ** 32 - n });
    disk.crash('drop');
    const next = made();
    expect([1, 2, 1_025].map((n) => next.get(key(n)))).toEqual([
      undefined,
      { starts: 2, nonce: 2 ** 32 - 2 },
      { starts: 1_025, nonce: 2 ** 32 - 1_025 },
    ]);
    expect(warnings).toEqual([]);
    disk.flipBit('/data/seen-incarnations', 500);
    expect(made().get(key(2))).toBeUndefined();
    expect(warnings.join()).toContain('is damaged, and begun anew');
  });

  it('a cluster of one founds itself, unless a member knows its address with another folder', () => {
    const alone = member(1, { peers: undefined });
    alone.membership.foundAlone();
    expect(alone.log.founding?.members).toHaveLength(1);
    const lost = member(1, { peers: undefined, folder: 1 });
    const [, two] = founded();
    lost.membership.judge(two.hello());
    expect(lost.events[0]).toContain('lost');
  });
});
