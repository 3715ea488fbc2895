import { describe, expect, test } from 'vitest';
import { REGION_SIZE_BYTES } from '../../src/protocol/geometry.js';
import { writeBytes } from '../support/device-requests.js';
import { componentOf, MemberWorld, statesOf } from '../support/member-world.js';
import { until } from '../support/until.js';

describe('a component that fails a flush while it is not in step', () => {
  test('is known for that after the mirror has ended before it was back, and is not believed by checksums', async () => {
    const world = await new MemberWorld('ab').create('ab');
    const first = await world.start('ab');
    await writeBytes(first.mirror, 3 * REGION_SIZE_BYTES, Buffer.alloc(4096, 1));
    // The process is killed; what b has of that write is in its cache, and its next flush forgets it.
    let left = 1;
    world.device('b').failing = ({ op }) => op === 'flush' && left-- > 0;
    const second = await world.start('ab');
    await until('b to be dropped', () => componentOf(second, 'b').state === 'DISCONNECTED');
    await second.mirror.journal.lossesRecorded();
    // Killed again before b is back.
    const third = await world.start('ab', { resyncBytesPerSecond: 1 });
    expect(statesOf(third)).toBe('a ACTIVE, b SYNCHRONIZING');
    expect(componentOf(third, 'b').isCacheDoubtful).toBe(true);
    await third.close();
  });
});
