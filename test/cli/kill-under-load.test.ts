import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { killFamily, startOwn } from '../support/processes.js';
import { makeScratch } from '../support/scratch.js';
import { connectOnce, freePort } from '../support/ports.js';
import { until } from '../support/until.js';

interface LoadResult {
  readonly errors: number;
  readonly mismatches: number;
  readonly firstError: string | null;
}

test('a verified load survives kill -9 of the server: nothing that was acknowledged is lost or old', async () => {
  const scratch = makeScratch();
  const image = scratch.path('disk.img');
  const file = openSync(image, 'w');
  ftruncateSync(file, 32 * 1_048_576);
  closeSync(file);
  const port = await freePort();
  const serve = async () => {
    const server = startOwn('ggmirror', ['serve', '-p', String(port), image]);
    await until('the server', () => connectOnce(port));
    return server;
  };
  let server = await serve();
  try {
    const words = ['bench', '-V', '-m', 'mix', '-q', '16', '-t', '6', '-F', '500', '--force', '--json'];
    const load = startOwn('ggmirror', [...words, `ggate://127.0.0.1:${port}${image}`]);
    const hasEnded = (): boolean => load.child.exitCode !== null;
    let kills = 0;
    for (; kills < 3; kills++) {
      // A slow machine may have no time for all of them while the load runs.
      await until('an attached client', () => /attached/.test(server.output()) || hasEnded());
      if (hasEnded()) break;
      // Its session processes go with it, as they would with the host's power.
      await killFamily(server.pid);
      server = await serve();
    }
    const status = await load.ended;
    expect(kills).toBeGreaterThan(0);
    const text = load.output();
    const result = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as LoadResult;
    expect(result.mismatches, text).toBe(0);
    expect(status).toBe(result.errors > 0 ? 1 : 0);
    // Of a flush that was under way when its process was killed nobody knows whether it failed: the next one does.
    expect(result.errors).toBeLessThanOrEqual(kills);
    if (result.errors > 0) expect(result.firstError).toMatch(/answers flush of 0 bytes at \d+ with EIO/);
  } finally {
    await server.stop();
    scratch.remove();
  }
});
