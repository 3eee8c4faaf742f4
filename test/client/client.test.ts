import { afterEach, describe, expect, it } from 'vitest';
import { Client, ConnectionLost } from '../../src/client/client.js';
import { FakeNode } from '../cli/fake-node.js';

const nodes: FakeNode[] = [];
const clients: Client[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  for (const node of nodes.splice(0)) node.kill();
});

async function connect(node = new FakeNode()): Promise<{ node: FakeNode; client: Client }> {
  await node.start();
  nodes.push(node);
  const client = await Client.connect(node.address);
  clients.push(client);
  return { node, client };
}

describe('the client', () => {
  it('answers many requests under way, in order', async () => {
    const { client } = await connect();
    const replies = await Promise.all([client.set('a', '1'), client.get('a'), client.get('b'), client.line('PING')]);
    expect(replies).toEqual([true, Buffer.from('1'), undefined, 'PONG']);
  });

  it('reads each form of reply', async () => {
    const { node, client } = await connect();
    const replies: Record<string, string> = {
      'SET k v NX': '(nil)',
      'DEL a b': '(integer) 2',
      'EXISTS a': '(integer) 0',
      'MGET a b': '["x",null]',
      'INCR n 5': '(integer) 9223372036854775807',
      'CAS k a b': 'OK',
      'KEYS u LIMIT 10': '["u1","u2"]',
      COUNT: '(integer) 3',
      STATUS: '{"id":1}',
    };
    node.script = (line) => replies[line];
    expect(await client.set('k', 'v', 'NX')).toBe(false);
    expect(await client.del('a', 'b')).toBe(2);
    expect(await client.exists('a')).toBe(0);
    expect(await client.mget('a', 'b')).toEqual([Buffer.from('x'), null]);
    expect(await client.incr('n', 5)).toBe(9223372036854775807n);
    expect(await client.cas('k', 'a', 'b')).toBe(true);
    expect(await client.keys('u', 10)).toEqual([Buffer.from('u1'), Buffer.from('u2')]);
    expect(await client.count()).toBe(3);
    expect(await client.status()).toEqual({ id: 1 });
    expect(await client.members()).toMatchObject([{ id: 1, voter: true }]);
  });

  it('carries a transaction', async () => {
    const { client } = await connect();
    await client.begin();
    await client.set('a', '1');
    await client.commit();
    expect(String(await client.get('a'))).toBe('1');
    await client.begin();
    await client.rollback();
    await expect(client.commit()).rejects.toMatchObject({ code: 'no-transaction', definite: true });
  });

  it('has a write with a sequence happen once, on whichever connection it is sent again', async () => {
    const state = { map: new Map<string, string>(), sessions: new Map<string, Map<string, string>>() };
    const { node, client } = await connect(new FakeNode(state));
    const number = await client.session();
    node.script = (line) => (line.startsWith('SEQ 2') ? 'late' : undefined);
    expect(await client.once(1, ['INCR', 'a'])).toEqual({ kind: 'integer', integer: 1n });
    await expect(client.once(2, ['INCR', 'a'])).rejects.toBeInstanceOf(ConnectionLost);
    const again = await connect(new FakeNode(state));
    expect(await again.client.session(number)).toBe(number);
    expect(await again.client.once(2, ['INCR', 'a'], 1)).toEqual({ kind: 'integer', integer: 2n });
    expect(again.node.received.at(-1)).toBe('SEQ 2 FROM 1 INCR a');
    await expect(again.client.session(7)).rejects.toMatchObject({ code: 'session', definite: true });
  });

  it('says of what was unanswered when the connection ended that it is unknown', async () => {
    const { node, client } = await connect();
    node.script = () => 'die';
    const write = client.set('a', '1');
    const read = client.get('a');
    await expect(write).rejects.toBeInstanceOf(ConnectionLost);
    await expect(read).rejects.toBeInstanceOf(ConnectionLost);
    await expect(client.get('a')).rejects.toBeInstanceOf(ConnectionLost);
  });

  it('refuses what would be more than one line, or is no word, and the replies stay in step', async () => {
    const { client } = await connect();
    await expect(client.line('SET a 1\nSET b 2')).rejects.toBeInstanceOf(TypeError);
    for (const word of [undefined, null, 5, {}])
      await expect(client.set('a', word as unknown as string)).rejects.toThrow(
        new TypeError(`a key or value is a string or a Uint8Array, not ${word === null ? 'null' : typeof word}`),
      );
    expect(await client.set('a', '3')).toBe(true);
    expect(await client.line('GET a')).toBe('"3"');
  });

  it('names its errors', async () => {
    const { node, client } = await connect();
    await expect(client.commit()).rejects.toMatchObject({ name: 'ServerError' });
    node.script = () => 'die';
    await expect(client.get('a')).rejects.toMatchObject({ name: 'ConnectionLost' });
    await expect(Client.connect('nowhere')).rejects.toMatchObject({ name: 'AddressError' });
  });

  it('says why it cannot connect', async () => {
    const { node } = await connect();
    node.kill();
    await expect(Client.connect(node.address)).rejects.toThrow(`${node.address}: connection refused`);
    await expect(Client.connect('nowhere')).rejects.toThrow('"nowhere" is not an address');
  });

  it('takes a reply of another form than the command has for no reply', async () => {
    const { node, client } = await connect();
    node.script = () => '(integer) 1';
    await expect(client.get('a')).rejects.toThrow('expected a reply of kind value, not integer');
  });
});
