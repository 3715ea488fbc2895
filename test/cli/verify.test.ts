import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verifyLines } from '../../src/cli/commands/verify.js';
import { askMirror } from '../../src/control/control-client.js';
import type { MirrorStatus } from '../../src/control/status.js';
import type { VerifyStatus } from '../../src/control/verify-status.js';
import { systemClock } from '../../src/device/clock.js';
import { createImage } from '../../src/device/file-device.js';
import { runCli, type CliResult } from '../support/cli.js';
import { keepDaemonLogs, type DaemonLogs } from '../support/fake-logger.js';
import { connectOnce, freePort } from '../support/ports.js';
import { isAlive, killFamily, startOwn, type Running } from '../support/processes.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { PATIENCE_MS, until } from '../support/until.js';

const MIB = 1_048_576;
const REGION = 65_536;

describe('what verify prints', () => {
  const found = {
    name: 'b.img',
    differentBytes: 2 * REGION,
    repairedBytes: 0,
    unreadableBytes: 0,
    firstOffsetsBytes: [0, 5 * REGION],
  };
  const equal = { ...found, name: 'a.img', differentBytes: 0, firstOffsetsBytes: [] };
  const status = (fields: Partial<VerifyStatus>): VerifyStatus => ({
    state: 'complete',
    source: 'a.img',
    isRepairing: false,
    why: null,
    percent: 100,
    copiedBytes: 16 * MIB,
    totalBytes: 16 * MIB,
    leftBytes: 0,
    rateBytesPerSecond: null,
    leftSeconds: null,
    components: [equal],
    ...fields,
  });

  test('names who is the same', () => {
    expect(verifyLines(status({ components: [equal, { ...equal, name: 'c.img' }] }))).toEqual([
      'c.img: the same as a.img',
    ]);
  });

  test('says where and how much differs, and what becomes of it', () => {
    expect(verifyLines(status({ components: [equal, found] }))).toEqual([
      'b.img: differs from a.img in 2 regions of 64 KiB, at byte 0, 327680',
      "b.img: what differs is marked; the next resync, or 'verify --repair', copies it from a.img",
    ]);
  });

  test('says which side was overwritten', () => {
    const repaired = { ...found, repairedBytes: 2 * REGION };
    expect(verifyLines(status({ components: [equal, repaired] })).at(-1)).toBe(
      'b.img: 128 KiB overwritten with what a.img has',
    );
  });
});

describe('ggmirror verify', () => {
  let scratch: Scratch;
  let local: string;
  let backup: string;
  let uri: string;
  let server: Running;
  let daemon: number;
  let logs: DaemonLogs;

  const run = (...words: readonly string[]): Promise<CliResult> =>
    runCli(words, { ...logs.environment, GGMIRROR_RUN_DIR: scratch.path('run') });

  async function succeed(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await run(...words);
    if (code !== 0) throw new Error(`ggmirror ${words.join(' ')}: ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  const status = async (): Promise<MirrorStatus> => {
    const asking = { clock: systemClock, timeoutMs: PATIENCE_MS };
    return (await askMirror(scratch.path('run/data.ctl'), { command: 'status' }, asking)) as MirrorStatus;
  };

  /** As a failing disk does it: behind everybody's back. */
  function spoil(image: string, offsetBytes: number): void {
    const fd = openSync(image, 'r+');
    writeSync(fd, randomBytes(512), 0, 512, offsetBytes);
    closeSync(fd);
  }

  function bytesAt(image: string, offsetBytes: number): Buffer {
    const bytes = Buffer.alloc(512);
    const fd = openSync(image, 'r');
    readSync(fd, bytes, 0, 512, offsetBytes);
    closeSync(fd);
    return bytes;
  }

  beforeEach(async () => {
    scratch = makeScratch();
    logs = keepDaemonLogs(scratch);
    [local, backup] = [scratch.path('local.img'), scratch.path('backup.img')];
    await createImage(local, 32 * MIB);
    await createImage(backup, 32 * MIB);
    const port = await freePort();
    uri = `ggate://127.0.0.1:${port}${backup}`;
    server = startOwn('ggmirror', ['serve', '--port', String(port), backup]);
    await until('the backup server', () => connectOnce(port));
    await succeed('label', '-b', 'prefer', 'data', local, uri);
    await succeed('start', 'data', local, uri, '--resync-rate', '64M');
    daemon = (await status()).pid;
  });

  afterEach(async () => {
    if (isAlive(daemon)) await killFamily(daemon);
    await server.stop();
    logs.keep();
    scratch.remove();
  });

  test('finds what differs, repairs it when it is told to, and then finds nothing', async () => {
    expect(await run('verify', 'data')).toMatchObject({ code: 0, stdout: `${uri}: the same as ${local}\n` });
    spoil(backup, 5 * MIB);
    const found = await run('verify', 'data', '--json');
    expect(found.code).toBe(1);
    const result = JSON.parse(found.stdout) as VerifyStatus;
    expect(result).toMatchObject({ state: 'complete', source: local, percent: 100 });
    expect(result.components.find(({ name }) => name === uri)).toMatchObject({
      differentBytes: REGION,
      firstOffsetsBytes: [5 * MIB],
    });
    const shown = (await status()).components.find(({ name }) => name === uri);
    expect(shown).toMatchObject({ state: 'ACTIVE', markedBytes: REGION });
    const repaired = await run('verify', 'data', '--repair');
    expect(repaired.code).toBe(1);
    expect(repaired.stderr).toContain(`what differs in ${uri} is overwritten with what ${local} has`);
    expect(repaired.stdout).toContain(`64 KiB overwritten with what ${local} has`);
    expect(bytesAt(backup, 5 * MIB).equals(bytesAt(local, 5 * MIB))).toBe(true);
    expect(await run('verify', 'data')).toMatchObject({ code: 0 });
  });

  test('can be stopped by somebody else, and says what can not be', async () => {
    const unknown = await run('verify', 'data', '--stop');
    expect(unknown).toMatchObject({ code: 1, stderr: 'ggmirror: mirror/data is not being verified\n' });
    expect(await run('verify', 'data', '--resume')).toMatchObject({ code: 1 });
    expect(await run('verify', 'data', '--stop', '--repair')).toMatchObject({ code: 2 });
    await server.stop();
    await until('the backup to be missed', async () => {
      await run('verify', 'data');
      return (await status()).state === 'DEGRADED';
    });
    const alone = await run('verify', 'data');
    expect(alone.code).toBe(1);
    expect(alone.stderr).toContain(`only ${local} is in step`);
  });
});
