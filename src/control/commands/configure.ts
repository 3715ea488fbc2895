import { BALANCE_ALGORITHMS } from '../../mirror/balance.js';
import { changePriority, changeSettings, type SettingsChange } from '../../mirror/members/configure.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { Fields } from '../control-protocol.js';
import { componentNamed } from '../running-mirror.js';
import { numberField, textField, type ControlCommand } from './command.js';
import { inGmirrorsWords } from './members.js';

/** The largest slice that a label can hold, and what a sector is at least. */
const SLICE_BYTES_MAX = 2 ** 32 - 512;
const SECTOR_BYTES = 512;

/** Other settings for the whole mirror; what is left out of the request stays. */
export const configureCommand: ControlCommand<SettingsChange> = {
  parse: (fields) => ({
    ...balanceField(fields),
    ...sliceField(fields),
    ...optionalFlag(fields, 'noAutoSync'),
    ...optionalFlag(fields, 'noFailSync'),
    ...optionalFlag(fields, 'isHardcoded'),
  }),
  run: ({ mirror }, change) =>
    inGmirrorsWords(async () => {
      await changeSettings(mirror, change);
      return null;
    }),
};

interface PriorityRequest {
  /** Name or UUID. */
  readonly component: string;
  /** 0 to 255. */
  readonly priority: number;
}

/** Which component reads prefer. */
export const priorityCommand: ControlCommand<PriorityRequest> = {
  parse: (fields) => ({
    component: textField(fields, 'component'),
    priority: numberField(fields, 'priority', { min: 0, max: 255 }),
  }),
  run: (running, { component, priority }) =>
    inGmirrorsWords(async () => {
      await changePriority(running.mirror, componentNamed(running, component), priority);
      return null;
    }),
};

function balanceField({ balance: given }: Fields): Pick<SettingsChange, 'balance'> {
  if (given === undefined) return {};
  const balance = BALANCE_ALGORITHMS.find((name) => name === given);
  if (balance !== undefined) return { balance };
  throw new ProtocolError('PROTOCOL_FORMAT', 'the control request has no known balance');
}

function sliceField(fields: Fields): Pick<SettingsChange, 'sliceBytes'> {
  if (fields.sliceBytes === undefined) return {};
  const sliceBytes = numberField(fields, 'sliceBytes', { min: SECTOR_BYTES, max: SLICE_BYTES_MAX });
  if (sliceBytes % SECTOR_BYTES === 0) return { sliceBytes };
  throw new ProtocolError('PROTOCOL_FORMAT', `the control request's slice is no multiple of ${SECTOR_BYTES}`);
}

function optionalFlag<Name extends 'noAutoSync' | 'noFailSync' | 'isHardcoded'>(
  fields: Fields,
  name: Name,
): Partial<Record<Name, boolean>> {
  const value = fields[name];
  return typeof value === 'boolean' ? ({ [name]: value } as Record<Name, boolean>) : {};
}
