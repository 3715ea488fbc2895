import { flushWhereAble } from '../../device/request.js';
import { areaOffsetBytes, areaSizeBytes } from '../../protocol/area-layout.js';
import { decodeLabel, labelOffsetBytes } from '../../protocol/gmirror-label.js';
import type { Superblock } from '../../protocol/superblock.js';
import { AreaStore } from '../area/area-store.js';
import { Assembly, type PresentProvider } from './assembly.js';
import { readLabelSector, writeLabelSector } from '../area/component-store.js';
import type { ProviderOpener } from './provider.js';

/**
 * Where a resize was interrupted when some labels named the new size already, the others do so when this resolves: their
 * second areas are there. Not for one that was used since with its old size: that may know more than its second area.
 */
export async function finishResize(openers: readonly ProviderOpener[]): Promise<void> {
  const sizes = await sizesOf(openers);
  const newest = Math.max(...sizes.values());
  for (const [opener, size] of sizes) if (size < newest) await takeSecondArea(opener, newest);
}

/** By component that is there: the size of its mirror; empty if those are several mirrors. */
async function sizesOf(openers: readonly ProviderOpener[]): Promise<Map<ProviderOpener, number>> {
  const assembly = await Assembly.open(openers);
  try {
    return sizesIn(assembly, openers);
  } finally {
    await assembly.close();
  }
}

function sizesIn({ providers }: Assembly, openers: readonly ProviderOpener[]): Map<ProviderOpener, number> {
  const present = providers.flatMap((found, index) => {
    const opener = openers[index];
    return found.state === 'ok' && opener !== undefined ? [{ found, opener }] : [];
  });
  if (new Set(present.map(({ found }) => found.facts.superblock.mirrorUuid)).size !== 1) return new Map();
  return new Map(present.map(({ found, opener }) => [opener, found.facts.superblock.mediaSizeBytes]));
}

/** Whether a resize was interrupted, by what is there. */
export const isHalfResized = (present: readonly PresentProvider[]): boolean =>
  new Set(present.map(({ facts }) => facts.superblock.mediaSizeBytes)).size > 1;

async function takeSecondArea(opener: ProviderOpener, mediaSizeBytes: number): Promise<void> {
  const { device, area } = await opener.open();
  try {
    const at = areaOffsetBytes(mediaSizeBytes);
    if (area !== null || at + areaSizeBytes(mediaSizeBytes) > labelOffsetBytes(device)) return;
    const label = decodeLabel(await readLabelSector(device));
    const first = await AreaStore.open(device, areaOffsetBytes(label.mediaSizeBytes));
    const second = await AreaStore.open(device, at);
    if (first.state !== 'ok' || second.state !== 'ok') return;
    if (!isSame(first.store.superblock, second.store.superblock)) return;
    await writeLabelSector(device, { ...label, mediaSizeBytes });
    await flushWhereAble(device);
  } finally {
    await Promise.allSettled([device.close(), area?.close()]);
  }
}

/** Whether the second area was made of the first as that is now. */
function isSame(first: Superblock, second: Superblock): boolean {
  const known = ({ mirrorUuid, componentUuid, name, slot, current, history, slots, ...rest }: Superblock) => [
    ...[mirrorUuid, componentUuid, name, slot, current, history, slots],
    ...[rest.genid, rest.syncid, rest.sectorSizeBytes, rest.isInconsistent],
  ];
  return !first.isRunning && JSON.stringify(known(first)) === JSON.stringify(known(second));
}
