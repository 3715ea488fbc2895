/**
 * Requests in shared memory at once, unless the opener says otherwise; more wait on this side. A thread does one at a
 * time, so they only have to last until the event loop comes round again.
 */
export const REQUESTS_MAX = 256;

/** Payload in shared memory at once: what a disk moves in a millisecond, and small enough for a processor's cache. */
export const PAYLOAD_BYTES = 4_194_304;

/** A longer transfer is done in pieces, one after the other. */
export const PIECE_BYTES_MAX = 524_288;

/**
 * A longer trim, zeroing or checksum is done in pieces, so that one which is abandoned ends with the piece that it is
 * at. A multiple of the region size.
 */
export const SLOW_PIECE_BYTES_MAX = 134_217_728;

/**
 * The event loop is woken when all is done, or when something has been done for this long. Waking it costs both sides
 * more than a read from the page cache does (measured on two cores: woken after every request, 32 deep random reads come
 * to two thirds of the rate and writes to half).
 */
export const TELL_AFTER_MS = 0.25;
