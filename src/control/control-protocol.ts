import { ProtocolError } from '../protocol/errors.js';

/**
 * What is spoken on a mirror's control socket: a JSON object a line, requests from the administrator's command (see
 * commands/all.ts) and one answer to each, in order. Unknown fields are ignored.
 */
export type Fields = Readonly<Record<string, unknown>>;

export type ControlAnswer =
  | { readonly ok: true; readonly result: unknown }
  /** One line for people. */
  | { readonly ok: false; readonly message: string; readonly isForceWanted: boolean };

/** `line` is without its end. Throws PROTOCOL_FORMAT for what is no answer. */
export function parseAnswer(line: string): ControlAnswer {
  const { ok, result, message, isForceWanted } = parseObject(line, 'answer');
  if (ok === true) return { ok, result };
  if (ok === false && typeof message === 'string')
    return { ok, message, isForceWanted: isForceWanted === true };
  throw new ProtocolError('PROTOCOL_FORMAT', 'the daemon sent no control answer');
}

export const encodeLine = (message: object): string => `${JSON.stringify(message)}\n`;

/** Throws PROTOCOL_FORMAT for what is no JSON object. `what` it should be is for the message. */
export function parseObject(line: string, what: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new ProtocolError('PROTOCOL_FORMAT', `the control ${what} is no JSON`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ProtocolError('PROTOCOL_FORMAT', `the control ${what} is no JSON object`);
  }
  return value as Fields;
}

/** Cuts what arrives into lines. Throws PROTOCOL_RANGE for one longer than `lineBytesMax`. */
export class LineReader {
  #rest: Buffer = Buffer.alloc(0);

  constructor(private readonly lineBytesMax: number) {}

  /** Takes over `chunk`. Lines are without their ends. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
      this.#check(end);
      lines.push(bytes.toString('utf8', 0, end));
      bytes = bytes.subarray(end + 1);
    }
    this.#check(bytes.length);
    this.#rest = bytes;
    return lines;
  }

  #check(lengthBytes: number): void {
    if (lengthBytes <= this.lineBytesMax) return;
    throw new ProtocolError('PROTOCOL_RANGE', `a line of more than ${this.lineBytesMax} bytes`);
  }
}
