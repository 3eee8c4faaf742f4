import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commands } from '../../src/protocol/commands.js';
import { encodeHello } from '../../src/transport/codec.js';
import { FrameFlag, FrameKind, FrameWriter, greeting } from '../../src/transport/frame.js';
import { plainCrc32c } from '../log/crc32c.js';
import { Cluster, type NodePlace, residentBytes, runProgram, until } from '../support/cluster.js';
import { exchange } from '../support/line-client.js';
import { netcat } from '../support/netcat.js';
import { transcript } from '../support/transcript.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start();
});
afterAll(() => cluster?.stop());

const commandsText = transcript.map(([command]) => `${command}\n`).join('');
const repliesText = transcript.map(([, reply]) => `${reply}\n`).join('');

async function follower(): Promise<NodePlace> {
  const leader = await cluster.leader();
  return cluster.nodes.find((node) => node !== leader)!;
}

describe('the transcript holds byte for byte', () => {
  it('on a raw socket of every node, sent at once', async () => {
    for (const node of cluster.nodes) expect((await exchange(node.port, [commandsText])).text).toBe(repliesText);
  });

  it('on a raw socket, a line sent and a line read', async () => {
    const client = await (await follower()).connect();
    for (const [command, reply] of transcript) expect(await client.ask(command)).toBe(reply);
    client.close();
  });

  it('on a raw socket, byte by byte', async () => {
    const { text } = await exchange((await follower()).port, [...commandsText]);
    expect(text).toBe(repliesText);
  });

  it('through the CLI piped, which exits 0', async () => {
    const run = await runProgram(['cli', cluster.nodes[1]!.address], { input: commandsText });
    expect(run).toMatchObject({ code: 0, stdout: repliesText });
  });

  it('through nc, which sends FIN and is answered first', async () => {
    const text = await netcat(cluster.nodes[2]!.port, 'SET a b\nGET a\n');
    expect(text).toBe('OK\n"b"\n');
  });
});

it('STATUS, MEMBERS and HELP are one line of JSON, from every node', async () => {
  await cluster.leader();
  const members = cluster.nodes.map(({ id, address }) => ({ id, address, voter: true }));
  for (const node of cluster.nodes) {
    const client = await node.connect();
    const [status, listed, help, one] = await client.askAll(['STATUS', 'MEMBERS', 'HELP', 'HELP SET']);
    client.close();
    expect(JSON.parse(listed!)).toEqual(members);
    expect(JSON.parse(status!)).toMatchObject({
      id: node.id,
      role: expect.stringMatching(/^(leader|follower)$/),
      term: expect.any(Number),
      leader: expect.any(Number),
      commit: expect.any(Number),
      applied: expect.any(Number),
      revision: expect.any(Number),
      keys: expect.any(Number),
      stateHash: expect.stringMatching(/^[0-9a-f]{16}$/),
      memory: expect.any(Object),
      counters: {
        parsed: expect.any(Number),
        encoded: expect.any(Number),
        checked: expect.any(Number),
        applied: expect.any(Number),
      },
      members,
    });
    const names = (JSON.parse(help!) as string[]).map((line) => line.split(' ')[0]);
    expect(names).toEqual(expect.arrayContaining(commands.map((command) => command.name)));
    expect((JSON.parse(one!) as string[]).join(' ')).toContain('SET key value [EX s|PX ms] [NX|XX]');
  }
});

describe('the CLI piped', () => {
  it('exits 1 when a reply was an error, and goes on after it', async () => {
    const run = await runProgram(['cli', cluster.nodes[0]!.address], { input: 'NOPE\nPING\n' });
    expect(run.code).toBe(1);
    const lines = run.stdout.split('\n');
    expect(lines[0]).toMatch(/^ERR syntax unknown command "NOPE"/);
    expect(lines.slice(1)).toEqual(['PONG', '']);
  });

  it('exits 1 with one line when nobody can be reached', async () => {
    const run = await runProgram(['cli', '127.0.0.1:1'], { input: 'PING\n' });
    expect(run.code).toBe(1);
    expect(run.stdout).toBe('');
    expect(run.stderr.trim().split('\n').length).toBe(1);
    expect(run.stderr).toContain('127.0.0.1:1');
  });
});

