import { describe, expect, test } from 'vitest';
import {
  LABEL_CHECKS,
  compareFreshness,
  judgeSector,
  labelRefusal,
  unusableReason,
  type KernelEra,
  type LabelledProvider,
  type TastedMirror,
} from '../../src/protocol/gmirror-checks.js';
import { NO_DISK_FLAGS, NO_MIRROR_FLAGS } from '../../src/protocol/gmirror-flags.js';
import { decodeLabel, encodeLabel, type GmirrorLabel } from '../../src/protocol/gmirror-label.js';
import { aLabel, encodeOldLabel, kernelLabels, kernelProvider, kernelSector } from '../support/labels.js';

const aProvider = (fields: Partial<LabelledProvider> = {}): LabelledProvider => ({
  kernelName: 'da0',
  mediaSizeBytes: 1_048_576,
  sectorSizeBytes: 512,
  ...fields,
});

/** The mirror that the labels of aLabel belong to. */
const aMirror = (fields: Partial<TastedMirror> = {}): TastedMirror => {
  const { mid, all, sliceBytes, balance, mediaSizeBytes, sectorSizeBytes, genid, syncid } = aLabel();
  const values = { mid, all, sliceBytes, balance, mediaSizeBytes, sectorSizeBytes, genid, syncid };
  return { ...values, isRunning: false, dids: [99], ...fields };
};

interface Case {
  readonly step: number | null;
  readonly what: string;
  readonly label?: Partial<GmirrorLabel>;
  readonly provider?: Partial<LabelledProvider>;
  /** Null for the first component of a mirror. */
  readonly mirror?: Partial<TastedMirror> | null;
  readonly era?: KernelEra;
}

const NEWER = { genid: 1, syncid: 5 };

const CASES: readonly Case[] = [
  { step: null, what: 'nothing wrong', mirror: null },
  { step: null, what: 'nothing wrong and others there' },
  { step: 5, what: 'the name of another provider', label: { hardcodedProvider: 'da1' }, mirror: null },
  { step: null, what: 'its own name', label: { hardcodedProvider: 'da0' } },
  {
    step: null,
    what: 'a name and a provider that no kernel names',
    label: { hardcodedProvider: 'da1' },
    provider: { kernelName: null },
  },
  {
    step: null,
    what: 'the name that its disk had before CAM',
    label: { hardcodedProvider: 'ad4s1a' },
    provider: { kernelName: 'ada0s1a' },
  },
  {
    step: 5,
    what: 'another slice of a renamed disk',
    label: { hardcodedProvider: 'ad4s1a' },
    provider: { kernelName: 'ada0s1b' },
  },
  {
    step: 5,
    what: 'a name cut to 15 characters',
    label: { hardcodedProvider: 'gpt/a-long-nam' },
    provider: { kernelName: 'gpt/a-long-name-of-a-disk' },
  },
  { step: 6, what: 'a smaller provider in the label', label: { providerSizeBytes: 1_048_064 }, mirror: null },
  { step: null, what: 'no provider size', label: { providerSizeBytes: 0 } },
  { step: 7, what: 'INACTIVE', label: { diskFlags: { ...NO_DISK_FLAGS, inactive: true } }, mirror: null },
  { step: 8, what: 'a mirror of that name with another id', mirror: { mid: 7 } },
  { step: 9, what: 'a mirror of no components', label: { all: 0 }, mirror: null },
  { step: 10, what: 'a component id that is there already', mirror: { dids: [99, 2] } },
  { step: 11, what: 'another number of components', label: { all: 3 } },
  { step: 11, what: 'another slice', label: { sliceBytes: 8192 } },
  { step: 11, what: 'another balance', label: { balance: 4 } },
  { step: null, what: 'another balance, on 14', label: { balance: 4 }, era: 'FreeBSD 14' },
  { step: null, what: 'another number of components, on 14', label: { all: 3 }, era: 'FreeBSD 14' },
  { step: null, what: 'another media size in the label', label: { mediaSizeBytes: 524_288 } },
  { step: 12, what: 'a mirror larger than the provider', mirror: { mediaSizeBytes: 1_049_088 } },
  { step: 12, what: 'a first label larger than it', label: { mediaSizeBytes: 1_049_088 }, mirror: null },
  { step: null, what: 'a mirror as large as the provider', mirror: { mediaSizeBytes: 1_048_576 } },
  { step: 13, what: 'another sector size', label: { sectorSizeBytes: 4096 } },
  { step: 14, what: 'larger sectors than the mirror', provider: { sectorSizeBytes: 4096 }, mirror: null },
  { step: 15, what: 'HARDCODED on disk', label: { diskFlags: { ...NO_DISK_FLAGS, otherBits: [4] } } },
  { step: 15, what: 'BROKEN on disk', label: { diskFlags: { ...NO_DISK_FLAGS, otherBits: [5] } } },
  { step: 15, what: 'a device flag', label: { mirrorFlags: { ...NO_MIRROR_FLAGS, otherBits: [2] } } },
  { step: null, what: 'a lower genid while the mirror starts', mirror: { genid: 1 } },
  { step: 16, what: 'a lower genid than the running mirror', mirror: { genid: 1, isRunning: true } },
  { step: 16, what: 'a lower genid on 14', mirror: { genid: 1 }, era: 'FreeBSD 14' },
  { step: null, what: 'a higher genid', label: NEWER, mirror: { isRunning: true } },
  { step: 17, what: 'a higher genid on 14', label: NEWER, mirror: { isRunning: true }, era: 'FreeBSD 14' },
  {
    step: 17,
    what: 'a higher syncid on 14',
    label: { syncid: 2 },
    mirror: { isRunning: true },
    era: 'FreeBSD 14',
  },
  {
    step: null,
    what: 'a higher syncid on 14 while the mirror starts',
    label: { syncid: 2 },
    era: 'FreeBSD 14',
  },
];

