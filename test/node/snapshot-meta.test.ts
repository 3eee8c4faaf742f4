import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { NewSnapshot } from '../../src/log/types.js';
import { formatMembers, Kind, type Members } from '../../src/node/members.js';
import { decodeSnapshotMeta, encodeSnapshotMeta, MetaOffset } from '../../src/node/snapshot-meta.js';

const state = {
  applied: 4_100,
  revision: 2 ** 40,
  stateHash: '0123456789abcdef',
  keys: 17,
  logicalBytes: 2 ** 33,
  limitBytes: 2 ** 34,
  logTimeMs: 99,
  checkpoint: { index: 4_096, stateHash: 'fedcba9876543210' },
};
const member = (id: number, kind: Kind) => ({
  id,
  kind,
  address: `host${id}:80`,
  identity: new Uint8Array(16).fill(id),
});
const members = [
  member(1, Kind.stayingVoter),
  member(3, Kind.outgoing),
  member(4, Kind.learner),
  member(65_535, Kind.voter),
];
const identity = Uint8Array.from({ length: 16 }, (_, i) => i);
const nonce = Uint8Array.from({ length: 8 }, (_, i) => 200 + i);

function info(meta: Uint8Array): NewSnapshot {
  return { index: state.applied, term: 3, logTime: state.logTimeMs, stateHash: state.stateHash, meta };
}

/** The bytes, changed. */
function with_(change: (view: DataView) => void, of: Members = members): Uint8Array {
  const meta = encodeSnapshotMeta({ state, members: of, version: 3 }, identity, nonce);
  change(new DataView(meta.buffer));
  return meta;
}

describe('what stands beside a snapshot', () => {
  it('is read as it was written', () => {
    const meta = encodeSnapshotMeta({ state, members, version: 3 }, identity, nonce);
    expect(decodeSnapshotMeta(info(meta))).toEqual({ state, members, version: 3 });
    expect([meta.subarray(8, 24), meta.subarray(24, 32)]).toEqual([identity, nonce]);
    const view = new DataView(meta.buffer);
    expect([view.getBigUint64(32, true), view.getBigUint64(72, true)]).toEqual([2n ** 40n, 0xfedcba9876543210n]);
    const record = formatMembers(members);
    expect([view.getUint32(80, true), view.getUint32(84, true)]).toEqual([record.length, 3]);
    expect(meta.subarray(88)).toEqual(record);
  });

  it('is as the source draws it, and ARCHITECTURE.md too', () => {
    const names = Object.entries(MetaOffset).filter(([name]) => name !== 'members');
    for (const file of ['src/node/snapshot-meta.ts', 'ARCHITECTURE.md']) {
      const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
      const from = text.indexOf('folder identity of the member that made it');
      const drawing = text.slice(text.lastIndexOf('```', from), text.indexOf('```', from));
      const rows = [...drawing.matchAll(/^[ *]*(\d+) {2}\S/gm)].map(([, at]) => Number(at));
      expect(rows, file).toEqual([...names.map(([, at]) => at), MetaOffset.members].sort((a, b) => a - b));
    }
  });

  it.each([
    ['it is empty', new Uint8Array(0)],
    ['it is cut', with_(() => {}).subarray(0, 90)],
    ['there is more', new Uint8Array([...with_(() => {}), 0])],
    ['another format', with_((view) => view.setUint32(MetaOffset.format, 2, true))],
    ['reserved bytes', with_((view) => view.setUint32(MetaOffset.reserved, 1, true))],
    ['no version', with_((view) => view.setUint32(MetaOffset.version, 0, true))],
    ['a revision beyond 2^53', with_((view) => view.setUint32(MetaOffset.revision + 4, 2 ** 22, true))],
    ['a checkpoint of later', with_((view) => view.setUint32(MetaOffset.checkpoint, 4_101, true))],
    ['a length that is not that of the record', with_((view) => view.setUint32(MetaOffset.membersBytes, 4, true))],
    ['members of an unknown format', with_((view) => view.setUint16(MetaOffset.members, 9, true))],
    ['node 0', with_((view) => view.setUint16(MetaOffset.members + 4, 0, true))],
    ['no voters', with_(() => {}, [member(4, Kind.learner)])],
  ])('is refused when anything in it cannot be: %s', (_, meta) => {
    expect(decodeSnapshotMeta(info(meta))).toBeUndefined();
  });
});
