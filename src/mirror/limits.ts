/** Every bound of the mirror, with its reason. */

/** One read of bitmap blocks: few requests for a large medium, and little memory. */
export const AREA_TRANSFER_BYTES = 1_048_576;

/** Blocks of the area written at once: enough to fill a link, and few enough not to delay other writes. */
export const AREA_IN_FLIGHT_MAX = 32;
