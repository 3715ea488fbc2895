import type { BlockIo, DeviceError } from '../device/block-device.js';
import { answerBytes } from './commands.js';

/** One request as several of at most `bytesMax`, done once: when the last piece is, with the first error. */
export function splitIo(io: BlockIo, bytesMax: number): BlockIo[] {
  const pieces: BlockIo[] = [];
  let waiting = Math.ceil(io.lengthBytes / bytesMax);
  let firstError: DeviceError | null = null;
  const done = (error: DeviceError | null): void => {
    firstError ??= error;
    waiting -= 1;
    if (waiting === 0) io.done(firstError);
  };
  let bufferAt = io.bufferAt;
  for (let from = 0; from < io.lengthBytes; from += bytesMax) {
    const lengthBytes = Math.min(bytesMax, io.lengthBytes - from);
    pieces.push({
      op: io.op,
      offsetBytes: io.offsetBytes + from,
      lengthBytes,
      buffer: io.buffer,
      bufferAt,
      done,
    });
    bufferAt += io.op === 'write' ? lengthBytes : answerBytes(io.op, lengthBytes);
  }
  return pieces;
}
