import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bootId, type BootIdSources } from '../../src/device/platform/boot-id.js';
import {
  canDiscard,
  deviceNumbers,
  discard,
  flushDiskCache,
  freebsdDiskSize,
  systemSources,
  zeroOut,
} from '../../src/device/platform/disks.js';
import { lockFileExclusive, nextDataRange, punchHole } from '../../src/device/platform/files.js';
import {
  native,
  type Native,
  type NativeArgument,
  type NativeFunction,
  type SystemName,
} from '../../src/device/platform/native.js';
import { dropUnsentAtClose, setSocketBuffers } from '../../src/device/platform/sockets.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

/** A C library that writes down its calls and answers as told. */
class ActedNative implements Native {
  addressOf(): number {
    return 0;
  }

  readonly calls: (string | NativeArgument)[][] = [];

  constructor(
    readonly system: SystemName,
    private readonly answer: (name: string, args: readonly NativeArgument[]) => number = () => 0,
  ) {}

  call(name: string, ...args: readonly NativeArgument[]): number {
    // Memory is copied, for the call may change what the caller uses again.
    this.calls.push([name, ...args.map((each) => (Buffer.isBuffer(each) ? Buffer.from(each) : each))]);
    return this.answer(name, args);
  }

  callAsync(name: string, ...args: readonly NativeArgument[]): Promise<number> {
    return new Promise((resolve) => resolve(this.call(name, ...args)));
  }

  function(name: string): NativeFunction {
    return (...args) => this.call(name, ...args);
  }

  failure(): Error {
    return new Error('not acted');
  }
}

const fail = (code: string): never => {
  throw Object.assign(new Error(code), { code });
};

let scratch: Scratch;
let fds: number[];

function open(name: string, flags: string): number {
  const fd = openSync(scratch.path(name), flags);
  fds.push(fd);
  return fd;
}

beforeEach(() => {
  scratch = makeScratch();
  fds = [];
});
afterEach(() => {
  for (const fd of fds) closeSync(fd);
  scratch.remove();
});

