import { describe, expect, it } from 'vitest';
import { connectionLimit } from '../../src/cli/descriptors.js';

const limits = (soft: string) =>
  `Limit            Soft Limit  Hard Limit  Units\nMax open files   ${soft}   1048576   files\n`;

describe('the bound on connections', () => {
  it('leaves descriptors for the files of the node', () => {
    expect(connectionLimit(limits('1024'))).toBe(960);
    expect(connectionLimit(limits('64'))).toBe(1);
  });

  it('is the default where there are plenty, or nothing is known', () => {
    for (const text of [limits('1048576'), limits('unlimited'), '']) expect(connectionLimit(text)).toBe(10_000);
  });
});
