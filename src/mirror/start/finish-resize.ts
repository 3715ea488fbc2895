import { Assembly, type PresentProvider } from './assembly.js';
import type { ProviderOpener } from '../area/provider.js';
import { takeSize } from './take-size.js';

/**
 * Where a resize was interrupted when some labels named the new size already, the others do so when this resolves: their
 * second areas are there. If one of those was used since with its old size, it knows more than its second area; then those
 * that were not used since have the old size again. If both kinds were used nothing is changed: that is for a person.
 */
export async function finishResize(openers: readonly ProviderOpener[]): Promise<void> {
  const sizes = await sizesOf(openers);
  const newest = Math.max(...sizes.values());
  const left: number[] = [];
  for (const [opener, size] of sizes) if (size < newest && !(await takeSize(opener, newest))) left.push(size);
  const [oldest] = left;
  if (oldest !== undefined && left.every((size) => size === oldest))
    for (const [opener] of sizes) await takeSize(opener, oldest);
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
