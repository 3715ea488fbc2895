import { AWAKE_MS, QUICK_MS } from '../../device/platform/awake-loop.js';
import type { FileCalls } from '../../device/platform/file-calls.js';
import type { Native } from '../../device/platform/native.js';
import type { Wire } from './sending.js';

const RECEIVE_FD = 0;
const SEND_FD = 1;

/** Source: POSIX poll.h, struct pollfd and POLLIN; the same on Linux and FreeBSD. */
const POLLFD = { fdAt: 0, eventsAt: 4, sizeBytes: 8 } as const;
const POLLIN = 1;

/**
 * The session's connections as descriptors 0 and 1, which are blocking (the daemon gives them as the first two of the
 * process): each call sleeps in the kernel until there is something to do, with no event loop in between.
 *
 * A client that sends one request at a time and comes back quickly is waited for awake, which halves its round trip
 * (docs/performance.md). One that let us wait longer is not, so a client far away or at rest costs no processor time.
 */
export class BlockingWire implements Wire {
  readonly #pollFd = Buffer.alloc(POLLFD.sizeBytes);
  #isQuick = false;

  /** `native` is that of nativeToWaitAwake; without it nobody is waited for awake. */
  constructor(
    private readonly native: Native | null,
    private readonly calls: FileCalls,
  ) {
    this.#pollFd.writeInt32LE(RECEIVE_FD, POLLFD.fdAt);
    this.#pollFd.writeInt16LE(POLLIN, POLLFD.eventsAt);
  }

  read(into: Buffer, at: number, lengthBytesMax: number, isLone: boolean): number {
    if (!isLone) {
      this.#isQuick = false;
      return this.#readBlocking(into, at, lengthBytesMax);
    }
    const startedMs = performance.now();
    if (this.#isQuick) this.#waitAwake(startedMs + AWAKE_MS);
    const cameBytes = this.#readBlocking(into, at, lengthBytesMax);
    this.#isQuick = performance.now() - startedMs < QUICK_MS;
    return cameBytes;
  }

  write(from: Buffer, at: number, lengthBytes: number): void {
    let sentBytes = 0;
    while (sentBytes < lengthBytes) {
      sentBytes += this.calls.writeSync(SEND_FD, from, at + sentBytes, lengthBytes - sentBytes, null);
    }
  }

  #waitAwake(untilMs: number): void {
    const { native } = this;
    if (native === null) return;
    try {
      while (native.call('poll', this.#pollFd, 1, 0) === 0 && performance.now() < untilMs)
        native.call('sched_yield');
    } catch {
      // A signal, or no poll here. The read that follows waits in any case, and tells what is wrong if something is.
    }
  }

  #readBlocking(into: Buffer, at: number, lengthBytesMax: number): number {
    for (;;) {
      try {
        return this.calls.readSync(RECEIVE_FD, into, at, lengthBytesMax, null);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EINTR')) throw error;
      }
    }
  }
}
