import { fdatasync, fstat, futimes, read, write, type BigIntStats } from 'node:fs';
import { promisify } from 'node:util';
import { assert } from '../protocol/errors.js';
import { checksumRegions } from '../protocol/region-checksums.js';
import { REGION_SIZE_BYTES, type ByteRange } from '../protocol/geometry.js';
import type { BlockOp } from './block-device.js';
import { errnoOf, requestError } from './device-errors.js';
import type { FlushNote } from './flush-note.js';
import { HOLE_PIECE_BYTES, SLOW_PIECE_BYTES, ZERO_OUT_PIECE_BYTES } from './limits.js';
import type { MediaKind } from './media.js';
import { canDiscard, discard, flushDiskCache, zeroOut } from './platform/disks.js';
import { punchHole } from './platform/files.js';

/**
 * An open file or disk, for operations that may take long. They run on the thread pool and in pieces, so no event loop
 * waits for them. All of them reject with DeviceError (DEVICE_IO); after an error any part of the range may be done.
 * Ranges are inside the medium, which the caller has checked.
 */
export interface OpenMedium {
  readonly fd: number;
  /** For error messages: 'file site.img'. */
  readonly name: string;
  readonly kind: MediaKind;
  /** Kept about its flushes; left out where nobody would read it. */
  readonly flushNote?: FlushNote | null;
}

/** The source of all zeroes that are written. Never written to. */
const ZEROES = Buffer.alloc(SLOW_PIECE_BYTES);

/** Makes every write that has returned durable. */
export async function flush(medium: OpenMedium): Promise<void> {
  const run = async (): Promise<void> => {
    await promisify(fdatasync)(medium.fd);
    if (medium.kind === 'disk' && process.platform === 'freebsd') await flushFreebsdDisk(medium.fd);
  };
  const { flushNote = null } = medium;
  await reported(medium, 'flush', { offsetBytes: 0, lengthBytes: 0 }, () =>
    flushNote === null ? run() : flushNote.during(run),
  );
}

async function flushFreebsdDisk(fd: number): Promise<void> {
  try {
    await flushDiskCache(fd);
  } catch (cause) {
    const errno = errnoOf(cause);
    // Memory disks have no cache and say so; without koffi the fsync above was all that can be done.
    if (errno !== 'EOPNOTSUPP' && errno !== 'ENOTTY' && errno !== 'ENODEV') throw cause;
  }
}

/**
 * Whether trim() will work, learned without touching data: a disk is asked, a file gets a hole well behind its end,
 * which changes neither its data nor its size nor its times. False when it wasn't opened for writing.
 */
export async function probeTrim(medium: OpenMedium): Promise<boolean> {
  try {
    const stat = await statOf(medium.fd);
    if (medium.kind === 'disk') return await canDiscard(medium.fd, Number(stat.rdev));
    const behindEndBytes = Math.ceil(Number(stat.size) / SLOW_PIECE_BYTES + 1) * SLOW_PIECE_BYTES;
    await punchHole(medium.fd, { offsetBytes: behindEndBytes, lengthBytes: REGION_SIZE_BYTES });
    // A mirror's component is known by the time that it was written last. A whole second comes back exactly.
    await promisify(futimes)(medium.fd, Number(stat.atimeNs) / 1e9, Number(stat.mtimeNs) / 1e9).catch(
      () => undefined /* it is another user's file */,
    );
    return true;
  } catch {
    return false;
  }
}

const statOf = (fd: number): Promise<BigIntStats> =>
  new Promise((resolve, reject) => {
    fstat(fd, { bigint: true }, (error, stat) => (error === null ? resolve(stat) : reject(error)));
  });

/** Gives the range back to the file system or the disk. EOPNOTSUPP where probeTrim() is false. */
export async function trim(medium: OpenMedium, range: ByteRange): Promise<void> {
  await reported(medium, 'trim', range, async () => {
    for (const piece of piecesOf(range, HOLE_PIECE_BYTES)) {
      await (medium.kind === 'disk' ? discard(medium.fd, piece) : punchHole(medium.fd, piece));
    }
  });
}

