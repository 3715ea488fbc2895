import type { AccessMode } from '../../protocol/handshake.js';
import type { Counters } from './memory.js';
import type { EndReason } from './engine.js';

/** What the daemon tells a new session process; the connections are its file descriptors 0 and 1. */
export interface SessionConfig {
  readonly type: 'config';
  readonly path: string;
  readonly access: AccessMode;
  readonly peer: string;
  readonly mediaSizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly featureBits: number;
  /** Received with the handshake already, base64. */
  readonly early: string;
  /** A session of a client with keep-alive is over when it is silent for this long; 0 for never. */
  readonly silentMsMax: number;
  readonly diskTimeoutMs: number;
  /** Kernel's socket buffers; 0 leaves one as the system sizes it. */
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
  /** Whether other writers of the same file are let in. */
  readonly isShared: boolean;
  /** The folder of FlushNotes; null to keep none. */
  readonly flushNotes: string | null;
  /** A flush failed before this session, and no client was told: its first one fails. */
  readonly owesFlush: boolean;
}

/** From the daemon. */
export type ToSession =
  | SessionConfig
  /** After `ready`: the client has been sent its answer, requests may be served. */
  | { readonly type: 'welcomed' }
  /** No new requests; finish, answer, flush, end. */
  | { readonly type: 'stop' }
  | { readonly type: 'query' };

export interface SessionFacts extends Counters {
  readonly silentMs: number;
}

/** Why a session process ends: the engine's reasons and the watchdog's. */
export type SessionEnd =
  | EndReason
  | 'client silent'
  | 'stuck in a request'
  | 'client takes no answers'
  | 'daemon gone'
  | 'internal error';

/** To the daemon. */
export type FromSession =
  | { readonly type: 'ready' }
  /** The export can't be served after all: an errno's name and a sentence. */
  | { readonly type: 'refused'; readonly errno: string; readonly message: string }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly fields: Readonly<Record<string, string | number | boolean>>;
      readonly message: string;
    }
  /** Its client is gone or it was told to stop; it flushes and will be gone soon. */
  | { readonly type: 'ending' }
  | { readonly type: 'facts'; readonly facts: SessionFacts }
  | {
      readonly type: 'ended';
      readonly reason: SessionEnd;
      readonly facts: SessionFacts;
      readonly isFlushed: boolean;
      /** The next session's first flush has to fail. */
      readonly owesFlush: boolean;
    };

/** What the engine's thread tells the process's main thread. */
export type FromEngine =
  /** It is loaded, and waits for SessionMemory.welcome. */
  | { readonly type: 'ready' }
  | { readonly type: 'slow'; readonly header: Uint8Array }
  | { readonly type: 'refused'; readonly what: string; readonly errno: string; readonly untold: number }
  | {
      readonly type: 'failed';
      readonly what: string;
      readonly errno: string;
      readonly message: string;
      readonly untold: number;
    }
  /** Its answers are large enough that another thread should send them. */
  | { readonly type: 'wants a sender' }
  | { readonly type: 'over'; readonly reason: EndReason };
