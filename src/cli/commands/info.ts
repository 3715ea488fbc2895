import { Command, Option } from 'commander';
import { probeAccess } from '../../client/probe-access.js';
import type { ServerTerms } from '../../client/handshake.js';
import type { ClientTls } from '../../client/options.js';
import { DeviceError } from '../../device/block-device.js';
import { openFile } from '../../device/file-device.js';
import { describeUse } from '../../device/usage.js';
import type { AccessMode } from '../../protocol/handshake.js';
import { formatGgateUri, isGgateUri, parseGgateUri, type GgateUri } from '../../protocol/uri.js';
import { alignPairs, printResult } from '../output.js';
import { addRemoteOptions, tlsOf, type RemoteFlags } from '../remote-options.js';
import { openWatched } from '../remote.js';
import { formatBytes, formatCount, formatMilliseconds, parseInteger } from '../units.js';

interface InfoFlags extends RemoteFlags {
  readonly count: number;
  readonly json?: boolean;
}

/** 'granted', or the errno of the refusal. */
type ModeAnswers = Readonly<Record<AccessMode, string>>;

/** What `info --json` prints. */
interface Info {
  readonly uri: string;
  readonly kind: 'remote' | 'file' | 'disk';
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly modes: ModeAnswers;
  /** What speaks against overwriting it, a clause without subject; null when it looks empty or can't be read. */
  readonly use: string | null;
  /** Null for what is local. */
  readonly server: {
    readonly isGgmirror: boolean;
    readonly address: string | null;
    readonly extensions: readonly string[];
    readonly instanceId: string | null;
    readonly bootId: string | null;
    readonly roundTripMs: number | null;
  } | null;
}

const MODES = ['rw', 'ro', 'wo'] as const satisfies readonly AccessMode[];
const MODE_NAMES = { rw: 'read and write', ro: 'read only', wo: 'write only' } as const;

const EXAMPLES = `
Examples:
  ggmirror info ggate://192.168.1.101/root/images/sites.img
  ggmirror info /dev/sdb`;

/** `ggmirror info`: what can be learned about a device without changing anything. */
export function infoCommand(): Command {
  const command = new Command('info')
    .description('show size, access, extensions and round-trip time of an export, or of a local disk')
    .argument('<uri>', 'ggate://host[:port]/path (ggates:// for TLS), an image file or a disk')
    .addOption(
      new Option('-c, --count <n>', 'round trips to measure').argParser(parseInteger(1, 1000)).default(11),
    )
    .option('--json', 'print everything as JSON')
    .addHelpText('after', EXAMPLES);
  return addRemoteOptions(command).action(async (uri: string, flags: InfoFlags) => {
    const info = isGgateUri(uri)
      ? await remoteInfo(parseGgateUri(uri), tlsOf(flags), flags.count)
      : await localInfo(uri);
    printResult(flags.json === true, info, () => linesOf(info));
  });
}

async function localInfo(path: string): Promise<Info> {
  const device = await openFile(path, { access: 'ro' });
  try {
    const { mediaSizeBytes, sectorSizeBytes, kind, media } = device;
    const canWrite = media.isReadOnly ? 'EACCES' : 'granted';
    const modes = { rw: canWrite, ro: 'granted', wo: canWrite };
    const use = await describeUse(device, path);
    return { uri: path, kind, mediaSizeBytes, sectorSizeBytes, modes, use, server: null };
  } finally {
    await device.close();
  }
}

async function remoteInfo(uri: GgateUri, tls: ClientTls, count: number): Promise<Info> {
  const { modes, terms } = await probeModes(uri, tls);
  const name = formatGgateUri(uri);
  // A session of a writer could take the place of another one of the same host, so only a reader's is opened.
  const session = modes.ro === 'granted' ? await readerInfo(name, tls, count) : null;
  const { hello, mediaSizeBytes, sectorSizeBytes } = terms;
  return {
    uri: name,
    kind: 'remote',
    mediaSizeBytes,
    sectorSizeBytes,
    modes,
    use: session?.use ?? null,
    server: session?.server ?? {
      isGgmirror: hello !== null,
      address: null,
      extensions: hello?.features.names() ?? [],
      instanceId: hello?.instanceId.toString('hex') ?? null,
      bootId: hello?.bootId.toString('hex') ?? null,
      roundTripMs: null,
    },
  };
}

/** Throws the first refusal when every mode is refused, and what isn't a refusal at once. */
async function probeModes(
  uri: GgateUri,
  tls: ClientTls,
): Promise<{ readonly modes: ModeAnswers; readonly terms: ServerTerms }> {
  const modes = { rw: '', ro: '', wo: '' };
  let terms: ServerTerms | null = null;
  let refusal: DeviceError | null = null;
  for (const mode of MODES) {
    try {
      terms = await probeAccess({ uri, tls }, mode);
      modes[mode] = 'granted';
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code !== 'DEVICE_REFUSED') throw error;
      refusal ??= error;
      modes[mode] = error.errno;
    }
  }
  if (terms === null) throw refusal ?? new Error('no mode was tried');
  return { modes, terms };
}

async function readerInfo(
  name: string,
  tls: ClientTls,
  count: number,
): Promise<Pick<Info, 'server' | 'use'>> {
  const { device } = await openWatched(name, { access: 'ro', tls, giveUpMs: 0, flushProbe: 'never' });
  try {
    const timesMs = (await device.roundTripMs(count)).sort((a, b) => a - b);
    const { isGgmirror, address, extensions, instanceId, bootId } = device.session;
    const roundTripMs = timesMs[Math.floor(timesMs.length / 2)] ?? null;
    const use = await describeUse(device);
    return { use, server: { isGgmirror, address, extensions, instanceId, bootId, roundTripMs } };
  } finally {
    await device.close();
  }
}

function linesOf(info: Info): string[] {
  const { mediaSizeBytes, sectorSizeBytes, modes, server } = info;
  const sectors = formatCount(mediaSizeBytes / sectorSizeBytes);
  const pairs: [string, string][] = [
    ['name', info.uri],
    ['size', `${formatBytes(mediaSizeBytes)} (${formatCount(mediaSizeBytes)} bytes)`],
    ['sectors', `${sectors} of ${sectorSizeBytes} bytes`],
    ...MODES.map((mode): [string, string] => [MODE_NAMES[mode], modeText(modes[mode])]),
    ['use', info.use ?? (modes.ro === 'granted' ? 'looks empty' : 'unknown, it may not be read')],
  ];
  if (server !== null) {
    const { roundTripMs, extensions } = server;
    pairs.push(
      ['server', server.isGgmirror ? 'ggmirror' : 'ggated, or another without extensions'],
      ['extensions', extensions.length === 0 ? 'none' : extensions.join(', ')],
      ['instance', server.instanceId ?? 'not told'],
      ['round trip', roundTripMs === null ? 'not measured' : `${formatMilliseconds(roundTripMs)} (median)`],
    );
  }
  return alignPairs(pairs);
}

function modeText(answer: string): string {
  if (answer === 'granted') return 'yes';
  return answer === 'EBUSY' ? 'not now: another client is writing (EBUSY)' : `refused: ${answer}`;
}
