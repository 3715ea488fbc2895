import { Command } from 'commander';
import { mirrorPaths } from '../../control/paths.js';
import { systemClock } from '../../device/clock.js';
import { startDetached } from '../daemon/detach.js';
import { createServeLog, standardOutput } from '../daemon/log.js';
import { providerName } from '../mirrors/run-dir.js';
import { endProcess, runMirror } from '../mirrors/run-mirror.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { addStartOptions, decideOptions, givenOptions } from '../mirrors/start-options.js';
import { settingsOf } from '../mirrors/start-settings.js';
import { writeQuietly } from '../output.js';

/** `ggmirror start`: runs a mirror that `ggmirror label` has made, in the background unless told otherwise. */
export function startCommand(): Command {
  const command = new Command('start')
    .description('run a mirror and serve it over NBD')
    .argument('<name>', 'the name that it was labelled with')
    .argument('<provider...>', 'its components: image files, disks or ggate://host[:port]/path')
    .option('--foreground', 'stay in the foreground, with the log on standard output');
  return addStartOptions(command).action(async (name: string, providers: string[]) => {
    const components = providers.map((text) => ({ provider: providerName(text) }));
    const settings = settingsOf(name, components, decideOptions(givenOptions(command)));
    if (command.getOptionValue('foreground') === true) await runHere(settings);
    else await runInBackground(settings);
  });
}

async function runHere(settings: MirrorSettings): Promise<never> {
  const log = createServeLog({
    output: standardOutput(),
    isTerminal: process.stdout.isTTY,
    level: settings.logLevel,
  });
  const closeLog = async (): Promise<void> => await Promise.resolve();
  endProcess(await runMirror(settings, { log, clock: systemClock, closeLog }));
}

async function runInBackground(settings: MirrorSettings): Promise<void> {
  const { name, nbdPath, runDirectory } = settings;
  const pid = await startDetached(new URL('../mirrors/mirror-child.js', import.meta.url), settings);
  const socket = nbdPath ?? mirrorPaths(runDirectory, name).nbd;
  writeQuietly(
    process.stdout,
    `mirror/${name} runs (process ${pid}), for NBD clients at nbd+unix:///${name}?socket=${socket}\n`,
  );
}
