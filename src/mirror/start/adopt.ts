import { EXTENT_SIZE_BYTES } from '../../protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../../protocol/geometry.js';
import { labelRefusal } from '../../protocol/gmirror-checks.js';
import type { DecodedLabel } from '../../protocol/gmirror-label.js';
import { FREE_SLOT, NO_UUID, SLOT_COUNT, type SlotRecord } from '../../protocol/superblock.js';
import type { NewSuperblock } from '../area/area-store.js';
import { AssembleError, type AssembleOptions } from './assembled.js';
import type { BareProvider, FoundProvider, PresentProvider } from './assembly.js';
import { writeLabelSector } from '../area/component-store.js';
import { decideStart } from '../decide/start-decision.js';
import { labelIdOf, newAreaId, newUuid, uuidOfLabelId } from '../ids.js';

type Wishes = Pick<AssembleOptions, 'name' | 'degraded' | 'source' | 'random'>;

/**
 * Makes the private areas that are missing, where somebody has asked for that:
 * - all components are the kernel's and an area file is named for each: its mirror becomes one of ours;
 * - a source is chosen, and others have lost their areas: they become components that everything is copied to.
 * Resolves with false if there was nothing to make. Rejects with AssembleError before anything is written, and with
 * DeviceError; some areas may be made then.
 */
export async function makeAreas(providers: readonly FoundProvider[], wishes: Wishes): Promise<boolean> {
  const bare = providers.filter((found) => found.state === 'bare');
  const whole = providers.filter((found) => found.state === 'ok');
  if (bare.length === 0) return false;
  if (whole.length === 0 && bare.every(({ isAreaNew }) => isAreaNew)) {
    if (providers.length > bare.length && !wishes.degraded) return false;
    await adopt(bare, wishes);
    return true;
  }
  const source = whole.find(({ name }) => name === wishes.source);
  if (source === undefined) return false;
  const plans = bare.map((provider) => ({ provider, superblock: lostSuperblock(provider, source, wishes) }));
  for (const { provider, superblock } of plans) await makeArea(provider, superblock);
  return true;
}

async function makeArea(
  { name, makeArea: make, why }: BareProvider,
  superblock: NewSuperblock,
): Promise<void> {
  if (make === null) {
    throw new AssembleError(
      'ASSEMBLE_FOREIGN',
      `${name} ${why}, and there is no room for one; give it an area file`,
    );
  }
  await make(superblock);
}

/**
 * Takes over a mirror that the kernel's gmirror ran. Ids, numbers and data stay as they are; who is as new as the newest
 * is decided by the kernel's own rules, and everything is copied to the others.
 */
async function adopt(bare: readonly BareProvider[], wishes: Wishes): Promise<void> {
  const { random } = wishes;
  const mirror = checkedMirror(bare, wishes);
  const inStep = inStepOf(bare, mirror, wishes);
  const [current, before] = [newUuid(random), newUuid(random)];
  const isBehind = (slot: number): boolean => !inStep.includes(slot);
  const slots = Array.from({ length: SLOT_COUNT }, (_, slot): SlotRecord => {
    const label = bare[slot]?.label;
    if (label === undefined) return FREE_SLOT;
    const [isFull, lostAt] = isBehind(slot) ? [true, before] : [false, NO_UUID];
    const componentUuid = uuidOfLabelId(label.did, random);
    return { ...FREE_SLOT, componentUuid, lostAt, isMarked: isFull, isFull };
  });
  const mirrorUuid = uuidOfLabelId(mirror.mid, random);
  for (const [slot, provider] of bare.entries()) {
    const { genid, syncid, diskFlags } = provider.label;
    await makeArea(provider, {
      areaId: newAreaId(random),
      mirrorUuid,
      componentUuid: slots[slot]?.componentUuid ?? NO_UUID,
      name: wishes.name,
      mediaSizeBytes: mirror.mediaSizeBytes,
      sectorSizeBytes: mirror.sectorSizeBytes,
      regionSizeBytes: REGION_SIZE_BYTES,
      extentSizeBytes: EXTENT_SIZE_BYTES,
      // The label is DIRTY after a crash of the kernel's, and ours says no less than it.
      isRunning: diskFlags.dirty,
      isInconsistent: isBehind(slot),
      current: isBehind(slot) ? before : current,
      history: isBehind(slot) ? [] : [before],
      slot,
      genid,
      syncid,
      modifiedNs: 0n,
      slots,
    });
  }
  // As gmirror's forget does it.
  for (const { device, label } of bare) {
    if (label.all !== bare.length) await writeLabelSector(device, { ...label, all: bare.length });
  }
}

