import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { familyOf, killFamily, pauseFamily, untilGone } from '../support/families.js';
import { until } from '../support/until.js';
import type { HostClock } from './host-clock.js';
import type { Host } from './hosts.js';
import { packageRoot } from './mistakes.js';

/** More than a mirror waits for its clients and its disks. */
const STOP_MS = 120_000;

const GGMIRROR = join(packageRoot(), 'dist/cli/ggmirror.js');

/** The command line of `ggmirror` with these words on a host; `before` comes between the two. */
export const commandOn = (
  host: Host,
  words: readonly string[],
  before: readonly string[] = [],
): [string, ...string[]] => [...host.enter, ...before, process.execPath, GGMIRROR, ...words];

export interface ProgramOptions {
  readonly logPath: string;
  readonly runDirectory: string;
  /** Of the host. */
  readonly clock: HostClock;
}

/** A `ggmirror` in the foreground on a host. Everything that it says goes to a file. */
export class Program {
  #isEnding = false;
  #isPaused = false;
  #isOver = false;
  #resume = (): void => undefined;

  private constructor(
    readonly pid: number,
    /** How it ended. */
    readonly ended: Promise<string>,
    private readonly logPath: string,
    private readonly logFromBytes: number,
  ) {}

  /** `endedByItself` is called if nobody asked it to end. */
  static start(
    host: Host,
    words: readonly string[],
    { logPath, runDirectory, clock }: ProgramOptions,
    endedByItself: (how: string) => void,
  ): Program {
    const log = openSync(logPath, 'a');
    const logFromBytes = readFileSync(logPath).length;
    const [command, ...rest] = commandOn(host, words, clock.anUptime());
    // In a group of its own: an interrupt from the terminal is for us, and we end it in order.
    const child = spawn(command, rest, {
      stdio: ['ignore', log, log],
      detached: true,
      env: { ...process.env, GGMIRROR_RUN_DIR: runDirectory, ...clock.environment },
    });
    closeSync(log);
    if (child.pid === undefined) throw new Error(`${command} can't be started`);
    const ended = once(child, 'exit').then(([code, signal]: unknown[]) => String(code ?? signal));
    const program = new Program(child.pid, ended, logPath, logFromBytes);
    ended
      .then((how) => {
        program.#isOver = true;
        if (!program.#isEnding) endedByItself(how);
      })
      .catch(() => undefined);
    return program;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What it has said so far. */
  get output(): string {
    return readFileSync(this.logPath).toString('utf8', this.logFromBytes);
  }

  /** As if the host had lost its power, but for what the kernel still has to write. */
  async kill(): Promise<void> {
    this.#isEnding = true;
    if (!this.#isOver) await killFamily(this.pid);
  }

  /** SIGTERM, and what it takes. */
  async stop(): Promise<string> {
    this.#isEnding = true;
    const family = this.#isOver ? [] : familyOf(this.pid);
    if (!this.#isOver) process.kill(this.pid, 'SIGTERM');
    await until(`process ${this.pid} to end in order`, () => this.#isOver, STOP_MS);
    const how = await this.ended;
    await untilGone(family);
    return how;
  }

  /** It ends by itself now, and may. */
  mayEnd(): void {
    this.#isEnding = true;
  }

  async pause(): Promise<void> {
    const resume = await pauseFamily(this.pid);
    this.#isPaused = true;
    this.#resume = resume;
  }

  resume(): void {
    this.#resume();
    this.#resume = () => undefined;
    this.#isPaused = false;
  }
}
