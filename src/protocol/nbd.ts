/**
 * Numbers of the NBD protocol. Everything is big-endian. Source: the protocol's document (proto.md of the NBD project),
 * "Transmission flags", "Option types", "Option reply types", "Request types", "Structured reply types".
 */

/** Bit values of the 16-bit field that tells a client what an export can do. */
export const NBD_TRANSMISSION_FLAG = {
  hasFlags: 2 ** 0,
  readOnly: 2 ** 1,
  sendFlush: 2 ** 2,
  sendFua: 2 ** 3,
  sendTrim: 2 ** 5,
  sendWriteZeroes: 2 ** 6,
  sendDf: 2 ** 7,
  canMultiConn: 2 ** 8,
} as const;

export const NBD_COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const;

/** Bit values of a request's flags. */
export const NBD_COMMAND_FLAG = { fua: 2 ** 0, noHole: 2 ** 1, df: 2 ** 2, fastZero: 2 ** 4 } as const;

export const NBD_OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  starttls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
} as const;

const OPTION_ERROR = 2 ** 31;

export const NBD_OPTION_REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  errorUnsupported: OPTION_ERROR + 1,
  errorPolicy: OPTION_ERROR + 2,
  errorInvalid: OPTION_ERROR + 3,
  errorTlsRequired: OPTION_ERROR + 5,
  errorUnknown: OPTION_ERROR + 6,
  errorShutdown: OPTION_ERROR + 7,
  errorTooBig: OPTION_ERROR + 9,
} as const;

export type NbdOptionReply = (typeof NBD_OPTION_REPLY)[keyof typeof NBD_OPTION_REPLY];

export const NBD_INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** Longest name, description or message that the protocol allows. */
export const NBD_STRING_BYTES_MAX = 4096;

/** Longest READ or WRITE: what the protocol asks every server to take. */
export const NBD_PAYLOAD_BYTES_MAX = 33_554_432;

/** Whether the bit of value `bit` is set in `flags`, which has at most 32 of them. */
export const hasBit = (flags: number, bit: number): boolean => Math.floor(flags / bit) % 2 === 1;
