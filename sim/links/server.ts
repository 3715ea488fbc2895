import { addressBlock } from '../../src/protocol/addresses.js';
import { Admission } from '../../src/server/admission.js';
import { DeviceSessions, deviceProbe } from '../../src/server/device-session/device-sessions.js';
import { GuardedProbe } from '../../src/server/guarded-probe.js';
import { Newcomer, type FrontDoor, type SeatedHalf } from '../../src/server/newcomer.js';
import { PendingHalves } from '../../src/server/pending-halves.js';
import { createServerIdentity } from '../../src/server/server-identity.js';
import { QuietLog, type ServerLog } from '../../src/server/server-log.js';
import type { Chance } from '../chance.js';
import type { Host, HostServices } from '../host.js';
import { ServedDevice } from '../noted-disk.js';
import type { SimProcess } from '../process.js';
import type { Network } from './network.js';

export const EXPORT_PATH = '/disk';
const DEVICE_TIMEOUT_MS = 20_000;

/** The real ggate server of a host, from the handshake to the disk, on simulated connections. */
export class SessionServer implements HostServices {
  #bootId: Buffer;
  #process: SimProcess | null = null;
  #sessions: DeviceSessions | null = null;

  constructor(
    private readonly host: Host,
    private readonly network: Network,
    private readonly chance: Chance,
  ) {
    this.#bootId = chance.nextBytes(16);
  }

  begin(process: SimProcess): void {
    const { host, network, chance } = this;
    const device = new ServedDevice(host, process);
    const log = this.#log(device);
    const devices = new Map([[EXPORT_PATH, device]]);
    const sessions = new DeviceSessions({
      ...{ devices, log, clock: process, deviceTimeoutMs: DEVICE_TIMEOUT_MS, pid: 1 },
      afterTurn: (run) => void process.after(0, run),
      obstacleTo: () => (host.taker !== null ? 'EBUSY' : null),
    });
    const door: FrontDoor = {
      clock: process,
      log,
      sessions,
      quietLog: new QuietLog(log, process),
      identity: createServerIdentity(chance, this.#bootId),
      admission: new Admission(),
      pending: new PendingHalves<SeatedHalf>(process, (half) => half.drop('its other half did not come')),
      probe: new GuardedProbe(deviceProbe(devices), process),
      exports: () => EVERYONE,
    };
    this.#process = process;
    this.#sessions = sessions;
    network.listen(host, process, (socket) => {
      const raw = socket.asSocket;
      Newcomer.receive({ raw, isTls: false, secured: Promise.resolve(raw) }, door);
    });
  }

  async letGo(): Promise<void> {
    const process = this.#process;
    const ending = this.#sessions?.sessions ?? [];
    if (process === null) return;
    // Of a killed process nothing is ever said again.
    if (!process.isAlive) return;
    const killed = new Promise<void>((resolve) => process.onKill(resolve));
    const gone = ending.map(async (session) => {
      await session.stop(STOP_MS);
      await session.whenGone;
    });
    await Promise.race([killed, Promise.all(gone)]);
  }

  power(isOn: boolean): void {
    if (isOn) {
      this.#bootId = this.chance.nextBytes(16);
      this.network.powerOn(this.host);
    } else this.network.powerOff(this.host);
  }

  /** What it says of sessions tells when they begin, and which of them end in order and flushed. */
  #log(device: ServedDevice): ServerLog {
    const { world, name } = this.host;
    const write = (fields: Readonly<Record<string, unknown>>, message: string): void =>
      world.say(() => `server at ${name}: ${message} ${JSON.stringify(fields)}`);
    const error = (fields: Readonly<Record<string, unknown>>, message: string): void => {
      write(fields, message);
      if ('err' in fields) world.fail(fields['err'] instanceof Error ? fields['err'] : message);
    };
    const info: typeof write = (fields, message) => {
      if (message === 'attached') device.sessionBegins();
      if (message === 'detached: detached') device.sessionEnds();
      write(fields, message);
    };
    return { debug: write, info, warn: write, error };
  }
}

const STOP_MS = 2000;
const EVERYONE = [
  {
    origin: 'simulation',
    matcher: { kind: 'blocks', blocks: [addressBlock({ family: 4, value: 0n }, 0)] },
    access: 'rw',
    path: EXPORT_PATH,
  },
] as const;
