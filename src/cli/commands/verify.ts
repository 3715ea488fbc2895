import { Command } from 'commander';
import type { VerifyPlan } from '../../control/commands/verify.js';
import type { VerifyFinding, VerifyStatus } from '../../control/verify-status.js';
import { systemClock } from '../../device/clock.js';
import { REGION_SIZE_BYTES } from '../../protocol/geometry.js';
import { CommandError, InterruptedError, UsageError } from '../errors.js';
import { delayUnless, withSignals, type Interrupt } from '../interrupt.js';
import { addRunDirOption, ask, askStatus, type RunDirFlags } from '../mirrors/run-dir.js';
import { printResult } from '../output.js';
import { Progress } from '../progress.js';
import { formatBytes } from '../units.js';

interface VerifyFlags extends RunDirFlags {
  readonly repair?: boolean;
  readonly resume?: boolean;
  readonly stop?: boolean;
  readonly json?: boolean;
}

const POLL_MS = 200;

const EXAMPLES = `
Examples:
  ggmirror verify sites
  ggmirror verify --repair sites
      when it is known that what the preferred component has is right; it is said whose bytes win`;

/** `ggmirror verify`: compares the components of a running mirror. Exit status 1 if they differ. */
export function verifyCommand(): Command {
  const command = new Command('verify')
    .description('compare the components of a running mirror with each other; exit status 1 if they differ')
    .argument('<name>', 'the mirror')
    .option('--repair', 'overwrite what differs with what the preferred component has')
    .option('--resume', 'go on with a verify that was stopped')
    .option('--stop', 'stop the one that runs')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', EXAMPLES);
  return addRunDirOption(command).action(async (name: string, flags: VerifyFlags) => {
    const isStop = flags.stop === true;
    if (isStop && (flags.repair === true || flags.resume === true)) {
      throw new UsageError('--stop goes with neither --repair nor --resume');
    }
    const result = isStop
      ? await stop(name, flags)
      : await withSignals((interrupt) => run(name, flags, interrupt));
    printResult(flags.json === true, result, () => verifyLines(result));
    if (result.state === 'failed')
      throw new CommandError(`mirror/${name} is not verified: ${result.why ?? 'it failed'}`);
    if (result.components.some(isBad)) process.exitCode = 1;
  });
}

const request = (
  name: string,
  action: 'plan' | 'start' | 'stop',
  { repair = false, resume = false, ...flags }: VerifyFlags,
): Promise<unknown> =>
  ask(name, { command: 'verify', action, isRepairing: repair, isResumed: resume }, flags);

const stop = async (name: string, flags: VerifyFlags): Promise<VerifyStatus> =>
  (await request(name, 'stop', flags)) as VerifyStatus;

async function run(name: string, flags: VerifyFlags, interrupt: Interrupt): Promise<VerifyStatus> {
  const { source, others } = (await request(name, 'plan', flags)) as VerifyPlan;
  process.stderr.write(`comparing ${others.join(', ')} with ${source}\n`);
  if (flags.repair === true) {
    process.stderr.write(`what differs in ${others.join(', ')} is overwritten with what ${source} has\n`);
  }
  let verify = (await request(name, 'start', flags)) as VerifyStatus;
  const { totalBytes } = verify;
  const progress = new Progress({ clock: systemClock, stream: process.stderr, label: 'verify', totalBytes });
  let shownBytes = 0;
  try {
    while (verify.state === 'running' && interrupt.signalNumber === null) {
      progress.advance(verify.copiedBytes - shownBytes);
      shownBytes = verify.copiedBytes;
      await delayUnless(interrupt, POLL_MS);
      verify = await statusOf(name, flags);
    }
  } finally {
    progress.finish(false);
  }
  if (interrupt.signalNumber === null || verify.state !== 'running') return verify;
  await stop(name, flags);
  const message = `interrupted at ${verify.percent} %; 'ggmirror verify ${name} --resume' goes on from there`;
  throw new InterruptedError(message, interrupt.signalNumber);
}

async function statusOf(name: string, flags: RunDirFlags): Promise<VerifyStatus> {
  const { verify } = await askStatus(name, flags);
  if (verify === null) throw new CommandError(`mirror/${name} was started anew while it was verified`);
  return verify;
}

const namesOf = (components: readonly VerifyFinding[]): string =>
  components.map(({ name }) => name).join(', ');
const isBad = ({ differentBytes, unreadableBytes }: VerifyFinding): boolean =>
  differentBytes + unreadableBytes > 0;

/** For people, without line ends. */
export function verifyLines({ state, source, components, copiedBytes, totalBytes }: VerifyStatus): string[] {
  const others = components.filter(({ name }) => name !== source);
  const equal = others.filter(({ differentBytes }) => differentBytes === 0);
  const lines = components.flatMap((component) => findingLines(component, source));
  if (equal.length > 0) lines.unshift(`${namesOf(equal)}: the same as ${source}`);
  if (state === 'stopped')
    lines.push(`stopped; ${formatBytes(copiedBytes)} of ${formatBytes(totalBytes)} were compared`);
  return lines;
}

function findingLines(finding: VerifyFinding, source: string): string[] {
  const { name, differentBytes, repairedBytes, unreadableBytes, firstOffsetsBytes } = finding;
  const lines: string[] = [];
  if (unreadableBytes > 0) {
    lines.push(
      `${name}: ${formatBytes(unreadableBytes)} could not be read, and were rewritten from another component`,
    );
  }
  if (differentBytes === 0) return lines;
  const regions = Math.ceil(differentBytes / REGION_SIZE_BYTES);
  const places = regions === 1 ? '1 region' : `${regions} regions`;
  lines.push(
    `${name}: differs from ${source} in ${places} of 64 KiB, at byte ${firstOffsetsBytes.join(', ')}` +
      (firstOffsetsBytes.length < regions ? ', ...' : ''),
  );
  if (repairedBytes > 0)
    lines.push(`${name}: ${formatBytes(repairedBytes)} overwritten with what ${source} has`);
  if (repairedBytes < differentBytes) {
    lines.push(
      `${name}: what differs is marked; the next resync, or 'verify --repair', copies it from ${source}`,
    );
  }
  return lines;
}
