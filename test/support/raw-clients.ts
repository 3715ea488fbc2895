import { type CapabilityPacket, Features } from '../../src/protocol/capabilities.js';
import { COMMAND } from '../../src/protocol/request.js';
import { RawClient } from './raw-client.js';
import { request } from './requests.js';

type Options = Parameters<typeof RawClient.attach>[0];

/** Of a client that knows all extensions. */
export const helloOf = (id: number): CapabilityPacket => ({
  features: Features.all,
  instanceId: Buffer.alloc(16, id),
  bootId: Buffer.alloc(16),
  requestBytesMax: 1_048_576,
  keepAliveMs: 5000,
  requestsMax: 64,
});

/** The clients of one test, which are gone after it. */
export class RawClients {
  readonly #all: RawClient[] = [];

  /** `target`: where they attach unless they say otherwise. */
  constructor(private readonly target: () => Pick<Options, 'port' | 'path'>) {}

  /** The errno of the refusal; 0 for a client that is let in. */
  async attempt(options: Partial<Options> = {}): Promise<number> {
    const outcome = await RawClient.attach({ ...this.target(), ...options });
    if (typeof outcome === 'number') return outcome;
    this.#all.push(outcome);
    return 0;
  }

  async attach(options: Partial<Options> = {}): Promise<RawClient> {
    const client = await RawClient.mustAttach({ ...this.target(), ...options });
    this.#all.push(client);
    return client;
  }

  /** One after another, each as soon as the one before has gone. Resolves with the errnos of their writes. */
  async comeAndGo(count: number): Promise<(number | undefined)[]> {
    const errnos: (number | undefined)[] = [];
    for (let round = 0; round < count; round++) {
      const client = await this.attach();
      client.write(request(COMMAND.write, 0, 512, 1, Buffer.alloc(512, round)));
      errnos.push((await client.reply())?.errorNumber);
      client.close();
    }
    return errnos;
  }

  close(): void {
    for (const client of this.#all.splice(0)) client.close();
  }
}