describe('the end of a connection', () => {
  it('comes after everything that was sent before FIN has been answered', async () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `SET fin-${i % 10} ${i}\nGET fin-${i % 10}\n`).join('');
    const { text, endedByServer } = await exchange((await follower()).port, [lines]);
    expect(endedByServer).toBe(true);
    expect(text).toBe(Array.from({ length: 1000 }, (_, i) => `OK\n"${i}"\n`).join(''));
  });

  it('does not run a last line that was cut off', async () => {
    const { text, endedByServer } = await exchange(cluster.nodes[0]!.port, ['SET whole 1\nSET cut 1']);
    expect(endedByServer).toBe(true);
    expect(text).toMatch(/^OK\nERR syntax the last line has no newline[^\n]*\n$/);
    expect((await exchange(cluster.nodes[0]!.port, ['GET whole\nGET cut\n'])).text).toBe('"1"\n(nil)\n');
  });

  it('follows QUIT, and nothing after QUIT is run', async () => {
    const { text, endedByServer } = await exchange(cluster.nodes[0]!.port, ['PING\nQUIT\nSET late 1\n'], {
      fin: false,
    });
    expect([text, endedByServer]).toEqual(['PONG\nOK\n', true]);
    expect((await exchange(cluster.nodes[0]!.port, ['GET late\n'])).text).toBe('(nil)\n');
  });

  it('drops the transaction of its connection', async () => {
    const node = cluster.nodes[0]!;
    const client = await node.connect();
    expect(await client.askAll(['BEGIN', 'SET dropped 1'])).toEqual(['OK', 'OK']);
    client.close();
    await until('the transaction is gone', 5000, async () => {
      const status = (await node.status()) as unknown as { transactions: number };
      return status.transactions === 0;
    });
    expect((await exchange(node.port, ['GET dropped\n'])).text).toBe('(nil)\n');
  });
});

describe('a connection that begins with something else gets one error line, is closed, and nothing of it is run', () => {
  const evil = 'SET evil 1\n';
  const tls = Uint8Array.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);
  const first: readonly (readonly [string, string | Uint8Array])[] = [
    ['HTTP', 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['HTTP with a body', 'POST /x HTTP/1.1\r\nContent-Length: 11\r\n\r\n'],
    ['TLS', tls],
    ['RESP', '*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\n1\r\n'],
    ['binary', Uint8Array.from([0x00, 0xff, 0x01, 0x80, 0x0a])],
  ];
  it.each(first)('%s', async (_name, bytes) => {
    const node = cluster.nodes[0]!;
    const all = Buffer.concat([Buffer.from(bytes), Buffer.from(evil)]);
    const { text, endedByServer } = await exchange(node.port, [all], { fin: false });
    expect(endedByServer).toBe(true);
    expect(text).toMatch(/^ERR [a-z-]+ [^\n]+\n$/);
    expect((await exchange(node.port, ['GET evil\n'])).text).toBe('(nil)\n');
  });
});

describe('a peer that sends what makes no sense', () => {
  const frame = (kind: FrameKind, control: Uint8Array, total = 0): Uint8Array => {
    const writer = new FrameWriter(plainCrc32c);
    writer.frame(kind, FrameFlag.first | (total > 0 ? 0 : FrameFlag.last), total, 0, control);
    return writer.take();
  };
  const flipped = (bytes: Uint8Array): Uint8Array => bytes.with(-1, bytes.at(-1)! ^ 1);
  const hello = encodeHello({
    protocol: 1,
    id: 2,
    address: '127.0.0.1:1',
    identity: new Uint8Array(16),
    starts: 1,
    nonce: 1,
    founding: {
      clusterId: new Uint8Array(16).fill(7),
      members: [{ id: 2, address: '127.0.0.1:1', identity: new Uint8Array(16) }],
    },
    peers: [],
    members: 0,
    versions: { oldest: 1, newest: 1 },
  });
  it.each([
    [
      'a malformed frame',
      flipped(frame(FrameKind.hello, hello)),
      /closed the link from 127\.0\.0\.1: .*CRC of a frame/,
    ],
    [
      'a frame that is too large',
      frame(FrameKind.hello, hello, 2 ** 31),
      /closed the link from 127\.0\.0\.1: message of \d+ bytes, more than/,
    ],
    [
      'a hello of another cluster',
      frame(FrameKind.hello, hello),
      /refused node 2 at 127\.0\.0\.1:1: .*another cluster/,
    ],
  ])('is closed with one line in the log: %s', async (_name, bytes, expected) => {
    const node = cluster.nodes[0]!;
    const { endedByServer } = await exchange(node.port, [greeting(), bytes], { fin: false });
    expect(endedByServer).toBe(true);
    expect((await exchange(node.port, ['PING\n'])).text).toBe('PONG\n');
    const told = node.run!.stderr.split('\n').filter((line) => expected.test(line));
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/ warn /);
  });
});

