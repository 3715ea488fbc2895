import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DeviceError, BlockDevice } from '../../src/device/block-device.js';
import { Features } from '../../src/protocol/capabilities.js';
import {
  DeviceSession,
  type DeviceSessionOptions,
  type DeviceSessionResult,
} from '../../src/server/device-session/device-session.js';
import { SlabPool } from '../../src/server/stream/slabs.js';
import { FakeClock } from './fake-clock.js';
import { FakeStream } from './fake-stream.js';
import { FaultDevice } from './fault-device.js';
import { MemoryDevice } from './memory-device.js';
import { type Reply, replies } from './requests.js';

export const RIG_MEDIA_BYTES = 4 * 1_048_576;

/** A session on a disk in memory, with connections that a test plays and a clock that stands still. */
export class DeviceSessionRig {
  readonly receive = new FakeStream();
  readonly send = new FakeStream();
  readonly clock = new FakeClock();
  readonly memory = new MemoryDevice({ mediaSizeBytes: RIG_MEDIA_BYTES });
  readonly device: FaultDevice;
  readonly session: DeviceSession;
  readonly refused: string[] = [];
  readonly failed: DeviceError[] = [];
  readonly bugs: unknown[] = [];
  readonly started: string[] = [];
  result: DeviceSessionResult | null = null;
  reason: string | null = null;

  constructor(options: Partial<DeviceSessionOptions> & { readonly on?: BlockDevice } = {}) {
    this.device = new FaultDevice(options.on ?? this.memory);
    const start = this.device.start.bind(this.device);
    this.device.start = (io) => {
      this.started.push(`${io.op} ${io.offsetBytes}+${io.lengthBytes}`);
      start(io);
    };
    this.session = new DeviceSession({
      receive: this.receive,
      send: this.send,
      device: this.device,
      access: 'rw',
      features: Features.none,
      keepAliveMs: 0,
      deviceTimeoutMs: 20_000,
      slabs: new SlabPool(),
      clock: this.clock,
      events: {
        refused: (_header, errno) => this.refused.push(errno),
        failed: (error) => this.failed.push(error),
        bug: (error) => this.bugs.push(error),
        ending: (reason) => (this.reason = reason),
      },
      ...options,
    });
    this.session.ended.then(
      (result) => (this.result = result),
      () => undefined,
    );
    this.session.start();
  }

  deliver(...requests: readonly Buffer[]): void {
    this.receive.deliver(Buffer.concat(requests));
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await nextTurn();
  }

  /** What was answered so far, once everything has come to rest. */
  async answers(bodyBytes?: (command: number, lengthBytes: number) => number): Promise<Reply[]> {
    await this.settle();
    return replies(this.send.output, bodyBytes);
  }
}
