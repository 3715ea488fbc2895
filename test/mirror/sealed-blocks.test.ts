import { describe, expect, test } from 'vitest';
import { lost, makeRig, type Rig, type RigDisk } from '../support/mirror-rig.js';
import { writeBytes } from '../support/device-requests.js';
import { sealed } from '../support/sealed-block.js';
import { SeededRandom } from '../support/seeded-random.js';

const BLOCK_BYTES = 4096;
const AT = 5 * 65_536 + 3 * BLOCK_BYTES;

const random = new SeededRandom(1);
const newBlock = (): Buffer => sealed(random.bytes(BLOCK_BYTES));

function disk(rig: Rig, slot: number): RigDisk {
  const found = rig.disks[slot];
  if (found === undefined) throw new Error(`no disk ${slot}`);
  return found;
}

// A CRC of the whole can't tell such blocks from each other.
describe('a block that ends with its own CRC32C', () => {
  test('is copied when it was all that changed while a component was away', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, AT, newBlock());
    rig.mirror.drop(rig.component(1), lost('disk1'));
    await rig.settle();
    await writeBytes(rig.mirror, AT, newBlock());
    await rig.arrive(1);
    await rig.settle();
    expect(rig.component(1).state).toBe('ACTIVE');
    expect(disk(rig, 1).memory.data.equals(disk(rig, 0).memory.data)).toBe(true);
  });

  test('is found by a verify when it is all that differs', async () => {
    const rig = makeRig();
    await writeBytes(rig.mirror, AT, newBlock());
    newBlock().copy(disk(rig, 1).memory.data, AT);
    const verify = rig.mirror.startVerify({ isRepairing: false, previous: null });
    await rig.settle();
    expect(verify.findings.map(({ differentBytes }) => differentBytes)).toEqual([0, 65_536]);
  });
});
