import { configDefaults, defineConfig } from 'vitest/config';

/** Tests of whole programs that wait more than they work: two files at a time, after the parts. */
const programs = ['test/cli/**/*.long.test.ts'];
/** Tests that start clusters of processes, or measure time: one file at a time, after all others, so that nothing else takes the processor from them. */
const clusters = ['test/cluster/**/*.test.ts', 'test/sim/**/*.long.test.ts'];

/** Every test. */
export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...programs, ...clusters],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'programs',
          include: programs,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'clusters',
          include: clusters,
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
