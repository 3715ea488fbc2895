import { describe } from 'vitest';
import { createImage } from '../../../src/device/file-device.js';
import { describeBlockDevice } from '../../support/device-conformance.js';
import { openThreaded } from '../../support/disk-thread.js';
import { attachLoop, canUseLoop, detachLoop } from '../../support/loop-device.js';

describeBlockDevice('a file with a thread of its own', async (scratch) => {
  const path = scratch.path('test.img');
  await createImage(path, 1_048_576);
  return await openThreaded(path);
});

describeBlockDevice('a file with a thread of its own, what is cached read at once', async (scratch) => {
  const path = scratch.path('test.img');
  await createImage(path, 1_048_576);
  return await openThreaded(path, { cachedReads: true });
});

describeBlockDevice('a file with a thread that takes one request at a time', async (scratch) => {
  const path = scratch.path('test.img');
  await createImage(path, 300_032);
  return await openThreaded(path, { requestsMax: 1 });
});

describe.runIf(canUseLoop())('with the loop driver', () => {
  let disk: string | null = null;
  describeBlockDevice(
    'a disk with sectors of 4 KiB and a thread of its own',
    async (scratch) => {
      const path = scratch.path('disk.img');
      await createImage(path, 1_048_576);
      disk = attachLoop(path, ['-b', '4096']);
      return await openThreaded(disk);
    },
    () => {
      if (disk !== null) detachLoop(disk);
      disk = null;
      return Promise.resolve();
    },
  );
});
