import { join } from 'node:path';
import { probeAccess } from '../../client/probe-access.js';
import { DeviceError } from '../../device/block-device.js';
import { delay, systemClock } from '../../device/clock.js';
import { parseGgateUri } from '../../protocol/uri.js';
import { CommandError } from '../errors.js';
import { OwnProcess, type Surroundings } from './own-process.js';

const ADDRESS = '127.0.0.1';
const START_MS = 15_000;
const POLL_MS = 50;

/** `ggmirror serve` of one image. */
export class ServerProcess extends OwnProcess {
  readonly uri: string;

  /** `imageName`: of an image in the folder. */
  constructor(imageName: string, port: number, around: Surroundings) {
    super(['serve', '-a', ADDRESS, '-p', String(port), imageName], around, `${imageName}.log`);
    this.uri = `ggate://${ADDRESS}:${port}${join(around.folder, imageName)}`;
  }

  /** Resolves when a client is welcome. Throws CommandError with the server's own words when it does not come up. */
  async whenReady(): Promise<void> {
    const deadlineMs = systemClock.nowMs() + START_MS;
    for (;;) {
      try {
        await probeAccess({ uri: parseGgateUri(this.uri), connectTimeoutMs: START_MS }, 'rw');
        return;
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        if (this.hasEnded || systemClock.nowMs() > deadlineMs) {
          throw new CommandError(`the server does not come up: ${error.message}\n${this.said}`, {
            cause: error,
          });
        }
      }
      await delay(systemClock, POLL_MS);
    }
  }
}
