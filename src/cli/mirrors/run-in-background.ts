import { mirrorPaths } from '../../control/paths.js';
import { systemClock } from '../../device/clock.js';
import { startDetached } from '../daemon/detach.js';
import { unlessInterrupted, withSignals } from '../interrupt.js';
import { ggateUris, nbdUri } from './endpoints.js';
import { askStatus } from './run-dir.js';
import { flushLines } from './status-text.js';
import type { MirrorSettings, MirrorTask } from './settings.js';
import { WaitLine } from './wait-line.js';

/**
 * Starts a mirror that goes on by itself. Resolves with lines that say where it is. If it has to wait for components, that
 * is shown until it starts; if `isLeftWaiting`, it resolves with a line that says so. Throws CommandError, and
 * InterruptedError: then it ends with this process, unless it runs by then.
 */
export async function runInBackground(
  settings: MirrorSettings,
  { isLeftWaiting = false }: { readonly isLeftWaiting?: boolean } = {},
): Promise<string[]> {
  const { name, nbdPath, ggate, runDirectory } = settings;
  const task: MirrorTask = { settings, isLeftWaiting };
  const module = new URL('mirror-child.js', import.meta.url);
  const line = new WaitLine(`mirror/${name}`, process.stderr, systemClock);
  const shown = isLeftWaiting ? {} : { waits: (why: string) => line.show(why) };
  const interrupted = `interrupted; nobody waits for mirror/${name} any more`;
  const { pid, waitsFor } = await withSignals((interrupt) =>
    unlessInterrupted(interrupt, startDetached(module, task, shown), interrupted),
  ).finally(() => line.finish());
  if (waitsFor !== null) return [`mirror/${name} waits (process ${pid}): ${waitsFor}`];
  const uri = nbdUri(name, { unixPath: nbdPath ?? mirrorPaths(runDirectory, name).nbd });
  const lines = [`mirror/${name} runs (process ${pid}), for NBD clients at ${uri}`];
  // Somebody may have ended it again.
  const status = await askStatus(name, { runDir: runDirectory }).catch(() => null);
  if (status === null) return lines;
  if (ggate !== null) lines.push(`for ggate clients at ${ggateUris(status.ggate).join(' and ')}`);
  return [...lines, ...flushLines([status])];
}
