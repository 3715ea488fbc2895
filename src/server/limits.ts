/**
 * What strangers may cost us before a session begins. None of these can be set by an administrator: they are generous
 * to every real client, and a longer wait never helped one.
 */

/** From accept() to the client's last handshake packet, TLS included. A far client needs four round trips. */
export const HANDSHAKE_MS = 10_000;

/** How long the first half waits for the second. ggated's age limit; ggatec opens the second one at once. */
export const PENDING_HALF_MS = 10_000;

/** Opening an export and asking for its size. A disk that takes longer is hung, and the client tries again anyway. */
export const PROBE_MS = 10_000;

/** How long a refused client may take to read why, before the connection is cut. */
export const REFUSAL_LINGER_MS = 2_000;

/**
 * Connections of one host (an IPv4 address or an IPv6 /64) that have no session yet. One more, and the oldest of them
 * goes: silent connections push out each other. A good client needs two, and they are the youngest.
 */
export const PENDING_PER_HOST_MAX = 32;

/** The same for all hosts together. At most 64 KiB each in our buffers, so 32 MiB. */
export const PENDING_TOTAL_MAX = 512;

/** Connections that the kernel completes while we are busy; Node's own default, ggated has 5. */
export const LISTEN_BACKLOG = 511;

/** Idle time before the kernel asks whether the peer is alive. How often it asks then is the system's setting. */
export const TCP_KEEP_ALIVE_MS = 10_000;

/** Garbage and silence from one host are logged once in this time, with a count of what was left out. */
export const GARBAGE_LOG_INTERVAL_MS = 10_000;

/** Hosts that the log remembers for that. The oldest is forgotten first. */
export const GARBAGE_LOG_HOSTS_MAX = 1_024;

/** Failing accept() calls come in thousands when file descriptors run out. */
export const ACCEPT_ERROR_LOG_INTERVAL_MS = 60_000;

/** An exports file is read whole. One line takes about 50 bytes. */
export const EXPORTS_FILE_BYTES_MAX = 4_194_304;

/** All names of an exports file together; they are looked up at the same time. */
export const NAME_LOOKUP_MS = 10_000;

/** Offered in our capability packet: a session that is silent for three times this long is ended. */
export const SESSION_KEEP_ALIVE_MS = 5_000;

/** Offered in our capability packet. ggatec's default queue; more would only wait in socket buffers. */
export const SESSION_REQUESTS_MAX = 1_024;