describe('what the kernel says to a label', () => {
  test.each(CASES)('with $what: step $step', ({ step, label, provider, mirror = {}, era }) => {
    const found = mirror === null ? null : aMirror(mirror);
    const refusal = labelRefusal(aLabel(label), aProvider(provider), found, era);
    expect(refusal?.step ?? null).toBe(step);
  });

  test('every check refuses something in this list', () => {
    const shown = new Set(CASES.map(({ step }) => step));
    expect(LABEL_CHECKS.map(({ step }) => step).filter((step) => !shown.has(step))).toEqual([]);
    expect(LABEL_CHECKS.map(({ step }) => step)).toEqual(
      LABEL_CHECKS.map(({ step }) => step).sort((one, other) => one - other),
    );
  });

  test('the first check that fails is the one that is told', () => {
    const label = aLabel({ hardcodedProvider: 'da7', providerSizeBytes: 1, all: 9, sectorSizeBytes: 7 });
    expect(labelRefusal(label, aProvider(), aMirror())).toEqual({
      step: 5,
      errno: null,
      reason: 'is not the provider that its label names',
    });
    expect(labelRefusal({ ...label, hardcodedProvider: '' }, aProvider(), aMirror())?.step).toBe(6);
  });

  test.each([
    ['no label', Buffer.alloc(512), 2],
    ['a newer label', newerLabel(), 3],
    ['a damaged label', damagedLabel(), 4],
    ['a label with an illegal flag', encodeOldLabel(aLabel(), { version: 3, dflags: 0x20n }), 15],
    ['a label of version 0', encodeOldLabel(aLabel(), { version: 0 }), null],
  ])('a sector with %s is judged from its bytes', (_, sector, step) => {
    const { label, refusal } = judgeSector(sector, aProvider());
    expect(refusal?.step ?? null).toBe(step);
    expect(label === null).toBe(step !== null && step < 5);
  });

  test.each(kernelLabels)('the real label %s is taken unless it is inactive', (name) => {
    const { refusal } = judgeSector(kernelSector(name), kernelProvider(name.slice(-1)));
    const isInactive = name === '10-deactivated.c' || name === '11-write-without-third.c';
    expect(refusal?.step ?? null).toBe(isInactive ? 7 : null);
  });

  test('a component that was forgotten is refused by the mirror that goes on without it', () => {
    const { mid, all, sliceBytes, balance, mediaSizeBytes, sectorSizeBytes, genid, syncid, did } =
      decodeLabel(kernelSector('14-forgotten.a'));
    const values = { mid, all, sliceBytes, balance, mediaSizeBytes, sectorSizeBytes, genid, syncid };
    const mirror = { ...values, isRunning: true, dids: [did] };
    const { refusal } = judgeSector(kernelSector('14-forgotten.c'), kernelProvider('c'), mirror);
    expect(refusal).toMatchObject({ step: 11, reason: 'says another number of components than its mirror' });
  });
});

function newerLabel(): Buffer {
  const sector = encodeLabel(aLabel());
  sector.writeUInt32LE(5, 16);
  return sector;
}

function damagedLabel(): Buffer {
  const sector = encodeLabel(aLabel());
  sector.writeUInt8(1, 100);
  return sector;
}

describe('what we say to a label that the kernel takes', () => {
  test.each([
    ['as it should be', {}, {}, null],
    ['with sectors of 0 bytes', { sectorSizeBytes: 0 }, {}, /sectors of 0 bytes/],
    ['with sectors of 1536 bytes', { sectorSizeBytes: 1536, mediaSizeBytes: 1536 * 4 }, {}, /1536/],
    ['with sectors smaller than its own', {}, { sectorSizeBytes: 4096 }, /do not divide/],
    ['of a mirror without a sector', { mediaSizeBytes: 0 }, {}, /of 0 bytes/],
    ['of a mirror that ends inside a sector', { mediaSizeBytes: 1000 }, {}, /ends inside/],
    ['that lies on its own data', { mediaSizeBytes: 1_048_576 }, {}, /inside the data/],
  ])('%s', (_, label, provider, reason) => {
    const said = unusableReason(aLabel(label), aProvider(provider));
    if (reason === null) expect(said).toBeNull();
    else expect(said).toMatch(reason);
  });
});

describe('freshness', () => {
  test.each([
    [{ genid: 1, syncid: 1 }, { genid: 0, syncid: 9 }, 1],
    [{ genid: 1, syncid: 1 }, { genid: 1, syncid: 2 }, -1],
    [{ genid: 1, syncid: 2 }, { genid: 1, syncid: 2 }, 0],
  ])('%j against %j is %i', (one, other, sign) => {
    expect(Math.sign(compareFreshness(one, other))).toBe(sign);
    expect(Math.sign(compareFreshness(other, one)) + sign).toBe(0);
  });
});
