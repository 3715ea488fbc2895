import { mirrorPaths } from '../../control/paths.js';
import { startDetached } from '../daemon/detach.js';
import { ggateUris, nbdUri } from './endpoints.js';
import { askStatus } from './run-dir.js';
import type { MirrorSettings } from './settings.js';

/** Starts a mirror that goes on by itself. Resolves with lines that say where it is. Throws CommandError. */
export async function runInBackground(settings: MirrorSettings): Promise<string[]> {
  const { name, nbdPath, ggate, runDirectory } = settings;
  const pid = await startDetached(new URL('mirror-child.js', import.meta.url), settings);
  const uri = nbdUri(name, { unixPath: nbdPath ?? mirrorPaths(runDirectory, name).nbd });
  const lines = [`mirror/${name} runs (process ${pid}), for NBD clients at ${uri}`];
  if (ggate !== null) {
    const status = await askStatus(name, { runDir: runDirectory });
    lines.push(`for ggate clients at ${ggateUris(status.ggate).join(' and ')}`);
  }
  return lines;
}
