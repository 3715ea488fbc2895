/** Silence within a request that ends the session: ggated's receive time-out (ggate protocol spec, section 1). */
export const STUCK_MS_MAX = 8_000;

/** How long a client may leave its answers untaken. */
export const SEND_TIMEOUT_MS = 60_000;

/** Silence that ends a session with keep-alive, in intervals of it. */
export const KEEP_ALIVE_MISSES = 3;

/** How long a client is kept for the flush at the end of its session. */
export const END_FLUSH_MS_MAX = 8_000;
