import { constants, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { realDisk } from '../../src/env/real-disk.js';
import { openFlags } from '../env/fdinfo.js';
import { contents, entry, open, persist, told } from './helper.js';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'log-')));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('A log on real files', () => {
  it.runIf(process.platform === 'linux')('writes segments and votes through descriptors with O_DSYNC', async () => {
    const directory = join(root, 'flags');
    const log = await open(realDisk(), { directory, segmentBytes: 65_536 });
    await persist(log, [entry(1)]);
    for (const name of ['vote-1', 'vote-2', 'wal-0000000001-0000000001.seg']) {
      const flags = openFlags(join(directory, name));
      expect([name, ...flags.map((each) => each & constants.O_DSYNC)]).toEqual([name, constants.O_DSYNC]);
    }
    for (let index = 2; index <= 10; index++) await persist(log, [entry(index, 1, 20_000)]);
    const third = openFlags(join(directory, 'wal-0000000001-0000000003.seg'));
    expect(third.map((each) => each & constants.O_DSYNC)).toEqual([constants.O_DSYNC]);
    await log.close();
    expect(openFlags(join(directory, 'vote-1'))).toEqual([]);
  });

  it('keeps everything over restarts, with segments of the default size and small ones', async () => {
    const directory = join(root, 'restarts');
    const entries = Array.from({ length: 60 }, (_, i) => entry(i + 1, 1, 3000));
    for (let start = 0; start < 3; start++) {
      const options = start === 0 ? { segmentBytes: undefined } : { segmentBytes: 32_768 };
      const log = await open(realDisk(), { directory, ...options });
      expect(contents(log)).toEqual(entries.slice(0, start * 20).map(told));
      for (const each of entries.slice(start * 20, start * 20 + 20)) await persist(log, [each]);
      log.saveVote({ term: start + 1, vote: 1, starts: start + 1 });
      await log.close();
    }
    const log = await open(realDisk(), { directory, cacheBytes: 0 });
    expect(contents(log)).toEqual(entries.map(told));
    expect(log.vote).toEqual({ term: 3, vote: 1, starts: 3 });
    await log.close();
  });

  it('refuses a folder that is open, without harm to who has it', async () => {
    const directory = join(root, 'locked');
    const log = await open(realDisk(), { directory });
    await expect(open(realDisk(), { directory })).rejects.toMatchObject({ code: 'locked' });
    await persist(log, [entry(1)]);
    await log.close();
    const again = await open(realDisk(), { directory });
    expect(again.lastIndex()).toBe(1);
    await again.close();
  });
});
