import { closeSync, mkdirSync, openSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { askMirror } from '../../src/control/control-client.js';
import { mirrorPaths } from '../../src/control/paths.js';
import type { ComponentStatus, MirrorStatus } from '../../src/control/status.js';
import { systemClock } from '../../src/device/clock.js';
import { endingSignal } from '../ending.js';
import { run } from '../load.js';
import { ownCommand, startOurs, type Server } from '../processes.js';
import type { Target } from '../target.js';

const POLL_MS = 20;
const ANSWER_MS = 10_000;

export function makeSparse(path: string, sizeMiB: number): void {
  closeSync(openSync(path, 'w'));
  truncateSync(path, sizeMiB * 1_048_576);
}

export interface RigOptions {
  readonly name: string;
  /** Of its own; holds images, sockets and logs. */
  readonly folder: string;
  readonly imageMiB: number;
  readonly parts: readonly ('local' | 'backup')[];
  /** Options of `ggmirror start`. */
  readonly startWords?: readonly string[];
}

/** A mirror as people run it: a daemon, a served backup image on this machine, a local image. */
export class Rig implements Target {
  readonly name: string;
  readonly uri: string;
  readonly local: string;
  readonly backup: string;
  #server: Server | null = null;
  #port = 0;
  #isRunning = false;

  constructor(private readonly options: RigOptions) {
    const { name, folder } = options;
    mkdirSync(folder, { recursive: true });
    this.name = name;
    this.local = join(folder, 'local.img');
    this.backup = join(folder, 'backup.img');
    this.uri = `nbd+unix:///?socket=${join(folder, 'mirror.nbd')}`;
  }

  async start(): Promise<void> {
    const { folder, imageMiB, parts, startWords = [] } = this.options;
    for (const path of [this.local, this.backup]) makeSparse(path, imageMiB);
    await this.startBackup();
    const components = parts.map((part) => (part === 'local' ? this.local : this.backupUri));
    await this.#own('label', 'bench', ...components);
    const socket = join(folder, 'mirror.nbd');
    endingSignal.throwIfAborted();
    try {
      await this.#own('start', ...startWords, '--nbd-socket', socket, 'bench', ...components);
    } catch (error) {
      // Its daemon may run all the same: a Ctrl-C ends the command and not the daemon.
      await this.#own('stop', '-f', 'bench').catch(() => undefined);
      throw error;
    }
    this.#isRunning = true;
  }

  get backupUri(): string {
    return `ggate://127.0.0.1:${this.#port}${this.backup}`;
  }

  /** The port stays the same when it is started again. */
  async startBackup(): Promise<void> {
    if (!this.options.parts.includes('backup')) return;
    this.#server = await startOurs([this.backup], [], this.options.folder, this.#port);
    this.#port = this.#server.port;
  }

  async stopBackup(): Promise<void> {
    await this.#server?.stop();
    this.#server = null;
  }

  async components(): Promise<readonly ComponentStatus[]> {
    const { control } = mirrorPaths(this.#runFolder, 'bench');
    const options = { clock: systemClock, timeoutMs: ANSWER_MS };
    return ((await askMirror(control, { command: 'status' }, options)) as MirrorStatus).components;
  }

  /** Resolves when the components are as wanted, with the milliseconds that passed. */
  async until(isDone: (components: readonly ComponentStatus[]) => boolean, limitMs: number): Promise<number> {
    const startMs = performance.now();
    for (;;) {
      endingSignal.throwIfAborted();
      const components = await this.components();
      const passedMs = performance.now() - startMs;
      if (isDone(components)) return passedMs;
      if (passedMs > limitMs)
        throw new Error(`${this.name}: still ${components.map(({ state }) => state).join(', ')}`);
      await delay(POLL_MS);
    }
  }

  async rebuild(): Promise<void> {
    await this.#own('rebuild', 'bench', this.backupUri);
  }

  async stop(): Promise<void> {
    try {
      if (this.#isRunning) await this.#own('stop', '-f', 'bench');
      this.#isRunning = false;
    } finally {
      await this.stopBackup();
    }
  }

  get #runFolder(): string {
    return join(this.options.folder, 'run');
  }

  async #own(...words: readonly string[]): Promise<string> {
    const [program, own] = ownCommand(words);
    return await run(program, own, { GGMIRROR_RUN_DIR: this.#runFolder });
  }
}

export const allActive = (components: readonly ComponentStatus[]): boolean =>
  components.every(({ state }) => state === 'ACTIVE');
