import type { ComponentSpec } from '../../control/component-spec.js';
import type { TlsFiles } from '../../server/tls-options.js';
import { formatSeconds } from '../units.js';
import type { MirrorSettings } from './settings.js';

type Pair = readonly [key: string, value: string | number | boolean | null];

/** What would run, for people, by the keys of the configuration file. Without line ends; paths are as the daemon sees them. */
export function settingsLines(settings: MirrorSettings): string[] {
  const { name, components } = settings;
  return [
    `mirror/${name}`,
    ...components.map((one) => `  ${componentText(one)}`),
    ...[...conductPairs(settings), ...frontPairs(settings), ...aroundPairs(settings)]
      .filter(([, value]) => value !== null)
      .map(([key, value]) => `  ${key}: ${String(value)}`),
  ];
}

const conductPairs = (settings: MirrorSettings): Pair[] => [
  ['start-policy', settings.startPolicy ?? 'safe'],
  ['source', settings.source ?? null],
  ['balance', settings.balance],
  ['slice', settings.sliceBytes],
  ['timeout', settings.timeoutMs / 1000],
  ['autosync', settings.isAutosync],
  ['resync-rate', settings.resyncBytesPerSecond],
  ['after-split-brain', settings.afterSplitBrain],
  ['unsafe-flush', settings.isUnsafeFlushWanted],
];

const frontPairs = ({ nbdPath, nbdTcp, ggate }: MirrorSettings): Pair[] => [
  ['nbd-socket', nbdPath],
  ['nbd-address', nbdTcp?.host ?? null],
  ['nbd-port', nbdTcp?.port ?? null],
  ...tlsPairs('nbd', nbdTcp?.tls ?? null),
  ['ggate-address', ggate?.address ?? null],
  ['ggate-port', ggate?.port ?? null],
  ['allow', ggate === null || ggate.allow.length === 0 ? null : ggate.allow.join(' ')],
  ...tlsPairs('ggate', ggate?.tls ?? null),
];

const tlsPairs = (front: string, tls: TlsFiles | null): Pair[] => [
  [`${front}-tls-cert`, tls?.certificate ?? null],
  [`${front}-tls-key`, tls?.key ?? null],
  [`${front}-tls-ca`, tls?.authority ?? null],
];

const aroundPairs = ({ remoteTls, hook, runDirectory, logLevel }: MirrorSettings): Pair[] => [
  ['tls-ca', remoteTls.tlsCa ?? null],
  ['tls-cert', remoteTls.tlsCert ?? null],
  ['tls-key', remoteTls.tlsKey ?? null],
  ['hook', hook],
  ['run-dir', runDirectory],
  ['log-level', logLevel],
];

function componentText({ provider, area, priority, timeoutMs }: ComponentSpec): string {
  const parts = [
    ...(area === null ? [] : [`area ${area}`]),
    ...(priority === null ? [] : [`priority ${priority}`]),
    ...(timeoutMs === null ? [] : [`time-out ${formatSeconds(timeoutMs / 1000)}`]),
  ];
  return parts.length === 0 ? provider : `${provider} (${parts.join(', ')})`;
}
