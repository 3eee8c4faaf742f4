/**
 * Crash states of a long workload with snapshots, compaction and installs: of those that may be left after a crash before
 * each write, fsync, rename and unlink, a seeded sample. LOG_CRASH_STATES says how many; LOG_CRASH_SEED which.
 */
import { expect, it } from 'vitest';
import { seeded } from '../sim/seeded.js';
import { crashed, crashPoints, named } from './crash.js';

const { LOG_CRASH_STATES = '400', LOG_CRASH_SEED = '1' } = process.env;
const states = Number(LOG_CRASH_STATES);
/** States that are tried on one workload before another one is run. */
const PER_WORKLOAD = 500;

it(`${states} states after crashes of workloads of some hundred entries each recover without loss`, {
  timeout: 60_000 + states * 100,
}, async () => {
  const first = Number(LOG_CRASH_SEED);
  for (let done = 0, seed = first; done < states; seed++) {
    const { workload, points } = await crashPoints(seed, 250, true);
    const { promised } = points.at(-1)!;
    expect(promised.appended).toBeGreaterThan(80);
    expect(promised.finished).toBeGreaterThan(10);
    const random = seeded(seed);
    for (let i = 0; i < PER_WORKLOAD && done < states; i++, done++) {
      const number = Math.floor(random() * points.length);
      const point = points[number]!;
      const dice = Math.floor(random() * 2 ** 31);
      await named(`seed ${seed}, step ${number} (${point.at}), tear ${dice}`, async () => {
        await workload.check(crashed(point, 'tear', dice), point.promised);
      });
    }
  }
});
