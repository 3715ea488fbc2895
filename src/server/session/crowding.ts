import { type ThreadTimes, threadTimes } from '../../device/platform/thread-times.js';

/**
 * Whether the processors are crowded, as one thread feels it: since the last look it has waited longer for a processor
 * than it had one. Once it was so, it stays so until the thread has waited less than a quarter as long as it ran: what
 * is done against the crowd makes it wait less, too.
 */
export class Crowding {
  #isCrowded = false;
  #last: ThreadTimes | null;

  /** Where nothing can be known, nothing is ever crowded. */
  constructor(private readonly times: () => ThreadTimes | null = threadTimes) {
    this.#last = times();
  }

  /** To be called by the thread itself, now and then: it costs some system calls. */
  look(): boolean {
    const last = this.#last;
    if (last === null) return false;
    const now = this.times();
    this.#last = now;
    if (now === null) return false;
    const ranNs = now.ranNs - last.ranNs;
    const waitedNs = now.waitedNs - last.waitedNs;
    this.#isCrowded = waitedNs > (this.#isCrowded ? ranNs / 4 : ranNs);
    return this.#isCrowded;
  }
}
