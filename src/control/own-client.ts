import type { RandomSource } from '../device/random.js';
import { ID_SIZE_BYTES } from '../protocol/capabilities.js';

/** One client of a ggate server: what knows its instance id may take its session over. */
export interface OwnClient {
  /** Of RemoteOptions. */
  readonly instanceId: Buffer;
  /** Nobody sends anything as this client any more. To be set by whoever took it. */
  isFree: boolean;
}

/**
 * As whom a provider is opened time and again: as the same client, so that its server ends at once what a lost connection
 * has left there of a session. But who has it open keeps everybody out, us too: until that is over we are another client.
 */
export class OwnClients {
  #last: OwnClient | null = null;

  constructor(private readonly random: RandomSource) {}

  /** It is not free any more. */
  take(): OwnClient {
    if (this.#last?.isFree !== true)
      this.#last = { instanceId: this.random.nextBytes(ID_SIZE_BYTES), isFree: false };
    this.#last.isFree = false;
    return this.#last;
  }
}
