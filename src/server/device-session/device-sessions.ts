import { type BlockDevice, DeviceError } from '../../device/block-device.js';
import type { Clock } from '../../device/clock.js';
import { FEATURE, Features } from '../../protocol/capabilities.js';
import type { ErrnoName } from '../../protocol/errno.js';
import { assert } from '../../protocol/errors.js';
import type { ProbeMedia } from '../guarded-probe.js';
import type { AttachRequest } from '../halves.js';
import { QuietLog, type ServerLog } from '../server-log.js';
import { SessionSupervisor } from '../session-supervisor.js';
import { SlabPool } from '../stream/slabs.js';
import { FlushDebt } from '../flush-debt.js';
import { RunningDeviceSession } from './running-device-session.js';

export interface DeviceSessionsOptions {
  /** Devices by the path that clients name. They stay the caller's. */
  readonly devices: ReadonlyMap<string, BlockDevice>;
  /** See DeviceSessionOptions. */
  readonly deviceTimeoutMs: number;
  readonly clock: Clock;
  readonly log: ServerLog;
  readonly pid: number;
  /** TAKEOVER_SILENT_MS, but for tests. */
  readonly takeoverSilentMs?: number;
  /** See DeviceSessionOptions. */
  readonly afterTurn?: (run: () => void) => void;
  /** See SupervisorOptions. */
  readonly obstacleTo?: (request: AttachRequest) => ErrnoName | null;
}

/** Sessions on devices of this process. */
export class DeviceSessions extends SessionSupervisor<RunningDeviceSession> {
  constructor(options: DeviceSessionsOptions) {
    const { devices, clock, log } = options;
    const shared = { ...options, slabs: new SlabPool(), quietLog: new QuietLog(log, clock) };
    const debts = new Map<string, FlushDebt>();
    super({
      ...options,
      isShared: false,
      identityOf: (path) => Promise.resolve(path),
      begin: (halves, identity) => {
        const device = devices.get(halves.request.path);
        assert(device !== undefined, 'device sessions: an export without a device');
        const debt = debts.get(identity) ?? new FlushDebt();
        debts.set(identity, debt);
        return new RunningDeviceSession(halves, identity, { ...shared, device, debt });
      },
    });
  }
}

/** What a handshake tells of such a device. ENXIO for one that there is not, EROFS for one that can't be written. */
export const deviceProbe =
  (devices: ReadonlyMap<string, BlockDevice>): ProbeMedia =>
  (path, access) => {
    const device = devices.get(path);
    if (device === undefined)
      return Promise.reject(new DeviceError('DEVICE_OPEN', 'ENXIO', `${path}: not there`));
    if (access !== 'ro' && !device.can.write) {
      return Promise.reject(new DeviceError('DEVICE_OPEN', 'EROFS', `${path} can't be written`));
    }
    const { mediaSizeBytes, sectorSizeBytes } = device;
    return Promise.resolve({ mediaSizeBytes, sectorSizeBytes, features: featuresOf(device) });
  };

function featuresOf({ can }: BlockDevice): Features {
  const known = [
    ...(can.flush ? [FEATURE.flush] : []),
    ...(can.writeZeroes ? [FEATURE.writeZeroes] : []),
    ...(can.trim ? [FEATURE.trim] : []),
    ...(can.checksum ? [FEATURE.checksum] : []),
    FEATURE.keepAlive,
  ];
  return Features.of(...known);
}
