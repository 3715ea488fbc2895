/** Every bound of the client, with its reason. */

/** Requests in flight at once; a FreeBSD client's default queue is 1,024 but its kernel seldom fills it. */
export const WINDOW_REQUESTS_MAX = 256;

/** Payload in flight at once: the bandwidth-delay product of 10 Gbit/s at 6 ms. Soft by one request. */
export const WINDOW_BYTES_MAX = 8_388_608;

/**
 * Longest READ or WRITE that is sent; longer ones are split. Every server takes it: it is what a FreeBSD 12.1 kernel
 * sends at most, so a reconnect to another kind of server never has to split a pending request anew. Splitting costs
 * nothing measurable, since the pieces are pipelined.
 */
export const TRANSFER_BYTES_MAX = 131_072;

/** Longest WRITE_ZEROES that is sent: a server may have to write real zeroes, and must be done before the time-out. */
export const WRITE_ZEROES_BYTES_MAX = 33_554_432;

/** Longest TRIM that is sent; the length field has 32 bits. */
export const TRIM_BYTES_MAX = 1_073_741_824;

/** Larger sectors would not fit a whole number of times into a transfer and a region. */
export const SECTOR_BYTES_MAX = 65_536;

/** From this size on a write's payload goes to the kernel from where it lies; below, copying it is cheaper. */
export const GATHER_COPY_BYTES_MAX = 16_384;

/** Headers and small payloads of one turn of the event loop; a fuller turn takes a second buffer. */
export const SEND_BUFFER_BYTES = 262_144;

/** What one read from the kernel takes: a few large answers or thousands of small ones. */
export const RECEIVE_BUFFER_BYTES = 524_288;

/** The requests' half carries answers to nothing but its handshake. */
export const HANDSHAKE_BUFFER_BYTES = 4_096;

/** Idle time after which TCP asks whether the peer is still there; the only sign of life without a hello. */
export const TCP_KEEP_ALIVE_MS = 10_000;

/** How long close() waits for requests in flight, and then for the server to see the end. */
export const CLOSE_DRAIN_MS = 10_000;
export const CLOSE_LINGER_MS = 1_000;

/** A keep-alive interval below this would be traffic of its own. */
export const KEEP_ALIVE_MIN_MS = 100;

/** Servers whose answer to a flush probe is remembered. */
export const PROBED_SERVERS_MAX = 256;
