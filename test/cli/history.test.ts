import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { complete, hint } from '../../src/cli/completion.js';
import { History, historyPath } from '../../src/cli/history.js';
import { temporaryFolder } from '../support/cluster.js';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
function file(): string {
  folders.push(temporaryFolder());
  return join(folders.at(-1)!, 'state', 'history');
}

describe('the history', () => {
  it('is where DISTRIBUTED_HISTORY says, else in the state folder of the user', () => {
    expect(historyPath({ DISTRIBUTED_HISTORY: '/x/y', XDG_STATE_HOME: '/s' })).toBe('/x/y');
    expect(historyPath({ DISTRIBUTED_HISTORY: '' })).toBeUndefined();
    expect(historyPath({ XDG_STATE_HOME: '/s' })).toBe('/s/distributed/history');
    expect(historyPath({ XDG_STATE_HOME: 'relative' })).toBe(join(homedir(), '.local/state/distributed/history'));
    expect(historyPath({})).toBe(join(homedir(), '.local/state/distributed/history'));
  });

  it('comes back newest first, without nothing-lines and repetitions', () => {
    const path = file();
    const history = new History(path);
    for (const line of ['a', '', '  ', 'b', 'b', 'c', 'x'.repeat(5_000)]) history.add(line);
    expect(readFileSync(path, 'utf8')).toBe('a\nb\nc\n');
    expect(new History(path).lines).toEqual(['c', 'b', 'a']);
  });

  it('is for its owner alone, also when the file was open to others', () => {
    const path = file();
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, 'a\n', { mode: 0o644 });
    new History(path).add('b');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('is cut back when it has grown', () => {
    const path = file();
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, Array.from({ length: 2_500 }, (_, i) => `line ${i}\n`).join(''));
    expect(new History(path).lines).toHaveLength(1_000);
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(1_001);
    expect(new History(path).lines[0]).toBe('line 2499');
  });

  it('does without when the file cannot be', () => {
    const path = file();
    writeFileSync(join(path, '..'), 'a file where a folder should be');
    const history = new History(path);
    history.add('a');
    expect(history.lines).toEqual([]);
  });
});

describe('completion', () => {
  it('offers commands, in the case that is typed', () => {
    expect(complete('ro')).toEqual([['rollback '], 'ro']);
    expect(complete('CO')).toEqual([['COUNT ', 'COMMIT '], 'CO']);
    expect(complete('help ro')).toEqual([['rollback '], 'ro']);
    expect(complete('')[0]).toContain('GET ');
  });

  it('offers options, and no keys', () => {
    expect(complete('SET k v N')).toEqual([['NX '], 'N']);
    expect(complete('keys user: l')).toEqual([['limit '], 'l']);
    expect(complete('GET k')).toEqual([[], 'k']);
  });
});

describe('a hint', () => {
  it.each([
    ['set', ' key value [EX s|PX ms] [NX|XX]'],
    ['set ', 'key value [EX s|PX ms] [NX|XX]'],
    ['SET a', ' value [EX s|PX ms] [NX|XX]'],
    ['SET a b ', '[EX s|PX ms] [NX|XX]'],
    ['SET a b NX', ' [EX s|PX ms]'],
    ['SET a b EX 5', ' [NX|XX]'],
    ['SET a b EX 5 nx', ''],
    ['KEYS a LIMIT', ''],
    ['KEYS', ' [prefix] [LIMIT n]'],
    ['DEL a', ' [key ...]'],
    ['PING', ''],
    ['nonsense', ''],
    ['', ''],
    ['SET "a b', ''],
  ])('for %j is %j', (line, expected) => {
    expect(hint(line)).toBe(expected);
  });
});
