import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/run-dir.ts', 'test/torture/beside.ts'],
    // Real processes start other Node programs; on a small machine that takes seconds, never minutes.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
});
