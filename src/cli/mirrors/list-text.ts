import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { labelIdOf } from '../../mirror/ids.js';
import type { ShownMirror } from './attached.js';
import { ggateUris, nbdUri } from './endpoints.js';
import { flushText } from './status-text.js';

/** As `gmirror list` prints a mirror, with an empty line at its end; what only we know follows under names of ours. */
export function listLines(mirror: ShownMirror): string[] {
  const { mediaSizeBytes, sectorSizeBytes } = mirror;
  return [
    `Geom name: ${mirror.name}`,
    `State: ${mirror.state}`,
    `Components: ${mirror.components.length}`,
    `Balance: ${mirror.balance}`,
    `Slice: ${mirror.sliceBytes}`,
    `Flags: ${flagText(mirror.flags)}`,
    `GenID: ${mirror.genid}`,
    `SyncID: ${mirror.syncid}`,
    `ID: ${labelIdOf(mirror.uuid)}`,
    'Type: AUTOMATIC',
    'Providers:',
    `1. Name: mirror/${mirror.name}`,
    `   Mediasize: ${sizeText(mediaSizeBytes)}`,
    `   Sectorsize: ${sectorSizeBytes}`,
    `   Mode: ${modeOf(mirror)}`,
    ...endpointLines(mirror),
    ...attachedFields(mirror),
    ...flushFields(mirror),
    'Consumers:',
    ...mirror.components.flatMap((component, index) => componentLines(mirror, component, index + 1)),
    '',
  ];
}

/** One of each connection over NBD, which does not say whether it will write. */
function modeOf({ clients, ggate }: MirrorStatus): string {
  const sessions = ggate?.sessions ?? [];
  const nbdClients = clients - sessions.length;
  const readers = nbdClients + sessions.filter(({ access }) => access !== 'wo').length;
  const writers = nbdClients + sessions.filter(({ access }) => access !== 'ro').length;
  return `r${readers}w${writers}e0`;
}

const endpointLines = ({ name, nbd, ggate }: MirrorStatus): string[] => [
  ...nbd.map((address) => `   NBD: ${nbdUri(name, address)}`),
  ...ggateUris(ggate).map((uri) => `   Ggate: ${uri}`),
];

function componentLines(mirror: MirrorStatus, component: ComponentStatus, number: number): string[] {
  const { name, provider, state, priority, resync } = component;
  const fields = [
    ...(provider === null
      ? []
      : [`Mediasize: ${sizeText(provider.mediaSizeBytes)}`, `Sectorsize: ${provider.sectorSizeBytes}`]),
    `Mode: ${state === 'DISCONNECTED' ? 'r0w0e0' : 'r1w1e1'}`,
    `State: ${state}`,
    `Priority: ${priority}`,
    `Flags: ${flagText(component.flags)}`,
    `GenID: ${mirror.genid}`,
    `SyncID: ${mirror.syncid}`,
    ...(resync === null ? [] : resyncFields(resync)),
    `ID: ${labelIdOf(component.uuid)}`,
    ...ownFields(component),
  ];
  return [`${number}. Name: ${name}`, ...fields.map((field) => `   ${field}`)];
}

function attachedFields({ attached = null }: ShownMirror): string[] {
  if (attached === null) return [];
  const mounted = attached.mountPoints.map((mountPoint) => `   Mounted: ${mountPoint}`);
  return [`   Attached: ${attached.device} (${attached.way})`, ...mounted];
}

function flushFields({ flushes }: MirrorStatus): string[] {
  const text = flushText(flushes);
  return text === null ? [] : [`   Flush: ${text}`];
}

const flagText = (flags: readonly string[]): string => (flags.length === 0 ? 'NONE' : flags.join(', '));

const resyncFields = ({ copiedBytes, percent }: { copiedBytes: number; percent: number }): string[] => [
  ...(copiedBytes > 0 ? [`BytesSynced: ${copiedBytes}`] : []),
  `Synchronized: ${percent}%`,
];

function ownFields({ state, canFlush, markedBytes, errors, why }: ComponentStatus): string[] {
  return [
    ...(state !== 'DISCONNECTED' && !canFlush ? ['Flush: not known to this server'] : []),
    ...(state !== 'ACTIVE' && markedBytes > 0 ? [`Marked: ${sizeText(markedBytes)}`] : []),
    ...(errors > 0 ? [`Errors: ${errors}`] : []),
    ...(why === null ? [] : [`Why: ${why}`]),
  ];
}

const SUFFIXES = ['B', 'K', 'M', 'G', 'T', 'P'] as const;

/** '1048064 (1.0M)', as geom(8) writes sizes: three digits at most, one decimal below ten. */
function sizeText(bytes: number): string {
  let value = bytes;
  let index = 0;
  while (value >= 999.5 && index < SUFFIXES.length - 1) {
    value /= 1024;
    index += 1;
  }
  const text = index > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0);
  return `${bytes} (${text}${SUFFIXES[index] ?? ''})`;
}
