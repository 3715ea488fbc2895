import type { Timer } from '../src/device/clock.js';
import {
  DeviceError,
  type BlockDevice,
  type BlockIo,
  type Capabilities,
} from '../src/device/block-device.js';
import { assertStartable } from '../src/device/check-io.js';
import type { OwnClients } from '../src/control/own-client.js';
import type { OpenedProvider } from '../src/mirror/start/assemble.js';
import { checksumsBytes } from '../src/protocol/region-checksums.js';
import type { Host } from './host.js';
import type { Link, Wire } from './link.js';
import type { ServedDisk } from './noted-disk.js';
import type { SimProcess } from './process.js';

export interface RemoteOptions {
  readonly process: SimProcess;
  /** Where the process runs. */
  readonly from: Host;
  readonly to: Host;
  readonly link: Link;
  readonly timeoutMs: number;
  /** Of one opener. */
  readonly clients: OwnClients;
}

export type OpenSimRemote = (options: RemoteOptions) => Promise<OpenedProvider>;

/** Connects to the server of another host. Rejects with DeviceError. */
export async function openSimRemote(options: RemoteOptions): Promise<OpenedProvider> {
  const { process, from, to, link, timeoutMs } = options;
  const wire = link.connect(from.name, to.name);
  const name = `ggate://${to.name}/`;
  const handle = await new Promise<ServedDisk>((resolve, reject) => {
    const timer = process.after(timeoutMs, () => {
      wire.closeFrom('out');
      reject(new DeviceError('DEVICE_TIMEOUT', 'ETIMEDOUT', `${name} can't be opened in time`));
    });
    const fail = (why: string): void => {
      timer.cancel();
      reject(new DeviceError('DEVICE_OPEN', 'ECONNREFUSED', `${name}: ${why}`));
    };
    wire.onEnd('out', () => fail('the connection was lost'));
    if (link.isCut) return;
    wire.send('out', () => {
      if (!to.isOn) return;
      const { server } = to;
      to.attach(wire).then(
        (attached) => {
          if (server.isAlive)
            wire.send('back', () => {
              timer.cancel();
              resolve(attached);
            });
        },
        (error: unknown) => wire.send('back', () => fail((error as Error).message)),
      );
    });
  });
  const device = new RemoteHandle(name, { wire, handle, process, timeoutMs });
  return { device, area: null, abandon: () => device.abandon(), tellAgain: () => device.tellAgain() };
}

interface Attached {
  readonly wire: Wire;
  readonly handle: ServedDisk;
  readonly process: SimProcess;
  readonly timeoutMs: number;
}

interface Sent {
  readonly io: BlockIo;
  readonly timer: Timer;
}

/** An export of another host: each request goes over the wire, and so does its answer. */
class RemoteHandle implements BlockDevice {
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly can: Capabilities;
  readonly #inFlight = new Set<Sent>();
  readonly #wire: Wire;
  readonly #handle: ServedDisk;
  #isToBeToldAgain = false;
  #gone: 'DEVICE_LOST' | 'DEVICE_CLOSED' | null = null;
  #whenIdle: (() => void)[] = [];

  constructor(
    readonly name: string,
    private readonly attached: Attached,
  ) {
    const { wire, handle, process } = attached;
    this.#wire = wire;
    this.#handle = handle;
    this.mediaSizeBytes = handle.mediaSizeBytes;
    this.sectorSizeBytes = handle.sectorSizeBytes;
    this.can = handle.can;
    wire.onEnd('out', () => {
      if (process.isAlive) this.#fail('DEVICE_LOST');
    });
    wire.onEnd('back', () => {
      handle.close().catch(() => undefined);
    });
    process.onKill(() => wire.closeFrom('out'));
  }

  start(io: BlockIo): void {
    assertStartable(this, io);
    const gone = this.#gone;
    if (gone !== null) {
      queueMicrotask(() => io.done(new DeviceError(gone, 'ENXIO', `${this.name}: ${gone}`)));
      return;
    }
    const { process, timeoutMs } = this.attached;
    // As the real client does: a connection on which nothing comes is given up.
    const timer = process.after(timeoutMs, () => {
      this.#wire.closeFrom('out');
      this.#fail('DEVICE_LOST');
    });
    const sent: Sent = { io, timer };
    this.#inFlight.add(sent);
    const { op, offsetBytes, lengthBytes, buffer, bufferAt } = io;
    const payload =
      op === 'write' && buffer !== null
        ? Buffer.from(buffer.subarray(bufferAt, bufferAt + lengthBytes))
        : null;
    this.#wire.send('out', () => {
      const answer = payload ?? (buffer === null ? null : Buffer.alloc(answerBytes(io)));
      this.#handle.start({
        ...{ op, offsetBytes, lengthBytes, buffer: answer, bufferAt: 0 },
        done: (error) => this.#wire.send('back', () => this.#answered(sent, answer, error)),
      });
    });
  }

  abandon(): void {
    if (this.#gone !== null) return;
    this.#detach();
    this.#fail('DEVICE_CLOSED');
  }

  /** As of the real client. */
  tellAgain(): void {
    this.#isToBeToldAgain = true;
  }

  async close(): Promise<void> {
    if (this.#inFlight.size > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    if (this.#gone !== null) return;
    this.#gone = 'DEVICE_CLOSED';
    this.#detach();
  }

  /** As the real client, which ends its session in order when it waits for nothing. */
  #detach(): void {
    // What is left of a killed process does nothing.
    if (!this.attached.process.isAlive) return;
    if (this.#inFlight.size === 0 && !this.#isToBeToldAgain)
      this.#wire.send('out', () => (this.#handle.isDetached = true));
    this.#wire.closeFrom('out');
  }

  #answered(sent: Sent, answer: Buffer | null, error: DeviceError | null): void {
    if (!this.#inFlight.delete(sent)) return;
    sent.timer.cancel();
    const { io } = sent;
    if (error === null && io.buffer !== null && io.op !== 'write') answer?.copy(io.buffer, io.bufferAt);
    io.done(error);
    this.#settle();
  }

  #fail(code: 'DEVICE_LOST' | 'DEVICE_CLOSED'): void {
    if (this.#gone !== null) return;
    this.#gone = code;
    const given = [...this.#inFlight];
    this.#inFlight.clear();
    for (const { timer } of given) timer.cancel();
    queueMicrotask(() => {
      for (const { io } of given) io.done(new DeviceError(code, 'ENXIO', `${this.name}: ${code}`));
      this.#settle();
    });
  }

  #settle(): void {
    if (this.#inFlight.size === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

/** As many bytes as are asked for in a read. */
const answerBytes = ({ op, lengthBytes }: BlockIo): number =>
  op === 'checksum' ? checksumsBytes(lengthBytes) : lengthBytes;
