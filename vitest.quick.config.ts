import { defineConfig } from 'vitest/config';

/** The tests that serve for every commit: no clusters of processes, nothing exhaustive, none that run for long. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/cluster/**', 'test/**/*.long.test.ts', 'test/log/crash*.test.ts', 'test/log/rot.test.ts'],
    maxWorkers: 2,
    testTimeout: 30_000,
  },
});
