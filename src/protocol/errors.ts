/** Everything that a peer's bytes, an exports file or a URI can get wrong. Callers branch on these. */
export type ProtocolErrorCode =
  | 'PROTOCOL_MAGIC' // not ggate at all
  | 'PROTOCOL_VERSION' // ggate, but a version that we do not speak
  | 'PROTOCOL_RANGE' // a number outside what its field may hold
  | 'PROTOCOL_FORMAT' // bytes or text that do not follow the grammar
  | 'PROTOCOL_UNEXPECTED'; // well formed, but not what may come now

/**
 * What came from outside does not follow its format. From the network it ends that session, from a file it is told to
 * the person with file and line; it never ends the daemon.
 */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  constructor(
    readonly code: ProtocolErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The message of an error for a sentence of our own; the stack of a bug stays with the error that is its cause. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Stops on a bug of ours. Never call it on input: what comes from outside gets a ProtocolError or an errno. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`bug: ${message}`);
}
