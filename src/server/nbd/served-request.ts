import type { BlockIo, BlockOp, DeviceError } from '../../device/block-device.js';
import { NBD_COMMAND, NBD_COMMAND_FLAG, hasBit } from '../../protocol/nbd.js';
import type { NbdRequestHeader } from '../../protocol/nbd-request.js';
import type { Slab } from '../stream/slabs.js';

const OP_OF_COMMAND: Readonly<Record<number, BlockOp>> = {
  [NBD_COMMAND.read]: 'read',
  [NBD_COMMAND.write]: 'write',
  [NBD_COMMAND.flush]: 'flush',
  [NBD_COMMAND.trim]: 'trim',
  [NBD_COMMAND.writeZeroes]: 'write-zeroes',
};

/** Who hears that the device is done. */
export type RequestDone = (request: ServedRequest, error: DeviceError | null) => void;

/** One request of a client, as the device sees it. Used again for the next one when it is answered. */
export class ServedRequest implements BlockIo {
  op: BlockOp = 'read';
  offsetBytes = 0;
  lengthBytes = 0;
  buffer: Buffer | null = null;
  bufferAt = 0;
  cookieHigh = 0;
  cookieLow = 0;
  /** The answer waits until the data is on stable storage. */
  isFua = false;
  /** Zeroes that must take room: they are written as data. */
  isNoHole = false;
  /** Of a read where its answer goes, header first; of a write its payload, if that isn't where it came in. */
  slab: Slab | null = null;
  /** Where in the slab the answer of a read begins. */
  slabAt = 0;

  constructor(private readonly whenDone: RequestDone) {}

  /** `header` is one that may be served. */
  begin(header: NbdRequestHeader): void {
    const { flags } = header;
    this.op = OP_OF_COMMAND[header.command] ?? 'flush';
    this.offsetBytes = header.offsetBytes;
    this.lengthBytes = header.lengthBytes;
    this.cookieHigh = header.cookieHigh;
    this.cookieLow = header.cookieLow;
    this.isFua = flags !== 0 && hasBit(flags, NBD_COMMAND_FLAG.fua);
    this.isNoHole = flags !== 0 && hasBit(flags, NBD_COMMAND_FLAG.noHole);
  }

  /** Of its data, for the window: what it keeps in memory. */
  get dataBytes(): number {
    return this.op === 'read' || this.op === 'write' ? this.lengthBytes : 0;
  }

  done(error: DeviceError | null): void {
    this.whenDone(this, error);
  }

  /** Lets go of all memory. */
  end(): void {
    this.buffer = null;
    this.slab = null;
  }
}
