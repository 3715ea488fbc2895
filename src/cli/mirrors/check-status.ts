import type { ComponentStatus, MirrorStatus } from '../../control/status.js';
import { flushText, troubleText } from './status-text.js';

/** What `status --check` exits with; 1 is for what can't be told, 2 for a wrong command line. docs/monitoring.md has them, too. */
export const CHECK_EXIT = { complete: 0, synchronizing: 3, degraded: 4, splitBrain: 5 } as const;

export interface Checked {
  readonly exitCode: number;
  /** One for each mirror, without line ends. */
  readonly lines: readonly string[];
}

/** For monitoring: the worst of all mirrors counts. */
export function checkStatuses(mirrors: readonly MirrorStatus[]): Checked {
  return {
    exitCode: Math.max(CHECK_EXIT.complete, ...mirrors.map(exitCodeOf)),
    lines: mirrors.map(lineOf),
  };
}

function exitCodeOf({ state, components, flushes }: MirrorStatus): number {
  if (components.some(({ refused }) => refused !== null)) return CHECK_EXIT.splitBrain;
  if (flushes === 'refused') return CHECK_EXIT.degraded;
  if (state === 'COMPLETE') return CHECK_EXIT.complete;
  const isComing = ({ state: one }: ComponentStatus): boolean => one === 'ACTIVE' || one === 'SYNCHRONIZING';
  return components.every(isComing) ? CHECK_EXIT.synchronizing : CHECK_EXIT.degraded;
}

function lineOf({ name, state, components, waitsFor, flushes }: MirrorStatus): string {
  if (waitsFor !== null) return `mirror/${name} ${state}: ${waitsFor}`;
  const others = components.filter((component) => component.state !== 'ACTIVE');
  const flush = flushText(flushes);
  return [`mirror/${name} ${state}`, ...others.map(troubleText), ...(flush === null ? [] : [flush])].join(
    ', ',
  );
}
