import { assert } from '../protocol/errors.js';

/**
 * Of a remote device. ATTACHED: a connection stands. RECONNECTING: requests wait for the next one. FAILING: there is
 * none, and requests fail at once. CHANGED: the export has another size, and requests fail for ever. CLOSED.
 */
export type RemoteState = 'ATTACHED' | 'RECONNECTING' | 'FAILING' | 'CHANGED' | 'CLOSED';
export type RemoteEvent = 'attached' | 'lost' | 'gaveUp' | 'changed' | 'closed';

const NEXT = {
  ATTACHED: { lost: 'RECONNECTING', closed: 'CLOSED' },
  RECONNECTING: { attached: 'ATTACHED', gaveUp: 'FAILING', changed: 'CHANGED', closed: 'CLOSED' },
  FAILING: { attached: 'ATTACHED', changed: 'CHANGED', closed: 'CLOSED' },
  CHANGED: { closed: 'CLOSED' },
  CLOSED: {},
} as const satisfies Record<RemoteState, Partial<Record<RemoteEvent, RemoteState>>>;

export function nextState(state: RemoteState, event: RemoteEvent): RemoteState {
  const next = (NEXT[state] as Partial<Record<RemoteEvent, RemoteState>>)[event];
  assert(next !== undefined, `remote device: ${event} cannot happen in ${state}`);
  return next;
}
