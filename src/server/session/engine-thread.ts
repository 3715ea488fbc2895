import { readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../protocol/errors.js';
import { Features } from '../../protocol/capabilities.js';
import { SyncFile } from '../../device/sync-file.js';
import type { RequestHeader } from '../../protocol/request.js';
import { Engine, type EngineOutlet, type Wire } from './engine.js';
import { SessionMemory, type SessionMemoryBlocks } from './memory.js';
import type { FromEngine } from './messages.js';

/** What the session process gives its engine's thread. */
export interface EngineThreadData {
  readonly blocks: SessionMemoryBlocks;
  readonly fd: number;
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly canRead: boolean;
  readonly canWrite: boolean;
  readonly featureBits: number;
}

const RECEIVE_FD = 0;
const SEND_FD = 1;

// The descriptors are blocking (the daemon gives them as the first two of the process), so each call here sleeps in
// the kernel until there is something to do: no event loop between a request and its answer.
const wire: Wire = {
  read(into, at, lengthBytesMax) {
    for (;;) {
      try {
        return readSync(RECEIVE_FD, into, at, lengthBytesMax, null);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EINTR')) throw error;
      }
    }
  },
  write(from, at, lengthBytes) {
    let sentBytes = 0;
    while (sentBytes < lengthBytes) {
      sentBytes += writeSync(SEND_FD, from, at + sentBytes, lengthBytes - sentBytes, null);
    }
  },
};

const port = parentPort;
assert(port !== null, 'engine thread: started as a program');
const post = (message: FromEngine): void => {
  port.postMessage(message);
};

const describe = (request: RequestHeader): string =>
  `command ${request.command}, offset ${request.offsetBytes}, length ${request.lengthBytes}`;

/** A broken client or disk may fail every request; what it does is told once in ten seconds, not a million times. */
class Teller {
  #quietUntilMs = 0;
  #untold = 0;

  /** Calls `tell` with how many were not told since the last time, or counts one more. */
  maybe(tell: (untold: number) => void): void {
    const nowMs = performance.now();
    if (nowMs < this.#quietUntilMs) {
      this.#untold += 1;
      return;
    }
    this.#quietUntilMs = nowMs + QUIET_MS;
    tell(this.#untold);
    this.#untold = 0;
  }
}

const QUIET_MS = 10_000;
const refusals = new Teller();
const failures = new Teller();

const outlet: EngineOutlet = {
  slow: (header) => post({ type: 'slow', header }),
  refused: (request, errno) =>
    refusals.maybe((untold) => post({ type: 'refused', what: describe(request), errno, untold })),
  failed: (request, { errno, message }) =>
    failures.maybe((untold) => post({ type: 'failed', what: describe(request), errno, message, untold })),
};

const data = workerData as EngineThreadData;
const terms = {
  mediaSizeBytes: data.mediaSizeBytes,
  sectorSizeBytes: data.sectorSizeBytes,
  canRead: data.canRead,
  canWrite: data.canWrite,
  features: new Features(data.featureBits),
};
const engine = new Engine(
  SessionMemory.from(data.blocks),
  wire,
  new SyncFile(data.fd, data.name),
  terms,
  outlet,
);
post({ type: 'over', reason: engine.run() });