describe('bad input gets one line that says what is wrong, and the connection lives on', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['an unknown command', 'FETCH a', /^ERR syntax unknown command "FETCH"; HELP lists the commands$/],
    ['too few arguments', 'GET', /^ERR syntax usage: GET key \[STALE\]$/],
    ['too many arguments', 'GET a b c', /^ERR syntax usage: GET key \[STALE\]$/],
    ['an empty line', '', /^ERR syntax empty line/],
    ['an unterminated quote', 'SET a "b', /^ERR syntax .*double quote/],
    ['text after a quote', 'SET a "b"c', /^ERR syntax .*closing quote/],
    ['a bad escape', 'SET a "\\x"', /^ERR syntax bad escape/],
    ['COMMIT without BEGIN', 'COMMIT', /^ERR no-transaction "COMMIT" without BEGIN$/],
    ['ROLLBACK without BEGIN', 'ROLLBACK', /^ERR no-transaction "ROLLBACK" without BEGIN$/],
    ['noise after a valid first line', '\u0001\u0002 noise', /^ERR syntax unknown command/],
    ['HTTP after a valid first line', 'GET / HTTP/1.1', /^ERR syntax GET takes STALE after the key, not "HTTP\/1.1"$/],
    ['a key too long', `SET ${'k'.repeat(65_537)} v`, /^ERR too-large key of 65537 bytes; the limit is 65536$/],
    ['a value too long', `SET k ${'v'.repeat(1_048_577)}`, /^ERR too-large value of 1048577 bytes; the limit is/],
    ['an option that is none', 'SET a b YY', /^ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX/],
  ];
  it.each(cases)('%s', async (_name, line, expected) => {
    const client = await cluster.nodes[0]!.connect();
    const [before, reply, after] = await client.askAll(['PING', line, 'PING']);
    expect([before, after]).toEqual(['PONG', 'PONG']);
    expect(reply).toMatch(expected);
    client.close();
  });

  it('BEGIN in a transaction, INCR of text, INCR past 64 bits', async () => {
    const client = await cluster.nodes[0]!.connect();
    const lines = [
      'BEGIN',
      'BEGIN',
      'ROLLBACK',
      'SET text abc',
      'INCR text',
      'SET big 9223372036854775807',
      'INCR big',
    ];
    const replies = await client.askAll([...lines, 'GET big']);
    expect(replies[1]).toMatch(/^ERR in-transaction /);
    expect(replies[4]).toMatch(/^ERR not-an-integer /);
    expect(replies[6]).toMatch(/^ERR overflow /);
    expect(replies[7]).toBe('"9223372036854775807"');
    client.close();
  });

  it('a line that is too long: one line, then closed', async () => {
    const { text, endedByServer } = await exchange(
      cluster.nodes[0]!.port,
      ['PING\n', 'x'.repeat(8 * 1024 * 1024 + 10), '\nSET toolong 1\n'],
      { fin: false },
    );
    expect(endedByServer).toBe(true);
    expect(text).toMatch(/^PONG\nERR too-large line of more than 8388608 bytes[^\n]*\n$/);
    expect((await exchange(cluster.nodes[0]!.port, ['GET toolong\n'])).text).toBe('(nil)\n');
  });
});

