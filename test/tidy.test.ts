import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { commands, signature } from '../src/protocol/commands.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');

function filesUnder(folder: string): string[] {
  return readdirSync(join(root, folder)).flatMap((name) => {
    const path = `${folder}/${name}`;
    return statSync(join(root, path)).isDirectory() ? filesUnder(path) : [path];
  });
}

const sources = filesUnder('src').filter((path) => path.endsWith('.ts'));
const kernel = filesUnder('assembly').filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
const tests = filesUnder('test').filter((path) => path.endsWith('.ts'));
const folderOf = (path: string) => path.split('/')[1]!;

/** Without comments, and without what stands in strings: words in them are not code. */
function code(path: string): string {
  return read(path)
    .replace(/\/\*[\s\S]*?\*\//g, ' ')
    .replace(/(^|\s)\/\/.*$/gm, ' ');
}

/** Lines of all `files` that match. */
function find(files: readonly string[], pattern: RegExp): string[] {
  return files.flatMap((path) =>
    code(path)
      .split('\n')
      .filter((line) => pattern.test(line))
      .map((line) => `${path}: ${line.trim()}`),
  );
}

/** Which folders of src each may import from; every one may import from itself. */
const mayImport: Record<string, readonly string[]> = {
  env: [],
  kernel: [],
  raft: [],
  protocol: [],
  log: ['env', 'raft'],
  store: ['kernel', 'protocol', 'log'],
  transport: ['env', 'protocol', 'raft', 'log'],
  node: ['env', 'kernel', 'raft', 'log', 'store', 'transport', 'protocol'],
  sim: ['env', 'kernel', 'raft', 'log', 'store', 'transport', 'protocol', 'node'],
  bench: ['env', 'kernel', 'raft', 'log', 'store', 'transport', 'protocol', 'node', 'client'],
  client: ['protocol'],
  cli: ['env', 'bench', 'sim', 'client', 'node', 'protocol'],
};

/** They reach the outside through src/env alone, so that a simulated world can stand in for it. */
const deterministic = sources.filter((path) =>
  ['raft', 'log', 'store', 'protocol', 'transport', 'node'].includes(folderOf(path)),
);

describe('the folders of src', () => {
  it('import each other in one direction only', () => {
    const wrong = sources.flatMap((path) =>
      [...read(path).matchAll(/(?:from|import\()\s*'\.\.\/([a-z]+)\//g)]
        .map((match) => match[1]!)
        .filter((folder) => !mayImport[folderOf(path)]?.includes(folder))
        .map((folder) => `${path} imports from ${folder}`),
    );
    expect(wrong).toEqual([]);
  });

  it('each open their main file with an essay on the concept', () => {
    const main: Record<string, string> = {
      env: 'env.ts',
      kernel: 'kernel.ts',
      raft: 'raft.ts',
      log: 'log.ts',
      store: 'store.ts',
      transport: 'transport.ts',
      protocol: 'commands.ts',
      node: 'node.ts',
      sim: 'world.ts',
    };
    for (const [folder, file] of Object.entries(main)) {
      const path = `src/${folder}/${file}`;
      expect(read(path).startsWith('/**\n'), path).toBe(true);
      expect(/^\/\*\*[\s\S]*?\*\//.exec(read(path))![0].length, path).toBeGreaterThan(250);
    }
  });
});

describe('the deterministic parts', () => {
  it('touch no clock, timer or randomness but those of src/env', () => {
    const outside =
      /\b(Date\.now|new Date\b|performance\.|Math\.random|setTimeout|setInterval|setImmediate|process\.hrtime|randomUUID|randomBytes|queueMicrotask)/;
    expect(find(deterministic, outside)).toEqual([]);
  });

  it('open no socket and no file but through src/env', () => {
    expect(find(deterministic, /from 'node:(?!v8')/)).toEqual([]);
  });
});

describe('the kernel', () => {
  it('is loaded, and its memory viewed, in src/kernel alone', () => {
    const others = sources.filter((path) => folderOf(path) !== 'kernel');
    expect(find(others, /\bWebAssembly\.|memory\.buffer/)).toEqual([]);
  });

  it('makes no managed object: no new, no string, no array, no throw', () => {
    const strings = /^(?!.*\b(import|export)\b.*\bfrom\b)(?!\s*@external|\s*\} from).*(["'`])/;
    const managed = [...find(kernel, /\bnew\s+[A-Z]|\bthrow\b|=\s*\[/), ...find(kernel, strings)];
    expect(managed).toEqual([]);
  });

  it('has no data segment, which a second instance would write over the state', () => {
    for (const name of readdirSync(join(root, 'build')).filter((file) => file.endsWith('.wat')))
      expect(/^\s*\(data\b/m.test(read(`build/${name}`)), name).toBe(false);
  });
});

describe('files', () => {
  it('stay under 800 lines', () => {
    const long = [...sources, ...kernel, ...tests].filter((path) => read(path).split('\n').length > 800);
    expect(long).toEqual([]);
  });

  it('hold no test that is skipped, repeated or run alone', () => {
    expect(find(tests, /\b(it|test|describe)\.(skip|only|todo|fails)\b|\bretry:\s*[1-9]/)).toEqual([]);
  });

  it('wave no type through', () => {
    const all = [...sources, ...tests].filter((path) => path !== 'test/tidy.test.ts');
    expect(find(all, /\bas any\b|\w\??: any\b/)).toEqual([]);
    expect(all.filter((path) => /@ts-(ignore|expect-error|nocheck)|biome-ignore/.test(read(path)))).toEqual([]);
  });

  it('are formatted and linted', () => {
    execFileSync(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'check', '.'], {
      cwd: root,
      stdio: 'pipe',
    });
  });

  it.each(['test', 'assembly'])('have sound types (%s)', (project) => {
    execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', project, '--noEmit'], {
      cwd: root,
      stdio: 'pipe',
    });
  });
});

describe('the documents', () => {
  it('name each command as the command table does', () => {
    const cell = (text: string) => text.replaceAll('|', '\\|');
    const rows = commands.map((c) => `| \`${cell(signature(c))}\` | ${cell(c.summary)} | ${cell(c.replies)} |`);
    for (const row of rows) expect(read('README.md')).toContain(row);
  });

  it('name tests that exist', () => {
    const named = [...read('ARCHITECTURE.md').matchAll(/`(test\/[a-z/.*-]+)`/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(20);
    for (const path of named) expect(existsSync(join(root, path)), path).toBe(true);
  });
});
