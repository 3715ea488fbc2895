import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { messageOf } from '../../protocol/errors.js';
import { DEFAULT_PORT } from '../../protocol/handshake.js';
import { systemClock } from '../../device/clock.js';
import { parseAllowRule } from '../../server/exports-file.js';
import { LOG_LEVELS, type LogLevel, standardOutput } from '../daemon/log.js';
import { createServeLog } from '../daemon/serve-log.js';
import { runDaemon } from '../daemon/run.js';
import { SYSTEM_BUFFERS, type DaemonSettings, type TlsSettings } from '../daemon/settings.js';
import { UsageError } from '../errors.js';
import { runDirOption, type RunDirFlags } from '../mirrors/run-dir.js';
import { parseInteger, parseSeconds, parseSize } from '../units.js';

/** As commander delivers them. */
interface ServeOptions extends RunDirFlags {
  readonly address?: string;
  readonly port: number;
  readonly rcvbuf: number;
  readonly sndbuf: number;
  readonly nagle?: boolean;
  readonly allow?: readonly string[];
  readonly exports?: string;
  readonly shared?: boolean;
  readonly diskTimeout?: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsPort?: number;
  readonly pidFile?: string;
  readonly logLevel: LogLevel;
}

const EXAMPLES = `
With --tls-cert, the port speaks TLS only. With --tls-port as well, that port speaks TLS and --port plain ggate.

Examples:
  ggmirror serve /root/images/site.img
      for clients on this machine only
  ggmirror serve --allow 192.168.1.100 /root/images/site.img
      for one other host, which may read and write
  ggmirror serve --allow 10.0.0.0/8,ro --allow 10.0.0.7 /dev/da1
      for a network to read, for one of its hosts to write; the last --allow that fits decides
  ggmirror serve --exports /etc/gg.exports
      as ggated does; a SIGHUP reads the file anew`;

/** `ggmirror serve`: offers images or disks to ggate clients, in the foreground. */
export function serveCommand(): Command {
  return new Command('serve')
    .description('offer images or disks to ggate clients')
    .argument('[images...]', 'images or disks to serve, each under its absolute path')
    .option(
      '-a, --address <address>',
      'listen here only (default: everywhere, or loopback if only it may come in)',
    )
    .addOption(integerOption('-p, --port <port>', 'listen on this port', 0, 0xffff).default(DEFAULT_PORT))
    .addOption(sizeOption('-R, --rcvbuf <bytes>', 'socket receive buffer'))
    .addOption(sizeOption('-S, --sndbuf <bytes>', 'socket send buffer'))
    .option('-n, --nagle', "leave Nagle's algorithm on")
    .addOption(allowOption())
    .addOption(new Option('--exports <file>', 'what to serve, and to whom, in the format of gg.exports'))
    .option(
      '--shared',
      'let several clients write to one image at the same time; not for components of mirrors',
    )
    .addOption(
      new Option('--disk-timeout <seconds>', 'a request that the disk takes longer for fails').argParser(
        parseSeconds,
      ),
    )
    .option('--tls-cert <file>', 'certificate chain (PEM); clients must speak TLS')
    .option('--tls-key <file>', "the certificate's private key (PEM)")
    .option('--tls-ca <file>', 'clients must show a certificate signed by this one (PEM)')
    .addOption(
      integerOption('--tls-port <port>', 'speak TLS on this port, and plain ggate on --port', 0, 0xffff),
    )
    .option('-F, --pid-file <file>', 'write the pid here, and refuse to start while another instance runs')
    .addOption(runDirOption())
    .addOption(
      new Option('--log-level <level>', 'log this and what is graver').choices(LOG_LEVELS).default('info'),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (images: string[], options: ServeOptions) => await serve(images, options));
}

const integerOption = (flags: string, description: string, min: number, max: number): Option =>
  new Option(flags, description).argParser(parseInteger(min, max));

const sizeOption = (flags: string, description: string): Option =>
  new Option(flags, description)
    .argParser(parseSize)
    .default(SYSTEM_BUFFERS, "the system's own, which adapts");

const allowOption = (): Option =>
  new Option(
    '--allow <address[/bits][,ro|wo|rw]>',
    'who may use the images, and how (repeatable; rw by default)',
  )
    .argParser((text, earlier: readonly string[] | undefined) => [...(earlier ?? []), text])
    .conflicts('exports');

async function serve(images: readonly string[], options: ServeOptions): Promise<void> {
  const settings = settingsOf(images, options);
  const log = createServeLog({
    output: standardOutput(),
    isTerminal: process.stdout.isTTY,
    level: options.logLevel,
  });
  await runDaemon(settings, { log, clock: systemClock, closeLog: async () => await Promise.resolve() });
  // A session that hangs in its disk must not keep us: init systems wait for our end.
  process.exit(0);
}

/** Throws UsageError for options that don't go together. */
export function settingsOf(images: readonly string[], options: ServeOptions): DaemonSettings {
  if (options.exports === undefined && images.length === 0) {
    throw new UsageError('name an image to serve, or an exports file with --exports FILE');
  }
  if (options.exports !== undefined && images.length > 0) {
    throw new UsageError('images and --exports exclude each other; add the images to the exports file');
  }
  for (const rule of options.allow ?? []) checkAllow(rule);
  const tls = tlsSettingsOf(options);
  return {
    exports:
      options.exports === undefined
        ? { kind: 'images', images: images.map((path) => resolve(path)), allow: options.allow ?? [] }
        : { kind: 'file', path: resolve(options.exports) },
    address: options.address ?? null,
    port: tls !== null && options.tlsPort === undefined ? null : options.port,
    tls,
    noDelay: options.nagle !== true,
    receiveBufferBytes: options.rcvbuf,
    sendBufferBytes: options.sndbuf,
    isShared: options.shared === true,
    diskTimeoutMs: options.diskTimeout === undefined ? null : options.diskTimeout * 1000,
    pidFile: options.pidFile === undefined ? null : resolve(options.pidFile),
    runDirectory: options.runDir,
  };
}

/** A mistake in the command line is told as one, before anything is opened. */
function checkAllow(rule: string): void {
  try {
    parseAllowRule(rule);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

function tlsSettingsOf(options: ServeOptions): TlsSettings | null {
  const { tlsCert, tlsKey, tlsCa, tlsPort } = options;
  if (tlsCert === undefined || tlsKey === undefined) {
    if (tlsCert !== undefined) throw new UsageError('--tls-cert needs its private key, --tls-key FILE');
    if (tlsKey !== undefined || tlsCa !== undefined || tlsPort !== undefined) {
      throw new UsageError('--tls-key, --tls-ca and --tls-port need a certificate, --tls-cert FILE');
    }
    return null;
  }
  if (tlsPort !== undefined && tlsPort !== 0 && tlsPort === options.port) {
    throw new UsageError('--port and --tls-port are the same; leave --tls-port out to speak TLS only');
  }
  return {
    certificateFile: resolve(tlsCert),
    keyFile: resolve(tlsKey),
    caFile: tlsCa === undefined ? null : resolve(tlsCa),
    port: tlsPort ?? options.port,
  };
}
