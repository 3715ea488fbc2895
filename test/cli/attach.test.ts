import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Attachment } from '../../src/cli/attach/attachment.js';
import { Attachments } from '../../src/cli/attach/attachments.js';
import { aloneIn } from '../../src/cli/attach/lock.js';
import { readRecord, writeRecord } from '../../src/cli/attach/record.js';
import type { System } from '../../src/cli/attach/system.js';
import { mirrorPaths } from '../../src/control/paths.js';
import { systemClock } from '../../src/device/clock.js';
import { makeScratch, type Scratch } from '../support/scratch.js';

const NAME = 'data';
const DAEMON_PID = 4711;

let scratch: Scratch;
/** Of a system on which nothing is real: the kernel is a folder, and programs are scripts. */
let folder: (name: string) => string;

beforeEach(() => {
  scratch = makeScratch();
  folder = (name) => scratch.path(name);
  for (const name of ['run', 'sys/block', 'proc/self', 'dev', 'bin', 'mnt'])
    mkdirSync(folder(name), { recursive: true });
  writeFileSync(folder('proc/self/mountinfo'), '');
});

afterEach(() => scratch.remove());

const systemOf = (platform: string, fields: Partial<System> = {}): System => ({
  platform,
  sysFolder: folder('sys'),
  procFolder: folder('proc'),
  devFolder: folder('dev'),
  programFolders: [folder('bin')],
  bootId: 'this boot',
  clock: systemClock,
  ...fields,
});

/** A program that writes its arguments down, and then does what a line of shell says. */
function program(name: string, script: string): void {
  const path = join(folder('bin'), name);
  writeFileSync(path, `#!/bin/sh\necho "${name} $*" >> ${folder('called')}\n${script}\n`);
  chmodSync(path, 0o755);
}

const called = (): string[] =>
  existsSync(folder('called')) ? readFileSync(folder('called'), 'utf8').trim().split('\n') : [];

const attachmentsOn = (system: System): Attachments =>
  new Attachments(system, NAME, mirrorPaths(folder('run'), NAME));

const recordPath = (): string => mirrorPaths(folder('run'), NAME).attached;

function attach(
  system: System,
  fields: { mountPoint?: string; daemonPid?: number } = {},
): Promise<Attachment> {
  return attachmentsOn(system).attach({
    target: {
      name: NAME,
      sectorSizeBytes: 4096,
      nbdPath: '/run/data.nbd',
      ggate: { host: 'localhost', port: 3080 },
    },
    daemonPid: DAEMON_PID,
    way: null,
    mountPoint: null,
    ...fields,
  });
}

describe("with the kernel's NBD", () => {
  let system: System;
  const pidOf = (device: string): string => folder(`sys/block/${device}/pid`);

  beforeEach(() => {
    for (const device of ['nbd0', 'nbd1', 'nbd10', 'nbd2']) {
      writeFileSync(folder(`dev/${device}`), '');
      mkdirSync(folder(`sys/block/${device}`));
    }
    writeFileSync(pidOf('nbd0'), '17\n');
    program(
      'nbd-client',
      `if [ "$1" = -d ]; then /bin/rm ${folder('sys/block')}/\${2##*/}/pid; else echo 99 > ${folder('sys/block')}/\${3##*/}/pid; fi`,
    );
    system = systemOf('linux');
  });

  test('the first free device is connected and disconnected', async () => {
    const device = folder('dev/nbd1');
    expect(await attach(system)).toEqual({ way: 'nbd', device, mountPoints: [] });
    expect(await attachmentsOn(system).find(DAEMON_PID)).toMatchObject({ device });
    await expect(attach(system)).rejects.toThrow(`mirror/data is attached at ${device} already`);
    await attachmentsOn(system).detach(false);
    expect(called()).toEqual([
      `nbd-client -unix /run/data.nbd ${device} -name data -block-size 4096`,
      `nbd-client -d ${device}`,
    ]);
    expect(existsSync(recordPath())).toBe(false);
  });

  test('a device that somebody else has connected since is left alone', async () => {
    await attach(system);
    writeFileSync(pidOf('nbd1'), '100\n');
    expect(await attachmentsOn(system).find(DAEMON_PID)).toBeNull();
    await expect(attachmentsOn(system).detach(true)).rejects.toThrow('is not attached');
    expect(await attach(system)).toMatchObject({ device: folder('dev/nbd2') });
  });

  test('what an earlier daemon left connected is dead, and disconnected first', async () => {
    await attach(system);
    expect(await attachmentsOn(system).find(DAEMON_PID)).toMatchObject({ isDead: false });
    expect(await attachmentsOn(system).find(4712)).toMatchObject({ isDead: true });
    expect(await attachmentsOn(system).find(null)).toMatchObject({ isDead: true });
    await attach(system, { daemonPid: 4712 });
    expect(called().map((line) => line.split(' ')[1])).toEqual(['-unix', '-d', '-unix']);
  });

  test('a record of another boot says nothing about this one', async () => {
    writeFileSync(pidOf('nbd1'), '99\n');
    writeRecord(recordPath(), {
      way: 'nbd',
      device: folder('dev/nbd1'),
      pid: 99,
      daemonPid: DAEMON_PID,
      bootId: 'the boot before',
    });
    expect(await attachmentsOn(system).find(DAEMON_PID)).toBeNull();
    expect(await attach(system)).toMatchObject({ device: folder('dev/nbd2') });
  });

  test('what nbd-client complains about is passed on, and nothing is remembered', async () => {
    program('nbd-client', 'echo Error: Socket failed >&2; echo Exiting. >&2; exit 1');
    await expect(attach(system)).rejects.toThrow('Error: Socket failed; Exiting.');
    expect(existsSync(recordPath())).toBe(false);
  });

  test('a file system that can’t be mounted takes the device with it', async () => {
    program('blkid', 'echo ext4');
    program('mount', 'echo "mount: wrong superblock" >&2; exit 32');
    await expect(attach(system, { mountPoint: folder('mnt') })).rejects.toThrow('mount: wrong superblock');
    expect(called().at(-1)).toBe(`nbd-client -d ${folder('dev/nbd1')}`);
    expect(await attachmentsOn(system).find(DAEMON_PID)).toBeNull();
  });
});

