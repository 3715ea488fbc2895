import { fromWireErrno } from '../../protocol/errno.js';
import { assert, messageOf } from '../../protocol/errors.js';
import type { ByteRange } from '../../protocol/geometry.js';
import { DeviceError, type BlockDevice, type BlockIo, type Capabilities } from '../block-device.js';
import { assertStartable } from '../check-io.js';
import { requestError } from '../device-errors.js';
import { openFile, type FileDevice, type OpenFileOptions } from '../file-device.js';
import type { FlushNote } from '../flush-note.js';
import type { MediaInfo } from '../media.js';
import { CachedReads } from '../platform/cached-reads.js';
import { PAYLOAD_BYTES, PIECE_BYTES_MAX, REQUESTS_MAX } from './limits.js';
import { PayloadRing } from './payload-ring.js';
import { MODE, SharedQueue, TRANSFER } from './shared-queue.js';
import { SlowLane } from './slow-lane.js';
import { startThread, type DiskThread } from './start-thread.js';

export interface OpenDiskThreadOptions extends OpenFileOptions {
  /** Requests that the thread may have before it at once, at least 1; more wait. REQUESTS_MAX if left out. */
  readonly requestsMax?: number;
  /** Do what the system has in memory at once, as CachedReads can; true if left out. */
  readonly cachedReads?: boolean;
  /** The compiled program of the thread; the one beside this file if left out. */
  readonly threadProgram?: string | URL;
}

/**
 * Opens a regular file or a disk as openFile does, with a thread of its own for its reads and writes. Throws DeviceError
 * as that does, and DEVICE_OPEN with EAGAIN when there can be no thread.
 */
export async function openDiskThread(
  path: string,
  options: OpenDiskThreadOptions,
): Promise<DiskThreadDevice> {
  const { requestsMax = REQUESTS_MAX } = options;
  assert(Number.isSafeInteger(requestsMax) && requestsMax > 0, 'openDiskThread: no room for a request');
  const program = options.threadProgram ?? new URL('./thread.js', import.meta.url);
  const file = await openFile(path, options);
  const queue = SharedQueue.create(requestsMax, PAYLOAD_BYTES);
  try {
    const thread = await startThread(program, { blocks: queue.blocks, fd: file.fd, name: file.name });
    return new DiskThreadDevice(file, queue, thread, options.cachedReads !== false);
  } catch (cause) {
    await file.close();
    const what = messageOf(cause);
    const message = `${file.name}: no thread can be started for it: ${what}`;
    throw new DeviceError('DEVICE_OPEN', 'EAGAIN', message, { cause });
  }
}

/**
 * A local file or disk that is read and written by a thread of its own, one request after the other and in order of
 * start; a read of what the system has in memory is done at once. A disk that hangs does not hang the event loop, and the
 * thread never touches a caller's buffer: data goes through shared memory. So the device can be abandoned. Flush, trim, zeroes and checksums run beside the reads and
 * writes on Node's thread pool, where a disk that hangs keeps two threads at most.
 *
 * While it is open it keeps the process alive. A process with a thread that hangs in a system call ends only by SIGKILL:
 * process.exit() would wait for the thread.
 *
 * Invariants: #slots has the request of each slot from #finished to #submitted, and null elsewhere. Those in #waiting
 * come after them; only the first may have pieces in slots, #waitingDoneBytes of it. #inFlight counts all that are not
 * done yet.
 */
export class DiskThreadDevice implements BlockDevice {
  readonly name: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly media: MediaInfo;
  readonly #payload: PayloadRing;
  readonly #slots: (BlockIo | null)[];
  readonly #waiting: BlockIo[] = [];
  #waitingDoneBytes = 0;
  #isSubmitPlanned = false;
  readonly #slow: SlowLane;
  readonly #cached: CachedReads | null;
  /** Reads that are done already, to be told of in a microtask. */
  #readAtOnce: BlockIo[] = [];
  readonly #searches = new Set<(error: DeviceError) => void>();
  #submitted = 0;
  #finished = 0;
  #inFlight = 0;
  /** The first one of the pieces of the request that is being finished; 0 for none. */
  #pieceErrno = 0;
  #isAbandoned = false;
  #closing: Promise<void> | null = null;
  #whenIdle: (() => void) | null = null;

  /** See OpenFileOptions. */
  get flushNote(): FlushNote | null {
    return this.file.flushNote;
  }

