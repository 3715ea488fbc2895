import { Worker } from 'node:worker_threads';
import type { EngineThreadData } from './engine-thread.js';
import type { SessionMemoryBlocks } from './memory.js';

/** Starts a thread of the session process from a file of this folder. `failed` is told of its mistakes. */
export function startSessionWorker(
  file: string,
  workerData: EngineThreadData | SessionMemoryBlocks,
  failed: (what: string) => void,
): Worker {
  const worker = new Worker(new URL(file, import.meta.url), {
    workerData,
    // Otherwise Node would pipe the worker's output on, for which it opens process.stdout. That makes descriptor 1,
    // the send half, non-blocking: the first answer that does not fit the socket's buffer would fail with EAGAIN.
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
  });
  worker.stderr.on('data', (text: Buffer) => process.stderr.write(text));
  worker.on('error', (error) => {
    failed(error instanceof Error ? (error.stack ?? error.message) : String(error));
  });
  return worker;
}
