import { createHash, randomBytes } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';

/** What FreeBSD passes to a disk at most; also a multiple of every sector size. */
const CHUNK_BYTES = 131_072;

/** Writes all of `data` to the start of a disk or file, and makes it durable. */
export async function writeDevice(path: string, data: Buffer): Promise<void> {
  await withFile(path, 'r+', async (file) => {
    for (let at = 0; at < data.length; at += CHUNK_BYTES) {
      await writeFully(file, data.subarray(at, at + CHUNK_BYTES), at);
    }
    await file.sync();
  });
}

/** MD5 of the first `lengthBytes` bytes of a disk or file. */
export async function md5OfDevice(path: string, lengthBytes: number): Promise<string> {
  const hash = createHash('md5');
  await withFile(path, 'r', async (file) => {
    for (let at = 0; at < lengthBytes; at += CHUNK_BYTES) {
      hash.update(await readFully(file, Math.min(CHUNK_BYTES, lengthBytes - at), at));
    }
  });
  return hash.digest('hex');
}

export const md5 = (data: Buffer): string => createHash('md5').update(data).digest('hex');

/** Runs `use` with the file open, and closes it in any case. */
export async function withFile<T>(
  path: string,
  flags: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Throws if fewer bytes can be written: a disk takes all or fails. */
export async function writeFully(file: FileHandle, data: Buffer, offsetBytes: number): Promise<void> {
  const { bytesWritten } = await file.write(data, 0, data.length, offsetBytes);
  if (bytesWritten !== data.length)
    throw new Error(`wrote ${bytesWritten} of ${data.length} at ${offsetBytes}`);
}

export async function readFully(file: FileHandle, lengthBytes: number, offsetBytes: number): Promise<Buffer> {
  const data = Buffer.alloc(lengthBytes);
  const { bytesRead } = await file.read(data, 0, lengthBytes, offsetBytes);
  if (bytesRead !== lengthBytes) throw new Error(`read ${bytesRead} of ${lengthBytes} at ${offsetBytes}`);
  return data;
}

/** A load that knows what every block it has written must hold. */
export interface VerifiedLoad {
  /** Writes acknowledged so far. */
  writes(): number;
  /** Ends the load and compares each block with what `imagePath` holds. Throws at the first difference. */
  finish(imagePath: string): Promise<void>;
}

const BLOCK_BYTES = 4096;
/** Node has four threads for files; one is kept for whatever else the test does while the device hangs. */
const WORKERS = 3;

/** Writes random blocks and reads some back, several at a time, each block by one worker only. */
export function startVerifiedLoad(devicePath: string, blockCount: number): VerifiedLoad {
  const expected = new Map<number, Buffer>();
  let writes = 0;
  let isStopping = false;
  const work = async (worker: number): Promise<void> => {
    await withFile(devicePath, 'r+', async (file) => {
      for (let turn = 0; !isStopping; turn++) {
        const block = worker + WORKERS * ((turn * 7919) % Math.floor(blockCount / WORKERS));
        const data = randomBytes(BLOCK_BYTES);
        await writeFully(file, data, block * BLOCK_BYTES);
        expected.set(block, data);
        writes += 1;
        const [oldest] = expected.entries();
        if (oldest === undefined || oldest[0] % WORKERS !== worker) continue;
        compare(await readFully(file, BLOCK_BYTES, oldest[0] * BLOCK_BYTES), oldest[1], oldest[0]);
      }
    });
  };
  const workers = Promise.all(Array.from({ length: WORKERS }, (_, worker) => work(worker)));
  workers.catch(() => undefined); // finish() reports it
  return {
    writes: () => writes,
    async finish(imagePath) {
      isStopping = true;
      await workers;
      await withFile(imagePath, 'r', async (image) => {
        for (const [block, data] of expected)
          compare(await readFully(image, BLOCK_BYTES, block * BLOCK_BYTES), data, block);
      });
    },
  };
}

function compare(found: Buffer, expected: Buffer, block: number): void {
  if (!found.equals(expected)) throw new Error(`block ${block} does not hold what was acknowledged last`);
}
