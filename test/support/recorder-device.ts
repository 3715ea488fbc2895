import type { BlockDevice, BlockIo, BlockOp, Capabilities } from '../../src/device/block-device.js';
import type { ErrnoName } from '../../src/protocol/errno.js';

export interface RecordedEvent {
  readonly what: 'start' | 'done';
  readonly op: BlockOp;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Of a request that is done; null for a start and a success. */
  readonly errno: ErrnoName | null;
}

/** Passes everything on and writes down what happened, in order. */
export class RecorderDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly events: RecordedEvent[] = [];

  constructor(private readonly parent: BlockDevice) {
    this.name = parent.name;
    this.mediaSizeBytes = parent.mediaSizeBytes;
    this.sectorSizeBytes = parent.sectorSizeBytes;
    this.can = parent.can;
  }

  start(io: BlockIo): void {
    const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
    const range = { op, offsetBytes, lengthBytes };
    this.events.push({ what: 'start', ...range, errno: null });
    this.parent.start({
      ...range,
      buffer,
      bufferAt,
      done: (error) => {
        this.events.push({ what: 'done', ...range, errno: error?.errno ?? null });
        io.done(error);
      },
    });
  }

  close(): Promise<void> {
    return this.parent.close();
  }

  /** What was started, in order, as 'write 4096+512'. */
  started(): string[] {
    return this.events
      .filter((event) => event.what === 'start')
      .map((event) => `${event.op} ${event.offsetBytes}+${event.lengthBytes}`);
  }
}
