import { assert } from '../protocol/errors.js';

/** As `gmirror status` prints them. */
export type ComponentState = 'ACTIVE' | 'SYNCHRONIZING' | 'STALE' | 'DISCONNECTED';

/**
 * - attachedCurrent: it is there and misses nothing; attachedStale: it is there and misses writes.
 * - resyncStarted, resyncFinished, resyncStopped: told by themselves.
 * - lost: it failed, timed out, vanished, or was taken out.
 */
export type ComponentEvent =
  'attachedCurrent' | 'attachedStale' | 'resyncStarted' | 'resyncFinished' | 'resyncStopped' | 'lost';

const NEXT = {
  DISCONNECTED: { attachedCurrent: 'ACTIVE', attachedStale: 'STALE' },
  STALE: { resyncStarted: 'SYNCHRONIZING', lost: 'DISCONNECTED' },
  SYNCHRONIZING: { resyncFinished: 'ACTIVE', resyncStopped: 'STALE', lost: 'DISCONNECTED' },
  ACTIVE: { lost: 'DISCONNECTED' },
} as const satisfies Record<ComponentState, Partial<Record<ComponentEvent, ComponentState>>>;

/** The state after `event`. An event that can't happen in `state` is a bug. */
export function nextState(state: ComponentState, event: ComponentEvent): ComponentState {
  const next = (NEXT[state] as Partial<Record<ComponentEvent, ComponentState>>)[event];
  assert(next !== undefined, `component: ${event} cannot happen in ${state}`);
  return next;
}
