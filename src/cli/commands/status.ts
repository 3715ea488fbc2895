import { Command } from 'commander';
import { CommandError, UsageError } from '../errors.js';
import { delayUnless, withSignals, type Interrupt } from '../interrupt.js';
import { withAttachments } from '../mirrors/attached.js';
import { CHECK_EXIT, checkStatuses } from '../mirrors/check-status.js';
import { diedText, requireNoneDied } from '../mirrors/died.js';
import { addRunDirOption, askStatuses, type RunDirFlags } from '../mirrors/run-dir.js';
import { attachedLines, detailLines, flushLines, statusLines, waitingLines } from '../mirrors/status-text.js';
import { printResult, resultText, writeQuietly } from '../output.js';

interface StatusFlags extends RunDirFlags {
  readonly script?: boolean;
  readonly geom?: boolean;
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly check?: boolean;
}

const WATCH_MS = 1_000;
/** Cursor to the corner; erase to the end of the line; erase what is below. */
const HOME = '\u001b[H';
const ERASE_LINE = '\u001b[K';
const ERASE_BELOW = '\u001b[J';
/** A screen of its own, without a cursor; and back to what was there before. */
const OPEN_SCREEN = '\u001b[?1049h\u001b[?25l';
const CLOSE_SCREEN = '\u001b[?25h\u001b[?1049l';

const EXIT_STATUSES_AND_EXAMPLES = `
Exit status of --check:
  0  every mirror is COMPLETE
  1  it can't be told: no mirror runs, or one does not answer or has died
  3  a mirror is DEGRADED, and what is missing is being copied
  4  a mirror is DEGRADED, and a component is not there, waits for a person, or is deactivated; or its flushes fail
  5  a component was written without its mirror (SPLIT BRAIN, NEWER), is another mirror's, or has another size (RESIZED);
     also without --check

Examples:
  ggmirror status --watch
      until ctrl-C
  ggmirror status --check sites
      in a line, for a monitor that looks at the exit status`;

/** `ggmirror status`: running mirrors and their components, as `gmirror status` prints them. */
export function statusCommand(): Command {
  const command = new Command('status')
    .description('show running mirrors and the state of their components')
    .argument('[name...]', 'only these')
    .option('-s, --script', 'no header, every line complete')
    .option('-g, --geom', "names without 'mirror/'")
    .option('--json', 'print everything that is known, as JSON')
    .option('--watch', 'go on showing it, with rate and time left of what is copied')
    .option('--check', 'for monitoring: a line for each mirror, and an exit status')
    .addHelpText('after', EXIT_STATUSES_AND_EXAMPLES);
  return addRunDirOption(command).action(async (names: readonly string[], flags: StatusFlags) => {
    if (flags.check === true) await check(names, flags);
    else if (flags.watch !== true) await show(names, flags);
    else await withSignals(async (interrupt) => await watch(names, flags, interrupt));
  });
}

async function check(names: readonly string[], flags: StatusFlags): Promise<void> {
  if (flags.watch === true) throw new UsageError('--check looks once; leave out --watch');
  const died: string[] = [];
  const statuses = await askStatuses(names, flags, (one) => died.push(one));
  const { exitCode, lines } = checkStatuses(statuses);
  printResult(flags.json === true, statuses, () => lines);
  await requireNoneDied(died, flags);
  if (statuses.length === 0) throw new CommandError('no mirror runs');
  process.exitCode = exitCode;
}

async function show(names: readonly string[], flags: StatusFlags): Promise<void> {
  const died: string[] = [];
  writeQuietly(process.stdout, await render(names, flags, died));
  await requireNoneDied(died, flags);
}

/** With its line ends. Those that have died are added to `died`. */
async function render(names: readonly string[], flags: StatusFlags, died: string[]): Promise<string> {
  const answers = await askStatuses(names, flags, (one) => died.push(one));
  const statuses = await withAttachments(answers, flags);
  const { splitBrain, complete } = CHECK_EXIT;
  process.exitCode = checkStatuses(statuses).exitCode === splitBrain ? splitBrain : complete;
  const look = { isScript: flags.script === true, isGeomName: flags.geom === true };
  return resultText(flags.json === true, statuses, () => [
    ...statusLines(statuses, look),
    ...(look.isScript
      ? []
      : [...waitingLines(statuses), ...attachedLines(statuses), ...flushLines(statuses)]),
    ...(flags.watch === true ? detailLines(statuses) : []),
  ]);
}

/** On a terminal the screen is redrawn every second; elsewhere what changed is printed. Until a signal ends it. */
async function watch(names: readonly string[], flags: StatusFlags, interrupt: Interrupt): Promise<void> {
  const isTerminal = process.stdout.isTTY && flags.json !== true;
  if (isTerminal) writeQuietly(process.stdout, OPEN_SCREEN);
  try {
    let shown = '';
    while (interrupt.signalNumber === null) {
      const died: string[] = [];
      const alive = await render(names, flags, died);
      const lines = flags.json === true ? [] : await Promise.all(died.map((one) => diedText(one, flags)));
      const text = [alive, ...lines.map((line) => `${line}\n`)].join('');
      if (isTerminal) {
        writeQuietly(process.stdout, `${HOME}${text.replaceAll('\n', `${ERASE_LINE}\n`)}${ERASE_BELOW}`);
      } else if (text !== shown) writeQuietly(process.stdout, text);
      shown = text;
      await delayUnless(interrupt, WATCH_MS);
    }
  } finally {
    if (isTerminal) writeQuietly(process.stdout, CLOSE_SCREEN);
  }
}
