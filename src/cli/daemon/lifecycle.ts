import { doneWithin, type Clock } from '../../device/clock.js';
import { messageOf } from '../../protocol/errors.js';
import type { DaemonLog } from './log.js';
import type { SignalQueue } from './signals.js';

/** A server as its life cycle sees it. */
export interface RunningServer {
  /** Reads the exports anew. On a rejection, whose message says why, everything is as before. */
  reload(): Promise<void>;
  /** Takes no new connections. Never throws. */
  stopAccepting(): void;
  /** Finishes and answers what is in flight, flushes and ends the sessions; cuts off those that take longer. */
  drain(timeoutMs: number): Promise<void>;
  sessionCount(): Promise<number>;
}

/** Enough for a disk that flushes its cache, and below what init systems and impatient people wait for. */
const DRAIN_MS = 10_000;
/** The drain keeps its own bound; this is for the case that it doesn't. */
const DRAIN_GRACE_MS = 1_000;

/**
 * Lives by signals: SIGHUP reloads, SIGTERM and SIGINT stop in good order within a bound, a second one of them at once.
 * Resolves when the process may exit with 0.
 */
export async function serveUntilStopped(parts: {
  readonly server: RunningServer;
  readonly signals: SignalQueue;
  readonly log: DaemonLog;
  readonly clock: Clock;
}): Promise<void> {
  const { server, signals, log, clock } = parts;
  const reloads = new Reloads(server, log);
  let signal = await signals.next();
  while (signal === 'SIGHUP') {
    reloads.request();
    signal = await signals.next();
  }
  log.info({ signal }, 'stopping: no new connections, requests in flight are finished');
  const orderly = stopInOrder(server, clock).catch((error: unknown) => {
    log.error({ reason: messageOf(error) }, 'the sessions did not end in order');
    return { hasDrained: false };
  });
  const outcome = await Promise.race([orderly, nextStop(signals)]);
  if (outcome === 'at once') log.warn({}, 'stopped at once, as told; unanswered requests are lost');
  else if (outcome.hasDrained) log.info({}, 'stopped');
  else log.warn({}, 'stopped before every session had ended; its unanswered requests are lost');
}

async function stopInOrder(server: RunningServer, clock: Clock): Promise<{ hasDrained: boolean }> {
  server.stopAccepting();
  const isInTime = await doneWithin(server.drain(DRAIN_MS), DRAIN_MS + DRAIN_GRACE_MS, clock);
  return { hasDrained: isInTime && (await server.sessionCount()) === 0 };
}

async function nextStop(signals: SignalQueue): Promise<'at once'> {
  while ((await signals.next()) === 'SIGHUP'); // too late for a reload
  return 'at once';
}

/** One reload at a time, as looking up names takes time; any number of wishes meanwhile make one more. */
class Reloads {
  #isRunning = false;
  #isWanted = false;

  constructor(
    private readonly server: RunningServer,
    private readonly log: DaemonLog,
  ) {}

  request(): void {
    this.#isWanted = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#run().then(
      () => (this.#isRunning = false),
      () => (this.#isRunning = false), // #run handles what reload() rejects with
    );
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      try {
        await this.server.reload();
      } catch (error) {
        this.log.error({ reason: messageOf(error) }, 'the exports stay as they were');
      }
    }
  }
}
