import { Command, Option } from 'commander';
import { describeUse } from '../../device/usage.js';
import { checkPair, openSource, openTarget } from '../copy/open-ends.js';
import type { CopyEnd } from '../copy/end.js';
import { statePath } from '../copy/resume.js';
import { copyEnds, type CopySummary } from '../copy/session.js';
import { CommandError } from '../errors.js';
import { closeDevice, withSignals, type Interrupt } from '../interrupt.js';
import { printResult } from '../output.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';
import { formatBytes, formatRate, formatSeconds, parseInteger, parseSeconds } from '../units.js';

/** Sixteen of these are 4 MiB in flight: what a link of 1 Gbit/s holds at a round trip of 33 ms. */
const DEPTH = 16;
const CHUNK_BYTES = 262_144;

interface CopyFlags extends RemoteFlags {
  readonly force?: boolean;
  readonly verify?: boolean;
  readonly restart?: boolean;
  readonly dense?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly depth: number;
  readonly giveUp?: number;
}

const EXAMPLES = `
FROM and TO are image files, disks or ggate://host[:port]/path (ggates:// for TLS).
A file TO that does not exist is made. A TO that holds anything is overwritten only with --force, or when a person at a terminal says so.
An interrupted copy goes on where it was when the same command is run again.

Examples:
  ggmirror copy site.img ggate://192.168.1.101/root/images/sitesbackup.img
  ggmirror copy --verify ggate://192.168.1.101/root/images/sitesbackup.img restored.img`;

/** `ggmirror copy`: one disk onto another, of which either may be remote. */
export function copyCommand(): Command {
  const command = new Command('copy')
    .description('copy an image, a disk or a remote export onto another')
    .argument('<from>', 'what is read')
    .argument('<to>', 'what is overwritten')
    .option('-f, --force', 'overwrite TO whatever it holds')
    .option('--verify', 'compare both ends afterwards; exit status 1 if they differ')
    .option('--restart', 'start at the beginning, whatever an earlier run has copied')
    .option('--dense', 'read holes and send zeros like all other data')
    .addOption(new Option('--depth <n>', 'requests in flight').argParser(parseInteger(1, 256)).default(DEPTH))
    .addOption(
      new Option(
        '--give-up <seconds>',
        'fail when a connection is lost for so long (default: never)',
      ).argParser(parseSeconds),
    )
    .option('-q, --quiet', 'show no progress')
    .option('--json', 'print the summary as JSON');
  return addRemoteOptions(command)
    .addHelpText('after', EXAMPLES)
    .action((from: string, to: string, flags: CopyFlags) =>
      withSignals((interrupt) => copy({ from, to }, flags, interrupt)),
    );
}

interface Names {
  readonly from: string;
  readonly to: string;
}

async function copy(names: Names, flags: CopyFlags, interrupt: Interrupt): Promise<void> {
  const opening = {
    tls: tlsOf(flags),
    giveUpMs: flags.giveUp === undefined ? null : flags.giveUp * 1000,
  };
  const source = await openSource(names.from, opening);
  try {
    const target = await openTarget(names.to, source.device.mediaSizeBytes, opening);
    try {
      const summary = await copyOpened({ source, target }, names, flags, interrupt);
      report(summary, names, flags);
    } finally {
      await closeDevice(target.device, interrupt);
    }
  } finally {
    await closeDevice(source.device, interrupt);
  }
}

async function copyOpened(
  { source, target }: { readonly source: CopyEnd; readonly target: CopyEnd },
  names: Names,
  flags: CopyFlags,
  interrupt: Interrupt,
): Promise<CopySummary> {
  const stream = flags.quiet === true ? null : process.stderr;
  for (const note of checkPair(source, target, names)) stream?.write(`${note}\n`);
  const { name, file } = await target.identify();
  return await copyEnds({
    names,
    source,
    target,
    statePath: statePath(name, file !== null, process.env),
    depth: flags.depth,
    chunkBytes: CHUNK_BYTES,
    force: flags.force === true,
    restart: flags.restart === true,
    dense: flags.dense === true,
    verify: flags.verify === true,
    describeUse: (end) => describeUse(end.device, end.localPath ?? undefined),
    interrupt,
    stream,
  });
}

function report(summary: CopySummary, names: Names, flags: CopyFlags): void {
  printResult(flags.json === true, { ...names, ...summary }, () => linesOf(summary, names));
  const { verified } = summary;
  if (!summary.isDurable) {
    process.stderr.write(
      `warning: ${names.to} can't flush, so nobody knows when the data will survive a power cut there\n`,
    );
  }
  if (verified !== null && verified.differentRegions > 0) {
    throw new CommandError(
      `${names.from} and ${names.to} differ in ${verified.differentRegions} places, first at byte ` +
        verified.firstOffsetsBytes.join(', '),
    );
  }
}

function linesOf(summary: CopySummary, names: Names): string[] {
  const { seconds, mediaSizeBytes, startBytes, verified } = summary;
  const copiedBytes = mediaSizeBytes - startBytes;
  const rate = seconds > 0 ? `, ${formatRate(copiedBytes / seconds)}` : '';
  const zeros = summary.skippedBytes + summary.zeroedBytes;
  const lines = [
    `copied ${names.from} to ${names.to}: ${formatBytes(copiedBytes)} in ${formatSeconds(seconds)}${rate}`,
    `written ${formatBytes(summary.writtenBytes)}, zeros ${formatBytes(zeros)}` +
      (summary.isDurable ? ', flushed' : '') +
      (summary.reconnects > 0 ? `, ${summary.reconnects} reconnects` : ''),
  ];
  if (verified?.differentRegions === 0) lines.push(`verified by ${verified.how}: both ends are identical`);
  return lines;
}
