import { readdirSync } from 'node:fs';
import { askMirror } from '../../src/control/control-client.js';
import type { ControlRequest } from '../../src/control/commands/all.js';
import type { ComponentStatus, MirrorStatus } from '../../src/control/status.js';
import { systemClock } from '../../src/device/clock.js';
import { createImage } from '../../src/device/file-device.js';
import { runCli, type CliResult } from './cli.js';
import { CountingProxy } from './counting-proxy.js';
import { keepDaemonLogs } from './fake-logger.js';
import { connectOnce, freePort } from './ports.js';
import { isAlive, killFamily, pauseFamily, startOwn, untilGone, type Running } from './processes.js';
import { makeScratch } from './scratch.js';
import { runTool } from './tools.js';
import { PATIENCE_MS, until } from './until.js';

export { headOf } from './image-head.js';

/** Another host, with one image and a server for it. What goes to it and comes from it is counted. */
export class Backup {
  #server: Running | null = null;
  #resume = (): void => undefined;

  private constructor(
    readonly image: string,
    readonly proxy: CountingProxy,
    private readonly port: number,
  ) {}

  /** It serves at once. */
  static async start(image: string): Promise<Backup> {
    const port = await freePort();
    const backup = new Backup(image, await CountingProxy.listen(port), port);
    await backup.serve();
    return backup;
  }

  get uri(): string {
    return `ggate://127.0.0.1:${this.proxy.port}${this.image}`;
  }

  async serve(): Promise<void> {
    this.#server = startOwn('ggmirror', ['serve', '--port', String(this.port), this.image]);
    await until('the backup server', () => connectOnce(this.port));
  }

  /** As if its host had lost its power. */
  async kill(): Promise<void> {
    const pid = this.#server?.pid;
    this.#server = null;
    if (pid !== undefined) await killFamily(pid);
  }

  /** It hangs: nothing is answered, and nothing refused. */
  async pause(): Promise<void> {
    if (this.#server !== null) this.#resume = await pauseFamily(this.#server.pid);
  }

  resume(): void {
    this.#resume();
    this.#resume = () => undefined;
  }

  async end(): Promise<void> {
    this.resume();
    await this.kill();
    await this.proxy.close();
  }
}

/** Mirrors that run in the background as users run them, their backups and what is attached; ended together. */
export class MirrorLab {
  readonly scratch = makeScratch();
  readonly #logs = keepDaemonLogs(this.scratch);
  readonly #backups: Backup[] = [];
  readonly #daemons = new Map<string, number>();

  async image(name: string, sizeBytes: number): Promise<string> {
    const path = this.scratch.path(name);
    await createImage(path, sizeBytes);
    return path;
  }

  async backup(name: string, sizeBytes: number): Promise<Backup> {
    const backup = await Backup.start(await this.image(name, sizeBytes));
    this.#backups.push(backup);
    return backup;
  }

  run(...words: readonly string[]): Promise<CliResult> {
    return runCli(words, { ...this.#logs.environment, GGMIRROR_RUN_DIR: this.scratch.path('run') });
  }

  async succeed(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...words);
    if (code !== 0) throw new Error(`ggmirror ${words.join(' ')}: ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Labels the components and starts a mirror of them, which is COMPLETE when this resolves. */
  async create(name: string, components: readonly string[], ...options: readonly string[]): Promise<void> {
    await this.succeed('label', '-b', 'prefer', name, ...components);
    await this.start(name, components, ...options);
    await this.untilState(name, 'COMPLETE');
  }

  async start(name: string, components: readonly string[], ...options: readonly string[]): Promise<void> {
    await this.succeed('start', name, ...components, ...options);
    this.#daemons.set(name, (await this.status(name)).pid);
  }

  /** As if its process had been killed. */
  async kill(name: string): Promise<void> {
    const pid = this.#daemons.get(name);
    if (pid !== undefined) await killFamily(pid);
  }

  /** Resolves when the daemon is gone, with nothing of it left in the run directory. */
  async stop(name: string): Promise<MirrorStatus> {
    const last = await this.#untilUnused(name);
    await this.#ask(name, { command: 'stop', isForced: false });
    await untilGone([last.pid]);
    const left = readdirSync(this.scratch.path('run')).filter((file) => file.startsWith(`${name}.`));
    if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
    return last;
  }

  /** The end of a client is noticed a little later than it ends. */
  #untilUnused(name: string): Promise<MirrorStatus> {
    return until('an unused mirror', async () => {
      const now = await this.status(name);
      return now.clients === 0 ? now : null;
    });
  }

  /** Without a program of its own for each look. */
  async status(name: string): Promise<MirrorStatus> {
    return (await this.#ask(name, { command: 'status' })) as MirrorStatus;
  }

  #ask(name: string, request: ControlRequest): Promise<unknown> {
    const asking = { clock: systemClock, timeoutMs: PATIENCE_MS };
    return askMirror(this.scratch.path(`run/${name}.ctl`), request, asking);
  }

  async component(name: string, component: string): Promise<ComponentStatus> {
    const found = (await this.status(name)).components.find((one) => one.name === component);
    if (found === undefined) throw new Error(`${name} has no component ${component}`);
    return found;
  }

  async untilState(name: string, state: MirrorStatus['state']): Promise<MirrorStatus> {
    let now = await this.status(name);
    return await until(
      () => `${state}: ${JSON.stringify(now)}`,
      async () => {
        now = await this.status(name);
        return now.state === state ? now : null;
      },
    );
  }

  /** For NBD clients. */
  uri(name: string): string {
    return `nbd+unix:///${name}?socket=${this.nbdPath(name)}`;
  }

  nbdPath(name: string): string {
    return this.scratch.path(`run/${name}.nbd`);
  }

  async end(): Promise<void> {
    // What is paused would keep everyone waiting who writes to it.
    for (const backup of this.#backups) backup.resume();
    for (const name of this.#daemons.keys()) await this.run('detach', '-f', name);
    for (const pid of this.#daemons.values()) if (isAlive(pid)) await killFamily(pid);
    for (const backup of this.#backups) await backup.end();
    this.#logs.keep();
    this.scratch.remove();
  }
}

/** A new file of random bytes, which its file system has promised to keep. */
export const writeRandom = (path: string, lengthBytes: number): Promise<string> =>
  runTool('dd', 'if=/dev/urandom', `of=${path}`, 'bs=65536', `count=${lengthBytes / 65_536}`, 'conv=fsync');
