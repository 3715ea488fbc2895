import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/run-dir.ts', 'test/torture/beside.ts'],
    // Only against hangs: longer than the longest wait of a test, so that what it waited for is told.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
  },
});
