import type { MirrorPaths } from '../../control/paths.js';
import { CommandError } from '../errors.js';
import { attachedText, type Attachment, type FoundAttachment } from './attachment.js';
import { checkMountPoint, fileSystemOf, mountOn, mountPointsOf, unmount } from './file-systems.js';
import { GgateMaker } from './ggate.js';
import { hasKernelNbd, kernelNbdMaker } from './kernel-nbd.js';
import type { Made, Maker, Target } from './maker.js';
import { NbdfuseMaker } from './nbdfuse.js';
import { readRecord, removeRecord, type Way, writeRecord } from './record.js';
import { findProgram, type System } from './system.js';

interface Found extends Attachment {
  readonly made: Made;
  /** Null for what an attach has left behind that was killed. */
  readonly daemonPid: number | null;
}

export interface AttachOptions {
  readonly target: Target;
  readonly daemonPid: number;
  /** Null for the best that there is. */
  readonly way: Way | null;
  /** Null to leave it unmounted. */
  readonly mountPoint: string | null;
}

/**
 * The block device of one mirror. What is remembered in the run directory is only believed as far as the kernel says the
 * same, so a restart of the host or a killed process leaves nothing that stands in the way. All reject with CommandError.
 */
export class Attachments {
  constructor(
    private readonly system: System,
    private readonly name: string,
    private readonly paths: MirrorPaths,
  ) {}

  /** Null if there is none. `daemonPid`: of the mirror as it runs now; null if it does not. */
  async find(daemonPid: number | null): Promise<FoundAttachment | null> {
    const found = await this.#find();
    return found === null ? null : { ...toShow(found), isDead: !(await this.#isUsable(found, daemonPid)) };
  }

  /** Makes a device, or mounts the one that is there. */
  async attach({ target, daemonPid, way, mountPoint }: AttachOptions): Promise<Attachment> {
    if (mountPoint !== null) checkMountPoint(mountPoint);
    const found = await this.#find();
    if (found !== null) {
      if (await this.#isUsable(found, daemonPid)) return await this.#mountExisting(found, mountPoint);
      await this.#remove(found, false);
    }
    const chosen = way ?? this.#bestWay();
    const maker = this.#maker(chosen);
    const made = await maker.make(this.system, target);
    try {
      const { device, pid } = made;
      writeRecord(this.paths.attached, { way: chosen, device, pid, daemonPid, bootId: this.system.bootId });
      if (mountPoint !== null)
        await this.#mount(device, mountPoint, 'attach it without --mount and make one first');
      return { way: chosen, device, mountPoints: await mountPointsOf(this.system, device) };
    } catch (error) {
      await maker.remove(this.system, made, true);
      removeRecord(this.paths.attached);
      throw error;
    }
  }

  /** Unmounts it and removes the device. Refused while it is in use, unless `isLazy`. */
  async detach(isLazy: boolean): Promise<Attachment> {
    const found = await this.#find();
    if (found === null) throw new CommandError(`mirror/${this.name} is not attached`);
    await this.#remove(found, isLazy);
    return toShow(found);
  }

  async #find(): Promise<Found | null> {
    const record = readRecord(this.paths.attached);
    if (record !== null && record.bootId === this.system.bootId) {
      const { way, device, pid, daemonPid } = record;
      const made = { device, pid };
      if (await this.#maker(way).isThere(this.system, made)) {
        return { way, device, mountPoints: await mountPointsOf(this.system, device), made, daemonPid };
      }
    }
    const left = this.system.platform === 'linux' ? await this.#nbdfuse().find(this.system) : null;
    if (left === null) return null;
    const { device } = left;
    const mountPoints = device === '' ? [] : await mountPointsOf(this.system, device);
    return { way: 'nbdfuse', device, mountPoints, made: left, daemonPid: null };
  }

  async #isUsable({ way, made, daemonPid }: Found, runningPid: number | null): Promise<boolean> {
    return daemonPid === runningPid && (await this.#maker(way).isAlive(this.system, made));
  }

  async #mountExisting(found: Found, mountPoint: string | null): Promise<Attachment> {
    const { way, device, mountPoints } = found;
    if (mountPoint === null || mountPoints.length > 0) {
      throw new CommandError(`mirror/${this.name} ${attachedText(found)} already`);
    }
    await this.#mount(device, mountPoint, 'make one there first');
    return { way, device, mountPoints: await mountPointsOf(this.system, device) };
  }

  async #mount(device: string, mountPoint: string, wayOut: string): Promise<void> {
    const type = await fileSystemOf(this.system, device);
    if (type === null) {
      throw new CommandError(`mirror/${this.name} (${device}) holds no file system; ${wayOut}`);
    }
    await mountOn(this.system, { device, type }, mountPoint);
  }

  async #remove({ way, made, mountPoints }: Found, isLazy: boolean): Promise<void> {
    // What was mounted last may be inside of what was mounted before it.
    for (const mountPoint of [...mountPoints].reverse()) await unmount(this.system, mountPoint, isLazy);
    await this.#maker(way).remove(this.system, made, isLazy);
    removeRecord(this.paths.attached);
  }

  #maker(way: Way): Maker {
    if (way === 'nbd') return kernelNbdMaker;
    return way === 'nbdfuse' ? this.#nbdfuse() : new GgateMaker(this.name);
  }

  #nbdfuse(): NbdfuseMaker {
    return new NbdfuseMaker(this.paths.disk);
  }

  #bestWay(): Way {
    if (this.system.platform !== 'linux') return 'ggate';
    if (hasKernelNbd(this.system)) return 'nbd';
    if (findProgram(this.system, 'nbdfuse') !== null) return 'nbdfuse';
    throw new CommandError(
      'there is nothing to make a block device with: install nbdfuse (package libnbd-bin on Debian and Ubuntu, ' +
        'nbdfuse on Fedora), or nbd-client, and then load the kernel module nbd',
    );
  }
}

const toShow = ({ way, device, mountPoints }: Found): Attachment => ({ way, device, mountPoints });
