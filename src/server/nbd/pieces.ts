import type { BlockDevice, BlockIo, DeviceError } from '../../device/block-device.js';
import { PIECES_AT_ONCE, PIECE_BYTES } from './limits.js';

/** The source of zeroes that have to be written as data. Never written to. */
const ZEROES = Buffer.alloc(PIECE_BYTES);

/** What is to be done in pieces. */
export interface LongRequest {
  readonly op: 'read' | 'write' | 'write zeroes as data';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** As in BlockIo; unused for zeroes. */
  readonly buffer: Buffer | null;
  readonly bufferAt: number;
}

/**
 * Starts a request in pieces of at most PIECE_BYTES, a few of them at once. `done` is called once, when no piece is under
 * way any more, with the first error; after an error no further piece is started.
 */
export function startInPieces(
  device: BlockDevice,
  request: LongRequest,
  done: (error: DeviceError | null) => void,
): void {
  const { op, offsetBytes, lengthBytes, buffer, bufferAt } = request;
  let startedBytes = 0;
  let underWay = 0;
  let failure: DeviceError | null = null;

  const startNext = (): void => {
    const pieceBytes = Math.min(PIECE_BYTES, lengthBytes - startedBytes);
    const piece: BlockIo = {
      op: op === 'read' ? 'read' : 'write',
      offsetBytes: offsetBytes + startedBytes,
      lengthBytes: pieceBytes,
      buffer: op === 'write zeroes as data' ? ZEROES : buffer,
      bufferAt: op === 'write zeroes as data' ? 0 : bufferAt + startedBytes,
      done: pieceDone,
    };
    startedBytes += pieceBytes;
    underWay += 1;
    device.start(piece);
  };
  const pieceDone = (error: DeviceError | null): void => {
    underWay -= 1;
    failure ??= error;
    if (failure === null && startedBytes < lengthBytes) startNext();
    else if (underWay === 0) done(failure);
  };
  while (startedBytes < lengthBytes && underWay < PIECES_AT_ONCE) startNext();
}
