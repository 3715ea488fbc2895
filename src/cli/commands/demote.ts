import { Command } from 'commander';
import { CommandError } from '../errors.js';
import { endMirror } from '../mirrors/end-mirrors.js';
import { addRunDirOption, isRunning, type RunDirFlags } from '../mirrors/run-dir.js';
import { takeBackAll } from '../mirrors/servers.js';
import { writeQuietly } from '../output.js';

interface DemoteFlags extends RunDirFlags {
  readonly force?: boolean;
}

const EXAMPLES = `
Examples:
  ggmirror demote sites
      before 'ggmirror start sites' on the machine that it runs on usually`;

/** `ggmirror demote`: undoes `ggmirror promote`; also what is left of one whose mirror has died. */
export function demoteCommand(): Command {
  const command = new Command('demote')
    .description('end a mirror that was promoted, and serve its image to the other machine again')
    .argument('<name>')
    .option('-f, --force', 'also if clients are connected; their requests under way are finished')
    .addHelpText('after', EXAMPLES);
  return addRunDirOption(command).action(async (name: string, flags: DemoteFlags) => {
    const wasRunning = await isRunning(name, flags);
    if (wasRunning) await endMirror(name, 'stop', flags);
    const paths = await takeBackAll(flags.runDir, `mirror/${name}`);
    if (!wasRunning && paths.length === 0) {
      throw new CommandError(
        `No such geom: ${name}. (no such mirror runs, and no server waits for its image)`,
      );
    }
    const lines = [
      wasRunning ? `mirror/${name} has stopped` : `mirror/${name} did not run`,
      ...paths.map((path) => `${path} is served again`),
    ];
    writeQuietly(process.stdout, `${lines.join('\n')}\n`);
  });
}
