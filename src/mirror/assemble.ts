import type { AssembleOptions, AssembledMirror } from './assembled.js';

export type { AssembleOptions, AssembledMirror, OpenedProvider, ProviderOpener } from './assembled.js';
export { AssembleError } from './assembled.js';

/** Starts a mirror from its providers. Rejects with AssembleError or DeviceError; everything is closed again then. */
export function assemble(options: AssembleOptions): Promise<AssembledMirror> {
  return Promise.reject(new Error(`${options.name}: not there yet`));
}
