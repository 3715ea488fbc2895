import { rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { canMakeHosts } from './hosts.js';
import { makeFolder } from './leftovers.js';
import { torture } from './torture.js';

/** A short phase of noise; whatever comes after it does so in any case, and is where it is found. */
const SECONDS = 1;
const LIMIT_MS = 500_000;

test.skipIf(!canMakeHosts())(
  'the torture fails if a server answers now and then without having written anything',
  async () => {
    const folder = makeFolder();
    try {
      const options = { seed: 1, seconds: SECONDS, folder, tell: null };
      const { problem, summary } = await torture({ ...options, mistake: 'server-forgets-writes' });
      // Whoever looks first: a client that reads, a verify, or the comparison of the images.
      expect(problem, summary).toMatch(/sector \d+|differ/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  LIMIT_MS,
);
