import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../protocol/errors.js';
import { Features } from '../../protocol/capabilities.js';
import { nativeToWaitAwake } from '../../device/platform/awake-loop.js';
import { fastCalls } from '../../device/platform/file-calls.js';
import { SyncFile } from '../../device/sync-file.js';
import type { RequestHeader } from '../../protocol/request.js';
import { BlockingWire } from './blocking-wire.js';
import { Crowding } from './crowding.js';
import { Engine, type EngineOutlet } from './engine.js';
import { SessionMemory, type SessionMemoryBlocks } from './memory.js';
import type { FromEngine } from './messages.js';
import { type SendHelper, Sending } from './sending.js';

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
const memory = SessionMemory.from(data.blocks);
const wire = new BlockingWire(nativeToWaitAwake(), fastCalls());
const file = new SyncFile(data.fd, data.name, fastCalls());
let isAskedFor = false;
const helper: SendHelper = {
  isReady: () => {
    if (!isAskedFor) post({ type: 'wants a sender' });
    isAskedFor = true;
    return memory.isSenderReady;
  },
  handedOver: () => undefined,
};
// All that a session needs is loaded. Until its client has been told so nothing may be sent: it would come before that.
post({ type: 'ready' });
memory.awaitWelcome();
const engine = new Engine(
  memory,
  wire,
  file,
  terms,
  outlet,
  new Crowding(),
  new Sending(memory, wire, helper),
);
post({ type: 'over', reason: engine.run() });
