/** What an NBD client may cost us. None of these can be set by an administrator. */

/** Longest option that is looked at: a name of 4096 bytes and every item that can be asked about it. */
export const OPTION_BYTES_MAX = 8_192;

/** A longer option is read, forgotten and refused, up to this; who announces more speaks another protocol. */
export const OPTION_SKIP_BYTES_MAX = 65_536;

/** Real clients send six at most; each LIST costs us an answer. */
export const OPTIONS_MAX = 64;

/** Connections past their handshake. Clients open one, nbdcopy four, a kernel one for each processor. */
export const CONNECTIONS_MAX = 64;

/** A longer request reaches the device in pieces, so that it can't keep others from it for long. */
export const PIECE_BYTES = 1_048_576;

/** Pieces of one request under way at once. */
export const PIECES_AT_ONCE = 4;

/** How long a server that ends waits for the devices' answers to requests under way. */
export const CLOSE_DRAIN_MS = 10_000;

/** A device that fails fails often; one line in this time for each export and kind of request. */
export const FAILURE_LOG_INTERVAL_MS = 10_000;

/** What one read takes at most of a client that negotiates. */
export const HANDSHAKE_READ_BYTES = 4_096;

/**
 * And then: 16 writes of 4 KiB with their headers. More would save system calls and cost more than that: a client with 32
 * small writes under way, and whoever the device passes them on to, would wait for each other in turn, where they work at
 * the same time with half of them each. With 64 KiB the 16th is cut in two, and they come as 15, 16 and 1.
 */
export const READ_BYTES_MAX = 65_984;

/** With less room than this a read gets another slab: a small request that comes in two parts is copied. */
export const READ_BYTES_MIN = READ_BYTES_MAX;
