/** A request is one line; the longest has a component's name, which is a path or a URI. */
export const REQUEST_BYTES_MAX = 16_384;

/** The status of a mirror of eight components takes a few KiB. */
export const ANSWER_BYTES_MAX = 1_048_576;

/** Administrators and scripts that look at the same time; the others are turned away. */
export const CONNECTIONS_MAX = 32;

/** How long a connection may take to send a request, or to take an answer. */
export const IDLE_MS = 10_000;

/** How long the last answers have to arrive when the daemon ends. */
export const CLOSE_MS = 2_000;

/** What an administrator waits for a daemon that should answer at once. */
export const ANSWER_MS = 10_000;

/** What `stop` may take: slow clients, a flush of a cache full of writes, labels. */
export const STOP_MS = 60_000;

/** First and longest wait before a component that went away is tried again. */
export const RECONNECT_FIRST_MS = 1_000;
export const RECONNECT_MAX_MS = 30_000;

/**
 * What opening an export may take at least, however short the time-out of its component: a host that has just come up, or
 * whose disk is busy, takes seconds to let somebody in, and nobody's request waits for that.
 */
export const CONNECT_MS_MIN = 10_000;

/** How long `insert` waits for an attempt that is under way: longer than an answer takes, shorter than STOP_MS. */
export const ATTEMPT_MS_MAX = 20_000;

/** How often a mirror that waits for components looks whether they are there. */
export const START_POLL_MS = 2_000;

/** Without writes for this long labels are made clean, as the kernel's mirror does. */
export const IDLE_CLEAN_MS = 5_000;

/** Hot extents of 4 MiB: 1 GiB of working set, and what a crash costs to compare at most. */
export const EXTENTS_MAX = 256;

/** The sun_path of Linux has 108 bytes with its NUL, FreeBSD's 104. */
export const SOCKET_PATH_BYTES_MAX = 103;

/** What a running mirror's users wait for at most while it is resized, on a disk that has to be sent zeros: some seconds. */
export const RESIZE_SENT_BYTES_MAX = 256 * 1_048_576;

/** How long ggate clients' requests have to be finished when the mirror ends. */
export const GGATE_DRAIN_MS = 10_000;

/** A mirror drops what is silent, but for its last component. What takes longer, and thrice its time-out, has failed. */
export const DEVICE_TIMEOUT_MS_MIN = 30_000;
/** What a hook may take, and how many events may wait for it. */
export const HOOK_MS = 60_000;
export const HOOKS_WAITING_MAX = 32;

/** How long the end of a mirror waits for its hook. */
export const HOOK_CLOSE_MS = 5_000;
