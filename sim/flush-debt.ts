import type { DeviceError } from '../src/device/block-device.js';
import type { FlushDoubt } from '../src/mirror/area/provider.js';

/**
 * The last flush of a host's server that failed without that its client has certainly heard of it. The next session is told
 * with its first good flush, as by the real server, and a mirror that takes the disk finds a note of it. Goes with the power.
 */
export class SimFlushDebt {
  owed: DeviceError | null = null;

  /** `failed` is called when a flush that was good is answered with an earlier failure. */
  constructor(readonly failed: () => void) {}

  session(): SimSessionDebt {
    return new SimSessionDebt(this);
  }

  /** For the mirror that runs on this host. */
  get note(): FlushDoubt {
    const isInDoubt = (): boolean => this.owed !== null;
    const settle = (): void => {
      this.owed = null;
    };
    return {
      get isInDoubt() {
        return isInDoubt();
      },
      settle,
    };
  }
}

/** What one session of the server has to tell. */
export class SimSessionDebt {
  #toTell: DeviceError | null;

  constructor(private readonly debt: SimFlushDebt) {
    this.#toTell = debt.owed;
  }

  /** How a flush is answered that has ended in this way. */
  answerOf(outcome: DeviceError | null): DeviceError | null {
    const answer = outcome ?? this.#toTell;
    if (outcome === null && answer !== null) this.debt.failed();
    if (outcome === null) this.#toTell = null;
    if (answer !== null) this.debt.owed = answer;
    return answer;
  }

  /** The client has ended it: it knows what it was told. */
  ended(): void {
    if (this.#toTell === null) this.debt.owed = null;
  }
}
