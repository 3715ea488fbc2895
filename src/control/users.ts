import { DeviceError } from '../device/block-device.js';
import { AssembleError } from '../mirror/start/assemble.js';
import type { ProviderOpener } from '../mirror/area/provider.js';

/** Remote components that could not be opened because somebody else has them: the mirror may run on their machine. */
export class Users {
  readonly #used = new Map<string, DeviceError>();

  /** The same opener, which notes that. */
  watch(opener: ProviderOpener): ProviderOpener {
    if (opener.isLocal) return opener;
    const open = async (): ReturnType<ProviderOpener['open']> => {
      this.#used.delete(opener.name);
      try {
        return await opener.open();
      } catch (error) {
        if (error instanceof DeviceError && error.errno === 'EBUSY') this.#used.set(opener.name, error);
        throw error;
      }
    };
    return { ...opener, open };
  }

  /** Throws ASSEMBLE_MISSING if there is one. */
  requireNone(): void {
    const [first] = this.#used;
    if (first === undefined) return;
    const [name, cause] = first;
    const message =
      `${name} is in use by somebody else: the mirror may run there, and would be written on both sides; ` +
      `demote or stop it there first (${cause.message})`;
    throw new AssembleError('ASSEMBLE_MISSING', message, { cause });
  }
}
