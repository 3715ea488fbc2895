import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  mkdirSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { askMirror } from '../../src/control/control-client.js';
import { createProgram } from '../../src/cli/program.js';
import type { ComponentStatus, MirrorStatus } from '../../src/control/status.js';
import { systemClock } from '../../src/device/clock.js';
import { createImage } from '../../src/device/file-device.js';
import { runCli, type CliResult } from '../support/cli.js';
import { keepDaemonLogs, type DaemonLogs } from '../support/fake-logger.js';
import { NbdClient } from '../support/nbd-client.js';
import { connectOnce, freePort } from '../support/ports.js';
import { pauseFamily, isAlive, killFamily, startOwn, untilGone, type Running } from '../support/processes.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { haveTools, runTool } from '../support/tools.js';
import { PATIENCE_MS, until } from '../support/until.js';

const MIB = 1_048_576;
const IMAGE_BYTES = 32 * MIB;
const NAME = 'data';

let scratch: Scratch;
let local: string;
let backup: string;
let port: number;
let uri: string;
let server: Running | null;
/** Of the mirrors that were started in the background. */
let daemons: number[];
let logs: DaemonLogs;

beforeEach(async () => {
  scratch = makeScratch();
  logs = keepDaemonLogs(scratch);
  [local, backup] = [scratch.path('local.img'), scratch.path('backup.img')];
  await createImage(local, IMAGE_BYTES);
  await createImage(backup, IMAGE_BYTES);
  port = await freePort();
  uri = `ggate://127.0.0.1:${port}${backup}`;
  server = null;
  daemons = [];
});

afterEach(async () => {
  for (const pid of daemons) if (isAlive(pid)) await killFamily(pid);
  await server?.stop();
  logs.keep();
  scratch.remove();
});

const run = (...words: readonly string[]): Promise<CliResult> =>
  runCli(words, { ...logs.environment, GGMIRROR_RUN_DIR: scratch.path('run') });

async function succeed(...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...words);
  if (code !== 0) throw new Error(`ggmirror ${words.join(' ')}: ${code}: ${stderr}${stdout}`);
  return stdout;
}

async function serveBackup(): Promise<void> {
  server = startOwn('ggmirror', ['serve', '--port', String(port), backup]);
  await until('the backup server', () => connectOnce(port));
}

/** As if the backup's host had lost its power. */
async function killBackup(): Promise<void> {
  const { pid } = server ?? {};
  if (pid === undefined) throw new Error('no backup server');
  server = null;
  await killFamily(pid);
}

/** A mirror of both images that runs in the background, just labelled. */
async function startMirror(...options: readonly string[]): Promise<void> {
  await serveBackup();
  await succeed('label', '-b', 'prefer', NAME, local, uri);
  await succeed('start', NAME, local, uri, ...options);
  daemons.push((await status()).pid);
}

/** Without a program of its own for each look. */
async function status(): Promise<MirrorStatus> {
  const asking = { clock: systemClock, timeoutMs: PATIENCE_MS };
  return (await askMirror(scratch.path(`run/${NAME}.ctl`), { command: 'status' }, asking)) as MirrorStatus;
}

const remoteOf = ({ components }: MirrorStatus): ComponentStatus | undefined =>
  components.find(({ name }) => name === uri);

async function untilState(state: MirrorStatus['state']): Promise<MirrorStatus> {
  let now = await status();
  return await until(
    () => `${state}: ${JSON.stringify(now)}`,
    async () => {
      now = await status();
      return now.state === state ? now : null;
    },
  );
}

const nbdPath = (): string => scratch.path(`run/${NAME}.nbd`);

async function attach(): Promise<NbdClient> {
  const client = await NbdClient.connect({ unixPath: nbdPath() });
  await client.go(NAME);
  return client;
}

async function write(client: NbdClient, offsetBytes: number, bytes: Buffer): Promise<void> {
  const { errno } = await client.write(offsetBytes, bytes);
  expect(errno).toBe(0);
}

function dataOf(image: string, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const fd = openSync(image, 'r');
  for (let at = 0; at < lengthBytes;) at += readSync(fd, bytes, at, lengthBytes - at, at);
  closeSync(fd);
  return bytes;
}

/** Ends the mirror, and gives what both images hold then. */
async function stopAndRead(): Promise<{ readonly ofLocal: Buffer; readonly ofBackup: Buffer }> {
  // The end of a client is noticed a little later than it ends.
  const { mediaSizeBytes, pid } = await until('an unused mirror', async () => {
    const now = await status();
    return now.clients === 0 ? now : null;
  });
  await succeed('stop', NAME);
  await untilGone([pid]);
  expect(readdirSync(scratch.path('run'))).toEqual([]);
  return { ofLocal: dataOf(local, mediaSizeBytes), ofBackup: dataOf(backup, mediaSizeBytes) };
}

