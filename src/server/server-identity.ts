import { bootId as systemBootId } from '../device/platform/boot-id.js';
import type { RandomSource } from '../device/random.js';
import { FEATURE, Features, ID_SIZE_BYTES, type CapabilityPacket } from '../protocol/capabilities.js';
import { REQUEST_BYTES_MAX } from '../protocol/request.js';
import { SESSION_KEEP_ALIVE_MS, SESSION_REQUESTS_MAX } from './limits.js';

/** How a client tells this start of the server, and this boot of its host, from others. 16 bytes each. */
export interface ServerIdentity {
  readonly instanceId: Buffer;
  readonly bootId: Buffer;
}

/** Once a process. The instance id is drawn anew each time. */
export const createServerIdentity = (
  random: RandomSource,
  bootId: Buffer = systemBootId().bytes,
): ServerIdentity => ({ instanceId: random.nextBytes(ID_SIZE_BYTES), bootId });

/**
 * What both halves of a session are told after a hello. The features are those in force: what the client and the export
 * can do.
 */
export function serverCapabilities(
  identity: ServerIdentity,
  hello: CapabilityPacket,
  media: { readonly features?: Features },
): CapabilityPacket {
  const features = (media.features ?? Features.all).and(hello.features);
  return {
    features,
    instanceId: identity.instanceId,
    bootId: identity.bootId,
    requestBytesMax: REQUEST_BYTES_MAX,
    keepAliveMs: features.has(FEATURE.keepAlive) ? SESSION_KEEP_ALIVE_MS : 0,
    requestsMax: SESSION_REQUESTS_MAX,
  };
}
