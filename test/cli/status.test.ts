import { afterEach, describe, expect, it } from 'vitest';
import { runStatus } from '../../src/cli/status.js';
import { parseAddress } from '../../src/client/address.js';
import { FakeNode } from './fake-node.js';

const nodes: FakeNode[] = [];
afterEach(() => {
  for (const node of nodes.splice(0)) node.kill();
});

const status = (id: number, stateHash = '00000000000000aa', applied = 42, leader: number | null = 1) =>
  JSON.stringify({
    id,
    role: leader === id ? 'leader' : 'follower',
    term: 3,
    leader,
    commit: 42,
    applied,
    keys: 17,
    stateHash,
    store: 'wasm',
    memory: { logical: 1_000, limit: 0, used: 1_572_864 },
  });

/** Three members with these answers to STATUS. */
async function cluster(answers: readonly string[]): Promise<FakeNode[]> {
  const members: FakeNode[] = [];
  for (const answer of answers) {
    const node = await new FakeNode().start();
    node.script = (line) => (line === 'STATUS' ? answer : undefined);
    members.push(node);
  }
  for (const node of members) node.members = members;
  nodes.push(...members);
  return members;
}

async function show(members: readonly FakeNode[], json = false) {
  let out = '';
  const told: string[] = [];
  const addresses = members.map((node) => parseAddress(node.address));
  const code = await runStatus(
    addresses,
    json,
    (text) => {
      out += text;
    },
    (text) => told.push(text),
  );
  return { code, out, told };
}

describe('status', () => {
  it('shows each member in a row, also the one that does not answer', async () => {
    const members = await cluster([status(1), status(2), status(3)]);
    members[2]!.kill();
    const { code, out, told } = await show([members[0]!]);
    const width = Math.max(...members.map((node) => node.address.length));
    expect(out.split('\n')).toEqual([
      `id  ${'address'.padEnd(width)}  role         term  leader  commit  applied  keys  state hash        store   memory`,
      ` 1  ${members[0]!.address.padEnd(width)}  leader          3       1      42       42    17  00000000000000aa  wasm   1.5 MiB`,
      ` 2  ${members[1]!.address.padEnd(width)}  follower        3       1      42       42    17  00000000000000aa  wasm   1.5 MiB`,
      ` 3  ${members[2]!.address.padEnd(width)}  unreachable`,
      '',
    ]);
    const told3 = `node 3 does not answer: ${members[2]!.address}: connection refused`;
    expect({ code, told }).toEqual({ code: 0, told: [told3] });
  });

  it('gives all that the nodes answer as JSON', async () => {
    const members = await cluster([status(1), status(2)]);
    const { code, out } = await show([members[1]!], true);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      members: members.map((node, i) => ({
        id: i + 1,
        address: node.address,
        voter: true,
        reachable: true,
        status: JSON.parse(status(i + 1)),
      })),
    });
  });

  it('asks the next address when one does not answer', async () => {
    const members = await cluster([status(1), status(2)]);
    members[0]!.kill();
    const { code, out } = await show(members);
    expect(code).toBe(0);
    expect(out).toContain('unreachable');
    expect(out).toContain('follower');
  });

  it('ends with 1 and says so when nobody answers', async () => {
    const members = await cluster([status(1)]);
    members[0]!.kill();
    expect(await show(members)).toEqual({
      code: 1,
      out: '',
      told: [`no node answers: ${members[0]!.address}: connection refused`],
    });
  });

  it('says so and ends with 1 when there is no leader: a majority is dead, or nobody is elected', async () => {
    const members = await cluster([status(1, undefined, 42, null), status(2), status(3)]);
    members[1]!.kill();
    members[2]!.kill();
    const lonely = await show([members[0]!]);
    expect(lonely.code).toBe(1);
    expect(lonely.told.at(-1)).toBe('no leader: 1 of 3 members reachable, and a majority is 2');
    const electing = await show(await cluster([1, 2, 3].map((id) => status(id, undefined, 42, null))));
    expect({ code: electing.code, told: electing.told }).toEqual({
      code: 1,
      told: ['no leader at present: none of the members that answer knows of one'],
    });
  });

  it('says so and ends with 1 when nodes that have applied the same differ', async () => {
    const members = await cluster([status(1), status(2, '00000000000000bb')]);
    const { code, told } = await show([members[0]!]);
    expect(code).toBe(1);
    expect(told).toEqual(['nodes 1 and 2 have applied the same entries (42) and differ in their state']);
    const behind = await cluster([status(1), status(2, '00000000000000bb', 41)]);
    expect((await show([behind[0]!])).code).toBe(0);
  });

  it('refuses what is no node', async () => {
    const members = await cluster([status(1)]);
    members[0]!.script = () => 'HTTP/1.1 400 Bad Request';
    const { code, told } = await show(members);
    expect(code).toBe(1);
    expect(told[0]).toContain('not a node of Distributed');
  });
});
