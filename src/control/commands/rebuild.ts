import { ControlError } from '../control-error.js';
import { droppedForRebuild } from '../reconnect.js';
import { componentNamed } from '../running-mirror.js';
import { textField, type ControlCommand } from './command.js';

interface RebuildRequest {
  /** Name or UUID. */
  readonly component: string;
}

/** What its sender gets. */
export interface RebuildAnswer {
  /** False if it has to come back before anything can be copied to it. */
  readonly isThere: boolean;
}

/** A component is not believed any more: it is dropped, and comes back for a copy of everything. */
export const rebuildCommand: ControlCommand<RebuildRequest> = {
  parse: (fields) => ({ component: textField(fields, 'component') }),
  async run(running, request) {
    const { name, mirror, reconnect } = running;
    const component = componentNamed(running, request.component);
    if (!mirror.components.some((one) => one !== component && one.state === 'ACTIVE')) {
      throw new ControlError(`${component.name} has the only good copy of mirror/${name}; nothing was done`);
    }
    if (component.refused !== null && component.refused.copyBytes !== null) {
      throw new ControlError(
        `${component.name}: ${component.trouble ?? component.refused.outcome}; nothing was done`,
      );
    }
    const answer: RebuildAnswer = { isThere: component.isConnected };
    component.isFull = true;
    component.missing.markAll();
    mirror.drop(component, droppedForRebuild(component));
    // A crash from here on must not end in a resync of only what was marked before.
    await mirror.journal.writeAll();
    reconnect.wantResync(component);
    return answer;
  },
};
