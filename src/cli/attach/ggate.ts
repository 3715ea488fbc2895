import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { CommandError } from '../errors.js';
import type { Made, Maker, Target } from './maker.js';
import { needSuccess, runProgram, type System, waitFor } from './system.js';

const CREATE_MS = 10_000;

/** FreeBSD's own ggatec, which makes a device of the mirror's ggate export. */
export class GgateMaker implements Maker {
  readonly #path: string;

  constructor(private readonly name: string) {
    this.#path = `/dev/mirror/${name}`;
  }

  async make(system: System, { ggate }: Target): Promise<Made> {
    if (ggate === null) {
      throw new CommandError(`mirror/${this.name} takes no ggate clients; start it with --ggate-port PORT`);
    }
    const words = ['create', '-o', 'rw', '-p', String(ggate.port), ggate.host, this.#path];
    const said = await needSuccess(system, 'ggatec', words);
    const unit = /\bggate\d+\b/.exec(said)?.[0];
    if (unit === undefined) throw new CommandError(`ggatec names no device: ${said}`);
    const device = join(system.devFolder, unit);
    if ((await waitFor(system, CREATE_MS, () => (existsSync(device) ? true : null))) === null) {
      throw new CommandError(`${device} does not appear; is the geom_gate module loaded?`);
    }
    return { device, pid: null };
  }

  /** Somebody may have destroyed ours and made something else of that number since. */
  async isThere(system: System, { device }: Made): Promise<boolean> {
    if (!existsSync(device)) return false;
    const { stdout } = await runProgram(system, 'ggatec', ['list', '-v', '-u', unitOf(device)]);
    return stdout.split('\n').some((line) => /^\s*info\b/.test(line) && line.endsWith(` ${this.#path}`));
  }

  isAlive(system: System, made: Made): Promise<boolean> {
    return this.isThere(system, made);
  }

  /** Without -f it is refused while the device is open. Source: ggatec(8). */
  async remove(system: System, made: Made, isForced: boolean): Promise<void> {
    if (!(await this.isThere(system, made))) return;
    const { device } = made;
    await needSuccess(system, 'ggatec', ['destroy', ...(isForced ? ['-f'] : []), '-u', unitOf(device)]);
    await waitFor(system, CREATE_MS, () => (existsSync(device) ? null : true));
  }
}

const unitOf = (device: string): string => basename(device).replace('ggate', '');
