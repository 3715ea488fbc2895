export type DaemonSignal = 'SIGHUP' | 'SIGTERM' | 'SIGINT';
const SIGNALS: readonly DaemonSignal[] = ['SIGHUP', 'SIGTERM', 'SIGINT'];

/** Where signals come from; `process` is one. */
export interface SignalSource {
  on(signal: DaemonSignal, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: DaemonSignal, listener: (signal: NodeJS.Signals) => void): unknown;
}

/** The signals that this process gets, in order; one that nobody waits for yet is kept. */
export class SignalQueue {
  readonly #waiting: DaemonSignal[] = [];
  #take: ((signal: DaemonSignal) => void) | null = null;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    const known = SIGNALS.find((candidate) => candidate === signal);
    if (known === undefined) return;
    const take = this.#take;
    this.#take = null;
    if (take !== null) take(known);
    else if (!this.#waiting.includes(known)) this.#waiting.push(known);
  };

  /** From here on none of them ends the process by itself. */
  constructor(private readonly source: SignalSource = process) {
    for (const signal of SIGNALS) source.on(signal, this.#onSignal);
  }

  /** Only one call may wait at a time. */
  async next(): Promise<DaemonSignal> {
    const kept = this.#waiting.shift();
    if (kept !== undefined) return kept;
    return await new Promise((resolve) => {
      this.#take = resolve;
    });
  }

  /** Gives the signals their usual effect again. */
  close(): void {
    for (const signal of SIGNALS) this.source.off(signal, this.#onSignal);
  }
}
