import type { AreaStore } from './area-store.js';
import type { ImageTime } from './provider.js';

/** The coarsest time that a file system keeps is FAT's, of two seconds. */
const GRAIN_NS = 2_000_000_000n;

/**
 * The time that an image written at `modifiedNs` is given at the end of a run: every file system keeps it to the
 * nanosecond, and whoever writes to the image later gives it another one, however coarse the clock.
 */
export const restingTimeNs = (modifiedNs: bigint): bigint => (modifiedNs / GRAIN_NS) * GRAIN_NS - GRAIN_NS;

/**
 * Lets the superblock and the file agree about when the image was written last, so that the next start sees whether
 * somebody else wrote it since. The caller has written everything, and writes nothing afterwards. Where the file takes no
 * such time (it is another user's) the superblock goes on saying that it is unknown. Rejects with DeviceError.
 */
export async function sealImage(area: AreaStore, image: ImageTime): Promise<void> {
  const restingNs = await tryTime(image);
  if (restingNs === null) return;
  await area.writeSuperblock({ modifiedNs: restingNs });
  // The superblock may be in the image, and has changed its time then. After a crash right here a person is asked.
  await image.setModifiedNs(restingNs);
}

/** Null if it would not be kept. */
async function tryTime(image: ImageTime): Promise<bigint | null> {
  try {
    const modifiedNs = await image.modifiedNs();
    if (modifiedNs === null) return null;
    const restingNs = restingTimeNs(modifiedNs);
    await image.setModifiedNs(restingNs);
    return restingNs > 0n && (await image.modifiedNs()) === restingNs ? restingNs : null;
  } catch {
    return null;
  }
}
