import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
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
  test('survives the kill of its server, verifies, explains itself and cleans up', async () => {
    const { code, stdout, stderr } = await runCli(['demo'], environment);
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('reconnecting') as string,
    });
    for (const step of ['1.', '2.', '3.', '4.', '5.']) expect(stdout).toContain(`\n${step} `);
    expect(stdout).toMatch(/They are identical/);
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
    const killedAtBytes = Number(result['killedAtBytes']);
    expect(killedAtBytes).toBeGreaterThan(16_777_216);
    expect(killedAtBytes).toBeLessThan(33_554_432);
    expect(existsSync(join(result.folder, 'backup.img'))).toBe(true);
    rmSync(result.folder, { recursive: true });
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing behind after %s', async (signal) => {
    const run = startCli(['demo'], environment);
    await until('the copy’s first trouble', () => run.stderr().includes('reconnecting'));
    const family = familyOf(run.pid);
    run.signal(signal);
    const { code, stderr } = await run.ended;
    expect(code).toBe(signal === 'SIGINT' ? 130 : 143);
    expect(stderr).toMatch(/^ggmirror: interrupted/m);
    await untilGone(family);
    expect(readdirSync(scratch.folder)).toEqual([]);
  });
});
