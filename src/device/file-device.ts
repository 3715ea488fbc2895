import {
  close,
  constants,
  fstat,
  fsync,
  ftruncate,
  futimes,
  open,
  read,
  write,
  type BigIntStats,
} from 'node:fs';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { assert } from '../protocol/errors.js';
import type { ByteRange } from '../protocol/geometry.js';
import type { AccessMode } from '../protocol/handshake.js';
import { DeviceError, type BlockDevice, type BlockIo, type Capabilities } from './block-device.js';
import { assertStartable } from './check-io.js';
import { errnoOf, openError, requestError } from './device-errors.js';
import { openFlushNote, type FlushNote } from './flush-note.js';
import { lockAlone } from './in-use.js';
import { SLOW_OPERATIONS_MAX } from './limits.js';
import { probeMedia, type MediaInfo, type MediaKind } from './media.js';
import { nextDataRange } from './platform/files.js';
import { native } from './platform/native.js';
import * as slow from './slow-operations.js';

type MoveCallback = (error: NodeJS.ErrnoException | null, movedBytes: number) => void;

export interface OpenFileOptions {
  readonly access: AccessMode;
  /** For people; 'file NAME' or 'disk NAME' if left out. */
  readonly name?: string;
  /** Nobody else who asks for this may have it open, until it is closed; for whoever writes. False if left out. */
  readonly alone?: boolean;
  /** With `alone`: the folder of its FlushNote; none is kept if left out. */
  readonly flushNotes?: string;
}

const OPEN_FLAGS: Readonly<Record<AccessMode, number>> = {
  ro: constants.O_RDONLY,
  wo: constants.O_WRONLY,
  rw: constants.O_RDWR,
};

/** FreeBSD's open() can lock as flock() does. Source: sys/fcntl.h of FreeBSD 12.1. */
const O_EXLOCK = 0x20;

/**
 * With `alone`, Linux is asked for a disk that neither it nor anybody else who asks so uses. What is locked after it was
 * opened needs no flag; FreeBSD without the C library can only lock while it opens.
 */
export function openFlags(
  { access, alone = false }: Pick<OpenFileOptions, 'access' | 'alone'>,
  kind: MediaKind,
  system: { readonly platform: string; readonly hasNative: boolean },
): number {
  const flags = OPEN_FLAGS[access];
  if (!alone) return flags;
  if (system.platform === 'freebsd')
    return system.hasNative ? flags : flags + O_EXLOCK + constants.O_NONBLOCK;
  return kind === 'disk' && system.platform === 'linux' ? flags + constants.O_EXCL : flags;
}

/**
 * Opens a regular file or a disk. Throws DeviceError (DEVICE_OPEN) as probeMedia does, and with `alone` DEVICE_REFUSED
 * with EBUSY when somebody else has it open alone. Without it several may have it open.
 */
export async function openFile(path: string, options: OpenFileOptions): Promise<FileDevice> {
  const media = await probeMedia(path, options.access);
  const name = options.name ?? `${media.kind} ${basename(path)}`;
  let fd: number;
  try {
    const system = { platform: process.platform, hasNative: native() !== null };
    fd = await promisify(open)(path, openFlags(options, media.kind, system));
  } catch (cause) {
    const errno = errnoOf(cause);
    throw openError(path, errno === 'EAGAIN' ? 'EBUSY' : errno, "can't be opened", cause);
  }
  try {
    if (options.alone === true) await lockAlone(fd, path);
  } catch (cause) {
    await promisify(close)(fd);
    throw cause;
  }
  const canWrite = options.access !== 'ro';
  const canTrim = canWrite && (await slow.probeTrim({ fd, name, kind: media.kind }));
  const canRead = options.access !== 'wo';
  const can = { read: canRead, write: canWrite, writeZeroes: canWrite, trim: canTrim, flush: true };
  const { alone = false, flushNotes } = options;
  const flushNote = alone && flushNotes !== undefined ? openFlushNote(flushNotes, fd) : null;
  return new FileDevice(fd, name, media, { ...can, checksum: canRead }, flushNote);
}

