/** What an NBD client may cost us. None of these can be set by an administrator. */

/** Longest option that is looked at: a name of 4096 bytes and every item that can be asked about it. */
export const OPTION_BYTES_MAX = 8_192;

/** A longer option is read, forgotten and refused, up to this; who announces more speaks another protocol. */
export const OPTION_SKIP_BYTES_MAX = 65_536;

/** Real clients send six at most; each LIST costs us an answer. */
export const OPTIONS_MAX = 64;

/** Connections past their handshake. Clients open one, nbdcopy four, a kernel one for each processor. */
export const CONNECTIONS_MAX = 64;

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

/** A longer request reaches the device in pieces, so that it can't keep others from it for long. */
export const PIECE_BYTES = 1_048_576;

/** Pieces of one request under way at once. */
export const PIECES_AT_ONCE = 4;

/** How long a server that ends waits for the devices' answers to requests under way. */
export const CLOSE_DRAIN_MS = 10_000;

/** How long a client may take to read its last answers and close. */
export const LINGER_MS = 2_000;

/** A device that fails fails often; one line in this time for each export and kind of request. */
export const FAILURE_LOG_INTERVAL_MS = 10_000;
