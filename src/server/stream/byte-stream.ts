/** Where answers go: what a socket, a TLS socket or a simulated link has in common. */
export interface AnswerStream {
  /** Bytes that were written and that nobody has taken yet. 0 right after a write means that it is through. */
  readonly writableLength: number;
  cork(): void;
  uncork(): void;
  /** `bytes` is lent until `sent` is called, which also happens when the stream is closed before. */
  write(bytes: Uint8Array, sent?: (error?: Error | null) => void): unknown;
}

/**
 * One connection of a session, in paused mode. After 'close' nothing comes any more; 'error' tells nothing that 'close'
 * would not. A Node Socket is one.
 */
export interface SessionStream extends AnswerStream {
  readonly destroyed: boolean;
  /** What comes as 'data' is the listener's to keep. */
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'end' | 'close' | 'error', listener: () => void): unknown;
  /** After this nothing comes as 'data' until resume(). */
  pause(): unknown;
  resume(): unknown;
  /** What was written is sent, then the peer hears of the end. */
  end(): unknown;
  /** Ends at once. */
  destroy(): unknown;
}