/**
 * Makes a sparse image file. Throws DeviceError (DEVICE_OPEN): EEXIST if there is something at `path` already, and what
 * the file system says. `sizeBytes` is a multiple of 512 greater than 0.
 */
export async function createImage(path: string, sizeBytes: number): Promise<void> {
  assert(
    Number.isSafeInteger(sizeBytes) && sizeBytes > 0,
    'createImage: a size is an integer greater than 0',
  );
  assert(sizeBytes % 512 === 0, 'createImage: a size is a multiple of 512');
  try {
    const fd = await promisify(open)(path, 'wx', 0o600);
    try {
      await promisify(ftruncate)(fd, sizeBytes);
    } finally {
      await promisify(close)(fd);
    }
  } catch (cause) {
    throw openError(path, errnoOf(cause), "can't be created", cause);
  }
}

/**
 * A local file or disk on Node's thread pool. Requests run side by side, so two that overlap may take effect in any
 * order; a request started after another's `done` sees what that did. Flush, trim, zeroes and checksums run a few at a
 * time and in order of start.
 */
export class FileDevice implements BlockDevice {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly kind: MediaKind;
  #inFlight = 0;
  #slowRunning = 0;
  readonly #slowWaiting: BlockIo[] = [];
  #closing: Promise<void> | null = null;
  #whenIdle: (() => void) | null = null;

  /** Takes over `fd`, which close() closes. Made by openFile. */
  constructor(
    readonly fd: number,
    readonly name: string,
    readonly media: MediaInfo,
    readonly can: Capabilities,
    /** Closed with `fd`. */
    readonly flushNote: FlushNote | null,
  ) {
    this.mediaSizeBytes = media.mediaSizeBytes;
    this.sectorSizeBytes = media.sectorSizeBytes;
    this.kind = media.kind;
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    if (this.#closing !== null) {
      const error = new DeviceError('DEVICE_CLOSED', 'EBADF', `${this.name} is closed`);
      queueMicrotask(() => io.done(error));
      return;
    }
    this.#inFlight += 1;
    if (io.op === 'read' || io.op === 'write') {
      this.#transfer(io, io.op, 0);
    } else {
      this.#slowWaiting.push(io);
      this.#startSlow();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle();
    return this.#closing;
  }

  /**
   * The next stretch of the medium at or after `offsetBytes` that holds data, in whole sectors; the rest reads as
   * zeroes. Null if there is none up to the end. Where holes can't be seen, all that is left is data. `offsetBytes` is a
   * multiple of the sector size. Throws DeviceError (DEVICE_IO).
   */
  async nextAllocated(offsetBytes: number): Promise<ByteRange | null> {
    const { sectorSizeBytes, mediaSizeBytes } = this;
    assert(offsetBytes % sectorSizeBytes === 0, `${this.name}: nextAllocated from inside a sector`);
    assert(this.#closing === null, `${this.name}: nextAllocated of a closed device`);
    if (offsetBytes >= mediaSizeBytes) return null;
    const rest = { offsetBytes, lengthBytes: mediaSizeBytes - offsetBytes };
    if (this.kind === 'disk') return rest;
    this.#inFlight += 1;
    try {
      const range = await nextDataRange(this.fd, offsetBytes);
      if (range === null || range.offsetBytes >= mediaSizeBytes) return null;
      const startBytes = Math.floor(range.offsetBytes / sectorSizeBytes) * sectorSizeBytes;
      const endBytes = Math.ceil((range.offsetBytes + range.lengthBytes) / sectorSizeBytes) * sectorSizeBytes;
      return { offsetBytes: startBytes, lengthBytes: Math.min(endBytes, mediaSizeBytes) - startBytes };
    } catch (cause) {
      if (errnoOf(cause) === 'EOPNOTSUPP') return rest;
      throw requestError(this.name, { op: 'read', ...rest }, errnoOf(cause), cause);
    } finally {
      this.#leave();
    }
  }

  /** When a file was last written, in nanoseconds since 1970; null for a disk. Throws DeviceError (DEVICE_IO). */
  async modifiedNs(): Promise<bigint | null> {
    if (this.kind === 'disk') return null;
    return (await this.#aside(() => statOf(this.fd))).mtimeNs;
  }

  /**
   * Says when a file was last written, and makes that durable; the next write changes it. File systems keep it more or
   * less exactly. Throws DeviceError (DEVICE_IO), with EPERM for who neither owns the file nor is root.
   */
  async setModifiedNs(modifiedNs: bigint): Promise<void> {
    await this.#aside(async () => {
      const { atimeMs } = await statOf(this.fd);
      await promisify(futimes)(this.fd, Number(atimeMs) / 1000, Number(modifiedNs) / 1e9);
      await promisify(fsync)(this.fd);
    });
  }

  async #aside<Result>(run: () => Promise<Result>): Promise<Result> {
    assert(this.#closing === null, `${this.name}: it is closed already`);
    this.#inFlight += 1;
    try {
      return await run();
    } catch (cause) {
      throw requestError(this.name, { op: 'flush', offsetBytes: 0, lengthBytes: 0 }, errnoOf(cause), cause);
    } finally {
      this.#leave();
    }
  }

  #transfer(io: BlockIo, op: 'read' | 'write', movedBytes: number): void {
    const { buffer, bufferAt } = io;
    assert(buffer !== null, `${this.name}: ${op} without a buffer`);
    const restBytes = io.lengthBytes - movedBytes;
    const at = io.offsetBytes + movedBytes;
    const moved: MoveCallback = (error, stepBytes) => {
      if (error === null && stepBytes === restBytes) {
        this.#finish(io, null);
      } else if (error === null && stepBytes > 0) {
        this.#transfer(io, op, movedBytes + stepBytes);
      } else if (error?.code === 'EINTR') {
        this.#transfer(io, op, movedBytes);
      } else {
        // Nothing moved and no error: the file has been cut, or the disk has ended.
        const errno = error !== null ? errnoOf(error) : op === 'read' ? 'EIO' : 'ENOSPC';
        const failed = { op, offsetBytes: at, lengthBytes: restBytes };
        this.#finish(io, requestError(this.name, failed, errno, error));
      }
    };
    // Node calls back in a turn of its own, so never before start() has returned.
    if (op === 'read') read(this.fd, buffer, bufferAt + movedBytes, restBytes, at, moved);
    else write(this.fd, buffer, bufferAt + movedBytes, restBytes, at, moved);
  }

