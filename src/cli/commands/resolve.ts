import { mkdirSync } from 'node:fs';
import { Command } from 'commander';
import type { ResolvePlan } from '../../control/commands/resolve.js';
import { providerName } from '../../control/component-spec.js';
import { STOP_MS } from '../../control/limits.js';
import { mirrorPaths } from '../../control/paths.js';
import { providerOpener } from '../../control/provider-openers.js';
import { settleStopped } from '../../control/settle-stopped.js';
import { systemClock } from '../../device/clock.js';
import { lockFileExclusive } from '../../device/platform/files.js';
import { systemRandom } from '../../device/random.js';
import { AssembleError } from '../../mirror/start/assemble.js';
import { defaultConfigPath } from '../config/config-file.js';
import { PidFile } from '../daemon/pid-file.js';
import { CommandError, UsageError } from '../errors.js';
import { requireOnce } from '../mirrors/check-first.js';
import { addRunDirOption, ask, isRunning, type RunDirFlags } from '../mirrors/run-dir.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { readSettingsFiles } from '../mirrors/settings-files.js';
import { wantedSettings } from '../config/wanted-settings.js';
import { writeQuietly } from '../output.js';
import { requireYes } from '../question.js';
import { RUNNING_COMPONENT_HELP } from '../component-help.js';
import { formatBytes } from '../units.js';

interface ResolveFlags extends RunDirFlags {
  readonly discard: readonly string[];
  readonly force?: boolean;
  readonly config?: string;
}

const EXAMPLES = `
Examples:
  ggmirror resolve sites --discard ggate://192.168.1.101/root/images/sites.img
      says what would be overwritten with what, and does nothing unless somebody at the terminal says yes
  ggmirror resolve sites --discard ggate://192.168.1.101/root/images/sites.img --force
      does it`;

/** `ggmirror resolve`: settles a split brain, of a mirror that runs or does not. */
export function resolveCommand(): Command {
  const command = new Command('resolve')
    .description(
      'settle a split brain: what only one side has is given up, and overwritten with what the other has',
    )
    .argument('<name>', 'the mirror')
    .argument(
      '[provider...]',
      `of one that does not run, its components: ${RUNNING_COMPONENT_HELP}; left out: those of the configuration file`,
    )
    .requiredOption(
      '--discard <component>',
      'the one that is overwritten, as it was given to start (repeatable)',
      (text: string, earlier: readonly string[] | undefined) => [...(earlier ?? []), providerName(text)],
    )
    .option(
      '--force',
      'do it; without this it is only said what would be done, and a person at a terminal is asked',
    )
    .option('--config <file>', `the configuration file (default: ${defaultConfigPath(process.platform)})`)
    .addHelpText('after', EXAMPLES);
  return addRunDirOption(command).action(async (name: string, providers: string[], flags: ResolveFlags) => {
    if (await isRunning(name, flags)) {
      if (providers.length > 0)
        throw new UsageError(`mirror/${name} runs, and knows its components; leave them out`);
      await settleRunning(name, flags);
    } else await settleStoppedMirror(name, providers, flags);
  });
}

async function settleRunning(name: string, flags: ResolveFlags): Promise<void> {
  const request = (component: string, isForced: boolean): Promise<unknown> =>
    ask(name, { command: 'resolve', component, isForced }, flags, STOP_MS);
  requireOnce(flags.discard);
  // Of several none is touched before all are known to be settled by this.
  const plans: ResolvePlan[] = [];
  for (const component of flags.discard) plans.push((await request(component, false)) as ResolvePlan);
  const kept = [...new Set(plans.flatMap((plan) => plan.kept))];
  await requireConsent(name, { kept, overwritten: plans.flatMap((plan) => plan.overwritten) }, flags);
  for (const component of flags.discard) {
    await request(component, true);
    writeQuietly(process.stdout, `mirror/${name} is settled, and ${component} is being copied to\n`);
  }
}

async function settleStoppedMirror(
  name: string,
  providers: readonly string[],
  flags: ResolveFlags,
): Promise<void> {
  const { config, discard } = flags;
  const [settings] = wantedSettings({ name, providers, config, given: { runDir: flags.runDir } });
  if (settings === undefined) throw new UsageError(`no mirror ${name}`);
  const { runDirectory } = settings;
  mkdirSync(runDirectory, { recursive: true, mode: 0o750 });
  // Nobody starts it meanwhile.
  const pidFile = PidFile.take(
    mirrorPaths(runDirectory, name).pidFile,
    lockFileExclusive,
    `mirror/${name} is`,
  );
  try {
    await settle(settings, discard, (plan) => requireConsent(name, plan, flags));
  } finally {
    pidFile.remove();
  }
  writeQuietly(process.stdout, `mirror/${name} is settled; what is left is copied when it is started\n`);
}

async function settle(
  settings: MirrorSettings,
  discard: readonly string[],
  approve: (plan: ResolvePlan) => Promise<void>,
): Promise<void> {
  const { name, components, timeoutMs, degraded, runDirectory } = settings;
  const { remoteTls: tls } = await readSettingsFiles(settings);
  const clock = systemClock;
  try {
    await settleStopped({
      ...{ name, degraded, timeoutMs, discard, approve, clock, random: systemRandom },
      providers: components.map((one) =>
        providerOpener(one, { timeoutMs, tls, clock, flushNotes: runDirectory }),
      ),
    });
  } catch (error) {
    if (error instanceof AssembleError) throw new CommandError(error.message, { cause: error });
    throw error;
  }
}

/** It is said before it is done. */
async function requireConsent(
  name: string,
  { kept, overwritten }: ResolvePlan,
  { force }: ResolveFlags,
): Promise<void> {
  for (const { name: component, copyBytes } of overwritten) {
    const what = `${component} is overwritten, in ${formatBytes(copyBytes)}, with what ${kept.join(' and ')} has`;
    process.stderr.write(`mirror/${name}: ${what}\n`);
  }
  if (force === true) return;
  const names = overwritten.map((one) => one.name).join(' and ');
  await requireYes({
    says: [`What only ${names} has is lost then.`],
    refusal: 'nothing was changed; to do that, add --force',
  });
}
