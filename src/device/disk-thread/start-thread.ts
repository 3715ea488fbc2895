import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { DiskThreadData } from './thread.js';

/** The running thread, as its device sees it. */
export interface DiskThread {
  /** Gets a message when something is finished. It keeps the process alive until it is closed. */
  readonly port: MessagePort;
  /** Resolves when the thread is out of its last system call and gone: null, or what ended it before its time. */
  readonly exited: Promise<Error | null>;
}

/** Resolves when the thread is ready for requests. Rejects when there can be none, and then none is left. */
export async function startThread(
  program: string | URL,
  data: Omit<DiskThreadData, 'port'>,
): Promise<DiskThread> {
  const { port1: port, port2: itsPort } = new MessageChannel();
  try {
    const workerData: DiskThreadData = { ...data, port: itsPort };
    const worker = new Worker(program, {
      workerData,
      transferList: [itsPort],
      // What this process was started with, by a test runner for example, is not meant for the thread.
      execArgv: [],
      // Otherwise Node would open our standard output for the thread, and might change its mode.
      stdout: true,
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    const exited = new Promise<Error | null>((resolve) => {
      let failure: Error | null = null;
      worker.once('error', (error) => (failure = error instanceof Error ? error : new Error(String(error))));
      worker.once('exit', () => resolve(failure));
    });
    await new Promise<void>((resolve, reject) => {
      port.once('message', () => resolve());
      exited.then((failure) => reject(failure ?? new Error('it ended at once')), reject);
    });
    return { port, exited };
  } catch (error) {
    port.close();
    throw error;
  }
}
