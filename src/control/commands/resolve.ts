import type { Component } from '../../mirror/component.js';
import { ControlError } from '../control-error.js';
import { componentNamed, type RunningMirror } from '../running-mirror.js';
import { flagField, textField, type ControlCommand } from './command.js';

interface ResolveRequest {
  /** Name or UUID of a component that was refused; what only it has is given up. */
  readonly component: string;
  /** False: nothing is done but to tell what would be. */
  readonly isForced: boolean;
}

/** What is done, or would be. */
export interface ResolvePlan {
  /** Components in step: theirs is the data that stays. */
  readonly kept: readonly string[];
  readonly overwritten: readonly { readonly name: string; readonly copyBytes: number }[];
}

/** Settles a split brain: neither side was touched until now, and one is overwritten where either was written. */
export const resolveCommand: ControlCommand<ResolveRequest> = {
  parse: (fields) => ({
    component: textField(fields, 'component'),
    isForced: flagField(fields, 'isForced'),
  }),
  async run(running, { component: name, isForced }) {
    const component = componentNamed(running, name);
    const plan = planOf(running, component);
    if (!isForced) return plan;
    await running.reconnect.discard(component);
    if (component.isConnected) return plan;
    throw new ControlError(`${component.name} was not taken in: ${component.trouble ?? 'it is gone'}`);
  },
};

function planOf({ name, mirror }: RunningMirror, component: Component): ResolvePlan {
  const { refused } = component;
  if (refused === null || component.isConnected) {
    throw new ControlError(
      `mirror/${name} has nothing to settle with ${component.name}, which is ${component.state}`,
    );
  }
  const { copyBytes } = refused;
  if (copyBytes === null) {
    throw new ControlError(
      `${component.name} belongs to another mirror; it is never overwritten by this command`,
    );
  }
  return {
    kept: mirror.active.map((one) => one.name),
    overwritten: [{ name: component.name, copyBytes }],
  };
}
