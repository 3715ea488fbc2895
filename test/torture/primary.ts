import type { SeededRandom } from '../support/seeded-random.js';
import type { FileSystem } from './file-system.js';
import type { MirrorDaemon } from './mirror-daemon.js';
import { spoil, type Spoil } from './spoil.js';

/** The host of a mirror and of the file system on it, if there is one: what happens to the one happens to the other. */
export class Primary {
  /** Since the mirror runs. */
  #isAfterCrash = false;

  constructor(
    private readonly mirror: MirrorDaemon,
    private readonly fileSystem: FileSystem | null,
  ) {}

  /** With the mirror the file system dies, as it does when a host crashes. */
  async kill(): Promise<void> {
    this.fileSystem?.expectFailure();
    await this.mirror.kill();
    await this.fileSystem?.giveUp();
    this.#isAfterCrash = true;
  }

  get hasFileSystem(): boolean {
    return this.fileSystem !== null;
  }

  /** Under the file system its device dies, and the mirror lives on. */
  async loseDevice(): Promise<void> {
    const { fileSystem } = this;
    if (fileSystem === null) return;
    fileSystem.expectFailure();
    if (!fileSystem.killDevice()) throw new Error('there is no nbdfuse to be killed');
    await fileSystem.giveUp();
  }

  async findDevice(): Promise<void> {
    await this.fileSystem?.mount('crash');
  }

  async start(): Promise<void> {
    await this.mirror.start();
    await this.fileSystem?.mount(this.#isAfterCrash ? 'crash' : 'order');
    this.#isAfterCrash = false;
  }

  async stop(): Promise<void> {
    await this.fileSystem?.unmount();
    await this.mirror.stop();
  }

  /** While it is stopped. False if there was nothing to spoil. */
  spoil(what: Spoil, mediaSizeBytes: number, random: SeededRandom): boolean {
    return spoil(this.mirror.local, what, mediaSizeBytes, random);
  }

  pause(): Promise<void> {
    return this.mirror.pause();
  }

  resume(): void {
    this.mirror.resume();
  }
}
