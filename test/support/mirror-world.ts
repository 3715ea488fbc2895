import { closeSync, openSync, readSync } from 'node:fs';
import { askMirror } from '../../src/control/control-client.js';
import type { ControlRequest } from '../../src/control/commands/all.js';
import type { ComponentStatus, MirrorStatus } from '../../src/control/status.js';
import { systemClock } from '../../src/device/clock.js';
import { createImage } from '../../src/device/file-device.js';
import { runCli, startCli, type CliResult, type CliRun } from './cli.js';
import { keepDaemonLogs, type DaemonLogs } from './fake-logger.js';
import { NbdClient } from './nbd-client.js';
import { connectOnce, freePort } from './ports.js';
import { isAlive, killFamily, startOwn, untilGone, type Running } from './processes.js';
import { makeScratch, type Scratch } from './scratch.js';
import { PATIENCE_MS, until } from './until.js';

export interface MirrorWorldOptions {
  readonly name?: string;
  readonly imageBytes?: number;
}

/** A local image, a backup that a real server offers, and real mirrors in the background. Close it after each test. */
export class MirrorWorld {
  readonly local: string;
  readonly backup: string;
  readonly uri: string;
  server: Running | null = null;
  /** Of the mirrors that run in the background. */
  readonly #daemons = new Set<number>();
  readonly #logs: DaemonLogs;

  private constructor(
    readonly scratch: Scratch,
    readonly name: string,
    readonly port: number,
  ) {
    this.#logs = keepDaemonLogs(scratch);
    this.local = scratch.path('local.img');
    this.backup = scratch.path('backup.img');
    this.uri = `ggate://127.0.0.1:${port}${this.backup}`;
  }

  static async make({
    name = 'data',
    imageBytes = 32 * 1_048_576,
  }: MirrorWorldOptions = {}): Promise<MirrorWorld> {
    const world = new MirrorWorld(makeScratch(), name, await freePort());
    await createImage(world.local, imageBytes);
    await createImage(world.backup, imageBytes);
    return world;
  }

  async close(): Promise<void> {
    for (const pid of this.#daemons) if (isAlive(pid)) await killFamily(pid);
    await this.server?.stop();
    this.#logs.keep();
    this.scratch.remove();
  }

  get environment(): Record<string, string> {
    return { ...this.#logs.environment, GGMIRROR_RUN_DIR: this.scratch.path('run') };
  }

  run(...words: readonly string[]): Promise<CliResult> {
    return runCli(words, this.environment);
  }

  /** One that goes on beside the test. */
  start(...words: readonly string[]): CliRun {
    return startCli(words, this.environment);
  }

  /** What it says. Throws unless its exit status is 0. */
  async succeed(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...words);
    if (code !== 0) throw new Error(`ggmirror ${words.join(' ')}: ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  async serveBackup(): Promise<void> {
    this.server = startOwn('ggmirror', ['serve', '--port', String(this.port), this.backup]);
    await until('the backup server', () => connectOnce(this.port));
  }

  /** As if the backup's host had lost its power. */
  async killBackup(): Promise<void> {
    const { pid } = this.server ?? {};
    if (pid === undefined) throw new Error('no backup server');
    this.server = null;
    await killFamily(pid);
  }

  /** Serves the backup and makes both images a mirror, which does not run yet. */
  async label(): Promise<void> {
    await this.serveBackup();
    await this.succeed('label', '-b', 'prefer', this.name, this.local, this.uri);
  }

  /** A mirror of both images that runs in the background, just labelled. */
  async startMirror(...options: readonly string[]): Promise<void> {
    await this.label();
    await this.succeed('start', this.name, this.local, this.uri, ...options);
    await this.status();
  }

  /** Without a program of its own for each look. The daemon that answers is ended with this world. */
  async status(): Promise<MirrorStatus> {
    const status = (await this.#ask({ command: 'status' })) as MirrorStatus;
    this.#daemons.add(status.pid);
    return status;
  }

  #ask(request: ControlRequest): Promise<unknown> {
    const asking = { clock: systemClock, timeoutMs: PATIENCE_MS };
    return askMirror(this.scratch.path(`run/${this.name}.ctl`), request, asking);
  }

  remoteOf({ components }: MirrorStatus): ComponentStatus | undefined {
    return components.find(({ name }) => name === this.uri);
  }

  async untilState(state: MirrorStatus['state']): Promise<MirrorStatus> {
    let now = await this.status();
    return await until(
      () => `${state}: ${JSON.stringify(now)}`,
      async () => {
        now = await this.status();
        return now.state === state ? now : null;
      },
    );
  }

  /** The end of a client is noticed a little later than it ends. */
  untilUnused(): Promise<MirrorStatus> {
    return until('an unused mirror', async () => {
      const now = await this.status();
      return now.clients === 0 ? now : null;
    });
  }

  get nbdPath(): string {
    return this.scratch.path(`run/${this.name}.nbd`);
  }

  async attach(): Promise<NbdClient> {
    const client = await NbdClient.connect({ unixPath: this.nbdPath });
    await client.go(this.name);
    return client;
  }

  /** A daemon answers before its process is gone. */
  async untilEnded(pid: number): Promise<void> {
    await untilGone([pid]);
  }

  /** Ends the mirror, and gives what both images hold then. */
  async stopAndRead(): Promise<{ readonly ofLocal: Buffer; readonly ofBackup: Buffer }> {
    const { mediaSizeBytes, pid } = await this.untilUnused();
    await this.#ask({ command: 'stop', isForced: false });
    await untilGone([pid]);
    return {
      ofLocal: readStart(this.local, mediaSizeBytes),
      ofBackup: readStart(this.backup, mediaSizeBytes),
    };
  }
}

function readStart(image: string, lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  const fd = openSync(image, 'r');
  for (let at = 0; at < lengthBytes;) at += readSync(fd, bytes, at, lengthBytes - at, at);
  closeSync(fd);
  return bytes;
}
