import { open } from 'node:fs/promises';
import { probeMedia } from '../device/media.js';
import { probeTrim } from '../device/slow-operations.js';
import { FEATURE, Features } from '../protocol/capabilities.js';
import type { AccessMode } from '../protocol/handshake.js';
import type { ProbedMedia } from './guarded-probe.js';

/** What a handshake tells of an export. Throws DeviceError with the errno of the open. */
export async function probeExport(path: string, access: AccessMode): Promise<ProbedMedia> {
  const { kind, mediaSizeBytes, sectorSizeBytes } = await probeMedia(path, access);
  const untrimmed = { mediaSizeBytes, sectorSizeBytes, features: Features.all.without(FEATURE.trim) };
  if (access === 'ro') return untrimmed;
  const file = await open(path, 'r+').catch(() => null);
  // Without leave to read it a write-only session can still write; then nothing is known of holes.
  if (file === null) return untrimmed;
  try {
    const canTrim = await probeTrim({ fd: file.fd, name: path, kind });
    return canTrim ? { mediaSizeBytes, sectorSizeBytes } : untrimmed;
  } finally {
    await file.close();
  }
}
