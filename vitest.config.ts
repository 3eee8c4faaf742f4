import { defineConfig } from 'vitest/config';

/** Every test. Whole-cluster tests start real processes from dist/, so at most two files run at a time. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
