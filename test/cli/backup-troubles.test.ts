import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { canUseLoop, withMount } from '../support/loop-device.js';
import { Backup, MirrorLab } from '../support/mirror-lab.js';
import { NbdClient } from '../support/nbd-client.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const IMAGE_BYTES = 8 * MIB;

let lab: MirrorLab;

beforeEach(() => {
  lab = new MirrorLab();
});
afterEach(() => lab.end());

test.skipIf(!canUseLoop())(
  'a backup whose disk is full is dropped with what its host says, and comes back by itself when there is room',
  async () => {
    const folder = lab.scratch.path('backup');
    const local = await lab.image('local.img', IMAGE_BYTES);
    await withMount(['-t', 'tmpfs', '-o', 'size=4m', 'none'], folder, async () => {
      const [image, ballast] = [`${folder}/image`, `${folder}/ballast`];
      writeFileSync(image, '');
      truncateSync(image, IMAGE_BYTES);
      const backup = await Backup.start(image);
      let isRunning = true;
      try {
        await lab.create('m', [local, backup.uri]);
        writeFileSync(ballast, Buffer.alloc(3 * MIB));
        const client = await NbdClient.connect({ unixPath: lab.scratch.path('run/m.nbd') });
        await client.go('m');
        const data = randomBytes(2 * MIB);
        for (let at = 0; at < data.length; at += 65_536)
          expect((await client.write(at, data.subarray(at, at + 65_536))).errno).toBe(0);
        // It is tried again now and then, and meanwhile says nothing.
        const why = await until('the reason', async () => (await lab.component('m', backup.uri)).why);
        expect(why).toMatch(
          /: the server answers write of \d+ bytes at \d+ with ENOSPC \(28\); see its log$/,
        );
        expect((await client.read(0, 65_536)).data.equals(data.subarray(0, 65_536))).toBe(true);
        rmSync(ballast);
        await lab.untilState('m', 'COMPLETE');
        await client.disconnect();
        const { mediaSizeBytes } = await lab.stop('m');
        isRunning = false;
        const [ofLocal, ofBackup] = [local, image].map((path) =>
          readFileSync(path).subarray(0, mediaSizeBytes),
        );
        expect(ofLocal?.subarray(0, data.length).equals(data)).toBe(true);
        expect(ofBackup?.equals(ofLocal ?? Buffer.alloc(0))).toBe(true);
      } finally {
        if (isRunning) await lab.kill('m');
        await backup.end();
      }
    });
  },
);
