import { DeviceError, type BlockIo } from '../device/block-device.js';

/** What is under way when a mirror ends fails with this. */
export const endOf = (name: string): DeviceError =>
  new DeviceError('DEVICE_CLOSED', 'ENXIO', `${name} is stopped`);

/** For the rest of a long request, whose beginning was under way at the end. */
export function refuseEnded(name: string, io: BlockIo): void {
  queueMicrotask(() => io.done(endOf(name)));
}