/** The label that stands for the mirror. Throws unless all are components of one, which the kernel would take too. */
function checkedMirror(bare: readonly BareProvider[], { name }: Wishes): DecodedLabel {
  const [first] = bare;
  if (first === undefined) throw new AssembleError('ASSEMBLE_MISSING', `mirror '${name}' has no component`);
  const dids: number[] = [];
  for (const { name: provider, label, device } of bare) {
    const refuse = (why: string): never => {
      throw new AssembleError('ASSEMBLE_FOREIGN', `${provider} ${why}; nothing was changed`);
    };
    const labelName = Buffer.from(label.name, 'latin1').toString('utf8');
    if (labelName !== name) refuse(`is a component of mirror '${labelName}', not of '${name}'`);
    const { mediaSizeBytes, sectorSizeBytes } = device;
    const mirror = { ...first.label, isRunning: false, dids };
    const refusal = labelRefusal(label, { kernelName: null, mediaSizeBytes, sectorSizeBytes }, mirror);
    if (refusal !== null) refuse(refusal.reason);
    if (label.mediaSizeBytes !== first.label.mediaSizeBytes)
      refuse(`says another size of its mirror than ${first.name}`);
    dids.push(label.did);
  }
  return first.label;
}

/** Indices of those whose data is as new as any. */
function inStepOf(
  bare: readonly BareProvider[],
  { all }: DecodedLabel,
  { name, degraded, source }: Wishes,
): number[] {
  if (bare.length < all && !degraded) {
    const message =
      `mirror '${name}' has ${all} components, of which ${bare.length} are there, and the others may have newer data; ` +
      "name them all, or start with '--degraded', which forgets the others";
    throw new AssembleError('ASSEMBLE_MISSING', message);
  }
  const chosen = bare.findIndex((provider) => provider.name === source);
  if (chosen !== -1) return [chosen];
  const labels = bare.map(({ label }) => label);
  const decision = decideStart({ labels, isForced: true, era: 'FreeBSD 12', rules: 'kernel' });
  if (decision.outcome !== 'run') {
    const why = decision.outcome === 'destroy' ? decision.reason : 'no component came';
    throw new AssembleError(
      'ASSEMBLE_NO_SOURCE',
      `mirror '${name}' can't be started: ${why}; choose one with --source`,
    );
  }
  const dropped = decision.components.findIndex(({ fate }) => fate === 'DROPPED');
  if (dropped !== -1) {
    const message = `${bare[dropped]?.name ?? ''} ${decision.components[dropped]?.reason ?? ''}; start without it, and insert it later`;
    throw new AssembleError('ASSEMBLE_FOREIGN', message);
  }
  return decision.components.flatMap(({ fate }, index) => (fate === 'ACTIVE' ? [index] : []));
}

/** Of a component whose area is lost: nobody knows what its data is, so it is no source, and all is copied to it. */
function lostSuperblock(
  { name, label }: BareProvider,
  source: PresentProvider,
  { random }: Wishes,
): NewSuperblock {
  const { superblock } = source.facts;
  const slot = superblock.slots.findIndex(
    ({ componentUuid }) => componentUuid !== NO_UUID && labelIdOf(componentUuid) === label.did,
  );
  const record = superblock.slots[slot];
  const fits =
    label.mid === labelIdOf(superblock.mirrorUuid) && label.mediaSizeBytes === superblock.mediaSizeBytes;
  if (record === undefined || !fits) {
    throw new AssembleError('ASSEMBLE_FOREIGN', `${name} is no component of the mirror of ${source.name}`);
  }
  return {
    ...superblock,
    areaId: newAreaId(random),
    componentUuid: record.componentUuid,
    slot,
    isRunning: label.diskFlags.dirty,
    isInconsistent: true,
    // One that no other superblock has, so that no bitmap is believed of it if this start comes to nothing.
    current: newUuid(random),
    history: [],
    genid: label.genid,
    syncid: label.syncid,
    modifiedNs: 0n,
  };
}