  /** Takes over `file` and `thread`, which works on `queue`. Made by openDiskThread. */
  constructor(
    private readonly file: FileDevice,
    private readonly queue: SharedQueue,
    private readonly thread: DiskThread,
    hasCachedReads: boolean,
  ) {
    this.name = file.name;
    this.mediaSizeBytes = file.mediaSizeBytes;
    this.sectorSizeBytes = file.sectorSizeBytes;
    this.can = file.can;
    this.media = file.media;
    this.#payload = new PayloadRing(queue.payload.length);
    this.#slots = Array.from({ length: queue.slotCount }, () => null);
    this.#cached = hasCachedReads ? new CachedReads(file.fd) : null;
    this.#slow = new SlowLane(file, (io, error) => this.#finish(io, error));
    thread.port.on('message', this.#collect);
    thread.exited.then(
      (failure) => this.#threadEnded(failure),
      () => undefined, // it never rejects
    );
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    if (this.#closing !== null || this.#isAbandoned) {
      const error = this.#closedError();
      queueMicrotask(() => io.done(error));
      return;
    }
    this.#inFlight += 1;
    if (io.op !== 'read' && io.op !== 'write') {
      this.#slow.start(io);
      return;
    }
    const isAlone = this.#waiting.length === 0 && this.#submitted === this.#finished;
    // After a write that is under way it has to go the same way, or it could overtake it.
    if (io.op === 'read' && isAlone && this.#readNow(io)) return;
    this.#waiting.push(io);
    if (this.#isSubmitPlanned) return;
    this.#isSubmitPlanned = true;
    queueMicrotask(this.#submitPlanned);
  }

  /** All that was started in one turn wakes the thread once: else it would be done, and asleep again, after each. */
  readonly #submitPlanned = (): void => {
    this.#isSubmitPlanned = false;
    this.#submitWaiting();
  };

  /** What is in memory needs no thread, and the way there and back costs more than the copy. */
  #readNow(io: BlockIo): boolean {
    const { buffer, bufferAt, lengthBytes, offsetBytes } = io;
    if (buffer === null || this.#cached?.read(buffer, bufferAt, lengthBytes, offsetBytes) !== true)
      return false;
    if (this.#readAtOnce.length === 0) queueMicrotask(this.#tellOfReads);
    this.#readAtOnce.push(io);
    return true;
  }

  readonly #tellOfReads = (): void => {
    const done = this.#readAtOnce;
    this.#readAtOnce = [];
    for (const io of done) this.#finish(io, null);
  };

  /** As of FileDevice. Rejects with DEVICE_TIMEOUT if the device is abandoned meanwhile. */
  nextAllocated(offsetBytes: number): Promise<ByteRange | null> {
    if (this.#closing !== null || this.#isAbandoned) return Promise.reject(this.#closedError());
    return new Promise((resolve, reject) => {
      this.#searches.add(reject);
      this.file
        .nextAllocated(offsetBytes)
        .finally(() => this.#searches.delete(reject))
        .then(resolve, reject);
    });
  }

  /** As of FileDevice. */
  modifiedNs(): Promise<bigint | null> {
    return this.file.modifiedNs();
  }

  /** As of FileDevice. */
  setModifiedNs(modifiedNs: bigint): Promise<void> {
    return this.file.setModifiedNs(modifiedNs);
  }

  /**
   * Gives up a disk that does not answer: every request in flight fails with DEVICE_TIMEOUT before the event loop goes
   * on, and DEVICE_CLOSED is the answer to later ones. From the return of this on no buffer of a caller is touched.
   * Which of the writes in flight reach the medium is open until close() has resolved: one that is under way may land
   * any time; those behind it are not begun.
   */
  abandon(): void {
    if (this.#isAbandoned) return;
    this.#giveUp((io) => {
      const what =
        io.op === 'flush' ? 'flush' : `${io.op} of ${io.lengthBytes} bytes at byte ${io.offsetBytes}`;
      return this.#timeoutError(what);
    });
    for (const reject of this.#searches) reject(this.#timeoutError('search for data'));
  }

  /**
   * Resolves when nothing of ours can reach the medium any more: every system call has returned, the thread has ended
   * and the file is closed. After abandon() that is when the disk answers again, or never; the caller has a time-out.
   */
  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle();
    return this.#closing;
  }

  #submitWaiting(): void {
    if (this.#isAbandoned) return; // by the `done` of what was just finished
    const before = this.#submitted;
    for (let io = this.#waiting[0]; io !== undefined && this.#submitPieces(io); io = this.#waiting[0]) {
      this.#waiting.shift();
      this.#waitingDoneBytes = 0;
    }
    if (this.#submitted !== before) this.queue.submit(this.#submitted);
  }

  /** False if shared memory is full before the last piece. */
  #submitPieces(io: BlockIo): boolean {
    const { buffer, bufferAt } = io;
    assert(buffer !== null, `${this.name}: ${io.op} without a buffer`);
    while (this.#waitingDoneBytes < io.lengthBytes) {
      const slot = this.queue.slotOf(this.#submitted);
      if (this.#slots[slot] !== null) return false;
      const doneBytes = this.#waitingDoneBytes;
      const lengthBytes = Math.min(PIECE_BYTES_MAX, io.lengthBytes - doneBytes);
      const from = bufferAt + doneBytes;
      const at = this.#payload.take(lengthBytes, buffer.byteOffset + from);
      if (at === -1) return false;
      const op = io.op === 'read' ? TRANSFER.read : TRANSFER.write;
      if (op === TRANSFER.write) buffer.copy(this.queue.payload, at, from, from + lengthBytes);
      this.queue.fill(slot, op, io.offsetBytes + doneBytes, lengthBytes, at);
      this.#slots[slot] = io;
      this.#submitted = this.queue.next(this.#submitted);
      this.#waitingDoneBytes += lengthBytes;
    }
    return true;
  }

  readonly #collect = (): void => {
    this.queue.listen();
    // What is finished from here on is told of by another message, after others had their turn.
    const finished = this.queue.finished;
    while (!this.#isAbandoned && this.#finished !== finished) this.#finishOldest();
    this.#submitWaiting();
  };

  #finishOldest(): void {
    const { queue } = this;
    const slot = queue.slotOf(this.#finished);
    const io = this.#slots[slot];
    assert(io !== null && io !== undefined && io.buffer !== null, `${this.name}: an answer to nothing`);
    const at = queue.payloadAtOf(slot);
    const lengthBytes = queue.lengthBytesOf(slot);
    const errno = queue.errnoOf(slot);
    const doneBytes = queue.offsetBytesOf(slot) - io.offsetBytes;
    if (io.op === 'read' && errno === 0) {
      queue.payload.copy(io.buffer, io.bufferAt + doneBytes, at, at + lengthBytes);
    }
    this.#payload.release(at, lengthBytes);
    this.#slots[slot] = null;
    this.#finished = queue.next(this.#finished);
    if (this.#pieceErrno === 0) this.#pieceErrno = errno;
    if (doneBytes + lengthBytes < io.lengthBytes) return;
    const first = this.#pieceErrno;
    this.#pieceErrno = 0;
    this.#finish(io, first === 0 ? null : requestError(this.name, io, fromWireErrno(first)));
  }

  #finish(io: BlockIo, error: DeviceError | null): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#whenIdle?.();
    io.done(error);
  }

  /** A thread ends before its time only by a bug of ours or for want of memory. Nothing is in a system call then. */
  #threadEnded(failure: Error | null): void {
    if (this.#isAbandoned || (this.#closing !== null && this.#inFlight === 0)) return;
    this.#giveUp((io) => requestError(this.name, io, 'EIO', failure));
  }

  #giveUp(errorOf: (io: BlockIo) => DeviceError): void {
    this.#isAbandoned = true;
    this.queue.setMode(MODE.abandoned);
    const given = [...this.#takeSlots(), ...this.#waiting.splice(0), ...this.#slow.abandon()];
    // In a microtask, so that whoever calls abandon() is not called back in the middle of it.
    queueMicrotask(() => {
      for (const io of given) this.#finish(io, errorOf(io));
    });
  }

  /** Requests all of whose pieces are in slots; one whose last piece is not there is the first of #waiting. */
  #takeSlots(): BlockIo[] {
    const taken: BlockIo[] = [];
    const { queue } = this;
    for (; this.#finished !== this.#submitted; this.#finished = queue.next(this.#finished)) {
      const slot = queue.slotOf(this.#finished);
      const io = this.#slots[slot];
      assert(io !== null && io !== undefined, `${this.name}: a slot without its request`);
      this.#slots[slot] = null;
      const endBytes = queue.offsetBytesOf(slot) + queue.lengthBytesOf(slot);
      if (endBytes === io.offsetBytes + io.lengthBytes) taken.push(io);
    }
    return taken;
  }

  #closedError(): DeviceError {
    const why = this.#isAbandoned ? 'has been given up' : 'is closed';
    return new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name} ${why}`);
  }

  #timeoutError(what: string): DeviceError {
    const message = `${this.name}: ${what} was given up, as the disk does not answer; check it and the kernel's log`;
    return new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', message);
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    if (!this.#isAbandoned) this.queue.setMode(MODE.drain);
    await this.thread.exited;
    this.thread.port.close();
    // Waits for the slow operations that abandon() left behind.
    await this.file.close();
  }
}
