import { describe } from 'vitest';
import type { BlockDevice } from '../../src/device/block-device.js';
import { createImage, openFile } from '../../src/device/file-device.js';
import { openSyncFile } from '../../src/device/sync-device.js';
import { slice } from '../../src/device/wrappers/slice.js';
import { describeBlockDevice } from '../support/device-conformance.js';
import { FaultDevice } from '../support/fault-device.js';
import { attachLoop, canUseLoop, detachLoop } from '../support/loop-device.js';
import { MemoryDevice } from '../support/memory-device.js';
import { RecorderDevice } from '../support/recorder-device.js';
import type { Scratch } from '../support/scratch.js';

async function file(scratch: Scratch, sizeBytes: number): Promise<BlockDevice> {
  const path = scratch.path('test.img');
  await createImage(path, sizeBytes);
  return await openFile(path, { access: 'rw' });
}

describeBlockDevice('a file', (scratch) => file(scratch, 1_048_576));

describeBlockDevice('a file that ends inside a region', (scratch) => file(scratch, 300_032));

describeBlockDevice('a file read and written at once', async (scratch) => {
  const path = scratch.path('test.img');
  await createImage(path, 300_032);
  return await openSyncFile(path, { access: 'rw' });
});

describeBlockDevice('memory', () => Promise.resolve(new MemoryDevice()));

describeBlockDevice('memory with large sectors and few abilities', () => {
  const can = { flush: false, trim: false, writeZeroes: false, checksum: false };
  return Promise.resolve(new MemoryDevice({ sectorSizeBytes: 4096, can }));
});

describeBlockDevice('a slice of a file', async (scratch) =>
  slice(await file(scratch, 1_048_576), { offsetBytes: 131_072, lengthBytes: 524_288 }),
);

describeBlockDevice('a slice that starts inside a region', () =>
  Promise.resolve(slice(new MemoryDevice(), { offsetBytes: 1024, lengthBytes: 524_288 })),
);

describeBlockDevice('a slice at the end of a slice', () => {
  const outer = slice(new MemoryDevice({ mediaSizeBytes: 700_416 }), {
    offsetBytes: 65_536,
    lengthBytes: 634_880,
  });
  return Promise.resolve(slice(outer, { offsetBytes: 65_536, lengthBytes: 569_344 }));
});

describeBlockDevice('a recorded device with a fault injector without faults', () =>
  Promise.resolve(new RecorderDevice(new FaultDevice(new MemoryDevice()))),
);

describe('without the C library', () => {
  const before = process.env['GGMIRROR_NO_FFI'];
  describeBlockDevice(
    'a file',
    (scratch) => {
      process.env['GGMIRROR_NO_FFI'] = '1';
      return file(scratch, 1_048_576);
    },
    () => {
      if (before === undefined) delete process.env['GGMIRROR_NO_FFI'];
      else process.env['GGMIRROR_NO_FFI'] = before;
      return Promise.resolve();
    },
  );
});

describe.runIf(canUseLoop())('with the loop driver', () => {
  let disk: string | null = null;
  describeBlockDevice(
    'a disk with sectors of 4 KiB',
    async (scratch) => {
      const path = scratch.path('disk.img');
      await createImage(path, 1_048_576);
      disk = attachLoop(path, ['-b', '4096']);
      return await openFile(disk, { access: 'rw' });
    },
    () => {
      if (disk !== null) detachLoop(disk);
      disk = null;
      return Promise.resolve();
    },
  );
});
