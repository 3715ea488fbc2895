import { randomBytes } from 'node:crypto';

/** Chance is given, not taken, so that tests can repeat it. */
export interface RandomSource {
  /** An integer from 0 to 2^32 - 1. */
  nextU32(): number;
  /** Fresh memory, owned by the caller. */
  nextBytes(lengthBytes: number): Buffer;
}

export const systemRandom: RandomSource = {
  nextU32: () => randomBytes(4).readUInt32BE(0),
  nextBytes: (lengthBytes) => randomBytes(lengthBytes),
};
