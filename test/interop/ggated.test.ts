import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Load } from '../../src/cli/bench/load.js';
import { openRemote, type RemoteDevice } from '../../src/client/remote-device.js';
import type { RemoteEvents, RemoteOptions } from '../../src/client/options.js';
import { DeviceError } from '../../src/device/block-device.js';
import { systemClock } from '../../src/device/clock.js';
import { systemRandom } from '../../src/device/random.js';
import { COMMAND } from '../../src/protocol/request.js';
import { recordCommands, type CommandRecorder } from '../support/command-recorder.js';
import { md5 } from '../support/device-file.js';
import { flush, readBytes, writeBytes } from '../support/device-requests.js';
import { startOwn } from '../support/processes.js';
import { realProgram, startGgated, type Ggated } from '../support/real-ggated.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

const ggated = realProgram('GGATED');
const MIB = 1_048_576;
const IMAGE_BYTES = 8 * MIB;
const FIRST_SECTOR = { offsetBytes: 0, lengthBytes: 512 };

describe.skipIf(ggated === null)('our client with the real ggated (named by GGATED, or of FreeBSD)', () => {
  const program = ggated ?? '';
  let scratch: Scratch;
  let image: string;
  let servers: Ggated[];
  let devices: RemoteDevice[];
  let recorders: CommandRecorder[];

  beforeEach(() => {
    scratch = makeScratch();
    image = scratch.path('image');
    writeFileSync(image, randomBytes(IMAGE_BYTES));
    servers = [];
    devices = [];
    recorders = [];
  });

  afterEach(async () => {
    for (const device of devices) await device.close();
    for (const recorder of recorders) await recorder.close();
    for (const server of servers) await server.kill();
    scratch.remove();
  });

  async function serve(exportLines = [`RW ${image}`], port?: number): Promise<Ggated> {
    const server = await startGgated([program], scratch, exportLines, port);
    servers.push(server);
    return server;
  }

  async function attach(port: number, options: Partial<RemoteOptions> = {}): Promise<RemoteDevice> {
    const uri = { host: '127.0.0.1', port, path: image, isTls: false };
    const device = await openRemote({ uri, access: 'rw', ...options });
    devices.push(device);
    return device;
  }

  test('has the size of the file, sectors of 512 bytes and nothing that a ggated cannot do', async () => {
    const device = await attach((await serve()).port);
    expect(device.mediaSizeBytes).toBe(IMAGE_BYTES);
    expect(device.sectorSizeBytes).toBe(512);
    expect(device.session).toMatchObject({ mode: 'rw', isGgmirror: false, extensions: [], instanceId: null });
    expect(device.can).toEqual({
      read: true,
      write: true,
      flush: false,
      trim: false,
      writeZeroes: false,
      checksum: false,
    });
  });

  test('reads back what it wrote, and the exported file holds the same', async () => {
    const device = await attach((await serve()).port);
    const source = randomBytes(3 * MIB);
    const offsetBytes = MIB + 512;
    // Longer than what a FreeBSD kernel would send at once, and not a multiple of it.
    await writeBytes(device, offsetBytes, source);
    const back = await readBytes(device, { offsetBytes, lengthBytes: source.length });
    expect(md5(back)).toBe(md5(source));
    expect(md5(readFileSync(image).subarray(offsetBytes, offsetBytes + source.length))).toBe(md5(source));
  });

  test.each([
    { exported: 'RO', access: 'ro', isAllowed: true },
    { exported: 'RO', access: 'wo', isAllowed: false },
    { exported: 'RO', access: 'rw', isAllowed: false },
    { exported: 'WO', access: 'ro', isAllowed: false },
    { exported: 'WO', access: 'wo', isAllowed: true },
    { exported: 'WO', access: 'rw', isAllowed: false },
    { exported: 'RW', access: 'ro', isAllowed: true },
    { exported: 'RW', access: 'wo', isAllowed: true },
    { exported: 'RW', access: 'rw', isAllowed: true },
  ] as const)('asking for $access of an $exported export: allowed is $isAllowed', async (about) => {
    const { port } = await serve([`${about.exported} ${image}`]);
    const attached = attach(port, { access: about.access });
    if (!about.isAllowed) {
      await expect(attached).rejects.toMatchObject({ code: 'DEVICE_REFUSED', errno: 'EPERM' });
      return;
    }
    const device = await attached;
    const sector = Buffer.alloc(512, 'x');
    if (about.access !== 'ro') await writeBytes(device, 0, sector);
    const seen = about.access === 'wo' ? sector : await readBytes(device, FIRST_SECTOR);
    expect(readFileSync(image).subarray(0, 512).equals(seen)).toBe(true);
  });

  test('is refused with EPERM where the path is not exported', async () => {
    const { port } = await serve([`RW ${image}.other`]);
    await expect(attach(port)).rejects.toMatchObject({ code: 'DEVICE_REFUSED', errno: 'EPERM' });
  });

  test('is refused with ENOENT where the exported file is missing', async () => {
    const { port } = await serve([`RW ${image}.other`]);
    const uri = { host: '127.0.0.1', port, path: `${image}.other`, isTls: false };
    await expect(openRemote({ uri, access: 'rw' })).rejects.toMatchObject({ errno: 'ENOENT' });
  });

  test('finds out with care that this ggated may not know FLUSH, and works on whatever the answer', async () => {
    const { port } = await serve();
    let losses = 0;
    const device = await attach(port, { flushProbe: 'once', events: { lost: () => (losses += 1) } });
    const sector = randomBytes(512);
    await writeBytes(device, 0, sector);
    if (device.can.flush) await flush(device);
    await readBytes(device, FIRST_SECTOR);
    expect(losses).toBe(0);
  });

  test('a verified load survives that ggated is killed and started again, twice', async () => {
    const { port } = await serve();
    let connects = 0;
    const events: RemoteEvents = { connected: () => (connects += 1) };
    const device = await attach(port, { events, backoff: { firstMs: 50, maxMs: 500 } });
    const load = mixedLoad(device, 3_600_000);
    const running = load.run();
    const requests = (): number => load.totals.reads + load.totals.writes;
    for (let life = 0; life < 2; life++) {
      const [before, connectsBefore] = [requests(), connects];
      await until('some load', () => requests() > before + 2000);
      await servers.at(-1)?.kill();
      await serve([`RW ${image}`], port);
      await until('a new connection', () => connects > connectsBefore);
    }
    const before = requests();
    await until('load after the restart', () => requests() > before + 2000);
    load.stop();
    await running;
    expect(load.totals).toMatchObject({ errors: 0, mismatches: 0, firstError: null });
    expect(load.totals.checkedBlocks).toBeGreaterThan(1000);
    expect(device.stats.reconnects).toBeGreaterThanOrEqual(2);
  });

  test('requests fail with DEVICE_LOST instead, where the caller wants that', async () => {
    const server = await serve();
    let losses = 0;
    const events: RemoteEvents = { lost: () => (losses += 1) };
    const device = await attach(server.port, { onConnectionLost: 'fail', events });
    await server.kill();
    await until('the loss', () => losses === 1);
    const failing = readBytes(device, FIRST_SECTOR);
    await expect(failing).rejects.toBeInstanceOf(DeviceError);
    await expect(failing).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  });

  test('a load sends only what every ggated knows', async () => {
    const recorder = await record();
    let losses = 0;
    const device = await attach(recorder.port, { events: { lost: () => (losses += 1) } });
    await mixedLoad(device, 300).run();
    expect(losses).toBe(0);
    expect(sentThrough(recorder)).toEqual([COMMAND.read, COMMAND.write]);
  });

  test('our commands send no extension, and ask about FLUSH only where nothing can be lost', async () => {
    const recorder = await record();
    const source = scratch.path('source');
    const back = scratch.path('back');
    writeFileSync(source, Buffer.concat([randomBytes(MIB), Buffer.alloc(IMAGE_BYTES - MIB)]));
    const uri = `ggate://127.0.0.1:${recorder.port}${image}`;
    const info = await ownOutput(['info', '--json', uri]);
    expect(JSON.parse(info)).toMatchObject({ mediaSizeBytes: IMAGE_BYTES, sectorSizeBytes: 512 });
    await ownOutput(['copy', '--force', '--verify', '--quiet', source, uri]);
    await ownOutput(['copy', '--verify', '--quiet', uri, back]);
    expect(md5(readFileSync(image))).toBe(md5(readFileSync(source)));
    expect(md5(readFileSync(back))).toBe(md5(readFileSync(source)));
    await ownOutput(['bench', '--force', '--mode', 'mix', '--time', '0.3', '--json', uri]);
    expect([COMMAND.read, COMMAND.write, COMMAND.flush]).toEqual(
      expect.arrayContaining(sentThrough(recorder)),
    );
    // A ggated before FreeBSD 14 ends the session at a FLUSH: it must be one that does nothing else.
    const probes = recorder.connections.filter((sent) => sent.has(COMMAND.flush));
    for (const sent of probes) expect([...sent]).toEqual([[COMMAND.flush, 1]]);
  });

  async function record(): Promise<CommandRecorder> {
    const recorder = await recordCommands((await serve()).port);
    recorders.push(recorder);
    return recorder;
  }
});

const sentThrough = (recorder: CommandRecorder): number[] =>
  [...new Set(recorder.connections.flatMap((sent) => [...sent.keys()]))].sort((a, b) => a - b);

const mixedLoad = (device: RemoteDevice, durationMs: number): Load =>
  new Load({
    device,
    mode: 'mix',
    blockBytes: 4096,
    depth: 32,
    durationMs,
    isSequential: false,
    blockCount: IMAGE_BYTES / 4096,
    verifies: true,
    flushEvery: 0,
    clock: systemClock,
    random: systemRandom,
  });

/** What one of our commands prints. Throws with all that it said if it fails. */
async function ownOutput(words: readonly string[]): Promise<string> {
  const command = startOwn('ggmirror', words);
  const code = await command.ended;
  if (code !== 0) throw new Error(`ggmirror ${words.join(' ')} ended with ${code}: ${command.output()}`);
  return command.output();
}
