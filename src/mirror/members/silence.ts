import { DeviceError } from '../../device/block-device.js';
import type { Component } from '../component.js';

export interface SilenceHost {
  /** Those that take writes. */
  readonly targets: readonly Component[];
  readonly options: { readonly timeoutMs: number };
  drop(component: Component, error: DeviceError): unknown;
}

/** To be called from time to time. Drops the components that leave a request unanswered for longer than they may. */
export function dropSilent(host: SilenceHost): void {
  for (const component of host.targets) {
    const { timeoutMs = host.options.timeoutMs } = component.identity;
    if (component.silentMs() < timeoutMs) continue;
    const message = `${component.name} is silent for ${timeoutMs / 1000} s`;
    host.drop(component, new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', message));
  }
}
