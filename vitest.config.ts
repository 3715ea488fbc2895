import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    globalSetup: ['test/support/run-dir.ts'],
    include: ['test/**/*.test.ts'],
    // Real processes start other Node programs; on a small machine that takes seconds, never minutes.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
});
