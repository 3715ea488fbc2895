import { assert } from '../../protocol/errors.js';
import type { WorkList } from './work-list.js';

/** Works on one chunk at a time. The objects live as long as the pump, so that a chunk allocates nothing. */
export interface Worker {
  offsetBytes: number;
  lengthBytes: number;
  isHole: boolean;
  /**
   * Begins with the chunk that the fields describe. Returns true when it was done at once; otherwise calls the pump's
   * `finished` exactly once, later.
   */
  begin(): boolean;
}

export type PumpEnd = 'complete' | 'stopped';

/**
 * Keeps a fixed number of workers busy with a work list until it is used up, one of them fails or someone stops it.
 * Invariant: every chunk below `safeBytes` is done.
 */
export class Pump {
  readonly #busy = new Set<Worker>();
  #error: Error | null = null;
  #isStopped = false;
  #settle: ((end: PumpEnd) => void) | null = null;
  #fail: ((error: Error) => void) | null = null;

  /** `advanced` hears of every finished chunk. */
  constructor(
    private readonly work: WorkList,
    private readonly advanced: (bytes: number) => void,
  ) {}

  /**
   * Resolves when no worker is busy any more. Rejects with the first worker's error; the others have then finished, so
   * every buffer is the caller's again.
   */
  run(workers: readonly Worker[]): Promise<PumpEnd> {
    assert(this.#settle === null, 'pump: run() twice');
    return new Promise((resolve, reject) => {
      this.#settle = resolve;
      this.#fail = reject;
      for (const worker of workers) this.#feed(worker);
      this.#endIfIdle();
    });
  }

  /** Begins nothing new; `run` resolves with 'stopped' once the chunks in work are done. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Everything below this offset is done (for a copy: answered, but not flushed). */
  get safeBytes(): number {
    let safeBytes = this.work.positionBytes;
    for (const worker of this.#busy) safeBytes = Math.min(safeBytes, worker.offsetBytes);
    return safeBytes;
  }

  /** For workers: the chunk is done, or failed. */
  finished(worker: Worker, error: Error | null): void {
    assert(this.#busy.delete(worker), 'pump: finished() by a worker that was not busy');
    if (error !== null) this.#error ??= error;
    else this.advanced(worker.lengthBytes);
    this.#feed(worker);
    this.#endIfIdle();
  }

  #feed(worker: Worker): void {
    while (this.#error === null && !this.#isStopped) {
      const offsetBytes = this.work.next();
      if (offsetBytes < 0) return;
      worker.offsetBytes = offsetBytes;
      worker.lengthBytes = this.work.lengthBytes;
      worker.isHole = this.work.isHole;
      this.#busy.add(worker);
      if (!worker.begin()) return;
      this.#busy.delete(worker);
      this.advanced(worker.lengthBytes);
    }
  }

  #endIfIdle(): void {
    if (this.#busy.size > 0) return;
    if (this.#error !== null) this.#fail?.(this.#error);
    else this.#settle?.(this.#isStopped ? 'stopped' : 'complete');
  }
}
