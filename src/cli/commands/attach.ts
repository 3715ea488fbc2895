import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { MirrorStatus } from '../../control/status.js';
import { aloneIn } from '../attach/lock.js';
import type { Target } from '../attach/maker.js';
import { WAYS, type Way } from '../attach/record.js';
import { CommandError } from '../errors.js';
import { attachmentsOf } from '../mirrors/attached.js';
import { addRunDirOption, askStatus, type RunDirFlags } from '../mirrors/run-dir.js';
import { printResult } from '../output.js';

interface AttachFlags extends RunDirFlags {
  readonly mount?: string;
  readonly way?: Way;
  readonly json?: boolean;
}

interface DetachFlags extends RunDirFlags {
  readonly force?: boolean;
  readonly json?: boolean;
}

const ATTACH_EXAMPLES = `
Examples:
  ggmirror attach sites
      prints the device, such as /dev/nbd0, for mkfs
  ggmirror attach --mount /srv/sites sites`;

/** `ggmirror attach`: makes a block device of a running mirror, and prints its path. */
export function attachCommand(): Command {
  const command = new Command('attach')
    .description('make a block device of a running mirror')
    .argument('<name>')
    .option('--mount <folder>', 'mount its file system here; also if it is attached already')
    .addOption(
      new Option('--way <way>', 'how the device is made (default: the best that there is)').choices(WAYS),
    )
    .option('--json', 'print the result as JSON')
    .addHelpText('after', ATTACH_EXAMPLES);
  return addRunDirOption(command).action(async (name: string, flags: AttachFlags) => {
    const { mount, way = null, runDir } = flags;
    const status = await askStatus(name, flags);
    const attachment = await aloneIn(runDir, () =>
      attachmentsOf(name, runDir).attach({
        target: targetOf(status),
        daemonPid: status.pid,
        way,
        mountPoint: mount === undefined ? null : resolve(mount),
      }),
    );
    printResult(flags.json === true, { name, ...attachment }, () => [attachment.device]);
  });
}

const DETACH_EXAMPLES = `
Examples:
  ggmirror detach sites
      unmounts it, too; 'ggmirror stop sites' may come next`;

/** `ggmirror detach`: unmounts the device of a mirror, and removes it. The mirror may have ended long ago. */
export function detachCommand(): Command {
  const command = new Command('detach')
    .description('unmount and remove the block device of a mirror')
    .argument('<name>')
    .option('-f, --force', 'also while it is in use; its users can go on only until they let go of it')
    .option('--json', 'print what was removed as JSON')
    .addHelpText('after', DETACH_EXAMPLES);
  return addRunDirOption(command).action(async (name: string, flags: DetachFlags) => {
    const { runDir } = flags;
    const attachments = attachmentsOf(name, runDir);
    if (!existsSync(runDir)) throw new CommandError(`mirror/${name} is not attached`);
    const was = await aloneIn(runDir, () => attachments.detach(flags.force === true));
    printResult(flags.json === true, { name, ...was }, () => []);
  });
}

function targetOf({ name, sectorSizeBytes, nbd, ggate, waitsFor }: MirrorStatus): Target {
  if (waitsFor !== null) throw new CommandError(`mirror/${name} does not run yet: ${waitsFor}`);
  const unixPath = nbd.flatMap((address) => ('unixPath' in address ? [address.unixPath] : []))[0];
  if (unixPath === undefined) throw new CommandError(`mirror/${name} has no NBD socket`);
  return { name, sectorSizeBytes, nbdPath: unixPath, ggate: plainAddressOf(ggate) };
}

const ANY_ADDRESS = ['0.0.0.0', '::'];

function plainAddressOf(ggate: MirrorStatus['ggate']): Target['ggate'] {
  const plain = ggate?.addresses.find(({ isTls }) => !isTls);
  if (plain === undefined) return null;
  const { address, port } = plain;
  return { host: ANY_ADDRESS.includes(address) ? 'localhost' : address, port };
}
