import { Command } from 'commander';
import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { isGgateUri } from '../../protocol/uri.js';
import { defaultConfigPath } from '../config/config-file.js';
import { CommandError, InterruptedError, UsageError } from '../errors.js';
import { withSignals, type Interrupt } from '../interrupt.js';
import { askStatus, isRunning } from '../mirrors/run-dir.js';
import { runInBackground } from '../mirrors/run-in-background.js';
import { releaseImages, takeBackImages } from '../mirrors/servers.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { addStartOptions, givenOptions } from '../mirrors/start-options.js';
import { troubleText } from '../mirrors/status-text.js';
import { isStuck } from '../mirrors/wait-active.js';
import { wantedSettings } from '../config/wanted-settings.js';
import { writeQuietly } from '../output.js';
import { RUNNING_COMPONENT_HELP } from '../component-help.js';

interface PromoteFlags {
  readonly config?: string;
  readonly force?: boolean;
  readonly inconsistent?: boolean;
}

const EXAMPLES = `
Examples:
  ggmirror promote sites /root/images/sitesbackup.img ggate://192.168.1.100/root/images/sitesprimary.img
      the mirror runs here from now on; the other machine's image is brought up to date when that serves it, unless
      something else was written to it: then it waits for 'ggmirror resolve'
  ggmirror promote sites
      the mirror 'sites' of the configuration file
  ggmirror demote sites
      the opposite: it stops here, and the image is served to the other machine again`;

/** `ggmirror promote`: the backup takes over. */
export function promoteCommand(): Command {
  const command = new Command('promote')
    .description("run a mirror here, on the backup, from the image that 'ggmirror serve' has offered")
    .argument('<name>', 'the name that it was labelled with')
    .argument(
      '[provider...]',
      `its components: ${RUNNING_COMPONENT_HELP}; left out: those of the configuration file`,
    )
    .option('--config <file>', `the configuration file (default: ${defaultConfigPath(process.platform)})`)
    .option(
      '-f, --force',
      'also if a client writes to the image, which is sent away; if somebody else uses a component elsewhere; or if the image may have lost what was written to it last',
    )
    .option(
      '--inconsistent',
      'also from an image to which a copy had not ended, when what it was copied from is lost for good',
    )
    .addHelpText('after', EXAMPLES);
  return addStartOptions(command).action(async (name: string, providers: string[], flags: PromoteFlags) => {
    const given = givenOptions(command);
    const [settings] = wantedSettings({ name, providers, config: flags.config, given });
    if (settings === undefined) throw new UsageError(`no components of ${name} are known; name them`);
    const isForced = flags.force === true;
    const alone = { degraded: true, startPolicy: 'degraded' } as const;
    const careful = { respectsUsers: !isForced, refusesDoubt: !isForced };
    const wanted = { ...settings, ...alone, ...careful, allowsMixture: flags.inconsistent === true };
    const lines = await withSignals((interrupt) => promote(wanted, isForced, interrupt));
    writeQuietly(process.stdout, `${lines.join('\n')}\n`);
  });
}

/** Resolves with what there is to say. If it rejects, everything is as before. */
async function promote(settings: MirrorSettings, isForced: boolean, interrupt: Interrupt): Promise<string[]> {
  const { name, runDirectory } = settings;
  const paths = settings.components.map(({ provider }) => provider).filter((one) => !isGgateUri(one));
  if (paths.length === 0) {
    throw new UsageError(
      `none of the components of ${name} is on this machine; name the image that it serves`,
    );
  }
  if (await isRunning(name, { runDir: runDirectory })) {
    throw new CommandError(`mirror/${name} runs here already; nothing was changed`);
  }
  const holder = `mirror/${name}`;
  const released = await releaseImages({ runDirectory, paths, holder, isForced }).catch(sayForce);
  const starting = Promise.race([runInBackground(settings), interrupted(interrupt, name)]);
  const lines = await starting.catch(async (error: unknown) => {
    await takeBackImages(runDirectory, released);
    throw error;
  });
  return [...lines, ...troubleLines(await askStatus(name, { runDir: runDirectory }))];
}

/** The mirror's process ends with ours as long as it has not said that it is ready. */
const interrupted = (interrupt: Interrupt, name: string): Promise<never> =>
  new Promise((_, reject) => {
    interrupt.onInterrupt(() =>
      reject(new InterruptedError(`${name} was not promoted`, interrupt.signalNumber ?? 0)),
    );
  });

function sayForce(error: unknown): never {
  if (error instanceof CommandError && error.message.includes('in use by')) {
    const way = 'stop its mirror there first, or add --force if that machine is dead or cut off';
    throw new CommandError(`${error.message}; ${way}`, { cause: error });
  }
  throw error;
}

/** What is not as it should be after a promotion. A promise only where nothing but the other side's return is missing. */
export function troubleLines({ components, isAutosync }: MirrorStatus): string[] {
  const missing = components.filter(({ state }) => state === 'DISCONNECTED');
  const doubtful = components.filter(({ state, why }) => state === 'ACTIVE' && why !== null);
  const warnings = doubtful.map((one) => `warning: ${one.name}: ${one.why ?? ''}`);
  if (missing.length === 0) return warnings;
  const isStopped = (one: ComponentStatus): boolean => isStuck(one, { isAutosync });
  const names = missing.map((one) => (isStopped(one) ? troubleText(one) : one.name));
  const without = `degraded: without ${names.join(' and ')}`;
  if (warnings.length > 0 || !isAutosync || missing.some(isStopped)) return [...warnings, without];
  return [
    `${without}; it is brought up to date by itself when it comes back, unless it was written without this one`,
  ];
}
