import { ProtocolError } from '../../protocol/errors.js';
import type { SessionStatus } from '../../server/running-session.js';
import { ReleaseError, type Released } from '../../server/session-supervisor.js';
import { flagField, textField } from '../commands/command.js';
import { ControlError } from '../control-error.js';
import { parseObject } from '../control-protocol.js';

/** What is asked of a running `ggmirror serve` on its control socket. */
export type ServeRequest =
  | { readonly command: 'list' }
  /** Lets go of an image, for a mirror of this machine: see SessionSupervisor.release(). `path` is absolute. */
  | {
      readonly command: 'release';
      readonly path: string;
      readonly holder: string;
      readonly isForced: boolean;
    }
  /** Serves again what that holder has; all of it if `path` is null. */
  | { readonly command: 'take-back'; readonly holder: string; readonly path: string | null };

/** The answer to 'list'. */
export interface ServeStatus {
  readonly pid: number;
  readonly released: readonly Released[];
  readonly sessions: readonly SessionStatus[];
}

/** The answer to 'release': false if that holder has had it before. */
export interface ReleaseAnswer {
  readonly isNew: boolean;
}

/** The sessions of a server, as its control socket sees them. */
export interface ServedSessions {
  readonly released: readonly Released[];
  list(): Promise<SessionStatus[]>;
  release(path: string, options: { readonly holder: string; readonly isForced: boolean }): Promise<boolean>;
  takeBack(holder: string, path: string | null): Promise<Released[]>;
}

/** `line` is without its end. Throws PROTOCOL_FORMAT for what is no request. */
export function parseServeRequest(line: string): ServeRequest {
  const fields = parseObject(line, 'request');
  const { command } = fields;
  if (command === 'list') return { command };
  if (command === 'release') {
    const [path, holder] = [textField(fields, 'path'), textField(fields, 'holder')];
    return { command, path, holder, isForced: flagField(fields, 'isForced') };
  }
  if (command === 'take-back') {
    const path = fields['path'] === null ? null : textField(fields, 'path');
    return { command, holder: textField(fields, 'holder'), path };
  }
  throw new ProtocolError('PROTOCOL_FORMAT', 'the control request has no known command');
}

/** What it resolves with is the answer. Rejects with ControlError for what can't be had. */
export async function performServeRequest(
  sessions: ServedSessions,
  request: ServeRequest,
  pid: number,
): Promise<ServeStatus | ReleaseAnswer | readonly Released[]> {
  if (request.command === 'list') {
    return { pid, released: sessions.released, sessions: await sessions.list() };
  }
  if (request.command === 'take-back') return await sessions.takeBack(request.holder, request.path);
  try {
    return { isNew: await sessions.release(request.path, request) };
  } catch (error) {
    if (error instanceof ReleaseError) throw new ControlError(error.message, { cause: error });
    throw error;
  }
}
