import { ProtocolError } from '../../protocol/errors.js';
import type { Fields } from '../control-protocol.js';
import type { RunningMirror } from '../running-mirror.js';

/** What administrators may ask of a running mirror. A new one is a file here and a line in all.ts. */
export interface ControlCommand<Request> {
  /** Takes what it needs out of a request; other fields are ignored. Throws PROTOCOL_FORMAT. */
  parse(fields: Fields): Request;
  /** What it resolves with becomes JSON. Rejects with ControlError for what can't be had. */
  run(running: RunningMirror, request: Request): Promise<unknown>;
}

/** Throws PROTOCOL_FORMAT unless the field is a text. */
export function textField(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === 'string') return value;
  throw new ProtocolError('PROTOCOL_FORMAT', `the control request has no text '${name}'`);
}

/** A field that is left out is false. */
export const flagField = (fields: Fields, name: string): boolean => fields[name] === true;

/** Throws PROTOCOL_FORMAT unless the field is a whole number from `min` to `max`. */
export function numberField(
  fields: Fields,
  name: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const value = fields[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ProtocolError('PROTOCOL_FORMAT', `the control request has no '${name}' from ${min} to ${max}`);
}
