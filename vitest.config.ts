import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/run-dir.ts', 'test/torture/beside.ts'],
    // Only against hangs: longer than the longest wait of a test, so that what it waited for is told.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
    // Who tests real processes mostly waits: two files at once are no more than two processors have time for.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
});
