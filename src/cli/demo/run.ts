import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, type Timer } from '../../device/clock.js';
import { createImage } from '../../device/file-device.js';
import type { CopyEnd } from '../copy/end.js';
import { openSource, openTarget } from '../copy/open-ends.js';
import { copyEnds, type CopySummary } from '../copy/session.js';
import { InterruptedError } from '../errors.js';
import { closeDevice, type Interrupt } from '../interrupt.js';
import type { ProgressStream } from '../progress.js';
import { formatBytes, formatSeconds } from '../units.js';
import { freePort } from './free-port.js';
import { makeImage, sha256 } from './images.js';
import { ServerProcess } from './server-process.js';
import { SlowDevice } from './slow-device.js';

const IMAGE_BYTES = 67_108_864;
const DATA_BYTES = 50_331_648;
/** Slow enough to watch, fast enough not to bore. */
const RATE_BYTES_PER_SECOND = 16_777_216;
const KILL_SHARE = 0.4;
const DOWN_MS = 1_500;

export interface DemoOptions {
  readonly keep: boolean;
  readonly interrupt: Interrupt;
  /** A line for the person who watches. */
  readonly say: (text: string) => void;
  /** Where progress is drawn; null for nowhere. */
  readonly stream: ProgressStream | null;
}

export interface DemoResult {
  readonly folder: string;
  readonly seconds: number;
  readonly copy: CopySummary;
  /** How much of the source had been read when the server was killed. */
  readonly killedAtBytes: number;
  readonly sourceSha256: string;
  readonly backupSha256: string;
}

/** Runs the whole story and cleans up after it, whatever happens. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const folder = mkdtempSync(join(tmpdir(), 'ggmirror-demo-'));
  const server = new ServerProcess(join(folder, 'backup.img'), await freePort(), join(folder, 'server.log'));
  const removeFolder = (): void => {
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  };
  // For a second ^C, which ends the process without coming back to the end of this function.
  const atExit = (): void => {
    server.kill();
    removeFolder();
  };
  process.once('exit', atExit);
  try {
    return await tellStory(folder, server, options);
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    throw new InterruptedError('interrupted; everything is cleaned up', error.signalNumber);
  } finally {
    await server.stop();
    removeFolder();
    process.off('exit', atExit);
    if (options.keep) options.say(`\nThe images and the server's log are in ${folder}`);
  }
}

async function tellStory(folder: string, server: ServerProcess, options: DemoOptions): Promise<DemoResult> {
  const { say } = options;
  const startedMs = systemClock.nowMs();
  const sourcePath = join(folder, 'site.img');
  const backupPath = join(folder, 'backup.img');

  say('This shows what ggmirror does, on this machine alone and without privileges.');
  say(`\n1. Two images of ${formatBytes(IMAGE_BYTES)} are made in ${folder}:`);
  say(
    `   site.img holds data (${formatBytes(DATA_BYTES)} of the node program, then a hole), backup.img nothing.`,
  );
  await makeImage(sourcePath, IMAGE_BYTES, DATA_BYTES);
  await createImage(backupPath, IMAGE_BYTES);

  say('\n2. A server offers backup.img on loopback, as the backup machine would:');
  say(`   $ ${server.commandLine}`);
  server.start();
  await server.whenReady();
  say(`   It runs as process ${server.pid ?? '?'}.`);

  say('\n3. The client attaches and copies site.img to the server. At 40 % the server is killed (kill -9)');
  say('   and started again a moment later; the copy waits and goes on by itself.');
  say(`   $ ggmirror copy site.img ${server.uri}`);
  const { summary, killedAtBytes } = await copyThroughKill(sourcePath, server, folder, options);
  say(`   The copy is done and flushed, after ${summary.reconnects} reconnect. The hole was not sent:`);
  say(
    `   ${formatBytes(summary.writtenBytes)} of data, ${formatBytes(summary.zeroedBytes)} of zeros in a word.`,
  );

  say('\n4. The server is asked to end (SIGTERM), as at a shutdown.');
  await server.stop();

  say('\n5. Both images are read from their files and compared by SHA-256:');
  const [sourceSha256, backupSha256] = await Promise.all([sha256(sourcePath), sha256(backupPath)]);
  say(`   site.img    ${sourceSha256}`);
  say(`   backup.img  ${backupSha256}`);
  const seconds = (systemClock.nowMs() - startedMs) / 1000;
  if (sourceSha256 === backupSha256) say(`   They are identical. The demo took ${formatSeconds(seconds)}.`);
  return { folder, seconds, copy: summary, killedAtBytes, sourceSha256, backupSha256 };
}

async function copyThroughKill(
  sourcePath: string,
  server: ServerProcess,
  folder: string,
  { interrupt, stream }: DemoOptions,
): Promise<{ readonly summary: CopySummary; readonly killedAtBytes: number }> {
  let killedAtBytes = 0;
  let restart: Timer | null = null;
  const file = await openSource(sourcePath, { tls: {}, giveUpMs: null });
  const killOnce = (readBytes: number): void => {
    if (killedAtBytes > 0 || readBytes < IMAGE_BYTES * KILL_SHARE) return;
    killedAtBytes = readBytes;
    server.kill();
    restart = systemClock.after(DOWN_MS, () => {
      if (interrupt.signalNumber === null) server.start();
    });
  };
  const device = new SlowDevice(file.device, RATE_BYTES_PER_SECOND, systemClock, killOnce);
  const source: CopyEnd = { ...file, device };
  const target = await openTarget(server.uri, device.mediaSizeBytes, { tls: {}, giveUpMs: 30_000 });
  try {
    const summary = await copyEnds({
      names: { from: 'site.img', to: server.uri },
      source,
      target,
      statePath: join(folder, 'copy-state.json'),
      depth: 4,
      chunkBytes: 262_144,
      force: true,
      restart: true,
      dense: false,
      verify: false,
      describeUse: () => Promise.resolve(null),
      interrupt,
      stream,
    });
    return { summary, killedAtBytes };
  } finally {
    (restart as Timer | null)?.cancel();
    await closeDevice(device, interrupt);
    await closeDevice(target.device, interrupt);
  }
}
