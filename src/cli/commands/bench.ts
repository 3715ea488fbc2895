import { Command, Option } from 'commander';
import { systemClock } from '../../device/clock.js';
import { systemRandom } from '../../device/random.js';
import { describeUse } from '../../device/usage.js';
import { Load, type LoadMode } from '../bench/load.js';
import { linesOf, resultOf } from '../bench/report.js';
import { watchLoad } from '../bench/watch.js';
import { CommandError, InterruptedError, UsageError } from '../errors.js';
import { closeDevice, withSignals, type Interrupt } from '../interrupt.js';
import { openDevice, type OpenedDevice } from '../open-device.js';
import { printResult } from '../output.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';
import { parseInteger, parseSeconds, parseSize } from '../units.js';

interface BenchFlags extends RemoteFlags {
  readonly block: number;
  readonly depth: number;
  readonly time: number;
  readonly mode: LoadMode;
  readonly sequential?: boolean;
  readonly verify?: boolean;
  readonly flush?: number;
  readonly span?: number;
  readonly force?: boolean;
  readonly giveUp: number;
  readonly json?: boolean;
}

/** With verify there is a version of four bytes and a mark of one for each block: 80 MiB at most. */
const VERIFIED_BLOCKS_MAX = 16_777_216;
/** A longer request would be split anyway, and every slot has a buffer of this size. */
const BLOCK_BYTES_MAX = 16_777_216;

const EXAMPLES = `
URI is ggate://host[:port]/path (ggates:// for TLS), an image file or a disk.
Writing destroys what URI holds; if it holds anything, --force is needed.

Examples:
  ggmirror bench -t 10 ggate://192.168.1.101/root/images/scratch.img
  ggmirror bench -m mix -V -F 100 -t 600 --force ggate://192.168.1.101/root/images/scratch.img`;

/** `ggmirror bench`: how fast a device is, and whether it gives back what was written. */
export function benchCommand(): Command {
  const command = new Command('bench')
    .description('measure the speed of an export or a disk, and check what it stores')
    .argument('<uri>', 'what is measured')
    .addOption(option('-b, --block <bytes>', 'size of a request').argParser(parseSize).default(4096, '4k'))
    .addOption(option('-q, --depth <n>', 'requests in flight').argParser(parseInteger(1, 1024)).default(32))
    .addOption(option('-t, --time <seconds>', 'how long').argParser(parseSeconds).default(5))
    .addOption(option('-m, --mode <mode>', 'what to do').choices(['read', 'write', 'mix']).default('read'))
    .option('-s, --sequential', 'go through the device in order instead of at random')
    .option('-V, --verify', 'check every block that is read against what was written')
    .addOption(option('-F, --flush <n>', 'flush after every n writes').argParser(parseInteger(1, 1e9)))
    .addOption(option('--span <bytes>', 'use only the first bytes (default: all)').argParser(parseSize))
    .option('-f, --force', 'write to a device that holds something')
    .addOption(
      option('--give-up <seconds>', 'fail when the connection is lost for so long')
        .argParser(parseSeconds)
        .default(60),
    )
    .option('--json', 'print the result as JSON');
  return addRemoteOptions(command)
    .addHelpText('after', EXAMPLES)
    .action((uri: string, flags: BenchFlags) => withSignals((interrupt) => bench(uri, flags, interrupt)));
}

const option = (flags: string, description: string): Option => new Option(flags, description);

async function bench(uri: string, flags: BenchFlags, interrupt: Interrupt): Promise<void> {
  const writes = flags.mode !== 'read';
  if (flags.verify === true && !writes) {
    throw new UsageError('--verify checks what this run writes; use it with --mode write or mix');
  }
  if (flags.flush !== undefined && !writes) throw new UsageError('--flush needs --mode write or mix');
  const opened = await openDevice(uri, {
    access: writes ? 'rw' : 'ro',
    tls: tlsOf(flags),
    giveUpMs: flags.giveUp * 1000,
    flushProbe: flags.flush === undefined ? 'never' : 'once',
  });
  try {
    if (writes && flags.force !== true) await refuseUsed(uri, opened);
    await measure(uri, opened, flags, interrupt);
  } finally {
    await closeDevice(opened.device, interrupt);
  }
}

async function measure(
  uri: string,
  opened: OpenedDevice,
  flags: BenchFlags,
  interrupt: Interrupt,
): Promise<void> {
  const { device } = opened;
  if (flags.flush !== undefined && !device.can.flush) throw new CommandError(`${uri} can't flush`);
  const load = new Load({
    device,
    mode: flags.mode,
    blockBytes: flags.block,
    depth: flags.depth,
    durationMs: flags.time * 1000,
    isSequential: flags.sequential === true,
    blockCount: blockCountOf(uri, opened, flags),
    verifies: flags.verify === true,
    flushEvery: flags.flush ?? 0,
    clock: systemClock,
    random: systemRandom,
  });
  const release = interrupt.onInterrupt(() => load.stop());
  const stopWatching = watchLoad(load, flags.time * 1000, {
    clock: systemClock,
    stream: process.stderr,
    blockBytes: flags.block,
    watch: (onStatus) => opened.watch?.(onStatus),
  });
  try {
    await load.run();
  } finally {
    stopWatching();
    release();
  }
  const result = resultOf(load, { ...flags, uri, reconnects: opened.reconnectCount() });
  printResult(flags.json === true, result, () => linesOf(result));
  if (interrupt.signalNumber !== null) {
    throw new InterruptedError('interrupted; the result is of the time until then', interrupt.signalNumber);
  }
  if (result.errors > 0 || result.mismatches > 0) {
    throw new CommandError(
      `${uri}: ${result.errors} errors and ${result.mismatches} mismatches` +
        (result.firstError === null ? '' : `; first error: ${result.firstError}`),
    );
  }
}

/** Throws UsageError for sizes that don't fit the device. */
function blockCountOf(uri: string, { device }: OpenedDevice, flags: BenchFlags): number {
  const { sectorSizeBytes, mediaSizeBytes } = device;
  const { block, depth } = flags;
  if (block < 512 || block > BLOCK_BYTES_MAX || block % sectorSizeBytes !== 0) {
    throw new UsageError(
      `--block ${block}: it has to be a multiple of the sector size, ${sectorSizeBytes}, and at most 16 MiB`,
    );
  }
  const spanBytes = Math.min(flags.span ?? mediaSizeBytes, mediaSizeBytes);
  const countMax = flags.verify === true ? VERIFIED_BLOCKS_MAX : Number.POSITIVE_INFINITY;
  const count = Math.min(Math.floor(spanBytes / block), countMax);
  if (count === 0) throw new UsageError(`${uri} is smaller than one block of ${block} bytes`);
  if (flags.verify === true && count <= depth) {
    throw new UsageError(`--verify needs more blocks than requests in flight; ${uri} has ${count} blocks`);
  }
  return count;
}

async function refuseUsed(uri: string, { device, localPath }: OpenedDevice): Promise<void> {
  const use = await describeUse(device, localPath ?? undefined);
  if (use === null) return;
  throw new CommandError(`${uri} ${use}. Writing would destroy it; if that is what you want, add --force`);
}
