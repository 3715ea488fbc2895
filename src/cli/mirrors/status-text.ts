import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { attachedText } from '../attach/attachment.js';
import type { ShownMirror } from './attached.js';
import { formatBytes, formatRate, formatSeconds } from '../units.js';

export interface StatusLook {
  /** No header, and name and status on every line. */
  readonly isScript: boolean;
  /** 'data' in place of 'mirror/data'. */
  readonly isGeomName: boolean;
}

interface Row {
  readonly name: string;
  readonly status: string;
  readonly component: string;
}

/**
 * As `gmirror status` prints it, but for components that are not there: those are shown too, as DISCONNECTED. Without
 * line ends; nothing without mirrors.
 */
export function statusLines(mirrors: readonly MirrorStatus[], look: StatusLook): string[] {
  const rows = mirrors.flatMap((mirror) => rowsOf(mirror, look));
  if (rows.length === 0) return [];
  const header: Row = { name: 'Name', status: 'Status', component: 'Components' };
  const nameWidth = Math.max(...[header, ...rows].map(({ name }) => name.length));
  const statusWidth = Math.max(...[header, ...rows].map(({ status }) => status.length));
  return (look.isScript ? rows : [header, ...rows]).map(
    ({ name, status, component }) =>
      `${name.padStart(nameWidth)}  ${status.padStart(statusWidth)}  ${component}`,
  );
}

function rowsOf(mirror: MirrorStatus, look: StatusLook): Row[] {
  const name = look.isGeomName ? mirror.name : `mirror/${mirror.name}`;
  const texts = mirror.components.map((one) => `${one.name} (${stateText(one)})`);
  return (texts.length === 0 ? ['N/A'] : texts).map((component, index) =>
    index === 0 || look.isScript
      ? { name, status: mirror.state, component }
      : { name: '', status: '', component },
  );
}

/** gmirror does not show at all what is deactivated; its word for that is that of `list`. */
function stateText({ state, resync, isInactive, refused }: ComponentStatus): string {
  if (isInactive) return `${state}, INACTIVE`;
  if (refused !== null) return `${state}, ${refused.outcome.toUpperCase()}`;
  return resync === null ? state : `${state}, ${resync.percent}%`;
}

/** 'NAME (STATE): why', of a component that is not as it should be. */
export function troubleText(component: ComponentStatus): string {
  const { name, why, isInactive } = component;
  return `${name} (${stateText(component)})${why === null || isInactive ? '' : `: ${why}`}`;
}

/** Mirrors that do not run yet, and why. */
export const waitingLines = (mirrors: readonly MirrorStatus[]): string[] =>
  mirrors.flatMap(({ name, waitsFor }) => (waitsFor === null ? [] : [`mirror/${name} waits: ${waitsFor}`]));

/** Mirrors whose flushes nobody keeps, and what becomes of those. */
export const flushLines = (mirrors: readonly Pick<MirrorStatus, 'name' | 'flushes'>[]): string[] =>
  mirrors.flatMap(({ name, flushes }) => {
    const text = flushText(flushes);
    return text === null ? [] : [`mirror/${name}: ${text}`];
  });

export function flushText(flushes: MirrorStatus['flushes']): string | null {
  if (flushes === 'kept') return null;
  const outcome =
    flushes === 'refused' ? 'flushes fail' : 'flushes are answered and kept by nobody (unsafe-flush)';
  return `${outcome}: no component in step can flush`;
}

/** The block devices that were made of them. */
export function attachedLines(mirrors: readonly ShownMirror[]): string[] {
  return mirrors.flatMap(({ name, attached = null }) =>
    attached === null ? [] : [`mirror/${name} ${attachedText(attached)}`],
  );
}

/** What a person who watches wants to know besides: how far copying is, and why something is not there. */
export function detailLines(mirrors: readonly MirrorStatus[]): string[] {
  return mirrors.flatMap(({ components }) =>
    components.flatMap((component) => {
      const text = detailOf(component);
      return text === null ? [] : [`${component.name}: ${text}`];
    }),
  );
}

function detailOf({
  state,
  resync,
  why,
  markedBytes,
  needsFullCopy,
  isInactive,
}: ComponentStatus): string | null {
  if (resync !== null) {
    const { copiedBytes, totalBytes, rateBytesPerSecond, leftSeconds } = resync;
    const rate = rateBytesPerSecond === null ? '' : `, ${formatRate(rateBytesPerSecond)}`;
    const left = leftSeconds === null ? '' : `, ${formatSeconds(leftSeconds)} left`;
    return `${formatBytes(copiedBytes)} of ${formatBytes(totalBytes)}${rate}${left}`;
  }
  if (state === 'ACTIVE') return null;
  const behind = needsFullCopy ? 'needs a full copy' : `up to ${formatBytes(markedBytes)} behind`;
  if (isInactive) return `${behind}; deactivated, 'ggmirror activate' uses it again`;
  return why === null ? behind : `${behind}; ${why}`;
}
