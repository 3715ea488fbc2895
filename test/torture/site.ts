import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createImage } from '../../src/device/file-device.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { Backup } from './backup.js';
import { HostClocks } from './host-clock.js';
import { Hosts } from './hosts.js';
import { MISTAKES, optionsFor, type Mistake } from './mistakes.js';
import { MirrorDaemon } from './mirror-daemon.js';

const MIB = 1_048_576;
const NAME = 'torture';
const IMAGE_BYTES = 24 * MIB;
/** Of the file system under an image: in memory, where nothing else on the machine holds it up. */
const DISK_BYTES = 28 * MIB;
/** On a busy machine a server may need more than two to start a session. */
export const TIMEOUT_SECONDS = 3;

export interface SiteOptions {
  readonly seed: number;
  /** An empty one. */
  readonly folder: string;
  readonly random: SeededRandom;
  readonly endedByItself: (what: string) => void;
  /** What programs do wrong; null for programs as they are. */
  readonly mistake: Mistake | null;
}

/** Every step is to be tried, in this order, whatever becomes of the others. */
export type Steps = readonly (() => unknown)[];

/** The hosts with their clocks, cables and disks, and the programs on them: the mirror on one, a server on each other. */
export class Site {
  readonly backups: readonly Backup[];
  readonly mirror: MirrorDaemon;
  readonly clocks: HostClocks;
  /** Path of the mirror's own image. */
  readonly local: string;
  readonly #hosts: Hosts;
  readonly #mounts: string[] = [];

  constructor(private readonly options: SiteOptions) {
    const { seed, folder, random, endedByItself } = options;
    this.clocks = new HostClocks(folder, seed);
    this.#hosts = new Hosts(random.chance(0.3) ? 2 : 1);
    this.backups = this.#hosts.cables.map((cable, index) => {
      const [image, log] = [join(folder, `disk${index}/backup.img`), join(folder, `backup${index}.log`)];
      return new Backup(
        index,
        cable,
        image,
        log,
        join(folder, `run${index}`),
        this.clocks.of(`backup${index}`),
        endedByItself,
      );
    });
    this.local = join(folder, 'disk/local.img');
    this.mirror = new MirrorDaemon({
      host: this.#hosts.primary,
      name: NAME,
      local: this.local,
      uris: this.backups.map(({ uri }) => uri),
      timeoutSeconds: TIMEOUT_SECONDS,
      runDirectory: join(folder, 'run'),
      logPath: join(folder, 'mirror.log'),
      clock: this.clocks.of('primary'),
      endedByItself,
    });
    this.#plant();
  }

  /** Paths by name, the local one first. */
  get images(): ReadonlyMap<string, string> {
    return new Map([['local', this.local], ...this.backups.map(({ name, image }) => [name, image] as const)]);
  }

  /** Resolves when the mirror runs; its components are not in step yet. */
  async setUp(balance: string): Promise<void> {
    mkdirSync(join(this.options.folder, 'run'));
    for (const image of this.images.values()) {
      this.#mount(dirname(image));
      await createImage(image, IMAGE_BYTES);
    }
    for (const backup of this.backups) await backup.serve();
    const uris = this.backups.map(({ uri }) => uri);
    await this.mirror.run('label', '-b', balance, NAME, this.local, ...uris);
    await this.mirror.start();
  }

  #plant(): void {
    const { mistake, folder } = this.options;
    if (mistake === null) return;
    const option = optionsFor(mistake, folder);
    for (const clock of this.clocks.all) if (clock.host.startsWith(MISTAKES[mistake])) clock.preload(option);
  }

  #mount(disk: string): void {
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'none', disk]);
    this.#mounts.push(disk);
  }

  get killing(): Steps {
    return [() => this.mirror.kill(), ...this.backups.map((backup) => () => backup.kill())];
  }

  /** When nothing runs there any more. */
  get removal(): Steps {
    return [
      () => this.#hosts.remove(),
      ...this.#mounts.map((disk) => () => execFileSync('umount', ['-l', disk])),
    ];
  }
}
