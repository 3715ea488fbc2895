import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { md5, md5OfDevice, writeDevice } from '../support/device-file.js';
import { MirrorWorld } from '../support/mirror-world.js';
import { createUnit, type Ggatec } from '../support/real-ggatec.js';
import { realProgram } from '../support/real-ggated.js';

const ggatec = realProgram('GGATEC');
const MIB = 1_048_576;

describe.skipIf(ggatec === null)(
  'the real ggatec (named by GGATEC, or of FreeBSD) with a running mirror',
  () => {
    const program = ggatec ?? '';
    let world: MirrorWorld;
    let unit: Ggatec | null;

    beforeEach(async () => {
      world = await MirrorWorld.make();
      unit = null;
    });
    afterEach(async () => {
      await unit?.stop();
      await world.close();
    });

    test('reads back what it wrote, and both components hold the same', async () => {
      await world.startMirror('--ggate-port', '0');
      const port = (await world.status()).ggate?.addresses[0]?.port ?? 0;
      const { scratch } = world;
      unit = await createUnit({ program, scratch, port, path: '/dev/mirror/data', access: 'rw' });
      const source = randomBytes(MIB);
      await writeDevice(unit.devicePath, source);
      expect(await md5OfDevice(unit.devicePath, MIB)).toBe(md5(source));
      await unit.stop();
      const { ofLocal, ofBackup } = await world.stopAndRead();
      expect(md5(ofLocal.subarray(0, MIB))).toBe(md5(source));
      expect(ofLocal.equals(ofBackup)).toBe(true);
    });
  },
);
