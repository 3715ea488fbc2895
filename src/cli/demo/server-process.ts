import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { probeAccess } from '../../client/probe-access.js';
import { DeviceError } from '../../device/block-device.js';
import { delay, systemClock } from '../../device/clock.js';
import { parseGgateUri } from '../../protocol/uri.js';
import { CommandError } from '../errors.js';

const ADDRESS = '127.0.0.1';
const START_MS = 15_000;
const STOP_MS = 10_000;
const POLL_MS = 50;

/**
 * `ggmirror serve` of one image as a process of its own, with a group of its own: a ^C in the terminal reaches only us,
 * and kill() takes the processes of its sessions along, as a power cut would.
 */
export class ServerProcess {
  readonly uri: string;
  #child: ChildProcess | null = null;

  constructor(
    private readonly imagePath: string,
    private readonly port: number,
    private readonly logPath: string,
  ) {
    this.uri = `ggate://${ADDRESS}:${port}${imagePath}`;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** For people. */
  get commandLine(): string {
    return `ggmirror serve -a ${ADDRESS} -p ${this.port} ${this.imagePath}`;
  }

  start(): void {
    const entry = fileURLToPath(new URL('../ggmirror.js', import.meta.url));
    const log = openSync(this.logPath, 'a');
    const args = [entry, 'serve', '-a', ADDRESS, '-p', String(this.port), this.imagePath];
    const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    // A process that can't be started has no pid and is found out by whenReady().
    child.once('error', () => undefined);
    this.#child = child;
  }

  /** Resolves when a client is welcome. Throws CommandError with the server's own words when it does not come up. */
  async whenReady(): Promise<void> {
    const deadlineMs = systemClock.nowMs() + START_MS;
    for (;;) {
      try {
        await probeAccess({ uri: parseGgateUri(this.uri), connectTimeoutMs: START_MS }, 'rw');
        return;
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        if (this.#hasEnded || systemClock.nowMs() > deadlineMs) {
          const said = readFileSync(this.logPath, 'utf8').trim();
          throw new CommandError(`the server does not come up: ${error.message}\n${said}`, { cause: error });
        }
      }
      await delay(systemClock, POLL_MS);
    }
  }

  /** kill -9 of the server and its sessions. */
  kill(): void {
    const { pid } = this;
    if (pid === null) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }

  /** Asks it to end, and kills it when it takes too long. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null || this.#hasEnded) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const timer = systemClock.after(STOP_MS, () => this.kill());
    await ended;
    timer.cancel();
  }

  get #hasEnded(): boolean {
    const child = this.#child;
    return child === null || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  }
}
