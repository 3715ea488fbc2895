import type { ProgressStatus } from '../../control/progress-status.js';
import { createImage } from '../../device/file-device.js';
import { formatBytes } from '../units.js';
import { freePort } from './free-port.js';
import { makeImage, sha256 } from './images.js';
import { componentOf, MirrorProcess } from './mirror-process.js';
import { ServerProcess } from './server-process.js';
import type { Stage } from './stage.js';

const MIB = 1_048_576;
const IMAGE_BYTES = 64 * MIB;
const FILES_BYTES = 32 * MIB;
const CHANGES_BYTES = 4 * MIB;
/** Slow enough for the resync to be watched: it takes two seconds. */
const RESYNC_RATE = '2M';
/** A line is said whenever the resync is so much further. */
const PERCENT_STEP = 20;

export interface MirrorStory {
  /** What is the same on both sides at the end; label and private area are behind it. */
  readonly mediaSizeBytes: number;
  /** What was written to the mirror while the backup was away. */
  readonly writtenAloneBytes: number;
  /** What the resync sent. */
  readonly resyncedBytes: number;
  readonly primarySha256: string;
  readonly secondarySha256: string;
}

interface Cast {
  readonly primaryPath: string;
  readonly secondaryPath: string;
  readonly server: ServerProcess;
  readonly mirror: MirrorProcess;
}

/** A mirror of a local image and a served one goes on without the backup, and tells it only what it has missed. */
export async function tellOfTheMirror(stage: Stage): Promise<MirrorStory> {
  const cast = await makeMirror(stage);
  const { primaryPath, secondaryPath, server, mirror } = cast;
  await startMirror(stage, cast);
  await goOnAlone(stage, cast);
  const resyncedBytes = await comeBack(stage, cast);

  stage.step(12, 'The mirror is stopped, and what it keeps is compared in the two image files by SHA-256:');
  const { interrupt } = stage.options;
  const { mediaSizeBytes } = await mirror.until(({ state }) => state === 'COMPLETE', interrupt);
  await stage.run('stop', 'demo');
  await server.stop();
  const hashes = [primaryPath, secondaryPath].map((path) => sha256(path, mediaSizeBytes));
  const [primarySha256 = '', secondarySha256 = ''] = await Promise.all(hashes);
  stage.tell(`primary.img    ${primarySha256}`, `secondary.img  ${secondarySha256}`);
  if (primarySha256 === secondarySha256) stage.tell('They are identical.');
  return { mediaSizeBytes, writtenAloneBytes: CHANGES_BYTES, resyncedBytes, primarySha256, secondarySha256 };
}

async function makeMirror(stage: Stage): Promise<Cast> {
  const [primaryPath, secondaryPath] = [stage.path('primary.img'), stage.path('secondary.img')];
  for (const path of [primaryPath, secondaryPath]) await createImage(path, IMAGE_BYTES);
  const server = stage.take(new ServerProcess('secondary.img', await freePort(), stage.surroundings));
  stage.step(
    6,
    `Now the two become one: a mirror of primary.img, here, and secondary.img, served, each ${formatBytes(IMAGE_BYTES)}.`,
    `$ ${server.commandLine}`,
  );
  server.start();
  await server.whenReady();
  stage.tell(
    'Each gets a label and, in front of it, a private area, which remembers what a side has missed:',
  );
  await stage.run('label', '-v', '-b', 'prefer', 'demo', 'primary.img', server.uri);
  const mirror = stage.take(
    new MirrorProcess({
      name: 'demo',
      components: ['primary.img', server.uri],
      port: await freePort(),
      resyncRate: RESYNC_RATE,
      runDirectory: stage.runDirectory,
      around: stage.surroundings,
    }),
  );
  return { primaryPath, secondaryPath, server, mirror };
}

async function startMirror(stage: Stage, { mirror }: Cast): Promise<void> {
  stage.step(
    7,
    'The mirror is started. (In the foreground, so that it ends with this demo; it resyncs slowly, to be watched.)',
    `$ ${mirror.commandLine}`,
  );
  mirror.start();
  await mirror.until(({ state }) => state === 'COMPLETE', stage.options.interrupt);
  await stage.run('status');

  await makeImage(stage.path('files.img'), FILES_BYTES, FILES_BYTES);
  stage.step(
    8,
    'It is a disk: over NBD and ggate, or with root by `ggmirror attach` as a block device for a file system.',
    `Here ${formatBytes(FILES_BYTES)} of file data are written to it, and go to both sides at once:`,
  );
  await stage.run('copy', '--force', 'files.img', mirror.uri);
}

async function goOnAlone(stage: Stage, { server, mirror }: Cast): Promise<void> {
  stage.step(9, 'The backup is killed (kill -9), and the files are changed. Nobody has to wait:');
  server.kill();
  await makeImage(stage.path('changes.img'), CHANGES_BYTES, CHANGES_BYTES, FILES_BYTES);
  await stage.run('copy', '--force', 'changes.img', mirror.uri);
  stage.step(10, 'The mirror is DEGRADED, and has written down durably which regions the backup misses:');
  await mirror.until(({ state }) => state === 'DEGRADED', stage.options.interrupt);
  await stage.run('status');
}

async function comeBack(stage: Stage, { server, mirror }: Cast): Promise<number> {
  const { interrupt } = stage.options;
  stage.step(
    11,
    'The backup is started again. The mirror finds it by itself, and copies what it has missed:',
  );
  const before = await mirror.until(() => true, interrupt);
  const { bytesWritten: beforeBytes } = componentOf(before, server.uri);
  server.start();
  await server.whenReady();
  const steps = new ResyncSteps();
  const after = await mirror.until((status) => {
    const { state, resync } = componentOf(status, server.uri);
    if (resync === null) return state === 'ACTIVE';
    stage.tell(...steps.linesOf(resync));
    return false;
  }, interrupt);
  const resyncedBytes = componentOf(after, server.uri).bytesWritten - beforeBytes;
  stage.tell(
    `Of ${formatBytes(after.mediaSizeBytes)} that the mirror keeps, ${formatBytes(resyncedBytes)} were sent: what was written meanwhile.`,
  );
  await stage.run('status');
  return resyncedBytes;
}

/** Tells how far a resync is: not each time that it is looked at, but whenever it is so much further. */
export class ResyncSteps {
  #nextPercent = 0;

  linesOf({ percent, copiedBytes, totalBytes }: ProgressStatus): string[] {
    if (totalBytes === 0 || percent < this.#nextPercent) return [];
    this.#nextPercent = percent + PERCENT_STEP;
    return [`SYNCHRONIZING, ${percent} %: ${formatBytes(copiedBytes)} of ${formatBytes(totalBytes)}`];
  }
}
