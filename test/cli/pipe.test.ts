import { PassThrough, Readable, Writable } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { runPiped } from '../../src/cli/pipe.js';
import { parseAddress } from '../../src/client/address.js';
import { runProgram, until } from '../support/cluster.js';
import { transcript } from '../support/transcript.js';
import { FakeNode, type FakeState } from './fake-node.js';

const nodes: FakeNode[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const node of nodes.splice(0)) node.kill();
});

async function fakes(count: number): Promise<FakeNode[]> {
  const state: FakeState = { map: new Map() };
  const members: FakeNode[] = [];
  for (let i = 0; i < count; i++) members.push(await new FakeNode(state).start());
  for (const node of members) node.members = members;
  nodes.push(...members);
  return members;
}

const options = (node: FakeNode) => ({ addresses: [parseAddress(node.address)], timeoutMs: 10_000, reconnectMs: 300 });

/** Runs a whole input in this process. */
async function pipe(node: FakeNode, input: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const told: string[] = [];
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => told.push(String(text)) > 0);
  const output = new PassThrough();
  let stdout = '';
  output.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  const code = await runPiped(options(node), Readable.from([Buffer.from(input)]), output);
  return { code, stdout, stderr: told.join('') };
}

describe('the CLI on a pipe', () => {
  it('gives just the replies, one a line, as the transcript has them', async () => {
    const [node] = await fakes(1);
    const input = transcript.map(([command]) => `${command}\n`).join('');
    const { code, stdout, stderr } = await runProgram(['cli', node!.address], { input });
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: transcript.map(([, r]) => `${r}\n`).join(''),
      stderr: '',
    });
  });

  it('ends with 1 if a reply was ERR', async () => {
    const [node] = await fakes(1);
    expect(await pipe(node!, 'SET a 1\nFOO\nGET a\n')).toEqual({
      code: 1,
      stdout: 'OK\nERR syntax unknown command\n"1"\n',
      stderr: '',
    });
  });

  it('ends with 1 if a reply was UNKNOWN', async () => {
    const [node] = await fakes(1);
    node!.script = (line) => (line === 'SET a 1' ? 'UNKNOWN timeout no majority' : undefined);
    expect((await pipe(node!, 'SET a 1\n')).code).toBe(1);
  });

  it('does not take a value for an error', async () => {
    const [node] = await fakes(1);
    node!.script = (line) => (line === 'GET a' ? '"ERR not an error"' : undefined);
    expect((await pipe(node!, 'GET a\n')).code).toBe(0);
  });

  it('ends with 1 and one line when nobody can be reached', async () => {
    const [node] = await fakes(1);
    node!.kill();
    const { code, stdout, stderr } = await runProgram(['cli', node!.address], { input: 'PING\n' });
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: `distributed: no node answers: ${node!.address}: connection refused\n`,
    });
  });

  it('answers what it can and ends with 1 when the last node dies', async () => {
    const [node] = await fakes(1);
    node!.script = (line) => (line === 'SET b 2' ? 'die' : undefined);
    const { code, stdout, stderr } = await pipe(node!, 'SET a 1\nSET b 2\nGET b\n');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^OK\nUNKNOWN disconnected .*\nERR unreachable .*\n$/);
    expect(stderr).toMatch(/^distributed: the connection to .* was lost \(.*\); no node answers: .*\n$/);
  });

  it('goes on with another member and tells it on stderr', async () => {
    const [first, second] = await fakes(2);
    first!.script = (line) => (line === 'SET b 2' ? 'die' : undefined);
    const { code, stdout, stderr } = await pipe(first!, 'SET a 1\nSET b 2\nGET a\nSET c 3\n');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^OK\nUNKNOWN disconnected .*\n"1"\n(OK|UNKNOWN disconnected .*)\n$/);
    expect(stderr).toContain(`; connected to ${second!.address}\n`);
  });

  it('does not run a last line that has no newline', async () => {
    const [node] = await fakes(1);
    const { code, stdout } = await pipe(node!, 'SET a 1\nSET b');
    expect(code).toBe(1);
    expect(stdout).toBe('OK\nERR syntax the last line has no newline at its end, so it was not run\n');
    expect(node!.received).toEqual(['SESSION', 'SET a 1']);
  });

  it('runs nothing that follows QUIT', async () => {
    const [node] = await fakes(1);
    expect(await pipe(node!, 'QUIT\nSET a 1\n')).toEqual({ code: 0, stdout: 'OK\n', stderr: '' });
  });

  it('refuses a line that is too long and goes on with the next', async () => {
    const [node] = await fakes(1);
    const { code, stdout } = await pipe(node!, `SET a ${'x'.repeat(9_000_000)}\nPING\n`);
    expect(code).toBe(1);
    expect(stdout).toBe('ERR too-large line of more than 8388608 bytes; it was not sent\nPONG\n');
  });

  it('stops reading while a node does not answer, so that what it holds is bounded', async () => {
    const [node] = await fakes(1);
    node!.script = (line) => (line.startsWith('SET') ? 'silent' : undefined);
    let pulled = 0;
    const line = Buffer.from(`SET k ${'v'.repeat(1_000)}\n`);
    const input = new Readable({
      read() {
        pulled += line.length;
        this.push(line);
      },
    });
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const done = runPiped(options(node!), input, new PassThrough().resume());
    await until('the input is held back', 10_000, () => pulled > 0 && input.isPaused());
    expect(pulled).toBeLessThan(4_000_000);
    node!.kill();
    expect(await done).toBe(1);
  });

  it('stops taking replies while nobody reads them, and gives all of them in the end', async () => {
    const [node] = await fakes(1);
    const value = 'v'.repeat(100_000);
    const count = 500;
    node!.script = (line) => (line === 'GET big' ? `"${value}"` : undefined);
    const held: (() => void)[] = [];
    let open = false;
    let bytes = 0;
    const output = new Writable({
      highWaterMark: 16_384,
      write(chunk: Buffer, _encoding, done) {
        bytes += chunk.length;
        if (open) done();
        else held.push(done);
      },
    });
    const done = runPiped(options(node!), Readable.from([Buffer.from('GET big\n'.repeat(count))]), output);
    await until('output is held back', 10_000, () => output.writableNeedDrain);
    // What is held is at most what one turn of the loop brought, far below all replies.
    expect(output.writableLength).toBeLessThan(10_000_000);
    open = true;
    for (const next of held.splice(0)) next();
    expect(await done).toBe(0);
    expect(bytes).toBe(count * (value.length + 3));
  });

  it('carries a hundred thousand lines through', async () => {
    const [node] = await fakes(1);
    const input = Array.from({ length: 100_000 }, (_, i) => (i % 2 === 0 ? `SET k ${i}\n` : 'GET k\n')).join('');
    const { code, stdout } = await pipe(node!, input);
    expect(code).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.length).toBe(100_001);
    expect(lines.at(-2)).toBe('"99998"');
  });
});
