import { HEADER, encodeHeader } from '../../src/protocol/request.js';

/** One request as a client sends it; a write carries its payload. */
export function request(
  command: number,
  offsetBytes: number,
  lengthBytes: number,
  seq: number,
  payload: Buffer | null = null,
): Buffer {
  const header = Buffer.alloc(HEADER.sizeBytes);
  encodeHeader(header, 0, { command, offsetBytes, lengthBytes }, seq);
  return payload === null ? header : Buffer.concat([header, payload]);
}

export interface Reply {
  readonly command: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly seq: number;
  readonly errorNumber: number;
  readonly body: Buffer;
}

/** Takes apart what a server sent. `bodyBytes` says how much follows a header without error. */
export function replies(
  bytes: Buffer,
  bodyBytes: (command: number, lengthBytes: number) => number = (command, lengthBytes) =>
    command === 0 ? lengthBytes : 0,
): Reply[] {
  const all: Reply[] = [];
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < HEADER.sizeBytes) throw new Error('a cut reply header');
    const command = bytes.readUInt8(at);
    const lengthBytes = bytes.readUInt32BE(at + HEADER.lengthAt);
    const errorNumber = bytes.readUInt16BE(at + HEADER.errorAt);
    const size = errorNumber === 0 ? bodyBytes(command, lengthBytes) : 0;
    const body = bytes.subarray(at + HEADER.sizeBytes, at + HEADER.sizeBytes + size);
    if (body.length < size) throw new Error('a cut reply body');
    all.push({
      command,
      offsetBytes: Number(bytes.readBigUInt64BE(at + HEADER.offsetAt)),
      lengthBytes,
      seq: Number(bytes.readBigUInt64BE(at + HEADER.seqAt)),
      errorNumber,
      body,
    });
    at += HEADER.sizeBytes + size;
  }
  return all;
}
