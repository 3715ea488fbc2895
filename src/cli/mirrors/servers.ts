import { readdirSync } from 'node:fs';
import { askDaemon, NotRunningError } from '../../control/control-client.js';
import { ControlError } from '../../control/control-error.js';
import { STOP_MS } from '../../control/limits.js';
import { serveControlPath, serverOfControlFile } from '../../control/paths.js';
import type { ReleaseAnswer, ServeRequest } from '../../control/serve/requests.js';
import { systemClock } from '../../device/clock.js';
import type { Released } from '../../server/session-supervisor.js';
import { CommandError } from '../errors.js';

/** What a server of this machine was made to let go of, just now. */
export interface ReleasedImage {
  readonly pid: number;
  readonly path: string;
  readonly holder: string;
}

export interface ReleaseWish {
  readonly runDirectory: string;
  /** Absolute. */
  readonly paths: readonly string[];
  readonly holder: string;
  /** Also if a client writes to them. */
  readonly isForced: boolean;
}

/**
 * Makes every server of this machine let go of the images. Resolves with those that `holder` did not have before. Throws
 * CommandError, and everything is as before then.
 */
export async function releaseImages(wish: ReleaseWish): Promise<ReleasedImage[]> {
  const { runDirectory, paths, holder, isForced } = wish;
  const released: ReleasedImage[] = [];
  try {
    for (const pid of serversIn(runDirectory)) {
      for (const path of paths) {
        const request = { command: 'release', path, holder, isForced } as const;
        const answer = (await askServer(runDirectory, pid, request)) as ReleaseAnswer | null;
        if (answer?.isNew === true) released.push({ pid, path, holder });
      }
    }
    return released;
  } catch (error) {
    await takeBackImages(runDirectory, released);
    throw error;
  }
}

/** Undoes releaseImages(). Never rejects: whoever calls it has something more important to tell. */
export async function takeBackImages(runDirectory: string, images: readonly ReleasedImage[]): Promise<void> {
  for (const { pid, path, holder } of images) {
    await askServer(runDirectory, pid, { command: 'take-back', path, holder }).catch(() => undefined);
  }
}

/** Every server of this machine offers again what it has released to `holder`. Resolves with the paths. */
export async function takeBackAll(runDirectory: string, holder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const pid of serversIn(runDirectory)) {
    const request = { command: 'take-back', path: null, holder } as const;
    const taken = (await askServer(runDirectory, pid, request)) as readonly Released[] | null;
    paths.push(...(taken ?? []).map(({ path }) => path));
  }
  return paths;
}

/** Null if it does not run any more. */
async function askServer(runDirectory: string, pid: number, request: ServeRequest): Promise<unknown> {
  try {
    const asking = { clock: systemClock, timeoutMs: STOP_MS };
    return await askDaemon(serveControlPath(runDirectory, pid), request, asking);
  } catch (error) {
    // A server that was killed leaves its socket behind.
    if (error instanceof NotRunningError) return null;
    if (error instanceof ControlError) throw new CommandError(error.message, { cause: error });
    throw error;
  }
}

function serversIn(runDirectory: string): number[] {
  try {
    return readdirSync(runDirectory).flatMap((fileName) => serverOfControlFile(fileName) ?? []);
  } catch (error) {
    // Nothing was ever started here.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
