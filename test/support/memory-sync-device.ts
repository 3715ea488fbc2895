import { DeviceError } from '../../src/device/block-device.js';
import type { SyncDevice } from '../../src/device/sync-file.js';
import type { ErrnoName } from '../../src/protocol/errno.js';

/** A disk in memory that counts its calls and fails where it is told to. */
export class MemorySyncDevice implements SyncDevice {
  readonly bytes: Buffer;
  readonly calls: string[] = [];
  failNext: ErrnoName | null = null;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes);
  }

  readSync(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): void {
    this.#called('read', lengthBytes, offsetBytes);
    this.bytes.copy(buffer, at, offsetBytes, offsetBytes + lengthBytes);
  }

  writeSync(buffer: Buffer, at: number, lengthBytes: number, offsetBytes: number): void {
    this.#called('write', lengthBytes, offsetBytes);
    buffer.copy(this.bytes, offsetBytes, at, at + lengthBytes);
  }

  #called(op: string, lengthBytes: number, offsetBytes: number): void {
    this.calls.push(`${op} ${offsetBytes}+${lengthBytes}`);
    const errno = this.failNext;
    this.failNext = null;
    if (errno !== null) throw new DeviceError('DEVICE_IO', errno, `memory disk: ${op} failed: ${errno}`);
  }
}
