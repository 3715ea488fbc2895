import { ProtocolError } from '../../protocol/errors.js';
import { parseObject } from '../control-protocol.js';
import type { RunningMirror } from '../running-mirror.js';
import type { ControlCommand } from './command.js';
import { configureCommand, priorityCommand } from './configure.js';
import {
  activateCommand,
  deactivateCommand,
  destroyCommand,
  forgetCommand,
  insertCommand,
  removeCommand,
} from './members.js';
import { rebuildCommand } from './rebuild.js';
import { resizeCommand } from './resize.js';
import { resolveCommand } from './resolve.js';
import { statusCommand } from './status.js';
import { stopCommand } from './stop.js';
import { verifyCommand } from './verify.js';

const COMMANDS = {
  status: statusCommand,
  stop: stopCommand,
  rebuild: rebuildCommand,
  resize: resizeCommand,
  resolve: resolveCommand,
  insert: insertCommand,
  remove: removeCommand,
  deactivate: deactivateCommand,
  activate: activateCommand,
  forget: forgetCommand,
  destroy: destroyCommand,
  configure: configureCommand,
  priority: priorityCommand,
  verify: verifyCommand,
};

type Commands = typeof COMMANDS;
type FieldsOf<Command> = Command extends ControlCommand<infer Request> ? Request : never;

/** A request on a control socket: a command with its fields. */
export type ControlRequest = {
  [Name in keyof Commands]: { readonly command: Name } & FieldsOf<Commands[Name]>;
}[keyof Commands];

const isCommand = (name: unknown): name is keyof Commands =>
  typeof name === 'string' && Object.hasOwn(COMMANDS, name);

/** `line` is without its end. Throws PROTOCOL_FORMAT for what is no request. */
export function parseRequest(line: string): ControlRequest {
  const fields = parseObject(line, 'request');
  const { command } = fields;
  if (!isCommand(command)) {
    throw new ProtocolError('PROTOCOL_FORMAT', 'the control request has no known command');
  }
  return { command, ...COMMANDS[command].parse(fields) } as ControlRequest;
}

/** What it resolves with is the answer. Rejects with ControlError for what can't be had. */
export function performRequest(running: RunningMirror, request: ControlRequest): Promise<unknown> {
  // The request was made of what this very command parses.
  const command = COMMANDS[request.command] as ControlCommand<ControlRequest>;
  return command.run(running, request);
}
