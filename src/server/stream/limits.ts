/** What one client's requests may keep in memory; for NBD and ggate alike. */

/** Requests of one connection that wait for the device or whose answers wait for the client. The kernel sends 128. */
export const WINDOW_REQUESTS_MAX = 128;

/** Their bytes, soft by one request. nbdcopy has 64 requests of 256 KiB under way. */
export const WINDOW_BYTES_MAX = 16_777_216;

/**
 * Replies, and payloads that came in several parts, share memory of this size. A slow request keeps one of these from
 * being used again, so a connection holds at most WINDOW_REQUESTS_MAX of them: 64 MiB, on a device that answers
 * everything except one request in a thousand.
 */
export const SLAB_BYTES = 524_288;

/** Longer things get memory of their own: it costs them less, and would use a slab up. */
export const SLAB_SHARE_BYTES_MAX = 262_144;

/** Unused slabs that are kept, for all connections together. */
export const FREE_SLABS_MAX = 16;

/** Answers are sent when they are this long together, so that the client begins while we go on. */
export const SEND_BYTES = 65_536;

/** How long a client may take to read its last answers and close. */
export const LINGER_MS = 2_000;
