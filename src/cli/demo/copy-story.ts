import { systemClock, type Timer } from '../../device/clock.js';
import { createImage } from '../../device/file-device.js';
import type { CopyEnd } from '../copy/end.js';
import { openSource, openTarget } from '../copy/open-ends.js';
import { copyEnds, type CopySummary } from '../copy/session.js';
import { closeDevice } from '../interrupt.js';
import { formatBytes } from '../units.js';
import { freePort } from './free-port.js';
import { makeImage, sha256 } from './images.js';
import { ServerProcess } from './server-process.js';
import { SlowDevice } from './slow-device.js';
import type { Stage } from './stage.js';

const IMAGE_BYTES = 67_108_864;
const DATA_BYTES = 50_331_648;
/** Slow enough to watch, fast enough not to bore. */
const RATE_BYTES_PER_SECOND = 25_165_824;
const KILL_SHARE = 0.4;
const DOWN_MS = 1_000;

export interface CopyStory {
  readonly copy: CopySummary;
  /** How much of the source had been read when the server was killed. */
  readonly killedAtBytes: number;
  readonly sourceSha256: string;
  readonly backupSha256: string;
}

/** A server and a client: what is copied arrives, though the server is killed on the way. */
export async function tellOfCopying(stage: Stage): Promise<CopyStory> {
  const [sourcePath, backupPath] = [stage.path('site.img'), stage.path('backup.img')];
  stage.step(
    1,
    `Two images of ${formatBytes(IMAGE_BYTES)} are made in ${stage.folder}:`,
    `site.img holds data (${formatBytes(DATA_BYTES)} of the node program, then a hole), backup.img nothing.`,
  );
  await makeImage(sourcePath, IMAGE_BYTES, DATA_BYTES);
  await createImage(backupPath, IMAGE_BYTES);

  const server = stage.take(new ServerProcess('backup.img', await freePort(), stage.surroundings));
  stage.step(
    2,
    'A server offers backup.img on loopback, as the backup machine would:',
    `$ ${server.commandLine}`,
  );
  server.start();
  await server.whenReady();
  stage.tell(`It runs as process ${server.pid ?? '?'}.`);

  stage.step(
    3,
    'The client attaches and copies site.img to the server. At 40 % the server is killed (kill -9)',
    'and started again a moment later; the copy waits and goes on by itself.',
    `$ ggmirror copy site.img ${server.uri}`,
  );
  const { summary, killedAtBytes } = await copyThroughKill(sourcePath, server, stage);
  stage.tell(
    `The copy is done and flushed, after ${summary.reconnects} reconnect. The hole was not sent:`,
    `${formatBytes(summary.writtenBytes)} of data, ${formatBytes(summary.zeroedBytes)} of zeros in a word.`,
  );

  stage.step(4, 'The server is asked to end (SIGTERM), as at a shutdown.');
  await server.stop();

  stage.step(5, 'Both images are read from their files and compared by SHA-256:');
  const [sourceSha256, backupSha256] = await Promise.all([sha256(sourcePath), sha256(backupPath)]);
  stage.tell(`site.img    ${sourceSha256}`, `backup.img  ${backupSha256}`);
  if (sourceSha256 === backupSha256) stage.tell('They are identical.');
  return { copy: summary, killedAtBytes, sourceSha256, backupSha256 };
}

async function copyThroughKill(
  sourcePath: string,
  server: ServerProcess,
  stage: Stage,
): Promise<{ readonly summary: CopySummary; readonly killedAtBytes: number }> {
  const { interrupt, stream } = stage.options;
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
      statePath: stage.path('copy-state.json'),
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
