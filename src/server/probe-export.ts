import { open } from 'node:fs/promises';
import { probeMedia } from '../device/media.js';
import { probeTrim } from '../device/slow-operations.js';
import type { AccessMode } from '../protocol/handshake.js';
import type { ProbedMedia } from './guarded-probe.js';

/** What a handshake tells of an export. Throws DeviceError with the errno of the open. */
export async function probeExport(path: string, access: AccessMode): Promise<ProbedMedia> {
  const { kind, mediaSizeBytes, sectorSizeBytes } = await probeMedia(path, access);
  if (access === 'ro') return { mediaSizeBytes, sectorSizeBytes, canTrim: false };
  const file = await open(path, 'r+').catch(() => null);
  // Without leave to read it a write-only session can still write; then nothing is known of holes.
  if (file === null) return { mediaSizeBytes, sectorSizeBytes, canTrim: false };
  try {
    const canTrim = await probeTrim({ fd: file.fd, name: path, kind });
    return { mediaSizeBytes, sectorSizeBytes, canTrim };
  } finally {
    await file.close();
  }
}