describe('a mirror of an image and an export', () => {
  test('goes on without its backup, and copies what it missed when it is back', async () => {
    await startMirror();
    await untilState('COMPLETE');
    const client = await attach();
    const before = randomBytes(MIB);
    await write(client, 0, before);
    await killBackup();
    const meanwhile = randomBytes(128 * 1024);
    await write(client, 8 * MIB, meanwhile);
    const degraded = await untilState('DEGRADED');
    expect(remoteOf(degraded)).toMatchObject({ state: 'DISCONNECTED' });
    expect(JSON.parse(await succeed('status', NAME, '--json'))).toMatchObject([{ state: 'DEGRADED' }]);
    expect(await succeed('status', NAME)).toContain(`${uri} (DISCONNECTED)`);
    await serveBackup();
    const complete = await untilState('COMPLETE');
    expect(remoteOf(complete)).toMatchObject({ state: 'ACTIVE', needsFullCopy: false });
    // Everything that was written since it last flushed may be copied, the rest of the medium not.
    expect(remoteOf(complete)?.bytesWritten).toBeLessThan(8 * MIB);
    expect((await client.read(8 * MIB, meanwhile.length)).data.equals(meanwhile)).toBe(true);
    await client.disconnect();
    const { ofLocal, ofBackup } = await stopAndRead();
    expect(ofLocal.equals(ofBackup)).toBe(true);
    expect(await succeed('dump', local)).toContain('dflags: NONE');
    expect(ofBackup.subarray(0, MIB).equals(before)).toBe(true);
    expect(ofBackup.subarray(8 * MIB, 8 * MIB + meanwhile.length).equals(meanwhile)).toBe(true);
  });

  test('goes on without a backup that hangs, and takes it back when it answers again', async () => {
    await startMirror('--timeout', '8');
    await untilState('COMPLETE');
    const client = await attach();
    const resume = await pauseFamily(server?.pid ?? 0);
    try {
      await write(client, MIB, randomBytes(65_536));
      expect(remoteOf(await untilState('DEGRADED'))?.why).not.toBeNull();
    } finally {
      resume();
    }
    await untilState('COMPLETE');
    await client.disconnect();
    const { ofLocal, ofBackup } = await stopAndRead();
    expect(ofLocal.equals(ofBackup)).toBe(true);
  });

  test('is rebuilt on demand, but not over its only good copy; and not stopped under its clients', async () => {
    await startMirror('--resync-rate', '200M');
    await untilState('COMPLETE');
    const client = await attach();
    await write(client, MIB, randomBytes(MIB));
    const refused = await run('stop', NAME);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('is in use by a client');
    await succeed('rebuild', NAME, uri, '--wait');
    expect(remoteOf(await status())).toMatchObject({ state: 'ACTIVE', markedBytes: 0 });
    await killBackup();
    await write(client, 2 * MIB, randomBytes(4096));
    await untilState('DEGRADED');
    expect(await succeed('rebuild', NAME, uri)).toBe(
      `${uri} is not connected; everything is copied to it when it is\n`,
    );
    expect(remoteOf(await status())).toMatchObject({ needsFullCopy: true });
    const onlyCopy = await run('rebuild', NAME, local);
    expect(onlyCopy).toMatchObject({ code: 1 });
    expect(onlyCopy.stderr).toContain('has the only good copy');
    const unknown = await run('rebuild', NAME, scratch.path('other.img'));
    expect(unknown.stderr).toContain('has no component');
    await succeed('stop', '-f', NAME);
    expect(existsSync(nbdPath())).toBe(false);
    client.destroy();
  });

  test.skipIf(!haveTools('nbdcopy', 'nbdinfo'))('serves nbdinfo and nbdcopy', async () => {
    await startMirror('-n');
    const { mediaSizeBytes } = await untilState('COMPLETE');
    const at = `nbd+unix:///${NAME}?socket=${nbdPath()}`;
    expect(Number(await runTool('nbdinfo', '--size', at))).toBe(mediaSizeBytes);
    const source = scratch.path('source.bin');
    await createImage(source, mediaSizeBytes - (mediaSizeBytes % 512));
    await runTool('dd', 'if=/dev/urandom', `of=${source}`, 'bs=65536', 'count=100', 'conv=notrunc', 'seek=3');
    await runTool('nbdcopy', source, at);
    const { ofLocal, ofBackup } = await stopAndRead();
    expect(ofLocal.equals(readFileSync(source))).toBe(true);
    expect(ofLocal.equals(ofBackup)).toBe(true);
  });
});

describe('without a mirror', () => {
  test('status shows nothing, and what needs one says that there is none', async () => {
    expect(await run('status')).toEqual({ code: 0, stdout: '', stderr: '' });
    const { code, stderr } = await run('stop', NAME);
    expect(code).toBe(1);
    expect(stderr).toBe('ggmirror: No such geom: data. (no such mirror runs)\n');
  });

  test.each(['status', 'status --json', 'status --check', 'list', `status ${NAME}`])(
    '%s says that one has died, whose socket is still there',
    async (line) => {
      const words = line.split(' ');
      mkdirSync(scratch.path('run'), { recursive: true });
      writeFileSync(scratch.path(`run/${NAME}.ctl`), '');
      const { code, stdout, stderr } = await run(...words);
      expect(code).toBe(1);
      expect(stderr).toContain('has died');
      expect(stderr).toContain(NAME);
      expect(stdout).toBe(words.includes('--json') ? '[]\n' : '');
    },
  );

  test('images without labels are not started, and nothing is left behind', async () => {
    const { code, stderr } = await run('start', NAME, local, backup);
    expect(code).toBe(1);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(readdirSync(scratch.path('run'))).toEqual([]);
  });

  test.each([
    { words: ['start', '../x', 'a.img'], says: "can't be a mirror's name" },
    { words: ['start', NAME, 'a.img', './a.img'], says: 'is given twice' },
    { words: ['start', NAME, 'ggate://backup'], says: 'is not of the form ggate://host[:port]/path' },
  ])('$words is refused', async ({ words, says }) => {
    const parsed = (await createProgram('start')).parseAsync([
      'node',
      'ggmirror',
      ...words,
      '--foreground',
      '--run-dir',
      scratch.path('run'),
    ]);
    await expect(parsed).rejects.toThrow(says);
  });
});
