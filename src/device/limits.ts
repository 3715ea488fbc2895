/** Zeroes, trims and checksums are done in pieces of this many bytes where each byte costs time. */
export const SLOW_PIECE_BYTES = 1_048_576;

/**
 * Holes are punched in pieces of this size: it takes file systems milliseconds, and a request that is given up waits
 * for one piece at most.
 */
export const HOLE_PIECE_BYTES = 1_073_741_824;

/** Kernels that zero a disk for us may write every byte of it. */
export const ZERO_OUT_PIECE_BYTES = 33_554_432;

/** Flushes, trims, zeroes and checksums of one file under way at once; others wait. Each may hold one piece. */
export const SLOW_OPERATIONS_MAX = 4;

/** What may be written to a private area between two flushes; more costs a flush in between. */
export const KEPT_BYTES_MAX = 67_108_864;
