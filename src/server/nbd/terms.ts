import type { BlockDevice } from '../../device/block-device.js';
import { NBD_PAYLOAD_BYTES_MAX, NBD_TRANSMISSION_FLAG } from '../../protocol/nbd.js';
import type { NbdExportInfo } from '../../protocol/nbd-options.js';
import type { NbdTerms } from '../../protocol/nbd-request.js';

/** What file systems and page caches work in. */
const PREFERRED_BLOCK_BYTES = 4096;

/** What a client is told of a device. DF is known only where there are structured replies. */
export function exportInfoOf(name: string, device: BlockDevice, isStructured: boolean): NbdExportInfo {
  const { sectorSizeBytes, mediaSizeBytes } = device;
  return {
    name,
    description: device.name,
    mediaSizeBytes,
    transmissionFlags: transmissionFlagsOf(device, isStructured),
    blockSizes: {
      minBytes: sectorSizeBytes,
      preferredBytes: Math.max(sectorSizeBytes, PREFERRED_BLOCK_BYTES),
      payloadBytesMax: NBD_PAYLOAD_BYTES_MAX,
    },
  };
}

/** What the client's requests are held against. */
export const termsOf = (device: BlockDevice, { transmissionFlags }: NbdExportInfo): NbdTerms => ({
  mediaSizeBytes: device.mediaSizeBytes,
  sectorSizeBytes: device.sectorSizeBytes,
  canRead: device.can.read,
  transmissionFlags,
});

/**
 * All connections use one device, so a flush on one covers what was answered on any: several are always fine. FUA is a
 * write and a flush. No fast zeroes: whether zeroes take a hole or a write is known only after trying.
 */
function transmissionFlagsOf({ can }: BlockDevice, isStructured: boolean): number {
  const flag = NBD_TRANSMISSION_FLAG;
  let flags: number = flag.hasFlags + flag.canMultiConn;
  if (isStructured) flags += flag.sendDf;
  if (can.flush) flags += flag.sendFlush + flag.sendFua;
  if (!can.write) return flags + flag.readOnly;
  if (can.trim) flags += flag.sendTrim;
  if (can.writeZeroes) flags += flag.sendWriteZeroes;
  return flags;
}
