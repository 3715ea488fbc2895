import { DeviceError } from '../../device/block-device.js';
import { describeUse } from '../../device/usage.js';
import { kernelNameOf } from '../../mirror/members/hardcoded-name.js';
import { MembershipError } from '../../mirror/members/membership-error.js';
import type { OpenedProvider } from '../../mirror/area/provider.js';
import { ProtocolError } from '../../protocol/errors.js';
import { ControlError } from '../control-error.js';
import { ATTEMPT_MS_MAX } from '../limits.js';
import type { Fields } from '../control-protocol.js';
import { componentNamed, requireUnused, type RunningMirror } from '../running-mirror.js';
import { flagField, numberField, textField, type ControlCommand } from './command.js';

interface InsertRequest {
  /** As parseComponent() reads it; paths are absolute. */
  readonly provider: string;
  readonly priority: number;
  readonly isInactive: boolean;
  readonly isHardcoded: boolean;
  /** Also over what looks used. */
  readonly isForced: boolean;
}

interface ComponentRequest {
  /** Name or UUID. */
  readonly component: string;
}

/** A provider becomes a component that everything is copied to. */
export const insertCommand: ControlCommand<InsertRequest> = {
  parse: (fields) => ({
    provider: textField(fields, 'provider'),
    priority: numberField(fields, 'priority', { min: 0, max: 255 }),
    isInactive: flagField(fields, 'isInactive'),
    isHardcoded: flagField(fields, 'isHardcoded'),
    isForced: flagField(fields, 'isForced'),
  }),
  run: (running, request) => inGmirrorsWords(() => insert(running, request)),
};

async function insert(running: RunningMirror, request: InsertRequest): Promise<null> {
  const { priority, isInactive, isHardcoded, isForced } = request;
  const opener = running.openerOf(request.provider);
  const { name, isLocal } = opener;
  const hardcodedProvider = isHardcoded ? kernelNameOf(name) : '';
  if (hardcodedProvider === null) {
    throw new ControlError(
      `${name} has no name of at most 15 bytes that a kernel would know it by; leave out -h`,
    );
  }
  // It may have been forgotten just now, while it was being looked at: our own session would be another client's to it.
  await running.reconnect.attemptsOver(ATTEMPT_MS_MAX);
  let refusal = null as string | null; // set in a callback
  const objection = async ({ device }: OpenedProvider): Promise<string | null> => {
    const use = isForced ? null : await describeUse(device, isLocal ? name : undefined);
    if (use !== null)
      refusal = `${name} ${use}; nothing was written. To insert it all the same, give --force`;
    return refusal;
  };
  try {
    await running.members.insert(opener, { priority, isInactive, hardcodedProvider, objection });
  } catch (cause) {
    if (refusal !== null) throw new ControlError(refusal, { cause, isForceWanted: true });
    throw cause;
  }
  return null;
}

const parseComponentRequest = (fields: Fields): ComponentRequest => ({
  component: textField(fields, 'component'),
});

/** A component goes for good; its label and private area are wiped. */
export const removeCommand: ControlCommand<ComponentRequest> = {
  parse: parseComponentRequest,
  run: (running, request) =>
    inGmirrorsWords(async () => {
      const component = componentNamed(running, request.component);
      try {
        await running.members.remove(component);
      } finally {
        // If it is still a component, it is lost.
        running.reconnect.wake(component);
      }
      return null;
    }),
};

/** A component is out of use until it is activated. */
export const deactivateCommand: ControlCommand<ComponentRequest> = {
  parse: parseComponentRequest,
  run: (running, request) =>
    inGmirrorsWords(async () => {
      await running.members.deactivate(componentNamed(running, request.component));
      return null;
    }),
};

export const activateCommand: ControlCommand<ComponentRequest> = {
  parse: parseComponentRequest,
  run: (running, request) =>
    inGmirrorsWords(async () => {
      const component = componentNamed(running, request.component);
      await running.members.activate(component);
      running.reconnect.wake(component);
      return null;
    }),
};

/** What is not connected is no component any more. The answer is a list of names. */
export const forgetCommand: ControlCommand<object> = {
  parse: () => ({}),
  run: (running) => inGmirrorsWords(() => running.members.forget()),
};

/** The end of a mirror, with its labels and private areas. The answer is a list of NotErased. */
export const destroyCommand: ControlCommand<{ readonly isForced: boolean }> = {
  parse: (fields) => ({ isForced: flagField(fields, 'isForced') }),
  async run(running, { isForced }) {
    if (!isForced) requireUnused(running, 'let them go first, or add -f to destroy it all the same');
    return await running.destroy();
  },
};

/** What a person may ask and can't have is told as it is. */
export async function inGmirrorsWords<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof MembershipError || cause instanceof DeviceError || cause instanceof ProtocolError) {
      throw new ControlError(cause.message, { cause });
    }
    throw cause;
  }
}
