import { Command } from 'commander';
import type { ComponentStatus } from '../../control/status.js';
import { delay, systemClock } from '../../device/clock.js';
import { CommandError } from '../errors.js';
import { addRunDirOption, ask, askStatus, providerName, type RunDirFlags } from '../mirrors/run-dir.js';
import { Progress } from '../progress.js';

interface RebuildFlags extends RunDirFlags {
  readonly wait?: boolean;
}

const POLL_MS = 200;

/** `ggmirror rebuild`: copies everything anew to a component that is not believed any more. */
export function rebuildCommand(): Command {
  const command = new Command('rebuild')
    .description('copy everything anew to a component of a running mirror')
    .argument('<name>', 'the mirror')
    .argument('<provider>', 'the component, as it was given to start')
    .option('--wait', 'show the progress, and return when it is done');
  return addRunDirOption(command).action(async (name: string, provider: string, flags: RebuildFlags) => {
    const component = providerName(provider);
    await ask(name, { command: 'rebuild', component }, flags);
    if (flags.wait === true) await waitForRebuild(name, component, flags);
  });
}

async function waitForRebuild(name: string, component: string, flags: RunDirFlags): Promise<void> {
  let progress: Progress | null = null;
  let shownBytes = 0;
  for (;;) {
    const found = await statusOfComponent(name, component, flags);
    if (found.state === 'ACTIVE') break;
    const { resync } = found;
    if (resync !== null && resync.totalBytes > 0) {
      const { totalBytes } = resync;
      progress ??= new Progress({ clock: systemClock, stream: process.stderr, label: 'rebuild', totalBytes });
      progress.remark(null);
      progress.advance(resync.copiedBytes - shownBytes);
      shownBytes = resync.copiedBytes;
    } else progress?.remark(found.why ?? 'waiting');
    await delay(systemClock, POLL_MS);
  }
  progress?.finish(false);
}

async function statusOfComponent(
  name: string,
  component: string,
  flags: RunDirFlags,
): Promise<ComponentStatus> {
  const status = await askStatus(name, flags);
  const found = status.components.find((one) => [one.name, one.uuid].includes(component));
  if (found === undefined) throw new CommandError(`mirror/${name} has no component ${component} any more`);
  return found;
}
