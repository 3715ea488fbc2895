import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { md5, md5OfDevice, startVerifiedLoad, withFile, writeDevice } from '../support/device-file.js';
import { connectOnce, freePort } from '../support/ports.js';
import { killFamily, start, startOwn, type Running } from '../support/processes.js';
import { createUnit, type Ggatec, type GgatecOptions } from '../support/real-ggatec.js';
import { realProgram, startGgated } from '../support/real-ggated.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

const ggatec = realProgram('GGATEC');
const MIB = 1_048_576;
const IMAGE_BYTES = 8 * MIB;

describe.skipIf(ggatec === null)('the real ggatec (named by GGATEC, or of FreeBSD) with our server', () => {
  const program = ggatec ?? '';
  let scratch: Scratch;
  let image: string;
  let units: Ggatec[];
  let processes: Running[];

  beforeEach(() => {
    scratch = makeScratch();
    image = scratch.path('image');
    writeFileSync(image, randomBytes(IMAGE_BYTES));
    units = [];
    processes = [];
  });

  afterEach(async () => {
    for (const unit of units) await unit.stop();
    for (const running of processes) await running.stop();
    scratch.remove();
  });

  async function serve(port: number, words: readonly string[] = []): Promise<Running> {
    const server = startOwn('ggmirror', ['serve', '-a', '127.0.0.1', '-p', String(port), ...words, image]);
    processes.push(server);
    await untilListening(server, port);
    return server;
  }

  async function create(port: number, access: NonNullable<GgatecOptions['access']> = 'rw'): Promise<Ggatec> {
    const unit = await createUnit({ program, scratch, port, path: image, access });
    units.push(unit);
    return unit;
  }

  // FreeBSD's own test of ggated, with our server in its place.
  test('reads back what it wrote, and the image holds the same', async () => {
    const source = randomBytes(MIB);
    const port = await freePort();
    await serve(port);
    const { devicePath } = await create(port);
    await writeDevice(devicePath, source);
    expect(await md5OfDevice(image, MIB)).toBe(md5(source));
    expect(await md5OfDevice(devicePath, MIB)).toBe(md5(source));
    expect(await md5OfDevice(devicePath, IMAGE_BYTES)).toBe(await md5OfDevice(image, IMAGE_BYTES));
  });

  test('works the same with our ggated, started as FreeBSD starts it', async () => {
    const source = randomBytes(MIB);
    const own = join(import.meta.dirname, '../../dist/cli/ggated.js');
    const server = await startGgated([process.execPath, own], scratch, [`RW ${image}`]);
    try {
      const unit = await create(server.port);
      await writeDevice(unit.devicePath, source);
      expect(await md5OfDevice(image, MIB)).toBe(md5(source));
      expect(await md5OfDevice(unit.devicePath, MIB)).toBe(md5(source));
      await unit.stop();
    } finally {
      await server.kill();
    }
  });

  test('may only read where only reading is allowed, and is refused when it wants to write', async () => {
    const port = await freePort();
    await serve(port, ['--allow', '127.0.0.1,ro']);
    const words = ['create', '-v', '-o', 'rw', '-p', String(port), '127.0.0.1', image];
    const refused = start(program, words, { GGATEC_DEVICE: scratch.path('refused') });
    processes.push(refused);
    expect(await refused.ended).not.toBe(0);
    expect(refused.output()).toContain('Operation not permitted');
    const { devicePath } = await create(port, 'ro');
    expect(await md5OfDevice(devicePath, IMAGE_BYTES)).toBe(await md5OfDevice(image, IMAGE_BYTES));
  });

  test('reconnects by itself to a server that was killed and started again, and nothing is lost', async () => {
    const port = await freePort();
    let server = await serve(port);
    const { devicePath } = await create(port);
    const load = startVerifiedLoad(devicePath, IMAGE_BYTES / 4096);
    for (let life = 0; life < 2; life++) {
      const before = load.writes();
      await until('some load', () => load.writes() > before + 200);
      await killFamily(server.pid);
      server = await serve(port);
    }
    const before = load.writes();
    await until('load after the restart', () => load.writes() > before + 200);
    await load.finish(image);
    expect(await md5OfDevice(devicePath, IMAGE_BYTES)).toBe(await md5OfDevice(image, IMAGE_BYTES));
  });

  // Before FreeBSD 14 a flush comes as a READ or WRITE of nothing at the end of the medium.
  test.skipIf(!hasStrace())("makes data durable when the client's kernel flushes", async () => {
    const port = await freePort();
    const trace = scratch.path('trace');
    const own = join(import.meta.dirname, '../../dist/cli/ggmirror.js');
    const words = ['serve', '-a', '127.0.0.1', '-p', String(port), image];
    const traced = start('strace', [
      ...['-f', '-qq', '--seccomp-bpf', '-e', 'trace=fdatasync,fsync', '-o', trace],
      ...[process.execPath, own, ...words],
    ]);
    try {
      await untilListening(traced, port);
      const { devicePath } = await create(port);
      const syncs = (): number => (existsSync(trace) ? countSyncs(readFileSync(trace, 'utf8')) : 0);
      await withFile(devicePath, 'r+', async (file) => {
        for (let flush = 1; flush <= 3; flush++) {
          await file.write(randomBytes(4096), 0, 4096, 4096 * flush);
          const before = syncs();
          await file.sync();
          await until('a sync of the image', () => syncs() > before);
        }
      });
    } finally {
      for (const unit of units) await unit.stop();
      await killFamily(traced.pid); // strace does not pass a SIGTERM on
    }
  });
});

async function untilListening(server: Running, port: number): Promise<void> {
  await until(`port ${port}`, async () => {
    if (server.child.exitCode !== null)
      throw new Error(`the server ended with ${server.child.exitCode}: ${server.output()}`);
    return await connectOnce(port);
  });
}

/** Those that have returned with success; strace cuts a call that others overlap into two lines. */
const countSyncs = (trace: string): number =>
  trace.split('\n').filter((line) => /\b(fdatasync|fsync)\b.*= 0$/.test(line)).length;

function hasStrace(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