describe('on FreeBSD', () => {
  let system: System;

  beforeEach(() => {
    const device = folder('dev/ggate3');
    program(
      'ggatec',
      `case "$1" in
create) echo ggate3; : > ${device};;
list) printf '       NAME: ggate3\\n       info: localhost:3080 /dev/mirror/data\\n     access: read-write\\n';;
destroy) /bin/rm ${device};;
esac`,
    );
    program('fstyp', 'echo ufs');
    program(
      'mount',
      `if [ "$1" = -p ]; then test -e ${folder('mounted')} && /bin/cat ${folder('mounted')}; exit 0; fi
printf '%s\\t%s\\tufs rw 2 2\\n' "$3" "$4" > ${folder('mounted')}`,
    );
    program('umount', `/bin/rm ${folder('mounted')}`);
    system = systemOf('freebsd');
  });

  test('ggatec makes the device, and its file system is mounted and unmounted', async () => {
    const [device, mountPoint] = [folder('dev/ggate3'), folder('mnt')];
    expect(await attach(system, { mountPoint })).toEqual({ way: 'ggate', device, mountPoints: [mountPoint] });
    expect(called()).toContain('ggatec create -o rw -p 3080 localhost /dev/mirror/data');
    expect(called()).toContain(`mount -t ufs ${device} ${mountPoint}`);
    await attachmentsOn(system).detach(false);
    expect(called()).toContain(`umount ${mountPoint}`);
    expect(called().at(-1)).toBe('ggatec destroy -u 3');
    expect(existsSync(device)).toBe(false);
    expect(await attachmentsOn(system).find(DAEMON_PID)).toBeNull();
  });

  test('a unit that is something else by now is left alone', async () => {
    await attach(system);
    program('ggatec', "printf '       info: backup:3080 /dev/ada0\\n'");
    expect(await attachmentsOn(system).find(DAEMON_PID)).toBeNull();
    await expect(attachmentsOn(system).detach(true)).rejects.toThrow('is not attached');
    expect(called().filter((line) => line.includes('destroy'))).toEqual([]);
  });
});

describe('what is missing is named', () => {
  test('nothing that makes a device', async () => {
    await expect(attach(systemOf('linux'))).rejects.toThrow('install nbdfuse (package libnbd-bin on Debian');
  });

  test('losetup beside nbdfuse', async () => {
    program('nbdfuse', 'exit 1');
    await expect(attach(systemOf('linux'))).rejects.toThrow(
      'the program losetup is needed and not there; install it (package util-linux)',
    );
  });

  test('whatever keeps nbdfuse from starting', async () => {
    program('losetup', 'exit 1');
    program('nbdfuse', 'echo "fuse: device not found, try modprobe fuse first" >&2; exit 1');
    await expect(attach(systemOf('linux'))).rejects.toThrow('fuse: device not found');
    expect(existsSync(mirrorPaths(folder('run'), NAME).disk)).toBe(false);
  });
});

test('a damaged record is told of and not guessed at', () => {
  writeFileSync(recordPath(), '{"way":"nbd","device":"/dev/nbd0","pid":"1"}');
  expect(() => readRecord(recordPath())).toThrow('is damaged');
});

test('two commands at once do not both make a device', async () => {
  await aloneIn(folder('run'), async () => {
    await expect(aloneIn(folder('run'), () => Promise.resolve())).rejects.toThrow('another attach or detach');
  });
  await expect(aloneIn(folder('run'), () => Promise.resolve('alone'))).resolves.toBe('alone');
});
