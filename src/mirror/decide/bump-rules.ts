import { ProtocolError, assert } from '../../protocol/errors.js';
import type { ErrnoName } from '../../protocol/errno.js';
import type { GmirrorLabel } from '../../protocol/gmirror-label.js';
import type { ComponentFate } from './component-decision.js';

/**
 * SYNCID grows before the next write is sent ("the others were written without it"), SYNCID_NOW and GENID at once; GENID
 * means "it failed and must not come back by itself".
 */
export type Bump = 'SYNCID' | 'SYNCID_NOW' | 'GENID';

export type BumpCause =
  | 'provider vanished'
  | 'read failed with ENXIO'
  | 'write failed with ENXIO' // trim and flush too
  | 'request failed'
  | 'flush not supported'
  | 'label write failed'
  | 'synchronization write failed'
  | 'synchronization read failed'
  | 'forced start'
  | 'broken component at start'
  | 'stale component at start'
  | 'deactivate'
  | 'rebuild'
  | 'remove'
  | 'forget'
  | 'stop'
  | 'insert';

/** When a row takes effect. 'may be missed': disconnect_on_failure is on, and more than one component is ACTIVE. */
export type BumpCondition = 'always' | 'may be missed' | 'never';

export interface BumpRule {
  readonly cause: BumpCause;
  /** Null for none. Only when the condition in `when` holds. */
  readonly bump: Bump | null;
  readonly when: Exclude<BumpCondition, 'never'>;
  /** Whether the component is disconnected. For a synchronization, the one that is copied to. */
  readonly disconnects: BumpCondition;
}

/**
 * Every bump of the kernel's. Source: gmirror metadata spec, section 7; gmirror behaviour spec, sections 3 and 4. A
 * failed component is disconnected before the bump, so its label keeps the old number. `rebuild` leaves the mirror's
 * numbers alone and sets the component's own syncid to 0.
 */
export const BUMP_RULES: readonly BumpRule[] = [
  { cause: 'provider vanished', bump: 'SYNCID', when: 'always', disconnects: 'always' },
  { cause: 'read failed with ENXIO', bump: 'SYNCID', when: 'may be missed', disconnects: 'may be missed' },
  {
    cause: 'write failed with ENXIO',
    bump: 'SYNCID_NOW',
    when: 'may be missed',
    disconnects: 'may be missed',
  },
  { cause: 'request failed', bump: 'GENID', when: 'may be missed', disconnects: 'may be missed' },
  { cause: 'flush not supported', bump: null, when: 'always', disconnects: 'never' },
  { cause: 'label write failed', bump: 'GENID', when: 'may be missed', disconnects: 'may be missed' },
  { cause: 'synchronization write failed', bump: 'GENID', when: 'always', disconnects: 'always' },
  { cause: 'synchronization read failed', bump: null, when: 'always', disconnects: 'always' },
  { cause: 'forced start', bump: 'SYNCID', when: 'always', disconnects: 'never' },
  { cause: 'broken component at start', bump: 'SYNCID', when: 'always', disconnects: 'always' },
  { cause: 'stale component at start', bump: 'SYNCID', when: 'always', disconnects: 'never' },
  { cause: 'deactivate', bump: 'SYNCID', when: 'always', disconnects: 'always' },
  { cause: 'rebuild', bump: null, when: 'always', disconnects: 'always' },
  { cause: 'remove', bump: null, when: 'always', disconnects: 'always' },
  { cause: 'forget', bump: null, when: 'always', disconnects: 'never' },
  { cause: 'stop', bump: null, when: 'always', disconnects: 'always' },
  { cause: 'insert', bump: null, when: 'always', disconnects: 'never' },
];

export interface BumpSituation {
  /** The sysctl kern.geom.mirror.disconnect_on_failure; on by default. */
  readonly disconnectOnFailure: boolean;
  /** At the moment of the failure, the failed one included. */
  readonly activeCount: number;
}

export interface BumpEffect {
  readonly bump: Bump | null;
  readonly isDisconnected: boolean;
}

export function bumpFor(cause: BumpCause, situation: BumpSituation): BumpEffect {
  const rule = BUMP_RULES.find((row) => row.cause === cause);
  assert(rule !== undefined, `bump rules: no row for ${cause}`);
  const mayBeMissed = situation.disconnectOnFailure && situation.activeCount > 1;
  const holds = { always: true, never: false, 'may be missed': mayBeMissed };
  return { bump: holds[rule.when] ? rule.bump : null, isDisconnected: holds[rule.disconnects] };
}

/** What failed: a request of the mirror's user, or a step of a synchronization. */
export interface FailedRequest {
  readonly from: 'user' | 'synchronization';
  readonly op: 'read' | 'write' | 'trim' | 'flush';
  readonly errno: ErrnoName;
}

/** Under which cause the kernel looks at a failed request. */
export function causeOfFailure({ from, op, errno }: FailedRequest): BumpCause {
  if (from === 'synchronization') {
    return op === 'read' ? 'synchronization read failed' : 'synchronization write failed';
  }
  if (op === 'flush' && errno === 'EOPNOTSUPP') return 'flush not supported';
  if (errno !== 'ENXIO') return 'request failed';
  return op === 'read' ? 'read failed with ENXIO' : 'write failed with ENXIO';
}

/**
 * The labels after a bump: those of ACTIVE and SYNCHRONIZING components grow with the mirror, all others keep what they
 * have. `ids` are the mirror's, which every label that grows gets.
 */
export function applyBump<Component extends { readonly state: ComponentFate; readonly label: GmirrorLabel }>(
  components: readonly Component[],
  ids: { readonly genid: number; readonly syncid: number },
  bump: Bump,
): Component[] {
  const { genid, syncid } = bumpIds(ids, bump);
  return components.map((component) => {
    const grows = component.state === 'ACTIVE' || component.state === 'SYNCHRONIZING';
    return grows ? { ...component, label: { ...component.label, genid, syncid } } : component;
  });
}

/**
 * The mirror's numbers after a bump. They are 32 bits wide and wrap in the kernel, which makes the newest component the
 * oldest; we throw PROTOCOL_RANGE instead.
 */
export function bumpIds(
  { genid, syncid }: { readonly genid: number; readonly syncid: number },
  bump: Bump,
): { readonly genid: number; readonly syncid: number } {
  const ids = bump === 'GENID' ? { genid: genid + 1, syncid } : { genid, syncid: syncid + 1 };
  if (Math.max(ids.genid, ids.syncid) < 2 ** 32) return ids;
  const message = `the label's ${bump === 'GENID' ? 'genid' : 'syncid'} can't grow any more; label the mirror anew`;
  throw new ProtocolError('PROTOCOL_RANGE', message);
}
