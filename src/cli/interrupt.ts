import { constants } from 'node:os';
import type { BlockDevice } from '../device/block-device.js';
import { systemClock, type Clock, type Timer } from '../device/clock.js';
import { InterruptedError } from './errors.js';

const CLOSE_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Tells long work that it shall come to an end. */
export interface Interrupt {
  /** The signal's number, null as long as none has come. */
  readonly signalNumber: number | null;
  /** Calls `run` once, at the signal; at once if it has come. Returns a function that takes it back. */
  onInterrupt(run: () => void): () => void;
}

/** Never interrupted: for tests and for work inside other work. */
export const noInterrupt: Interrupt = { signalNumber: null, onInterrupt: () => () => undefined };

/** An interrupt that is set off by hand. */
export class ManualInterrupt implements Interrupt {
  signalNumber: number | null = null;
  readonly #waiting = new Set<() => void>();

  onInterrupt(run: () => void): () => void {
    if (this.signalNumber !== null) run();
    else this.#waiting.add(run);
    return () => this.#waiting.delete(run);
  }

  interrupt(signalNumber: number): void {
    if (this.signalNumber !== null) return;
    this.signalNumber = signalNumber;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const run of waiting) run();
  }
}

/**
 * Runs `work` with an interrupt that the usual signals set off. A second signal ends the process at once, for a person
 * who does not want to wait for a clean end.
 */
export async function withSignals<Result>(work: (interrupt: Interrupt) => Promise<Result>): Promise<Result> {
  const interrupt = new ManualInterrupt();
  const heard = (signal: NodeJS.Signals): void => {
    const signalNumber = constants.signals[signal];
    if (interrupt.signalNumber !== null) process.exit(128 + signalNumber);
    interrupt.interrupt(signalNumber);
  };
  for (const signal of SIGNALS) process.on(signal, heard);
  try {
    return await work(interrupt);
  } finally {
    for (const signal of SIGNALS) process.off(signal, heard);
  }
}

/** What `work` ends with, but InterruptedError with `message` at an interrupt; what becomes of `work` then interests nobody. */
export async function unlessInterrupted<Result>(
  interrupt: Interrupt,
  work: Promise<Result>,
  message: string,
): Promise<Result> {
  let forget = (): void => undefined;
  const interrupted = new Promise<never>((_, reject) => {
    forget = interrupt.onInterrupt(() => reject(new InterruptedError(message, interrupt.signalNumber ?? 0)));
  });
  try {
    return await Promise.race([work, interrupted]);
  } finally {
    forget();
  }
}

/** Resolves after that, or at once when an interrupt comes. */
export async function delayUnless(interrupt: Interrupt, delayMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = systemClock.after(delayMs, () => {
      forget();
      resolve();
    });
    const forget = interrupt.onInterrupt(() => {
      timer.cancel();
      resolve();
    });
  });
}

/**
 * Waits for `work`, but once an interrupt has come no longer than `limitMs` more. Returns whether `work` came to its end;
 * if not, what becomes of it is of no interest any more.
 */
export async function endSoonAfter(
  interrupt: Interrupt,
  { clock, limitMs }: { readonly clock: Clock; readonly limitMs: number },
  work: Promise<unknown>,
): Promise<boolean> {
  const timers: Timer[] = [];
  let release = (): void => undefined;
  const limit = new Promise<false>((resolve) => {
    release = interrupt.onInterrupt(() => timers.push(clock.after(limitMs, () => resolve(false))));
  });
  try {
    return await Promise.race([work.then(() => true), limit]);
  } finally {
    release();
    for (const timer of timers) timer.cancel();
  }
}

/**
 * Closes a device at the end of a command. A device waits for requests in flight; after an interrupt nobody wants to.
 * The process ends soon after, and with it what is left of the device.
 */
export async function closeDevice(device: BlockDevice, interrupt: Interrupt): Promise<void> {
  await endSoonAfter(interrupt, { clock: systemClock, limitMs: CLOSE_MS }, device.close());
}
