import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../device/clock.js';
import { CommandError, InterruptedError } from '../errors.js';
import type { Interrupt } from '../interrupt.js';

const STOP_MS = 10_000;
const ENTRY = fileURLToPath(new URL('../ggmirror.js', import.meta.url));

/** Where our own commands run, so that they leave traces nowhere else. */
export interface Surroundings {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
}

const commandLine = (words: readonly string[]): string => `ggmirror ${words.join(' ')}`;

/** What a command has printed, line by line. Throws CommandError with its words if it fails, InterruptedError at a signal. */
export async function runOwn(
  words: readonly string[],
  { folder, environment }: Surroundings,
  interrupt: Interrupt,
): Promise<readonly string[]> {
  const child = spawn(process.execPath, [ENTRY, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: folder,
    env: { ...process.env, ...environment },
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text));
  // All that it works on goes with the demo, so there is nothing that it should bring to an end.
  const forget = interrupt.onInterrupt(() => child.kill('SIGKILL'));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).finally(forget);
  if (interrupt.signalNumber !== null) throw new InterruptedError('interrupted', interrupt.signalNumber);
  if (code !== 0) throw new CommandError(`'${commandLine(words)}' failed: ${said.stderr.trim()}`);
  return said.stdout.split('\n').filter((line) => line !== '');
}

/**
 * One of our own commands in the background, with a process group of its own: a ^C in the terminal reaches only us, and
 * kill() takes what it has started along, as a power cut would.
 */
export class OwnProcess {
  #child: ChildProcess | null = null;

  constructor(
    private readonly words: readonly string[],
    private readonly around: Surroundings,
    /** In the folder. */
    private readonly logName: string,
  ) {}

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** For people. */
  get commandLine(): string {
    return commandLine(this.words);
  }

  /** Also true if it could not be started. */
  get hasEnded(): boolean {
    const child = this.#child;
    return child === null || child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
  }

  /** What it has logged since the first start. */
  get said(): string {
    return readFileSync(this.#logPath, 'utf8').trim();
  }

  get #logPath(): string {
    return join(this.around.folder, this.logName);
  }

  start(): void {
    const log = openSync(this.#logPath, 'a');
    const child = spawn(process.execPath, [ENTRY, ...this.words], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: this.around.folder,
      env: { ...process.env, ...this.around.environment },
    });
    closeSync(log);
    // A process that can't be started has no pid: hasEnded tells.
    child.once('error', () => undefined);
    this.#child = child;
  }

  /** kill -9 of it and what it has started. */
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
    if (child === null || this.hasEnded) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const timer = systemClock.after(STOP_MS, () => this.kill());
    await ended;
    timer.cancel();
  }
}
