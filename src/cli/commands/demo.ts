import { Command } from 'commander';
import { runDemo } from '../demo/run.js';
import { CommandError } from '../errors.js';
import { withSignals, type Interrupt } from '../interrupt.js';
import { writeQuietly } from '../output.js';

interface DemoFlags {
  readonly keep?: boolean;
  readonly json?: boolean;
}

/** `ggmirror demo`: everything on one machine, without privileges, in a temporary folder. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('show on this machine what ggmirror does: serve, copy, lose the server, go on, verify')
    .option('--keep', 'leave the temporary folder where it is')
    .option('--json', 'print only the result, as JSON')
    .action((flags: DemoFlags) => withSignals((interrupt) => demo(flags, interrupt)));
}

async function demo(flags: DemoFlags, interrupt: Interrupt): Promise<void> {
  const isJson = flags.json === true;
  const result = await runDemo({
    keep: flags.keep === true,
    interrupt,
    say: (text) => {
      if (!isJson) writeQuietly(process.stdout, `${text}\n`);
    },
    stream: isJson ? null : process.stderr,
  });
  if (isJson) writeQuietly(process.stdout, `${JSON.stringify(result)}\n`);
  if (result.sourceSha256 !== result.backupSha256) {
    throw new CommandError('the two images differ; this must not happen, please report it');
  }
}
