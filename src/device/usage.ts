import type { ByteRange } from '../protocol/geometry.js';
import type { BlockDevice } from './block-device.js';
import { linuxUse } from './platform/linux-use.js';
import { request } from './request.js';
import { recognise } from './signatures.js';

/** Where file systems and partition tables have their marks. */
const HEAD_BYTES = 1_048_576;
/** Labels and copies of partition tables are in the last sectors. */
const TAIL_BYTES = 65_536;
/** Every ggated serves this much at once. */
const PIECE_BYTES = 131_072;

/**
 * Whether something looks used, for those who are about to write over it: a clause without its subject, such as
 * 'is mounted on /home' or 'holds an ext4 file system', or 'holds data' for what nobody recognises; null if the ends of
 * the medium are all zeroes and the kernel doesn't use it. `localPath` is the path of a local file or disk. Looks at the
 * first MiB and the last 64 KiB only, and writes nothing. Throws DeviceError when it can't be read.
 */
export async function describeUse(device: BlockDevice, localPath?: string): Promise<string | null> {
  const use = localPath === undefined || process.platform !== 'linux' ? null : await linuxUse(localPath);
  if (use !== null) return use;
  if (!device.can.read) return 'can only be written, so what it holds is unknown';
  const { mediaSizeBytes, sectorSizeBytes } = device;
  const headBytes = Math.min(HEAD_BYTES, mediaSizeBytes);
  const tailBytes = Math.min(TAIL_BYTES, mediaSizeBytes);
  const head = await readWhole(device, { offsetBytes: 0, lengthBytes: headBytes });
  const tailRange = { offsetBytes: mediaSizeBytes - tailBytes, lengthBytes: tailBytes };
  const tail = await readWhole(device, tailRange);
  const found = recognise({ head, tail, sectorSizeBytes });
  if (found !== null) return `holds ${found}`;
  return isZero(head) && isZero(tail) ? null : 'holds data';
}

async function readWhole(device: BlockDevice, range: ByteRange): Promise<Buffer> {
  const bytes = Buffer.alloc(range.lengthBytes);
  for (let doneBytes = 0; doneBytes < bytes.length; doneBytes += PIECE_BYTES) {
    const lengthBytes = Math.min(PIECE_BYTES, bytes.length - doneBytes);
    const piece = { offsetBytes: range.offsetBytes + doneBytes, lengthBytes };
    await request(device, 'read', piece, bytes, doneBytes);
  }
  return bytes;
}

const ZEROES = Buffer.alloc(HEAD_BYTES);

const isZero = (bytes: Buffer): boolean => bytes.equals(ZEROES.subarray(0, bytes.length));