  #startSlow(): void {
    while (this.#slowRunning < SLOW_OPERATIONS_MAX) {
      const io = this.#slowWaiting.shift();
      if (io === undefined) return;
      this.#slowRunning += 1;
      this.#runSlow(io).then(
        () => this.#finishSlow(io, null),
        (cause: unknown) => this.#finishSlow(io, this.#asDeviceError(io, cause)),
      );
    }
  }

  async #runSlow(io: BlockIo): Promise<void> {
    if (io.op === 'flush') await slow.flush(this);
    else if (io.op === 'trim') await slow.trim(this, io);
    else if (io.op === 'write-zeroes') await slow.writeZeroes(this, io);
    else {
      assert(io.op === 'checksum' && io.buffer !== null, `${this.name}: ${io.op} is no slow operation`);
      await slow.checksum(this, io, io.buffer, io.bufferAt);
    }
  }

  #asDeviceError(io: BlockIo, cause: unknown): DeviceError {
    return cause instanceof DeviceError ? cause : requestError(this.name, io, errnoOf(cause), cause);
  }

  #finishSlow(io: BlockIo, error: DeviceError | null): void {
    this.#slowRunning -= 1;
    this.#startSlow();
    this.#finish(io, error);
  }

  #finish(io: BlockIo, error: DeviceError | null): void {
    this.#leave();
    io.done(error);
  }

  #leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#whenIdle?.();
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.flushNote?.close();
    try {
      await promisify(close)(this.fd);
    } catch (cause) {
      throw requestError(this.name, { op: 'flush', offsetBytes: 0, lengthBytes: 0 }, errnoOf(cause), cause);
    }
  }
}

const statOf = (fd: number): Promise<BigIntStats> =>
  new Promise((resolve, reject) => {
    fstat(fd, { bigint: true }, (error, stat) => (error === null ? resolve(stat) : reject(error)));
  });
