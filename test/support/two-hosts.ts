import { closeSync, openSync, readSync } from 'node:fs';
import { askMirror } from '../../src/control/control-client.js';
import type { ControlRequest } from '../../src/control/commands/all.js';
import type { MirrorStatus } from '../../src/control/status.js';
import { systemClock } from '../../src/device/clock.js';
import { createImage } from '../../src/device/file-device.js';
import { runCli, startCli, type CliResult, type CliRun } from './cli.js';
import { keepDaemonLogs, type DaemonLogs } from './fake-logger.js';
import { NbdClient } from './nbd-client.js';
import { connectOnce, freePort } from './ports.js';
import { isAlive, killFamily, startOwn, untilGone, type Running } from './processes.js';
import { makeScratch, type Scratch } from './scratch.js';
import { PATIENCE_MS, until } from './until.js';

const FUA = 1;

/** One of two machines, as far as ggmirror sees it: an image, its sockets in a folder of its own, a server's port. */
export class Host {
  server: Running | null = null;
  /** Of the programs that are started from now on, besides what they always have. */
  environment: Readonly<Record<string, string>> = {};
  /** Of the mirrors that have run here in the background. */
  readonly #daemons = new Set<number>();
  readonly uri: string;

  constructor(
    readonly mirrorName: string,
    readonly image: string,
    readonly runDirectory: string,
    readonly port: number,
    private readonly logs: DaemonLogs,
  ) {
    this.uri = `ggate://127.0.0.1:${port}${image}`;
  }

  async close(): Promise<void> {
    for (const pid of this.#daemons) if (isAlive(pid)) await killFamily(pid);
    await this.server?.stop();
  }

  run(...words: readonly string[]): Promise<CliResult> {
    return runCli(words, this.#environment);
  }

  /** One that goes on beside the test. */
  start(...words: readonly string[]): CliRun {
    return startCli(words, this.#environment);
  }

  /** What it says. Throws unless its exit status is 0. */
  async succeed(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...words);
    if (code !== 0) throw new Error(`ggmirror ${words.join(' ')}: ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** What it says on standard error. Throws unless its exit status is 1. */
  async fail(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...words);
    if (code !== 1) throw new Error(`ggmirror ${words.join(' ')}: ${code ?? 'no code'}: ${stderr}${stdout}`);
    return stderr;
  }

  async serve(): Promise<void> {
    this.server = startOwn('ggmirror', ['serve', '-p', String(this.port), this.image], this.#environment);
    await until('a server', () => connectOnce(this.port));
  }

  /** Without a program of its own for each look. The daemon that answers is ended with this host. */
  async status(): Promise<MirrorStatus> {
    const status = (await this.#ask({ command: 'status' })) as MirrorStatus;
    this.#daemons.add(status.pid);
    return status;
  }

  #ask(request: ControlRequest): Promise<unknown> {
    const asking = { clock: systemClock, timeoutMs: PATIENCE_MS };
    return askMirror(`${this.runDirectory}/${this.mirrorName}.ctl`, request, asking);
  }

  async untilState(state: MirrorStatus['state']): Promise<MirrorStatus> {
    let now = await this.status();
    const look = async (): Promise<MirrorStatus | null> => {
      now = await this.status();
      return now.state === state ? now : null;
    };
    // A component that was away for long is tried again every 30 seconds.
    return await until(() => `${state}: ${JSON.stringify(now)}`, look, 150_000);
  }

  /** As if the machine had died, as far as its mirror is concerned. */
  async killMirror(): Promise<void> {
    const { pid } = await this.status();
    await killFamily(pid);
  }

  async stopMirror(): Promise<void> {
    const { pid } = await this.status();
    await this.#ask({ command: 'stop', isForced: true });
    await untilGone([pid]);
  }

  /** Durable when it resolves. */
  async write(offsetBytes: number, bytes: Buffer): Promise<void> {
    await this.#withClient(async (client) => {
      const { errno } = await client.write(offsetBytes, bytes, FUA);
      if (errno !== 0) throw new Error(`a write to the mirror failed with ${errno}`);
    });
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#withClient(async (client) => (await client.read(offsetBytes, lengthBytes)).data);
  }

  /** What its image holds, read past every program. */
  imageBytes(offsetBytes: number, lengthBytes: number): Buffer {
    const bytes = Buffer.alloc(lengthBytes);
    const fd = openSync(this.image, 'r');
    for (let at = 0; at < lengthBytes;) at += readSync(fd, bytes, at, lengthBytes - at, offsetBytes + at);
    closeSync(fd);
    return bytes;
  }

  get #environment(): Record<string, string> {
    return { ...this.environment, ...this.logs.environment, GGMIRROR_RUN_DIR: this.runDirectory };
  }

  async #withClient<Result>(work: (client: NbdClient) => Promise<Result>): Promise<Result> {
    const client = await NbdClient.connect({ unixPath: `${this.runDirectory}/${this.mirrorName}.nbd` });
    try {
      await client.go(this.mirrorName);
      return await work(client);
    } finally {
      await client.disconnect();
    }
  }
}

/** A primary and a backup with an image each, of one mirror that is not labelled yet. Close it after each test. */
export class TwoHosts {
  private constructor(
    private readonly scratch: Scratch,
    private readonly logs: DaemonLogs,
    readonly name: string,
    readonly primary: Host,
    readonly backup: Host,
  ) {}

  static async make({ imageBytes }: { readonly imageBytes: number }): Promise<TwoHosts> {
    const scratch = makeScratch();
    const logs = keepDaemonLogs(scratch);
    const name = 'sites';
    const makeHost = async (host: string): Promise<Host> => {
      const image = scratch.path(`${host}.img`);
      await createImage(image, imageBytes);
      return new Host(name, image, scratch.path(`run-${host}`), await freePort(), logs);
    };
    return new TwoHosts(scratch, logs, name, await makeHost('primary'), await makeHost('backup'));
  }

  /** For what else a test needs; removed by close(). */
  get directory(): string {
    return this.scratch.path('.');
  }

  async close(): Promise<void> {
    await this.primary.close();
    await this.backup.close();
    this.logs.keep();
    this.scratch.remove();
  }

  /** The backup serves its image, and the primary runs the mirror; both images are the same. */
  async run(): Promise<void> {
    const { primary, backup, name } = this;
    await backup.serve();
    await primary.succeed('label', name, primary.image, backup.uri);
    await this.startPrimary();
    await primary.untilState('COMPLETE');
  }

  async startPrimary(): Promise<void> {
    await this.primary.succeed('start', this.name, this.primary.image, this.backup.uri);
    await this.primary.status();
  }

  async promoteBackup(...options: readonly string[]): Promise<string> {
    const { backup, primary, name } = this;
    const said = await backup.succeed('promote', ...options, name, backup.image, primary.uri);
    await backup.status();
    return said;
  }
}
