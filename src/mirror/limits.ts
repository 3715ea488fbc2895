import { EXTENT_SIZE_BYTES } from '../protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../protocol/geometry.js';

/** Every bound of the mirror, with its reason. */

/** One read or write of bitmap blocks: few requests for a large medium, and little memory. */
export const AREA_TRANSFER_BYTES = 1_048_576;

/** Writes to the area at once: enough to fill a link, and few enough not to delay other writes. */
export const AREA_IN_FLIGHT_MAX = 32;
export const AREA_IN_FLIGHT_BYTES = 2 * AREA_TRANSFER_BYTES;

/** Each connection that is lost leaves one at most, and what is found when the next one stands is one of the last. */
export const UNANSWERED_SUPERBLOCKS_MAX = 8;

/**
 * What a resync or a verify has in flight while callers are quiet: as much as `ggmirror copy`, which is what a link of
 * 1 Gbit/s holds at a round trip of 33 ms.
 */
export const IN_FLIGHT_MAX = 16;
export const PIECE_REGIONS = 4;
export const PIECE_BYTES = PIECE_REGIONS * REGION_SIZE_BYTES;

/** A piece while callers are busy: what is in their way is done in less than a millisecond. */
export const GENTLE_REGIONS = 1;

/** What a crash can make a resync do again: this long, or this part of it, but not more often than it is worth a flush. */
export const CHECKPOINT_MS = 5_000;
export const CHECKPOINT_PART = 32;
export const CHECKPOINT_BYTES_MIN = 64 * 1_048_576;

/**
 * A longer trim or write-zeroes reaches the components in pieces, an extent of the activity log each: clients may ask for
 * 4 GiB at once, for which a component may need longer than its time-out, and which the log may have no room for.
 */
export const CLEAR_PIECE_BYTES = EXTENT_SIZE_BYTES;

/** Pieces of one request under way: 16 MiB, which a component that must be sent the zeroes may have to take at once. */
export const CLEAR_PIECES_MAX = 4;
