import { Command } from 'commander';
import { runDemo } from '../demo/run.js';
import { CommandError } from '../errors.js';
import { withSignals, type Interrupt } from '../interrupt.js';
import { printResult, writeQuietly } from '../output.js';

interface DemoFlags {
  readonly keep?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  ggmirror demo
  ggmirror demo --keep
      to look at its images and logs afterwards`;

/** `ggmirror demo`: everything on one machine, without privileges, in a temporary folder. */
export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'show on this machine what ggmirror does: serve, copy, mirror, lose the server, go on, resync, compare',
    )
    .option('--keep', 'leave the temporary folder where it is')
    .option('--json', 'print only the result, as JSON')
    .addHelpText('after', EXAMPLES)
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
  printResult(isJson, result, () => []);
  const { mirror } = result;
  if (result.sourceSha256 !== result.backupSha256 || mirror.primarySha256 !== mirror.secondarySha256) {
    throw new CommandError('two images differ that must be the same; this must not happen, please report it');
  }
}
