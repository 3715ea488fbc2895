import { describe, expect, test } from 'vitest';
import { ControlError } from '../../src/control/control-error.js';
import { ResizeGate, resizeRunning } from '../../src/control/resize-running.js';
import type { BlockIo } from '../../src/device/block-device.js';
import { ExchangeableDevice } from '../../src/device/wrappers/exchangeable.js';
import type { AssembledMirror } from '../../src/mirror/start/assembled.js';
import type { Resized } from '../../src/mirror/start/resize.js';
import { mediaSizeFor } from '../../src/protocol/area-layout.js';
import { readBytes, writeBytes } from '../support/device-requests.js';
import {
  comeBack,
  componentOf,
  DISK_BYTES,
  MemberWorld,
  statesOf,
  untilComplete,
} from '../support/member-world.js';
import { lost } from '../support/mirror-rig.js';

const ADDED_BYTES = 1_048_576;
const OLD_BYTES = mediaSizeFor(DISK_BYTES, 512);
const NEW_BYTES = mediaSizeFor(DISK_BYTES + ADDED_BYTES, 512);
const PATTERN = Buffer.alloc(8192, 7);

/** Each area is another one. */
let draws = 0;
const RANDOM = {
  nextU32: () => 0,
  nextBytes: (lengthBytes: number) => Buffer.alloc(lengthBytes, (draws += 1)),
};

/** A mirror of a and b whose user has a device, as a front end has it. */
class Used {
  readonly device: ExchangeableDevice;

  constructor(
    readonly world: MemberWorld,
    public running: AssembledMirror,
  ) {
    this.device = new ExchangeableDevice(running.mirror);
  }

  /** `inFiles`: whose private areas are in files. */
  static async make(inFiles = ''): Promise<Used> {
    const world = await new MemberWorld('ab').create('ab');
    await world.moveAreasToFiles(inFiles);
    return new Used(world, await world.start('ab'));
  }

  resize(): Promise<Resized> {
    const { world, device } = this;
    return resizeRunning(
      {
        ...{ name: 'm', device, assembled: this.running, random: RANDOM },
        rest: () => Promise.resolve(),
        assemble: (providers) => world.start('', { providers, degraded: true }),
        replaced: (assembled) => (this.running = assembled),
      },
      null,
    );
  }
}

/** The disks grow under the mirror, which goes on with what it has open. */
function grow({ world }: Used, names = 'ab'): void {
  world.growUnder(names, ADDED_BYTES);
}

describe('a mirror in use', () => {
  test.each([
    ['on the disks', ''],
    ['in a file and on a disk', 'b'],
  ])(
    'becomes larger while requests wait, and those find what was written before; private areas are %s',
    async (_where, inFiles) => {
      const used = await Used.make(inFiles);
      const { device } = used;
      await writeBytes(device, 0, PATTERN);
      grow(used);
      const resizing = used.resize();
      const waiting = [writeBytes(device, 65_536, PATTERN), writeBytes(device, 131_072, PATTERN)];
      expect(await resizing).toEqual({ beforeBytes: OLD_BYTES, nowBytes: NEW_BYTES });
      await Promise.all(waiting);
      expect(device.mediaSizeBytes).toBe(NEW_BYTES);
      for (const offsetBytes of [0, 65_536, 131_072])
        expect((await readBytes(device, { offsetBytes, lengthBytes: 8192 })).equals(PATTERN)).toBe(true);
      await writeBytes(device, NEW_BYTES - PATTERN.length, PATTERN);
      expect(statesOf(used.running)).toBe('a ACTIVE, b ACTIVE');
      await used.running.close();
      const { world } = used;
      expect(world.data('b', NEW_BYTES).equals(world.data('a', NEW_BYTES))).toBe(true);
    },
  );

  test('finds its labels where it had them, and does not look through what was added', async () => {
    const used = await Used.make();
    const { world, device } = used;
    for (let times = 0; times < 8; times++) grow(used);
    let readBytesCount = 0;
    const count = (io: BlockIo): null => {
      if (io.op === 'read') readBytesCount += io.lengthBytes;
      return null;
    };
    for (const name of 'ab') world.plans.set(name, count);
    const { nowBytes } = await used.resize();
    expect(nowBytes).toBeGreaterThan(OLD_BYTES + 7 * ADDED_BYTES);
    expect(readBytesCount).toBeLessThan(4 * 1_048_576);
    await writeBytes(device, nowBytes - PATTERN.length, PATTERN);
    await used.running.close();
  });

  test('stays as it is, and in use, where nobody has grown', async () => {
    const used = await Used.make();
    await expect(used.resize()).rejects.toThrow(ControlError);
    await writeBytes(used.device, 0, PATTERN);
    expect(used.device.mediaSizeBytes).toBe(OLD_BYTES);
    expect(statesOf(used.running)).toBe('a ACTIVE, b ACTIVE');
    await used.running.close();
  });

  test('is not touched while a component is behind', async () => {
    const used = await Used.make();
    const { mirror } = used.running;
    mirror.drop(componentOf(used.running, 'b'), lost('b'));
    await expect(used.resize()).rejects.toThrow('with all its components ACTIVE; b is DISCONNECTED');
    expect(used.running.mirror).toBe(mirror);
    await writeBytes(used.device, 0, PATTERN);
    await used.running.close();
  });

  test('is not touched if it can not be flushed, and the user hears of that once', async () => {
    const used = await Used.make();
    const { world, device } = used;
    await writeBytes(device, 0, PATTERN);
    for (const name of 'ab')
      world.plans.set(name, (io: BlockIo) => (io.op === 'flush' ? { kind: 'fail', errno: 'EIO' } : null));
    await expect(used.resize()).rejects.toThrow('could not be flushed');
    world.plans.clear();
    const flushed = (): Promise<string | null> =>
      new Promise((resolve) => {
        const io = { op: 'flush', offsetBytes: 0, lengthBytes: 0, buffer: null, bufferAt: 0 } as const;
        device.start({ ...io, done: (error) => resolve(error?.errno ?? null) });
      });
    expect(await flushed()).toBe('EIO');
    expect(await flushed()).toBeNull();
    await used.running.close();
  });

  test.each(
    Array.from({ length: 12 }, (_, index) => ({
      requests: 5 + 9 * index,
      inFiles: index % 2 === 0 ? '' : 'b',
    })),
  )(
    'goes on without a component that vanishes at request $requests of the resize, and takes it back in later',
    async ({ requests, inFiles }) => {
      const used = await Used.make(inFiles);
      const { world, device } = used;
      await writeBytes(device, 0, PATTERN);
      grow(used);
      let left = requests;
      world.plans.set('b', () => {
        left -= 1;
        if (left > 0) return null;
        world.gone.add('b');
        return { kind: 'fail', errno: 'ENXIO', code: 'DEVICE_LOST' };
      });
      await used.resize().catch((error: unknown) => expect(error).toBeInstanceOf(ControlError));
      await writeBytes(device, 65_536, PATTERN);
      world.plans.clear();
      world.gone.clear();
      const b = componentOf(used.running, 'b');
      await b.closing;
      if (!b.isConnected) expect(await comeBack(used.running, 'b')).toBe('SYNCHRONIZING');
      await untilComplete(used.running);
      const { mediaSizeBytes } = used.running.mirror;
      await used.running.close();
      expect(world.data('b', mediaSizeBytes).equals(world.data('a', mediaSizeBytes))).toBe(true);
      expect(
        world
          .data('a')
          .subarray(65_536, 65_536 + 8192)
          .equals(PATTERN),
      ).toBe(true);
    },
  );
});

