/** Config entries: what the cluster sets for itself, and how it is read back. */
import { describe, expect, test } from 'vitest';
import { EntryType } from '../../src/store/store.js';
import type { MakeHarness } from './contract.js';
import { configPayload, join, referenceSize, u32, u64 } from './payloads.js';
import { load, take } from './snapshots.js';

const bytes = (length: number, fill: number) => new Uint8Array(length).fill(fill);

export function configContract(make: MakeHarness): void {
  describe('config entries', () => configTests(make));
}

function configTests(make: MakeHarness): void {
  test('set limit and members, alone or both, and system() gives the published ones', () => {
    const h = make();
    expect(h.store.system('members')).toBeUndefined();
    h.commit(h.store.configRecord({ limitBytes: 5_000, members: bytes(3, 7) }), EntryType.config);
    expect(h.store.system('members')).toBeUndefined();
    h.applyAll();
    expect(h.store.system('members')).toEqual(bytes(3, 7));
    expect(h.store.system('limit')).toEqual(Uint8Array.from(u64(5_000n)));
    expect(h.store.stats()).toMatchObject({
      limitBytes: 5_000,
      revision: 1,
      keys: 0,
      logicalBytes: referenceSize(5, 8) + referenceSize(7, 3),
    });
    h.commit(h.store.configRecord({ members: bytes(65_536, 9) }), EntryType.config);
    h.applyAll();
    expect(h.store.system('members')).toEqual(bytes(65_536, 9));
    expect(h.store.stats()).toMatchObject({
      limitBytes: 5_000,
      revision: 2,
      logicalBytes: referenceSize(5, 8) + referenceSize(7, 65_536),
    });
    h.commit(h.store.configRecord({ members: bytes(0, 0) }), EntryType.config);
    h.applyAll();
    expect(h.store.system('members')).toEqual(new Uint8Array(0));
    expect(h.store.system('other')).toBeUndefined();
  });

  test('set the version, which system() gives and a snapshot holds', () => {
    const h = make();
    h.commit(h.store.configRecord({ members: bytes(3, 7), version: 300 }), EntryType.config);
    h.applyAll();
    expect(h.store.system('version')).toEqual(Uint8Array.from(u64(300n)));
    expect(h.store.stats()).toMatchObject({ limitBytes: 0, logicalBytes: referenceSize(7, 3) + referenceSize(7, 8) });
    const other = make({ identity: bytes(16, 200) });
    expect(load(other.store, take(h.store))).toBe('ok');
    expect(other.store.system('version')).toEqual(Uint8Array.from(u64(300n)));
    expect(() => h.store.configRecord({ version: 0 })).toThrow('the version must be an integer from 1');
    expect(h.store.versions).toEqual({ oldest: 1, newest: 1 });
  });

  test('members of more than 64 KiB are not made', () => {
    expect(() => make().store.configRecord({ members: bytes(65_537, 1) })).toThrow('65536 are the most');
  });

  test('a malformed one changes nothing', () => {
    const h = make();
    const members = (length: number) => ({ key: 'members', value: bytes(length, 1) });
    const limit = { key: 'limit', value: u64(1n) };
    const bad = [
      new Uint8Array(0),
      u32(1),
      configPayload(members(65_537)),
      configPayload({ key: 'limit', value: bytes(7, 0) }),
      configPayload({ key: 'version', value: bytes(7, 1) }),
      configPayload({ key: 'versiom', value: bytes(8, 1) }),
      configPayload({ key: 'member', value: bytes(8, 0) }),
      configPayload({ key: 'membres', value: bytes(8, 0) }),
      configPayload(members(3), limit, { key: '', value: bytes(40, 0) }),
      configPayload(...Array.from({ length: 17 }, () => limit)),
      join(configPayload(limit), bytes(4, 0)),
      configPayload(members(40)).subarray(0, 40),
      join(u32(1, 7, 0xffff_fff9), bytes(24, 0)),
      join(u32(1, 0xffff_fff9, 7), bytes(24, 0)),
    ];
    const before = h.store.stats().stateHash;
    for (const payload of bad) h.commitPayload(payload, EntryType.config);
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ stateHash: before, revision: 0, applied: bad.length });
    h.commitPayload(configPayload(...Array.from({ length: 16 }, () => members(65_536))), EntryType.config);
    h.applyAll();
    expect(h.store.stats()).toMatchObject({ revision: 1, logicalBytes: referenceSize(7, 65_536) });
  });

  test('a snapshot holds what they set', () => {
    const h = make();
    h.commit(h.store.configRecord({ limitBytes: 9_000, members: bytes(500, 3) }), EntryType.config);
    h.applyAll();
    const taken = take(h.store);
    const other = make({ identity: bytes(16, 200) });
    expect(load(other.store, taken)).toBe('ok');
    expect(other.store.system('members')).toEqual(bytes(500, 3));
    expect(other.store.stats()).toMatchObject({ limitBytes: 9_000, stateHash: h.store.stats().stateHash });
  });
}
