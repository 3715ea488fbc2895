import { DeviceError } from '../device/block-device.js';
import type { Clock } from '../device/clock.js';
import type { Features } from '../protocol/capabilities.js';
import type { AccessMode } from '../protocol/handshake.js';
import { PROBE_MS } from './limits.js';
import { within } from './within.js';

/** What the handshake tells a client about an export. */
export interface ProbedMedia {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  /** Which of our extensions can be in force; all of them if not given. */
  readonly features?: Features;
}

/** Opens an export as a session would, and closes it again. Throws DeviceError with the errno of the open. */
export type ProbeMedia = (path: string, access: AccessMode) => Promise<ProbedMedia>;

interface Running {
  readonly access: AccessMode;
  /** Rejects with ETIMEDOUT when the probe takes too long. */
  readonly answer: Promise<ProbedMedia>;
}

/**
 * Probes each path at most once at a time, with a time limit, so that a disk that hangs costs us one pending system
 * call however often clients come back, and nobody else anything.
 */
export class GuardedProbe {
  readonly #running = new Map<string, Running>();

  constructor(
    private readonly probeMedia: ProbeMedia,
    private readonly clock: Clock,
    private readonly limitMs = PROBE_MS,
  ) {}

  /**
   * Clients that want the same of the same path share an answer. Throws what the probe throws, and DeviceError
   * DEVICE_TIMEOUT, ETIMEDOUT after the time limit, or at once where an earlier probe of the path still hangs.
   */
  async probe(path: string, access: AccessMode): Promise<ProbedMedia> {
    for (;;) {
      const running = this.#running.get(path);
      if (running === undefined) return this.#start(path, access);
      if (running.access === access) return running.answer;
      await running.answer.catch(throwTimeout);
    }
  }

  #start(path: string, access: AccessMode): Promise<ProbedMedia> {
    const work = this.probeMedia(path, access);
    const answer = within({ clock: this.clock, limitMs: this.limitMs, what: path }, work);
    this.#running.set(path, { access, answer });
    const forget = (): boolean => this.#running.delete(path);
    // The entry outlives the time limit: it is there until the system call has come back.
    work.then(forget, forget);
    return answer;
  }
}

/** How another mode failed is no answer for us, but that the disk hangs is. */
function throwTimeout(error: unknown): void {
  if (error instanceof DeviceError && error.code === 'DEVICE_TIMEOUT') throw error;
}
