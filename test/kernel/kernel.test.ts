import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { INITIAL_PAGES, KernelError, loadKernel, MAXIMUM_PAGES } from '../../src/kernel/kernel.js';
import { builds, set, TestKernel } from './support.js';

const root = new URL('../../', import.meta.url);
const text = (path: string) => readFileSync(new URL(path, root), 'utf8');
const seed = new Uint8Array(16);

test.each([
  'debug',
  'release',
  'test-debug',
  'test-release',
])('the %s module has no data segment, and imports memory and fail alone', (build) => {
  const wat = text(`build/${build}.wat`);
  expect(wat).not.toMatch(/^\s*\(data\b/m);
  const imports = [...wat.matchAll(/^\s*\(import "(\w+)" "(\w+)"/gm)].map((match) => `${match[1]}.${match[2]}`);
  expect(imports.sort()).toEqual(['env.fail', 'env.memory']);
});

test('no Wasm global holds state: all are constants', () => {
  for (const build of ['debug', 'release']) {
    for (const [line] of text(`build/${build}.wat`).matchAll(/^\s*\(global .*$/gm)) {
      // The compiler's own, for managed objects, which there are none of.
      if (!line.includes('~lib/')) expect(line).not.toMatch(/\(mut /);
    }
  }
});

test('the memory that the loader makes is the one that was compiled for', () => {
  const { options } = JSON.parse(text('asconfig.json')) as {
    options: { initialMemory: number; maximumMemory: number };
  };
  expect([options.initialMemory, options.maximumMemory]).toEqual([INITIAL_PAGES, MAXIMUM_PAGES]);
});

test('a failed check arrives as an error that names it', () => {
  const kernel = loadKernel({ seed });
  expect(() => kernel.exports.stageRoom!(0)).toThrow(KernelError);
  expect(() => kernel.exports.stageRoom!(0)).toThrow(
    'kernel check 9 failed: a record was staged where there is no room for it',
  );
});

test('a seed of the wrong length and a constant that does not exist are refused', () => {
  expect(() => loadKernel({ seed: new Uint8Array(15) })).toThrow(/a seed has 16 bytes, not 15/);
  expect(() => loadKernel({ seed }).constant('NOTHING')).toThrow(/exports no constant NOTHING/);
});

describe.each(builds)('the loader of the %s kernel', (build) => {
  test('views follow the memory when it grows', () => {
    const kernel = new TestKernel(build);
    const before = kernel.kernel.u8;
    const value = 'x'.repeat(900_000);
    for (let i = 0; i < 12; i++) expect(kernel.run(set(`key ${i}`, value)).outcome).toBe(0);
    const after = kernel.kernel.u8;
    expect(after.length).toBeGreaterThan(before.length);
    expect(kernel.kernel.u32.length * 4).toBe(after.length);
    expect(kernel.kernel.f64.length * 8).toBe(after.length);
    for (let i = 0; i < 12; i++) expect(kernel.getCurrent(`key ${i}`)).toBe(value);
  });

  test('two kernels share nothing', () => {
    const [a, b] = [new TestKernel(build), new TestKernel(build)];
    a.run(set('k', 'a'));
    b.run(set('k', 'b'));
    expect([a.getCurrent('k'), b.getCurrent('k')]).toEqual(['a', 'b']);
  });
});
