import { Command } from 'commander';
import type { NotErased } from '../../mirror/members/membership.js';
import { CommandError } from '../errors.js';
import { endMirrors, type EndFlags } from '../mirrors/end-mirrors.js';
import { addRunDirOption } from '../mirrors/run-dir.js';

const STOP_EXAMPLES = `
Examples:
  ggmirror stop sites
      what is attached or mounted has to be detached first
  ggmirror stop sites mail
      both, or none if one of them does not run or is in use`;

/** `ggmirror stop`: ends running mirrors; everything is flushed and their labels are clean when this returns. */
export function stopCommand(): Command {
  const command = new Command('stop')
    .description('end running mirrors')
    .argument('<name...>')
    .option('-f, --force', 'also if clients are connected; their requests under way are finished')
    .addHelpText('after', STOP_EXAMPLES);
  return addRunDirOption(command).action(async (names: string[], flags: EndFlags) => {
    await endMirrors(names, 'stop', flags);
  });
}

const DESTROY_EXAMPLES = `
Examples:
  ggmirror destroy sites
      its images hold their data as before, and may be labelled anew or mounted`;

/** `ggmirror destroy`: ends mirrors and wipes labels and private areas; the data stays. */
export function destroyCommand(): Command {
  const command = new Command('destroy')
    .description('end running mirrors and wipe the labels of their components; their data stays')
    .argument('<name...>')
    .option('-f, --force', 'also if clients are connected')
    .addHelpText('after', DESTROY_EXAMPLES);
  return addRunDirOption(command).action(async (names: string[], flags: EndFlags) => {
    const undone: string[] = [];
    await endMirrors(names, 'destroy', flags, (name, answer) => {
      const left = answer as readonly NotErased[];
      if (left.length === 0) return;
      undone.push(name);
      const which = left.map((one) => `${one.name} (${one.why})`).join(', ');
      process.stderr.write(`mirror/${name} has ended, but these still have their labels: ${which}\n`);
    });
    if (undone.length > 0) throw new CommandError("Not fully done. 'ggmirror clear' wipes a label later.");
  });
}
