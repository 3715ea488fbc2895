import { DeviceError } from '../device/block-device.js';
import type { ByteRange } from '../protocol/geometry.js';
import type { Component } from './component.js';
import type { Failure } from './mirror-write.js';

/** What the end of a write that some component failed needs of its mirror. */
export interface SettleHost {
  readonly name: string;
  /** All of them; callers read from the first that is ACTIVE. */
  readonly components: readonly Component[];
  /** Those that take writes. */
  readonly targets: readonly Component[];
  readonly returns: { differs(component: Component, range: ByteRange): void };
  /** A loss is not recorded yet. */
  readonly mustWait: boolean;
  drop(component: Component, error: DeviceError): boolean;
  lossesRecorded(): Promise<void>;
}

/**
 * Drops the components that failed a write, durably, then says whether it holds: null if all that are ACTIVE then took it,
 * else the error for the caller. `good` counts those that were ACTIVE when they took it. Rejects if a loss can't be recorded.
 */
export async function settleWrite(
  host: SettleHost,
  write: ByteRange,
  failures: readonly Failure[],
  good: number,
): Promise<DeviceError | null> {
  // If all failed, the last that is left is the one that callers read from first, so that what they read stays.
  const order = host.components;
  const rank = ({ component }: Failure): number => order.indexOf(component);
  const lowestFirst = [...failures].sort((one, other) => rank(other) - rank(one));
  for (const { component, error } of lowestFirst) host.drop(component, error);
  // The last one stays though it failed; whoever took the write may be lost since.
  const last = failures.find(({ component }) => component.state === 'ACTIVE');
  const isTaken = good > 0 && last === undefined;
  // The target of a resync may have taken what no ACTIVE one has.
  for (const component of isTaken ? [] : host.targets)
    if (component.state !== 'ACTIVE') host.returns.differs(component, write);
  while (host.mustWait) await host.lossesRecorded();
  if (isTaken) return null;
  const error = (last ?? failures[0])?.error;
  return error ?? new DeviceError('DEVICE_LOST', 'ENXIO', `${host.name} has no component left`);
}