test.each([
  ['on its disk', ''],
  ['in a file', 'b'],
])(
  'a component whose disk grew while it was away is found again by its label, and follows to the new end; its private area is %s',
  async (_where, inFiles) => {
    const used = await Used.make(inFiles);
    const { running, world } = used;
    running.mirror.drop(componentOf(running, 'b'), lost('b'));
    await componentOf(running, 'b').closing;
    grow(used, 'b');
    expect(await comeBack(running, 'b')).toBe('SYNCHRONIZING');
    await untilComplete(running);
    await running.close();
    expect((await world.label('b'))?.providerSizeBytes).toBe(DISK_BYTES + ADDED_BYTES);
  },
);

test('who would change a mirror that is being stopped is refused with one line, also who has waited; status and stop are answered', async () => {
  const gate = new ResizeGate();
  let finish: () => void = () => undefined;
  const ran: string[] = [];
  const say = (what: string) => (): Promise<void> => Promise.resolve(void ran.push(what));
  const resizing = gate.pass('resize', () => new Promise<void>((resolve) => (finish = resolve)));
  const waiting = gate.pass('rebuild', say('rebuild'));
  gate.shut('mirror/m is being stopped');
  finish();
  await resizing;
  await expect(waiting).rejects.toThrow(new ControlError('mirror/m is being stopped'));
  for (const command of ['insert', 'verify', 'destroy', 'resize'])
    await expect(gate.pass(command, say(command))).rejects.toThrow(ControlError);
  for (const command of ['status', 'stop']) await gate.pass(command, say(command));
  expect(ran).toEqual(['status', 'stop']);
});

describe('while a mirror is resized', () => {
  test('who asks something else is answered afterwards', async () => {
    const gate = new ResizeGate();
    let finish: () => void = () => undefined;
    const told: string[] = [];
    const say = (what: string) => (): Promise<void> => Promise.resolve(void told.push(what));
    const resizing = gate.pass('resize', async () => {
      await new Promise<void>((resolve) => (finish = resolve));
      told.push('resized');
    });
    const asked = [gate.pass('status', say('status')), gate.pass('insert', say('insert'))];
    finish();
    await resizing;
    await Promise.all(asked);
    expect(told).toEqual(['resized', 'status', 'insert']);
  });

  test('two more that waited for it go one after the other, and so does what waited with them', async () => {
    const gate = new ResizeGate();
    let underWay = 0;
    let most = 0;
    const run = async (): Promise<void> => {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise((resolve) => setImmediate(resolve));
      underWay -= 1;
    };
    await Promise.all(['resize', 'resize', 'resize', 'insert'].map((command) => gate.pass(command, run)));
    expect(most).toBe(1);
  });

  test('nothing else changes it, and what does is not interrupted by a resize', async () => {
    const gate = new ResizeGate();
    let finish: () => void = () => undefined;
    const inserting = gate.pass('insert', () => new Promise<void>((resolve) => (finish = resolve)));
    await expect(gate.pass('resize', () => Promise.resolve())).rejects.toThrow('another command');
    finish();
    await inserting;
    await expect(gate.pass('resize', () => Promise.resolve(7))).resolves.toBe(7);
  });
});
