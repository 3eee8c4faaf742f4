import { expect, it } from 'vitest';
import { main } from '../../src/sim/run/main.js';

it.each([
  ['--help', 0, /^npm run sim -- \[flags\]\n[\s\S]*--seeds A-B/],
  ['--frob', 2, /^sim: Unknown option '--frob'; npm run sim -- --help lists the flags$/],
  ['--seeds abc', 2, /^sim: --seeds must be a number, not abc; npm/],
  ['--seeds=', 2, /^sim: --seeds must be a number, not nothing; npm/],
  ['--store disk', 2, /^sim: --store is js or wasm, not disk; npm/],
  ['--seconds 0', 2, /^sim: no seed was run; npm/],
])('the simulation by hand, with %s: %i, and says what is right', async (args, code, text) => {
  const lines: string[] = [];
  expect(await main(args.split(' '), (line) => lines.push(line))).toBe(code);
  expect(lines.join('\n')).toMatch(text);
});
