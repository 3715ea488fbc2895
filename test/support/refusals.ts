import { COMMAND, REQUEST_BYTES_MAX } from '../../src/protocol/request.js';

/** What every kind of session answers to what it may not be asked, on a medium of `mediaSizeBytes`, without a hello. */
export const refusals = (
  mediaSizeBytes: number,
): readonly { what: string; command: number; offset: number; length: number; errno: number }[] => [
  { what: 'a length over the limit', command: 0, offset: 0, length: REQUEST_BYTES_MAX + 512, errno: 22 },
  { what: 'a length that is no multiple of the sector', command: 0, offset: 0, length: 100, errno: 22 },
  { what: 'an offset that is no multiple of the sector', command: 0, offset: 1, length: 512, errno: 22 },
  { what: 'the sector behind the end', command: 0, offset: mediaSizeBytes, length: 512, errno: 22 },
  { what: 'a range across the end', command: 0, offset: mediaSizeBytes - 512, length: 1024, errno: 22 },
  {
    what: 'an offset whose end wraps',
    command: 0,
    offset: Number.MAX_SAFE_INTEGER - 511,
    length: 512,
    errno: 22,
  },
  { what: 'an unknown command', command: 2, offset: 0, length: 0, errno: 45 },
  { what: 'an unknown command with a length', command: 200, offset: 0, length: 4096, errno: 45 },
  { what: 'a command of ours without a hello', command: COMMAND.trim, offset: 0, length: 4096, errno: 45 },
  {
    what: 'a zero-length read behind the end',
    command: 0,
    offset: mediaSizeBytes + 512,
    length: 0,
    errno: 22,
  },
  { what: 'a flush with a length', command: COMMAND.flush, offset: 0, length: 512, errno: 22 },
];
