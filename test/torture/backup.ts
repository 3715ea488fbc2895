import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { familyOf, send } from '../support/families.js';
import { runTool } from '../support/tools.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { clearDisk, fillDisk } from './full-disk.js';
import type { HostClock } from './host-clock.js';
import type { Cable } from './hosts.js';
import { commandOn, Program } from './programs.js';
import { spoil, type Spoil } from './spoil.js';

const PORT = 3080;

/** A host with an image and a `ggmirror serve` for it. */
export class Backup {
  #server: Program | null = null;
  #refusalsBefore = 0;
  /** It has to be inserted anew. */
  isSpoiled = false;

  constructor(
    readonly index: number,
    readonly cable: Cable,
    readonly image: string,
    readonly logPath: string,
    readonly runDirectory: string,
    readonly clock: HostClock,
    private readonly endedByItself: (what: string) => void,
  ) {}

  get name(): string {
    return `backup ${this.index}`;
  }

  get uri(): string {
    return `ggate://${this.cable.backupAddress}:${PORT}${this.image}`;
  }

  get isUp(): boolean {
    return this.#server !== null;
  }

  /** Of a mirror that runs here. */
  nbdPathOf(mirror: string): string {
    return join(this.runDirectory, `${mirror}.nbd`);
  }

  pidFileOf(mirror: string): string {
    return join(this.runDirectory, `${mirror}.pid`);
  }

  /** Runs ggmirror here to its end. Rejects, with what it said, if it fails. */
  run(...words: readonly string[]): Promise<string> {
    const environment = Object.entries({ GGMIRROR_RUN_DIR: this.runDirectory, ...this.clock.environment });
    const settings = environment.map(([name, value]) => `${name}=${value}`);
    return runTool('env', ...settings, ...commandOn(this.cable.host, words));
  }

  async serve(): Promise<void> {
    const words = ['serve', '--port', String(PORT), '--allow', '198.51.100.0/24', this.image];
    const { host } = this.cable;
    const server = Program.start(host, words, this, (how) => {
      this.endedByItself(`the server of ${this.name} ended by itself: ${how}`);
    });
    this.#server = server;
    await until(`the server of ${this.name}`, () => server.isOver || /listening/i.test(server.output));
  }

  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.kill();
    if (server !== null) this.clock.stamp(this.image);
  }

  /** One of the processes that serve a client each. False if there is none. */
  killSession(random: SeededRandom): boolean {
    const server = this.#server;
    const sessions = server === null ? [] : familyOf(server.pid).filter((pid) => pid !== server.pid);
    return sessions.length > 0 && send(random.pick(sessions), 'SIGKILL');
  }

  /** Only while no server runs. False if there was nothing to spoil. */
  spoil(what: Spoil, mediaSizeBytes: number, random: SeededRandom): boolean {
    if (!spoil(this.image, what, mediaSizeBytes, random)) return false;
    this.isSpoiled ||= what === 'area' || what === 'label';
    return true;
  }

  /** Nothing is left of the file system under the image. */
  fillDisk(): void {
    this.#refusalsBefore = this.#refusals;
    fillDisk(this.image);
  }

  /** False if nobody has needed more of it meanwhile. */
  clearDisk(): boolean {
    clearDisk(this.image);
    return this.#refusals > this.#refusalsBefore;
  }

  /** What servers here could not write for want of room. */
  get #refusals(): number {
    return readFileSync(this.logPath, 'utf8').split('failed: ENOSPC').length - 1;
  }

  async pause(): Promise<void> {
    await this.#server?.pause();
  }

  resume(): void {
    this.#server?.resume();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.stop();
  }
}