/**
 * Makes the range read as zeroes: as a hole in a file, which so stays sparse, or by the kernel on a Linux disk; where
 * neither goes, zeroes are written.
 */
export async function writeZeroes(medium: OpenMedium, range: ByteRange): Promise<void> {
  await reported(medium, 'write-zeroes', range, async () => {
    const isDisk = medium.kind === 'disk';
    for (const piece of piecesOf(range, isDisk ? ZERO_OUT_PIECE_BYTES : HOLE_PIECE_BYTES)) {
      try {
        await (isDisk ? zeroOut(medium.fd, piece) : punchHole(medium.fd, piece));
      } catch (cause) {
        if (!isUnsupported(cause)) throw cause;
        await writeAllZeroes(medium.fd, piece);
      }
    }
  });
}

/** File systems without holes say EOPNOTSUPP, but some network and overlay ones ENOSYS, ENODEV or EINVAL. */
const isUnsupported = (cause: unknown): boolean =>
  ['EOPNOTSUPP', 'ENOSYS', 'ENODEV', 'ENOTTY', 'EINVAL'].includes(errnoOf(cause));

/**
 * The checksum of each region that the range touches, into `into` from `at` on. The range starts
 * at a region's start. Returns how many bytes were written. `into` is lent until then.
 */
export async function checksum(
  medium: OpenMedium,
  range: ByteRange,
  into: Buffer,
  at: number,
): Promise<number> {
  assert(range.offsetBytes % REGION_SIZE_BYTES === 0, `${medium.name}: checksum from inside a region`);
  let writtenBytes = 0;
  await reported(medium, 'checksum', range, async () => {
    const memory = Buffer.allocUnsafe(Math.min(range.lengthBytes, SLOW_PIECE_BYTES));
    for (const piece of piecesOf(range, SLOW_PIECE_BYTES)) {
      const data = memory.subarray(0, piece.lengthBytes);
      await readWhole(medium.fd, data, piece.offsetBytes);
      writtenBytes += checksumRegions(data, into, at + writtenBytes);
    }
  });
  return writtenBytes;
}

function* piecesOf({ offsetBytes, lengthBytes }: ByteRange, pieceBytes: number): Generator<ByteRange> {
  for (let doneBytes = 0; doneBytes < lengthBytes; doneBytes += pieceBytes) {
    yield {
      offsetBytes: offsetBytes + doneBytes,
      lengthBytes: Math.min(pieceBytes, lengthBytes - doneBytes),
    };
  }
}

async function readWhole(fd: number, data: Buffer, offsetBytes: number): Promise<void> {
  let movedBytes = 0;
  while (movedBytes < data.length) {
    const restBytes = data.length - movedBytes;
    const { bytesRead } = await promisify(read)(fd, data, movedBytes, restBytes, offsetBytes + movedBytes);
    if (bytesRead === 0) throw new Error('the medium ends before the range does'); // Without a code: EIO.
    movedBytes += bytesRead;
  }
}

async function writeAllZeroes(fd: number, range: ByteRange): Promise<void> {
  let doneBytes = 0;
  while (doneBytes < range.lengthBytes) {
    const pieceBytes = Math.min(ZEROES.length, range.lengthBytes - doneBytes);
    const { bytesWritten } = await promisify(write)(fd, ZEROES, 0, pieceBytes, range.offsetBytes + doneBytes);
    if (bytesWritten === 0) throw Object.assign(new Error('nothing was written'), { code: 'ENOSPC' });
    doneBytes += bytesWritten;
  }
}

async function reported(
  medium: OpenMedium,
  op: BlockOp,
  range: ByteRange,
  run: () => Promise<void>,
): Promise<void> {
  try {
    await run();
  } catch (cause) {
    throw requestError(medium.name, { op, ...range }, errnoOf(cause), cause);
  }
}
