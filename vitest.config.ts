import { configDefaults, defineConfig } from 'vitest/config';

/** Tests that start real processes, or measure time: one file at a time, after all others, so that nothing else takes the processor from them. */
const processes = ['test/cluster/**/*.test.ts', 'test/cli/**/*.long.test.ts', 'test/sim/**/*.long.test.ts'];

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
          exclude: [...configDefaults.exclude, ...processes],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'processes',
          include: processes,
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
