import { DeviceError } from '../device/block-device.js';
import type { Clock } from '../device/clock.js';

/**
 * What `answer` resolves to, unless it takes longer than `limitMs`: then DeviceError DEVICE_TIMEOUT, ETIMEDOUT. The work
 * itself can't be stopped; what it says later is ignored. `what` starts the message.
 */
export async function within<T>(
  { clock, limitMs, what }: { clock: Clock; limitMs: number; what: string },
  answer: Promise<T>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = clock.after(limitMs, () =>
      reject(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', `${what}: no answer in ${limitMs / 1000} s`)),
    );
    answer.then(resolve, reject).finally(() => timer.cancel());
  });
}
