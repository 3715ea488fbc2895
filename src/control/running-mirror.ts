import type { Component } from '../mirror/component.js';
import type { Membership, NotErased } from '../mirror/members/membership.js';
import type { Mirror } from '../mirror/mirror.js';
import type { ProviderOpener } from '../mirror/area/provider.js';
import type { Resized, ResizeOptions } from '../mirror/start/resize.js';
import type { ServerLog } from '../server/server-log.js';
import { ControlError } from './control-error.js';
import type { Reconnect } from './reconnect.js';
import type { MirrorStatus } from './status.js';

/** What a control command works on. */
export interface RunningMirror {
  /** Without 'mirror/'. */
  readonly name: string;
  readonly mirror: Mirror;
  readonly members: Membership;
  readonly reconnect: Reconnect;
  readonly log: ServerLog;
  /** Connected to its front ends. */
  readonly clientCount: number;
  status(): MirrorStatus;
  /** Ends the mirror cleanly, and after that the daemon. Resolves when the mirror has ended. */
  stop(): Promise<void>;
  /** Makes it larger; requests of its users wait meanwhile. Rejects with ControlError. */
  resize(size: ResizeOptions['size']): Promise<Resized>;
  /** As stop(), but labels and private areas are wiped between. Resolves with those that could not be. */
  destroy(): Promise<NotErased[]>;
  /** For a component as parseComponent() reads it. Throws PROTOCOL_FORMAT. */
  openerOf(text: string): ProviderOpener;
}

/** The component of that name or UUID. Throws ControlError if there is none. */
export function componentNamed({ name, mirror }: RunningMirror, text: string): Component {
  const component = mirror.components.find(({ identity }) => [identity.name, identity.uuid].includes(text));
  if (component !== undefined) return component;
  const known = mirror.components.map((one) => one.name).join(', ');
  throw new ControlError(`mirror/${name} has no component ${text}; it has ${known}`);
}

/** Throws ControlError while clients are connected, and names the way out, a clause of its own. */
export function requireUnused(
  { name, clientCount }: Pick<RunningMirror, 'name' | 'clientCount'>,
  wayOut: string,
): void {
  if (clientCount === 0) return;
  const who = clientCount === 1 ? 'a client' : `${clientCount} clients`;
  throw new ControlError(`mirror/${name} is in use by ${who}; ${wayOut}`);
}
