/**
 * The rules that matter, as tests: which folder may import which, that the deterministic parts reach the world only through
 * src/env, that views of kernel memory come from one place, what assembly/ may not hold, and what every file owes its
 * reader. Sources are read as syntax trees, so that a word in a comment or a string breaks no rule.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { transcript } from './support/transcript.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Paths of all files under a folder with one of the endings, relative to the root. */
function filesUnder(folder: string, ...endings: readonly string[]): string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const trees = new Map<string, ts.SourceFile>();
function treeOf(path: string): ts.SourceFile {
  const known = trees.get(path);
  if (known) return known;
  const tree = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true);
  trees.set(path, tree);
  return tree;
}

/** Every node of a file for which `broken` gives a reason, as `path:line reason`. */
function violations(path: string, broken: (node: ts.Node) => string | undefined): string[] {
  const tree = treeOf(path);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const reason = broken(node);
    if (reason !== undefined)
      found.push(`${path}:${tree.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${reason}`);
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}

interface Import {
  readonly path: string;
  readonly from: string;
  /** Only types: nothing is left of it at run time. */
  readonly typeOnly: boolean;
}

function importsOf(path: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Expression | undefined, typeOnly: boolean): void => {
    if (specifier && ts.isStringLiteral(specifier)) found.push({ path, from: specifier.text, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const clause = node.importClause;
      const named = clause?.namedBindings;
      const allTypes = named && ts.isNamedImports(named) && named.elements.every((element) => element.isTypeOnly);
      const typeOnly = clause?.phaseModifier === ts.SyntaxKind.TypeKeyword || (allTypes === true && !clause?.name);
      add(node.moduleSpecifier, typeOnly);
    } else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
    ts.forEachChild(node, visit);
  };
  visit(treeOf(path));
  return found;
}

const folderOf = (path: string): string => path.split('/')[1]!;
const sources = filesUnder('src', '.ts');
const imports = sources.flatMap(importsOf);

/** What each folder of src may use: itself, and these. */
const layers: Readonly<Record<string, readonly string[]>> = {
  env: [],
  protocol: [],
  kernel: ['env', 'protocol'],
  raft: [],
  log: ['kernel', 'env'],
  store: ['kernel', 'env', 'protocol'],
  transport: ['kernel', 'env', 'protocol', 'log'],
  node: ['protocol', 'transport', 'raft', 'log', 'store', 'kernel', 'env'],
  client: ['protocol'],
  sim: ['node', 'protocol', 'transport', 'raft', 'log', 'store', 'kernel', 'env'],
  bench: ['node', 'protocol', 'transport', 'raft', 'log', 'store', 'kernel', 'env', 'client'],
  cli: ['bench', 'sim', 'client', 'node', 'protocol', 'transport', 'raft', 'log', 'store', 'kernel', 'env'],
};
/** Folders that stand beside one another may know each other's types, which are their seams. */
const seams: Readonly<Record<string, readonly string[]>> = {
  log: ['raft', 'store'],
  store: ['log', 'raft'],
  transport: ['raft', 'store'],
};

describe('imports', () => {
  it('point one way', () => {
    const wrong = imports.filter(({ path, from, typeOnly }) => {
      if (!from.startsWith('.')) return false;
      const [here, there] = [folderOf(path), folderOf(relative(root, resolve(root, dirname(path), from)))];
      const allowed = [here, ...(layers[here] ?? []), ...(typeOnly ? (seams[here] ?? []) : [])];
      return !allowed.includes(there);
    });
    expect(wrong).toEqual([]);
  });

  it('know every folder', () => {
    expect([...new Set(sources.map(folderOf))].sort()).toEqual(Object.keys(layers).sort());
  });

  it('are of few packages, and of native addons never', () => {
    const packages = new Set(imports.map(({ from }) => from).filter((from) => !/^(\.|node:)/.test(from)));
    // msgpackr's main entry would load a native addon where there is one.
    expect([...packages].sort()).toEqual(['commander', 'msgpackr/pack']);
  });
});

