import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { removeGoal } from '../../src/node/changes.js';
import {
  atAddress,
  describeMembers,
  findMember,
  formatMembers,
  foundingMembers,
  isConsistentStep,
  Kind,
  leftJoint,
  type Member,
  MemberOffset,
  type Members,
  MembersOffset,
  membershipFor,
  membershipOf,
  parseMembers,
  promoted,
  withInvited,
  withLearner,
  without,
} from '../../src/node/members.js';
import { isStep } from '../../src/raft/membership.js';
import type { Raft } from '../../src/raft/raft.js';
import type { PeerStatus } from '../../src/raft/types.js';
import { drawing } from '../log/drawing.js';

const identityOf = (n: number) => new Uint8Array(16).fill(n);
const three = foundingMembers([3, 1, 2].map((id) => ({ id, address: `host${id}:80`, identity: identityOf(id) })));
const ids = (members: Members) => members.map(({ id, kind }) => [id, kind]);

/** Who leads, as node 1, and what it knows of the others. */
function leading(peers: readonly Partial<PeerStatus>[]): Raft {
  return { peers: () => peers } as unknown as Raft;
}

describe('a voter', () => {
  it.each([
    ['is cut off', { id: 2, active: false, abstains: false }],
    ['repairs its log, for which commits without it are needed', { id: 2, active: true, abstains: true }],
  ])('is not removed when of the two that would be left the other %s', (_why, other) => {
    const verdict = (peers: readonly Partial<PeerStatus>[]) => removeGoal(leading(peers), 1, 3)(three);
    const third = { id: 3, active: true, abstains: false };
    expect(verdict([other, third])).toMatchObject({ kind: 'refused', again: true });
    expect(verdict([{ id: 2, active: true, abstains: false }, third])).toMatchObject({ kind: 'step' });
  });
});

describe('the record of the members', () => {
  it('stands where its drawing says', () => {
    const rows = drawing(readFileSync('src/node/members.ts', 'utf8'), 'folder identity; zeros');
    const at = (text: string) => rows.filter((row) => row.text.startsWith(text)).map(({ offset }) => offset);
    expect(at('format: 1')).toEqual([MembersOffset.format]);
    expect(at('number of members')).toEqual([MembersOffset.count]);
    expect(at('members, in the order')).toEqual([MembersOffset.members]);
    expect(at('id')).toEqual([MemberOffset.id]);
    expect(at('kind')).toEqual([MemberOffset.kind]);
    expect(at('reserved')).toEqual([MemberOffset.reserved]);
    expect(at('length of the address')).toEqual([MemberOffset.addressLength]);
    expect(at('folder identity')).toEqual([MemberOffset.identity]);
    expect(at('address, UTF-8')).toEqual([MemberOffset.address]);
  });

  it('is written byte for byte as drawn', () => {
    const bytes = formatMembers([{ id: 0x0102, kind: Kind.learner, identity: identityOf(7), address: 'ä:1' }]);
    expect([...bytes]).toEqual([1, 0, 1, 0, 2, 1, 4, 0, 4, 0, ...identityOf(7), 0xc3, 0xa4, 0x3a, 0x31]);
  });

  it('is read as it was written', () => {
    const member = fc.record({
      id: fc.integer({ min: 1, max: 65_535 }),
      kind: fc.constantFrom(...Object.values(Kind)),
      identity: fc.uint8Array({ minLength: 16, maxLength: 16 }),
      address: fc.string({ unit: 'binary', maxLength: 40 }),
    });
    fc.assert(
      fc.property(fc.uniqueArray(member, { selector: ({ id }) => id, maxLength: 20 }), (list) => {
        const members = list.sort((a, b) => a.id - b.id);
        const bytes = formatMembers(members);
        expect(parseMembers(bytes)).toEqual(members);
        for (let cut = 0; cut < bytes.length; cut++) expect(() => parseMembers(bytes.subarray(0, cut))).toThrow();
        expect(() => parseMembers(Uint8Array.of(...bytes, 0))).toThrow('bytes behind');
      }),
      { numRuns: 100 },
    );
  });

  it('of another format, with an id twice, an unknown kind or a reserved bit is refused', () => {
    const good = formatMembers(three);
    const wrong = (at: number, value: number) => () => parseMembers(good.with(at, value));
    const second = MembersOffset.members + MemberOffset.address + 'host1:80'.length;
    expect(wrong(0, 2)).toThrow('newer version');
    expect(wrong(second, 1)).toThrow('member 2');
    expect(wrong(MembersOffset.members + MemberOffset.kind, 5)).toThrow('member 1');
    expect(wrong(MembersOffset.members + MemberOffset.reserved, 1)).toThrow('member 1');
    expect(wrong(MembersOffset.members, 0)).toThrow('member 1');
  });
});

