import type { Clock } from '../device/clock.js';
import { NO_UUID } from '../protocol/superblock.js';
import { isGgateUri } from '../protocol/uri.js';
import type { ServerLog } from '../server/server-log.js';
import { type ControlRequest, parseRequest } from './commands/all.js';
import { ControlError } from './control-error.js';
import { ControlServer } from './control-server.js';
import type { ComponentStatus, MirrorStatus } from './status.js';

export interface WaitingMirrorOptions {
  /** Without 'mirror/'. */
  readonly name: string;
  readonly pid: number;
  /** Of its components, as they were given. */
  readonly components: readonly string[];
  readonly controlPath: string;
  readonly clock: Clock;
  readonly log: ServerLog;
}

/** Stands for a mirror that waits for its components: it can be seen and stopped, and nothing else. */
export class WaitingMirror {
  #server: ControlServer<ControlRequest> | null = null;
  #why = '';
  #stop: () => void = () => undefined;
  /** Resolves when somebody has asked on the control socket for the end. */
  readonly whenStopped = new Promise<void>((resolve) => (this.#stop = resolve));

  constructor(private readonly options: WaitingMirrorOptions) {}

  /** Rejects with ListenError. */
  async waits(why: string): Promise<void> {
    const { controlPath: path, clock, log, name } = this.options;
    this.#why = why;
    log.warn({}, `Device mirror/${name} waits: ${why}`);
    if (this.#server !== null) return;
    const handle = (request: ControlRequest): Promise<unknown> => this.#handle(request);
    this.#server = new ControlServer({ path, parse: parseRequest, handle, clock, log });
    await this.#server.start();
  }

  /** May be called twice. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.close();
  }

  #handle({ command }: ControlRequest): Promise<MirrorStatus | null> {
    if (command === 'status') return Promise.resolve(this.#status());
    if (command === 'stop') {
      this.#stop();
      return Promise.resolve(null);
    }
    const { name } = this.options;
    return Promise.reject(
      new ControlError(`mirror/${name} does not run yet: ${this.#why} ('ggmirror stop ${name}' ends that)`),
    );
  }

  #status(): MirrorStatus {
    const { name, pid, components } = this.options;
    return {
      ...NOTHING_KNOWN,
      name,
      pid,
      waitsFor: this.#why,
      components: components.map((one) => ({ ...UNKNOWN_COMPONENT, name: one, isLocal: !isGgateUri(one) })),
    };
  }
}

const NOTHING_KNOWN: Omit<MirrorStatus, 'name' | 'pid' | 'waitsFor' | 'components'> = {
  state: 'STARTING',
  ...{ mediaSizeBytes: 0, sectorSizeBytes: 0, balance: 'prefer', sliceBytes: 0, isAutosync: true, flags: [] },
  ...{ isDirty: false, uuid: NO_UUID, generation: NO_UUID, genid: 0, syncid: 0, isLossPending: false },
  ...{ flushes: 'kept', nbd: [], ggate: null, clients: 0, verify: null },
};

const UNKNOWN_COMPONENT: Omit<ComponentStatus, 'name' | 'isLocal'> = {
  state: 'DISCONNECTED',
  ...{ uuid: NO_UUID, provider: null, priority: 0, flags: [], isInactive: false, canFlush: false },
  ...{ resync: null, markedBytes: 0, needsFullCopy: false, inFlight: 0, refused: null, why: null },
  ...{ reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0, errors: 0 },
};
