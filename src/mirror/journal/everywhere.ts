import { DeviceError } from '../../device/block-device.js';
import type { Component } from '../component.js';
import type { MetaStore } from '../area/meta-store.js';

export type StoreStep = (store: MetaStore, component: Component) => Promise<void>;

/**
 * One step on the stores of all components that take writes, at the same time. Those that failed are handed to `failed`.
 * Rejects if no ACTIVE one has done it.
 */
export async function everywhere(
  components: readonly Component[],
  step: StoreStep,
  failed: (component: Component, error: DeviceError) => void,
): Promise<void> {
  const targets = components.filter((component) => component.takesWrites);
  const outcomes = await Promise.allSettled(targets.map((component) => step(component.store, component)));
  const isHeld = outcomes.some(
    ({ status }, index) => status === 'fulfilled' && targets[index]?.state === 'ACTIVE',
  );
  const failures = targets.flatMap((component, index) => {
    const outcome = outcomes[index];
    return outcome?.status === 'rejected' ? [{ component, error: asFailure(component, outcome.reason) }] : [];
  });
  for (const { component, error } of failures) failed(component, error);
  if (isHeld) return;
  throw failures[0]?.error ?? new DeviceError('DEVICE_LOST', 'ENXIO', 'the mirror has no ACTIVE component');
}

function asFailure(component: Component, cause: unknown): DeviceError {
  if (cause instanceof DeviceError) return cause;
  const message = `${component.name}: its private area or label can't be written`;
  return new DeviceError('DEVICE_IO', 'EIO', message, { cause });
}
