import type { GgateStatus } from '../../control/front-ends.js';
import { formatGgateUri } from '../../protocol/uri.js';
import type { NbdAddress } from '../../server/nbd/nbd-server.js';

/** How NBD clients write where a mirror is. Source: the NBD project's doc/uri.md. */
export function nbdUri(name: string, address: NbdAddress): string {
  if ('unixPath' in address) return `nbd+unix:///${name}?socket=${address.unixPath}`;
  const { host, port, isTls } = address;
  return `${isTls ? 'nbds' : 'nbd'}://${host.includes(':') ? `[${host}]` : host}:${port}/${name}`;
}

/** Where a mirror is for ggate clients, one for each address that is listened on; none without ggate. */
export const ggateUris = (ggate: GgateStatus | null): string[] =>
  (ggate?.addresses ?? []).map(({ address: host, port, isTls }) =>
    formatGgateUri({ host, port, path: ggate?.path ?? '', isTls }),
  );
