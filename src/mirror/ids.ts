import type { RandomSource } from '../device/random.js';
import { AREA_ID_BYTES } from '../protocol/area-block.js';
import { UUID_BYTES, type Uuid } from '../protocol/superblock.js';

/** What stands for a UUID in a label: its first four bytes. Source: docs/on-disk-format.md. */
const LABEL_ID_BYTES = 4;

/** For a mirror, a component or a generation. */
export const newUuid = (random: RandomSource): Uuid => random.nextBytes(UUID_BYTES).toString('hex');

/** The number in a label that stands for a UUID. */
export const labelIdOf = (uuid: Uuid): number => Number.parseInt(uuid.slice(0, 2 * LABEL_ID_BYTES), 16);

/** A new UUID that this number in a label stands for. */
export const uuidOfLabelId = (id: number, random: RandomSource): Uuid =>
  id.toString(16).padStart(2 * LABEL_ID_BYTES, '0') +
  random.nextBytes(UUID_BYTES - LABEL_ID_BYTES).toString('hex');

/** Tells the blocks of a new private area from those that an earlier one has left in its place. */
export const newAreaId = (random: RandomSource): Buffer => random.nextBytes(AREA_ID_BYTES);
