import type { BlockOp, Capabilities } from '../device/block-device.js';
import { FEATURE, Features, type CapabilityPacket } from '../protocol/capabilities.js';
import type { AccessMode } from '../protocol/handshake.js';
import { checksumsBytes } from '../protocol/region-checksums.js';
import { CHECKSUM_BYTES_MAX, COMMAND } from '../protocol/request.js';
import { TRANSFER_BYTES_MAX, TRIM_BYTES_MAX, WRITE_ZEROES_BYTES_MAX } from './limits.js';

interface Command {
  readonly command: number;
  /** The extension that it belongs to, null for what every ggated knows. */
  readonly feature: number | null;
  /** Longer requests are split. A multiple of every sector size and, for checksums, of the region size. */
  readonly bytesMax: number;
  /** Whether an acknowledged one is lost with a page cache. */
  readonly isWrite: boolean;
}

export const COMMANDS: Readonly<Record<BlockOp, Command>> = {
  read: { command: COMMAND.read, feature: null, bytesMax: TRANSFER_BYTES_MAX, isWrite: false },
  write: { command: COMMAND.write, feature: null, bytesMax: TRANSFER_BYTES_MAX, isWrite: true },
  flush: { command: COMMAND.flush, feature: FEATURE.flush, bytesMax: 0, isWrite: false },
  trim: { command: COMMAND.trim, feature: FEATURE.trim, bytesMax: TRIM_BYTES_MAX, isWrite: true },
  'write-zeroes': {
    command: COMMAND.writeZeroes,
    feature: FEATURE.writeZeroes,
    bytesMax: WRITE_ZEROES_BYTES_MAX,
    isWrite: true,
  },
  checksum: {
    command: COMMAND.checksum,
    feature: FEATURE.checksum,
    bytesMax: CHECKSUM_BYTES_MAX,
    isWrite: false,
  },
};

/** The data in a good answer. */
export function answerBytes(op: BlockOp, lengthBytes: number): number {
  if (op === 'read') return lengthBytes;
  return op === 'checksum' ? checksumsBytes(lengthBytes) : 0;
}

/** `features` are those in force; a server without hello may still know FLUSH, which is `knowsFlush`. */
export function isInForce(op: BlockOp, features: Features, knowsFlush: boolean): boolean {
  const { feature } = COMMANDS[op];
  return feature === null || features.has(feature) || (op === 'flush' && knowsFlush);
}

/** Hexadecimal; null for no id and for sixteen zeros, which say "unknown". */
export function idText(hello: CapabilityPacket | null, which: 'instanceId' | 'bootId'): string | null {
  const id = hello?.[which];
  return id === undefined || id.every((byte) => byte === 0) ? null : id.toString('hex');
}

/** What a device can do that was opened with `access`, by what the server told in its hello. */
export function capabilitiesOf(
  access: AccessMode,
  hello: CapabilityPacket | null,
  knowsFlush: boolean,
): Capabilities {
  const features = hello?.features ?? Features.none;
  const read = access !== 'wo';
  const write = access !== 'ro';
  return {
    read,
    write,
    flush: isInForce('flush', features, knowsFlush),
    trim: write && isInForce('trim', features, knowsFlush),
    writeZeroes: write && isInForce('write-zeroes', features, knowsFlush),
    checksum: read && isInForce('checksum', features, knowsFlush),
  };
}
