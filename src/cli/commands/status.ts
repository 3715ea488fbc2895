import { Command } from 'commander';
import { delayUnless, withSignals, type Interrupt } from '../interrupt.js';
import { withAttachments } from '../mirrors/attached.js';
import { addRunDirOption, askStatuses, type RunDirFlags } from '../mirrors/run-dir.js';
import { attachedLines, detailLines, statusLines } from '../mirrors/status-text.js';
import { resultText, writeQuietly } from '../output.js';

interface StatusFlags extends RunDirFlags {
  readonly script?: boolean;
  readonly geom?: boolean;
  readonly json?: boolean;
  readonly watch?: boolean;
}

const WATCH_MS = 1_000;
/** Cursor to the corner; erase to the end of the line; erase what is below. */
const HOME = '\u001b[H';
const ERASE_LINE = '\u001b[K';
const ERASE_BELOW = '\u001b[J';
const ERASE_SCREEN = '\u001b[2J';

/** `ggmirror status`: running mirrors and their components, as `gmirror status` prints them. */
export function statusCommand(): Command {
  const command = new Command('status')
    .description('show running mirrors and the state of their components')
    .argument('[name]', 'only this one')
    .option('-s, --script', 'no header, every line complete')
    .option('-g, --geom', "names without 'mirror/'")
    .option('--json', 'print everything that is known, as JSON')
    .option('--watch', 'go on showing it, with rate and time left of what is copied');
  return addRunDirOption(command).action(async (name: string | undefined, flags: StatusFlags) => {
    if (flags.watch !== true) writeQuietly(process.stdout, await render(name, flags));
    else await withSignals(async (interrupt) => await watch(name, flags, interrupt));
  });
}

/** With its line ends. */
async function render(name: string | undefined, flags: StatusFlags): Promise<string> {
  const statuses = await withAttachments(await askStatuses(name, flags), flags);
  const look = { isScript: flags.script === true, isGeomName: flags.geom === true };
  return resultText(flags.json === true, statuses, () => [
    ...statusLines(statuses, look),
    ...(look.isScript ? [] : attachedLines(statuses)),
    ...(flags.watch === true ? detailLines(statuses) : []),
  ]);
}

/** On a terminal the screen is redrawn every second; elsewhere what changed is printed. Until a signal ends it. */
async function watch(name: string | undefined, flags: StatusFlags, interrupt: Interrupt): Promise<void> {
  const isTerminal = process.stdout.isTTY && flags.json !== true;
  if (isTerminal) writeQuietly(process.stdout, ERASE_SCREEN);
  let shown = '';
  while (interrupt.signalNumber === null) {
    const text = await render(name, flags);
    if (isTerminal) {
      writeQuietly(process.stdout, `${HOME}${text.replaceAll('\n', `${ERASE_LINE}\n`)}${ERASE_BELOW}`);
    } else if (text !== shown) writeQuietly(process.stdout, text);
    shown = text;
    await delayUnless(interrupt, WATCH_MS);
  }
}