describe('values and keys', () => {
  it('of the largest sizes are taken and come back from another node', async () => {
    const [key, value] = ['K'.repeat(65_536), 'V'.repeat(1_048_576)];
    const [one, two] = [await cluster.nodes[0]!.connect(), await cluster.nodes[1]!.connect()];
    expect(await one.ask(`SET ${key} ${value}`)).toBe('OK');
    expect((await two.ask(`GET ${key}`)) === `"${value}"`).toBe(true);
    one.close();
    two.close();
  });

  it('of a transaction of nearly 16 MiB are committed from any node well within the time-out, and hold up nobody', async () => {
    for (const node of cluster.nodes) {
      const [client, other] = [await node.connect(), await node.connect()];
      expect(await client.ask('BEGIN')).toBe('OK');
      for (let n = 0; n < 15; n++) expect(await client.ask(`SET large${n} ${'v'.repeat(1_048_576)}`)).toBe('OK');
      const began = performance.now();
      const committed = client.ask('COMMIT');
      expect(await other.ask('SET small 1')).toBe('OK');
      expect(await committed).toBe('OK');
      expect(await other.ask('SET small 2')).toBe('OK');
      // By a window of the link (256 KiB) each 100 ms it would take 6 s and more.
      expect(performance.now() - began).toBeLessThan(2_500);
      client.close();
      other.close();
    }
  });

  it('that are no UTF-8 come back as escapes that mean the same bytes', async () => {
    const port = cluster.nodes[0]!.port;
    const raw = Buffer.concat([
      Buffer.from('SET raw '),
      Buffer.from([0xff, 0x00, 0x41, 0xc3, 0xa9]),
      Buffer.from('\n'),
    ]);
    const { text } = await exchange(port, [raw, 'GET raw\n']);
    expect(text).toBe('OK\n"\\udcff\\u0000Aé"\n');
    const back = await exchange(port, ['SET raw2 "\\udcff\\u0000A\\u00e9"\nCAS raw2 "\\udcff\\u0000Aé" same\n']);
    expect(back.text).toBe('OK\nOK\n');
  });
});

describe('pipelining', () => {
  it('of 100,000 commands gives replies in their order', async () => {
    const half = 50_000;
    const node = await follower();
    const pieces: string[] = [];
    for (let from = 0; from < half; from += 1000) {
      pieces.push(Array.from({ length: 1000 }, (_, i) => `SET p${i % 7} ${from + i}\nGET p${i % 7}\n`).join(''));
    }
    const { text } = await exchange(node.port, pieces, { timeoutMs: 60_000 });
    expect(text === Array.from({ length: half }, (_, i) => `OK\n"${i}"\n`).join('')).toBe(true);
  });

  it('keeps each client in its own order while many write the same keys', async () => {
    const clients = await Promise.all(Array.from({ length: 30 }, (_, i) => cluster.nodes[i % 3]!.connect()));
    const sums = await Promise.all(
      clients.map((client) => client.askAll(Array.from({ length: 200 }, () => 'INCR shared'))),
    );
    const seen = sums.map((replies) => replies.map((reply) => Number(/^\(integer\) (\d+)$/.exec(reply)![1])));
    for (const list of seen) expect(list).toEqual([...list].sort((a, b) => a - b));
    expect(seen.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 6000 }, (_, i) => i + 1));
    for (const client of clients) client.close();
  });
});

it('a client that sends and does not read is held back, and the node does not buffer its replies', async () => {
  const node = await follower();
  const value = 'x'.repeat(65_536);
  expect((await exchange(node.port, [`SET slow ${value}\n`])).text).toBe('OK\n');
  const before = residentBytes(node.pid);
  const count = 6000;
  const socket = connect({ port: node.port, host: '127.0.0.1' });
  socket.pause();
  socket.write('GET slow\n'.repeat(count));
  let most = 0;
  let samples = 0;
  const other = await node.connect();
  await until('thirty looks at the memory, while others are served', 20_000, async () => {
    expect(await other.ask('GET slow')).toBe(`"${value}"`);
    most = Math.max(most, residentBytes(node.pid) - before);
    return ++samples >= 30;
  });
  other.close();
  expect(most).toBeLessThan(120 * 1024 * 1024);
  let received = 0;
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      received += chunk.length;
      if (received === count * (value.length + 3)) resolve();
    });
    socket.resume();
  });
  socket.destroy();
});
