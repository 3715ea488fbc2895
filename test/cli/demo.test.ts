import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ResyncSteps } from '../../src/cli/demo/mirror-story.js';
import { runCli, startCli } from '../support/cli.js';
import { familyOf, untilGone } from '../support/processes.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

let scratch: Scratch;
let environment: Record<string, string>;
beforeEach(() => {
  scratch = makeScratch();
  environment = { TMPDIR: scratch.folder, XDG_STATE_HOME: scratch.path('state') };
});
afterEach(() => scratch.remove());

describe('ggmirror demo', () => {
  test('survives the kill of its servers, shows a mirror that resyncs, explains itself and cleans up', async () => {
    const { code, stdout, stderr } = await runCli(['demo'], environment);
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('reconnecting') as string,
    });
    for (let step = 1; step <= 12; step++) expect(stdout).toContain(`\n${step}. `);
    expect(stdout.match(/They are identical/g)).toHaveLength(2);
    const states = [...stdout.matchAll(/mirror\/demo +(COMPLETE|DEGRADED) /g)].map(([, state]) => state);
    expect(states).toEqual(['COMPLETE', 'DEGRADED', 'COMPLETE']);
    expect(stdout).toMatch(/secondary\.img \(DISCONNECTED\)/);
    expect(stdout).toMatch(/Of 63\.9 MiB that the mirror keeps, .* were sent/);
    expect(readdirSync(scratch.folder)).toEqual([]);
  });

  test('tells its result as JSON, and keeps its folder when it is asked to', async () => {
    const { code, stdout } = await runCli(['demo', '--json', '--keep'], environment);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as Record<string, unknown> & { folder: string };
    expect(result).toMatchObject({
      backupSha256: result['sourceSha256'],
      copy: { reconnects: 1, isDurable: true, zeroedBytes: 16_777_216 },
    });
    const mirror = result['mirror'] as Record<string, number | string>;
    expect(mirror['secondarySha256']).toBe(mirror['primarySha256']);
    // What was written while the backup was away, and hardly more.
    expect(mirror['resyncedBytes']).toBeGreaterThan(0);
    expect(mirror['resyncedBytes']).toBeLessThanOrEqual(8_388_608);
    const killedAtBytes = Number(result['killedAtBytes']);
    expect(killedAtBytes).toBeGreaterThan(16_777_216);
    expect(killedAtBytes).toBeLessThan(33_554_432);
    expect(existsSync(join(result.folder, 'backup.img'))).toBe(true);
    rmSync(result.folder, { recursive: true });
  });

  test.each([
    { signal: 'SIGINT', when: 'while it copies', stream: 'stderr', sign: 'reconnecting', status: 130 },
    { signal: 'SIGTERM', when: 'while its mirror runs', stream: 'stdout', sign: '\n9. ', status: 143 },
  ] as const)('leaves nothing behind after $signal $when', async ({ signal, stream, sign, status }) => {
    const run = startCli(['demo'], environment);
    await until(
      'the place in the story',
      () => run[stream]().includes(sign) || !run.expectRunning(),
      200_000,
    );
    const family = familyOf(run.pid);
    run.signal(signal);
    const { code, stderr } = await run.ended;
    expect(code).toBe(status);
    expect(stderr).toMatch(/^ggmirror: interrupted/m);
    await untilGone(family);
    expect(readdirSync(scratch.folder)).toEqual([]);
  });
});

test('the demo tells of a resync when it has begun, and whenever it is a fifth further', () => {
  const steps = new ResyncSteps();
  const seen = [0, 3, 19, 20, 41, 59, 60, 99].flatMap((percent) =>
    steps.linesOf({
      percent,
      copiedBytes: percent * 1024,
      totalBytes: 102_400,
      leftBytes: 0,
      rateBytesPerSecond: null,
      leftSeconds: null,
    }),
  );
  expect(seen).toEqual([
    'SYNCHRONIZING, 0 %: 0 B of 100 KiB',
    'SYNCHRONIZING, 20 %: 20 KiB of 100 KiB',
    'SYNCHRONIZING, 41 %: 41 KiB of 100 KiB',
    'SYNCHRONIZING, 99 %: 99 KiB of 100 KiB',
  ]);
});
