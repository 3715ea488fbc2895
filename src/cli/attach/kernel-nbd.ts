import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readSysfs } from '../../device/platform/disks.js';
import { CommandError } from '../errors.js';
import { requireUnused } from './in-use.js';
import type { Maker } from './maker.js';
import { findProgram, needSuccess, type System, waitFor } from './system.js';

const CONNECT_MS = 10_000;

/** The nbd module is loaded, and there is the program that connects its devices. */
export const hasKernelNbd = (system: System): boolean =>
  existsSync(join(system.devFolder, 'nbd0')) && findProgram(system, 'nbd-client') !== null;

/** The kernel's own NBD client: /dev/nbdN is the mirror. */
export const kernelNbdMaker: Maker = {
  async make(system, { name, nbdPath, sectorSizeBytes }) {
    const device = await findFree(system);
    const words = ['-unix', nbdPath, device, '-name', name, '-block-size', String(sectorSizeBytes)];
    await needSuccess(system, 'nbd-client', words);
    // Where it doesn't use netlink, a process that it leaves behind connects the device a moment later.
    const pid = await waitFor(system, CONNECT_MS, () => connectionOf(system, device));
    if (pid === null) throw new CommandError(`${device} is not connected, though nbd-client succeeded`);
    return { device, pid };
  },
  // Somebody may have disconnected ours and connected something else since; that has another pid.
  isThere: async (system, { device, pid }) => (await connectionOf(system, device)) === pid,
  isAlive: async (system, { device, pid }) => (await connectionOf(system, device)) === pid,
  async remove(system, { device, pid }, isLazy) {
    if ((await connectionOf(system, device)) !== pid) return;
    if (!isLazy) await requireUnused(system, device);
    await needSuccess(system, 'nbd-client', ['-d', device]);
    await waitFor(system, CONNECT_MS, async () =>
      (await connectionOf(system, device)) === pid ? null : true,
    );
  },
};

/** The process that has connected it; null if it isn't connected. Source: Linux drivers/block/nbd.c, pid_show. */
async function connectionOf({ sysFolder }: System, device: string): Promise<number | null> {
  const text = await readSysfs(join(sysFolder, 'block', basename(device), 'pid'));
  return text === null || !/^\d+$/.test(text) ? null : Number(text);
}

async function findFree(system: System): Promise<string> {
  const names = readdirSync(system.devFolder).filter((name) => /^nbd\d+$/.test(name));
  for (const name of names.sort((one, other) => Number(one.slice(3)) - Number(other.slice(3)))) {
    const device = join(system.devFolder, name);
    if ((await connectionOf(system, device)) === null) return device;
  }
  throw new CommandError("all of the kernel's NBD devices are in use; add --way nbdfuse");
}
