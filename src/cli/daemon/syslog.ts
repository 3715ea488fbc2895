import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { doneWithin, type Clock } from '../../device/clock.js';
import type { GgatedLevel } from './log.js';

const PRIORITIES = {
  error: 'err',
  warning: 'warning',
  info: 'info',
  debug: 'debug',
} as const satisfies Record<GgatedLevel, string>;

/** What one logger may have waiting; what comes while it is full is counted and dropped: the daemon never waits. */
const WAITING_BYTES_MAX = 262_144;
/** A logger that keeps dying, or isn't installed, is tried again this often. */
const RESTART_EVERY_MS = 5_000;

/**
 * Writes to syslog (facility daemon) through logger(1), because Node has no datagram sockets in the file system: one
 * long-lived logger a level, started with the level's first line. Never throws, never waits; without a logger, or with
 * one that hangs, lines are lost and the next one that gets through says how many.
 */
export class Syslog {
  readonly #loggers = new Map<GgatedLevel, LevelLogger>();

  /** `tag` is what a line begins with, as in `ggated[123]`. */
  constructor(
    private readonly tag: string,
    private readonly clock: Clock,
  ) {}

  /** `text` is one line without its end. */
  write(level: GgatedLevel, text: string): void {
    let logger = this.#loggers.get(level);
    if (logger === undefined) {
      logger = new LevelLogger(['-t', this.tag, '-p', `daemon.${PRIORITIES[level]}`], this.clock);
      this.#loggers.set(level, logger);
    }
    logger.write(text);
  }

  /** Ends the loggers, and resolves when they have passed on what they had, or after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    const ended = [...this.#loggers.values()].map((logger) => logger.close());
    this.#loggers.clear();
    await doneWithin(Promise.all(ended), timeoutMs, this.clock);
  }
}

/** One running logger(1), or none after it died. */
class LevelLogger {
  #child: ChildProcess | null = null;
  #startedMs = -Infinity;
  #lostLines = 0;

  constructor(
    private readonly args: readonly string[],
    private readonly clock: Clock,
  ) {}

  write(text: string): void {
    const stdin = this.#running()?.stdin;
    if (!stdin?.writable || stdin.writableLength > WAITING_BYTES_MAX) {
      this.#lostLines += 1;
      return;
    }
    if (this.#lostLines > 0) {
      stdin.write(`${this.#lostLines} lines before this one were lost on the way to syslog\n`);
      this.#lostLines = 0;
    }
    stdin.write(`${text}\n`);
  }

  async close(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    await new Promise<void>((resolve) => {
      child.once('close', () => resolve());
      child.stdin?.end();
    });
  }

  #running(): ChildProcess | null {
    if (this.#child !== null) return this.#child;
    const nowMs = this.clock.nowMs();
    if (nowMs - this.#startedMs < RESTART_EVERY_MS) return null;
    this.#startedMs = nowMs;
    // In a group of its own, so that what is sent to ours leaves the last lines their way.
    const child = spawn('logger', this.args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    const gone = (): void => {
      if (this.#child === child) this.#child = null;
    };
    child.once('error', gone);
    child.once('exit', gone);
    child.stdin.on('error', gone);
    child.unref();
    this.#child = child;
    return child;
  }
}