describe('steps', () => {
  /** Each must be one that Raft takes, to the end of the joint membership if it begins one. */
  function settle(from: Members, to: Members): Members {
    expect(isConsistentStep(from, to)).toBe(true);
    expect(isStep(membershipOf(from), membershipOf(to))).toBe(true);
    if (membershipOf(to).outgoing.length === 0) return to;
    return settle(to, leftJoint(to));
  }

  it('lead from founders through learners and voters to removed ones, each as Raft takes it', () => {
    const learners = settle(three, withLearner(three, 4, 'host4:80', identityOf(4)));
    expect(membershipOf(learners)).toEqual({ voters: [1, 2, 3], outgoing: [], learners: [4] });
    const joint = promoted(learners, [4]);
    expect(membershipOf(joint)).toEqual({ voters: [1, 2, 3, 4], outgoing: [1, 2, 3], learners: [] });
    const four = settle(learners, joint);
    expect(membershipOf(four)).toEqual({ voters: [1, 2, 3, 4], outgoing: [], learners: [] });
    const gone = settle(four, without(four, 2, 'removed'));
    expect(ids(gone)).toEqual([
      [1, Kind.voter],
      [2, Kind.removed],
      [3, Kind.voter],
      [4, Kind.voter],
    ]);
    expect(findMember(gone, 2)).toMatchObject({ address: 'host2:80', identity: identityOf(2) });
    expect(atAddress(gone, 'host2:80')).toBeUndefined();
    const back = settle(gone, withInvited(gone, 2, 'other:80'));
    expect(findMember(back, 2)).toEqual({
      id: 2,
      kind: Kind.invited,
      address: 'other:80',
      identity: new Uint8Array(16),
    });
    expect(describeMembers(withLearner(back, 2, 'other:80', identityOf(9)))).toBe(
      '1=host1:80, 2=other:80 (learner), 3=host3:80, 4=host4:80',
    );
  });

  it('take a lost folder out before the new one comes in: never do two count under one id', () => {
    const joint = without(three, 2, 'invited');
    expect(membershipOf(joint)).toEqual({ voters: [1, 3], outgoing: [1, 2, 3], learners: [] });
    expect(findMember(joint, 2)!.identity).toEqual(identityOf(2));
    const out = settle(three, joint);
    expect(membershipOf(out)).toEqual({ voters: [1, 3], outgoing: [], learners: [] });
    expect(findMember(out, 2)).toMatchObject({ kind: Kind.invited, address: 'host2:80', identity: new Uint8Array(16) });
    const into = settle(out, withLearner(out, 2, 'host2:80', identityOf(22)));
    expect(membershipOf(settle(into, promoted(into, [2])))).toEqual({ voters: [1, 2, 3], outgoing: [], learners: [] });
  });

  it('that are none are told', () => {
    const two = three.map((member): Member => (member.id === 3 ? { ...member, kind: Kind.removed } : member));
    expect(isConsistentStep(three, two)).toBe(false);
  });
});

describe('what a node goes by', () => {
  it('is the record, without another folder under its own id', () => {
    const of = (id: number, identity: number) => membershipFor(three, id, identityOf(identity));
    expect(of(2, 2)).toEqual({ voters: [1, 2, 3], outgoing: [], learners: [] });
    expect(of(2, 9)).toEqual({ voters: [1, 3], outgoing: [], learners: [] });
    expect(of(4, 4)).toEqual({ voters: [1, 2, 3], outgoing: [], learners: [] });
    const alone = foundingMembers([{ id: 1, address: 'a:1', identity: identityOf(1) }]);
    const others = { voters: [2], outgoing: [], learners: [] };
    expect(membershipFor(withLearner(alone, 2, 'b:1', identityOf(2)), 1, identityOf(9))).toEqual(others);
    expect(membershipFor(alone, 1, identityOf(9))).toEqual(others);
  });
});
