import { requireUnused } from '../running-mirror.js';
import { flagField, type ControlCommand } from './command.js';

interface StopRequest {
  /** Also if clients are connected. */
  readonly isForced: boolean;
}

export const stopCommand: ControlCommand<StopRequest> = {
  parse: (fields) => ({ isForced: flagField(fields, 'isForced') }),
  async run(running, { isForced }) {
    if (!isForced) requireUnused(running, 'let them go first, or add -f to stop all the same');
    await running.stop();
    return null;
  },
};