describe.skipIf(native() === null)('the C library', () => {
  test('locks a file once, and again when the first lock is gone', () => {
    writeFileSync(scratch.path('lock'), '');
    const first = openSync(scratch.path('lock'), 'r+');
    const second = open('lock', 'r+');
    try {
      expect(lockFileExclusive(first)).toBe('locked');
      expect(lockFileExclusive(second)).toBe('held');
    } finally {
      closeSync(first);
    }
    expect(lockFileExclusive(second)).toBe('locked');
  });

  test('maps data and holes far beyond 32 bits, and rejects with the errno of its own thread', async () => {
    const fd = open('sparse', 'w+');
    ftruncateSync(fd, 2 ** 36);
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 2 ** 35);
    const range = await nextDataRange(fd, 0);
    expect(range?.offsetBytes).toBeLessThanOrEqual(2 ** 35);
    expect((range?.offsetBytes ?? 0) + (range?.lengthBytes ?? 0)).toBeGreaterThanOrEqual(2 ** 35 + 4096);
    expect(range?.lengthBytes).toBeLessThan(2 ** 24);
    expect(await nextDataRange(fd, 2 ** 35 + 2 ** 24)).toBeNull();
    // A failing call on this thread first, whose errno is another.
    expect(() => native()?.call('lseek', 9999, 0n, 0)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    await expect(native()?.callAsync('lseek', fd, -1n, 0)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  test('punches a hole: zeroes, the same size, less space', async () => {
    const fd = open('full', 'w+');
    writeSync(fd, Buffer.alloc(1_048_576, 0xaa));
    const before = statSync(scratch.path('full'));
    await punchHole(fd, { offsetBytes: 65_536, lengthBytes: 524_288 });
    const after = statSync(scratch.path('full'));
    expect(after.size).toBe(before.size);
    expect(after.blocks).toBeLessThan(before.blocks);
    const bytes = readFileSync(scratch.path('full'));
    expect(bytes.subarray(65_536, 589_824).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(0, 65_536).every((byte) => byte === 0xaa)).toBe(true);
    expect(bytes.subarray(589_824).every((byte) => byte === 0xaa)).toBe(true);
  });

  test.each([
    { what: 'resets a connection that is closed, if it was told so', isDropped: true, end: 'ECONNRESET' },
    { what: 'sends all of it else', isDropped: false, end: 'end' },
  ])('$what', async ({ isDropped, end }) => {
    const server = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
      const [peer] = (await once(server, 'connection')) as [Socket];
      const ended = new Promise<string>((resolve) => {
        peer.once('end', () => resolve('end'));
        peer.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      });
      const { fd } = (client as unknown as { _handle: { fd: number } })._handle;
      if (isDropped) dropUnsentAtClose(fd);
      client.write(Buffer.alloc(65_536));
      client.destroy();
      await once(client, 'close');
      peer.resume();
      expect(await ended).toBe(end);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('sets the buffers of a socket and tells what they became', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
      const small = setSocketBuffers(fd, { receiveBytes: 16_384, sendBytes: 16_384 });
      const large = setSocketBuffers(fd, { receiveBytes: 65_536 });
      expect(small?.receiveBytes).toBeGreaterThanOrEqual(16_384);
      expect(large?.receiveBytes).toBeGreaterThan(small?.receiveBytes ?? Infinity);
      expect(large?.sendBytes).toBe(small?.sendBytes);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    expect(() => dropUnsentAtClose(9999)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => setSocketBuffers(9999, { sendBytes: 4096 })).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });
});

describe('without the C library', () => {
  test('GGMIRROR_NO_FFI=1 turns it off', () => {
    const before = process.env['GGMIRROR_NO_FFI'];
    process.env['GGMIRROR_NO_FFI'] = '1';
    try {
      expect(native()).toBeNull();
    } finally {
      if (before === undefined) delete process.env['GGMIRROR_NO_FFI'];
      else process.env['GGMIRROR_NO_FFI'] = before;
    }
  });

  test('everything says that it cannot, and nothing fails otherwise', async () => {
    const fd = open('file', 'w+');
    const range = { offsetBytes: 0, lengthBytes: 4096 };
    const unsupported = { code: 'EOPNOTSUPP' };
    expect(lockFileExclusive(fd, null, () => 'unsupported')).toBe('unsupported');
    expect(setSocketBuffers(fd, { sendBytes: 4096 }, null)).toBeNull();
    await expect(punchHole(fd, range, null)).rejects.toMatchObject(unsupported);
    await expect(nextDataRange(fd, 0, null)).rejects.toMatchObject(unsupported);
    await expect(discard(fd, range, null)).rejects.toMatchObject(unsupported);
    await expect(zeroOut(fd, range, null)).rejects.toMatchObject(unsupported);
    expect(await canDiscard(fd, 0, { ...systemSources(), native: null })).toBe(false);
  });
});

describe("FreeBSD's calls, acted", () => {
  test('a hole is asked for until nothing of it is left', async () => {
    const acted = new ActedNative('freebsd', (_, args) => {
      const left = args[4];
      if (Buffer.isBuffer(left)) {
        // The first call does 4,096 bytes of it.
        const lengthBytes = left.readBigInt64LE(8);
        left.writeBigInt64LE(left.readBigInt64LE(0) + 4096n, 0);
        left.writeBigInt64LE(lengthBytes - 4096n, 8);
      }
      return 0;
    });
    await punchHole(3, { offsetBytes: 2 ** 40, lengthBytes: 8192 }, acted);
    const wanted = acted.calls.map((call) => call[3] as Buffer);
    expect(acted.calls.map((call) => call.slice(0, 3))).toEqual([
      ['fspacectl', 3, 1],
      ['fspacectl', 3, 1],
    ]);
    expect(wanted.map((range) => [range.readBigInt64LE(0), range.readBigInt64LE(8)])).toEqual([
      [2n ** 40n, 8192n],
      [2n ** 40n + 4096n, 4096n],
    ]);
  });

  test("sizes, discard and flush of a disk use sys/disk.h's numbers", async () => {
    const acted = new ActedNative('freebsd', (_, args) => {
      const [, request, memory] = args;
      if (!Buffer.isBuffer(memory)) return 0;
      if (request === 0x40046480) memory.writeUInt32LE(4096);
      if (request === 0x40086481) memory.writeBigInt64LE(5n * 2n ** 40n);
      if (request === 0xc148648e) {
        expect(memory.length).toBe(328);
        expect(memory.toString('latin1', 0, 16)).toBe('GEOM::candelete\0');
        expect(memory.readInt32LE(64)).toBe(4);
        memory.writeInt32LE(1, 72);
      }
      return 0;
    });
    const sources = { ...systemSources(), native: acted };
    expect(await freebsdDiskSize(3, '/dev/da0', sources)).toEqual({
      mediaSizeBytes: 5 * 2 ** 40,
      sectorSizeBytes: 4096,
    });
    expect(await canDiscard(3, 0, sources)).toBe(true);
    await discard(3, { offsetBytes: 4096, lengthBytes: 8192 }, acted);
    await flushDiskCache(3, acted);
    expect(acted.calls.slice(3).map((call) => call[2])).toEqual([0x80106488, 0x20006487]);
    const deleted = acted.calls[3]?.[3] as Buffer;
    expect([deleted.readBigUInt64LE(0), deleted.readBigUInt64LE(8)]).toEqual([4096n, 8192n]);
    await expect(zeroOut(3, { offsetBytes: 0, lengthBytes: 512 }, acted)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
    });
  });

  test('a disk that does not know the question cannot discard', async () => {
    const sources = { ...systemSources(), native: new ActedNative('freebsd', () => fail('ENOTTY')) };
    expect(await canDiscard(3, 0, sources)).toBe(false);
  });

  test("socket buffers use sys/socket.h's numbers", () => {
    const acted = new ActedNative('freebsd');
    setSocketBuffers(3, { receiveBytes: 131_072, sendBytes: 65_536 }, acted);
    const set = acted.calls.filter(([name]) => name === 'setsockopt');
    expect(set.map((call) => call.slice(1, 4))).toEqual([
      [3, 0xffff, 0x1002],
      [3, 0xffff, 0x1001],
    ]);
    expect(set.map((call) => (call[4] as Buffer).readInt32LE())).toEqual([131_072, 65_536]);
    dropUnsentAtClose(3, acted);
    expect(acted.calls.at(-1)?.slice(1, 4)).toEqual([3, 0xffff, 0x80]);
  });
});

test.runIf(process.platform === 'linux')('device numbers are taken apart as stat(1) does it', () => {
  const printed = execFileSync('stat', ['-c', '%Hr %Lr', '/dev/null'], { encoding: 'utf8' }).trim();
  const { major, minor } = deviceNumbers(statSync('/dev/null').rdev);
  expect(`${major} ${minor}`).toBe(printed);
  // 259:300 as Linux packs it: more than eight bits of minor.
  expect(deviceNumbers(0x2c + 259 * 2 ** 8 + 2 ** 20)).toEqual({
    major: 259,
    minor: 300,
  });
});

describe('the boot id', () => {
  const sources = (changes: Partial<BootIdSources>): BootIdSources => ({
    platform: 'freebsd',
    readFile: () => fail('ENOENT'),
    sysctl: () => fail('ENOENT'),
    random: (lengthBytes) => Buffer.alloc(lengthBytes, 0x5a),
    ...changes,
  });
  const boottime =
    (seconds: number) =>
    (...args: readonly string[]) => {
      const name = args.at(-1);
      if (name === 'kern.boottime') return Buffer.from(`{ sec = ${seconds}, usec = 12 } Thu Nov 21 2024\n`);
      return name === 'kern.hostuuid' ? Buffer.from('a-b-c\n') : fail('ENOENT');
    };

  test.runIf(process.platform === 'linux')('is the same each time on this machine, and has 16 bytes', () => {
    const { bytes, note } = bootId();
    expect(bytes.length).toBe(16);
    expect(note).toBeNull();
    expect(bootId().bytes.equals(bytes)).toBe(true);
  });

  test("is FreeBSD's own from 14 on", () => {
    const own = Buffer.alloc(16, 7);
    const { bytes } = bootId(sources({ sysctl: (...args) => (args.includes('-b') ? own : fail('EINVAL')) }));
    expect(bytes.equals(own)).toBe(true);
  });

  test('follows from the boot time and the host before that', () => {
    const first = bootId(sources({ sysctl: boottime(1000) }));
    expect(first.note).toBeNull();
    expect(first.bytes.length).toBe(16);
    expect(bootId(sources({ sysctl: boottime(1000) })).bytes.equals(first.bytes)).toBe(true);
    expect(bootId(sources({ sysctl: boottime(1001) })).bytes.equals(first.bytes)).toBe(false);
  });

  test.each(['linux', 'freebsd'])('is random on a %s that tells nothing, and says so', (platform) => {
    const { bytes, note } = bootId(sources({ platform }));
    expect(bytes.equals(Buffer.alloc(16, 0x5a))).toBe(true);
    expect(note).toContain('boot id is unknown');
  });
});