describe('the checkers', () => {
  it('share no code with what they check', () => {
    const files = sources.filter((path) => path.startsWith('src/sim/check/'));
    expect(files.length).toBeGreaterThan(3);
    expect(files.flatMap(importsOf).filter(({ from }) => !/^\.\/[a-z]+\.js$/.test(from))).toEqual([]);
  });
});

describe('the deterministic parts', () => {
  const parts = ['raft', 'log', 'store', 'protocol', 'transport', 'node'];
  const files = sources.filter((path) => parts.includes(folderOf(path)));

  it('import nothing of the system', () => {
    // How large the heap may be is a bound that refuses work, and enters no state.
    const allowed = new Set(['src/store/js-store.ts node:v8']);
    const wrong = files
      .flatMap(importsOf)
      .filter(({ path, from }) => from.startsWith('node:') && !allowed.has(`${path} ${from}`));
    expect(wrong).toEqual([]);
  });

  it('touch no clock, timer, randomness or process', () => {
    const members = new Set(['Date.now', 'performance.now', 'Math.random', 'process.hrtime', 'crypto.getRandomValues']);
    const globals = new Set(['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'fetch', 'process']);
    const wrong = files.flatMap((path) =>
      violations(path, (node) => {
        if (ts.isPropertyAccessExpression(node) && members.has(node.getText())) return node.getText();
        if (ts.isNewExpression(node) && node.expression.getText() === 'Date') return 'new Date';
        if (!ts.isIdentifier(node) || !globals.has(node.text)) return undefined;
        const { parent } = node;
        const isName = ts.isPropertyAccessExpression(parent) || ts.isPropertyAssignment(parent);
        return isName && parent.name === node ? undefined : node.text;
      }),
    );
    expect(wrong).toEqual([]);
  });
});

describe('kernel memory', () => {
  it('is seen through views that src/kernel makes, and no others', () => {
    const wrong = sources
      .filter((path) => folderOf(path) !== 'kernel')
      .flatMap((path) =>
        violations(path, (node) => {
          if (ts.isIdentifier(node) && node.text === 'WebAssembly') return 'WebAssembly';
          const isBuffer = ts.isPropertyAccessExpression(node) && node.name.text === 'buffer';
          return isBuffer && /\bmemory$/.test(node.expression.getText()) ? node.getText() : undefined;
        }),
      );
    expect(wrong).toEqual([]);
  });

  it('is reached by src/store alone', () => {
    const users = imports.filter(
      ({ path, from }) => from.includes('/kernel/') && !['kernel', 'store'].includes(folderOf(path)),
    );
    expect(users).toEqual([]);
  });
});

describe('the kernel', () => {
  const files = filesUnder('assembly', '.ts').filter((path) => !path.endsWith('.d.ts'));

  it('has no managed object: no new, string, array or throw', () => {
    const wrong = files.flatMap((path) =>
      violations(path, (node) => {
        if (ts.isNewExpression(node)) return 'new';
        if (ts.isThrowStatement(node)) return 'throw';
        if (ts.isArrayLiteralExpression(node)) return 'an array';
        if (ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node)) return 'a template';
        if (!ts.isStringLiteral(node)) return undefined;
        const isModule = ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent);
        return isModule || ts.findAncestor(node, ts.isDecorator) ? undefined : `the string ${node.getText()}`;
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('has no data segment: another instance on the same memory would write it again', () => {
    const texts = filesUnder('build', '.wat');
    expect(texts).toContain('build/release.wat');
    for (const path of texts) expect(/^\s*\(data\b/m.test(read(path)), path).toBe(false);
  });

  it('says in each file what it is', () => {
    expect(files.filter((path) => !read(path).startsWith('/**'))).toEqual([]);
  });
});

describe('the package', () => {
  const json = (path: string) => JSON.parse(read(path)) as Record<string, Record<string, unknown>>;

  it('is ESM, and its program is what the build makes', () => {
    const { name, type, bin, scripts } = json('package.json');
    expect({ name, type, bin }).toEqual({
      name: 'distributed',
      type: 'module',
      bin: { distributed: 'dist/cli/main.js' },
    });
    expect(scripts).toMatchObject({ build: 'node scripts/build.mjs', prepack: 'node scripts/prepare.mjs' });
    for (const script of ['start', 'test', 'test:quick', 'soak', 'faults'])
      expect(scripts![`pre${script}`], script).toBe('node scripts/prepare.mjs');
  });

  it('is built by tsc and asc alone', () => {
    const tools = ['scripts/build.mjs', 'scripts/build-kernel.mjs'].flatMap((path) =>
      [...read(path).matchAll(/node_modules\/([\w@./-]+)/g)].map((match) => match[1]),
    );
    expect([...new Set(tools)].sort()).toEqual(['assemblyscript/bin/asc.js', 'typescript/bin/tsc']);
  });

  it('is checked by the strict compiler, and its kernel is compiled for shared memory without a runtime', () => {
    expect(json('tsconfig.json').compilerOptions).toMatchObject({ strict: true, noUncheckedIndexedAccess: true });
    const kernel = { runtime: 'stub', importMemory: true, sharedMemory: true };
    expect(json('asconfig.json').options).toMatchObject(kernel);
  });

  it('has a test run for CI that may be run as it is', () => {
    expect(statSync(join(root, '.ci/run')).mode & 0o111).toBe(0o111);
  });
});

describe('every file', () => {
  const code = ['src', 'assembly', 'test', 'scripts'].flatMap((folder) => filesUnder(folder, '.ts', '.mjs'));
  const texts = [...code, ...readdirSync(root).filter((name) => /\.(md|json|ts)$/.test(name)), '.ci/run'];

  it('has at most 800 lines', () => {
    expect(code.filter((path) => read(path).split('\n').length > 800)).toEqual([]);
  });

  it('waves no type through', () => {
    const banned = /@ts-(ignore|expect-error|nocheck)|biome-ignore/;
    const files = code.filter((path) => !path.startsWith('assembly/') && path !== 'test/tidy.test.ts');
    expect(files.filter((path) => banned.test(read(path)))).toEqual([]);
  });

  it('has no test that is skipped, alone or repeated', () => {
    const names = new Set(['skip', 'only', 'todo', 'fails', 'skipIf']);
    const wrong = filesUnder('test', '.ts').flatMap((path) =>
      violations(path, (node) => {
        if (ts.isPropertyAccessExpression(node) && names.has(node.name.text))
          return /^(it|test|describe)$/.test(node.expression.getText()) ? node.getText() : undefined;
        return ts.isPropertyAssignment(node) && node.name.getText() === 'retry' ? 'retry' : undefined;
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('leaves nothing for later', () => {
    const words = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);
    expect(texts.filter((path) => words.test(read(path)))).toEqual([]);
  });

  it('names no place of the machine that it was written on', () => {
    const places = ['/wo' + 'rk/', '/ro' + 'ot/', '/ho' + 'me/', 'registry.' + 'npmjs', 'deb.' + 'debian'];
    expect(texts.filter((path) => places.some((place) => read(path).includes(place)))).toEqual([]);
  });

  it('is formatted and passes the linter', { timeout: 120_000 }, async () => {
    await passes('@biomejs/biome/bin/biome', 'check', '.');
  });

  it('passes the type checker', { timeout: 180_000 }, async () => {
    for (const project of ['test', 'assembly']) {
      const incremental = ['--incremental', '--tsBuildInfoFile', `.cache/${project}.tsbuildinfo`];
      await passes('typescript/bin/tsc', '-p', project, '--noEmit', ...incremental);
    }
  });
});

/** Runs a development tool; what it says is the failure. */
async function passes(tool: string, ...args: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)(process.execPath, [join(root, 'node_modules', tool), ...args], { cwd: root });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    expect.fail(`${tool}: ${stdout}${stderr}`);
  }
}

/** Titles of the tests and groups in a file, as the source has them: literals that are the first argument of a call of `it` and the like. */
function titlesOf(path: string): Set<string> {
  const titles = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && /^(it|test|describe)\b/.test(node.expression.getText())) {
      const [title] = node.arguments;
      if (title && (ts.isStringLiteral(title) || ts.isTemplateLiteral(title))) titles.add(title.getText().slice(1, -1));
    }
    ts.forEachChild(node, visit);
  };
  visit(treeOf(path));
  return titles;
}

describe('the reader', () => {
  /** Where to begin in each folder. */
  const mains: Readonly<Record<string, string>> = {
    node: 'node',
    protocol: 'commands',
    bench: 'bench',
    cli: 'main',
  };

  it.each(Object.keys(layers))('finds an essay at the top of the main file of src/%s', (folder) => {
    const text = read(`src/${folder}/${mains[folder] ?? folder}.ts`).replace(/^#!.*\n/, '');
    const essay = /^\/\*\*([\s\S]*?)\*\//.exec(text)?.[1] ?? '';
    expect(essay.split('\n').length).toBeGreaterThanOrEqual(6);
  });

  const architecture = read('ARCHITECTURE.md');

  it('finds every file that ARCHITECTURE.md names', () => {
    const paths = [...architecture.matchAll(/`((?:src|test|assembly|scripts|build)\/[^`*]*)`/g)].map(
      (match) => match[1]!,
    );
    expect(paths.length).toBeGreaterThan(10);
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  /** Rows of the table of tests: file and name of a test, which may be empty. */
  const chapter = /\n## Part, and the tests that hold it\n([\s\S]*?)\n## /.exec(architecture)?.[1] ?? '';
  const held = [...chapter.matchAll(/^\| .*\| `([^`]+)` \| (.*?) ?\|$/gm)].map(([, file, name]) => ({
    file: file!,
    name: name!,
  }));

  it('finds every test that the table of ARCHITECTURE.md names', () => {
    expect(held.length).toBe(chapter.match(/^\| .*`/gm)?.length);
    expect(held.map(({ file }) => file).filter((file) => !existsSync(join(root, file)))).toEqual([]);
    const lost = held.filter(({ file, name }) => name !== '' && !titlesOf(file).has(name));
    expect(lost).toEqual([]);
  });

  it('finds every file of tests in the table of ARCHITECTURE.md', () => {
    const files = filesUnder('test', '.ts').filter((path) => /\.test\.ts$|\/contract-[^/]*\.ts$/.test(path));
    expect(files.filter((path) => !held.some(({ file }) => file === path))).toEqual([]);
  });

  it('finds in the README the two commands, the transcript that tests hold, and each chapter', () => {
    const readme = read('README.md');
    for (const command of ['npm start', 'npm test']) expect(readme).toContain(`\n\`\`\`\n${command}\n\`\`\`\n`);
    const shown = transcript.map(([command, reply]) => `> ${command}\n${reply}\n`).join('');
    expect(readme).toContain(`\n\`\`\`\n${shown}\`\`\`\n`);
    for (const chapter of [
      'Start',
      'Test',
      'What it promises',
      'Run your own cluster',
      'Commands',
      'Benchmarks',
      'Licence',
    ])
      expect(readme).toContain(`\n## ${chapter}\n`);
    expect(read('LICENSE')).toContain('Apache License');
  });

  it('finds in the README the table of commands as the program has it', async () => {
    const { commands, signature } = await import('../src/protocol/commands.js');
    const readme = read('README.md');
    const cell = (text: string) => text.replaceAll('|', '\\|');
    const row = (command: (typeof commands)[number]) =>
      `| \`${cell(signature(command))}\` | ${cell(command.summary)} | ${cell(command.replies)} |`;
    const rows = readme.split('\n');
    expect(commands.map(row).filter((line) => !rows.includes(line))).toEqual([]);
    expect(readme.match(/^\| `[A-Z]+[^`]*` \|/gm)).toHaveLength(commands.length);
  });

  it('finds in the README every flag of a node with its environment variable', async () => {
    const readme = read('README.md');
    const program = read('src/cli/program.ts');
    const flags = [...program.matchAll(/flag\(\s*'--([a-z-]+)/g)].map((match) => match[1]!);
    expect(flags.length).toBeGreaterThan(12);
    const variable = (flag: string) => `DISTRIBUTED_${flag.replaceAll('-', '_').toUpperCase()}`;
    const rows = readme.split('\n').filter((line) => line.startsWith('| `--'));
    const untold = flags.filter(
      (flag) => !rows.some((row) => row.startsWith(`| \`--${flag}`) && row.includes(`\`${variable(flag)}\``)),
    );
    expect(untold).toEqual([]);
  });
});
