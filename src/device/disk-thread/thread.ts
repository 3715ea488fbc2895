import { workerData, type MessagePort } from 'node:worker_threads';
import { toWireErrno } from '../../protocol/errno.js';
import { DeviceError } from '../block-device.js';
import { fastCalls } from '../platform/file-calls.js';
import { SyncFile } from '../sync-file.js';
import { TELL_AFTER_MS } from './limits.js';
import { MODE, SharedQueue, TRANSFER, type SharedQueueBlocks } from './shared-queue.js';

/** What the device gives its thread. The descriptor stays the device's, open until the thread has ended. */
export interface DiskThreadData {
  readonly blocks: SharedQueueBlocks;
  readonly fd: number;
  readonly name: string;
  /** Gets a message when the thread is ready, and then whenever something is finished and the device listens. */
  readonly port: MessagePort;
}

const data = workerData as DiskThreadData;
const queue = SharedQueue.from(data.blocks);
const file = new SyncFile(data.fd, data.name, fastCalls());

function perform(slot: number): void {
  const at = queue.payloadAtOf(slot);
  const lengthBytes = queue.lengthBytesOf(slot);
  const offsetBytes = queue.offsetBytesOf(slot);
  try {
    if (queue.opOf(slot) === TRANSFER.read) file.readSync(queue.payload, at, lengthBytes, offsetBytes);
    else file.writeSync(queue.payload, at, lengthBytes, offsetBytes);
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    queue.setErrno(slot, toWireErrno(error.errno));
  }
}

function tell(): void {
  if (queue.takeTelling()) data.port.postMessage(0);
}

/** Returns when the device lets go of the thread, which then ends. */
function run(): void {
  let count = 0;
  let isUntold = false;
  let tellAtMs = 0;
  while (queue.mode !== MODE.abandoned) {
    if (queue.submitted === count) {
      if (isUntold) tell();
      isUntold = false;
      if (queue.mode !== MODE.run) return;
      // No spinning before it: on a machine with few cores that takes the time from whoever has the next request.
      queue.sleep(count);
      continue;
    }
    if (!isUntold) tellAtMs = performance.now() + TELL_AFTER_MS;
    perform(queue.slotOf(count));
    count = queue.next(count);
    queue.finish(count);
    isUntold = performance.now() < tellAtMs;
    if (!isUntold) tell();
  }
}

data.port.postMessage(0);
run();
