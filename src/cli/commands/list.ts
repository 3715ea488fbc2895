import { Command } from 'commander';
import { withAttachments } from '../mirrors/attached.js';
import { requireNoneDied } from '../mirrors/died.js';
import { listLines } from '../mirrors/list-text.js';
import { addRunDirOption, askStatuses, type RunDirFlags } from '../mirrors/run-dir.js';
import { printResult } from '../output.js';

interface ListFlags extends RunDirFlags {
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  ggmirror list sites
  ggmirror list --json | jq '.[].components[] | {name, state, markedBytes}'`;

/** `ggmirror list`: everything about running mirrors, as `gmirror list` prints it. */
export function listCommand(): Command {
  const command = new Command('list')
    .description('show everything about running mirrors')
    .argument('[name...]', 'only these')
    .option('--json', 'print everything as JSON')
    .addHelpText('after', EXAMPLES);
  return addRunDirOption(command).action(async (names: readonly string[], flags: ListFlags) => {
    const died: string[] = [];
    const statuses = await withAttachments(await askStatuses(names, flags, (one) => died.push(one)), flags);
    printResult(flags.json === true, statuses, () => statuses.flatMap(listLines));
    await requireNoneDied(died, flags);
  });
}
