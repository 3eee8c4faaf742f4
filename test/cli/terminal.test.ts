import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { temporaryFolder, until } from '../support/cluster.js';
import { transcript } from '../support/transcript.js';
import { FakeNode, type FakeState } from './fake-node.js';
import { PseudoTerminal } from './pseudo-terminal.js';

const nodes: FakeNode[] = [];
const terminals: PseudoTerminal[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const terminal of terminals.splice(0)) await terminal.kill();
  for (const node of nodes.splice(0)) node.kill();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function fakes(count: number): Promise<FakeNode[]> {
  const state: FakeState = { map: new Map() };
  const members: FakeNode[] = [];
  for (let i = 0; i < count; i++) members.push(await new FakeNode(state).start());
  for (const node of members) node.members = members;
  nodes.push(...members);
  return members;
}

function folder(): string {
  folders.push(temporaryFolder());
  return folders.at(-1)!;
}

function open(node: FakeNode, history = ''): PseudoTerminal {
  const terminal = new PseudoTerminal(['cli', node.address], { DISTRIBUTED_HISTORY: history });
  terminals.push(terminal);
  return terminal;
}

const shown = `${transcript.map(([command, reply]) => `> ${command}\n${reply}\n`).join('')}>`;

describe('the CLI on a terminal', () => {
  it('shows the transcript as the design has it', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    for (const [line] of transcript) {
      terminal.type(`${line}\r`);
      await until(
        `an answer to ${line}`,
        10_000,
        () => terminal.screen.endsWith('\n>') && terminal.screen.includes(line),
      );
    }
    await terminal.shows(shown);
    expect(terminal.screen).toBe(shown);
  });

  it('leaves with Ctrl-D and with QUIT, with exit code 0', async () => {
    const [node] = await fakes(1);
    const first = open(node!);
    await first.shows('>');
    first.type('\x04');
    expect(await first.exited).toBe(0);
    const second = open(node!);
    await second.shows('>');
    second.type('QUIT\r');
    expect(await second.exited).toBe(0);
    expect(second.screen).toBe('> QUIT\nOK\n');
  });

  it('drops the line that is being typed on Ctrl-C, and goes on', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    terminal.type('SET a 1');
    await terminal.shows('SET a 1 [EX s|PX ms] [NX|XX]');
    terminal.type('\x03');
    await terminal.shows('^C\n>');
    terminal.type('GET a\r');
    await terminal.shows('> GET a\n(nil)\n>');
    expect(node!.received).toEqual(['GET a']);
  });

  it('shows the lines of HELP as lines', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    node!.script = (line) => (line === 'HELP GET' ? '["GET key","Reads a key."]' : undefined);
    terminal.type('HELP GET\r');
    await terminal.shows('> HELP GET\nGET key\nReads a key.\n>');
  });

  it('stops waiting for an answer on Ctrl-C', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    node!.script = (line) => (line === 'SET a 1' ? 'silent' : undefined);
    terminal.type('SET a 1\r');
    await until('it has come', 5_000, () => node!.received.includes('SET a 1'));
    terminal.type('\x03');
    await until('it has said so', 5_000, () => terminal.screen.includes('UNKNOWN disconnected '));
    await terminal.shows('\n>');
    terminal.type('PING\r');
    await terminal.shows('> PING\nPONG\n>');
  });

  it('asks for nothing when nothing was typed', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    terminal.type('\r  \r');
    await terminal.shows('>\n>\n>');
    expect(node!.received).toEqual([]);
  });

  it('keeps the lines between runs, for their owner alone, and nothing-lines not', async () => {
    const [node] = await fakes(1);
    const history = join(folder(), 'deep', 'history');
    const first = open(node!, history);
    await first.shows('>');
    for (const line of ['SET a 1', '', 'SET a 1', 'GET a']) first.type(`${line}\r`);
    await until('all is answered', 5_000, () => first.screen.endsWith('"1"\n>'));
    first.type('\x04');
    await first.exited;
    expect(readFileSync(history, 'utf8')).toBe('SET a 1\nGET a\n');
    expect(statSync(history).mode & 0o777).toBe(0o600);
    const second = open(node!, history);
    await second.shows('>');
    second.type('\x1b[A\x1b[A\r');
    await second.shows('> SET a 1\nOK\n>');
  });

  it('completes commands with Tab and hints at their arguments', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    terminal.type('roll\t');
    await terminal.shows('> rollback');
    terminal.type('\x15');
    await terminal.shows('>');
    terminal.type('cas k');
    await terminal.shows('> cas k expected new');
    terminal.type(' a b\r');
    await terminal.shows('> cas k a b\nERR syntax unknown command\n>');
  });

  it('carries out lines that were pasted, one after the other', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    terminal.type('SET a 1\rGET a\rPING\r');
    await until('all is answered', 5_000, () => terminal.screen.endsWith('PONG\n>'));
    expect(node!.received).toEqual(['SESSION', 'SET a 1', 'GET a', 'PING']);
  });

  it('says when its node has died, that the transaction is rolled back, and goes on with another', async () => {
    const [first, second] = await fakes(2);
    const terminal = open(first!);
    await terminal.shows('>');
    terminal.type('BEGIN\r');
    await terminal.shows('> BEGIN\nOK\n>');
    terminal.type('SET a');
    await until('it is typed', 5_000, () => terminal.screen.includes('> SET a'));
    first!.kill();
    // The line that was being typed is still there, below the note.
    await until('the note', 10_000, () => /\n\(.*\)\n> SET a/s.test(terminal.screen));
    expect(terminal.screen).toContain(
      `(the connection to ${first!.address} was lost (connection reset); the open transaction was rolled back; connected to ${second!.address})`.slice(
        0,
        60,
      ),
    );
    terminal.type(' 1\r');
    await until('it is refused', 5_000, () => terminal.screen.includes('ERR aborted '));
    terminal.type('ROLLBACK\r');
    await terminal.shows('> ROLLBACK\nOK\n>');
    expect(second!.received).toEqual([]);
  });

  it('stops on Ctrl-Z, and goes on at once when the shell continues it', async () => {
    const [node] = await fakes(1);
    const terminal = new PseudoTerminal(['cli', node!.address], { DISTRIBUTED_HISTORY: '' }, undefined, true);
    terminals.push(terminal);
    await terminal.shows('\n>');
    for (const value of ['1', '2']) {
      terminal.type('\x1a');
      await terminal.shows('\n$');
      expect(terminal.screen).toMatch(/Stopped .*\n\$$/);
      terminal.type('fg\n');
      await terminal.shows('\n>');
      // Readline's own keys, which the terminal in the shell's mode would not pass on.
      terminal.type(`SET a x\x15SET a ${value}\r`);
      await terminal.shows(`> SET a ${value}\nOK\n>`);
    }
    terminal.type('\x04');
    await terminal.shows('\n$');
    terminal.type('exit\n');
    expect(await terminal.exited).toBe(0);
  });

  it('goes on when there is no shell that could continue it', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    terminal.type('\x1a');
    await terminal.shows('^Z\n>');
    terminal.type('PING\r');
    await terminal.shows('> PING\nPONG\n>');
  });

  it('knows what is typed out of habit', async () => {
    const [node] = await fakes(1);
    const terminal = open(node!);
    await terminal.shows('>');
    node!.script = (line) => (line === 'HELP' ? '["GET key"]' : undefined);
    terminal.type('?\r');
    await terminal.shows('> ?\nGET key\n>');
    terminal.type('exit\r');
    expect(await terminal.exited).toBe(0);
  });

  it('ends with exit code 1 and one line when nobody answers', async () => {
    const [node] = await fakes(1);
    node!.kill();
    const terminal = open(node!);
    expect(await terminal.exited).toBe(1);
    expect(terminal.screen).toBe(`distributed: no node answers: ${node!.address}: connection refused\n`);
  });
});
