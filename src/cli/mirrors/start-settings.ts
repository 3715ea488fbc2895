import { mirrorPaths } from '../../control/paths.js';
import type { StartPolicy } from '../../control/start-policy.js';
import { SLOT_COUNT } from '../../protocol/superblock.js';
import type { TlsFiles } from '../../server/tls-options.js';
import { UsageError } from '../errors.js';
import type { ComponentSpec } from '../../control/component-spec.js';
import type { GgateSettings, MirrorSettings } from './settings.js';
import { ALL_START_OPTIONS, type GivenOptions, type StartOptions } from './start-options.js';

/** Throws UsageError and ProtocolError for what can be seen to be wrong before anything is opened. */
export function settingsOf(
  name: string,
  components: readonly ComponentSpec[],
  options: StartOptions,
): MirrorSettings {
  mirrorPaths(options.runDir, name);
  checkComponents(components);
  const { tlsCa, tlsCert, tlsKey } = options;
  if ((tlsCert === null) !== (tlsKey === null)) throw new UsageError('tls-cert and tls-key go together');
  return {
    name,
    components,
    degraded: options.degraded,
    startPolicy: startPolicyOf(options),
    respectsUsers: false,
    refusesDoubt: false,
    allowsMixture: false,
    source: null,
    balance: options.balance,
    sliceBytes: options.slice,
    timeoutMs: options.timeout * 1000,
    isAutosync: options.autosync,
    resyncBytesPerSecond: options.resyncRate,
    afterSplitBrain: options.afterSplitBrain,
    isUnsafeFlushWanted: options.unsafeFlush,
    runDirectory: options.runDir,
    nbdPath: options.nbdSocket,
    nbdTcp: nbdTcpOf(options),
    ggate: ggateSettingsOf(options),
    remoteTls: withoutNull({ tlsCa, tlsCert, tlsKey }),
    hook: options.hook,
    logLevel: options.logLevel,
  };
}

function startPolicyOf({ degraded, startPolicy }: StartOptions): StartPolicy | null {
  if (!degraded || startPolicy === null || startPolicy === 'degraded')
    return degraded ? 'degraded' : startPolicy;
  throw new UsageError('degraded and start-policy say different things; leave degraded out');
}

/** What was given only makes sense with a port; a file may say it for all mirrors, not all of which have one. */
export function checkGgateOptions(given: GivenOptions): void {
  const { ggatePort, allow, ggateAddress, ggateTlsCert, ggateTlsKey, ggateTlsCa } = given;
  if ((ggatePort ?? null) !== null) return;
  const others = { allow, ggateAddress, ggateTlsCert, ggateTlsKey, ggateTlsCa };
  const [name] = Object.entries(others).find(([, value]) => (value ?? null) !== null) ?? [];
  const option = ALL_START_OPTIONS.find((one) => one.name === name);
  if (option === undefined) return;
  throw new UsageError(`--${option.key} is for ggate clients; add --ggate-port PORT, where they come in`);
}

function ggateSettingsOf(options: StartOptions): GgateSettings | null {
  const { ggatePort: port, ggateAddress: address, allow, ggateTlsCert, ggateTlsKey, ggateTlsCa } = options;
  if (port === null) return null;
  const tls = tlsFilesOf('ggate', [ggateTlsCert, ggateTlsKey, ggateTlsCa]);
  return { port, address, allow: allow ?? [], tls };
}

function nbdTcpOf(options: StartOptions): MirrorSettings['nbdTcp'] {
  const { nbdPort, nbdAddress, nbdTlsCert, nbdTlsKey, nbdTlsCa } = options;
  const tls = tlsFilesOf('nbd', [nbdTlsCert, nbdTlsKey, nbdTlsCa]);
  if (nbdPort === null) {
    if (tls !== null) throw new UsageError('TLS for NBD clients needs an nbd-port: the Unix socket has none');
    return null;
  }
  return { host: nbdAddress, port: nbdPort, tls };
}

/** Of certificate, key and authority; null if there are none. */
function tlsFilesOf(
  what: 'ggate' | 'nbd',
  [certificate, key, authority]: readonly [string | null, string | null, string | null],
): TlsFiles | null {
  if (certificate !== null && key !== null) return { certificate, key, authority, option: `--${what}-tls-` };
  if (certificate === null && key === null && authority === null) return null;
  throw new UsageError(`TLS for ${what} clients needs both ${what}-tls-cert and ${what}-tls-key`);
}

function checkComponents(components: readonly ComponentSpec[]): void {
  if (components.length > SLOT_COUNT) throw new UsageError(`a mirror has at most ${SLOT_COUNT} components`);
  const names = components.map(({ provider }) => provider);
  const areas = components.flatMap(({ area }) => area ?? []);
  const twice =
    names.find((one, index) => names.indexOf(one) !== index) ??
    areas.find((one, index) => areas.indexOf(one) !== index);
  if (twice !== undefined) throw new UsageError(`${twice} is given twice`);
}

const withoutNull = (fields: Record<string, string | null>): Record<string, string> =>
  Object.fromEntries(Object.entries(fields).filter((pair): pair is [string, string] => pair[1] !== null));
