import { Command } from 'commander';
import { providerName } from '../../control/component-spec.js';
import { defaultConfigPath } from '../config/config-file.js';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { systemClock } from '../../device/clock.js';
import { standardOutput } from '../daemon/log.js';
import { CommandError, failureOf, InterruptedError, UsageError } from '../errors.js';
import { askStatus, isRunning } from '../mirrors/run-dir.js';
import { RUNNING_COMPONENT_HELP } from '../component-help.js';
import { runInBackground } from '../mirrors/run-in-background.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { readSettingsFiles } from '../mirrors/settings-files.js';
import { settingsLines } from '../mirrors/settings-text.js';
import { addStartOptions, givenOptions } from '../mirrors/start-options.js';
import { addWaitOptions, limitMsOf, waitUntilActive, type WaitFlags } from '../mirrors/wait-active.js';
import { wantedSettings } from '../config/wanted-settings.js';
import { settingsWarnings } from '../mirrors/warnings.js';
import { printResult, writeQuietly } from '../output.js';

interface StartFlags extends WaitFlags {
  readonly config?: string;
  readonly check?: boolean;
  readonly json?: boolean;
  readonly background?: boolean;
  readonly foreground?: boolean;
  readonly source?: string;
}

const EXAMPLES = `
Examples:
  ggmirror start sites /root/images/sites.img ggate://192.168.1.101/root/images/sites.img
      a mirror of an image and an export
  ggmirror start sites sites.img,priority=10 ggate://192.168.1.101/root/images/sites.img,timeout=5
      the same; reads prefer the image, and the export is dropped when it is silent for 5 seconds
  ggmirror start --ggate-port 3081 --allow 10.0.0.7 sites one.img two.img
      for another host's ggatec too, which finds it as /dev/mirror/sites
  ggmirror start sites
      the mirror 'sites' of the configuration file; options given here win over those of the file
  ggmirror start
      all mirrors of the configuration file that do not run yet, for when the machine boots`;

/** `ggmirror start`: runs mirrors that `ggmirror label` has made, in the background unless told otherwise. */
export function startCommand(): Command {
  const command = new Command('start')
    .description('run a mirror and serve it over NBD')
    .argument('[name]', 'the name that it was labelled with; left out: all of the configuration file')
    .argument(
      '[provider...]',
      `its components: ${RUNNING_COMPONENT_HELP}; left out: those of the configuration file`,
    )
    .option('--source <component>', 'take its data, and overwrite all others with it; for this start only')
    .option('--config <file>', `the configuration file (default: ${defaultConfigPath(process.platform)})`)
    .option('--check', 'read and check everything, say what would run, and run nothing')
    .option('--json', 'with --check: say it as JSON')
    .option(
      '--background',
      'if it has to wait for components (--start-policy), come back at once all the same',
    )
    .option('--foreground', 'stay in the foreground, with the log on standard output')
    .addHelpText('after', EXAMPLES);
  addWaitOptions(
    command,
    'return when all components are ACTIVE, and show the progress until then; exit status 1 if they do not become so',
  );
  return addStartOptions(command).action(
    async (name: string | undefined, providers: string[], flags: StartFlags) => {
      const limitMs = limitMsOf(flags);
      if (flags.wait === true && (flags.foreground === true || flags.check === true))
        throw new UsageError('--wait goes with neither --foreground nor --check');
      const given = givenOptions(command);
      const wanted = wantedSettings({ name, providers, config: flags.config, given });
      const settings = flags.source === undefined ? wanted : [withSource(wanted, providerName(flags.source))];
      for (const warning of settings.flatMap(settingsWarnings))
        process.stderr.write(`ggmirror: warning: ${warning}\n`);
      if (flags.check === true) {
        for (const one of settings) await readSettingsFiles(one);
        printResult(flags.json === true, settings, () => settings.flatMap(settingsLines));
      } else if (flags.foreground === true) await runHere(settings);
      else if (name === undefined) await startAll(settings);
      else for (const one of settings) await runAndSay(one, flags.background === true);
      if (flags.wait === true) for (const one of settings) await waitForAll(one, limitMs);
    },
  );
}

/** It is said before it is done. */
function withSource(all: readonly MirrorSettings[], source: string): MirrorSettings {
  const [settings] = all;
  if (settings === undefined || all.length > 1) throw new UsageError('--source is for one mirror; name it');
  const names = settings.components.map(({ provider }) => provider);
  if (!names.includes(source)) throw new UsageError(`--source ${source} is none of the mirror's components`);
  const others = names.filter((name) => name !== source);
  const what =
    others.length === 0
      ? 'is the source'
      : `is the source: what ${others.join(' and ')} has is overwritten in full`;
  process.stderr.write(`mirror/${settings.name}: ${source} ${what}\n`);
  return { ...settings, source };
}

async function runHere(all: readonly MirrorSettings[]): Promise<never> {
  const [settings] = all;
  if (settings === undefined || all.length > 1) {
    throw new UsageError(
      `--foreground is for one mirror; name one of ${all.map(({ name }) => name).join(', ')}`,
    );
  }
  // In the background another process needs these, and this one does without what they load.
  const { createServeLog } = await import('../daemon/serve-log.js');
  const { endProcess, runMirror } = await import('../mirrors/run-mirror.js');
  const log = createServeLog({
    output: standardOutput(),
    isTerminal: process.stdout.isTTY,
    level: settings.logLevel,
  });
  const closeLog = async (): Promise<void> => await Promise.resolve();
  return endProcess(await runMirror(settings, { log, clock: systemClock, closeLog }));
}

async function waitForAll({ name, runDirectory }: MirrorSettings, limitMs: number | null): Promise<void> {
  const wanted = ({ components }: MirrorStatus): readonly ComponentStatus[] => components;
  await waitUntilActive({ name, flags: { runDir: runDirectory }, label: 'synchronize', wanted, limitMs });
}

/** One that can't be started keeps none of the others from it. */
async function startAll(all: readonly MirrorSettings[]): Promise<void> {
  let failed = 0;
  for (const settings of all) {
    const { name, runDirectory } = settings;
    try {
      if (await isRunning(name, { runDir: runDirectory })) {
        writeQuietly(process.stdout, `mirror/${name} runs already\n`);
      } else await runAndSay(settings, true); // at boot, nobody could end its waiting
    } catch (error) {
      if (error instanceof InterruptedError) throw error;
      failed += 1;
      writeQuietly(process.stderr, `ggmirror: mirror/${name}: ${failureOf(error).message ?? ''}\n`);
    }
  }
  if (failed > 0) throw new CommandError(`${failed} of ${all.length} mirrors were not started`);
}

async function runAndSay(settings: MirrorSettings, isLeftWaiting: boolean): Promise<void> {
  const lines = await runInBackground(settings, { isLeftWaiting });
  const { name, runDirectory } = settings;
  const { state, components } = await askStatus(name, { runDir: runDirectory });
  if (state === 'DEGRADED') lines.push(...components.flatMap(absenceLine));
  writeQuietly(process.stdout, `${lines.join('\n')}\n`);
}

/** Why the mirror runs without it: that somebody else uses it, say. */
function absenceLine({ name, state, isInactive, why }: ComponentStatus): string[] {
  if (state !== 'DISCONNECTED' || isInactive) return [];
  return [`degraded: without ${name}${why === null ? '' : `: ${why.replace(`${name}: `, '')}`}`];
}
