import type { Socket } from 'node:net';
import { type ErrnoName, toWireErrno } from '../protocol/errno.js';
import { encodeServerInitial } from '../protocol/handshake.js';
import type { PairedHalves } from './halves.js';
import { REFUSAL_LINGER_MS } from './limits.js';

/** The half that still waits for its initial packet, and the other one. */
export function lastAndFirst(halves: PairedHalves): [Socket, Socket] {
  return halves.last === 'receive' ? [halves.receive, halves.send] : [halves.send, halves.receive];
}

/** Tells the last half why there is no session, and closes both. */
export function refuseHalves(halves: PairedHalves, errno: ErrnoName): void {
  const errorNumber = toWireErrno(errno);
  const packet = encodeServerInitial({ mediaSizeBytes: 0, sectorSizeBytes: 0, errorNumber });
  const [last, first] = lastAndFirst(halves);
  first.destroy();
  last.end(packet);
  last.setTimeout(REFUSAL_LINGER_MS, () => last.destroy());
  last.resume();
}
