import { defineConfig } from 'vitest/config';

/** The tests that serve for every commit: no clusters of processes, nothing exhaustive, smaller sizes where a test says so. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      'test/cluster/**',
      'test/**/*.long.test.ts',
      'test/log/crash*.test.ts',
      'test/log/rot.test.ts',
      'test/log/flips.test.ts',
      'test/raft/simulation.test.ts',
      'test/log/repair.test.ts',
      'test/store/wasm-memory.test.ts',
      'test/store/wasm-room.test.ts',
      'test/kernel/compact.test.ts',
      'test/node/exactly-once.test.ts',
      'test/protocol/fuzz.test.ts',
    ],
    // One more than processors on a small machine: tests of terminals and sockets wait more than they work.
    maxWorkers: 3,
    // Test files share modules, so that these are loaded once for each worker.
    isolate: false,
    env: { TEST_SIZES: 'quick' },
    // What was compiled before is not compiled again.
    experimental: { fsModuleCache: true, fsModuleCachePath: '.cache/vitest' },
    testTimeout: 30_000,
  },
});
