import { existsSync, readFileSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { headOf, MirrorLab, writeRandom } from '../support/mirror-lab.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/processes.js';
import { haveTools, runTool } from '../support/tools.js';
import { until } from '../support/until.js';

const MIB = 1_048_576;
const IMAGE_BYTES = 32 * MIB;
const TIB = 1024 ** 4;
const NAME = 'data';

let lab: MirrorLab;

beforeEach(() => {
  lab = new MirrorLab();
});

afterEach(async () => await lab.end());

/** A mirror of two images; they are equal when they hold the same up to its end. */
async function makeMirror(): Promise<readonly [string, string]> {
  const images = [await lab.image('a.img', IMAGE_BYTES), await lab.image('b.img', IMAGE_BYTES)] as const;
  await lab.create(NAME, images);
  return images;
}

/** Stops the mirror. Resolves with its data, which all images hold. */
async function stopAndRead(images: readonly string[]): Promise<Buffer> {
  const { mediaSizeBytes } = await lab.stop(NAME);
  const [first, ...others] = images.map((image) => headOf(image, mediaSizeBytes));
  if (first === undefined) throw new Error('no images');
  for (const other of others) expect(first.equals(other)).toBe(true);
  return first;
}

/** As large as the mirror, and random up to 16 MiB. */
async function makeSource(): Promise<string> {
  const path = lab.scratch.path('source.bin');
  await writeRandom(path, 16 * MIB);
  truncateSync(path, (await lab.status(NAME)).mediaSizeBytes);
  return path;
}

describe.skipIf(!haveTools('nbdinfo', 'nbdcopy'))('the tools of libnbd', () => {
  test('find a mirror that can do everything, and copy in and out of it', async () => {
    const images = await makeMirror();
    const { mediaSizeBytes } = await lab.status(NAME);
    const told = JSON.parse(await runTool('nbdinfo', '--json', lab.uri(NAME))) as { exports: unknown[] };
    expect(told.exports).toMatchObject([
      {
        'export-name': NAME,
        'export-size': mediaSizeBytes,
        can_flush: true,
        can_fua: true,
        can_multi_conn: true,
      },
    ]);
    const source = await makeSource();
    await runTool('nbdcopy', '--flush', source, lab.uri(NAME));
    const back = lab.scratch.path('back.bin');
    await runTool('nbdcopy', lab.uri(NAME), back);
    expect(readFileSync(back).equals(readFileSync(source))).toBe(true);
    expect((await stopAndRead(images)).equals(readFileSync(source))).toBe(true);
  });
});

describe.skipIf(!haveTools('qemu-img', 'qemu-io'))("qemu's client", () => {
  test('converts into a mirror, writes patterns and zeroes, and finds them again', async () => {
    const images = await makeMirror();
    const source = await makeSource();
    await runTool('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source, lab.uri(NAME));
    await runTool('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source, lab.uri(NAME));
    const commands = [
      'write -P 0x11 1M 3M',
      'write -f -P 0x22 64k 512',
      'write -z -u 6M 1M',
      'discard 8M 1M',
      'flush',
    ];
    const checks = ['read -P 0x11 1M 3M', 'read -P 0x22 64k 512', 'read -P 0 6M 1M'];
    const words = [...commands, ...checks].flatMap((one) => ['-c', one]);
    expect(await runTool('qemu-io', '-f', 'raw', ...words, lab.uri(NAME))).not.toMatch(/failed|error/i);
    const data = await stopAndRead(images);
    expect(data.subarray(MIB, 4 * MIB).every((byte) => byte === 0x11)).toBe(true);
  });
});

describe.skipIf(!haveTools('fio'))('a mirror as a component of a mirror', () => {
  test('takes what fio writes and goes on when it is restarted', async () => {
    const inner = [await lab.image('c.img', IMAGE_BYTES), await lab.image('d.img', IMAGE_BYTES)];
    const port = await freePort();
    await lab.create('inner', inner, '--ggate-port', String(port));
    const local = await lab.image('a.img', IMAGE_BYTES);
    const uri = `ggate://127.0.0.1:${port}/dev/mirror/inner`;
    await lab.create(NAME, [local, uri]);
    const load = ['--rw=randwrite', '--size=24M', '--bsrange=4k-64k', '--iodepth=16', '--rate=,8M'];
    const verify = ['--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--do_verify=1'];
    const fio = start('fio', [
      '--name=verify',
      '--ioengine=nbd',
      `--uri=${lab.uri(NAME)}`,
      ...load,
      ...verify,
    ]);
    try {
      await until('writes', async () => (await lab.component(NAME, uri)).bytesWritten > 4 * MIB);
      await lab.kill('inner');
      await lab.untilState(NAME, 'DEGRADED');
      await lab.start('inner', inner, '--ggate-port', String(port));
      expect(await fio.ended, fio.output()).toBe(0);
    } finally {
      await fio.stop();
    }
    await lab.untilState(NAME, 'COMPLETE');
    await lab.untilState('inner', 'COMPLETE');
    const { mediaSizeBytes } = await lab.stop(NAME);
    await lab.stop('inner');
    const [one, ...others] = [local, ...inner].map((image) => headOf(image, mediaSizeBytes));
    for (const other of others) expect(one?.equals(other)).toBe(true);
  });
});

describe.skipIf(!existsSync('/proc/self/status'))('a mirror of sparse images of 4 TiB', () => {
  test('starts without reading them, and needs little memory', async () => {
    const images = [await lab.image('a.img', 4 * TIB), await lab.image('b.img', 4 * TIB)];
    await lab.create(NAME, images);
    const { mediaSizeBytes, pid } = await lab.status(NAME);
    expect(mediaSizeBytes).toBeGreaterThan(4 * TIB - 256 * MIB);
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    expect(Number(kib) / 1024).toBeLessThan(200);
    await lab.stop(NAME);
    const startedMs = performance.now();
    await lab.start(NAME, images);
    const tookMs = performance.now() - startedMs;
    await lab.untilState(NAME, 'COMPLETE');
    process.stdout.write(
      `4 TiB: ${Math.round(Number(kib) / 1024)} MiB, started in ${Math.round(tookMs)} ms\n`,
    );
    await lab.stop(NAME);
  });
});
